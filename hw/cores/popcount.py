"""Popcount: how many bits of a word equal an input's, for many words at once.

The words are drawn bit-sliced. All of them are counted by the same vector operations, bit k of
every word side by side, so a design of a hundred thousand lanes is some hundred statements, quick
to generate and quick to simulate. For 7-series, with a platform to build for, the same tree is made
of LUT6, LUT5 pairs and CARRY4: abc9 would take it apart and make it half as large again.

The formulas of a counter serve both: with vectors of bits they are logic, with the columns of a
truth table (`_COLUMNS`) they are the INIT of a LUT.
"""

from functools import cache, cached_property, lru_cache, reduce
from operator import and_, or_, xor

import numpy as np
from amaranth.hdl import Cat, Const, Instance, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.cores import compressor_ecp5
from hw.cores.compressor import Atom, parities
from hw.cores.register import Register
from hw.cores.tree import tree
from hw.delay import cuts, level_delays

__all__ = ["Popcount", "levels"]

# Inputs of a LUT6 over the 64 entries of its truth table.
_ENTRIES = (1 << 64) - 1
_COLUMNS = tuple(sum(1 << n for n in range(64) if n >> i & 1) for i in range(6))

# Words that one copy of the input serves.
_REACH = 32


def levels(width: int, family: str = "generic", depth: int = 0) -> int:
    """Levels of a popcount's tree, and so the most registers it can have."""
    return len(tree(width, family, depth).levels)


def _sum(terms: list) -> tuple:
    """Bits of weight 1, 2 and 4 of the sum of up to six terms."""
    zero = terms[0] ^ terms[0]
    one, rest, twos = terms[0], terms[1:], []
    while rest:
        a, b, *rest = [*rest, zero] if len(rest) == 1 else rest
        twos.append((one & a) | (b & (one ^ a)))
        one = one ^ a ^ b
    two = reduce(xor, twos, zero)
    four = reduce(or_, (a & b for k, a in enumerate(twos) for b in twos[:k]), zero)
    return one, two, four


def _positions(atom: Atom, lanes: list, low: list, high: list) -> list[tuple]:
    """S and DI of an atom's positions; DI is None where it is the last of `low` or `high`.

    See `hw.cores.compressor` for why this adds up.
    """
    select = reduce(xor, lanes + low)
    if not atom.wide:
        return [(select, None if low else reduce(and_, lanes))]
    others = lanes + low[:-1]
    half = _sum(others) if others else None
    zero = select ^ select
    one, two = (half[1], half[2]) if others else (zero, zero)
    return [
        (select, None if low else zero),
        (reduce(xor, high, one), None if high else two),
    ]


class Popcount(wiring.Component):
    """Counts, for each of `words` words, the bits that equal an input's: popcount(xnor(i, w)).

    `o[p] = sum over k of (i[k] == w[k * words + p])`, exact. `i` is taken one cycle before `w`, to
    which it is compared, and the count follows `stages` cycles after `w`; new ones every cycle.
    Nothing is reset and nothing waits.

    Parameters
    ----------
    width : int
        Bits of a word, at least 1.
    words : int
        How many words, at least 1.
    stages : int
        Register levels inside the tree, in 0..`levels(width, family, depth)`, placed so that the
        longest path by `hw.delay` is as short as can be. With all of them a path between registers
        is at most two LUTs and one carry chain on 7-series.
    family : str
        The family whose LUTs the tree is made for: "xc7", "ecp5", "ice40" or "generic".
    table : array of 0 and 1, shape (depth, words, width), or None
        Words that are known, of which `select` takes one a cycle: they become part of the truth
        tables of the first level. Depth in 1..16.

    Members
    -------
    i : In(width)
        Compared with every word.
    w : In(words * width)
        Bit-sliced: bit k of word p at `k * words + p`. Only without a table.
    select : In(range(depth))
        The table's row, taken together with `i`. Only with a table of several.
    o : Out(ArrayLayout(range(width + 1), words))

    Raises
    ------
    ValueError
        When a parameter is out of its range.
    """

    def __init__(
        self,
        *,
        width: int,
        words: int = 1,
        stages: int = 0,
        family: str = "generic",
        table: np.ndarray | None = None,
    ):
        if width < 1 or words < 1:
            raise ValueError(f"Width and words must be at least 1, not {width} and {words}")
        if table is not None and (table.shape[1:] != (words, width) or not 1 <= len(table) <= 16):
            raise ValueError(f"The table must be of 1..16 x {words} x {width}, not {table.shape}")
        self._depth = 0 if table is None else len(table)
        self._tree = tree(width, family, self._depth)
        if not 0 <= stages <= len(self._tree.levels):
            raise ValueError(f"Stages must be in 0..{len(self._tree.levels)}, not {stages}")
        self._width, self._words, self._stages = width, words, stages
        self._family, self._table = family, table
        members = {"i": In(width), "o": Out(data.ArrayLayout(range(width + 1), words))}
        if table is None:
            members["w"] = In(width * words)
        elif self._depth > 1:
            members["select"] = In(range(self._depth))
        super().__init__(members)

    @property
    def latency(self) -> int:
        """Cycles from `w` to `o`."""
        return self._stages

    def elaborate(self, platform):
        m = Module()
        self._read(m)

        # Each node is a vector, a bit a word. A register follows some of the levels, behind which
        # `late` has what is still wanted.
        delays = level_delays(self._width, self._family, self._depth)
        registers = cuts(delays, self._stages)
        primitives = {
            "xc7": self._primitives,
            "ecp5": self._ccu2cs if self._turned else self._plain,
        }
        draw = self._plain if platform is None else primitives.get(self._family, self._plain)
        nodes: dict[int, Signal] = {}
        for number, level in enumerate(self._tree.levels, 1):
            for made in (item.made for item in (*level.counters, *level.chains)):
                for node in made:
                    if node is not None:
                        nodes[node] = Signal(self._words, name=f"node_{node}")
            draw(m, level, nodes)
            if number in registers:
                nodes = self._register(m, nodes, number)

        for word in range(self._words):
            bits = [Const(0) if node is None else nodes[node][word] for node in self._tree.result]
            m.d.comb += self.o[word].eq(Cat(bits))
        return m

    def _register(self, m, nodes, number):
        """The nodes that later levels take, a cycle later."""
        used = {node for node in self._tree.result if node is not None}
        for level in self._tree.levels[number:]:
            for counter in level.counters:
                used.update(counter.nodes)
            for chain in level.chains:
                used.update(node for atom in chain.atoms for node in atom.low + atom.high)
                used.add(chain.carry)
        late = {}
        for node in sorted(used & nodes.keys()):
            late[node] = Signal(self._words, name=f"late_{number}_{node}", reset_less=True)
            m.d.sync += late[node].eq(nodes[node])
        return late

    def _read(self, m):
        """The input, the cycle after it came; for 7-series in copies, one for so many words.

        Where a table is, the parities of `parities` follow the lanes.
        """
        lanes = list(self.i)
        if self._threes:
            for group in parities(self._width)[0]:
                lanes.append(reduce(xor, (lanes[lane] for lane in group)))
        taken = Cat(lanes, self.select) if self._depth > 1 else Cat(lanes)
        self._lanes, self._selects = [], []
        for first in range(0, self._words, self._reach):
            m.submodules[f"input_{first}"] = copy = Register(width=len(taken), family=self._family)
            m.d.comb += copy.i.eq(~taken if self._turned else taken)
            self._lanes.append(copy.o[: len(lanes)])
            self._selects.append(copy.o[len(lanes) :])

    @property
    def _reach(self) -> int:
        """Words that one copy of the input serves: all, where they share what it goes to."""
        return _REACH if self._family == "xc7" and self._depth != 1 else self._words

    @property
    def _turned(self) -> bool:
        """Whether the tree is of CCU2C, which count matches of what comes inverted."""
        return self._family == "ecp5" and self._depth == 0

    @property
    def _threes(self) -> bool:
        return self._family == "xc7" and 0 < self._depth <= 8

    @cached_property
    def _rows(self) -> np.ndarray:
        """The table with the parities of `parities`, shape (depth, words, lanes).

        A lane that is a parity matches where the number of matches it stands for is odd.
        """
        table = self._table.astype(np.uint8)
        if not self._threes:
            return table
        columns = list(np.moveaxis(table, 2, 0))
        for group in parities(self._width)[0]:
            # The parity of xnors is that of the bits, turned once for each.
            parity = reduce(xor, (columns[lane] for lane in group))
            columns.append(parity ^ (len(group) % 2 == 0))
        return np.stack(columns, axis=2)

    def _matches(self, m):
        """Lane by lane, a bit a word: whether input and weight are equal."""
        words = self._words
        if self._table is None:
            weights = self.w
        else:
            table = self._rows
            rows = [
                int.from_bytes(
                    np.packbits(row.T.reshape(-1), bitorder="little").tobytes(), "little"
                )
                for row in table
            ]
            weights = Signal(table.shape[2] * words)
            if self._depth == 1:
                m.d.comb += weights.eq(rows[0])
            else:
                with m.Switch(self._selects[0]):
                    for index, row in enumerate(rows):
                        with m.Case(index):
                            m.d.comb += weights.eq(row)
        matches = Signal(len(weights))
        spread = Cat(bit.replicate(words) for bit in self._lanes[0])
        m.d.comb += matches.eq(spread ^ weights if self._turned else ~(spread ^ weights))
        return [matches[k * words : (k + 1) * words] for k in range(len(matches) // words)]

    def _plain(self, m, level, nodes):
        if level is self._tree.levels[0]:
            lanes = self._matches(m)
        for counter in level.counters:
            terms = [lanes[k] for k in counter.lanes] + [nodes[n] for n in counter.nodes]
            for node, bit in zip(counter.made, _sum(terms), strict=False):
                if node is not None:
                    m.d.comb += nodes[node].eq(bit)
        for chain in level.chains:
            if self._family != "xc7" and not self._turned:
                self._add(m, chain, nodes)
                continue
            zero = Const(0, self._words)
            carry, made = zero if chain.carry is None else nodes[chain.carry], iter(chain.made)
            for atom in chain.atoms:
                low, high = [nodes[n] for n in atom.low], [nodes[n] for n in atom.high]
                if not atom.lanes and not low:
                    low = [zero]
                places = _positions(atom, [lanes[k] for k in atom.lanes], low, high)
                for (select, di), direct in zip(places, (low, high), strict=False):
                    node = next(made)
                    if node is not None:
                        m.d.comb += nodes[node].eq(select ^ carry)
                    after = Signal(self._words)
                    m.d.comb += after.eq(
                        (select & carry) | (~select & (direct[-1] if di is None else di))
                    )
                    carry = after
            if (node := next(made)) is not None:
                m.d.comb += nodes[node].eq(carry)

    def _add(self, m, chain, nodes):
        """Two rows are added word by word, so that synthesis sees an addition."""
        for word in range(self._words):
            rows = [
                Cat(
                    nodes[atom.low[k]][word] if k < len(atom.low) else Const(0)
                    for atom in chain.atoms
                )
                for k in range(2)
            ]
            made = [nodes[node][word] for node in chain.made if node is not None]
            m.d.comb += Cat(made).eq(rows[0] + rows[1])

    def _ccu2cs(self, m, level, nodes):
        words = self._words
        weights = [self.w[lane * words : (lane + 1) * words] for lane in range(self._width)]
        compressor_ecp5.draw(
            m, level, nodes, lambda k: (self._lanes[0][k].replicate(words), weights[k])
        )

    def _primitives(self, m, level, nodes):
        made = {}  # words whose weights are the same in a few lanes share what counts them
        for word in range(self._words):
            for counter in level.counters:
                inputs, lanes = self._terms(counter.lanes, word)
                for node, column in zip(counter.made, _sum(lanes), strict=False):
                    if node is None:
                        continue
                    key = (word if self._table is None else word // self._reach, node, column)
                    if key not in made:
                        made[key] = _lut(m, column, inputs)
                    m.d.comb += nodes[node][word].eq(made[key])
            for chain in level.chains:
                self._chain(m, chain, nodes, word)

    def _terms(self, lanes, word):
        """The LUT inputs of some lanes of a word, and for each lane the column of its match."""
        number = word // self._reach
        inputs = list(self._selects[number]) if lanes else []
        columns = []
        for lane in lanes:
            column = _COLUMNS[len(inputs)]
            inputs.append(self._lanes[number][lane])
            if self._table is None:
                weight = _COLUMNS[len(inputs)]
                inputs.append(self.w[lane * self._words + word])
            else:
                bits = self._rows[:, word, lane]
                weight = reduce(or_, (_row(k, self._depth) for k in np.flatnonzero(bits)), 0)
            columns.append(_ENTRIES & ~(column ^ weight))
        return inputs, columns

    def _chain(self, m, chain, nodes, word):
        """One carry chain of one word: two LUTs at most and a CARRY4's quarter for a position."""
        places = []
        for atom in chain.atoms:
            inputs, lanes = self._terms(atom.lanes, word)
            bits = [[nodes[node][word] for node in group] for group in (atom.low, atom.high)]
            columns = [
                [_COLUMNS[len(inputs) + k] for k in range(len(atom.low))],
                [_COLUMNS[len(inputs) + len(atom.low) + k] for k in range(len(atom.high))],
            ]
            inputs += [*bits[0], *bits[1]]
            if not lanes and not columns[0]:
                columns[0] = [0]  # a position that only passes a carry on
            for (select, di), column, bit in zip(
                _positions(atom, lanes, *columns), columns, bits, strict=False
            ):
                if di is None and not bit:
                    di = 0
                if di is None and (places or chain.carry is None):
                    # DI is the bit itself, by the slice's own input.
                    places.append((_lut(m, select, inputs), bit[-1]))
                else:
                    # A pair on one site: S and DI of the same inputs.
                    pair = (select, column[-1] if di is None else di)
                    used = sorted(set().union(*(_support(c, len(inputs)) for c in pair)))
                    places.append(tuple(_lut(m, c, inputs, used) for c in pair))

        carry = Const(0) if chain.carry is None else nodes[chain.carry][word]
        made = []
        for first in range(0, len(places), 4):
            four = places[first : first + 4]
            o, co = Signal(4), Signal(4)
            m.submodules += Instance(
                "POPSTREAM_CARRY4",  # a CARRY4, see hw/toolchain/xc7_cells.v
                p_POSITIONS=len(four),
                i_CI=Const(0) if first == 0 else carry,
                i_CYINIT=carry if first == 0 else Const(0),
                i_S=Cat(Cat(select for select, _ in four), Const(0, 4 - len(four))),
                i_DI=Cat(Cat(di for _, di in four), Const(0, 4 - len(four))),
                o_O=o,
                o_CO=co,
            )
            made += list(o[: len(four)])
            carry = co[len(four) - 1]
        for node, bit in zip(chain.made, [*made, carry], strict=True):
            if node is not None:
                m.d.comb += nodes[node][word].eq(bit)


@cache
def _row(row: int, depth: int) -> int:
    """The entries of a truth table whose lowest inputs select a row; past the depth nobody asks."""
    inputs = (depth - 1).bit_length()
    return sum(1 << entry for entry in range(64) if entry % (1 << inputs) == row)


@lru_cache(maxsize=1 << 16)
def _support(column: int, inputs: int) -> tuple[int, ...]:
    """The inputs that a function depends on."""
    return tuple(
        i for i in range(inputs) if (column >> (1 << i) ^ column) & _ENTRIES & ~_COLUMNS[i]
    )


@lru_cache(maxsize=1 << 16)
def _init(column: int, used: tuple[int, ...]) -> int:
    """The INIT of a LUT that has only the inputs `used`."""
    entries = (
        sum((entry >> k & 1) << i for k, i in enumerate(used)) for entry in range(1 << len(used))
    )
    return sum((column >> entry & 1) << k for k, entry in enumerate(entries))


def _lut(m, column, inputs, used=None):
    """A LUT of the inputs it needs, or of those given; its output."""
    used = tuple(_support(column, len(inputs)) if used is None else used)
    if not used:
        return Const(column & 1, 1)
    o = Signal()
    m.submodules += Instance(
        f"LUT{len(used)}",
        p_INIT=Const(_init(column, used), 1 << len(used)),
        **{f"i_I{k}": inputs[i] for k, i in enumerate(used)},
        o_O=o,
    )
    return o
