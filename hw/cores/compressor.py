"""How a popcount is put together: which bits meet in which counter, as plain data.

A count starts as a heap of bits, so many of weight 1, so many of weight 2 and so on, and is done
when no weight has more than one. What eats the heap on 7-series is the carry chain. A position of a
CARRY4 has a select S and an input DI, both made in one LUT site, and adds their value
V = S ? 1 : 2 DI, which is 0, 1 or 2, and the carry. So two positions, of weights 1 and 2, can add
six units: an *atom* of `low` bits of the first weight and `high` of the second,

    first:  S = parity of low                    DI = the last of low
    second: S, DI = value of (the others of low) // 2 + high

which is right because the parity of all and that of all but the last tell what the first carry is.
(6, 0), (4, 1) and (2, 2) fill an atom; the second position's LUTs have at most five inputs, or
six where DI is one of them. Atoms follow each other along a chain; two of (6, 0) make twelve bits
five, seven full adders in four LUTs. A chain's first carry comes through the slice input that the
first DI would take (UG474, "Carry Logic"), so it counts as one of the six. These atoms: Preusser,
"Generic and Universal Parallel Matrix Summation with a Flexible Compression Goal for Xilinx
FPGAs", FPL 2017.

The lanes of a count with XNOR enter in two ways: three of them into two LUT6, which make two bits
of their number; or two of them into one position, whose LUT5 pair has room for two activations and
two weights, with a bit of a three for a carry. The second takes two lanes and a full adder in one
LUT, and brings the whole below one LUT a lane.

A heap is eaten level by level, with a register behind each: a position's sum and its carry out
leave a slice together only if a flip-flop takes one of them. How many chains a level makes is
searched, in milliseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

__all__ = [
    "Atom",
    "Chain",
    "Counter",
    "Heap",
    "Level",
    "Schedule",
    "Shape",
    "adders",
    "parities",
    "schedule",
    "trimmed",
]

# Bits of the two weights that one atom takes, the fullest first.
_ATOMS = ((6, 0), (5, 0), (4, 1), (4, 0), (3, 1), (2, 2), (3, 0), (2, 1))


@dataclass(frozen=True)
class Counter:
    """Lanes, or nodes of one weight, become bits of their sum.

    Parameters
    ----------
    lanes : tuple of int
        Lanes, by number.
    made : tuple of (int or None)
        Nodes of that weight, of twice and four times it; None where nobody wants that bit.
    nodes : tuple of int
        What is counted where it is not lanes.
    """

    lanes: tuple[int, ...]
    made: tuple[int | None, ...]
    nodes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Atom:
    """One or two positions of a carry chain.

    Parameters
    ----------
    lanes : tuple of int
        Lanes that are added at the first position, by number; at most 2.
    low, high : tuple of int
        Nodes of the first position's weight and of the second's. The last of `low` is its DI.
    wide : bool
        Whether there is a second position.
    """

    lanes: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    wide: bool = True

    @property
    def positions(self) -> int:
        return 1 + self.wide


@dataclass(frozen=True)
class Chain:
    """A carry chain.

    Parameters
    ----------
    weight : int
        Binary logarithm of its first position's weight.
    carry : int or None
        The node that enters as its first carry.
    atoms : tuple of Atom
    made : tuple of (int or None)
        Nodes of its sum, from the first weight on, and last its carry out; None where it is 0.
    """

    weight: int
    carry: int | None
    atoms: tuple[Atom, ...]
    made: tuple[int | None, ...]

    @property
    def positions(self) -> int:
        return sum(atom.positions for atom in self.atoms)


@dataclass(frozen=True)
class Level:
    """Counters, and chains that take what is there before the level and what its counters made."""

    counters: tuple[Counter, ...] = ()
    chains: tuple[Chain, ...] = ()

    @property
    def luts(self) -> int:
        """LUT sites on 7-series."""
        made = sum(node is not None for counter in self.counters for node in counter.made)
        return made + sum(chain.positions for chain in self.chains)


@dataclass(frozen=True)
class Schedule:
    """A whole popcount of one word.

    Nodes are numbered from 0, in the order in which they are made; `weights[node]` is the binary
    logarithm of a node's weight.

    Parameters
    ----------
    levels : tuple of Level
        At least one.
    result : tuple of (int or None)
        The nodes of the count, the lowest bit first.
    weights : tuple of int
    """

    levels: tuple[Level, ...]
    result: tuple[int | None, ...]
    weights: tuple[int, ...]

    @property
    def luts(self) -> int:
        """LUT sites on 7-series."""
        return sum(level.luts for level in self.levels)


@dataclass(frozen=True)
class Shape:
    """A chain before it is known which bits it gets: bits of each atom's one or two weights."""

    weight: int
    carry: bool
    atoms: tuple[tuple[int, ...], ...]

    @property
    def positions(self) -> int:
        return sum(len(atom) for atom in self.atoms)


def _pick(low: int, high: int, least: int) -> tuple[int, int] | None:
    """The fullest atom that `low` and `high` bits make, if it is rid of `least` of them."""
    for atom in _ATOMS:
        if atom[0] <= low and atom[1] <= high and sum(atom) - 2 >= least:
            return atom
    return None


def _first(low: int, high: int, least: int) -> tuple[bool, tuple[int, int]] | None:
    """The fullest atom at the start of a chain, and whether a bit is its first carry.

    It makes three bits and is rid of at least `least`.
    """
    best, most = None, least - 1
    for carry in (False, True):
        for atom in _ATOMS:
            rid = sum(atom) + carry - 3
            if atom[0] + carry <= min(low, 6) and atom[1] <= high and rid > most:
                best, most = (carry, atom), rid
    return best


def _eat(heights: Sequence[int], least: Sequence[int], most: int) -> tuple[tuple[Shape, ...], ...]:
    """Chains for one level, from the lowest weight up, and what they leave.

    Parameters
    ----------
    heights : bits of each weight
    least : what the first atom of a chain has to be rid of, for even and odd weights
    most : chains that may start at one weight

    Returns
    -------
    shapes : tuple of Shape
    heights : tuple of int
        After the level.
    """
    left = [*heights, 0, 0, 0, 0]
    made = [0] * (len(left) + 6)
    shapes = []
    for weight in range(len(heights)):
        for _ in range(most):
            start = _first(left[weight], left[weight + 1], least[weight % 2])
            if not start:
                break
            carry, atom = start
            left[weight] -= carry
            atoms, here = [], weight
            while atom:
                atoms.append(atom)
                left[here] -= atom[0]
                left[here + 1] -= atom[1]
                made[here] += 1
                made[here + 1] += 1
                here += 2
                if here + 1 >= len(left):
                    break
                atom = _pick(left[here], left[here + 1], least[weight % 2] + 1)
            made[here] += 1
            shapes.append(Shape(weight, carry, tuple(atoms)))
    return tuple(shapes), trimmed(a + b for a, b in zip([*left, *[0] * 6], made, strict=True))


def trimmed(heights: Iterable[int]) -> tuple[int, ...]:
    """Bits of each weight, up to the highest weight that has any."""
    heights = list(heights)
    while heights and not heights[-1]:
        heights.pop()
    return tuple(heights)


def _last(heights: Sequence[int]) -> Shape | None:
    """The one chain that finishes a heap, if one can."""
    start = next(weight for weight, height in enumerate(heights) if height > 1)
    left = [*heights, 0]
    left[start] -= 1
    atoms, here = [], start
    while here < len(heights):
        low, high = left[here], left[here + 1]
        if low <= 2:
            atoms.append((low,))
        elif (low <= 4 and high <= 1) or (low <= 5 + (here > start) and high == 0):
            atoms.append((low, high))
        else:
            return None
        here += len(atoms[-1])
    return Shape(start, True, tuple(atoms))


_LEVELS = 8  # more than any heap below a million bits needs
_POLICIES = tuple(product(product((3, 2, 1), repeat=2), (1 << 30, 1)))


@cache
def _finish(heights: tuple[int, ...], depth: int) -> tuple[float, tuple[tuple[Shape, ...], ...]]:
    """The cheapest way found from a heap to a number: LUTs, and the chains of each level.

    The first levels of a tall heap take every full atom there is; the choice among policies is
    for the last `depth` levels, where what is left over counts.
    """
    if max(heights, default=0) <= 1:
        return 0, ()
    last = _last(heights)
    best = (float("inf"), ()) if last is None else (last.positions, ((last,),))
    if depth == 0:
        return best
    policies = _POLICIES if max(heights) <= 16 else (((3, 3), 1 << 30), ((2, 2), 1 << 30))
    seen = set()
    for least, most in policies:
        shapes, after = _eat(heights, least, most)
        cost = sum(shape.positions for shape in shapes)
        if not shapes or after in seen or cost + (sum(after) - len(after) - 1) / 2 >= best[0]:
            continue
        seen.add(after)
        rest, levels = _finish(after, depth - 1)
        if cost + rest < best[0]:
            best = cost + rest, (shapes, *levels)
    return best


def _cheapest(heights: tuple[int, ...]) -> tuple[tuple[Shape, ...], ...]:
    """`_finish` with as many levels as lead to an end, and one more to choose from."""
    for depth in range(_LEVELS):
        if max(heights) <= 1 or _finish(heights, depth)[1]:
            return min((_finish(heights, depth + more) for more in (0, 1)), key=lambda f: f[0])[1]
    raise AssertionError(f"No schedule for {heights}")


class Heap:
    """The bits that a schedule has yet to sum, while it is drawn: nodes by weight, oldest first.

    Parameters
    ----------
    width : int
        Lanes of the popcount; so no sum reaches a weight above `top`.
    """

    def __init__(self, width: int):
        self.top = width.bit_length() - 1
        self._weights: list[int] = []
        self._columns: dict[int, list[int]] = {}

    def make(self, weight: int) -> int:
        """A new node, which is not in the heap yet."""
        self._weights.append(weight)
        return len(self._weights) - 1

    def put(self, nodes: Iterable[int | None]) -> None:
        """Adds what a counter or a chain made."""
        for node in nodes:
            if node is not None:
                self._columns.setdefault(self._weights[node], []).append(node)

    def take(self, weight: int, number: int) -> tuple[int, ...]:
        """The oldest nodes of a weight, `number` of them at most."""
        column = self._columns.get(weight, [])
        taken, column[:] = tuple(column[:number]), column[number:]
        return taken

    def heights(self) -> tuple[int, ...]:
        """Bits of each weight."""
        top = max(self._columns, default=-1)
        return trimmed(len(self._columns.get(weight, ())) for weight in range(top + 1))

    def threes(self, width: int) -> tuple[Counter, ...]:
        """Lanes in threes, and the one or two that are left, counted and in the heap."""
        counters = []
        for lane in range(0, width, 3):
            lanes = tuple(range(lane, min(lane + 3, width)))
            counters.append(Counter(lanes, tuple(self.make(k) for k in range(min(2, len(lanes))))))
        for counter in counters:
            self.put(counter.made)
        return tuple(counters)

    def chain(self, shape: Shape) -> Chain:
        """Takes a chain's bits; what it makes is not in the heap yet."""
        carry = self.take(shape.weight, 1)[0] if shape.carry else None
        atoms, here = [], shape.weight
        for counts in shape.atoms:
            taken = [self.take(here + k, count) for k, count in enumerate(counts)]
            atoms.append(Atom((), taken[0], taken[1] if len(taken) > 1 else (), len(taken) > 1))
            here += len(counts)
        made = (self.make(w) if w <= self.top else None for w in range(shape.weight, here + 1))
        return Chain(shape.weight, carry, tuple(atoms), tuple(made))

    def level(self, shapes: Sequence[Shape]) -> Level:
        """Draws a level of chains: all take before any gives."""
        chains = tuple(self.chain(shape) for shape in shapes)
        for chain in chains:
            self.put(chain.made)
        return Level(chains=chains)

    def schedule(self, levels: Sequence[Level]) -> Schedule:
        """The schedule of these levels, which leave at most a bit of each weight."""
        result = tuple((self.take(weight, 1) or (None,))[0] for weight in range(self.top + 1))
        return Schedule(tuple(levels), result, tuple(self._weights))


def _matching(width: int) -> tuple[int, tuple[tuple[Shape, ...], ...]]:
    """Pairs of lanes in a count with XNOR, and the chains of each level besides theirs.

    The more pairs the better, up to one for each three, which lends it a carry.
    """
    options = [n for n in range(width // 2 + 1) if (width - 2 * n) % 3 == 0]
    pairs = max((n for n in options if 5 * n <= width + 2), default=options[0])
    threes = (width - 2 * pairs) // 3
    shapes, after = _eat([threes - min(pairs, threes), threes], (3, 3), 1 << 30)
    after = [*after, *[0] * 2]
    heights = trimmed([after[0] + pairs, after[1] + pairs, *after[2:]])
    return pairs, (shapes, *_cheapest(heights))


@cache
def schedule(width: int, kind: str = "match") -> Schedule:
    """The popcount of `width` lanes for LUT6 and CARRY4.

    Parameters
    ----------
    width : int
        Lanes, at least 1.
    kind : str
        What a lane is to a LUT. "match": two inputs, an activation and a weight. "threes": small
        enough that three go into a LUT6 with all that selects their weights, and with parities of
        three lanes as lanes of their own (see `parities`). "pairs": two to a LUT6.
    """
    if width < 1:
        raise ValueError(f"Width must be at least 1, not {width}")
    heap, counters, chains = Heap(width), [], []
    if kind == "match" and width > 1:
        pairs, levels = _matching(width)
        for lane in range(2 * pairs, width, 3):
            counters.append(Counter((lane, lane + 1, lane + 2), (heap.make(0), heap.make(1))))
            heap.put(counters[-1].made)
        for lane in range(0, 2 * pairs, 2):
            carry = (heap.take(0, 1) or (None,))[0]
            atom = Atom((lane, lane + 1), (), (), wide=False)
            chains.append(Chain(0, carry, (atom,), (heap.make(0), heap.make(1))))
    else:
        if kind == "threes":
            groups, alone = parities(width)
            counters += [Counter(lanes, (None, heap.make(1))) for lanes in groups]
            counters.append(Counter((alone,), (heap.make(0),)))
        elif kind in ("match", "pairs"):
            for lane in range(0, width, 2):
                lanes = tuple(range(lane, min(lane + 2, width)))
                counters.append(Counter(lanes, tuple(heap.make(k) for k in range(len(lanes)))))
        else:
            raise ValueError(f"Kind must be match, threes or pairs, not {kind!r}")
        for counter in counters:
            heap.put(counter.made)
        levels = _cheapest(heap.heights())

    # The first level's chains take what its counters made, all others what the level before left.
    shapes, later = (levels[0], levels[1:]) if levels else ((), ())
    chains += [heap.chain(shape) for shape in shapes]
    for chain in chains:
        heap.put(chain.made)
    first = Level(tuple(counters), tuple(chains))
    return heap.schedule([first, *(heap.level(shapes) for shapes in later)])


@cache
def parities(width: int) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Lanes in threes whose parity is a lane again, down to one lane.

    The matches of three lanes are 2 q + p, q the majority, and p, their parity, is the parity of
    the activations against the parity of the weights: a match again, so a lane, whose activation
    all neurons share. So each three cost one bit of weight 2 and n lanes leave about n / 2 of them.

    Returns
    -------
    groups : tuple of tuple of int
        Three lanes each, two in the last; group k's parity is lane `width + k`.
    alone : int
        The last lane, the parity of all.
    """
    lanes, groups = list(range(width)), []
    while len(lanes) > 1:
        group = tuple(lanes[:3])
        lanes = [*lanes[3:], width + len(groups)]
        groups.append(group)
    return tuple(groups), lanes[0]


@cache
def adders(width: int) -> Schedule:
    """The popcount of `width` lanes for any LUT: full adders and six-to-three counters.

    The first level takes lanes in threes, the others bits of a weight in sixes and threes, until no
    weight has more than two; one addition, a chain of single positions, finishes.

    Parameters
    ----------
    width : int
        Lanes, at least 1.
    """
    if width < 1:
        raise ValueError(f"Width must be at least 1, not {width}")
    heap = Heap(width)
    levels = [Level(heap.threes(width))]
    while max(heap.heights()) > 2:
        counters = []
        for weight, height in enumerate(heap.heights()):
            for rows in [6] * (height // 6) + [3] * (height % 6 // 3):
                made = tuple(heap.make(weight + k) for k in range(2 if rows == 3 else 3))
                counters.append(Counter((), made, heap.take(weight, rows)))
        for counter in counters:
            heap.put(counter.made)
        levels.append(Level(tuple(counters)))
    if max(heap.heights()) > 1:
        start = next(weight for weight, height in enumerate(heap.heights()) if height > 1)
        rows = tuple((height,) for height in heap.heights()[start:])
        levels.append(heap.level([Shape(start, False, rows)]))
    return heap.schedule(levels)
