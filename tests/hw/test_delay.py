from itertools import combinations, pairwise

import pytest

from hw.delay import cuts, level_delays, stages


def worst(delays, ends):
    ends = [0, *sorted(ends), len(delays)]
    return max(sum(delays[a:b]) for a, b in pairwise(ends))


@pytest.mark.parametrize("delays", [[3, 1, 4, 1, 5], [1, 1, 1], [2], [5, 0.1, 0.1, 0.1, 5, 4]])
def test_cuts_are_the_best(delays):
    """Against every way there is."""
    for number in range(len(delays)):
        found = cuts(delays, number)
        every = combinations(range(1, len(delays)), number)
        assert len(found) == number
        assert worst(delays, found) == min(worst(delays, ends) for ends in every)


@pytest.mark.parametrize("family", ["ecp5", "ice40"])
def test_faster_clocks_take_more(family):
    taken = [stages(128, family, hz) for hz in (1_000_000, 12_000_000, 48_000_000, 100_000_000)]
    assert taken == sorted(taken) and taken[0] == 0 < taken[-1]


def test_no_more_than_there_are():
    assert stages(64, "ice40", 10**9) == len(level_delays(64, "ice40")) - 1


def test_every_level_of_a_carry_chain_tree():
    assert stages(64, "xc7", 1_000_000) == len(level_delays(64, "xc7")) - 1
