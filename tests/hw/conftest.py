"""Ways to run streaming components: beats in, beats out, seeded stalls on both sides."""

import random
from dataclasses import dataclass

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator


@dataclass
class Run:
    """What came out: payloads, and the cycles of every transfer on both sides."""

    outputs: list[int]
    i_cycles: list[int]
    o_cycles: list[int]


def run_stream(core, beats, expected, *, i_stall=0.0, o_stall=0.0, seed=0, timeout=20_000) -> Run:
    """Send `beats` (integers) through `core.i`, collect `expected` beats from `core.o`.

    Checks on the way that a valid beat is held until it is taken, and that nothing follows the
    last expected beat.
    """
    result = Run([], [], [])

    async def drive(ctx):
        rng = random.Random(seed)
        for beat in beats:
            while rng.random() < i_stall:
                await ctx.tick()
            ctx.set(core.i.payload.as_value(), beat)
            ctx.set(core.i.valid, 1)
            while True:
                _, _, ready = await ctx.tick().sample(core.i.ready)
                if ready:
                    break
            ctx.set(core.i.valid, 0)

    async def collect(ctx):
        rng = random.Random(~seed)
        payload = getattr(core.o.payload, "as_value", lambda: core.o.payload)()
        held, cycle, idle = None, 0, 0
        while idle < 50:
            ready = rng.random() >= o_stall
            ctx.set(core.o.ready, ready)
            _, _, valid, value, i_moves = await ctx.tick().sample(
                core.o.valid, payload, core.i.valid & core.i.ready
            )
            if held is not None:
                assert valid and value == held, f"beat {len(result.outputs)} was not held, {seed=}"
            held = value if valid and not ready else None
            if valid and ready:
                result.outputs.append(value)
                result.o_cycles.append(cycle)
            if i_moves:
                result.i_cycles.append(cycle)
            idle = idle + 1 if len(result.outputs) >= expected and not valid else 0
            cycle += 1
            assert cycle < timeout, (
                f"stuck after {len(result.outputs)} of {expected} beats, {seed=}"
            )

    top = Module()
    top.domains.sync = ClockDomain()  # for the cores that have no register
    top.submodules.core = core
    simulator = Simulator(top)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.add_testbench(collect)
    simulator.run()
    assert len(result.outputs) == expected
    return result


def to_beats(vectors, lanes, width) -> list[int]:
    """Vectors of integers as the beats that carry them, padded with ones to catch who looks."""
    beats = []
    for vector in vectors:
        for start in range(0, len(vector), lanes):
            beat = list(vector[start : start + lanes])
            beat += [(1 << width) - 1] * (lanes - len(beat))
            beats.append(sum(int(element) << (width * lane) for lane, element in enumerate(beat)))
    return beats


def from_beats(beats, lanes, width, elements) -> list[list[int]]:
    """The vectors that beats carry, without their padding."""
    per_vector = -(-elements // lanes)
    vectors = []
    for start in range(0, len(beats), per_vector):
        vector = []
        for beat in beats[start : start + per_vector]:
            vector += [beat >> (width * lane) & ((1 << width) - 1) for lane in range(lanes)]
        vectors.append(vector[:elements])
    return vectors


@pytest.fixture
def streams():
    """The helpers of this file, as a fixture: test folders are not packages."""

    class Streams:
        run = staticmethod(run_stream)
        to_beats = staticmethod(to_beats)
        from_beats = staticmethod(from_beats)

    return Streams


class Channel:
    """One stream, driven or taken by a testbench, with seeded stalls.

    Parameters
    ----------
    ctx : SimulatorContext
    beats : stream interface
    stall : float
        How likely a cycle goes by unused.
    seed : int
    """

    def __init__(self, ctx, beats, *, stall=0.0, seed=0):
        self._ctx, self._beats, self._stall = ctx, beats, stall
        self._rng = random.Random(seed)

    async def pause(self):
        while self._rng.random() < self._stall:
            await self._ctx.tick()

    async def send(self, payload):
        await self.pause()
        self._ctx.set(self._beats.payload, payload)
        self._ctx.set(self._beats.valid, 1)
        await self._ctx.tick().until(self._beats.ready)
        self._ctx.set(self._beats.valid, 0)

    async def receive(self):
        """The next payload; also sees that one that is offered is held until it is taken."""
        beats, offered = self._beats, None
        while True:
            ready = self._rng.random() >= self._stall
            self._ctx.set(beats.ready, ready)
            _, _, valid, payload = await self._ctx.tick().sample(beats.valid, beats.payload)
            assert offered is None or (valid and payload == offered), "was not held"
            if valid and ready:
                self._ctx.set(beats.ready, 0)
                return payload
            offered = payload if valid else None

    async def silence(self, cycles=20):
        """Sees that nothing comes any more."""
        self._ctx.set(self._beats.ready, 1)
        for _ in range(cycles):
            _, _, valid = await self._ctx.tick().sample(self._beats.valid)
            assert not valid, "nothing was expected"


@pytest.fixture
def channel():
    """The class above, as a fixture: test folders are not packages."""
    return Channel
