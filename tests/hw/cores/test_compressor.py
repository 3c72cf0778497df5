"""Schedules keep the weighted sum, take each bit once, and obey what a slice can do."""

from itertools import product

import pytest

from hw.cores.compressor import adders, parities, schedule
from hw.cores.tree import tree

WIDTHS = [*range(1, 40), 49, 64, 98, 100, 128, 196, 256, 392, 784]


def count(drawn, lanes):
    """The count by the arithmetic that the schedule stands for: what is taken is what is made."""
    values = {}

    def put(made, weight, total):
        for offset, node in enumerate(made):
            bit = total >> offset & 1
            if node is None:
                assert not bit, "a bit that nobody wanted is set"
            else:
                assert node not in values and drawn.weights[node] == weight + offset
                values[node] = bit
        assert total < 1 << len(made)

    lanes_left, taken = set(range(len(lanes))), set()

    def take(nodes, weight):
        for node in nodes:
            assert drawn.weights[node] == weight and node not in taken
            taken.add(node)
        return sum(values[node] for node in nodes)

    def lane(numbers):
        lanes_left.difference_update(numbers)
        return sum(lanes[k] for k in numbers)

    for level in drawn.levels:
        for counter in level.counters:
            weight = 0 if counter.lanes else drawn.weights[counter.nodes[0]]
            put(counter.made, weight, lane(counter.lanes) + take(counter.nodes, weight))
        for chain in level.chains:
            total = take([] if chain.carry is None else [chain.carry], chain.weight)
            place = 0
            for atom in chain.atoms:
                total += (lane(atom.lanes) + take(atom.low, chain.weight + place)) << place
                total += take(atom.high, chain.weight + place + 1) << place + 1
                place += atom.positions
            put(chain.made, chain.weight, total)
    assert not lanes_left and set(values) - taken == {n for n in drawn.result if n is not None}
    return sum(values[n] << k for k, n in enumerate(drawn.result) if n is not None)


def patterns(width):
    if width <= 10:
        return product((0, 1), repeat=width)
    return ([k * 7919 % 97 < level for k in range(width)] for level in (0, 1, 30, 48, 60, 96, 97))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["match", "pairs", "adders"])
def test_sums(width, kind):
    drawn = adders(width) if kind == "adders" else schedule(width, kind)
    for lanes in patterns(width):
        assert count(drawn, [int(bit) for bit in lanes]) == sum(lanes)


@pytest.mark.parametrize("width", WIDTHS)
def test_majorities_and_parities(width):
    """With threes a lane is taken twice: in its majority, and as the parity that stands for it."""
    drawn = schedule(width, "threes")
    groups, alone = parities(width)
    first = drawn.levels[0].counters
    assert [counter.lanes for counter in first] == [*groups, (alone,)]
    for lanes in patterns(width):
        lanes = [int(bit) for bit in lanes]
        for group in groups:
            lanes.append(sum(lanes[k] for k in group) % 2)
        carried = sum(2 * (sum(lanes[k] for k in group) // 2) for group in groups)
        assert carried + lanes[alone] == sum(lanes[:width])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["match", "threes", "pairs"])
def test_fits_a_slice(width, kind):
    for level in schedule(width, kind).levels:
        for chain in level.chains:
            for number, atom in enumerate(chain.atoms):
                assert not atom.lanes or (atom.lanes and kind == "match" and not atom.wide)
                first = 2 * len(atom.lanes) + len(atom.low)
                # The first carry and the first DI come through one input of the slice, so that DI
                # is then made by a LUT beside that of S, of five inputs at most.
                assert first <= (5 if number == 0 and chain.carry is not None else 6)
                if atom.wide:
                    others = len(atom.low) - 1
                    assert others // 2 + len(atom.high) <= 2
                    assert others + len(atom.high) <= (6 if atom.high else 5)
                else:
                    assert len(atom.lanes) + len(atom.low) <= 2


def test_luts_of_128_lanes():
    """The figure that this module is about; the netlist has the same (tests/hw/test_measure.py)."""
    assert tree(128, "xc7").luts <= 125
    assert tree(64, "xc7").luts <= 64
    assert tree(64, "xc7", 8).luts <= 0.85 * 64
    assert tree(64, "xc7", 16).luts <= 1.65 * 64


@pytest.mark.parametrize("call", [schedule, adders])
def test_no_lanes(call):
    with pytest.raises(ValueError, match="at least 1, not 0"):
        call(0)


def test_unknown_kind():
    with pytest.raises(ValueError, match="match, threes or pairs, not 'fours'"):
        schedule(4, "fours")
