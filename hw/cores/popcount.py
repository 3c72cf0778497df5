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

__all__ = ["Compressor", "Popcount", "levels"]


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


class Compressor(wiring.Component):
    """Compressors side by side: `rows` bits of one weight become bits of the weights above.

    A module of its own so that synthesis can be told to map it as it is: each output bit is a
    function of six inputs, one LUT6.

    Parameters
    ----------
    rows : int
        3 (a full adder), 6 (a six-to-three counter), or 3 with `matching`: three pairs of bits,
        each counting where both are equal.
    width : int
        How many compressors.
    matching : bool

    Members
    -------
    i : In(rows * width)
        Row after row.
    w : In(rows * width)
        What `i` has to match; only with `matching`.
    o0, o1, o2 : Out(width)
        Bits of the same weight, of twice and, with six rows, of four times that weight.
    """

    def __init__(self, *, rows: int, width: int, matching: bool = False):
        self._rows, self._width, self._matching = rows, width, matching
        members = {"i": In(rows * width), "o0": Out(width), "o1": Out(width)}
        if matching:
            members["w"] = In(rows * width)
        if rows == 6:
            members["o2"] = Out(width)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        bits = ~(self.i ^ self.w) if self._matching else self.i
        row = [bits[k * self._width : (k + 1) * self._width] for k in range(self._rows)]
        low, low_carry = _full_adder(*row[:3])
        if self._rows == 3:
            m.d.comb += [self.o0.eq(low), self.o1.eq(low_carry)]
        else:
            high, high_carry = _full_adder(*row[3:])
            twos, fours = _full_adder(low_carry, high_carry, low & high)
            m.d.comb += [self.o0.eq(low ^ high), self.o1.eq(twos), self.o2.eq(fours)]
        return m


class Popcount(wiring.Component):
    """Counts, for each of `words` words, the bits that equal an input's: popcount(xnor(i, w)).

    `o[p] = sum over k of (i[k] == w[k * words + p])`, exact, `latency` enabled cycles after `i` and
    `w`; new ones every enabled cycle.

    Parameters
    ----------
    width : int
        Bits of a word, at least 1.
    words : int
        How many words, at least 1.
    stages : int
        Register levels inside the tree, spread evenly, in 0..`levels(width)`.
    apart : bool
        Name the compressors so that synthesis for LUT6 keeps them as they are ("compressor_*").
        Costs 1.34 LUT6 a bit at 128 bits, XNOR included, against 2.08 without; where the words are
        nearly constant it is the other way round.

    Members
    -------
    i : In(width)
        Compared with every word.
    w : In(words * width)
        Bit-sliced: bit k of word p at `k * words + p`.
    en : In(1)
        Clock enable of the registers; unused when `stages` is 0.
    o : Out(ArrayLayout(range(width + 1), words))

    Raises
    ------
    ValueError
        When a parameter is out of its range.
    """

    def __init__(self, *, width: int, words: int = 1, stages: int = 0, apart: bool = True):
        if width < 1 or words < 1:
            raise ValueError(f"Width and words must be at least 1, not {width} and {words}")
        if not 0 <= stages <= levels(width):
            raise ValueError(f"Stages must be in 0..{levels(width)}, not {stages}")
        self._width, self._words, self._stages = width, words, stages
        self._name = "compressor" if apart else "counter"
        super().__init__(
            {
                "i": In(width),
                "w": In(width * words),
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
        columns = {}
        for level in range(1, depth + 1):
            compressed = self._compress(m, columns, level) if level > 1 else self._match(m)
            columns = {}
            for weight, vector in compressed.items():
                count = Signal(len(vector), name=f"level_{level}_weight_{weight}", reset_less=True)
                if level in cuts:
                    with m.If(self.en):
                        m.d.sync += count.eq(vector)
                else:
                    m.d.comb += count.eq(vector)
                columns[weight] = count
        if not depth:
            columns = {0: ~(self._spread(0, self._width) ^ self.w)}

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

    def _spread(self, start, stop):
        """Bits of the input, each beside itself for every word."""
        return Cat(self.i[k].replicate(self._words) for k in range(start, stop))

    def _match(self, m):
        """The first level: three pairs of bits at a time; the one or two left over pass."""
        _, threes, passed = _groups(self._width, first=True)
        paired = 3 * threes
        first = Compressor(rows=3, width=threes * self._words, matching=True)
        m.submodules[f"{self._name}_1"] = first
        m.d.comb += [first.i.eq(self._spread(0, paired)), first.w.eq(self.w)]
        ones = [first.o0]
        if passed:
            ones.append(~(self._spread(paired, self._width) ^ self.w[paired * self._words :]))
        return {0: Cat(ones), 1: first.o1}

    def _compress(self, m, columns, level):
        after: dict[int, list] = {}

        def put(weight, *vectors):
            for carry, vector in enumerate(vectors):
                after.setdefault(weight + carry, []).append(vector)

        for weight, vector in columns.items():
            sixes, threes, passed = _groups(len(vector) // self._words, first=False)
            start = 0
            for rows, parts in ((6, sixes), (3, threes)):
                if not parts:
                    continue
                compressor = Compressor(rows=rows, width=parts * self._words)
                m.submodules[f"{self._name}_{level}_{weight}_{rows}"] = compressor
                m.d.comb += compressor.i.eq(vector[start:])
                start += rows * parts * self._words
                outputs = (compressor.o0, compressor.o1)
                put(weight, *outputs, *((compressor.o2,) if rows == 6 else ()))
            if passed:
                put(weight, vector[start:])
        return {weight: Cat(parts) for weight, parts in after.items()}
