"""Width conversion: vectors that come some lanes a beat leave other lanes a beat."""

from math import gcd, lcm

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["WidthConverter", "converter_sizes", "dropped_beats"]


# Elements above which a ring does not hold whole vectors.
_LARGE = 1024


def converter_sizes(elements: int, i_lanes: int, o_lanes: int) -> tuple[int, int, int]:
    """What a converter holds, in elements: its capacity, and what an input beat adds to it.

    A vector always leaves in whole beats, so its last input beat counts for as much as fills the
    last output beat. Then vectors follow each other without a seam and nobody counts output beats.
    But a ring of whole vectors is for small ones: of a large one whose input beats are cut into
    output beats, the last counts as if it were full, and what is padding is dropped on its way out.

    Returns
    -------
    capacity : int
        Enough for one beat in and one beat out every cycle, whichever side is the narrower. A
        multiple of `o_lanes`; and of a whole vector, or of `i_lanes` where vectors come in whole
        input beats too, so that an element's place tells in which lane it came.
    step : int
        What an input beat adds, `i_lanes`.
    last_step : int
        What the last input beat of a vector adds.
    """
    beats = -(-elements // i_lanes)
    vector = -(-elements // o_lanes) * o_lanes
    last_step = vector - (beats - 1) * i_lanes
    # Never to starve the output, what is held when no beat fits must be two output beats; never to
    # stall the input, what is held when none can leave must leave room for two more input beats.
    # Two vectors do, however they are cut.
    largest = max(i_lanes, last_step)
    enough = largest + o_lanes + max(largest, o_lanes) - gcd(i_lanes, o_lanes)
    capacity = vector if vector >= enough else 2 * vector
    if capacity > _LARGE and i_lanes % o_lanes == 0:
        last_step = i_lanes
    if last_step == i_lanes:
        both = lcm(i_lanes, o_lanes)
        capacity = min(capacity, -(-enough // both) * both)
    return capacity, i_lanes, last_step


def dropped_beats(elements: int, i_lanes: int, o_lanes: int) -> int:
    """Output beats of nothing but padding that are dropped behind a vector, a cycle each."""
    _, step, last_step = converter_sizes(elements, i_lanes, o_lanes)
    held = (-(-elements // i_lanes) - 1) * step + last_step
    return held // o_lanes - -(-elements // o_lanes)


class WidthConverter(wiring.Component):
    """Regroups vectors of `elements` elements from `i_lanes` to `o_lanes` elements a beat.

    Element 0 of a vector is in the lowest bits of its first beat on both sides; padding lanes of
    the last input beat are dropped. An output beat can leave the cycle after the input beat that
    completes it. Ready and valid are registers, but where padding is dropped: see `dropped_beats`,
    each of which takes a cycle.

    A ring of `converter_sizes` elements. Each has one lane that writes it, so only the reading side
    needs a multiplexer: `o_lanes` of capacity / o_lanes to 1, about half a LUT4 or a quarter of a
    LUT6 and one flip-flop for an element of capacity.

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
        Padding lanes of the last beat carry anything.
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

        capacity, step, last_step = converter_sizes(self._elements, self._i_lanes, self._o_lanes)
        if step == last_step:
            steps = [step] * (capacity // step)
        else:
            beats = -(-self._elements // self._i_lanes)
            vector = (beats - 1) * step + last_step
            steps = ([step] * (beats - 1) + [last_step]) * (capacity // vector)

        taken = Signal()
        given = Signal()
        m.d.comb += taken.eq(self.i.valid & self.i.ready)

        # Input beat `row` has its place in the ring, whatever vector it belongs to.
        ring = Signal(capacity * self._width, reset_less=True)
        row = Signal(range(len(steps)))
        with m.If(taken):
            m.d.sync += row.eq(Mux(row == len(steps) - 1, 0, row + 1))
            with m.Switch(row):
                start = 0
                for number, size in enumerate(steps):
                    bits = min(size, step) * self._width
                    with m.Case(number):
                        m.d.sync += ring[start:][:bits].eq(self.i.payload.as_value())
                    start += size * self._width

        o_bits = self._o_lanes * self._width
        o_rows = capacity // self._o_lanes
        o_row = Signal(range(o_rows))
        with m.If(given):
            m.d.sync += o_row.eq(Mux(o_row == o_rows - 1, 0, o_row + 1))
        with m.Switch(o_row):
            for number in range(o_rows):
                with m.Case(number) if number < o_rows - 1 else m.Default():
                    m.d.comb += self.o.payload.as_value().eq(ring[number * o_bits :])

        # Behind a vector comes what padded its last input beat.
        drops = Signal()
        dropped = dropped_beats(self._elements, self._i_lanes, self._o_lanes)
        if dropped:
            beats = -(-self._elements // self._o_lanes)
            beat = Signal(range(beats + dropped))
            m.d.comb += drops.eq(beat >= beats)
            with m.If(given):
                m.d.sync += beat.eq(Mux(beat == beats + dropped - 1, 0, beat + 1))

        # What is held beyond the next output beat, and what is free beyond the next input beat:
        # their signs alone say whether a beat can leave and whether one fits. The last input beat
        # of a vector adds at most `o_lanes - 1` more than others and still fits where they do: all
        # else that is held then is whole output beats, as is the ring.
        unit = gcd(self._i_lanes, self._o_lanes)
        beyond = Signal(signed((capacity // unit).bit_length() + 1), init=-self._o_lanes // unit)
        free = Signal.like(beyond, init=(capacity - step) // unit)
        last = [row == number for number, size in enumerate(steps) if size != step]
        added = Mux(Cat(last).any(), last_step // unit, step // unit)
        change = Signal.like(beyond)
        m.d.comb += [
            self.o.valid.eq((beyond >= 0) & ~drops),
            given.eq((beyond >= 0) & (self.o.ready | drops)),
            self.i.ready.eq(free >= 0),
            change.eq(Mux(taken, added, 0) - Mux(given, self._o_lanes // unit, 0)),
        ]
        m.d.sync += [beyond.eq(beyond + change), free.eq(free - change)]

        return m
