"""Runs an engine in Amaranth's simulator: batches in, weights from a port, scores out."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.sim import Simulator

from hw.engine.engine import Engine
from hw.engine.image import weights_image


@dataclass
class Run:
    """What came out, and the cycles of all transfers."""

    outputs: list[int]
    i_cycles: list[int]
    o_cycles: list[int]
    done: bool = False


def run_engine(network, plan, images, *, stalls=(0, 0, 0), seed=0, timeout=60_000) -> Run:
    """Send images, and the weights again and again, with seeded stalls of each of the streams.

    Checks that what is offered at the output is held until it is taken and that nothing follows.
    """
    engine = Engine(network=network, plan=plan)
    image = np.frombuffer(weights_image(network, plan), "<u8")
    channels = plan.steps[0].work.image[2]
    lanes = min(plan.simd, channels)
    batches = len(images) // plan.batch
    beats = []
    for pixel in images.reshape(-1, channels):
        for first in range(0, channels, lanes):
            bits = list(pixel[first : first + lanes])
            bits += [1] * (lanes - len(bits))  # to catch who looks
            beats.append(sum(int(bit) << lane for lane, bit in enumerate(bits)))
    expected = batches * plan.batch * int(np.prod(network.type(network.output).shape))
    run = Run([], [], [])

    def payload_of(port):
        return getattr(port.payload, "as_value", lambda: port.payload)()

    async def send(ctx, port, payloads, stall, seed):
        rng = random.Random(seed)
        for payload in payloads:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(payload_of(port), payload)
            ctx.set(port.valid, 1)
            moved = False
            while not moved:
                _, _, moved = await ctx.tick().sample(port.ready)
                if run.done:
                    return
            ctx.set(port.valid, 0)

    async def images_in(ctx):
        await send(ctx, engine.i, beats, stalls[0], f"i{seed}")

    async def weights_in(ctx):
        # Of a batch that never comes the first words may be taken.
        words = [int(word) for word in image] * (batches + 1)
        await send(ctx, engine.weights, words, stalls[1], f"w{seed}")

    async def collect(ctx):
        rng = random.Random(f"o{seed}")
        payload = payload_of(engine.o)
        held, cycle, idle = None, 0, 0
        while idle < 50:
            ready = rng.random() >= stalls[2]
            ctx.set(engine.o.ready, ready)
            _, _, valid, value, moves = await ctx.tick().sample(
                engine.o.valid, payload, engine.i.valid & engine.i.ready
            )
            assert held is None or (valid and value == held), f"was not held, {seed=}"
            held = value if valid and not ready else None
            if valid and ready:
                run.outputs.append(value)
                run.o_cycles.append(cycle)
            if moves:
                run.i_cycles.append(cycle)
            idle = idle + 1 if len(run.outputs) >= expected and not valid else 0
            cycle += 1
            if cycle == timeout:
                break
        run.done = True
        assert cycle < timeout, f"stuck after {len(run.outputs)} of {expected}, {seed=}"

    simulator = Simulator(engine)
    simulator.add_clock(1e-8)
    simulator.add_testbench(images_in)
    if plan.stream_words:
        simulator.add_testbench(weights_in)
    simulator.add_testbench(collect)
    simulator.run()
    assert len(run.outputs) == expected
    return run


@pytest.fixture
def engine_run():
    """The function above, as a fixture: test folders are not packages."""
    return run_engine
