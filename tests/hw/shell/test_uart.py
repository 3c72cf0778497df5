# amaranth: UnusedElaboratable=no
"""hw.shell.uart against a bit-level model of the line."""

import random

import pytest
from amaranth.sim import Simulator

from hw.shell.uart import UartReceiver, UartTransmitter, baud_divisor
from sw.errors import PopstreamError


def line(byte: int) -> list[int]:
    """The ten bits of a byte as they go over the wire."""
    return [0, *((byte >> bit) & 1 for bit in range(8)), 1]


def simulate(dut, *testbenches, deadline=200_000):
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for testbench in testbenches:
        sim.add_testbench(testbench)
    for _ in range(deadline):
        if not sim.advance():
            return
    pytest.fail("the simulation did not end")


async def send(ctx, dut, bits, cycles):
    for bit in bits:
        ctx.set(dut.rx, bit)
        await ctx.tick().repeat(cycles)


@pytest.mark.parametrize("divisor", [4, 5, 12, 63])
def test_receiver_takes_bytes_back_to_back(divisor):
    dut = UartReceiver(divisor=divisor)
    sent = [0x00, 0xFF, 0x55, 0xAA, 0x01, 0x80]
    received = []

    async def driver(ctx):
        await ctx.tick().repeat(3)
        for byte in sent:
            await send(ctx, dut, line(byte), divisor)
        await ctx.tick().repeat(2 * divisor)

    async def monitor(ctx):
        ctx.set(dut.o.ready, 1)
        async for _, _, valid, payload, lost in ctx.tick().sample(
            dut.o.valid, dut.o.payload, dut.lost
        ):
            assert not lost
            if valid:
                received.append(payload)
            if len(received) == len(sent):
                return

    simulate(dut, driver, monitor)
    assert received == sent


@pytest.mark.parametrize("drift", [0.97, 1.03])
def test_receiver_stands_a_clock_that_is_off(drift):
    """Three per cent, more than the two that are allowed."""
    divisor = 100
    dut = UartReceiver(divisor=divisor)
    received = []

    async def driver(ctx):
        for byte in (0x00, 0xA5, 0xFF):
            await send(ctx, dut, line(byte), round(divisor * drift))
        await ctx.tick().repeat(divisor)

    async def monitor(ctx):
        ctx.set(dut.o.ready, 1)
        while len(received) < 3:
            (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
            received.append(payload)

    simulate(dut, driver, monitor)
    assert received == [0x00, 0xA5, 0xFF]


def lost_after(bits, divisor=8, ready=1):
    """How many losses and which bytes a line of bits ends in."""
    dut = UartReceiver(divisor=divisor)
    losses, received = [], []

    async def driver(ctx):
        await send(ctx, dut, bits, divisor)

    async def monitor(ctx):
        ctx.set(dut.o.ready, ready)
        cycles = len(bits) * divisor
        async for _, _, valid, payload, lost in ctx.tick().sample(
            dut.o.valid, dut.o.payload, dut.lost
        ):
            losses.extend([1] * lost)
            if valid and (ready or not received):
                received.append(payload)
            cycles -= 1
            if not cycles:
                return

    simulate(dut, driver, monitor)
    return sum(losses), received


def test_receiver_reports_a_byte_that_nobody_took():
    losses, received = lost_after([*line(0x12), *line(0x34), 1, 1], ready=0)
    assert losses == 1
    assert received == [0x12]  # held until it is taken


def test_receiver_reports_a_missing_stop_bit_and_recovers():
    broken = [0, *[0] * 8, 0, 0, 0, 0, 1, 1]
    assert lost_after([*broken, *line(0x7E), 1]) == (1, [0x7E])


def test_receiver_ignores_a_glitch():
    dut = UartReceiver(divisor=16)
    seen = []

    async def driver(ctx):
        ctx.set(dut.rx, 0)
        await ctx.tick().repeat(5)
        await send(ctx, dut, [1, 1, *line(0x3C), 1], 16)

    async def monitor(ctx):
        ctx.set(dut.o.ready, 1)
        (payload,) = await ctx.tick().sample(dut.o.payload).until(dut.o.valid)
        seen.append(payload)

    simulate(dut, driver, monitor)
    assert seen == [0x3C]


@pytest.mark.parametrize("divisor", [4, 7])
def test_transmitter_sends_bytes_back_to_back(divisor):
    dut = UartTransmitter(divisor=divisor)
    rng = random.Random(1)
    sent = [rng.randrange(256) for _ in range(5)]
    samples = []

    async def driver(ctx):
        for byte in sent:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def monitor(ctx):
        assert ctx.get(dut.tx) == 1
        await ctx.tick().until(~dut.tx)
        samples.append(0)
        async for _, _, tx in ctx.tick().sample(dut.tx):
            samples.append(tx)
            if len(samples) == (10 * len(sent) + 2) * divisor:
                return

    simulate(dut, driver, monitor)
    # Every bit lasts exactly its cycles, and bytes follow each other without a gap.
    expected = [bit for byte in sent for bit in line(byte) for _ in range(divisor)]
    assert samples == expected + [1] * (2 * divisor)


@pytest.mark.parametrize(
    ("clock_hz", "baud", "divisor"),
    [(12_000_000, 1_000_000, 12), (62_500_000, 1_000_000, 62), (50_000_000, 115_200, 434)],
)
def test_divisor_is_the_nearest(clock_hz, baud, divisor):
    assert baud_divisor(clock_hz, baud) == divisor


@pytest.mark.parametrize(
    ("clock_hz", "baud", "message"),
    [
        (12_000_000, 1_843_200, r"12 MHz clock makes 1714286 baud instead of 1843200, -7.0%.*2 %"),
        (12_000_000, 4_000_000, r"12 MHz clock cannot do 4000000 baud; choose 1\.\.3000000"),
        (12_000_000, 0, r"cannot do 0 baud"),
    ],
)
def test_divisor_refuses_what_would_not_work(clock_hz, baud, message):
    with pytest.raises(PopstreamError, match=message):
        baud_divisor(clock_hz, baud)


@pytest.mark.parametrize("core", [UartReceiver, UartTransmitter])
def test_divisor_must_leave_a_middle(core):
    with pytest.raises(ValueError, match="Divisor must be at least 4, not 3"):
        core(divisor=3)
