"""Quantiser: scores become bits or levels, by thresholds that may depend on the place."""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from hw.cores.results import keep_results
from hw.cores.rom import LATENCY, Rom
from hw.cores.threshold import at_least

__all__ = ["MOST_LEVELS", "Quantiser", "quantiser_cycles"]

# Thresholds a neuron, at most: a level has 8 bits.
MOST_LEVELS = 255


def quantiser_cycles(width: int) -> int:
    """Cycles from a beat of scores to its levels of `width` bits."""
    return width * LATENCY + 1


class Quantiser(wiring.Component):
    """Gives, for each score, how many of its neuron's thresholds it reaches.

    One threshold makes a bit, `score >= threshold`; several make a level in 0..levels. Its bits are
    found from the highest down, by binary search: each is one comparison with a threshold out of a
    ROM that the bits before have chosen.

    The vectors of a frame are the pixels of an image, in raster order. Each row and each column has
    a class, and thresholds may be different for each pair of classes: at the borders of a
    convolution fewer synapses count.

    A beat a cycle; one leaves `quantiser_cycles(width) = 2 * width + 1` cycles after it came.

    Parameters
    ----------
    thresholds : array of int, shape (neurons,), (neurons, levels), (row classes, column classes,
        neurons) or (row classes, column classes, neurons, levels)
        In 0..top+1: 0 is always reached, top+1 never. Those of a neuron do not decrease; there are
        at most 255.
    top : int
        The largest score, at least 1.
    lanes : int
        Neurons a beat, in 1..neurons.
    row_classes, column_classes : sequence of int
        The class of each row and column of the image, in the range that the thresholds have. Not
        needed where there is one class.
    family : str
        Whose LUTs its ROMs are made for: "xc7", "ecp5", "ice40" or "generic".

    Members
    -------
    i : In(stream.Signature(ArrayLayout(range(top + 1), lanes)))
        Padding lanes of the last beat of a vector are ignored.
    o : Out(stream.Signature(ArrayLayout(levels.bit_length(), lanes)))
        Padding lanes of the last beat of a vector carry anything.

    Raises
    ------
    ValueError
        Naming the parameter, its range and the value.
    """

    def __init__(
        self,
        *,
        thresholds: np.ndarray,
        top: int,
        lanes: int,
        row_classes: Sequence[int] = (0,),
        column_classes: Sequence[int] = (0,),
        family: str = "generic",
    ):
        thresholds = np.asarray(thresholds, dtype=int)
        if thresholds.ndim not in (1, 2, 3, 4) or 0 in thresholds.shape:
            raise ValueError(
                "Thresholds must have shape (neurons,) or (neurons, levels), "
                f"or that for each pair of classes, not {thresholds.shape}"
            )
        if thresholds.ndim % 2:
            thresholds = thresholds[..., np.newaxis]
        if thresholds.ndim == 2:
            thresholds = thresholds[np.newaxis, np.newaxis]
        rows, columns, neurons, levels = thresholds.shape
        if top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        if levels > MOST_LEVELS:
            raise ValueError(f"There must be at most {MOST_LEVELS} levels, not {levels}")
        if not 1 <= lanes <= neurons:
            raise ValueError(f"Lanes must be in 1..{neurons}, not {lanes}")
        for *place, neuron, level in np.argwhere((thresholds < 0) | (thresholds > top + 1)):
            value = thresholds[*place, neuron, level]
            raise ValueError(f"Thresholds must be in 0..{top + 1}, not {value} (neuron {neuron})")
        for *_, neuron, _ in np.argwhere(np.diff(thresholds) < 0):
            raise ValueError(f"Thresholds must not decrease (neuron {neuron})")
        for name, classes, many in (
            ("row_classes", row_classes, rows),
            ("column_classes", column_classes, columns),
        ):
            if not classes or not all(0 <= number < many for number in classes):
                raise ValueError(f"{name} must be in 0..{many - 1}, not {list(classes)}")
        self._thresholds, self._top, self._lanes = thresholds, top, lanes
        self._classes = tuple(row_classes), tuple(column_classes)
        self._family = family
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(range(top + 1), lanes))),
                "o": Out(stream.Signature(data.ArrayLayout(self.width, lanes))),
            }
        )

    @property
    def width(self) -> int:
        """Bits of a level."""
        return self._thresholds.shape[3].bit_length()

    @property
    def groups(self) -> int:
        """Beats of a vector."""
        return -(-self._thresholds.shape[2] // self._lanes)

    def _words(self) -> np.ndarray:
        """The thresholds in the order of their addresses, shape (addresses, lanes, levels).

        They are padded, with what is never reached, to all levels there are in so many bits.
        """
        rows, columns, neurons, levels = self._thresholds.shape
        padding = (self.groups * self._lanes - neurons, (1 << self.width) - 1 - levels)
        padded = np.pad(
            self._thresholds,
            [(0, 0), (0, 0), *((0, more) for more in padding)],
            constant_values=self._top + 1,
        )
        return padded.reshape(rows * columns * self.groups, self._lanes, -1)

    def elaborate(self, platform):
        m = Module()

        # Nothing here waits: a beat is taken when there is room reserved for its levels.
        room, taken = Signal(), Signal()
        m.d.comb += [self.i.ready.eq(room), taken.eq(self.i.valid & room)]

        # Bit by bit. A lane is asked for the threshold of a level that ends in 10..0 and begins
        # with the bits that are known.
        words, valid = self._words(), taken
        scores, place = self.i.payload.as_value(), self._place(m, taken)
        score_width = len(scores) // self._lanes
        levels = [Const(0, 0)] * self._lanes
        for bit in reversed(range(self.width)):
            asked = words[:, :, (1 << bit) - 1 :: 2 << bit]
            thresholds = [
                self._read(m, f"thresholds_{bit}_{lane}", asked[:, lane], Cat(level, place))
                for lane, level in enumerate(levels)
            ]

            scores = self._late(m, scores, f"scores_{bit}", reset_less=True)
            place = self._late(m, place, f"place_{bit}", reset_less=True)
            valid = self._late(m, valid, f"valid_{bit}")
            for lane, threshold in enumerate(thresholds):
                known = self._late(m, levels[lane], f"level_{bit}_{lane}", reset_less=True)
                score = scores.word_select(lane, score_width)
                if asked[:, lane].size == 1:
                    reached = at_least(score, int(asked[0, lane, 0]))
                else:
                    reached = score >= threshold
                levels[lane] = Cat(reached, known)

        keep_results(
            m,
            self.o,
            answer=Cat(levels),
            finished=valid,
            reserve=taken,
            room=room,
            depth=quantiser_cycles(self.width) + 1,
        )
        return m

    def _place(self, m, taken):
        """Which row of `_words` this beat is for, by its place in the vector and the image."""
        groups, across = self.groups, self._thresholds.shape[1]
        rows, columns = self._classes
        parts = {
            "group": range(groups),
            "column": [groups * number for number in columns],
            "row": [groups * across * number for number in rows],
        }
        while parts and not any(parts[next(reversed(parts))]):
            parts.popitem()  # makes no difference
        place, step, starts = Signal(range(len(self._words()))), taken, 0
        for name, part in parts.items():
            if len(part) > 1:
                position = Signal(range(len(part)), name=name)
                last = position == len(part) - 1
                with m.If(step):
                    m.d.sync += position.eq(Mux(last, 0, position + 1))
                starts, step = starts + Array(part)[position], step & last
            else:
                starts = starts + part[0]
        m.d.comb += place.eq(starts)
        return place

    def _read(self, m, name, words, address):
        """A threshold, `LATENCY` cycles after its address."""
        m.submodules[name] = read = Rom(
            words=words.ravel().tolist(), width=bits_for(self._top + 1), family=self._family
        )
        m.d.comb += read.address.eq(address)
        return read.data

    def _late(self, m, value, name, reset_less=False):
        """A value, `LATENCY` cycles later."""
        for stage in range(LATENCY):
            late = Signal(len(value), name=f"{name}_{stage}", reset_less=reset_less)
            m.d.sync += late.eq(value)
            value = late
        return value
