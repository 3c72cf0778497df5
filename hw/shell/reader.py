"""The reader: frames from memory, as a stream of 64-bit words."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.shell.axi import BURST_BEATS, MemoryPort, Response
from hw.shell.jobs import FRAMES_WIDTH, JOB

__all__ = ["WORD", "Reader"]

# A word of a job's frames. `last`: the job ends in it, with `bytes` of it (0: all eight).
WORD = data.StructLayout({"data": 64, "last": 1, "bytes": 3})


class Reader(wiring.Component):
    """Reads the frames of jobs, which lie in memory without a gap.

    Bursts are of up to 16 words and end at multiples of 128 bytes, so they never cross 4 KiB.
    Several are outstanding, but only as many words as there is room for: `r` is always ready, and
    a stalled pipeline never blocks the memory. A job's size takes 16 cycles to multiply, during
    which what is buffered goes on.

    About 250 LUT6, 96 of them the buffer of 64 words.

    Parameters
    ----------
    frame_bytes : int
        Bytes of a frame, at least 1.
    depth : int
        Words of the buffer, a power of two from 32. It decides which latency of the memory still
        allows a word a cycle: with 64 about 45 cycles.

    Members
    -------
    job : In(stream.Signature(JOB))
        No frames: nothing is read.
    ar, r : Out, In
        Of a `MemoryPort`.
    o : Out(stream.Signature(WORD))
    halt : In(1)
        Gives up the job, and takes no other. An address that is offered stays so until it is taken.
        Held until the reset.
    idle : Out(1)
        There is no job, and nothing is offered or outstanding.
    failed : Out(1)
        High for a cycle when something was answered by an error.
    response : Out(Response)
        That error.

    Raises
    ------
    ValueError
        A parameter out of its range.
    """

    def __init__(self, *, frame_bytes: int, depth: int = 64):
        if frame_bytes < 1:
            raise ValueError(f"A frame has at least 1 byte, not {frame_bytes}")
        if depth < 2 * BURST_BEATS or depth & (depth - 1):
            raise ValueError(f"Depth must be a power of two from {2 * BURST_BEATS}, not {depth}")
        self._frame_bytes, self._depth = frame_bytes, depth
        port = MemoryPort().members
        super().__init__(
            {
                "job": In(stream.Signature(JOB)),
                "ar": port["ar"],
                "r": port["r"],
                "o": Out(stream.Signature(WORD)),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(1),
                "response": Out(Response),
            }
        )

    @property
    def frame_bytes(self) -> int:
        return self._frame_bytes

    @property
    def depth(self) -> int:
        return self._depth

    def elaborate(self, platform):
        m = Module()

        # Words get slots of the buffer in the order in which they are asked for. Counts of words
        # asked for, here, and gone have one bit more than a slot's number.
        asked, come, gone = (
            Signal(range(2 * self._depth), name=n) for n in ("asked", "come", "gone")
        )
        under_way = asked != come
        in_use = Signal.like(asked)
        m.d.comb += in_use.eq(asked - gone)

        # Memory is rows of a burst's 16 words. `span` is where a job ends, from the start of
        # its first row: rows, words, and bytes with 7 more, so that a word begun counts as one.
        row = Signal(25)
        offset = Signal(4)
        span = Signal(FRAMES_WIDTH + max(7, self._frame_bytes.bit_length()))
        low, high = span[:FRAMES_WIDTH], span[FRAMES_WIDTH:]
        rows = Signal(len(span) - 7)  # after the present one
        last_row = Signal()
        empty = Signal()
        step = Signal(range(FRAMES_WIDTH))
        job, ar = self.job.payload, self.ar
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += empty.eq(job.frames == 0)
                with m.If(self.job.valid & ~self.halt):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.job.ready.eq(empty)
                with m.If(empty):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                # From the lowest bit of the frames; each step shifts a bit of the product into low.
                start = Cat(Const(0b111), job.address[3:7])
                part = Mux(job.frames.bit_select(step, 1), self._frame_bytes, 0)
                total = Mux(step == 0, start, high) + part
                m.d.sync += [span.eq(Cat(low[1:], total)), step.eq(step + 1)]
                with m.If(step == FRAMES_WIDTH - 1):
                    m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += self.job.ready.eq(1)
                m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += last_row.eq(rows == 0)
                with m.If(self.halt):
                    m.next = "IDLE"
                with m.Elif(in_use <= self._depth - BURST_BEATS):
                    m.next = "MEASURE"
            with m.State("MEASURE"):
                m.d.sync += ar.payload.length.eq(Mux(last_row, span[3:7], 0) + ~offset)
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += ar.valid.eq(1)
                with m.If(ar.ready):
                    m.d.sync += asked.eq(asked + ar.payload.length + 1)
                    with m.If(last_row):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "WAIT"
        # To load and to count takes one LUT a bit where one adder does both.
        begin = fsm.ongoing("BEGIN")
        with m.If(begin | (ar.valid & ar.ready)):
            m.d.sync += [
                row.eq(Mux(begin, job.address[7:], row) + ~begin),
                rows.eq(Mux(begin, span[7:], rows) - (~begin | (span[3:7] == 0))),
                offset.eq(Mux(begin, job.address[3:7], 0)),
            ]
        m.d.comb += [
            ar.payload.address[3:].eq(Cat(offset, row)),
            self.idle.eq(fsm.ongoing("IDLE") & ~under_way),
        ]

        m.submodules.words = words = Memory(
            shape=data.StructLayout({"data": 64, "last": 1}), depth=self._depth, init=[]
        )
        # For the last word of a burst: whether the job ends there, and how. It is not here before
        # the cycle after the one in which its address was taken.
        m.submodules.ends = ends = Memory(
            shape=data.StructLayout({"last": 1, "bytes": 3}), depth=self._depth, init=[]
        )
        end, end_out = ends.write_port(), ends.read_port(domain="comb")
        for port, value in (
            (end.addr, asked + ar.payload.length),
            (end.data, Cat(last_row, span[:3] + 1)),
            (end.en, ar.valid),
        ):
            later = Signal.like(Value.cast(port))
            m.d.sync += later.eq(value)
            m.d.comb += port.eq(later)
        m.d.comb += end_out.addr.eq(gone)
        word, word_out = words.write_port(), words.read_port(domain="comb")
        beat = self.r.payload
        m.d.comb += [
            self.r.ready.eq(1),
            word.addr.eq(come),
            word.data.eq(Cat(beat.data, beat.last)),
            word.en.eq(self.r.valid),
            word_out.addr.eq(gone),
        ]
        with m.If(self.r.valid):
            m.d.sync += come.eq(come + 1)
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += [
                self.o.payload.data.eq(word_out.data.data),
                self.o.payload.last.eq(word_out.data.last & end_out.data.last),
                self.o.payload.bytes.eq(end_out.data.bytes),
                self.o.valid.eq(come != gone),
                gone.eq(gone + (come != gone)),
            ]
        m.d.sync += [
            self.failed.eq(self.r.valid & beat.response[1]),
            self.response.eq(beat.response),
        ]

        return m
