# amaranth: UnusedElaboratable=no
"""hw.shell.bridge between a processor's random bursts and slow registers."""

import random
from dataclasses import dataclass

import pytest
from amaranth.sim import Simulator

from hw.shell.bridge import Burst, ProcessorBridge


@dataclass
class Request:
    """A burst as a processor asks for it, and for a write the words and strobes that it sends."""

    id: int
    address: int
    length: int  # beats less one
    size: int  # logarithm of a beat's bytes
    burst: Burst
    words: tuple = ()

    def command(self):
        fields = ("id", "address", "length", "size")
        return {name: getattr(self, name) for name in fields} | {"burst": self.burst.value}

    def addresses(self):
        """Of each beat, by the formulas of the specification's A3.4.1."""
        beats, size = self.length + 1, 1 << self.size
        aligned = self.address // size * size
        boundary = self.address // (size * beats) * (size * beats)
        found = [self.address]
        for n in range(1, beats):
            address = aligned + n * size
            if self.burst == Burst.WRAP and address >= boundary + size * beats:
                address -= size * beats
            found.append(self.address if self.burst == Burst.FIXED else address)
        return [address % 256 for address in found]


def every_kind():
    """A burst of each kind, size and length, aligned and, where it is allowed, not."""
    for burst in Burst:
        for size in range(3):
            for length in (1, 3, 7, 15) if burst == Burst.WRAP else range(16):
                for address in (0x00, 0x94, 0xC8, 0x47) if length % 4 else (0xA4, 0x31):
                    if burst == Burst.WRAP:
                        address = address >> size << size
                    yield Request(0, 0x43C0_0000 + address, length, size, burst)


def shuffled(count, seed, *, write):
    """So many bursts of random kinds, with an ID and, for writes, words."""
    rng = random.Random(seed)
    requests = rng.sample([*every_kind()], count)
    for request in requests:
        request.id = rng.getrandbits(12)
        if write:
            beats = range(request.length + 1)
            request.words = tuple((rng.getrandbits(32), rng.getrandbits(4)) for _ in beats)
    return requests


def content(address):
    """What is read at an address."""
    return (address * 0x9E3779B1 + 1) & 0xFFFFFFFF


def response(address):
    """What an access is answered with: mostly OKAY, also SLVERR and DECERR."""
    return {0x94: 2, 0x18: 3}.get(address & ~3, 0)


@dataclass
class Seen:
    """What went over both ports, in order."""

    read: list  # addresses
    received: list  # (id, data, response, last)
    written: list  # (address, data, strobes)
    answers: list  # (id, response)


def simulate(dut, *testbenches):
    """Runs testbenches, each with whether it is in the background, until all others end."""
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    for testbench, background in testbenches:
        simulator.add_testbench(testbench, background=background)
    for _ in range(2_000_000):
        if not simulator.advance():
            return
    pytest.fail("the simulation did not end")


def run(channel, reads, writes, *, stall, seed=0):
    """Lets a processor do these, every channel stalling on its own."""
    dut = ProcessorBridge()
    seen = Seen([], [], [], [])
    testbenches = []
    seeds = random.Random(seed)

    def process(port, *names, background=False):
        """Adds a testbench that has these channels of a port."""

        def add(body):
            own = [seeds.getrandbits(32) for _ in names]

            async def testbench(ctx):
                await body(
                    *(
                        channel(ctx, getattr(port, name), stall=stall, seed=number)
                        for name, number in zip(names, own, strict=True)
                    )
                )

            testbenches.append((testbench, background))

        return add

    @process(dut.slave, "ar")
    async def ask(ar):
        for request in reads:
            await ar.send(request.command())

    @process(dut.slave, "r")
    async def take(r):
        for request in reads:
            for _ in range(request.length + 1):
                beat = await r.receive()
                seen.received.append((beat.id, beat.data, beat.response, beat.last))
        await r.silence()

    @process(dut.slave, "aw")
    async def order(aw):
        for request in writes:
            await aw.send(request.command())

    @process(dut.slave, "w")
    async def send(w):  # may be ahead of the address
        for request in writes:
            for n, (word, strobes) in enumerate(request.words):
                last = n == request.length
                await w.send({"id": request.id, "data": word, "strobes": strobes, "last": last})

    @process(dut.slave, "b")
    async def hear(b):
        for _ in writes:
            answer = await b.receive()
            seen.answers.append((answer.id, answer.response))
        await b.silence()

    @process(dut.master, "ar", "r", background=True)
    async def readable(ar, r):
        while True:
            address = (await ar.receive()).address
            seen.read.append(address)
            await r.send({"data": content(address), "response": response(address)})

    @process(dut.master, "aw", "w", "b", background=True)
    async def writable(aw, w, b):
        rng = random.Random(seed)
        while True:
            if rng.random() < 0.5:
                address, word = (await aw.receive()).address, await w.receive()
            else:
                word, address = await w.receive(), (await aw.receive()).address
            seen.written.append((address, word.data, word.strobes))
            await b.send({"response": response(address)})

    simulate(dut, *testbenches)
    return seen


def check(seen, reads, writes):
    """What was seen is what was asked for, beat by beat."""
    assert seen.read == [a for request in reads for a in request.addresses()]
    assert seen.received == [
        (request.id, content(address), response(address), n == request.length)
        for request in reads
        for n, address in enumerate(request.addresses())
    ]
    assert seen.written == [
        (address, *word)
        for request in writes
        for address, word in zip(request.addresses(), request.words, strict=True)
    ]
    assert seen.answers == [
        (request.id, max(response(address) for address in request.addresses()))
        for request in writes
    ]


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_every_kind_of_burst(channel, write):
    """FIXED, INCR and WRAP, 1..16 beats of 1, 2 and 4 bytes, aligned or not."""
    requests = shuffled(len([*every_kind()]), seed=1, write=write)
    reads, writes = ([], requests) if write else (requests, [])
    check(run(channel, reads, writes, stall=0.0), reads, writes)


@pytest.mark.parametrize("seed", range(3))
def test_reads_and_writes_at_once(channel, seed):
    """Neither direction disturbs the other, whatever stalls."""
    reads, writes = (shuffled(40, seed=seed, write=write) for write in (False, True))
    check(run(channel, reads, writes, stall=0.4, seed=seed), reads, writes)


def test_read_passes_a_write_whose_data_do_not_come(channel):
    dut = ProcessorBridge()
    slave, master = dut.slave, dut.master
    request = Request(1, 0x10, 0, 2, Burst.INCR)

    async def testbench(ctx):
        await channel(ctx, slave.aw).send(request.command())
        await channel(ctx, slave.ar).send(request.command())
        assert (await channel(ctx, master.ar).receive()).address == 0x10
        ctx.set(slave.r.ready, 1)
        await channel(ctx, master.r).send({"data": 7})
        assert ctx.get(slave.ar.ready) and not ctx.get(slave.aw.ready)

    simulate(dut, (testbench, False))


def test_write_passes_a_read_that_is_not_taken(channel):
    dut = ProcessorBridge()
    slave, master = dut.slave, dut.master
    request = Request(1, 0x10, 0, 2, Burst.INCR)

    async def testbench(ctx):
        await channel(ctx, slave.ar).send(request.command())
        await channel(ctx, master.ar).receive()
        ctx.set(master.r.valid, 1)
        await channel(ctx, slave.aw).send(request.command())
        assert (await channel(ctx, master.aw).receive()).address == 0x10
        ctx.set(master.w.ready, 1)
        await channel(ctx, slave.w).send({"data": 7, "last": 1})
        await channel(ctx, master.b).send({"response": 2})
        answer = await channel(ctx, slave.b).receive()
        assert (answer.id, answer.response) == (1, 2)
        assert ctx.get(slave.aw.ready) and not ctx.get(slave.ar.ready)

    simulate(dut, (testbench, False))
