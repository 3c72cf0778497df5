"""Threshold: integers become bits, where the stream passes."""

from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Threshold", "at_least"]


def at_least(count: Value, threshold: int) -> Value:
    """Whether a count reaches a constant, as logic from its lowest bit up: no carry chain."""
    if threshold >> len(count):
        return Const(0)
    reached = Const(1)
    for k in range(len(count)):
        reached = count[k] & reached if threshold >> k & 1 else count[k] | reached
    return reached


class Threshold(wiring.Component):
    """Bit = (x >= threshold), element by element; no register, no latency.

    Parameters
    ----------
    width : int
        Bits of an (unsigned) element, at least 1.
    thresholds : sequence of int
        One for each element of a vector, in 0..2^width: 0 is always on, 2^width never. Where all
        are equal they cost one constant comparison a lane, else a small ROM and a beat counter.
    lanes : int
        Elements a beat, in 1..len(thresholds).

    Members
    -------
    i : In(stream.Signature(ArrayLayout(width, lanes)))
    o : Out(stream.Signature(ArrayLayout(1, lanes)))
        Padding lanes of the last beat carry anything.
    """

    def __init__(self, *, width: int, thresholds: Sequence[int], lanes: int):
        thresholds = [int(threshold) for threshold in thresholds]
        if width < 1:
            raise ValueError(f"Width must be at least 1, not {width}")
        if not 1 <= lanes <= len(thresholds):
            raise ValueError(f"Lanes must be in 1..{len(thresholds)}, not {lanes}")
        for element, threshold in enumerate(thresholds):
            if not 0 <= threshold <= 1 << width:
                raise ValueError(
                    f"Thresholds must be in 0..{1 << width}, not {threshold} (element {element})"
                )
        self._width, self._thresholds, self._lanes = width, thresholds, lanes
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(width, lanes))),
                "o": Out(stream.Signature(data.ArrayLayout(1, lanes))),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.d.comb += [
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]

        if len(set(self._thresholds)) == 1:
            for lane in range(self._lanes):
                m.d.comb += self.o.payload[lane].eq(self.i.payload[lane] >= self._thresholds[0])
            return m

        beats = [
            self._thresholds[start : start + self._lanes]
            for start in range(0, len(self._thresholds), self._lanes)
        ]
        beat = Signal(range(max(2, len(beats))))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += beat.eq(Mux(beat == len(beats) - 1, 0, beat + 1))

        with m.Switch(beat):
            for index, constants in enumerate(beats):
                with m.Case(index):
                    for lane, constant in enumerate(constants):
                        m.d.comb += self.o.payload[lane].eq(self.i.payload[lane] >= constant)

        return m
