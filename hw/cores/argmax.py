"""Argmax: which of a vector's elements is the largest."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Argmax"]


class Argmax(wiring.Component):
    """The index of the largest of `elements` unsigned elements; ties go to the lowest index.

    The index can leave the cycle after the last beat came. A new vector may come at once; its last
    beat waits until the index before it has left.

    Parameters
    ----------
    width : int
        Bits of an element, at least 1.
    elements : int
        Elements of a vector, at least 2.
    lanes : int
        Elements a beat, in 1..elements. A beat is reduced in one cycle by ceil(log2(lanes))
        comparisons one after the other.

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
        beat = Signal(range(max(2, beats)))
        last = beat == beats - 1
        m.d.comb += self.i.ready.eq(~last | ~self.o.valid | self.o.ready)

        # The largest of this beat. A padding lane counts as 0, which never beats a lane before it.
        candidates = []
        for lane in range(self._lanes):
            value = self.i.payload[lane]
            candidates.append((Mux(last, 0, value) if lane >= used else value, lane))
        while len(candidates) > 1:
            reduced = []
            for index in range(0, len(candidates) - 1, 2):
                (a, a_lane), (b, b_lane) = candidates[index : index + 2]
                b_wins = Signal(name=f"b_wins_{len(candidates)}_{index}")
                largest = Signal(self._width, name=f"largest_{len(candidates)}_{index}")
                lane = Signal(range(self._lanes), name=f"lane_{len(candidates)}_{index}")
                m.d.comb += [
                    b_wins.eq(b > a),
                    largest.eq(Mux(b_wins, b, a)),
                    lane.eq(Mux(b_wins, b_lane, a_lane)),
                ]
                reduced.append((largest, lane))
            candidates = reduced + candidates[2 * len(reduced) :]
        value, lane = candidates[0]

        # The largest so far; an earlier element keeps its place among equals.
        best = Signal(self._width)
        best_index = Signal(range(self._elements))
        start = Signal(range(self._elements))  # index of this beat's lane 0
        index = Signal(range(self._elements))
        wins = Signal()
        m.d.comb += [
            wins.eq((beat == 0) | (value > best)),
            index.eq(Mux(wins, start + lane, best_index)),
        ]

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                best.eq(Mux(wins, value, best)),
                best_index.eq(index),
                beat.eq(beat + 1),
                start.eq(start + self._lanes),
            ]
            with m.If(last):
                m.d.sync += [
                    beat.eq(0),
                    start.eq(0),
                    self.o.valid.eq(1),
                    self.o.payload.eq(index),
                ]

        return m
