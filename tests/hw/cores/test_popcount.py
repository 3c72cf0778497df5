# amaranth: UnusedElaboratable=no
import random

import pytest
from amaranth.sim import Simulator

from hw.cores.popcount import Popcount, levels


def bit_slice(words, width):
    """Words of `width` bits, bit k of word p at k * len(words) + p."""
    value = 0
    for p, word in enumerate(words):
        for k in range(width):
            value |= (word >> k & 1) << (k * len(words) + p)
    return value


def rtl_counts(core, vectors):
    results = []

    async def bench(ctx):
        ctx.set(core.en, 1)
        for index in range(len(vectors) + core.latency):
            if index < len(vectors):
                ctx.set(core.i, bit_slice(vectors[index], core.width))
            if index >= core.latency:
                results.append([int(ctx.get(core.o[p])) for p in range(core.words)])
            if core.latency:
                await ctx.tick()

    simulator = Simulator(core)
    if core.latency:
        simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return results


@pytest.mark.parametrize("width", range(1, 11))
def test_every_word(width):
    words = list(range(1 << width))
    assert rtl_counts(Popcount(width=width), [[word] for word in words]) == [
        [word.bit_count()] for word in words
    ]


@pytest.mark.parametrize("width", [17, 36, 64, 100, 784])
@pytest.mark.parametrize("stages", [0, 1, "all"])
def test_many_words(width, stages):
    rng = random.Random(width)
    corners = [0, (1 << width) - 1, 1, 1 << (width - 1)]
    vectors = [
        [rng.choice([rng.getrandbits(width), *corners]) for _ in range(3)] for _ in range(20)
    ]
    stages = levels(width) if stages == "all" else stages
    core = Popcount(width=width, words=3, stages=stages)
    assert core.latency == stages
    assert rtl_counts(core, vectors) == [[word.bit_count() for word in v] for v in vectors]


def test_registers_hold_without_enable():
    core = Popcount(width=12, stages=1)

    async def bench(ctx):
        ctx.set(core.i, 0xFFF)
        ctx.set(core.en, 1)
        await ctx.tick()
        ctx.set(core.i, 0)
        ctx.set(core.en, 0)
        await ctx.tick()
        assert ctx.get(core.o[0]) == 12

    simulator = Simulator(core)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 0}, "at least 1, not 0 and 1"),
        ({"width": 4, "words": 0}, "at least 1, not 4 and 0"),
        ({"width": 6, "stages": 3}, r"Stages must be in 0\.\.1, not 3"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        Popcount(**parameters)
