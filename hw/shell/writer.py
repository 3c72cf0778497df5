"""The writer: a stream of numbers to memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hw.shell.axi import BURST_BEATS, MemoryPort, Response
from hw.shell.jobs import FRAMES_WIDTH, JOB

__all__ = ["Writer"]

_DEPTH = 2 * BURST_BEATS  # words of the buffer
_BURSTS = 15  # unanswered at most


class Writer(wiring.Component):
    """Writes the results of jobs, which lie in memory without a gap.

    Store and forward: a burst begins when all its words are here, so it always ends promptly,
    whatever the pipeline does. Bursts are of up to 16 words and end at multiples of 128 bytes, so
    they never cross 4 KiB. Of a job's last word only bytes that exist are written. A job ends when
    all its bursts have been answered; then the next is taken.

    Parameters
    ----------
    number_bytes : int
        Bytes of a number: 1, 2 or 4.
    elements : int
        Numbers of a frame's result, at least 1.

    Members
    -------
    job : In(stream.Signature(JOB))
        No frames: it is done at once.
    i : In(stream.Signature(8 * number_bytes))
    aw, w, b : Out, Out, In
        Of a `MemoryPort`.
    halt : In(1)
        Gives up the job, and takes no other. A burst that was begun ends. Held until the reset.
    idle : Out(1)
        There is no job, and nothing is offered or unanswered.
    frame : Out(1)
        High for a cycle when the last number of a frame is taken.
    done : Out(1)
        High for a cycle when a job has ended.
    failed : Out(1)
        High for a cycle when something was answered by an error. The job is not done; `halt` has to
        follow with the next cycle.
    response : Out(Response)
        That error.

    Raises
    ------
    ValueError
        A parameter out of its range.
    """

    def __init__(self, *, number_bytes: int, elements: int = 1):
        if number_bytes not in (1, 2, 4):
            raise ValueError(f"Bytes of a number must be 1, 2 or 4, not {number_bytes}")
        if elements < 1:
            raise ValueError(f"A result has at least 1 element, not {elements}")
        self._number_bytes, self._elements = number_bytes, elements
        port = MemoryPort().members
        super().__init__(
            {
                "job": In(stream.Signature(JOB)),
                "i": In(stream.Signature(8 * number_bytes)),
                "aw": port["aw"],
                "w": port["w"],
                "b": port["b"],
                "halt": In(1),
                "idle": Out(1),
                "frame": Out(1),
                "done": Out(1),
                "failed": Out(1),
                "response": Out(Response),
            }
        )

    @property
    def number_bytes(self) -> int:
        return self._number_bytes

    @property
    def elements(self) -> int:
        return self._elements

    def elaborate(self, platform):
        m = Module()

        lanes = 8 // self._number_bytes
        m.submodules.words = words = SyncFIFO(width=64 + lanes, depth=_DEPTH)

        # Memory is rows of a burst's 16 words. `pending` words lie in this row or beyond and are in
        # no burst yet; those before `offset` are not ours, and count as if they were here.
        row = Signal(25)
        offset = Signal(4)
        pending = Signal(range(_DEPTH + 2 * BURST_BEATS))
        element = Signal(range(self._elements))
        frames = Signal(FRAMES_WIDTH)
        lane = Signal(range(lanes))
        last = Signal()  # the job's last number
        ended = Signal()
        m.d.comb += last.eq((element == self._elements - 1) & (frames == 1))

        with m.FSM() as fsm:
            with m.State("IDLE"):
                job = self.job.payload
                m.d.comb += self.job.ready.eq(~self.halt)
                with m.If(self.job.valid & self.job.ready):
                    # Not before: a halted burst may still be offered.
                    m.d.sync += [
                        Cat(offset, row).eq(job.address[3:]),
                        pending.eq(job.address[3:7]),
                        frames.eq(job.frames),
                    ]
                    with m.If(job.frames.any()):
                        m.next = "TAKE"
                    with m.Else():
                        m.d.comb += self.done.eq(1)
            with m.State("TAKE"):
                with m.If(self.halt | self.failed):
                    m.next = "IDLE"
                with m.Elif(self.i.valid & self.i.ready & last):
                    m.next = "END"
            with m.State("END"):
                with m.If(self.halt | self.failed):
                    m.next = "IDLE"
                with m.Elif(ended):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"

        # Numbers to words.
        word = Signal(64)
        strobes = Signal(lanes)
        full = Signal()
        pushes = full & words.w_rdy
        taken = self.i.valid & self.i.ready
        m.d.comb += [
            self.i.ready.eq(fsm.ongoing("TAKE") & (~full | words.w_rdy)),
            words.w_data.eq(Cat(word, strobes)),
            words.w_en.eq(full),
            self.frame.eq(taken & (element == self._elements - 1)),
        ]
        with m.If(taken):
            bits = 8 * self._number_bytes
            m.d.sync += [
                word.word_select(lane, bits).eq(self.i.payload),
                strobes.eq(Mux(lane == 0, 1, strobes | (1 << lane))),
                lane.eq(Mux(last, 0, lane + 1)),
                element.eq(element + 1),
            ]
            with m.If(element == self._elements - 1):
                m.d.sync += [element.eq(0), frames.eq(frames - 1)]
        with m.If(taken | pushes):
            m.d.sync += full.eq(taken & ((lane == lanes - 1) | last))

        # Words to bursts.
        beats = Signal(range(BURST_BEATS + 1))
        unanswered = Signal(range(_BURSTS + 1))
        whole = pending[4:].any()
        rest = fsm.ongoing("END") & ~full & (pending != offset)
        begins = Signal()
        m.d.comb += begins.eq(
            (whole | rest)
            & ~self.aw.valid
            & (beats == 0)
            & (unanswered != _BURSTS)
            & ~(self.halt | self.failed)
        )
        length = (Mux(whole, 0, pending) + ~offset)[:4]
        with m.If(begins):
            m.d.sync += [
                self.aw.valid.eq(1),
                self.aw.payload.length.eq(length),
                beats.eq(length + 1),
            ]
        with m.If(self.aw.valid & self.aw.ready):
            m.d.sync += [self.aw.valid.eq(0), offset.eq(0), row.eq(row + 1)]
        with m.If(begins & ~whole):
            m.d.sync += pending.eq(0)
        with m.Elif(~fsm.ongoing("IDLE")):
            m.d.sync += pending.eq(pending + pushes - Mux(begins, BURST_BEATS, 0))

        sent = self.w.valid & self.w.ready
        into = words.r_data
        m.d.comb += [
            self.aw.payload.address.eq(Cat(Const(0, 3), offset, row)),
            self.w.valid.eq(beats != 0),
            self.w.payload.data.eq(into[:64]),
            self.w.payload.strobes.eq(
                Cat(strobe.replicate(self._number_bytes) for strobe in into[64:])
            ),
            self.w.payload.last.eq(beats == 1),
            words.r_en.eq(sent),
            self.b.ready.eq(1),
        ]
        with m.If(sent):
            m.d.sync += beats.eq(beats - 1)

        m.d.sync += [
            unanswered.eq(unanswered + begins - self.b.valid),
            self.failed.eq(self.b.valid & self.b.payload.response[1]),
            self.response.eq(self.b.payload.response),
        ]
        at_rest = ~self.aw.valid & (beats == 0) & (unanswered == 0)
        m.d.comb += [
            ended.eq(at_rest & ~full & (pending == offset)),
            self.idle.eq(fsm.ongoing("IDLE") & at_rest),
        ]

        return m
