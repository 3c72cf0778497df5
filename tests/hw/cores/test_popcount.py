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
                key, words = vectors[index]
                ctx.set(core.i, key)
                ctx.set(core.w, bit_slice(words, core.width))
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


def ref_counts(vectors, width):
    return [[width - (key ^ word).bit_count() for word in words] for key, words in vectors]


@pytest.mark.parametrize("width", range(1, 11))
def test_every_word(width):
    ones = (1 << width) - 1
    vectors = [(key, [word]) for key in (ones, 0, 0b1011001101 & ones) for word in range(ones + 1)]
    assert rtl_counts(Popcount(width=width), vectors) == ref_counts(vectors, width)


@pytest.mark.parametrize("width", [17, 36, 64, 100, 784])
@pytest.mark.parametrize("stages", [0, 1, "all"])
def test_many_words(width, stages):
    rng = random.Random(width)
    corners = [0, (1 << width) - 1, 1, 1 << (width - 1)]
    words = [rng.choice([rng.getrandbits(width), *corners]) for _ in range(80)]
    vectors = [(words[k], words[k + 1 : k + 4]) for k in range(0, 80, 4)]
    stages = levels(width) if stages == "all" else stages
    core = Popcount(width=width, words=3, stages=stages)
    assert core.latency == stages
    assert rtl_counts(core, vectors) == ref_counts(vectors, width)


def test_registers_hold_without_enable():
    core = Popcount(width=12, stages=1)

    async def bench(ctx):
        ctx.set(core.i, 0xFFF)
        ctx.set(core.w, 0xFFF)
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
