"""The engine: a pipeline between a reader and a writer of memory, and the jobs that they do."""

from functools import reduce
from operator import and_

from amaranth.hdl import Module, Mux, ResetInserter, Shape, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.cores.width_converter import WidthConverter
from hw.shell.aligner import Aligner
from hw.shell.axi import MemoryPort, ReadPort, Response
from hw.shell.identity import Identity
from hw.shell.jobs import FRAMES_WIDTH, JobQueue
from hw.shell.reader import Reader
from hw.shell.weights import PATIENCE_CYCLES, WeightReader
from hw.shell.writer import Writer
from sw.host.registers import BATCH_COUNTERS, COUNTERS, Cause, register

__all__ = ["Engine"]


def _cause(part, slave: Cause, decode: Cause) -> Value:
    """What a reader or a writer failed by."""
    return Mux(part.response == Response.DECERR, decode, slave)


class Engine(wiring.Component):
    """Answers frames in memory with results in memory, job by job.

    Reading goes on with the next job while results of the present one are written. An error of the
    memory, a job that is not aligned and one that finds the queue full end all jobs: no burst is
    begun any more, those in flight end, then reader, pipeline and writer are reset. Only then
    `error` is set: who sees it can reuse the buffers. Until a `reset`, which goes the same way,
    nothing runs.

    Where the identity has batches, a job is so many of them: to the reader and the writer a batch
    is what a frame is elsewhere. Where it has weights, a reader of their own gives all of them to
    the pipeline for every batch, as early as they fit its buffer.

    About 950 LUT6 beside the pipeline, for 98 bytes a frame and a converter from 64 to 64 lanes;
    another converter of that frame takes up to 500 more, batches and weights 500.

    Parameters
    ----------
    accelerator : Component
        Streams `i`, a frame as ArrayLayout(width, lanes) beats, and `o`, one unsigned class index a
        frame, or its scores as ArrayLayout(width, lanes) beats. With weights also `weights`, words
        of 64 bits.
    identity : Identity
        What it is; its `frame_cycles` decide how wide the aligner is.
    patience_cycles : int
        How long the pipeline may wait for a word of weights, as `WeightReader` has it.

    Members
    -------
    memory : Out(MemoryPort)
    source, destination, frames : In(32), In(32), In(16)
        The job that `start` begins. Addresses are multiples of 8.
    weights_memory, weights : Out(ReadPort()), In(32)
        Only with weights: where they are read, and their address in the job that `start` begins.
    start : In(1)
        Queues a job. Ignored while a reset or an error is being dealt with.
    reset : In(1)
        Gives up all jobs, then all is as new.
    busy, error, queued, cause : Out(1), Out(1), Out(4), Out(4)
        As STATUS has them.
    done, failed : Out(1)
        High for a cycle when a job has ended well, and when `error` gets set.
    counters : Out(StructLayout)
        The counters by their names in lower case, 32 bits each; with batches theirs too.

    Raises
    ------
    ValueError
        The accelerator's streams are not as the identity says.
    """

    def __init__(
        self,
        accelerator: wiring.Component,
        identity: Identity,
        *,
        patience_cycles: int = PATIENCE_CYCLES,
    ):
        self._accelerator, self._identity = accelerator, identity
        self._patience_cycles = patience_cycles
        beats = accelerator.i.payload.shape()
        if beats.elem_shape != identity.frame_bits or beats.length > identity.frame_elements:
            raise ValueError(
                f"Frames of {identity.frame_elements} elements of {identity.frame_bits} bits do "
                f"not come {beats.length} of {beats.elem_shape} a beat"
            )
        numbers = accelerator.o.payload.shape()
        self._lanes = numbers.length if isinstance(numbers, data.ArrayLayout) else 1
        width = Shape.cast(numbers).width // self._lanes
        if width > 8 * identity.number_bytes or self._lanes > identity.result_elements:
            raise ValueError(
                f"Results of {identity.result_elements} numbers of {identity.number_bytes} bytes "
                f"do not come {self._lanes} of {width} bits a beat"
            )
        self._width = width
        weights = dict(accelerator.signature.members).get("weights")
        if weights != (In(stream.Signature(64)) if identity.weight_words else None):
            raise ValueError(
                f"{identity.weight_words} words of weights a batch do not go to {weights}"
            )
        reads, counters = {}, COUNTERS
        if identity.weight_words:
            reads = {"weights_memory": Out(ReadPort()), "weights": In(32)}
        if identity.batch_frames:
            counters += BATCH_COUNTERS
        status = {field.name: Out(field.width) for field in register("STATUS").fields}
        super().__init__(
            {
                "memory": Out(MemoryPort()),
                "source": In(32),
                "destination": In(32),
                "frames": In(FRAMES_WIDTH),
                **reads,
                "start": In(1),
                "reset": In(1),
                **status,
                "done": Out(1),
                "failed": Out(1),
                "counters": Out(data.StructLayout({entry.name.lower(): 32 for entry in counters})),
            }
        )

    @property
    def identity(self) -> Identity:
        return self._identity

    def elaborate(self, platform):
        m = Module()
        identity = self._identity
        batch_frames = max(1, identity.batch_frames)

        # All that a job leaves traces in is reset together, from a register: no logic should delay
        # a net that goes everywhere.
        clear = Signal()
        clears = ResetInserter(clear)

        queue = JobQueue(weights=bool(identity.weight_words))
        m.submodules.queue = clears(queue)
        m.d.comb += [
            queue.i.payload.source.eq(self.source),
            queue.i.payload.destination.eq(self.destination),
            queue.i.payload.frames.eq(self.frames),
            self.queued.eq(queue.level),
        ]

        reader = Reader(frame_bytes=batch_frames * identity.frame_bytes)
        writer = Writer(
            number_bytes=identity.number_bytes, elements=batch_frames * identity.result_elements
        )
        m.submodules.reader, m.submodules.writer = clears(reader), clears(writer)
        wiring.connect(m, queue.reads, reader.job)
        wiring.connect(m, queue.writes, writer.job)
        for part, channels in ((reader, ("ar", "r")), (writer, ("aw", "w", "b"))):
            for name in channels:
                port = wiring.flipped(self.memory)
                wiring.connect(m, getattr(part, name), getattr(port, name))

        frames, results = self._pipeline(m, clears)
        wiring.connect(m, reader.o, frames)
        wiring.connect(m, results, writer.i)
        weights = self._weights(m, clears, queue) if identity.weight_words else None
        parts = [reader, writer, *([weights] if weights else [])]

        halt = Signal()
        resetting = Signal()
        idle = Signal()  # that of the cycle before; what was not halted then has offered nothing
        m.d.sync += idle.eq(reduce(and_, (part.idle for part in parts)))
        with m.If(self.reset):
            m.d.sync += resetting.eq(1)
        m.d.comb += [*(part.halt.eq(halt) for part in parts), self.done.eq(writer.done)]
        with m.FSM() as fsm:
            with m.State("RUN"):
                m.d.comb += halt.eq(self.reset | resetting)
                with m.If(halt):
                    m.next = "DRAIN"
                with m.Else():
                    unaligned = self.source[:3].any() | self.destination[:3].any()
                    refused, of_weights = unaligned, ()
                    if weights:
                        missing = self.weights == 0
                        unaligned |= self.weights[:3].any()
                        refused = unaligned | missing
                        of_weights = (
                            (self.start & missing, Cause.NO_WEIGHTS),
                            (weights.starved, Cause.WEIGHTS_STARVED),
                            (
                                weights.failed,
                                _cause(weights, Cause.WEIGHTS_SLAVE, Cause.WEIGHTS_DECODE),
                            ),
                        )
                    m.d.comb += queue.i.valid.eq(self.start & ~refused)
                    for happens, cause in (
                        (queue.i.valid & ~queue.i.ready, Cause.OVERRUN),
                        (self.start & unaligned, Cause.UNALIGNED),
                        *of_weights,
                        (writer.failed, _cause(writer, Cause.WRITE_SLAVE, Cause.WRITE_DECODE)),
                        (reader.failed, _cause(reader, Cause.READ_SLAVE, Cause.READ_DECODE)),
                    ):
                        with m.If(happens):
                            m.d.sync += self.cause.eq(cause)
                            m.next = "DRAIN"
            with m.State("DRAIN"):
                m.d.comb += halt.eq(1)
                with m.If(idle):
                    m.d.sync += clear.eq(1)
                    m.next = "CLEAR"
            with m.State("CLEAR"):
                m.d.comb += halt.eq(1)
                m.d.sync += clear.eq(0)
                with m.If(resetting):
                    m.d.sync += [resetting.eq(0), self.cause.eq(Cause.NONE)]
                    m.d.sync += self.counters.eq(0)
                    m.next = "RUN"
                with m.Else():
                    m.d.comb += self.failed.eq(~self.reset)
                    m.next = "FAILED"
            with m.State("FAILED"):
                m.d.comb += self.error.eq(1)
                with m.If(resetting):
                    m.next = "DRAIN"
        working = (queue.level != 0) | ~writer.idle
        stopping = fsm.ongoing("DRAIN") | fsm.ongoing("CLEAR")
        m.d.sync += self.busy.eq(self.start | self.reset | working | stopping | resetting)

        pipeline = self._accelerator
        owed = Signal()
        m.d.sync += owed.eq(queue.reads.valid | ~reader.idle)
        counts = {
            "jobs_done": self.done,
            "frames_done": writer.frame,
            "cycles_busy": working,
            "stalls_in": working & owed & pipeline.i.ready & ~pipeline.i.valid,
            "stalls_out": working & pipeline.o.valid & ~pipeline.o.ready,
        }
        if weights:
            owed_weights = Signal()
            m.d.sync += owed_weights.eq(queue.weights.valid | ~weights.idle)
            waits = pipeline.weights.ready & ~pipeline.weights.valid
            counts["words_read"] = pipeline.weights.valid & pipeline.weights.ready
            counts["stalls_weights"] = working & owed_weights & waits
        for name, happens in counts.items():
            happened = Signal(name=f"{name}_happened")
            m.d.sync += happened.eq(happens & ~halt)
            amount = happened
            if name == "frames_done" and batch_frames > 1:
                amount = Mux(happened, batch_frames, 0)
            with m.If(~clear):
                m.d.sync += self.counters[name].eq(self.counters[name] + amount)

        return m

    def _weights(self, m: Module, clears: ResetInserter, queue: JobQueue) -> WeightReader:
        """What reads the pipeline's weights."""
        words = self._identity.weight_words
        reader = WeightReader(words=words, patience_cycles=self._patience_cycles)
        m.submodules.weights = clears(reader)
        wiring.connect(m, queue.weights, reader.job)
        m.d.comb += queue.i.payload.weights.eq(self.weights)
        for name in ("ar", "r"):
            port = wiring.flipped(self.weights_memory)
            wiring.connect(m, getattr(reader, name), getattr(port, name))
        wiring.connect(m, reader.o, self._accelerator.weights)
        return reader

    def _pipeline(self, m: Module, clears: ResetInserter):
        """Words of frames to numbers of results; returns the streams of both."""
        identity, accelerator = self._identity, self._accelerator

        # Beats of 16 bytes where those of 8 would slow the pipeline down.
        size = identity.frame_bytes
        wide = -(-size // 8) > max(identity.frame_cycles, size / 8)
        aligner = Aligner(frame_bytes=size, o_bytes=16 if wide else 8)
        bits = 1 if identity.frame_bits == 1 else 8  # that an element takes in memory
        converter = WidthConverter(
            width=identity.frame_bits,
            elements=identity.frame_elements,
            i_lanes=min(identity.frame_elements, 8 * aligner.o_bytes // bits),
            o_lanes=accelerator.i.payload.shape().length,
        )
        m.submodules.aligner, m.submodules.converter = clears(aligner), clears(converter)
        m.submodules.accelerator = clears(accelerator)
        for lane, element in enumerate(converter.i.payload):
            m.d.comb += element.eq(aligner.o.payload.word_select(lane, bits))
        m.d.comb += [
            converter.i.valid.eq(aligner.o.valid),
            aligner.o.ready.eq(converter.i.ready),
        ]
        wiring.connect(m, converter.o, accelerator.i)

        results = accelerator.o
        if self._lanes > 1:
            scores = WidthConverter(
                width=self._width,
                elements=identity.result_elements,
                i_lanes=self._lanes,
                o_lanes=1,
            )
            m.submodules.scores = clears(scores)
            wiring.connect(m, results, scores.i)
            results = scores.o
        numbers = stream.Signature(8 * identity.number_bytes).create()
        m.d.comb += [
            numbers.payload.eq(Value.cast(results.payload)),
            numbers.valid.eq(results.valid),
            results.ready.eq(numbers.ready),
        ]
        return aligner.i, numbers
