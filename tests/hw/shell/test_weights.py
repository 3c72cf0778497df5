# amaranth: UnusedElaboratable=no
"""hw.shell.weights: all words again for every batch, and what a memory may do meanwhile."""

import random
from collections import deque
from types import SimpleNamespace

import pytest
from amaranth.sim import Simulator

from hw.shell.axi import Response
from hw.shell.weights import WeightReader


def word_at(address: int) -> int:
    """What memory holds: a number that its address alone decides."""
    return (address // 8 + 1) * 0x9E3779B97F4A7C15 % 2**64


def expected_words(jobs, words):
    return [
        word_at(address + 8 * n)
        for address, batches in jobs
        for _ in range(batches)
        for n in range(words)
    ]


def run(jobs, *, words, cycles, stall=0.0, seed=0, latency=0, dead=None, takes_from=0, **options):
    """A reader of weights for so many cycles.

    The memory answers nothing in the cycles of the range `dead`; words are taken from the cycle
    `takes_from` on.
    """
    dut = WeightReader(words=words, **options)
    rng = random.Random(seed)
    seen = SimpleNamespace(words=[], at=[], asked=0, starved=[], idle=True, taken=0)
    under_way = deque()  # address, and the cycle from which it may come

    def go():
        return rng.random() >= stall

    async def memory(ctx):
        waiting = False
        for cycle in range(cycles):
            if seen.taken < len(jobs):
                address, batches = jobs[seen.taken]
                ctx.set(dut.job.payload, {"address": address, "frames": batches})
            ctx.set(dut.job.valid, seen.taken < len(jobs))
            ctx.set(dut.ar.ready, go())
            ctx.set(dut.o.ready, takes := cycle >= takes_from and go())
            alive = dead is None or cycle not in dead
            if not waiting and under_way and under_way[0][1] <= cycle and alive and go():
                beat = {"data": word_at(under_way[0][0]), "response": Response.OKAY, "last": 0}
                ctx.set(dut.r.payload, beat)
                waiting = True
            ctx.set(dut.r.valid, waiting)
            ar, o = dut.ar, dut.o
            (
                _,
                _,
                job_ready,
                asks,
                address,
                length,
                came,
                word,
                starved,
                idle,
            ) = await ctx.tick().sample(
                *(dut.job.ready, ar.valid & ar.ready, ar.payload.address, ar.payload.length),
                *(o.valid, o.payload, dut.starved, dut.idle),
            )
            if asks:
                seen.asked += length + 1
                under_way.extend((address + 8 * n, cycle + latency) for n in range(length + 1))
            if waiting:
                under_way.popleft()
                waiting = False
            if came and takes:
                seen.words.append(word)
                seen.at.append(cycle)
            if starved:
                seen.starved.append(cycle)
            seen.taken += job_ready and seen.taken < len(jobs)
            seen.idle = idle

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(memory)
    sim.run()
    return seen


@pytest.mark.parametrize("words", [1, 2, 16, 37, 130])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_all_words_for_every_batch(words, stall):
    rng = random.Random(words)
    jobs = [(8 * rng.randrange(1 << 29), batches) for batches in (2, 0, 1, 3, 0)]
    seen = run(jobs, words=words, stall=stall, seed=words, latency=9, cycles=400 + 40 * words)
    assert seen.words == expected_words(jobs, words)
    assert seen.asked == len(seen.words)
    assert seen.taken == len(jobs) and seen.idle


def test_reads_ahead_across_batches_and_jobs():
    """As much as the buffer holds, before anything is taken; then a word a cycle from there."""
    jobs, depth = [(0, 2), (8000, 3)], 128
    seen = run(jobs, words=30, takes_from=500, latency=40, cycles=900)
    assert seen.words == expected_words(jobs, 30)
    ahead = depth - 30  # at least, since a burst wants a place for the longest one
    assert seen.at[:ahead] == list(range(500, 500 + ahead))
    stuck = run(jobs, words=30, takes_from=900, latency=40, cycles=900)
    assert ahead <= stuck.asked <= depth + 1


@pytest.mark.parametrize("latency", [10, 60])
def test_a_word_a_cycle(latency):
    """A memory that answers within half the buffer is not waited for between batches."""
    seen = run([(120, 6)], words=200, latency=latency, cycles=1500)
    assert seen.words == expected_words([(120, 6)], 200)
    # A first burst of one word, up to a multiple of 128 bytes, takes longer than its word.
    assert seen.at[-1] - seen.at[2] == 6 * 200 - 3


@pytest.mark.parametrize("seed", range(4))
def test_starvation_is_told_after_exactly_the_patience(seed):
    """Counted from the last word on; a shorter pause is none."""
    start = 100 + 7 * seed
    dead = range(start, start + 200)
    seen = run([(0, 4)], words=64, dead=dead, cycles=600, patience_cycles=64, latency=5)
    last = max(cycle for cycle in seen.at if cycle in range(start + 5))
    assert seen.starved == list(range(last + 65, 600))
    seen = run([(0, 4)], words=64, dead=dead, cycles=1000, patience_cycles=256, latency=5)
    assert seen.words == expected_words([(0, 4)], 64) and not seen.starved


def test_a_pause_that_nobody_minds():
    dead = range(200)
    seen = run([(0, 4)], words=64, dead=dead, takes_from=250, cycles=1000, patience_cycles=64)
    assert seen.words == expected_words([(0, 4)], 64) and not seen.starved


def test_who_waits_without_a_job_is_not_starved():
    seen = run([(0, 1)], words=8, cycles=400, patience_cycles=64)
    assert len(seen.words) == 8 and seen.idle and not seen.starved


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"words": 0}, r"1\.\.2\*\*29-1 words, not 0"),
        ({"words": 1 << 29}, r"1\.\.2\*\*29-1 words, not 536870912"),
        ({"words": 1, "patience_cycles": 0}, "power of two, not 0 cycles"),
        ({"words": 1, "patience_cycles": 100}, "power of two, not 100 cycles"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        WeightReader(**parameters)


def test_properties():
    reader = WeightReader(words=98, patience_cycles=4)
    assert (reader.words, reader.patience_cycles) == (98, 4)
