"""The aligner: frames that lie in words without a gap, each from the start of a beat."""

from math import gcd

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.reader import WORD

__all__ = ["Aligner"]


class Aligner(wiring.Component):
    """Shifts frames so that each begins with a beat of its own.

    A frame leaves in ceil(frame_bytes / o_bytes) beats. A beat leaves in the cycle in which the
    last word that it needs comes. Of a job's last word, what lies behind the last frame is dropped.
    Where frames begin in fresh words, and beats are words, these are wires.

    About 80 LUT6 where frames begin at four places in a word, twice as many for beats of two words.

    Parameters
    ----------
    frame_bytes : int
        Bytes of a frame, at least 1.
    o_bytes : int
        Bytes of a beat. With 8 a frame takes at least ceil(frame_bytes / 8) cycles. With 16, for
        frames of more than 8 bytes, a word is taken every cycle: the end of a frame and the start
        of the next go in one.

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
        if frame_bytes <= 8 < o_bytes:
            raise ValueError(f"Beats of 16 bytes are for larger frames than of {frame_bytes}")
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

        word = self.i.payload
        if self._frame_bytes % 8 == 0 and self._o_bytes == 8:
            m.d.comb += [
                self.o.payload.eq(word.data),
                self.o.valid.eq(self.i.valid),
                self.i.ready.eq(self.o.ready),
            ]
            return m

        # A frame is cut into pieces of 8 bytes, the last one of `rest`. Places are counted in
        # units, the finest at which a frame can begin or end.
        unit = gcd(self._frame_bytes, 8)
        units = 8 // unit
        pieces = -(-self._frame_bytes // 8)
        rest = self._frame_bytes // unit - (pieces - 1) * units

        # The next piece begins at `start` in the word that is held, and ends at `end` in that word
        # or, if it goes `beyond`, in the one that comes. If it has not `used` the held one, there
        # is more.
        held = Signal.like(word)
        full = Signal()
        start, end = Signal(range(units)), Signal(range(units))
        number = Signal(range(pieces))
        last = Signal(init=pieces == 1)
        beyond, used = Signal(), Signal()
        with m.Switch(Cat(start, last)):
            for at in range(units):
                for size, final in ((units, 0), (rest, 1)):
                    with m.Case(at + units * final):
                        m.d.comb += [
                            end.eq((at + size) % units),
                            beyond.eq(at + size > units),
                            used.eq(at + size >= units),
                        ]
        here = full & (self.i.valid | ~beyond)
        # The last frame of a job ends where the job does.
        job_ends = Mux(beyond, word.last, held.last)
        job_end = Mux(beyond, word.bytes, held.bytes)
        over = last & job_ends & (end == job_end // unit)

        def piece(place, name):
            """The 8 bytes from a place on."""
            found = Signal(64, name=name)
            with m.Switch(place):
                for at in range(units):
                    with m.Case(at):
                        m.d.comb += found.eq(Cat(held.data, word.data)[8 * unit * at :])
            return found

        moves = Signal()
        both = Signal()  # the next frame's first piece goes along
        present = piece(start, "present")
        if self._o_bytes == 8:
            m.d.comb += [
                self.o.payload.eq(present),
                self.o.valid.eq(here),
                moves.eq(here & self.o.ready),
            ]
        else:
            # The lower half of a beat waits for the upper one, unless its frame ends.
            lower = Signal(64)
            odd = number[0]
            alone = 8 * unit * rest if pieces % 2 else 0  # bits that may have to go without
            m.d.comb += [
                self.o.payload.eq(Cat(Mux(odd, lower, present)[:alone], lower[alone:], present)),
                self.o.valid.eq(here & (odd | last)),
                moves.eq(here & (self.o.ready | ~(odd | last))),
                both.eq(moves & last & ~used & ~over & self.i.valid),
            ]
            following = piece(Mux(last, end, start), "following")
            with m.If(moves):
                m.d.sync += lower.eq(following)

        after = Mux(last, both, number + 1)
        with m.If(moves):
            m.d.sync += [number.eq(after), last.eq(after == pieces - 1)]
            with m.If(over):
                m.d.sync += start.eq(0)
            with m.Elif(last):
                m.d.sync += start.eq(end)
        m.d.comb += self.i.ready.eq(~full | (moves & (used | over)) | both)
        with m.If(self.i.ready):
            m.d.sync += [held.eq(word), full.eq(self.i.valid & ~(full & beyond & over))]

        return m
