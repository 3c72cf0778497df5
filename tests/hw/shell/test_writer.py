# amaranth: UnusedElaboratable=no
"""hw.shell.writer against a memory that stalls and fails at random."""

import random
from collections import deque
from types import SimpleNamespace

import pytest
from amaranth.sim import Simulator

from hw.shell.axi import BURST_BEATS, Response
from hw.shell.writer import Writer

PATIENCE = 4000  # cycles, beside those that the numbers take


def run(
    jobs,
    *,
    number_bytes=1,
    elements=1,
    stall=0.0,
    aw_stall=None,
    seed=0,
    latency=0,
    errors=(),
    halt_at=None,
    numbers=None,
):
    """Lets a writer write jobs, given by address and frames; every rule of the bus is checked.

    `aw_stall` is for addresses alone. `errors` are numbers of bursts with their response. At cycle
    `halt_at`, or the cycle after a failure, the writer is halted; after `numbers` numbers nothing
    more comes.
    """
    dut = Writer(number_bytes=number_bytes, elements=elements)
    rng = random.Random(seed)
    count = sum(frames for _, frames in jobs) * elements
    sent = [rng.getrandbits(8 * number_bytes) for _ in range(count)]
    seen = SimpleNamespace(
        sent=sent, memory={}, bursts=[], frames=0, done=[], failures=[], cycles=0, taken=0, most=0
    )
    addresses, beats, answers = deque(), deque(), deque()
    errors = dict(errors)
    patience = PATIENCE + 40 * count
    given = 0
    limit = count if numbers is None else numbers

    aw_stall = stall if aw_stall is None else aw_stall

    def go(stall=stall):
        return rng.random() >= stall

    def store():
        """Bursts of which address and data are here go to memory, and get an answer."""
        while addresses and len(beats) > addresses[0][1]:
            address, length = addresses.popleft()
            for n in range(length + 1):
                data, strobes, last = beats.popleft()
                assert last == (n == length), f"last at the wrong beat, {seed=}"
                for byte in range(8):
                    if strobes >> byte & 1:
                        at = address + 8 * n + byte
                        assert at not in seen.memory, f"{at} was written twice, {seed=}"
                        seen.memory[at] = data >> 8 * byte & 0xFF
            response = errors.get(len(seen.bursts), Response.OKAY)
            seen.bursts.append((address, length + 1))
            answers.append((response, seen.cycles + latency))

    async def memory(ctx):
        nonlocal given
        offered, held, offers, answering, quiet = None, None, False, False, 0
        unanswered, halts = 0, 0
        while quiet < 60:
            if seen.taken < len(jobs):
                address, frames = jobs[seen.taken]
                ctx.set(dut.job.payload, {"address": address, "frames": frames})
            ctx.set(dut.job.valid, seen.taken < len(jobs))
            offers = offers or (given < limit and go())
            if offers:
                ctx.set(dut.i.payload, sent[given])
            ctx.set(dut.i.valid, offers)
            ctx.set(dut.aw.ready, aw_ready := go(aw_stall))
            ctx.set(dut.w.ready, w_ready := go())
            halted = seen.failures or (halt_at is not None and seen.cycles >= halt_at)
            halts += bool(halted)
            ctx.set(dut.halt, bool(halted))
            if not answering and answers and answers[0][1] <= seen.cycles and go():
                ctx.set(dut.b.payload.response, answers[0][0])
                answering = True
            ctx.set(dut.b.valid, answering)
            aw, w = dut.aw, dut.w
            sampled = await ctx.tick().sample(
                *(dut.job.ready, dut.i.ready, aw.valid, aw.payload.address, aw.payload.length),
                *(w.valid, w.payload.data, w.payload.strobes, w.payload.last, dut.b.ready),
                *(dut.idle, dut.frame, dut.done, dut.failed, dut.response),
            )
            _, _, job_ready, i_ready, aw_valid, address, length, *sampled = sampled
            w_valid, data, strobes, last, b_ready, idle, frame, done, failed, why = sampled
            if offered is None and halts > 1:
                assert not aw_valid, f"a burst begins although it is halted, {seed=}"
            if offered is not None:
                assert aw_valid and offered == (address, length), f"aw was not held, {seed=}"
            offered = (address, length) if aw_valid and not aw_ready else None
            if held is not None:
                assert w_valid and held == (data, strobes, last), f"w was not held, {seed=}"
            held = (data, strobes, last) if w_valid and not w_ready else None
            if aw_valid and aw_ready:
                assert address % 8 == 0 and address % 128 + 8 * length < 128, f"{seed=}"
                addresses.append((address, length))
                unanswered += 1
                seen.most = max(seen.most, unanswered)
            if w_valid and w_ready:
                beats.append((data, strobes, last))
            if answering:
                assert b_ready, f"the memory had to wait, {seed=}"
                answers.popleft()
                answering = False
                unanswered -= 1
            if offers and i_ready:
                given += 1
                offers = False
            seen.frames += frame
            if done:
                assert not (aw_valid or w_valid or unanswered), f"done too early, {seed=}"
                seen.done.append(len(seen.bursts))
            if failed:
                seen.failures.append(why)
            if idle:
                assert not (aw_valid or w_valid or unanswered), f"idle too early, {seed=}"
            seen.taken += job_ready and seen.taken < len(jobs)
            seen.cycles += 1
            assert seen.cycles < patience, f"stuck, {seed=}"
            store()
            starves = given == limit < count
            waits = seen.taken < len(jobs) and not halted
            quiet = quiet + 1 if (idle and not waits) or starves else 0
        assert not addresses and not beats and not answers, f"a burst did not end, {seed=}"

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(memory)
    sim.run()
    seen.given = given
    return seen


def expected_memory(jobs, sent, number_bytes, elements):
    """What bytes are written: every number of every job, and nothing else."""
    memory, start = {}, 0
    for address, frames in jobs:
        numbers = sent[start : start + frames * elements]
        start += frames * elements
        line = b"".join(number.to_bytes(number_bytes, "little") for number in numbers)
        memory.update({address + n: byte for n, byte in enumerate(line)})
    return memory


@pytest.mark.parametrize(("number_bytes", "elements"), [(1, 1), (2, 10), (4, 3), (2, 1), (1, 7)])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_writes_what_jobs_say(number_bytes, elements, stall):
    rng = random.Random(number_bytes)
    most = max(2, 500 // (number_bytes * elements))
    counts = [0, 1, 0, 0, 2, rng.randint(1, most), rng.randint(1, most), 0, 1]
    jobs = [((n << 20) + 8 * rng.randrange(1 << 16), count) for n, count in enumerate(counts)]
    seen = run(jobs, number_bytes=number_bytes, elements=elements, stall=stall, latency=10)
    assert seen.memory == expected_memory(jobs, seen.sent, number_bytes, elements)
    assert seen.frames == sum(counts) and len(seen.done) == len(jobs) and not seen.failures


@pytest.mark.parametrize("numbers", [1, 7, 8, 9, 127, 128, 129, 257, 600])
@pytest.mark.parametrize("offset", [0, 8, 64, 112, 120])
def test_bursts_are_as_few_as_rows(numbers, offset):
    """Around boundaries of 128 bytes and of 4 KiB."""
    for page in (0x1000 - 128, 2**32 - 8 * 128) if numbers < 300 else (0x1000 - 128,):
        jobs = [(page + offset, numbers)]
        seen = run(jobs, latency=3)
        assert seen.memory == expected_memory(jobs, seen.sent, 1, 1)
        words = -(-numbers // 8)
        assert len(seen.bursts) == -(-(offset // 8 + words) // BURST_BEATS)


@pytest.mark.parametrize("seed", range(8))
def test_random_jobs_under_random_stalls(seed):
    rng = random.Random(seed)
    number_bytes, elements = rng.choice([1, 2, 4]), rng.choice([1, 2, 3, 10])
    most = 1 + 400 // (number_bytes * elements)
    jobs = [((n << 20) + 8 * rng.randrange(1 << 16), rng.randrange(most)) for n in range(3)]
    options = {"stall": rng.choice([0.1, 0.5, 0.8]), "latency": rng.choice([0, 5, 60])}
    seen = run(jobs, number_bytes=number_bytes, elements=elements, seed=seed, **options)
    assert seen.memory == expected_memory(jobs, seen.sent, number_bytes, elements)
    assert len(seen.done) == len(jobs)


def test_addresses_that_wait():
    """Both rows of the buffer fill up; no number is lost."""
    seen = run([(120, 300), (4096, 100)], number_bytes=4, aw_stall=0.99, seed=3)
    assert seen.memory == expected_memory([(120, 300), (4096, 100)], seen.sent, 4, 1)


def test_answers_that_wait():
    """Three bursts may be unanswered; a job is not done before they are."""
    seen = run([(120, 400), (4096, 100)], number_bytes=4, latency=300)
    assert seen.memory == expected_memory([(120, 400), (4096, 100)], seen.sent, 4, 1)
    assert seen.most == 3 and len(seen.done) == 2


def test_takes_a_number_a_cycle():
    seen = run([(0, 1000)], latency=30)
    assert seen.cycles < 1000 + 60 + 60


def test_no_burst_begins_before_its_words_are_here():
    """Whatever is missing of 40 words: only whole rows have gone."""
    for numbers in range(0, 40, 3):
        seen = run([(64, 40)], number_bytes=4, elements=2, numbers=2 * numbers)
        rows = (numbers + 8) // 16
        assert sum(length for _, length in seen.bursts) == max(0, rows * 16 - 8), numbers


@pytest.mark.parametrize("response", [Response.SLVERR, Response.DECERR])
def test_reports_an_error(response):
    """The job is never done, even if it was the last burst that failed; nor is another begun."""
    for burst in range(4):
        seen = run([(0, 400), (1024, 8)], errors=[(burst, response)], stall=0.3)
        assert seen.failures == [response]
        assert seen.done == []


def test_halts_everywhere():
    """Whatever it is doing: bursts that have begun end, none begins, no job is done."""
    for cycle in range(0, 120, 4):
        stalls = {"stall": 0.5, "aw_stall": 0.9 if cycle % 8 else 0.3}
        seen = run([(96, 200), (1024, 4)], number_bytes=4, halt_at=cycle, seed=cycle, **stalls)
        expected = expected_memory([(96, 200)], seen.sent, 4, 1)
        assert all(expected[at] == byte for at, byte in seen.memory.items())
        assert len(seen.memory) == 8 * sum(length for _, length in seen.bursts)
        assert seen.taken <= 1 and not seen.done


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"number_bytes": 3}, "must be 1, 2 or 4, not 3"),
        ({"number_bytes": 1, "elements": 0}, "at least 1 element, not 0"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        Writer(**parameters)


def test_properties():
    writer = Writer(number_bytes=2, elements=10)
    assert (writer.number_bytes, writer.elements) == (2, 10)
