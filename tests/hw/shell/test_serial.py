# amaranth: UnusedElaboratable=no
"""hw.shell.serial, driven bit by bit, by the host's own client."""

import random
from collections import deque

import numpy as np
import pytest
from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.shell.serial import SerialLink
from sw.errors import PopstreamError
from sw.host.link import FRAMES_IN_FLIGHT, encode
from sw.host.serial import SerialClient

DIVISOR = 4
TIMEOUT = 200


class Loop(wiring.Component):
    """A link around a pipeline that answers the sum of a frame's elements, some cycles later."""

    def __init__(self, *, elements: int, width: int, cycles: int):
        self._elements, self._cycles = elements, cycles
        self.link = SerialLink(
            elements=elements, width=width, divisor=DIVISOR, timeout_cycles=TIMEOUT
        )
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = self.link
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]

        lanes = link.o.payload.shape().length
        beats = -(-self._elements // lanes)
        work = Module()
        total = Signal(16)
        beat = Signal(range(beats + 1))
        waited = Signal(range(self._cycles + 1))
        used = [
            element if index < self._elements - (beats - 1) * lanes else 0
            for index, element in enumerate(link.o.payload)
        ]
        padded = sum(used)
        whole = sum(link.o.payload)
        work.d.comb += [
            link.o.ready.eq(beat < beats),
            link.i.valid.eq((beat == beats) & (waited == self._cycles)),
            link.i.payload.eq(total),
        ]
        with work.If(link.o.valid & link.o.ready):
            work.d.sync += beat.eq(beat + 1)
            with work.If(beat == beats - 1):
                work.d.sync += total.eq(total + padded)
            with work.Else():
                work.d.sync += total.eq(total + whole)
        with work.Elif((beat == beats) & (waited < self._cycles)):
            work.d.sync += waited.eq(waited + 1)
        with work.Elif(link.i.valid & link.i.ready):
            work.d.sync += [beat.eq(0), total.eq(0), waited.eq(0)]
        m.submodules.work = ResetInserter(link.restart)(work)
        return m


class SimulatedPort:
    """A serial port whose other end is simulated gateware; time passes while it is read."""

    def __init__(self, dut):
        self.timeout = None
        self.cycle = 0
        self._closed = False
        self._levels = deque()  # to be driven, one a cycle
        self._shift = []  # sampled in the middle of the bits of a byte
        self._next_sample = 0
        self._received = deque()
        self._sim = Simulator(dut)
        self._sim.add_clock(1e-8)

        async def wire(ctx):
            async for _, _, tx in ctx.tick().sample(dut.tx):
                self.cycle += 1
                ctx.set(dut.rx, self._levels.popleft() if self._levels else 1)
                self._listen(tx)
                if self._closed:
                    return

        self._sim.add_testbench(wire)

    def _listen(self, tx: int):
        if not self._shift:
            if not tx:
                self._shift, self._next_sample = [0], self.cycle + DIVISOR + DIVISOR // 2
        elif self.cycle == self._next_sample:
            self._shift.append(tx)
            self._next_sample += DIVISOR
            if len(self._shift) == 10:
                assert tx == 1, "no stop bit"
                self._received.append(sum(bit << n for n, bit in enumerate(self._shift[1:9])))
                self._shift = []

    def write(self, data: bytes):
        for byte in data:
            self.drive([0, *((byte >> bit) & 1 for bit in range(8)), 1])

    def drive(self, bits):
        self._levels.extend(bit for bit in bits for _ in range(DIVISOR))

    def advance(self, cycles: int):
        deadline = self.cycle + cycles
        while self.cycle < deadline:
            self._sim.advance()

    def read(self, count: int) -> bytes:
        deadline = self.cycle + 20_000
        while len(self._received) < count and self.cycle < deadline:
            self._sim.advance()
        return bytes(self._received.popleft() for _ in range(min(count, len(self._received))))

    def reset_input_buffer(self):
        self._received.clear()

    def sleep(self, seconds: float):
        """However short, long enough for the link to start over."""
        self.advance(len(self._levels) + 2 * TIMEOUT)

    def close(self):
        self._closed = True
        while self._sim.advance():
            pass


@pytest.fixture
def connect():
    """Makes simulated ports with the host's client on them."""
    ports = []

    def make(*, elements, width, cycles=3, classes=256):
        port = SimulatedPort(Loop(elements=elements, width=width, cycles=cycles))
        ports.append(port)
        return port, SerialClient(port, width=width, classes=classes, sleep=port.sleep)

    yield make
    for port in ports:
        port.close()


def frames(count, elements, width, seed=1):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**width, (count, elements), dtype=np.uint8)


@pytest.mark.parametrize(
    ("elements", "width"),
    [(1, 1), (3, 1), (8, 1), (9, 1), (64, 1), (1, 8), (5, 8), (16, 8), (20, 4)],
)
def test_answers_every_frame_in_order(connect, elements, width):
    _, client = connect(elements=elements, width=width)
    inputs = frames(6, elements, width)
    np.testing.assert_array_equal(client.classify(inputs), inputs.sum(axis=1) % 256)


@pytest.mark.parametrize("cycles", [500, 2000])
def test_slow_pipeline_loses_nothing(connect, cycles):
    """A frame of 16 bytes takes 640 cycles on the line; the pipeline takes more."""
    _, client = connect(elements=16, width=8, cycles=cycles)
    inputs = frames(5, 16, 8)
    np.testing.assert_array_equal(client.classify(inputs), inputs.sum(axis=1) % 256)


def test_partial_frame_is_forgotten_after_a_pause(connect):
    port, client = connect(elements=16, width=8)
    inputs = frames(3, 16, 8)
    port.write(b"\xff" * 7)
    client.restart()
    np.testing.assert_array_equal(client.classify(inputs), inputs.sum(axis=1) % 256)


def test_partial_frame_inside_the_pipeline_is_forgotten_too(connect):
    port, client = connect(elements=4, width=8)
    port.write(b"\x01\x02")
    client.restart()
    assert client.classify(np.array([[1, 1, 1, 1]], np.uint8)) == [4]


def test_partial_frame_that_waits_behind_another_is_forgotten_too(connect):
    port, client = connect(elements=16, width=8, cycles=3000)
    port.write(bytes(16) + b"\xff" * 7)
    client.restart()
    assert client.classify(np.ones((1, 16), np.uint8)) == [16]


def test_pause_shorter_than_the_timeout_does_no_harm(connect):
    port, _ = connect(elements=4, width=8)
    port.write(b"\x01\x02")
    port.advance(20 * DIVISOR + TIMEOUT - 12 * DIVISOR)
    port.write(b"\x03\x04")
    assert port.read(1) == bytes([10])


def test_pause_between_frames_does_no_harm(connect):
    """A slow pipeline may take longer than the timeout; nothing is reset while frames are whole."""
    port, client = connect(elements=4, width=8, cycles=3 * TIMEOUT)
    assert client.classify(np.array([[1, 2, 3, 4]], np.uint8)) == [10]
    assert port.cycle > 3 * TIMEOUT


def test_overrun_is_answered_by_silence_until_the_host_pauses(connect):
    """Better no answer than one to a frame with a hole in it."""
    port, client = connect(elements=16, width=8, cycles=1500)
    inputs = frames(12, 16, 8)
    for frame in encode(inputs, 8):  # 640 cycles each on the line, all unanswered
        port.write(frame)
    port.advance(12 * 640)
    assert list(port.read(12)) == list(inputs.sum(axis=1)[:2] % 256)
    client.restart()
    inputs = frames(2, 16, 8, seed=2)
    np.testing.assert_array_equal(client.classify(inputs), inputs.sum(axis=1) % 256)


def test_break_on_the_line_is_survived(connect):
    port, client = connect(elements=4, width=8)
    port.drive([0] * 30)
    client.restart()
    assert client.classify(np.array([[5, 6, 7, 8]], np.uint8)) == [26]


def test_host_keeps_no_more_frames_unanswered_than_promised(connect):
    port, client = connect(elements=4, width=8, cycles=100)
    unanswered = most = 0
    write, read = port.write, port.read

    def counting_write(data):
        nonlocal unanswered, most
        unanswered += 1
        most = max(most, unanswered)
        write(data)

    def counting_read(count):
        nonlocal unanswered
        unanswered -= 1
        return read(count)

    port.write, port.read = counting_write, counting_read
    client.classify(frames(8, 4, 8))
    assert most == FRAMES_IN_FLIGHT


def test_impossible_class_is_an_error_and_the_link_recovers(connect):
    _, client = connect(elements=4, width=8, classes=10)
    with pytest.raises(PopstreamError, match="answered frame 1 with class 12, but there are 10"):
        client.classify(np.array([[1, 1, 1, 1], [3, 3, 3, 3], [0, 0, 0, 1]], np.uint8))
    assert client.classify(np.array([[2, 2, 2, 2]], np.uint8)) == [8]


def test_random_traffic_with_pauses_and_noise(connect):
    rng = random.Random(7)
    port, client = connect(elements=6, width=8, cycles=40)
    for round_ in range(6):
        port.write(rng.randbytes(rng.randrange(6)))
        client.restart()
        inputs = frames(rng.randrange(1, 5), 6, 8, seed=round_)
        np.testing.assert_array_equal(client.classify(inputs), inputs.sum(axis=1) % 256)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="Timeout must be at least a byte, 40 cycles, not 39"):
        SerialLink(elements=4, width=8, divisor=4, timeout_cycles=39)
    with pytest.raises(ValueError, match=r"1 or more elements of 1..8 bits, not 4 of 9"):
        SerialLink(elements=4, width=9, divisor=4, timeout_cycles=400)
    link = SerialLink(elements=20, width=1, divisor=4, timeout_cycles=400)
    assert (link.frame_bytes, link.divisor, link.timeout_cycles) == (3, 4, 400)
