"""The aligner: frames that lie in words without a gap, each from the start of a beat."""

from math import gcd

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.reader import WORD

__all__ = ["Aligner"]


class _Pairs(wiring.Component):
    """Words in pairs: a beat every two cycles. A job's last word may go alone, as the low one."""

    i: In(stream.Signature(WORD))
    o: Out(stream.Signature(data.StructLayout({"data": 128, "last": 1, "bytes": 4})))

    def elaborate(self, platform):
        m = Module()

        low = Signal(WORD)
        held = Signal()
        m.d.comb += [
            self.i.ready.eq(~held | (self.o.ready & ~low.last)),
            self.o.valid.eq(held & (self.i.valid | low.last)),
            self.o.payload.data.eq(Cat(low.data, self.i.payload.data)),
            self.o.payload.last.eq(low.last | self.i.payload.last),
            # Modulo 16: all eight bytes of a low word are 8, all of a high one 0.
            self.o.payload.bytes[:3].eq(Mux(low.last, low.bytes, self.i.payload.bytes)),
            self.o.payload.bytes[3].eq(low.last ^ self.o.payload.bytes[:3].any()),
        ]
        with m.If(~held):
            m.d.sync += [held.eq(self.i.valid), low.eq(self.i.payload)]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += held.eq(0)

        return m


class Aligner(wiring.Component):
    """Shifts frames so that each begins with a beat of its own.

    A frame leaves in ceil(frame_bytes / o_bytes) beats. Nothing is held back: a beat leaves in the
    cycle in which the last word that it needs comes. Of a job's last word, what lies behind the
    last frame is dropped. Where all frames begin in fresh words these are wires.

    For o_bytes = 8 one word is held, and takes a multiplexer a bit of as many positions as frames
    begin at: 64 LUT6 for four.

    Parameters
    ----------
    frame_bytes : int
        Bytes of a frame, at least 1.
    o_bytes : int
        Bytes of a beat. With 8 a frame takes at least ceil(frame_bytes / 8) cycles; with 16, for
        which words are paired first, frame_bytes / 8, which counts for small frames.

    Members
    -------
    i : In(stream.Signature(WORD))
        A job is frame_bytes * frames bytes.
    o : Out(stream.Signature(8 * o_bytes))
        What is beyond the end of a frame carries anything, and may change while the beat waits.

    Raises
    ------
    ValueError
        A parameter out of its range.
    """

    def __init__(self, *, frame_bytes: int, o_bytes: int = 8):
        if frame_bytes < 1:
            raise ValueError(f"A frame has at least 1 byte, not {frame_bytes}")
        if o_bytes not in (8, 16):
            raise ValueError(f"Bytes of a beat must be 8 or 16, not {o_bytes}")
        self._frame_bytes, self._o_bytes = frame_bytes, o_bytes
        super().__init__({"i": In(stream.Signature(WORD)), "o": Out(stream.Signature(8 * o_bytes))})

    @property
    def frame_bytes(self) -> int:
        return self._frame_bytes

    @property
    def o_bytes(self) -> int:
        return self._o_bytes

    def elaborate(self, platform):
        m = Module()

        words = wiring.flipped(self.i)
        if self._o_bytes == 16:
            m.submodules.pairs = pairs = _Pairs()
            wiring.connect(m, words, pairs.i)
            words = pairs.o
        if self._frame_bytes % self._o_bytes == 0:
            m.d.comb += [
                self.o.payload.eq(words.payload.data),
                self.o.valid.eq(words.valid),
                words.ready.eq(self.o.ready),
            ]
            return m

        # Positions are counted in `unit` bytes, the finest at which a frame can begin or end.
        unit = gcd(self._frame_bytes, self._o_bytes)
        units = self._o_bytes // unit
        beats = -(-self._frame_bytes // self._o_bytes)
        rest = self._frame_bytes // unit - (beats - 1) * units  # of the last beat, 1..units

        # The next beat begins at `start` in the word that is held.
        held = Signal.like(words.payload)
        full = Signal()
        start = Signal(range(units))
        both = Cat(held.data, words.payload.data)
        m.d.comb += self.o.payload.eq((both >> (start * 8 * unit))[: 8 * self._o_bytes])

        beat = Signal(range(beats))
        last_beat = beat == beats - 1
        end = Signal(range(2 * units + 1))
        beyond = Signal()  # the beat ends in the word that comes
        used = Signal()  # it needs all that is left of the word that is held
        m.d.comb += [
            end.eq(start + Mux(last_beat, rest, units)),
            beyond.eq(end > units),
            used.eq(end >= units),
        ]
        # The last frame of a job ends where the job does.
        ends_in = Mux(
            beyond, Cat(words.payload.last, words.payload.bytes), Cat(held.last, held.bytes)
        )
        over = last_beat & ends_in[0] & (end[: len(start)] == ends_in[1:] // unit)
        moves = self.o.valid & self.o.ready
        m.d.comb += [
            self.o.valid.eq(full & (words.valid | ~beyond)),
            words.ready.eq(~full | (moves & (used | over))),
        ]
        with m.If(moves):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
            with m.If(over):
                m.d.sync += start.eq(0)
            with m.Elif(last_beat):
                m.d.sync += start.eq(end)
        with m.If(words.ready):
            m.d.sync += [held.eq(words.payload), full.eq(words.valid & ~(beyond & over & full))]

        return m
