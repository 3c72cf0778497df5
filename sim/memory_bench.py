"""The bench of a memory shell: jobs on cocotbext-axi's processor and memory, case after case.

A case is what its seed says: where the buffers are, what stalls, which beat is answered by an
error, when a reset comes. Whatever happens, nothing hangs, no byte outside the destinations
changes, results of jobs that are done are right, and after a reset the next job is. Weights, where
a shell takes them, come from the same memory through a port of their own.

The memory answers reads and writes each in their order, but independently of each other.
"""

import json
import logging
import random
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Event, First, Timer
from cocotb.utils import get_sim_time

from sw.host.registers import BATCH_COUNTERS, COUNTERS, QUEUE, Cause, register

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from cocotbext.axi import (
        AxiBus,
        AxiMaster,
        AxiReadBus,
        AxiResp,
        AxiSlave,
        AxiSlaveRead,
    )

__all__ = ["cases", "rate"]

# cocotbext-axi 0.1.28 still calls cocotb 2's functions by their old names.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"cocotbext\.axi")

STEPS = 2  # of simulated time to a clock cycle
RESET_CYCLES = 4
PATIENCE_CYCLES = 50_000
QUIET_CYCLES = 40  # after the end nothing moves for so long
WINDOW = 48 << 10  # bytes of memory
PAGES = (1 << 20) - WINDOW // 4096  # at which it can begin
CHANNELS = ("ar", "r", "aw", "w", "b")
START, RESET = (register("CONTROL").field(name).mask for name in ("start", "reset"))
DONE, ERROR = (register("EVENTS").field(name).mask for name in ("done", "error"))


def now() -> int:
    """Cycles so far."""
    return get_sim_time("step") // STEPS


async def cycles(count: int) -> None:
    """Lets the clock run."""
    if count:
        await Timer(STEPS * count, "step")


@dataclass(frozen=True)
class Job:
    """Frames, or batches, to read at one address and results to write at another."""

    source: int
    destination: int
    frames: int
    weights: int = 0


class Memory:
    """A range of addresses; elsewhere is none."""

    def __init__(self) -> None:
        self.base, self.data, self.strays = 0, bytearray(WINDOW), []

    def _place(self, address: int, length: int) -> slice:
        offset = address - self.base
        if not 0 <= offset <= WINDOW - length:
            self.strays.append(hex(address))
            raise IndexError(address)
        return slice(offset, offset + length)

    async def read(self, address: int, length: int) -> bytes:
        """As AxiSlave wants it."""
        return bytes(self.data[self._place(address, length)])

    async def write(self, address: int, data: bytes) -> None:
        """As AxiSlave wants it."""
        self.data[self._place(address, len(data))] = data


class Answers:
    """Stands before a channel of answers: they come later, and some as errors.

    Parameters
    ----------
    channel : cocotbext.axi source
        The slave's R or B.
    field : str
        Where the response is.
    """

    def __init__(self, channel, field: str) -> None:
        self.latency, self.errors, self.count = 0, {}, 0
        self._field, self._send = field, channel.send
        self._waiting, self._due, self._garbage = deque(), Event(), random.Random(1)
        channel.send = self.send
        cocotb.start_soon(self._run())

    def expect(self, latency: int, errors: dict) -> None:
        """Cycles to wait from now on, and responses by number of the answer from now on."""
        self.latency, self.errors, self.count = latency, errors, 0

    async def send(self, answer) -> None:
        """Takes an answer from the slave."""
        if self.count in self.errors:
            setattr(answer, self._field, self.errors[self.count])
            answer.rdata = self._garbage.getrandbits(64)  # of which nothing may get anywhere
        self.count += 1
        self._waiting.append((now() + self.latency, answer))
        self._due.set()

    @property
    def idle(self) -> bool:
        """Nothing waits."""
        return not self._waiting

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                self._due.clear()
                await self._due.wait()
            due, answer = self._waiting[0]
            await cycles(max(0, due - now()))
            await self._send(answer)
            self._waiting.popleft()


class Shell:
    """A shell of the design, its processor and its memory.

    Parameters
    ----------
    dut : cocotb handle
    about : dict
        What the test's design says of it; its name is the prefix of its signals.
    """

    def __init__(self, dut, about: dict) -> None:
        self.about, name = about, about["name"]
        self.busy, self.error, self.interrupt, self.broken = (
            getattr(dut, f"{name}_{signal}") for signal in ("busy", "error", "interrupt", "broken")
        )
        self.memory = Memory()
        self.unit_bytes = about["frame_bytes"] * about["batch"]  # what a job counts
        processor = AxiBus.from_prefix(dut, f"{name}_gp")
        self.processor = AxiMaster(processor, dut.clk, dut.rst, max_burst_len=16)
        port = AxiBus.from_prefix(dut, f"{name}_hp")
        self.port = AxiSlave(port, dut.clk, dut.rst, target=self.memory)
        self.channels = self._channels(self.port)
        self.reads = Answers(self.port.read_if.r_channel, "rresp")
        self.writes = Answers(self.port.write_if.b_channel, "bresp")
        self.answers = [self.reads, self.writes]
        if about["words"]:
            port = AxiReadBus.from_prefix(dut, f"{name}_hp2")
            weights = AxiSlaveRead(port, dut.clk, dut.rst, target=self.memory)
            self.channels |= {"weights_ar": weights.ar_channel, "weights_r": weights.r_channel}
            self.weights = Answers(weights.r_channel, "rresp")
            self.answers.append(self.weights)
        self.stalls, self._stalled = {}, Event()
        cocotb.start_soon(self._stall())

    def _channels(self, side) -> dict:
        """The channels of the processor or of the memory's port, by name."""
        sides = {name: side.read_if if name in ("ar", "r") else side.write_if for name in CHANNELS}
        return {name: getattr(each, f"{name}_channel") for name, each in sides.items()}

    def stall(self, rng: random.Random, chances: list[float]) -> None:
        """Holds channels back at random, each with a chance of these, from now on."""
        self.stalls.clear()
        for channel in (*self._channels(self.processor).values(), *self.channels.values()):
            channel.pause = False
            if chance := rng.choice(chances):
                self.stalls[channel] = _pauses(random.Random(rng.random()), chance)
        self._stalled.set()

    def expect(self, latency: int) -> None:
        """Right answers of the memory, so many cycles late, from now on."""
        for each in self.answers:
            each.expect(latency, {})

    def block(self, name: str):
        """Holds a channel of the memory back until its `pause` is cleared."""
        channel = self.channels[name]
        self.stalls.pop(channel, None)
        channel.pause = True
        return channel

    async def _stall(self) -> None:
        # One coroutine for all: cocotbext-axi's pause generators would take most of the time.
        while True:
            while not self.stalls:
                self._stalled.clear()
                await self._stalled.wait()
            for channel, pauses in self.stalls.items():
                channel.pause = next(pauses)
            await cycles(1)

    # Registers

    async def write(self, name: str, *values: int) -> None:
        """Writes registers from this one on."""
        data = b"".join(value.to_bytes(4, "little") for value in values)
        answer = await self.processor.write(register(name).address, data)
        assert answer.resp == AxiResp.OKAY, f"{name} is answered by {answer.resp!r}"

    async def read(self, name: str, count: int = 1) -> list[int]:
        """Reads registers from this one on."""
        answer = await self.processor.read(register(name).address, 4 * count)
        assert answer.resp == AxiResp.OKAY, f"{name} is answered by {answer.resp!r}"
        return [int.from_bytes(answer.data[n : n + 4], "little") for n in range(0, 4 * count, 4)]

    async def status(self) -> dict[str, int]:
        """The fields of STATUS."""
        (word,) = await self.read("STATUS")
        return {field.name: field.of(word) for field in register("STATUS").fields}

    async def counters(self) -> dict[str, int]:
        """All counters, by name."""
        counted = {}
        for section in (COUNTERS, BATCH_COUNTERS):
            values = await self.read(section[0].name, len(section))
            counted |= zip((entry.name for entry in section), values, strict=True)
        return counted

    async def start(self, job: Job) -> None:
        """Queues a job."""
        await self.write("SOURCE", job.source, job.destination, job.frames)
        if self.about["words"]:
            await self.write("WEIGHTS", job.weights)
        await self.write("CONTROL", START)

    async def ended(self) -> None:
        """Waits until the shell is not busy, and for a while in which nothing may move."""
        await cycles(4)  # from the answer to the register's write
        if self.busy.value:
            await First(self.busy.falling_edge, Timer(STEPS * PATIENCE_CYCLES, "step"))
        assert not self.busy.value, "the shell hangs"
        before = [each.count for each in self.answers]
        await cycles(QUIET_CYCLES)
        assert not self.busy.value, "the shell is busy again"
        after = [each.count for each in self.answers]
        assert after == before, "something moves after the end"
        assert all(each.idle for each in self.answers), "something is not answered"
        for name, channel in self.channels.items():
            if name not in ("r", "b", "weights_r"):
                assert channel.empty(), f"there is too much on {name}"
        assert not self.broken.value, f"rules are broken: {int(self.broken.value):04b}"
        assert not self.memory.strays, f"there is no memory at {self.memory.strays}"

    # What to expect

    def results(self, frames: bytes, weights: bytes) -> bytes:
        """What the pipeline answers to frames, as bytes; the test's design has the same formula."""
        about = self.about
        size, lanes, bits = about["frame_bytes"], about["lanes"], about["bits"]
        answers, of_weights = b"", 0
        for at in range(0, len(weights), 8):
            low, high = (int.from_bytes(weights[n : n + 4], "little") for n in (at, at + 4))
            of_weights = (5 * of_weights + low + 3 * high) % (1 << 32)
        for start in range(0, len(frames), size):
            frame = frames[start : start + size]
            if bits == 1:
                elements = [byte >> bit & 1 for byte in frame for bit in range(8)]
            else:
                elements = [byte & ((1 << bits) - 1) for byte in frame]
            elements, total = elements[: about["elements"]], 0
            for beat in range(0, len(elements), lanes):
                total *= 5
                for lane, element in enumerate(elements[beat : beat + lanes]):
                    total += (2 * lane + 1) * element
            for number in range(about["numbers"]):
                answer = (total + of_weights + 37 * number) % (1 << about["width"])
                answers += answer.to_bytes(about["number_bytes"], "little")
        return answers

    def result_bytes(self, frames: int) -> int:
        """Bytes of the results of so many frames, or batches."""
        about = self.about
        return frames * about["batch"] * about["numbers"] * about["number_bytes"]

    def check_memory(self, before: bytes, jobs: list[Job], done: int) -> None:
        """Results of the jobs that are done; of others, what is there is right; nothing else."""
        memory = self.memory
        expected, may = bytearray(before), bytearray(before)
        for number, job in enumerate(jobs):
            start = job.source - memory.base
            frames = before[start : start + job.frames * self.unit_bytes]
            start = job.weights - memory.base
            answers = self.results(frames, before[start : start + 8 * self.about["words"]])
            at = job.destination - memory.base
            (expected if number < done else may)[at : at + len(answers)] = answers
        for at, byte in enumerate(memory.data):
            if byte != expected[at] and byte != may[at]:
                raise AssertionError(
                    f"{byte:#04x} is at {memory.base + at:#x}, where {expected[at]:#04x} should "
                    f"be{'' if expected[at] == may[at] else f' or {may[at]:#04x}'}, of {jobs}"
                )


def _pauses(rng: random.Random, chance: float) -> Iterator[bool]:
    """Short ones, and from time to time a long one."""
    while True:
        if rng.random() < chance / 30:
            for _ in range(rng.randrange(60)):
                yield True
        yield rng.random() < chance


class Case:
    """One seed's case on a shell.

    Parameters
    ----------
    shell : Shell
    seed : int
    """

    KINDS = ("plain", "plain", "read", "write", "reset", "reset", "unaligned", "overrun")
    WEIGHTS_KINDS = (*KINDS, "wrong_weights", "wrong_weights", "starved", "missing")

    def __init__(self, shell: Shell, seed: int) -> None:
        self.shell, self.rng = shell, random.Random(seed)
        kinds = self.WEIGHTS_KINDS if shell.about["words"] else self.KINDS
        self.kind = kinds[seed % len(kinds)]

    async def run(self) -> None:
        """All of it; leaves the shell as new."""
        rng, shell = self.rng, self.shell
        shell.stall(rng, rng.choice([[0], [0, 0.2], [0.5], [0, 0.3, 0.9]]))
        latency = rng.choice([0, 3, 30])
        enable = rng.randrange(4)
        await shell.write("ENABLE", enable)
        jobs = self.fill()
        shell.expect(latency)
        cause = await getattr(self, self.kind)(jobs, latency)

        await shell.ended()
        status, counters = await shell.status(), await shell.counters()
        (events,) = await shell.read("EVENTS")
        reset = self.kind == "reset"
        assert status == {"busy": 0, "error": cause != 0, "queued": 0, "cause": cause}, status
        assert shell.error.value == (cause != 0)
        done = counters["JOBS_DONE"]
        batches = sum(job.frames for job in jobs)
        frames = batches * shell.about["batch"]
        if reset:
            assert not any(counters.values()) and not events, (counters, events)
            enable = 0  # by the reset
        elif cause:
            assert events == ERROR | (DONE if done else 0), (events, done)
            assert done < len(jobs) and counters["FRAMES_DONE"] <= frames, counters
        else:
            assert events == DONE and done == len(jobs), (events, done, len(jobs))
            assert counters["FRAMES_DONE"] == frames, counters
            assert counters["WORDS_READ"] == batches * shell.about["words"], counters
        assert shell.interrupt.value == bool(events & enable)
        shell.check_memory(self.before, jobs, done)

        if cause:
            await shell.start(jobs[0])
            await cycles(20)
            assert shell.error.value and not shell.busy.value, "a job runs after an error"
        await self.afterwards(reset or not cause)

    async def afterwards(self, usable: bool) -> None:
        """The next job is right, after a reset or without one where none is needed."""
        shell = self.shell
        if not usable or self.rng.random() < 0.5:
            await shell.write("CONTROL", RESET)
            await shell.ended()
            assert not any((await shell.status()).values())
        await shell.write("EVENTS", DONE | ERROR)
        assert await shell.read("EVENTS") == [0] and not shell.interrupt.value
        (job,) = self.fill(jobs=1)
        shell.expect(0)
        await shell.start(job)
        await shell.ended()
        assert await shell.read("EVENTS") == [DONE]
        shell.check_memory(self.before, [job], 1)
        await shell.write("CONTROL", RESET)
        await shell.ended()
        shell.stall(self.rng, [0])

    def fill(self, jobs: int | None = None) -> list[Job]:
        """New memory, everywhere random, and jobs in it."""
        rng, shell = self.rng, self.shell
        memory = shell.memory
        memory.base = rng.choice(
            [0, (1 << 32) - WINDOW, 4096 * rng.randrange((1 << 20) - WINDOW // 4096)]
        )
        memory.data[:] = self.before = rng.randbytes(WINDOW)
        end, made = 8, []  # 0 is no address of weights

        def place(size: int) -> int:
            """Somewhere behind what has been placed, near a boundary or not."""
            nonlocal end
            start = end + 8 * rng.choice([0, 0, 1, rng.randrange(16)])
            boundary = rng.choice([None, None, 128, 128, 4096])
            if boundary:
                start = -(-end // boundary) * boundary + 8 * rng.randrange(-3, 4)
                start = start if start >= end else end
            end = start + -(-size // 8) * 8
            return start

        count = jobs or (1 if rng.random() < 0.3 else rng.randrange(1, QUEUE + 2))
        for _ in range(count):
            most = max(1, 1000 // max(shell.unit_bytes, shell.about["words"]) // count)
            frames = rng.choice([0, 1, most, rng.randrange(most + 1)])
            source = place(frames * shell.unit_bytes)
            destination = place(shell.result_bytes(frames))
            weights = place(8 * shell.about["words"])
            places = (memory.base + each for each in (source, destination))
            made.append(Job(*places, frames, memory.base + weights))
        assert end <= WINDOW, "the window is too small"
        return made

    def bursts(self, jobs: list[Job]) -> int:
        """How many the results take."""
        count = 0
        for job in jobs:
            first, end = job.destination, job.destination + self.shell.result_bytes(job.frames)
            count += -(-end // 128) - first // 128 if end > first else 0
        return count

    async def start(self, jobs: list[Job]) -> None:
        """All of them, at short intervals or longer ones."""
        for job in jobs:
            await self.shell.start(job)
            await cycles(self.rng.choice([0, 0, self.rng.randrange(200)]))

    # Kinds of cases: each returns the cause of the error that it makes.

    async def plain(self, jobs: list[Job], latency: int) -> Cause:
        """Nothing is wrong."""
        await self.start(jobs)
        return Cause.NONE

    def _error(self) -> AxiResp:
        return self.rng.choice([AxiResp.SLVERR, AxiResp.DECERR])

    async def read(self, jobs: list[Job], latency: int) -> Cause:
        """Some beat is read with an error."""
        beats = sum(-(-job.frames * self.shell.unit_bytes // 8) for job in jobs)
        if not beats:
            return await self.plain(jobs, latency)
        response = self._error()
        self.shell.reads.expect(latency, {self.rng.randrange(beats): response})
        await self.start(jobs)
        return Cause.READ_SLAVE if response == AxiResp.SLVERR else Cause.READ_DECODE

    async def wrong_weights(self, jobs: list[Job], latency: int) -> Cause:
        """Some beat of the weights is read with an error, in whichever batch."""
        shell = self.shell
        beats = sum(job.frames for job in jobs) * shell.about["words"]
        if not beats:
            return await self.plain(jobs, latency)
        response = self._error()
        shell.weights.expect(latency, {self.rng.randrange(beats): response})
        await self.start(jobs)
        slave = response == AxiResp.SLVERR
        return Cause.WEIGHTS_SLAVE if slave else Cause.WEIGHTS_DECODE

    async def starved(self, jobs: list[Job], latency: int) -> Cause:
        """No weights come for longer than the shell's patience; then the memory goes on."""
        rng, shell = self.rng, self.shell
        if not any(job.frames for job in jobs):
            return await self.plain(jobs, latency)
        channel = shell.block(rng.choice(["weights_ar", "weights_r"]))
        await self.start(jobs)
        deadline = now() + PATIENCE_CYCLES
        while not (status := await shell.status())["cause"]:
            assert now() < deadline, "the shell waits for ever"
        await cycles(rng.randrange(100))
        assert status["busy"] and not shell.error.value, "over, but the memory still owes words"
        channel.pause = False
        return Cause.WEIGHTS_STARVED

    async def missing(self, jobs: list[Job], latency: int) -> Cause:
        """The last job has no address of weights."""
        last = jobs.pop()
        await self.start(jobs)
        await self.shell.start(replace(last, weights=0))
        jobs.append(replace(last, frames=0))
        return Cause.NO_WEIGHTS

    async def write(self, jobs: list[Job], latency: int) -> Cause:
        """Some burst is written with an error."""
        bursts = self.bursts(jobs)
        if not bursts:
            return await self.plain(jobs, latency)
        response = self._error()
        self.shell.writes.expect(latency, {self.rng.randrange(bursts): response})
        await self.start(jobs)
        return Cause.WRITE_SLAVE if response == AxiResp.SLVERR else Cause.WRITE_DECODE

    async def reset(self, jobs: list[Job], latency: int) -> Cause:
        """A reset comes at any time; often while a channel of the memory stands still."""
        rng, shell = self.rng, self.shell
        starting = cocotb.start_soon(self.start(jobs))
        await cycles(rng.randrange(20, 400))
        blocked = rng.choice([None, *shell.channels])
        if blocked:
            channel = shell.block(blocked)
            await cycles(rng.randrange(60))
        await starting
        await shell.write("CONTROL", RESET)
        if blocked:
            await cycles(rng.randrange(100))
            channel.pause = False
        return Cause.NONE

    async def unaligned(self, jobs: list[Job], latency: int) -> Cause:
        """One address of the last job is not where it may be."""
        places = ["source", "destination"] + ["weights"] * bool(self.shell.about["words"])
        place = self.rng.choice(places)
        last = jobs.pop()
        await self.start(jobs)
        wrong = getattr(last, place) + self.rng.randrange(1, 8)
        await self.shell.start(replace(last, **{place: wrong}))
        jobs.append(replace(last, frames=0))
        return Cause.UNALIGNED

    async def overrun(self, jobs: list[Job], latency: int) -> Cause:
        """A job too many, while the memory answers nothing."""
        shell = self.shell
        channel = shell.block("r")
        frame = next((job for job in jobs if job.frames), None)
        if frame is None:
            channel.pause = False
            return await self.plain(jobs, latency)
        jobs[:] = [frame] * (QUEUE + 2)
        for number, job in enumerate(jobs):
            await shell.start(job)
            status = await shell.status()
            assert number > QUEUE or status["queued"] == number, (number, status)
        channel.pause = False
        return Cause.OVERRUN


async def _setup(dut) -> tuple[list[Shell], dict]:
    logging.getLogger("cocotb").setLevel(logging.WARNING)  # each burst would be a line
    config = json.loads(Path("config.json").read_text())
    dut.rst.value = 1
    shells = [Shell(dut, about) for about in config["shells"]]
    await Timer(1, "step")
    Clock(dut.clk, STEPS, "step", impl="gpi").start()
    await Timer(1, "step")  # from here on, a whole number of cycles ends at a falling edge
    await cycles(RESET_CYCLES)
    dut.rst.value = 0
    await cycles(RESET_CYCLES)
    return shells, config


@cocotb.test()
async def cases(dut) -> None:
    """Every case of the configuration's range of seeds."""
    shells, config = await _setup(dut)
    for seed in range(*config["seeds"]):
        shell = shells[seed // len(Case.KINDS) % len(shells)]
        case = Case(shell, seed)
        try:
            await case.run()
        except AssertionError as error:
            message = f"seed {seed}, {shell.about['name']}, {case.kind}, cycle {now()}: {error}"
            Path("failure.txt").write_text(message)
            raise AssertionError(message) from error
    Path("cycles.txt").write_text(str(now()))


@cocotb.test()
async def rate(dut) -> None:
    """Cycles of more and more frames, by the clock and by the counters."""
    shells, config = await _setup(dut)
    measured = {}
    for shell in shells:
        few, runs = max(8, 2048 // shell.unit_bytes), []
        shell.memory.data[:] = random.Random(1).randbytes(WINDOW)
        for count in (few, 3 * few):
            shell.expect(config["latency"])
            await shell.start(Job(0, WINDOW // 2, count, WINDOW // 4))
            begin = now()
            await shell.busy.falling_edge
            spent = now() - begin
            runs.append({"frames": count, "cycles": spent} | await shell.counters())
            await shell.write("CONTROL", RESET)
            await shell.ended()
        measured[shell.about["name"]] = runs
    Path("rates.json").write_text(json.dumps(measured))
