"""How many registers a matrix unit needs for a clock, by a model of the target's delays.

The delays are those of a cell with the routing to the next, as nextpnr reports them in designs that
fill a good part of a device; they decide where registers stand, not what speed is promised: that is
measured after place and route.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hw.cores.tree import tree

__all__ = ["cuts", "level_delays", "stages"]


@dataclass(frozen=True)
class _Delays:
    """Nanoseconds.

    Attributes
    ----------
    register : float
        Out of a register or a block RAM's output register, into another, and the first route.
    lut : float
        A LUT and the route to the next.
    carry : float
        Into a carry chain and out of it, and the route to the next.
    carry_bit : float
        Each position of the chain.
    match, six, three : int
        LUTs on a path through a first level of XNOR and full adder, through a counter of six bits
        and through a full adder.
    row : float
        A row of CCU2C and the route to the next, where the tree is made of them.
    """

    register: float
    lut: float
    carry: float
    carry_bit: float
    match: int
    six: int
    three: int
    row: float = 0.0


# Speed grades: xc7z020-1, LFE5U-85F-6, iCE40UP5K. On 7-series a six-input function is one LUT.
_DELAYS = {
    "xc7": _Delays(1.2, 1.1, 1.4, 0.03, match=1, six=1, three=1),
    "ecp5": _Delays(1.5, 1.5, 1.8, 0.04, match=2, six=3, three=1, row=2.9),
    "ice40": _Delays(3.0, 3.0, 3.0, 0.28, match=2, six=4, three=1),
}


def level_delays(inputs_per_beat: int, family: str, depth: int = 0) -> list[float]:
    """Nanoseconds of each level of a popcount's tree, and last of the accumulator behind it.

    Parameters
    ----------
    inputs_per_beat : int
        Lanes of the popcount, at least 1.
    family : str
        "xc7", "ecp5", "ice40"; "generic" counts as 7-series.
    depth : int
        Words of the weights' table; 0 where weights come from a ROM.
    """
    delays = _DELAYS.get(family, _DELAYS["xc7"])
    levels = []
    for number, level in enumerate(tree(inputs_per_beat, family, depth).levels):
        if delays.row and depth == 0:
            levels.append(delays.row)
            continue
        luts = 0
        if number == 0:
            luts = delays.match if level.counters else 0
        elif level.counters:
            luts = delays.six if any(len(c.nodes) > 3 for c in level.counters) else delays.three
        chain = max((chain.positions for chain in level.chains), default=0)
        carry = delays.lut + delays.carry + chain * delays.carry_bit if chain else 0.0
        levels.append(luts * delays.lut + carry)
    bits = inputs_per_beat.bit_length() + 4
    return [*levels, delays.lut + delays.carry + bits * delays.carry_bit]


def cuts(delays: Sequence[float], stages: int) -> set[int]:
    """Where `stages` registers go: the longest path between them is as short as can be.

    Parameters
    ----------
    delays : sequence of float
        Of parts that follow each other, at least one.
    stages : int
        Fewer than there are parts.

    Returns
    -------
    set of int
        The parts, counted from 1, that a register follows.
    """
    parts = len(delays)
    spans = sorted(sum(delays[a:b]) for a in range(parts) for b in range(a + 1, parts + 1))
    ends = next(ends for span in spans if len(ends := _within(delays, span)) <= stages)
    spare = [part for part in range(1, parts) if part not in ends]
    return ends | set(spare[: stages - len(ends)])


def _within(delays: Sequence[float], span: float) -> set[int]:
    """The fewest registers that leave no path longer than `span`, or than one part."""
    ends, path = set(), 0.0
    for part, delay in enumerate(delays):
        if path and path + delay > span:
            ends.add(part)
            path = 0.0
        path += delay
    return ends


def stages(inputs_per_beat: int, family: str, clock_hz: int, depth: int = 0) -> int:
    """The fewest register levels that keep each path of a popcount and its accumulator in a period.

    On 7-series every level has its register: a carry chain's last sum and its carry leave a slice
    together only through one. Elsewhere there may be none at all. Where not even all of them meet
    the clock, all it is.

    Parameters
    ----------
    inputs_per_beat, family, depth
        As in `level_delays`.
    clock_hz : int
    """
    delays = level_delays(inputs_per_beat, family, depth)
    if family == "xc7":
        return len(delays) - 1
    return len(_within(delays, 1e9 / clock_hz - _DELAYS[family].register))
