# amaranth: UnusedElaboratable=no
"""hw.shell.registers against the table that it is made from."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from hw.shell.identity import Identity
from hw.shell.registers import RegisterFile
from sw.host.registers import BATCH_COUNTERS, BATCHES, BYTES, COUNTERS, MAP, register

IDENTITY = Identity(
    digest=bytes(range(0x81, 0xA1)).hex(),
    frame_elements=784,
    frame_bits=1,
    result_elements=10,
    result_width=12,
    scores=True,
    clock_hz=62_500_000,
    frame_cycles=123,
    latency_cycles=4567,
)
BATCHED = replace(IDENTITY, batch_frames=48, weight_words=234_567, weight_crc=0xFEDCBA98)
COUNTED = {entry.name.lower(): 0x01234567 * (n + 3) for n, entry in enumerate(COUNTERS)}
COUNTED_BATCHED = COUNTED | {entry.name.lower(): 0x89ABCDEF for entry in BATCH_COUNTERS}
STATUS = {"busy": 1, "error": 0, "queued": 0b1010, "cause": 0b0101}
ALL = 0b1111


class Bus:
    """A master of a register file."""

    def __init__(self, ctx, dut, channel, *, stall=0.0, seed=0):
        self.ctx, self.dut, self._rng = ctx, dut, random.Random(seed)
        names = ("ar", "r", "aw", "w", "b")
        self.ar, self.r, self.aw, self.w, self.b = (
            channel(ctx, getattr(dut.bus, name), stall=stall, seed=seed + n)
            for n, name in enumerate(names)
        )

    async def read(self, address):
        await self.ar.send({"address": address})
        answer = await self.r.receive()
        assert answer.response == 0
        return answer.data

    def offer(self, address, data, strobes=ALL):
        """Puts a whole write on the bus."""
        self.ctx.set(self.dut.bus.aw.payload, {"address": address})
        self.ctx.set(self.dut.bus.w.payload, {"data": data, "strobes": strobes})
        self.ctx.set(self.dut.bus.aw.valid, 1)
        self.ctx.set(self.dut.bus.w.valid, 1)

    async def write(self, address, data, strobes=ALL):
        """A write whose address and data come as late as stalls will have it."""
        self.offer(address, data, strobes)
        for late, channel in ((self.dut.bus.aw, self.aw), (self.dut.bus.w, self.w)):
            self.ctx.set(late.valid, 0)
            await channel.pause()
            self.ctx.set(late.valid, 1)
            if self._rng.random() < 0.5:
                break
        await self.ctx.tick().until(self.dut.bus.aw.ready & self.dut.bus.w.ready)
        self.ctx.set(self.dut.bus.aw.valid, 0)
        self.ctx.set(self.dut.bus.w.valid, 0)
        assert (await self.b.receive()).response == 0


def simulate(*testbenches, about=IDENTITY):
    """Runs testbenches that take (ctx, dut) on one register file."""
    dut = RegisterFile(about)
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for testbench in testbenches:

        async def process(ctx, testbench=testbench):
            await testbench(ctx, dut)

        sim.add_testbench(process)
    for _ in range(200_000):
        if not sim.advance():
            return
    pytest.fail("the simulation did not end")


def mask(entry):
    """The bits of a register that mean something."""
    return sum(field.mask for field in entry.fields) if entry.fields else 0xFFFFFFFF


def entries_of(about):
    """The registers that there are, by address."""
    return {entry.address: entry for entry in MAP if about.batch_frames or entry not in BATCHES}


def expected(entry, kept, about=IDENTITY):
    """What a read of a register gives, if only `kept` was written and nothing has happened."""
    if entry.access == "constant":
        return about.words()[entry.name]
    if entry.access == "write":
        return kept.get(entry.name, 0) & mask(entry)
    if entry.name == "STATUS":
        return sum(STATUS[field.name] << field.low for field in entry.fields)
    return COUNTED_BATCHED.get(entry.name.lower(), 0)


def drive_inputs(ctx, dut):
    batched = dut.identity.batch_frames
    ctx.set(dut.counters, COUNTED_BATCHED if batched else COUNTED)
    for name, value in STATUS.items():
        ctx.set(getattr(dut, name), value)


@pytest.mark.parametrize("about", [IDENTITY, BATCHED], ids=["frames", "batches"])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_every_address_is_what_the_table_says(channel, stall, about):
    """All words of the map, those without a register too, before and after all ones are written."""
    entries = entries_of(about)

    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel, stall=stall)
        drive_inputs(ctx, dut)
        kept = {}
        for _ in range(2):
            for address in range(0, BYTES, 4):
                want = expected(entries[address], kept, about) if address in entries else 0
                assert await bus.read(address) == want, hex(address)
            for address in range(0, BYTES, 4):
                if address != register("CONTROL").address:  # that would reset ENABLE
                    await bus.write(address, 0xFFFFFFFF)
            kept = {entry.name: 0xFFFFFFFF for entry in MAP}

    simulate(testbench, about=about)


@pytest.mark.parametrize("about", [IDENTITY, BATCHED], ids=["frames", "batches"])
@pytest.mark.parametrize("seed", range(3))
def test_random_accesses(channel, seed, about):
    """Any address, any strobes, all channels stalling on their own: as the model says."""
    rng = random.Random(seed)
    entries = entries_of(about)
    free = [address for address in range(0, BYTES, 4) if address not in entries]
    written = [address for address, entry in entries.items() if entry.access == "write"]

    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel, stall=0.3, seed=100 * seed)
        drive_inputs(ctx, dut)
        kept = {}
        for _ in range(300):
            address = rng.choice([*written, rng.choice(free), rng.choice([*entries])])
            if rng.random() < 0.5 and address != register("CONTROL").address:
                data, strobes = rng.getrandbits(32), rng.choice([ALL, rng.randrange(ALL)])
                await bus.write(address + rng.randrange(4), data, strobes)
                if address in entries and strobes == ALL:
                    kept[entries[address].name] = data
            else:
                want = expected(entries[address], kept, about) if address in entries else 0
                assert await bus.read(address + rng.randrange(4)) == want, hex(address)
        for name in ("SOURCE", "DESTINATION", "FRAMES", "WEIGHTS")[: 4 if about is BATCHED else 3]:
            want = expected(register(name), kept)
            assert ctx.get(getattr(dut, name.lower())) == want, name

    simulate(testbench, about=about)


@pytest.mark.parametrize("strobes", range(ALL))
def test_write_without_all_its_bytes_changes_nothing(channel, strobes):
    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel)
        await bus.write(register("SOURCE").address, 0x12345678)
        for name in ("SOURCE", "ENABLE", "CONTROL"):
            await bus.write(register(name).address, 0xFFFFFFFF, strobes)
        assert await bus.read(register("SOURCE").address) == 0x12345678
        assert await bus.read(register("ENABLE").address) == 0

    async def nothing_starts(ctx, dut):
        for _ in range(40):
            _, _, start, reset = await ctx.tick().sample(dut.start, dut.reset)
            assert not start and not reset

    simulate(testbench, nothing_starts)


@pytest.mark.parametrize("first", ["aw", "w"])
def test_address_and_data_may_come_in_any_order(channel, first):
    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel)
        bus.offer(register("FRAMES").address, 77)
        second = {"aw": dut.bus.w, "w": dut.bus.aw}[first]
        ctx.set(second.valid, 0)
        for _ in range(5):
            await ctx.tick()
            assert ctx.get(dut.frames) == 0 and not ctx.get(dut.bus.b.valid)
        ctx.set(second.valid, 1)
        await bus.write(register("FRAMES").address, 77)
        assert ctx.get(dut.frames) == 77

    simulate(testbench)


def test_back_to_back():
    """Reads and writes at once, each an access every other cycle, answered the cycle after."""
    count = 20
    reads, writes, values = [], [], []

    async def testbench(ctx, dut):
        bus = dut.bus
        ctx.set(bus.ar.payload, {"address": register("FRAMES").address})
        ctx.set(bus.aw.payload, {"address": register("FRAMES").address})
        for channel in (bus.ar, bus.aw, bus.w):
            ctx.set(channel.valid, 1)
        for channel in (bus.r, bus.b):
            ctx.set(channel.ready, 1)
        for cycle in range(2 * count):
            ctx.set(bus.w.payload, {"data": cycle, "strobes": ALL})
            _, _, ar, r, data, aw, w, b = await ctx.tick().sample(
                *(bus.ar.ready, bus.r.valid, bus.r.payload.data),
                *(bus.aw.ready, bus.w.ready, bus.b.valid),
            )
            assert (ar, aw, w) == (not r, not b, aw)
            if r:
                reads.append(cycle)
                values.append(data)
            if b:
                writes.append(cycle)

    simulate(testbench)
    assert reads == writes == [*range(1, 2 * count, 2)]
    assert values == [0, *range(0, 2 * count - 2, 2)]  # a read sees the write before


def test_control_pulses_once(channel):
    """A pulse for each 1 that is written, with the job's registers as they were before it."""
    pulses = []

    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel)
        for frames, control in enumerate((0b01, 0b10, 0b11, 0b00)):
            await bus.write(register("FRAMES").address, frames)
            await bus.write(register("CONTROL").address, control)
            assert await bus.read(register("CONTROL").address) == 0

    async def watch(ctx, dut):
        for _ in range(40):
            sampled = await ctx.tick().sample(dut.start, dut.reset, dut.frames)
            if sampled[2] or sampled[3]:
                pulses.append(sampled[2:])

    simulate(testbench, watch)
    assert pulses == [(1, 0, 0), (0, 1, 1), (1, 1, 2)]


@pytest.mark.parametrize("action", ["start", "reset"])
def test_busy_from_the_answer_on(channel, action):
    """Whoever has started a job never reads that nothing runs, however late `busy` rises."""
    control, status = register("CONTROL"), register("STATUS")

    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel)
        ctx.set(dut.bus.b.ready, 1)
        bus.offer(control.address, control.field(action).mask)
        await ctx.tick().until(dut.bus.aw.ready)
        ctx.set(dut.bus.aw.valid, 0)
        assert ctx.get(dut.bus.b.valid) and ctx.get(getattr(dut, action))
        assert status.field("busy").of(await bus.read(status.address)) == 1
        assert status.field("busy").of(await bus.read(status.address)) == 0

    simulate(testbench)


@pytest.mark.parametrize(("event", "pulse"), [("done", "done"), ("error", "failed")])
def test_events_stay_until_they_are_cleared(channel, event, pulse):
    entry = register("EVENTS")
    (other,) = (field for field in entry.fields if field.name != event)
    bit = entry.field(event).mask

    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel)
        assert await bus.read(entry.address) == 0
        ctx.set(getattr(dut, pulse), 1)
        await ctx.tick()
        ctx.set(getattr(dut, pulse), 0)
        for harmless in (0, other.mask):
            await bus.write(entry.address, harmless)
            assert await bus.read(entry.address) == bit
        await bus.write(entry.address, bit, strobes=0b0001)
        assert await bus.read(entry.address) == bit
        await bus.write(entry.address, bit)
        assert await bus.read(entry.address) == 0

    simulate(testbench)


@pytest.mark.parametrize(("event", "pulse"), [("done", "done"), ("error", "failed")])
def test_event_that_comes_while_it_is_cleared_is_kept(channel, event, pulse):
    entry = register("EVENTS")
    bit = entry.field(event).mask

    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel)
        for _ in range(2):  # not set before, and set before
            bus.offer(entry.address, bit)
            ctx.set(getattr(dut, pulse), 1)
            await ctx.tick()  # the cycle in which the write is taken
            ctx.set(getattr(dut, pulse), 0)
            ctx.set(dut.bus.aw.valid, 0)
            ctx.set(dut.bus.w.valid, 0)
            await bus.b.receive()
            assert await bus.read(entry.address) == bit

    simulate(testbench)


def test_interrupt_is_high_while_an_enabled_event_is_set(channel):
    events, enable = register("EVENTS"), register("ENABLE")

    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel)

        async def level():
            await ctx.tick()
            return ctx.get(dut.interrupt)

        for pulse, event in ((dut.done, "done"), (dut.failed, "error")):
            bit = events.field(event).mask
            ctx.set(pulse, 1)
            await ctx.tick()
            ctx.set(pulse, 0)
            await bus.write(enable.address, 0)
            assert not await level()
            await bus.write(enable.address, ~bit & 0b11)
            assert not await level()
            await bus.write(enable.address, bit)
            assert await level()
            await ctx.tick().repeat(10)
            assert await level()
            await bus.write(events.address, bit)
            assert not await level()

    simulate(testbench)


def test_reset_clears_events_and_enable_and_keeps_the_rest(channel):
    control, events, enable = register("CONTROL"), register("EVENTS"), register("ENABLE")

    async def testbench(ctx, dut):
        bus = Bus(ctx, dut, channel)
        await bus.write(register("SOURCE").address, 8)
        await bus.write(enable.address, 0b11)
        ctx.set(dut.done, 1)
        await ctx.tick()
        ctx.set(dut.done, 0)
        await bus.write(control.address, control.field("reset").mask)
        assert await bus.read(events.address) == await bus.read(enable.address) == 0
        assert not ctx.get(dut.interrupt)
        assert await bus.read(register("SOURCE").address) == 8

    simulate(testbench)


def test_identity_is_checked():
    with pytest.raises(TypeError, match="Identity must be an Identity, not 'tfc'"):
        RegisterFile("tfc")
    assert RegisterFile(IDENTITY).identity is IDENTITY
