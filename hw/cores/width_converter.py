"""Width conversion: vectors that come some lanes a beat leave other lanes a beat."""

from math import gcd

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WidthConverter", "converter_sizes"]


def converter_sizes(elements: int, i_lanes: int, o_lanes: int) -> tuple[int, int, int]:
    """What a converter holds, in elements: its capacity, and what an input beat adds to it.

    A vector always leaves in whole beats, so its last input beat counts for as much as fills the
    last output beat. Then vectors follow each other without a seam and nobody counts output beats.

    Returns
    -------
    capacity : int
        Enough for one beat in and one beat out every cycle, whichever side is the narrower.
    step : int
        What an input beat adds, `i_lanes`.
    last_step : int
        What the last input beat of a vector adds.
    """
    unit = gcd(i_lanes, o_lanes)
    beats = -(-elements // i_lanes)
    last_step = -(-elements // o_lanes) * o_lanes - (beats - 1) * i_lanes
    largest = max(i_lanes, last_step)
    # It takes a beat while `largest` fit. Never to starve the output, what is held when it does
    # not take one must be two output beats; never to stall the input, what is held when it gives
    # none must leave room for two more input beats.
    return largest + o_lanes + max(largest, o_lanes) - unit, i_lanes, last_step


class WidthConverter(wiring.Component):
    """Regroups vectors of `elements` elements from `i_lanes` to `o_lanes` elements a beat.

    Element 0 of a vector is in the lowest bits of its first beat on both sides; padding lanes of
    the last input beat are dropped, those of the last output beat are 0. An output beat can leave
    the cycle after the input beat that completes it. Ready and valid come from registers alone.

    A shift register of `converter_sizes` elements: output beats leave at the bottom, input beats
    enter above what is held. Cheapest where one lane count divides the other.

    Parameters
    ----------
    width : int
        Bits of an element, at least 1.
    elements : int
        Elements of a vector, at least 1.
    i_lanes, o_lanes : int
        In 1..elements.

    Members
    -------
    i : In(stream.Signature(ArrayLayout(width, i_lanes)))
    o : Out(stream.Signature(ArrayLayout(width, o_lanes)))
    """

    def __init__(self, *, width: int, elements: int, i_lanes: int, o_lanes: int):
        if width < 1 or elements < 1:
            raise ValueError(f"Width and elements must be at least 1, not {width} and {elements}")
        for name, lanes in (("i_lanes", i_lanes), ("o_lanes", o_lanes)):
            if not 1 <= lanes <= elements:
                raise ValueError(f"{name} must be in 1..{elements}, not {lanes}")
        self._width, self._elements = width, elements
        self._i_lanes, self._o_lanes = i_lanes, o_lanes
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(width, i_lanes))),
                "o": Out(stream.Signature(data.ArrayLayout(width, o_lanes))),
            }
        )

    @property
    def elements(self) -> int:
        return self._elements

    def elaborate(self, platform):
        m = Module()

        # Everything moves by multiples of the lanes' greatest common divisor, the unit.
        unit = gcd(self._i_lanes, self._o_lanes)
        sizes = converter_sizes(self._elements, self._i_lanes, self._o_lanes)
        capacity, step, last_step = (size // unit for size in sizes)
        o_step = self._o_lanes // unit
        unit_bits = unit * self._width

        i_beats = -(-self._elements // self._i_lanes)
        beat = Signal(range(max(2, i_beats)))
        last = beat == i_beats - 1
        held = Signal(capacity * unit_bits)  # zero above what is held
        level = Signal(range(capacity + 1))

        m.d.comb += [
            self.i.ready.eq(level <= capacity - max(step, last_step)),
            self.o.valid.eq(level >= o_step),
            self.o.payload.as_value().eq(held),
        ]

        taken = Signal()
        given = Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            given.eq(self.o.valid & self.o.ready),
        ]

        kept = Signal.like(held)
        base = Signal.like(level)
        m.d.comb += [
            kept.eq(Mux(given, held[o_step * unit_bits :], held)),
            base.eq(Mux(given, level - o_step, level)),
        ]

        last_bits = (self._elements - (i_beats - 1) * self._i_lanes) * self._width
        arriving = Signal(self._i_lanes * self._width)
        m.d.comb += arriving.eq(self.i.payload.as_value())
        with m.If(last):
            m.d.comb += arriving[last_bits:].eq(0)

        m.d.sync += [held.eq(kept), level.eq(base)]
        with m.If(taken):
            m.d.sync += level.eq(base + Mux(last, last_step, step))
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
            with m.Switch(base):
                for position in range(capacity - max(step, last_step) + 1):
                    with m.Case(position):
                        m.d.sync += held[position * unit_bits :].eq(
                            kept[position * unit_bits :] | arriving
                        )

        return m
