# amaranth: UnusedElaboratable=no
"""hw.shell.packets against the protocol in Python."""

import random
import zlib

import pytest
from amaranth.sim import Simulator

from hw.shell.packets import PacketReceiver, PacketTransmitter
from sw.host.link import ANSWER, SYNC, Kind, Packet, build, request_lengths

FRAME_BYTES = 4
PAUSE_CYCLES = 12
PAUSE = None  # in a stream of bytes


def received(items, frame_bytes=FRAME_BYTES) -> tuple[list[Packet], int]:
    """What a board takes of bytes and pauses: packets, and how many times it rejects something."""
    lengths = request_lengths(frame_bytes)
    packets, rejected, held = [], 0, b""
    for item in items:
        if item is not PAUSE and (held or item == SYNC):
            held += bytes([item])
            if len(held) == 1:
                continue
            length = lengths.get(held[1])
            if length is not None and held[3:5] == length.to_bytes(2, "little")[: len(held[3:5])]:
                if len(held) < 9 + length:
                    continue
                if zlib.crc32(held[1:-4]).to_bytes(4, "little") == held[-4:]:
                    packets.append(Packet(held[1], held[2], held[5:-4]))
                    rejected -= 1
        rejected += bool(held)
        held = b""
    return packets, rejected


class Bench:
    """Sends bytes and pauses to a receiver and keeps what comes out, in three lists."""

    def __init__(self, dut):
        self.dut = dut
        self.requests, self.sequences, self.bytes = [], [], []
        self.restarts = self.rejected = 0
        self.done = False

    def run(self, *testbenches):
        sim = Simulator(self.dut)
        sim.add_clock(1e-8)
        for testbench in (*testbenches, self.watch):
            sim.add_testbench(testbench)
        sim.run()

    async def send(self, ctx, items, gap=lambda: 0):
        i = self.dut.i
        for item in items:
            if item is PAUSE:
                await ctx.tick().repeat(PAUSE_CYCLES)
                continue
            if wait := gap():
                await ctx.tick().repeat(wait)
            ctx.set(i.payload, item)
            ctx.set(i.valid, 1)
            await ctx.tick().until(i.ready)
            ctx.set(i.valid, 0)

    async def watch(self, ctx):
        dut = self.dut
        streams = [
            (dut.request, self.requests),
            (dut.sequence, self.sequences),
            (dut.o, self.bytes),
        ]
        samples = [signal for s, _ in streams for signal in (s.valid & s.ready, s.payload)]
        while not self.done:
            _, _, *values, restart, rejected = await ctx.tick().sample(
                *samples, dut.restart, dut.rejected
            )
            for (_, kept), moves, payload in zip(streams, values[::2], values[1::2], strict=True):
                if moves:
                    kept.append(payload)
            self.restarts += restart
            self.rejected += rejected


def ready(ctx, dut, *, frames=1, requests=1):
    ctx.set(dut.o.ready, frames)
    ctx.set(dut.sequence.ready, frames)
    ctx.set(dut.request.ready, requests)


def traffic(rng, count):
    """Packets, of which many do not come as they were sent."""
    items = []
    for _ in range(count):
        kind = rng.choice(list(Kind))
        payload = rng.randbytes(FRAME_BYTES) if kind is Kind.INFER else b""
        packet = list(build(Packet(kind, rng.randrange(256), payload)))
        place = rng.randrange(len(packet))
        match rng.randrange(9):
            case 0:
                packet[place] ^= 1 << rng.randrange(8)
            case 1:
                del packet[place]
            case 2:
                packet.insert(place, packet[place])
            case 3:
                packet[place:] = [PAUSE]
            case 4:
                packet[:0] = rng.choices([SYNC, 1, 2, 3, 4, 0, FRAME_BYTES, PAUSE], k=7)
        items += packet
    return [*items, PAUSE]


@pytest.mark.parametrize(("seed", "most"), [(1, 1), (2, 1), (3, 4), (4, PAUSE_CYCLES)])
def test_takes_what_is_right_and_nothing_else(seed, most):
    """Byte for byte as the model does, back to back and with pauses that are none yet."""
    rng = random.Random(seed)
    items = traffic(rng, 150)
    packets, rejected = received(items)
    assert rejected > 30 and len(packets) > 60
    bench = Bench(PacketReceiver(frame_bytes=FRAME_BYTES, pause_cycles=PAUSE_CYCLES))

    async def driver(ctx):
        ready(ctx, bench.dut)
        await bench.send(ctx, items, lambda: rng.randrange(most))
        await ctx.tick().repeat(30)
        bench.done = True

    bench.run(driver)
    frames = [packet for packet in packets if packet.kind == Kind.INFER]
    others = [packet for packet in packets if packet.kind != Kind.INFER]
    assert bench.sequences == [packet.sequence for packet in frames]
    assert bytes(bench.bytes) == b"".join(packet.payload for packet in frames)
    assert [(r.kind, r.sequence) for r in bench.requests] == [p[:2] for p in others]
    assert bench.restarts == sum(packet.kind == Kind.RESET for packet in packets)
    assert bench.rejected == rejected


def frame(number):
    return Packet(Kind.INFER, number, bytes([number] * FRAME_BYTES))


def test_third_frame_has_no_room():
    bench = Bench(PacketReceiver(frame_bytes=FRAME_BYTES, pause_cycles=PAUSE_CYCLES))

    async def driver(ctx):
        ready(ctx, bench.dut, frames=0)
        for number in (1, 2, 3):
            await bench.send(ctx, build(frame(number)))
        await ctx.tick().repeat(3)
        assert bench.rejected == 1
        ready(ctx, bench.dut)
        await ctx.tick().repeat(20)
        await bench.send(ctx, build(frame(4)))
        await ctx.tick().repeat(20)
        bench.done = True

    bench.run(driver)
    assert bench.sequences == [1, 2, 4]
    assert bench.bytes == [1] * 4 + [2] * 4 + [4] * 4
    assert bench.rejected == 1


def test_frames_wait_for_room_for_their_numbers_too():
    """A pipeline that swallows frames and answers none gets four, and the rest when it does."""
    bench = Bench(PacketReceiver(frame_bytes=FRAME_BYTES, pause_cycles=PAUSE_CYCLES))

    async def driver(ctx):
        ctx.set(bench.dut.o.ready, 1)
        for number in range(6):
            await bench.send(ctx, build(frame(number)))
            await ctx.tick().repeat(12)
        assert bench.rejected == 2
        assert len(bench.bytes) == 4 * FRAME_BYTES
        ready(ctx, bench.dut)
        await ctx.tick().repeat(10)
        await bench.send(ctx, build(frame(7)))
        await ctx.tick().repeat(12)
        bench.done = True

    bench.run(driver)
    assert bench.sequences == [0, 1, 2, 3, 7]
    assert bench.rejected == 2


def test_one_request_waits_and_a_reset_forgets_everything():
    bench = Bench(PacketReceiver(frame_bytes=FRAME_BYTES, pause_cycles=PAUSE_CYCLES))

    async def driver(ctx):
        ready(ctx, bench.dut, frames=0, requests=0)
        await bench.send(ctx, build(frame(1)))
        await bench.send(ctx, build(Packet(Kind.IDENTIFY, 2)))
        await bench.send(ctx, build(Packet(Kind.COUNTERS, 3)))  # no room
        await bench.send(ctx, build(frame(4)))
        await ctx.tick().repeat(3)
        assert (bench.rejected, bench.restarts) == (1, 0)
        payload = ctx.get(bench.dut.request.payload)
        assert (payload.kind, payload.sequence) == (Kind.IDENTIFY, 2)
        await bench.send(ctx, build(Packet(Kind.RESET, 5)))
        await bench.send(ctx, build(frame(6)))
        await ctx.tick().repeat(3)
        assert (bench.rejected, bench.restarts) == (1, 1)
        ready(ctx, bench.dut)
        await ctx.tick().repeat(12)
        bench.done = True

    bench.run(driver)
    assert [(r.kind, r.sequence) for r in bench.requests] == [(Kind.RESET, 5)]
    assert bench.sequences == [6]
    assert bench.bytes == [6] * FRAME_BYTES


@pytest.mark.parametrize("cut", range(1, 17))
def test_pause_is_as_long_as_it_says(cut):
    """A packet cut in two is taken when the pause is a cycle too short, and rejected else."""
    packet = build(Packet(Kind.INFER, 9, bytes(8)))
    for cycles, taken in ((PAUSE_CYCLES - 1, True), (PAUSE_CYCLES, False)):
        bench = Bench(PacketReceiver(frame_bytes=8, pause_cycles=PAUSE_CYCLES))

        async def driver(ctx, bench=bench, cycles=cycles):
            ready(ctx, bench.dut)
            await bench.send(ctx, packet[:cut])
            await ctx.tick().repeat(cycles)
            await bench.send(ctx, [b for b in packet[cut:] if b != SYNC])
            await ctx.tick().repeat(5)
            bench.done = True

        bench.run(driver)
        assert (bench.sequences == [9], bench.rejected) == (taken, not taken)


def test_frames_of_more_than_a_byte_of_length():
    packets = [Packet(Kind.INFER, n, random.Random(n).randbytes(600)) for n in range(3)]
    bench = Bench(PacketReceiver(frame_bytes=600, pause_cycles=PAUSE_CYCLES))

    async def driver(ctx):
        ready(ctx, bench.dut)
        for packet in packets:
            await bench.send(ctx, build(packet))
        wrong = bytearray(build(packets[0]))
        wrong[4] ^= 1
        await bench.send(ctx, wrong[:5])
        await bench.send(ctx, build(Packet(Kind.IDENTIFY, 8)))  # is not taken for a payload
        await ctx.tick().repeat(620)
        bench.done = True

    bench.run(driver)
    assert [(r.kind, r.sequence) for r in bench.requests] == [(Kind.IDENTIFY, 8)]
    assert bytes(bench.bytes) == b"".join(packet.payload for packet in packets)
    assert bench.rejected == 1


@pytest.mark.parametrize(("i_stall", "o_stall"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.7), (0.5, 0.5)])
@pytest.mark.parametrize("result_bytes", [1, 20, 300])
def test_transmitter_makes_packets(result_bytes, i_stall, o_stall):
    rng = random.Random(result_bytes)
    dut = PacketTransmitter(result_bytes=result_bytes)
    lengths = {Kind.IDENTIFY: 76, Kind.INFER: result_bytes, Kind.COUNTERS: 24, Kind.RESET: 0}
    kinds = [*Kind, *rng.choices(list(Kind), k=4)]
    packets = [Packet(k | ANSWER, rng.randrange(256), rng.randbytes(lengths[k])) for k in kinds]
    line = []
    expected = list(b"".join(map(build, packets)))

    async def headers(ctx):
        for packet in packets:
            ctx.set(dut.header.payload, {"kind": packet.kind & 7, "sequence": packet.sequence})
            ctx.set(dut.header.valid, 1)
            await ctx.tick().until(dut.header.ready)
            ctx.set(dut.header.valid, 0)

    async def payloads(ctx):
        for packet in packets:
            for position, byte in enumerate(packet.payload):
                while rng.random() < i_stall:
                    await ctx.tick()
                ctx.set(dut.i.payload, byte)
                ctx.set(dut.i.valid, 1)
                (at,) = await ctx.tick().sample(dut.position).until(dut.i.ready)
                assert at == position
                ctx.set(dut.i.valid, 0)

    async def collect(ctx):
        stalls, held, idle = random.Random(7), None, 0
        while idle < 50:
            ready = stalls.random() >= o_stall
            ctx.set(dut.o.ready, ready)
            _, _, valid, byte = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            if held is not None:
                assert valid and byte == held
            held = byte if valid and not ready else None
            if valid and ready:
                line.append(byte)
            idle = 0 if valid else idle + 1

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    for testbench in (headers, payloads, collect):
        sim.add_testbench(testbench)
    sim.run()
    assert line == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PacketReceiver(frame_bytes=0, pause_cycles=9), r"have 1\.\.65535 bytes, not 0"),
        (lambda: PacketReceiver(frame_bytes=1 << 16, pause_cycles=9), "bytes, not 65536"),
        (lambda: PacketReceiver(frame_bytes=1, pause_cycles=1), "at least 2 cycles, not 1"),
        (lambda: PacketTransmitter(result_bytes=0), r"result must have 1\.\.65535 bytes, not 0"),
    ],
)
def test_parameters_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_properties():
    receiver = PacketReceiver(frame_bytes=98, pause_cycles=500)
    assert (receiver.frame_bytes, receiver.pause_cycles) == (98, 500)
    assert PacketTransmitter(result_bytes=40).result_bytes == 40
