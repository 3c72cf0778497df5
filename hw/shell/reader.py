"""The reader: frames from memory, as a stream of 64-bit words."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hw.shell.axi import BURST_BEATS, MemoryPort, Response
from hw.shell.jobs import FRAMES_WIDTH, JOB

__all__ = ["WORD", "Reader"]

_BURSTS = 16  # outstanding at most

_END = data.StructLayout({"last": 1, "bytes": 3})
# A word of a job's frames. `last`: the job ends in it, with `bytes` of it (0: all eight).
WORD = data.StructLayout({"data": 64, "last": 1, "bytes": 3})


class Reader(wiring.Component):
    """Reads the frames of jobs, which lie in memory without a gap.

    Bursts are of up to 16 words and end at multiples of 128 bytes, so they never cross 4 KiB.
    Several are outstanding, but only as many words as there is room for: `r` is always ready, and
    a stalled pipeline never blocks the memory. A job's size takes 16 cycles to multiply, during
    which what is buffered goes on.

    Parameters
    ----------
    frame_bytes : int
        Bytes of a frame, at least 1.
    depth : int
        Words of the buffer, a power of two from 32. It is LUT RAM, of which 64 are as many LUTs
        again as 32; the memory's latency decides: (depth - 16) words a burst's round trip.

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

        # Memory is rows of a burst's 16 words. `span` is what there is to read beyond the byte at
        # the start of the present row: rows, words and bytes of the job's last byte.
        row = Signal(25)
        offset = Signal(4)
        high = Signal(signed(max(8, self._frame_bytes.bit_length() + 1)))
        low = Signal(FRAMES_WIDTH)
        span = Cat(low, high)
        last_row = Signal()
        length = Signal(4)
        m.d.comb += [
            last_row.eq(span[7:] == 0),
            length.eq(Mux(last_row, span[3:7], BURST_BEATS - 1) - offset),
        ]

        # Words that are neither here nor under way, and how the bursts that are under way end.
        room = Signal(range(self._depth + 1), init=self._depth)
        m.submodules.bursts = bursts = SyncFIFO(width=_END.size, depth=_BURSTS)
        begin = Signal()
        taken = Signal()
        m.d.sync += room.eq(room - Mux(begin, length + 1, 0) + taken)

        step = Signal(range(FRAMES_WIDTH))
        with m.FSM() as fsm:
            with m.State("IDLE"):
                job = self.job.payload
                m.d.comb += self.job.ready.eq(~self.halt)
                m.d.sync += [
                    Cat(offset, row).eq(job.address[3:]),
                    low.eq(job.frames),
                    high.eq(Cat(Const(0b111), job.address[3:7] - 1).as_signed()),
                ]
                with m.If(self.job.valid & self.job.ready & job.frames.any()):
                    m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                # From the lowest bit of the frames, whose place the product takes.
                total = high + Mux(low[0], self._frame_bytes, 0)
                m.d.sync += [Cat(low, high).eq(Cat(low[1:], total)), step.eq(step + 1)]
                with m.If(self.halt):
                    m.next = "IDLE"
                with m.Elif(step == FRAMES_WIDTH - 1):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += self.ar.payload.length.eq(length)
                with m.If(self.halt):
                    m.next = "IDLE"
                with m.Elif(room[4:].any() & bursts.w_rdy):
                    m.d.comb += begin.eq(1)
                    m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += self.ar.valid.eq(1)
                with m.If(self.ar.ready):
                    m.d.sync += [offset.eq(0), row.eq(row + 1), span.eq(span - 128)]
                    with m.If(last_row):
                        m.next = "IDLE"
                    with m.Else():
                        m.next = "WAIT"
        m.d.comb += [
            self.ar.payload.address[3:].eq(Cat(offset, row)),
            self.idle.eq(fsm.ongoing("IDLE") & ~bursts.r_rdy),
        ]

        m.d.comb += self.r.ready.eq(1)
        end = data.View(_END, bursts.w_data)
        ended = data.View(_END, bursts.r_data)
        beat = self.r.payload
        m.d.comb += [
            end.last.eq(last_row),
            end.bytes.eq(span[:3] + 1),
            bursts.w_en.eq(begin),
            bursts.r_en.eq(self.r.valid & beat.last),
        ]
        m.d.sync += [
            self.failed.eq(self.r.valid & beat.response[1]),
            self.response.eq(beat.response),
        ]

        m.submodules.words = words = SyncFIFO(width=WORD.size, depth=self._depth)
        word = data.View(WORD, words.w_data)
        m.d.comb += [
            word.data.eq(beat.data),
            word.last.eq(ended.last & beat.last),
            word.bytes.eq(ended.bytes),
            words.w_en.eq(self.r.valid),
            self.o.payload.as_value().eq(words.r_data),
            self.o.valid.eq(words.r_rdy),
            words.r_en.eq(self.o.ready),
            taken.eq(self.o.valid & self.o.ready),
        ]

        return m
