"""Argmax: which of a vector's elements is the largest."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Argmax", "argmax_cycles"]


def argmax_cycles(lanes: int) -> int:
    """Cycles from a vector's last beat to its index: a level of comparisons takes one."""
    return 1 + (lanes - 1).bit_length()


class Argmax(wiring.Component):
    """The index of the largest of `elements` unsigned elements; ties go to the lowest index.

    The index can leave `argmax_cycles(lanes)` cycles after the last beat came. A new vector may
    come at once; when its index is ready before the last one has left, everything waits.

    Parameters
    ----------
    width : int
        Bits of an element, at least 1.
    elements : int
        Elements of a vector, at least 2.
    lanes : int
        Elements a beat, in 1..elements. ceil(log2(lanes)) levels of comparisons find the largest
        of a beat, one more compares it with the beats before; a register follows each level.

    Members
    -------
    i : In(stream.Signature(ArrayLayout(width, lanes)))
        Padding lanes of the last beat are ignored.
    o : Out(stream.Signature(range(elements)))
    """

    def __init__(self, *, width: int, elements: int, lanes: int):
        if width < 1:
            raise ValueError(f"Width must be at least 1, not {width}")
        if elements < 2:
            raise ValueError(f"Elements must be at least 2, not {elements}")
        if not 1 <= lanes <= elements:
            raise ValueError(f"Lanes must be in 1..{elements}, not {lanes}")
        self._width, self._elements, self._lanes = width, elements, lanes
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(width, lanes))),
                "o": Out(stream.Signature(range(elements))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        beats = -(-self._elements // self._lanes)
        used = self._elements - (beats - 1) * self._lanes  # lanes of the last beat
        advance = Signal()
        valid, last = self.i.valid, Const(1)
        if beats > 1:
            beat = Signal(range(beats))
            last = beat == beats - 1
            with m.If(valid & advance):
                m.d.sync += beat.eq(Mux(last, 0, beat + 1))

        # The largest of this beat. A padding lane counts as 0, which never beats a lane before it.
        candidates = []
        for lane in range(self._lanes):
            value = self.i.payload[lane]
            candidates.append((Mux(last, 0, value) if lane >= used else value, lane))
        for level in range(1, argmax_cycles(self._lanes)):
            registers = Signal(2, name=f"valid_last_{level}")
            with m.If(advance):
                m.d.sync += registers.eq(Cat(valid, valid & last))
            valid, last = registers
            candidates = [
                self._larger(m, advance, candidates[pair : pair + 2], f"{level}_{pair // 2}")
                for pair in range(0, len(candidates), 2)
            ]
        [(value, lane)] = candidates

        # The largest so far; an earlier element keeps its place among equals.
        best = Signal(self._width, reset_less=True)
        best_index = Signal(range(self._elements), reset_less=True)
        start = Signal(range(self._elements))  # index of this beat's lane 0
        wins = Signal()
        index = Signal(range(self._elements))
        m.d.comb += [
            advance.eq(~last | ~self.o.valid | self.o.ready),
            self.i.ready.eq(advance),
            wins.eq((start == 0) | (value > best)),
            index.eq(Mux(wins, start + lane, best_index)),
        ]

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(valid & advance):
            m.d.sync += [
                best_index.eq(index),
                start.eq(Mux(last, 0, start + self._lanes)),
            ]
            with m.If(wins):
                m.d.sync += best.eq(value)
            with m.If(last):
                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(index)]

        return m

    def _larger(self, m, advance, pair, name):
        """The larger of a pair, or of one, in registers: its value and its lane."""
        value, lane = pair[0]
        if len(pair) == 2:
            wins = Signal(name=f"second_wins_{name}")
            m.d.comb += wins.eq(pair[1][0] > value)
            value, lane = (Mux(wins, second, first) for first, second in zip(*pair, strict=True))
        largest = Signal(self._width, name=f"largest_{name}", reset_less=True)
        largest_lane = Signal(range(self._lanes), name=f"lane_{name}", reset_less=True)
        with m.If(advance):
            m.d.sync += [largest.eq(value), largest_lane.eq(lane)]
        return largest, largest_lane
