# amaranth: UnusedElaboratable=no
"""hw.shell.serial, driven by the host's own client; what a bad line does is in test_faults.py."""

from itertools import pairwise

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.answers import Answers
from hw.shell.serial import PacketShell, SerialAccelerator, SerialShell
from sw.host.frames import decode, encode
from sw.host.link import FRAMES_IN_FLIGHT, PAUSE_SECONDS, Kind, Packet, build
from sw.host.registers import COUNTERS
from sw.host.serial import SerialClient

PAUSE_CYCLES = 100
HZ = PAUSE_CYCLES / PAUSE_SECONDS
DIVISOR = 4
BIT_PAUSE_CYCLES = 20 * DIVISOR


@pytest.fixture
def connect(lines):
    """Makes shells with the host's client at their line's other end."""
    ports = []

    def make(*, cycles=3, patience=1.0, **changes):
        about = lines.identity(**changes)
        shell = PacketShell(about, pause_cycles=PAUSE_CYCLES)
        ports.append(lines.BytePort(lines.Looped(shell, cycles=cycles), HZ))
        return about, ports[-1], SerialClient(ports[-1], patience=patience)

    yield make
    for port in ports:
        port.close()


@pytest.fixture
def connect_bits(lines):
    """Likewise, with UARTs between shell and client."""
    ports = []

    def make(*, cycles=3, **changes):
        about = lines.identity(**changes)
        shell = SerialShell(about, divisor=DIVISOR, pause_cycles=BIT_PAUSE_CYCLES)
        looped = lines.Looped(shell, cycles=cycles)
        ports.append(lines.BitPort(looped, BIT_PAUSE_CYCLES / PAUSE_SECONDS, divisor=DIVISOR))
        return about, ports[-1], SerialClient(ports[-1], patience=1.0)

    yield make
    for port in ports:
        port.close()


def random_frames(about, count, seed=1):
    rng = np.random.default_rng(seed)
    elements = rng.integers(0, 2**about.frame_bits, (count, about.frame_elements), dtype=np.uint8)
    return encode(elements, about.frame_bits)


@pytest.mark.parametrize(
    ("elements", "bits"), [(1, 1), (3, 1), (8, 1), (9, 1), (64, 1), (1, 8), (5, 8), (20, 4)]
)
def test_frames_of_every_shape(connect, lines, elements, bits):
    about, _, client = connect(frame_elements=elements, frame_bits=bits)
    frames = random_frames(about, 6)
    assert client.infer(frames) == lines.results(frames, about)


@pytest.mark.parametrize(
    ("elements", "width"), [(1, 4), (10, 8), (1, 9), (3, 16), (2, 17), (5, 32)]
)
def test_results_of_every_shape(connect, lines, elements, width):
    about, _, client = connect(result_elements=elements, result_width=width)
    frames = random_frames(about, 5)
    results = client.infer(frames)
    assert len(results) == 5 * about.result_bytes
    assert results == lines.results(frames, about)
    assert decode(results, elements, about.number_bytes).max() < 1 << width


def test_identity(connect):
    about, _, client = connect(frame_elements=0x123, clock_hz=0x12345678, latency_cycles=0xFEDC)
    assert client.identify() == about.words()
    assert about.words()["DIGEST_0"] == int.from_bytes(bytes([200, 201, 202, 203]), "little")


@pytest.mark.parametrize("cycles", [0, 60, 400])
def test_slow_pipeline_loses_nothing(connect, lines, cycles):
    about, _, client = connect(cycles=cycles)
    frames = random_frames(about, 7)
    assert client.infer(frames) == lines.results(frames, about)
    assert client.counters()["REJECTED"] == 0


def test_counters_tell_what_happened(connect):
    cycles = 50
    about, port, client = connect(cycles=cycles)
    assert client.counters() == dict.fromkeys((register.name for register in COUNTERS), 0)
    results = port.dut.shell.i
    port.watched = results.valid & ~results.ready
    began = port.cycle
    client.infer(random_frames(about, 9))
    passed = port.cycle - began
    port.write(build(Packet(Kind.INFER, 1, bytes(about.frame_bytes)))[:-1] + b"?")
    counted = client.counters()
    assert counted["FRAMES_DONE"] == 9
    assert counted["REJECTED"] == 1
    assert counted["JOBS_DONE"] == 0
    # The pipeline takes a frame while it works on the one before, and waits for the next.
    assert 9 * cycles < counted["CYCLES_BUSY"] < passed
    assert 9 * (cycles - about.frame_bytes) < counted["STALLS_IN"] < counted["CYCLES_BUSY"]
    # A result's second number waits for the packet's header.
    assert counted["STALLS_OUT"] == port.seen >= 9 * 5


def test_counters_are_of_one_moment(connect):
    """While the link sends them they go on: a counter that is all busy tells by how much."""
    about, port, client = connect(cycles=3000, patience=5.0)
    port.write(build(Packet(Kind.INFER, 77, bytes(about.frame_bytes))))
    port.advance(60)
    values = [client.counters() for _ in range(8)]
    assert values[0]["CYCLES_BUSY"] > 0
    for before, after in pairwise(values):
        busy, starved = (after[n] - before[n] for n in ("CYCLES_BUSY", "STALLS_IN"))
        assert busy == starved > 24  # all of which passed between two answers


def test_reset_forgets_frames_and_counters(connect, lines):
    about, port, client = connect(cycles=500)
    for number in range(FRAMES_IN_FLIGHT):
        port.write(build(Packet(Kind.INFER, number, bytes([number] * about.frame_bytes))))
    port.advance(100)
    client.reset()
    assert client.counters() == dict.fromkeys((register.name for register in COUNTERS), 0)
    port.advance(1500)
    assert not port.received
    frames = random_frames(about, 3)
    assert client.infer(frames) == lines.results(frames, about)


def test_reset_in_the_middle_of_a_result(connect, lines):
    """Of a result that is not to come any more the rest is left out; the host finds its way."""
    about, port, client = connect(result_elements=40, result_width=32)
    frames = random_frames(about, 2)
    for cycles in range(30, 60, 7):
        port.write(build(Packet(Kind.INFER, 200, frames[0].tobytes())))
        port.advance(cycles)
        client.reset()
        assert client.infer(frames) == lines.results(frames, about)


def test_requests_are_answered_while_frames_are_under_way(connect, lines):
    about, port, client = connect(cycles=2000, patience=5.0)
    frame = random_frames(about, 1)
    port.write(build(Packet(Kind.INFER, 250, frame[0].tobytes())))
    port.advance(50)
    began = port.cycle
    assert client.identify() == about.words()
    assert port.cycle - began < 500
    port.advance(2000)
    answer = Packet(0x80 | Kind.INFER, 250, lines.results(frame, about))
    assert bytes(port.received) == build(answer)


def test_host_that_sends_too_much_gets_right_answers_or_none(connect, lines):
    about, port, client = connect(cycles=150)
    frames = random_frames(about, 12)
    for number, frame in enumerate(frames):
        port.write(build(Packet(Kind.INFER, number, frame.tobytes())))
    port.advance(12 * 200)
    taken = bytes(port.received)
    answers = [
        build(Packet(0x80 | Kind.INFER, number, lines.results(frames[number : number + 1], about)))
        for number in range(12)
    ]
    sent = [number for number in range(12) if answers[number] in taken]
    assert sent[:2] == [0, 1] and len(sent) < 12
    assert taken == b"".join(answers[number] for number in sent)
    port.received.clear()
    assert client.counters()["REJECTED"] >= 12 - len(sent)
    assert client.infer(frames) == lines.results(frames, about)


def test_bit_by_bit(connect_bits, lines):
    about, port, client = connect_bits(frame_elements=24, frame_bits=1)
    assert client.identify() == about.words()
    frames = random_frames(about, 4)
    assert client.infer(frames) == lines.results(frames, about)
    # A break on the line, half a packet, then a pause: nothing is left of them.
    port.drive([*[0] * 30, 1])
    port.write(build(Packet(Kind.INFER, 1, bytes(3)))[:7])
    port.advance(37 * 40 + 2 * BIT_PAUSE_CYCLES)
    assert client.infer(frames) == lines.results(frames, about)
    assert client.counters()["REJECTED"] == 1


class Scores(wiring.Component):
    """Stands in for a pipeline: answers a frame of one beat by its elements, some a beat."""

    def __init__(self, i, o):
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        return Module()


@pytest.mark.parametrize(
    ("i", "o", "message"),
    [
        ((4, 2), (12, 2), "Frames of 8 elements of 8 bits do not come 2 of 4 bits a beat"),
        ((8, 9), (12, 2), "Frames of 8 elements of 8 bits do not come 9 of 8 bits a beat"),
        ((8, 2), (13, 2), "Results of 2 elements of 12 bits do not come 2 of 13 bits a beat"),
        ((8, 2), (12, 3), "Results of 2 elements of 12 bits do not come 3 of 12 bits a beat"),
        ((8, 2), 13, "Results of 2 elements of 12 bits do not come 1 of 13 bits a beat"),
    ],
)
def test_streams_must_be_as_the_identity_says(lines, i, o, message):
    o = data.ArrayLayout(*o) if isinstance(o, tuple) else o
    accelerator = Scores(data.ArrayLayout(*i), o)
    with pytest.raises(ValueError, match=message):
        SerialAccelerator(accelerator, lines.identity(), divisor=4)


def test_parameters_are_checked(lines):
    with pytest.raises(ValueError, match="pause must be more than a byte, 40 cycles, not 40"):
        SerialShell(lines.identity(), divisor=4, pause_cycles=40)


def test_properties(lines):
    about = lines.identity()
    shell = SerialShell(about, divisor=5, pause_cycles=400)
    assert (shell.identity, shell.divisor, shell.pause_cycles) == (about, 5, 400)
    packets = PacketShell(about, pause_cycles=300)
    assert (packets.identity, packets.pause_cycles) == (about, 300)
    assert Answers(about).identity is about
    accelerator = Scores(data.ArrayLayout(8, 2), data.ArrayLayout(12, 2))
    whole = SerialAccelerator(accelerator, about, divisor=9)
    assert (whole.identity, whole.divisor) == (about, 9)
