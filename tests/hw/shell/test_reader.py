# amaranth: UnusedElaboratable=no
"""hw.shell.reader against a memory that stalls and fails at random."""

import random
from collections import deque
from types import SimpleNamespace

import pytest
from amaranth.sim import Simulator

from hw.shell.axi import BURST_BEATS, Response
from hw.shell.reader import Reader

PATIENCE = 4000  # cycles, beside those that the words take


def word_at(address: int) -> int:
    """What memory holds: a number that its address alone decides."""
    return (address // 8 + 1) * 0x9E3779B97F4A7C15 % 2**64


def expected_words(jobs, frame_bytes):
    """What comes out: data, whether the job ends in it, and with how many bytes modulo 8."""
    words = []
    for address, frames in jobs:
        count = -(-frames * frame_bytes // 8)
        for n in range(count):
            last = n == count - 1
            words.append((word_at(address + 8 * n), last, frames * frame_bytes % 8 * last))
    return words


def run(
    jobs,
    *,
    frame_bytes=8,
    stall=0.0,
    seed=0,
    depth=64,
    latency=0,
    errors=(),
    halt_at=None,
    stuck=False,
):
    """Lets a reader read jobs; every rule of the bus is checked on the way.

    `errors` are numbers of beats with their response. At cycle `halt_at` the reader is halted.
    Where it is `stuck` nobody takes a word.
    """
    dut = Reader(frame_bytes=frame_bytes, depth=depth)
    rng = random.Random(seed)
    seen = SimpleNamespace(words=[], bursts=[], failures=[], beats=0, promised=0, cycles=0, taken=0)
    under_way = deque()  # address, last, and the cycle from which it may come
    errors = dict(errors)
    patience = PATIENCE + sum(frames for _, frames in jobs) * frame_bytes

    def go():
        return rng.random() >= stall

    async def memory(ctx):
        waiting, offered, quiet = False, None, 0
        while quiet < 50:
            if seen.taken < len(jobs):
                address, frames = jobs[seen.taken]
                ctx.set(dut.job.payload, {"address": address, "frames": frames})
            ctx.set(dut.job.valid, seen.taken < len(jobs))
            ctx.set(dut.ar.ready, ready := go())
            ctx.set(dut.o.ready, takes := go() and not stuck)
            ctx.set(dut.halt, halt_at is not None and seen.cycles >= halt_at)
            if not waiting and under_way and under_way[0][2] <= seen.cycles and go():
                address, last, _ = under_way[0]
                response = errors.get(seen.beats, Response.OKAY)
                beat = {"data": word_at(address), "response": response, "last": last}
                ctx.set(dut.r.payload, beat)
                waiting = True
            ctx.set(dut.r.valid, waiting)
            ar, o = dut.ar, dut.o
            (
                _,
                _,
                job_ready,
                valid,
                address,
                length,
                r_ready,
                o_valid,
                word,
                idle,
                failed,
                why,
            ) = await ctx.tick().sample(
                *(dut.job.ready, ar.valid, ar.payload.address, ar.payload.length, dut.r.ready),
                *(o.valid, o.payload, dut.idle, dut.failed, dut.response),
            )
            if offered is not None:
                assert valid and offered == (address, length), f"ar was not held, {seed=}"
            offered = (address, length) if valid and not ready else None
            if valid and ready:
                assert address % 8 == 0 and address % 128 + 8 * length < 128, f"{seed=}"
                seen.bursts.append((address, length + 1))
                seen.promised += length + 1
                assert seen.promised <= depth + 1, f"more was asked for than fits, {seed=}"
                for n in range(length + 1):
                    under_way.append((address + 8 * n, n == length, seen.cycles + latency))
            if waiting:
                assert r_ready, f"the memory had to wait, {seed=}"
                under_way.popleft()
                seen.beats += 1
                waiting = False
            if o_valid and takes:
                seen.words.append((word.data, word.last, word.bytes if word.last else 0))
                seen.promised -= 1
            if failed:
                seen.failures.append(why)
            if idle:
                assert not valid and not under_way, f"idle too early, {seed=}"
            seen.taken += job_ready and seen.taken < len(jobs)
            seen.cycles += 1
            assert seen.cycles < patience, f"stuck, {seed=}"
            quiet = quiet + 1 if idle and not (o_valid and not stuck) else 0

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(memory)
    sim.run()
    return seen


@pytest.mark.parametrize("frame_bytes", [1, 2, 7, 8, 98, 100, 784])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_reads_what_jobs_say(frame_bytes, stall):
    most = max(2, 800 // frame_bytes)
    rng = random.Random(frame_bytes)
    counts = [0, 1, 0, 0, 2, rng.randint(1, most), rng.randint(1, most), 0, 1]
    jobs = [(8 * rng.randrange(1 << 29), frames) for frames in counts]
    seen = run(jobs, frame_bytes=frame_bytes, stall=stall, seed=frame_bytes, latency=10)
    assert seen.words == expected_words(jobs, frame_bytes)


@pytest.mark.parametrize("words", [1, 2, 15, 16, 17, 31, 32, 33, 513])
@pytest.mark.parametrize("offset", [0, 8, 64, 112, 120])
def test_bursts_are_as_few_as_rows(words, offset):
    """Around boundaries of 128 bytes and of 4 KiB, and the end of a row, of a page and of all."""
    for page in (0x1000 - 128, 2**32 - 128 * 80) if words < 100 else (0x1000 - 128,):
        jobs = [(page + offset, words)]
        seen = run(jobs)
        assert seen.words == expected_words(jobs, 8)
        assert len(seen.bursts) == -(-(offset // 8 + words) // BURST_BEATS)


@pytest.mark.parametrize(
    ("frame_bytes", "frames"), [(1, 65_535), (1, 32_768), (1, 21_845), (12_287, 2), (4_096, 5)]
)
def test_large_products(frame_bytes, frames):
    jobs = [(72, frames)]
    assert run(jobs, frame_bytes=frame_bytes).words == expected_words(jobs, frame_bytes)


@pytest.mark.parametrize("seed", range(6))
def test_random_jobs_under_random_stalls(seed):
    rng = random.Random(seed)
    frame_bytes = rng.choice([1, 2, 5, 8, 98, 100, 784])
    jobs = [(8 * rng.randrange(1 << 29), rng.randrange(1 + 1600 // frame_bytes)) for _ in range(3)]
    seen = run(
        jobs,
        frame_bytes=frame_bytes,
        stall=rng.choice([0.1, 0.5, 0.8]),
        depth=rng.choice([32, 64, 128]),
        latency=rng.choice([0, 5, 60]),
        seed=seed,
    )
    assert seen.words == expected_words(jobs, frame_bytes)


def test_stalled_pipeline_stops_at_what_fits():
    seen = run([(0, 1000)], stuck=True, halt_at=600)
    assert seen.promised == 64


def test_streams_at_full_rate():
    """With 64 words, a word a cycle up to a round trip of about 45 cycles."""
    seen = run([(0, 1000)], latency=40)
    assert seen.cycles < 1000 + 130


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_reports_an_error(response):
    seen = run([(64, 40)], errors=[(21, response)], stall=0.3)
    assert seen.failures == [response]


def test_halts_everywhere():
    """Whatever it is doing: what it has asked for comes, nothing else is asked for."""
    for cycle in range(0, 90, 4):
        seen = run([(96, 200), (0, 4)], stall=0.3, halt_at=cycle, seed=cycle, latency=7)
        assert seen.words == expected_words([(96, 200)], 8)[: len(seen.words)]
        assert len(seen.words) == sum(length for _, length in seen.bursts)
        assert seen.taken <= 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"frame_bytes": 0}, "at least 1 byte, not 0"),
        ({"frame_bytes": 8, "depth": 16}, "power of two from 32, not 16"),
        ({"frame_bytes": 8, "depth": 48}, "power of two from 32, not 48"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        Reader(**parameters)


def test_properties():
    reader = Reader(frame_bytes=98, depth=32)
    assert (reader.frame_bytes, reader.depth) == (98, 32)
