"""How a popcount is put together on ECP5: chains of CCU2C, as plain data.

Half a CCU2C has a LUT4 f of its inputs A, B, C, D and a LUT2 g of A and B, which is f
where C and D are 0. It puts out S = f ^ carry and passes on f ? carry : g: it adds f ? 1 : 2 g,
which is 0, 1 or 2, to the carry. With D tied to 1, f may be any function of A, B, C and g any other
of A, B. Sources: Lattice FPGA-TN-02200 and yosys' model of CCU2C.

- Two lanes: f is the parity of all four inputs, so g = A ^ B is a lane. XOR is XNOR where the
  activation comes inverted: matches are counted.
- Two bits a, b of one weight: f = a ^ b, g = a. So far an addition by ripple carry.
- Four bits of one weight, in two halves: f = a ^ b ^ c ^ d, g = a ^ b; then f = ab ^ cd, g = ab.
- Three bits, and one of the next weight, in two halves: f = a ^ b ^ c, g = a ^ b; then
  f = ab ^ e, g = e.
- Between two chains, a separator: f = 0, so its S is the carry of the chain before it, and g is the
  first carry of the chain behind it: a bit, or a lane. So chains share their rows of CCU2C.

So every half but a separator rids the heap of one bit: a chain is the cheaper the longer it is. The
first level is separators and pairs by turns, three lanes in two halves. All levels after it take
bits, the chains from the lowest weight up and each as far as it goes; where a chain starts only if
it is long enough is searched.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

from amaranth.hdl import Const, Instance, Module, Signal, Value

from hw.cores.compressor import Atom, Heap, Level, Schedule, Shape, trimmed

__all__ = ["Half", "draw", "luts", "rows", "schedule"]

# Halves of a row: each CCU2C adds 0.07 ns, also where a separator ends the true path.
_REACH = 12


@dataclass(frozen=True)
class Half:
    """Half a CCU2C.

    Parameters
    ----------
    init : int
        INIT of its LUT4.
    lanes : tuple of int
        Lanes on its inputs, by number; each takes two, an activation and a weight.
    nodes : tuple of int
        Nodes on its inputs after them. What inputs are left are tied to 1.
    made : int or None
        The node that its S is.
    """

    init: int
    lanes: tuple[int, ...] = ()
    nodes: tuple[int, ...] = ()
    made: int | None = None


def _chain(left: Sequence[int], weight: int, atoms: Sequence[tuple[int, ...]]) -> Shape:
    """The longest chain from a weight on, of the first of `atoms` that there are bits for."""
    left = [*left, 0, 0]
    left[weight] -= 1
    taken, here = [], weight
    while here + 1 < len(left):
        for atom in atoms:
            if all(count <= left[here + k] for k, count in enumerate(atom)):
                break
        else:
            break
        taken.append(atom)
        for k, count in enumerate(atom):
            left[here + k] -= count
        here += len(atom)
    return Shape(weight, True, tuple(taken))


def _eat(heights: Sequence[int], least: int, atoms: Sequence[tuple[int, ...]]):
    """Chains of at least `least` positions for one level, and the heights they leave."""
    left, made = [*heights, 0], [0] * (len(heights) + 2)
    shapes = []
    for weight in range(len(heights)):
        while left[weight] > 2:
            shape = _chain(left, weight, atoms)
            if shape.positions < least:
                break
            shapes.append(shape)
            left[weight] -= 1
            here = weight
            for atom in shape.atoms:
                for k, count in enumerate(atom):
                    left[here + k] -= count
                    made[here + k] += 1
                here += len(atom)
            made[here] += 1
    return tuple(shapes), trimmed(a + b for a, b in zip([*left, 0], made, strict=True))


def _last(heights: Sequence[int]) -> Shape | None:
    """The one chain that finishes a heap, if one can."""
    start = next(weight for weight, height in enumerate(heights) if height > 1)
    carry = heights[start] > 2
    left = [*heights, 0]
    left[start] -= carry
    atoms, here = [], start
    while here < len(heights):
        low, high = left[here], left[here + 1]
        if low <= 2:
            atoms.append((low,))
        elif (low == 3 and high <= 1) or (low == 4 and high == 0):
            atoms.append((low, high))
        else:
            return None
        here += len(atoms[-1])
    return Shape(start, carry, tuple(atoms))


_FOURS, _TWOS = ((4, 0), (3, 1), (2,)), ((2,),)
_POLICIES = tuple(product((1, 2, 3), (_FOURS, _TWOS)))
_SEARCHED = 40  # heights up to which every policy is tried
_LEVELS = 12  # more than any heap below a million bits needs


@cache
def _finish(heights: tuple[int, ...], depth: int) -> tuple[float, tuple[tuple[Shape, ...], ...]]:
    """The cheapest way found from a heap to a number: halves, and the chains of each level."""
    if max(heights, default=0) <= 1:
        return 0, ()
    last = _last(heights)
    best = (float("inf"), ()) if last is None else (last.positions + last.carry, ((last,),))
    if depth == 0:
        return best
    seen = set()
    for least, atoms in _POLICIES if max(heights) <= _SEARCHED else _POLICIES[2:4]:
        shapes, after = _eat(heights, least, atoms)
        cost = sum(shape.positions + 1 for shape in shapes)
        if not shapes or after in seen or cost + sum(after) - len(after) >= best[0]:
            continue
        seen.add(after)
        rest, levels = _finish(after, depth - 1)
        if cost + rest < best[0]:
            best = cost + rest, (shapes, *levels)
    return best


def _shallowest(heights: tuple[int, ...]) -> tuple[tuple[Shape, ...], ...]:
    """`_finish` with as few levels as lead to an end; more would hardly be cheaper."""
    for depth in range(_LEVELS):
        if max(heights) <= 1 or _finish(heights, depth)[1]:
            return _finish(heights, depth)[1]
    raise AssertionError(f"No schedule for {heights}")


@cache
def schedule(width: int) -> Schedule:
    """The popcount of `width` lanes for CCU2C.

    The first level is counters of three lanes, or of the one or two left over; all others are
    chains.

    Parameters
    ----------
    width : int
        Lanes, at least 1.
    """
    if width < 1:
        raise ValueError(f"Width must be at least 1, not {width}")
    heap = Heap(width)
    first = Level(heap.threes(width))
    later = _shallowest(heap.heights())
    return heap.schedule([first, *(heap.level(shapes) for shapes in later)])


# f and g of halves in the order A, B, C, D; where D is tied, f is the upper half of INIT.
_CARRY = Half(0x0000)  # a separator that adds nothing: f = g = 0
_LANE, _BIT = 0x0006, 0x000A  # separators: g = A ^ B, g = A
_PARITY = 0x6996  # f = A ^ B ^ C ^ D, so g = A ^ B
_ZERO, _ONE, _TWO = 0x0000, 0xAA00, 0x660A  # bits of one weight: none, A, and A ^ B with g = A
_THREE = 0x9606  # f = A ^ B ^ C, g = A ^ B
_PAIRS = 0x7888  # f = AB ^ CD, so g = AB
_CARRIED = 0x8800  # f = AB, g = 0
_JOINED = 0x6A0A  # f = A ^ BC, g = A


def _atom(atom: Atom) -> list[Half]:
    """An atom's halves, without what they make."""
    low, high = atom.low, atom.high
    if not atom.wide:
        return [Half((_ZERO, _ONE, _TWO)[len(low)], nodes=low)]
    if len(low) == 4:
        return [Half(_PARITY, nodes=low), Half(_PAIRS, nodes=low)]
    second = Half(_JOINED, nodes=(*high, *low[:2])) if high else Half(_CARRIED, nodes=low[:2])
    return [Half(_THREE, nodes=low), second]


def rows(level: Level) -> tuple[tuple[Half, ...], ...]:
    """The rows of CCU2C of one level, an even number of halves each, the first carry's end first.

    A counter of one lane is in none of them: it is a LUT.
    """
    done: list[tuple[Half, ...]] = []
    row: list[Half] = []
    pending = None  # the node that the carry of the last chain is

    def close() -> None:
        if pending is not None:
            row.append(replace(_CARRY, made=pending))
        if len(row) % 2:
            row.append(_CARRY)
        if row:
            done.append(tuple(row))
        row.clear()

    for first, body, made in _segments(level):
        if len(row) + len(body) > _REACH:
            close()
            pending = None
        row.append(replace(first, made=pending))
        row += [replace(half, made=node) for half, node in zip(body, made[:-1], strict=True)]
        pending = made[-1]
    close()
    return tuple(done)


def _segments(level: Level) -> Iterable[tuple[Half, list[Half], tuple[int | None, ...]]]:
    """Each chain's separator, its other halves, and what those and their last carry make."""
    for counter in level.counters:
        *first, a, b = (None, *counter.lanes)[-3:]
        if a is not None:
            separator = Half(_LANE, lanes=tuple(first)) if first[0] is not None else _CARRY
            yield separator, [Half(_PARITY, lanes=(a, b))], counter.made
    for chain in level.chains:
        separator = _CARRY if chain.carry is None else Half(_BIT, nodes=(chain.carry,))
        yield separator, [half for atom in chain.atoms for half in _atom(atom)], chain.made


def luts(tree: Schedule) -> int:
    """LUT4 of a count, halves of CCU2C among them."""
    alone = sum(len(counter.lanes) == 1 for counter in tree.levels[0].counters)
    return alone + sum(len(row) for level in tree.levels for row in rows(level))


def draw(m: Module, level: Level, nodes: dict[int, Value], lanes: Callable) -> None:
    """Instantiates one level, of all words.

    Parameters
    ----------
    m : Module
    level : Level
    nodes : dict from nodes to Values, a bit a word
        Those that the level takes, and Signals for those it makes.
    lanes : function of a lane's number
        Its activation, inverted, and its weight: Values, a bit a word.
    """
    words = len(next(iter(nodes.values())))
    for counter in level.counters:
        if len(counter.lanes) == 1:
            activation, weight = lanes(counter.lanes[0])
            m.d.comb += nodes[counter.made[0]].eq(activation ^ weight)
    for row in rows(level):
        carry: dict = {}  # none comes in first
        for start in range(0, len(row), 2):
            ports = {"p_WORDS": words, "p_FIRST": int(not carry), **carry}
            ports["p_LAST"] = int(start + 2 == len(row))
            ports["o_COUT"] = Signal(words)
            carry = {"i_CIN": ports["o_COUT"]}
            for k, half in enumerate(row[start : start + 2]):
                inputs = [bits for lane in half.lanes for bits in lanes(lane)]
                inputs += [nodes[node] for node in half.nodes]
                inputs += [Const(-1, words)] * (4 - len(inputs))
                ports |= {f"i_{name}{k}": bits for name, bits in zip("ABCD", inputs, strict=True)}
                ports[f"p_INIT{k}"] = Const(half.init, 16)
                ports[f"o_S{k}"] = Signal(words) if half.made is None else nodes[half.made]
            m.submodules += Instance("POPSTREAM_CCU2C", **ports)  # see hw/toolchain/ecp5_cells.v
