"""Weights from memory, once for every batch of a job."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.axi import ReadPort, Response
from hw.shell.jobs import FRAMES_WIDTH, JOB
from hw.shell.reader import Reader

__all__ = ["WeightReader"]

PATIENCE_CYCLES = 1 << 20  # 10 ms at 100 MHz, where a busy memory takes microseconds
_DEPTH = 128  # words of the buffer: what the 8 bursts have that the PS7's port has under way


class WeightReader(wiring.Component):
    """Reads the same words of memory again for every batch of a job.

    A `Reader` that each batch is a job for, so it is ahead of the pipeline by its buffer of 128
    words, across batches and across jobs. Some 25 cycles pass from a batch's last burst to the next
    one's first; the buffer bridges them where the memory answers within half as many as its words.

    About 250 LUT6.

    Parameters
    ----------
    words : int
        64-bit words that a batch takes, 1..2**29-1.
    patience_cycles : int
        The memory has starved the pipeline when it has kept it waiting for a word for so long; a
        power of two.

    Members
    -------
    job : In(stream.Signature(JOB))
        The words' address, a multiple of 8, and how many batches there are.
    ar, r : Out, In
        Of a `ReadPort`.
    o : Out(stream.Signature(64))
        The words, lowest address first.
    halt, idle, failed, response
        As a `Reader` has them.
    starved : Out(1)
        The pipeline has waited for too long. Stays so until the reset.

    Raises
    ------
    ValueError
        A parameter out of its range.
    """

    def __init__(self, *, words: int, patience_cycles: int = PATIENCE_CYCLES):
        if not 1 <= words < 1 << 29:
            raise ValueError(f"Weights are 1..2**29-1 words, not {words}")
        if patience_cycles < 1 or patience_cycles & (patience_cycles - 1):
            raise ValueError(f"Patience must be a power of two, not {patience_cycles} cycles")
        self._words, self._patience_cycles = words, patience_cycles
        port = ReadPort().members
        super().__init__(
            {
                "job": In(stream.Signature(JOB)),
                "ar": port["ar"],
                "r": port["r"],
                "o": Out(stream.Signature(64)),
                "halt": In(1),
                "idle": Out(1),
                "failed": Out(1),
                "response": Out(Response),
                "starved": Out(1),
            }
        )

    @property
    def words(self) -> int:
        return self._words

    @property
    def patience_cycles(self) -> int:
        return self._patience_cycles

    def elaborate(self, platform):
        m = Module()

        m.submodules.reader = reader = Reader(frame_bytes=8 * self._words, depth=_DEPTH)
        wiring.connect(m, reader.ar, wiring.flipped(self.ar))
        wiring.connect(m, reader.r, wiring.flipped(self.r))

        # For every batch a job of one frame, which is all the weights.
        address = Signal(32)
        batches = Signal(FRAMES_WIDTH)  # that are not begun
        m.d.comb += [
            self.job.ready.eq((batches == 0) & ~self.halt),
            reader.job.payload.address.eq(address),
            reader.job.payload.frames.eq(1),
            reader.job.valid.eq(batches != 0),
        ]
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [address.eq(self.job.payload.address), batches.eq(self.job.payload.frames)]
        with m.Elif(reader.job.valid & reader.job.ready):
            m.d.sync += batches.eq(batches - 1)

        m.d.comb += [
            self.o.payload.eq(reader.o.payload.data),
            self.o.valid.eq(reader.o.valid),
            reader.o.ready.eq(self.o.ready),
            reader.halt.eq(self.halt),
            self.idle.eq(reader.idle & ((batches == 0) | self.halt)),
            self.failed.eq(reader.failed),
            self.response.eq(reader.response),
        ]

        waited = Signal(range(2 * self._patience_cycles))
        m.d.comb += self.starved.eq(waited[-1])
        with m.If(~self.starved):
            waits = self.o.ready & ~self.o.valid & ~self.idle
            m.d.sync += waited.eq(Mux(waits, waited + 1, 0))

        return m
