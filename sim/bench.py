"""The bench that cocotb runs inside the simulator: phases of frames, a verdict on each.

1. Without a stall: latency and cycles per frame are measured.
2. A few stalled frames, which a reset interrupts at a random cycle.
3. Every frame under random stalls on both sides.

Each phase begins with a reset. The Verilog around the design (`sim.harness`) drives and records
every cycle; Python wakes once in `POLL_CYCLES` to compare what was recorded. `sim.runner` leaves
the job in the current folder and finds the outcome there.
"""

import json
import random
import time
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import Timer

from sim.beats import to_input_file
from sim.harness import beats_file
from sim.job import Job, SimulationMismatch, Stalls
from sim.verdict import Run, judge, judge_timing
from sim.watch import Watch

__all__ = ["Bench", "simulate"]

POLL_CYCLES = 1024
PATIENCE_CYCLES = 10_000  # how long nothing may move, beside several frame times
RESET_CYCLES = 4
MEASURED_FRAMES = 4
PROGRESS_SECONDS = 0.1

NO_STALLS = Stalls(chance=0, bursts=0)


class Bench:
    """Runs a job's phases on the simulated harness.

    Parameters
    ----------
    dut : cocotb handle
        The module that `sim.harness.render` wrote.
    job : Job
        What is simulated.
    frames : ndarray of integers (frames, elements of the input)
        What goes in.
    expected : list of ndarray of integers (frames, elements)
        For each stream of the job, the input included, what it should carry.
    """

    def __init__(self, dut, job: Job, frames: np.ndarray, expected: list[np.ndarray]) -> None:
        self.dut, self.job = dut, job
        self.frames, self.expected = frames, expected
        self.cycles = 0
        self._random = random.Random(job.seed)
        self._frame_cycles = job.cycles_per_frame or 0
        self._latency_cycles = job.latency_cycles or 0

    @property
    def _stalls(self) -> list[Stalls]:
        """Of the input, the output and the weights."""
        weights = self.job.weights
        return [
            self.job.input_stalls,
            self.job.output_stalls,
            NO_STALLS if weights is None else weights.stalls,
        ]

    async def measure(self) -> tuple[int, int | None]:
        """Latency, and cycles per frame (None where frames differ), compared with the job's."""
        filling = len(self.job.streams) + 2
        numbers = np.arange(filling + MEASURED_FRAMES) % len(self.frames)
        run = await self._run(numbers, "without stalls", [NO_STALLS] * 3)
        judge(run)
        first, last = run.watches[0].starts, run.watches[-1].starts
        latency, intervals = last[0] - first[0], np.diff(last[filling - 1 :]).tolist()
        judge_timing(self.job, run, latency, intervals)
        self._latency_cycles, self._frame_cycles = latency, max(intervals)
        return latency, intervals[0] if len(set(intervals)) == 1 else None

    async def interrupt(self) -> None:
        """A run broken off somewhere in its first three frames; the next one starts by a reset."""
        cycles = self._random.randint(1, self._latency_cycles + 2 * self._frame_cycles + 1)
        numbers = np.arange(4) % len(self.frames)
        judge(await self._run(numbers, "before a reset", self._stalls, break_off=cycles))

    async def check(self) -> np.ndarray:
        """Every frame under random stalls; returns what the output carried."""
        numbers = np.arange(len(self.frames))
        run = await self._run(numbers, "with random stalls", self._stalls, progress=True)
        judge(run)
        return run.watches[-1].outputs

    async def _run(
        self,
        numbers: np.ndarray,
        phase: str,
        stalls: list[Stalls],
        *,
        break_off: int | None = None,
        progress: bool = False,
    ) -> Run:
        """Resets, sends the numbered frames, and compares until nothing moves any more."""
        to_input_file(self.job.input, self.frames[numbers], Path("input.beats"))
        watches = [
            Watch(stream, expected[numbers], numbers, Path(beats_file(index)), keep=progress)
            for index, (stream, expected) in enumerate(
                zip(self.job.streams, self.expected, strict=True)
            )
        ]
        await self._restart(len(numbers), stalls)

        drain = 64 + 4 * self._frame_cycles + self._latency_cycles
        frames, still, spent, reported = len(numbers), 0, 0, 0.0
        while spent != break_off:
            step = POLL_CYCLES if break_off is None else min(POLL_CYCLES, break_off - spent)
            before = [watch.beats for watch in watches]
            await self._poll(step, watches)
            spent += step
            missing = [frames * watch.stream.beats - watch.beats for watch in watches]
            still = still + step if before == [watch.beats for watch in watches] else 0
            if min(missing) < 0 or still > drain + (PATIENCE_CYCLES if any(missing) else 0):
                break
            if any(watch.wrong for watch in watches):
                # Two more frames show whether beats are missing; the rest would only take time.
                if frames == len(numbers):
                    frames = min(frames, -(-watches[0].beats // self.job.input.beats) + 2)
                    self.dut.limit.value = frames * self.job.input.beats
            elif progress and time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                Path("progress").write_text(str(watches[-1].beats // self.job.output.beats))

        dut = self.dut
        recorded = _words(dut.beats, len(watches))
        if recorded != [watch.beats for watch in watches]:
            raise OSError("what was recorded is not complete; is the disk full?")
        return Run(
            seed=self.job.seed,
            phase=phase,
            watches=watches,
            frames=frames,
            broken_off=break_off is not None,
            still_cycles=still,
            valids=int(dut.valids.value),
            readies=int(dut.readies.value),
            withdrawn=int(dut.withdrawn.value),
            changed=int(dut.changed.value),
            broken_beats=_words(dut.broken_beat, len(watches)),
        )

    async def _restart(self, frames: int, all_stalls: list[Stalls]) -> None:
        """Resets the design and the harness, with new stalls."""
        dut = self.dut
        dut.reset.value = 1
        for side, stalls in zip("iow", all_stalls, strict=True):
            bursts = stalls.bursts / max(1, self._frame_cycles)  # a cycle
            getattr(dut, f"{side}_seed").value = self._random.randrange(1, 1 << 32)
            getattr(dut, f"{side}_chance").value = int(stalls.chance * (1 << 16))
            getattr(dut, f"{side}_bursts").value = min(int(bursts * (1 << 32)), (1 << 32) - 1)
        dut.burst_mask.value = (1 << max(4, (2 * self._frame_cycles).bit_length() - 1)) - 1
        dut.limit.value = frames * self.job.input.beats
        await Timer(2 * RESET_CYCLES, "step")
        dut.reset.value = 0

    async def _poll(self, cycles: int, watches: list[Watch]) -> None:
        """Lets the clock run, then compares what was transferred meanwhile."""
        if cycles > 1:
            await Timer(2 * (cycles - 1), "step")
        self.dut.flush.value = 1
        await Timer(2, "step")
        self.dut.flush.value = 0
        self.cycles += cycles
        for watch in watches:
            watch.look()


def _words(signal, count: int) -> list[int]:
    """The 32-bit words of a packed signal, lowest first."""
    value = int(signal.value)
    return [value >> 32 * index & 0xFFFF_FFFF for index in range(count)]


@cocotb.test()
async def simulate(dut) -> None:
    """The job of the current folder, from reset to verdict."""
    job = Job.from_json(json.loads(Path("job.json").read_text()))
    frames, *expected = (
        np.load(f"{index}.npy", mmap_mode="r") for index in range(len(job.streams))
    )
    bench = Bench(dut, job, frames, [frames, *expected])
    dut.reset.value = dut.flush.value = 0
    await Timer(1, "step")
    Clock(dut.clk, 2, "step").start()
    await Timer(1, "step")  # from here on, every other step is a falling edge
    began, outcome = time.monotonic(), {}
    try:
        latency, frame_cycles = await bench.measure()
        if job.reset:
            await bench.interrupt()
        np.save("outputs.npy", await bench.check())
        outcome = {
            "latency_cycles": latency,
            "cycles_per_frame": frame_cycles,
            "cycles": bench.cycles,
            "seconds": time.monotonic() - began,
        }
    except SimulationMismatch as error:
        outcome = {"message": str(error), **vars(error)}
        raise
    finally:
        Path("outcome.json").write_text(json.dumps(outcome))
