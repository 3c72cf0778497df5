"""Popcount: how many bits of a word are 1, for many words at once.

A compressor tree: six bits of one weight become three bits of weights 1, 2 and 4, three become two
(a full adder), until no weight has more than two bits left; an adder finishes. The first level
takes bits in threes, so that logic that makes a bit out of two others, an XNOR with a weight, can
share its LUTs.

The tree is drawn bit-sliced. All words are counted by the same vector operations, bit k of every
word side by side, so a design of a hundred thousand lanes is some hundred statements, quick to
generate and quick to simulate.
"""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Popcount", "levels"]


def _groups(rows: int, *, first: bool) -> tuple[int, int, int]:
    """How one level splits the rows of one weight: into sixes, threes, and rows passed on."""
    sixes = 0 if first else rows // 6
    threes = (rows - 6 * sixes) // 3
    return sixes, threes, rows - 6 * sixes - 3 * threes


def levels(width: int) -> int:
    """How many compressor levels a count of `width` bits has, before the final adder."""
    rows, count = {0: width}, 0
    while max(rows.values()) > 2:
        after: dict[int, int] = {}
        for weight, number in rows.items():
            sixes, threes, passed = _groups(number, first=count == 0)
            for carry, made in ((0, sixes + threes + passed), (1, sixes + threes), (2, sixes)):
                if made:
                    after[weight + carry] = after.get(weight + carry, 0) + made
        rows, count = after, count + 1
    return count


def _full_adder(a, b, c):
    return a ^ b ^ c, (a & b) | (c & (a ^ b))


def _six_to_three(a, b, c, d, e, f):
    low, low_carry = _full_adder(a, b, c)
    high, high_carry = _full_adder(d, e, f)
    twos, fours = _full_adder(low_carry, high_carry, low & high)
    return low ^ high, twos, fours


class Popcount(wiring.Component):
    """Counts the ones in each of `words` words of `width` bits.

    `o[p] = sum over k of i[k * words + p]`, exact, `latency` enabled cycles after `i`; a new input
    every enabled cycle. yosys 0.70 makes about 2.1 LUT6 a bit of it on 7-series and 4.0 LUT4 on
    ECP5, an XNOR before it included, at 128 bits: abc9 does not keep the six-input compressors.

    Parameters
    ----------
    width : int
        Bits of a word, at least 1.
    words : int
        How many words, at least 1.
    stages : int
        Register levels inside the tree, spread evenly, in 0..`levels(width)`.

    Members
    -------
    i : In(words * width)
        Bit-sliced: bit k of word p at `k * words + p`.
    en : In(1)
        Clock enable of the registers; unused when `stages` is 0.
    o : Out(ArrayLayout(range(width + 1), words))

    Raises
    ------
    ValueError
        When a parameter is out of its range.
    """

    def __init__(self, *, width: int, words: int = 1, stages: int = 0):
        if width < 1 or words < 1:
            raise ValueError(f"Width and words must be at least 1, not {width} and {words}")
        if not 0 <= stages <= levels(width):
            raise ValueError(f"Stages must be in 0..{levels(width)}, not {stages}")
        self._width, self._words, self._stages = width, words, stages
        super().__init__(
            {
                "i": In(width * words),
                "en": In(1),
                "o": Out(data.ArrayLayout(range(width + 1), words)),
            }
        )

    @property
    def width(self) -> int:
        return self._width

    @property
    def words(self) -> int:
        return self._words

    @property
    def latency(self) -> int:
        """Enabled cycles from `i` to `o`."""
        return self._stages

    def elaborate(self, platform):
        m = Module()

        # columns[weight] is a vector of rows, each as wide as there are words.
        depth = levels(self._width)
        cuts = {-(-(cut + 1) * depth // (self._stages + 1)) for cut in range(self._stages)}
        columns = {0: self.i}
        for level in range(1, depth + 1):
            compressed = self._compress(columns, first=level == 1)
            columns = {}
            for weight, vector in compressed.items():
                count = Signal(len(vector), name=f"level_{level}_weight_{weight}", reset_less=True)
                if level in cuts:
                    with m.If(self.en):
                        m.d.sync += count.eq(vector)
                else:
                    m.d.comb += count.eq(vector)
                columns[weight] = count

        # No weight has more than two rows left: two numbers a word, one addition.
        zero = Const(0, self._words)
        top = max(columns)
        rows = []
        for row in range(2):
            vectors = [columns.get(weight, zero) for weight in range(top + 1)]
            span = slice(row * self._words, (row + 1) * self._words)
            rows.append([v[span] if len(v) >= span.stop else zero for v in vectors])
        for word in range(self._words):
            a, b = (Cat(vector[word] for vector in row) for row in rows)
            m.d.comb += self.o[word].eq(a + b)
        return m

    def _compress(self, columns, *, first):
        after: dict[int, list] = {}

        def put(weight, vector):
            after.setdefault(weight, []).append(vector)

        for weight, vector in columns.items():
            sixes, threes, passed = _groups(len(vector) // self._words, first=first)

            def take(rows, parts, start, vector=vector):
                step = rows * self._words
                return [vector[start + k * step : start + (k + 1) * step] for k in range(parts)]

            if sixes:
                ones, twos, fours = _six_to_three(*take(sixes, 6, 0))
                put(weight, ones)
                put(weight + 1, twos)
                put(weight + 2, fours)
            start = 6 * sixes * self._words
            if threes:
                ones, twos = _full_adder(*take(threes, 3, start))
                put(weight, ones)
                put(weight + 1, twos)
            start += 3 * threes * self._words
            if passed:
                put(weight, vector[start:])
        return {weight: Cat(parts) for weight, parts in after.items()}
