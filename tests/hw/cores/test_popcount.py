# amaranth: UnusedElaboratable=no
import random
import sys

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.cores.popcount import Popcount, levels


def packed(bits) -> int:
    return sum(int(bit) << k for k, bit in enumerate(np.asarray(bits).reshape(-1)))


def rtl_counts(core, keys, words=None, rows=None):
    """Counts of a new key every cycle, with words (of a cycle later) or rows of the table."""
    results = []

    async def bench(ctx):
        for cycle in range(len(keys) + 1 + core.latency):
            if cycle < len(keys):
                ctx.set(core.i, packed(keys[cycle]))
                if rows is not None:
                    ctx.set(core.select, int(rows[cycle]))
            if words is not None and 1 <= cycle <= len(keys):
                ctx.set(core.w, packed(words[cycle - 1].T))
            if cycle > core.latency:
                results.append([ctx.get(count) for count in core.o])
            await ctx.tick()

    simulator = Simulator(core)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return results


def ref_counts(keys, words):
    """Matches from ±1 sums: (sum + width) / 2."""
    signs = (2 * words.astype(int) - 1) @ (2 * keys.astype(int) - 1)[:, :, None]
    return ((signs[:, :, 0] + keys.shape[1]) // 2).tolist()


FAMILIES = ["xc7", "ecp5", "ice40", "generic"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("width", range(1, 9))
def test_every_word(width, family):
    every = np.arange(1 << width)[:, None] >> np.arange(width) & 1
    keys = np.repeat(every[[0, -1, 5 % len(every)]], len(every), axis=0)
    words = np.tile(every, (3, 1))[:, None, :]
    core = Popcount(width=width, family=family, stages=levels(width, family))
    assert rtl_counts(core, keys, words=words) == ref_counts(keys, words)


@pytest.mark.parametrize("family", ["xc7", "ecp5", "generic"])
@pytest.mark.parametrize("width", [17, 36, 64, 100, 784])
@pytest.mark.parametrize("stages", [0, 1, "all"])
def test_many_words(width, stages, family):
    rng = np.random.default_rng(width)
    keys, words = rng.integers(0, 2, (40, width)), rng.integers(0, 2, (40, 3, width))
    keys[0], keys[1], words[:2] = 0, 1, 1
    words[2] = 1 - keys[2]
    stages = levels(width, family) if stages == "all" else stages
    core = Popcount(width=width, words=3, stages=stages, family=family)
    assert core.latency == stages
    assert rtl_counts(core, keys, words=words) == ref_counts(keys, words)


@pytest.mark.parametrize("family", ["xc7", "ecp5", "generic"])
@pytest.mark.parametrize("width", [1024, 4096])
def test_wide_words(width, family):
    """Random words of every density, and the corners."""
    rng = np.random.default_rng(width)
    share = rng.random((12, 1))
    share[:2] = [[0], [1]]
    words = (rng.random((12, width)) < share).astype(int)[:, None, :]
    keys = np.ones((12, width), dtype=int)
    core = Popcount(width=width, family=family, stages=levels(width, family))
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)  # Python compiles the simulation of a sum of so many terms
    try:
        assert rtl_counts(core, keys, words=words) == ref_counts(keys, words)
    finally:
        sys.setrecursionlimit(usual)


@pytest.mark.parametrize("family", ["xc7", "generic"])
@pytest.mark.parametrize("depth", [1, 2, 3, 8, 9, 16])
@pytest.mark.parametrize("width", [1, 2, 3, 5, 13, 64])
def test_tables(width, depth, family):
    rng = np.random.default_rng(width)
    table = rng.integers(0, 2, (depth, 5, width))
    keys, rows = rng.integers(0, 2, (50, width)), rng.integers(0, depth, 50)
    stages = random.Random(width + depth).randint(0, levels(width, family, depth))
    core = Popcount(width=width, words=5, stages=stages, family=family, table=table)
    counts = rtl_counts(core, keys, rows=rows if depth > 1 else None)
    assert counts == ref_counts(keys, table[rows])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 0}, "at least 1, not 0 and 1"),
        ({"width": 4, "words": 0}, "at least 1, not 4 and 0"),
        ({"width": 6, "stages": 3}, r"Stages must be in 0\.\.2, not 3"),
        ({"width": 6, "table": np.zeros((17, 1, 6))}, r"1\.\.16 x 1 x 6, not \(17, 1, 6\)"),
        ({"width": 6, "table": np.zeros((0, 1, 6))}, r"1\.\.16 x 1 x 6, not \(0, 1, 6\)"),
        ({"width": 6, "table": np.zeros((2, 1, 5))}, r"1\.\.16 x 1 x 6, not \(2, 1, 5\)"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        Popcount(**parameters)
