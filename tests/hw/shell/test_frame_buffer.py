# amaranth: UnusedElaboratable=no
"""hw.shell.frame_buffer: frames that count leave whole and in order, others leave no trace."""

import random

import pytest
from amaranth.sim import Simulator

from hw.shell.frame_buffer import FRAMES, FrameBuffer


def simulate(dut, *testbenches):
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for testbench in testbenches:
        sim.add_testbench(testbench)
    sim.run()


async def pulse(ctx, signal):
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def send(ctx, dut, data):
    """Bytes back to back; returns whether `last` was high at each."""
    last = []
    ctx.set(dut.i.valid, 1)
    for byte in data:
        ctx.set(dut.i.payload, byte)
        assert ctx.get(dut.i.ready)
        last.append(ctx.get(dut.last))
        await ctx.tick()
    ctx.set(dut.i.valid, 0)
    return last


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize(("stall", "seed"), [(0.0, 1), (0.5, 2), (0.9, 3)])
def test_only_committed_frames_leave(size, stall, seed):
    dut = FrameBuffer(frame_bytes=size)
    rng = random.Random(seed)
    committed, left, done = [], [], []

    async def driver(ctx):
        for _ in range(40):
            while not ctx.get(dut.i.ready):
                await ctx.tick()
            frame = rng.randbytes(size)
            whole = rng.random() < 0.7
            count = size if whole else rng.randrange(size + 1)
            last = await send(ctx, dut, frame[:count])
            assert last == [n == size - 1 for n in range(count)]
            await ctx.tick().repeat(rng.randrange(1, 4))
            if whole and rng.random() < 0.8:
                committed.append(frame)
                await pulse(ctx, dut.commit)
            else:
                await pulse(ctx, dut.rollback)
        await ctx.tick().repeat(round(20 * size / (1 - stall)))
        done.append(True)

    async def reader(ctx):
        stalls, held = random.Random(~seed), None
        while not done:
            ready = stalls.random() >= stall
            ctx.set(dut.o.ready, ready)
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if held is not None:
                assert valid and byte == held
            held = byte if valid and not ready else None
            if valid and ready:
                left.append(byte)

    simulate(dut, driver, reader)
    assert len(committed) > 10
    assert bytes(left) == b"".join(committed)


def test_room_is_for_two_frames_and_a_byte_leaves_a_cycle():
    dut = FrameBuffer(frame_bytes=6)

    async def testbench(ctx):
        for _ in range(FRAMES):
            await send(ctx, dut, range(6))
            await pulse(ctx, dut.commit)
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.o.ready, 1)
        left = []
        async for _, _, valid, byte in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if not valid:
                break
            left.append(byte)
        assert left == [*range(6), *range(6)]
        assert ctx.get(dut.i.ready)

    simulate(dut, testbench)


def test_place_is_free_while_the_other_frame_waits():
    """A frame that was read but for its last byte still has its place; read whole, no more."""
    dut = FrameBuffer(frame_bytes=8)

    async def testbench(ctx):
        for start in (0, 100):
            await send(ctx, dut, range(start, start + 8))
            await pulse(ctx, dut.commit)
        # Two bytes wait behind the memory, ahead of the byte that leaves.
        for byte in range(8):
            assert ctx.get(dut.i.ready) == (byte >= 6)
            assert ctx.get(dut.o.payload) == byte
            await pulse(ctx, dut.o.ready)
        await send(ctx, dut, range(200, 208))
        await pulse(ctx, dut.commit)
        ctx.set(dut.o.ready, 1)
        for byte in (*range(100, 108), *range(200, 208)):
            payload = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            assert payload == (byte,)

    simulate(dut, testbench)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="at least 1 byte, not 0"):
        FrameBuffer(frame_bytes=0)
    assert FrameBuffer(frame_bytes=3).frame_bytes == 3
