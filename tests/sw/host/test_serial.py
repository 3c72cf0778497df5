"""sw.host.serial against a board in Python; against gateware it is in tests/hw/shell."""

import random
import sys

import numpy as np
import pytest

from sw.errors import MissingTool, PopstreamError
from sw.host.link import (
    ANSWER,
    FRAMES_IN_FLIGHT,
    OVERHEAD,
    Kind,
    Packet,
    Parser,
    build,
    request_lengths,
)
from sw.host.registers import COUNTERS, IDENTITY
from sw.host.serial import TRIES, SerialClient, open_port

FRAME_BYTES = 5
IDENTITY_WORDS = {register.name: 1000 + n for n, register in enumerate(IDENTITY)}
IDENTITY_WORDS |= {"FRAME_BYTES": FRAME_BYTES, "RESULT_ELEMENTS": 3, "RESULT_BYTES": 2}


def result(frame: bytes) -> bytes:
    return bytes([sum(frame) % 256, *frame])


def frames(count, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, FRAME_BYTES), dtype=np.uint8)


def expected(inputs) -> bytes:
    return b"".join(result(frame.tobytes()) for frame in inputs)


class Port:
    """A board and the line to it. `spoil` may change any answer: a packet to a list of bytes."""

    def __init__(self, spoil=lambda packet: [build(packet)]):
        self.spoil, self.timeout, self.closed = spoil, None, False
        self.line = bytearray()  # to the host
        self.seconds = 0.0
        self.requests = []
        self.frames_done = 0
        self._parser = Parser(request_lengths(FRAME_BYTES))

    def write(self, data):
        for packet in self._parser.feed(bytes(data)):
            self.requests.append(packet)
            for answer in self.spoil(self.answer(packet)):
                self.line += answer

    def answer(self, packet):
        match packet.kind:
            case Kind.IDENTIFY:
                payload = words(IDENTITY_WORDS)
            case Kind.INFER:
                payload = result(packet.payload)
                self.frames_done += 1
            case Kind.COUNTERS:
                counted = {r.name: 0 for r in COUNTERS}
                payload = words(counted | {"FRAMES_DONE": self.frames_done, "REJECTED": 7})
            case Kind.RESET:
                payload = b""
                self.frames_done = 0
        return Packet(packet.kind | ANSWER, packet.sequence, payload)

    def read(self, count):
        data, self.line = bytes(self.line[:count]), self.line[count:]
        if len(data) < count:
            self.seconds += self.timeout
        return data

    def close(self):
        self.closed = True

    def frames_sent(self):
        return [p.payload for p in self.requests if p.kind == Kind.INFER]


def words(values):
    return b"".join(value.to_bytes(4, "little") for value in values.values())


def test_identity_and_counters():
    client = SerialClient(Port())
    assert client.identify() == IDENTITY_WORDS
    client.infer(frames(4))
    counted = client.counters()
    assert list(counted) == [register.name for register in COUNTERS]
    assert (counted["FRAMES_DONE"], counted["REJECTED"], counted["JOBS_DONE"]) == (4, 7, 0)
    client.reset()
    assert client.counters()["FRAMES_DONE"] == 0


@pytest.mark.parametrize("count", [0, 1, 2, 3, 600])
def test_results_keep_the_order_of_the_frames(count):
    port, counts = Port(), []
    inputs = frames(count)
    assert SerialClient(port).infer(inputs, progress=counts.append) == expected(inputs)
    assert counts == list(range(1, count + 1))
    assert port.frames_sent() == [frame.tobytes() for frame in inputs]


def test_connecting_drains_and_resets():
    """What an earlier client left on the line is no answer to this one."""
    port = Port()
    port.line += build(Packet(Kind.RESET | ANSWER, 1)) + build(
        Packet(Kind.INFER | ANSWER, 3, bytes(6))
    )
    inputs = frames(2)
    assert SerialClient(port).infer(inputs) == expected(inputs)
    assert [p.kind for p in port.requests[:2]] == [Kind.RESET, Kind.IDENTIFY]
    assert port.seconds >= 0.1


def test_no_more_frames_unanswered_than_promised():
    most = 0

    class Late(Port):
        """Answers a frame only when it is read from."""

        def write(self, data):
            nonlocal most
            super().write(data)
            most = max(most, self.line.count(bytes([0xA5, Kind.INFER | ANSWER])))

    inputs = np.full((20, FRAME_BYTES), 3, np.uint8)
    assert SerialClient(Late()).infer(inputs) == expected(inputs)
    assert most == FRAMES_IN_FLIGHT


def dropping(*numbers):
    """Spoils the answers of these numbers, counted from 0 over all answers to frames."""
    count = -1

    def spoil(packet):
        nonlocal count
        count += packet.kind == Kind.INFER | ANSWER
        return [] if packet.kind == Kind.INFER | ANSWER and count in numbers else [build(packet)]

    return spoil


@pytest.mark.parametrize("lost", [(0,), (4,), (9,), (2, 3), (0, 1, 2, 3), (8, 9, 10, 11)])
def test_lost_answers_are_asked_for_again(lost):
    port, inputs = Port(dropping(*lost)), frames(10)
    assert SerialClient(port).infer(inputs) == expected(inputs)
    assert len(port.frames_sent()) > 10


def test_answer_to_a_later_frame_tells_that_one_is_lost():
    """Without waiting: only the last frame of all could need patience."""
    port, inputs = Port(dropping(0, 5, 9)), frames(50)
    client = SerialClient(port)
    before = port.seconds
    assert client.infer(inputs) == expected(inputs)
    assert port.seconds == before


def test_frame_that_stays_unanswered_holds_the_others():
    """Else the sequence numbers would come round while one of them is still used."""
    inputs = frames(600)
    lost = inputs[300].tobytes()

    def spoil(packet):
        return [] if packet.payload[1:] == lost else [build(packet)]

    port = Port(spoil)
    with pytest.raises(
        PopstreamError,
        match=r"no answer to frame 300, sent 3 times; it counts JOBS_DONE 0, FRAMES_DONE \d+, .*"
        r"REJECTED 7$",
    ):
        SerialClient(port).infer(inputs)
    assert port.frames_sent().count(lost) == TRIES
    assert inputs[302].tobytes() not in port.frames_sent()


def test_answers_that_come_twice_or_late_are_taken_once():
    rng, late = random.Random(5), []

    def spoil(packet):
        """Sometimes twice; the second copy behind some later answer."""
        answers = [build(packet), *late]
        late.clear()
        if rng.random() < 0.4:
            late.append(build(packet))
        return answers

    inputs = frames(700)
    assert SerialClient(Port(spoil)).infer(inputs) == expected(inputs)


def test_noise_between_answers_does_no_harm():
    rng = random.Random(6)

    def spoil(packet):
        half = build(packet)[: rng.randrange(OVERHEAD)]
        return [rng.randbytes(rng.randrange(8)), half, build(packet)]

    inputs = frames(100)
    assert SerialClient(Port(spoil)).infer(inputs) == expected(inputs)


def test_silent_board_is_an_error_soon():
    port = Port(lambda packet: [])
    with pytest.raises(PopstreamError, match="no answer to RESET, sent 3 times: check that the"):
        SerialClient(port, patience=2.0)
    assert 6 <= port.seconds < 7
    assert len(port.requests) == TRIES


@pytest.mark.parametrize("noise", [b"\xa5", build(Packet(Kind.RESET | ANSWER, 99))])
def test_endless_noise_is_an_error_too(noise):
    """Nothing that makes sense, or packets that nobody asked for."""

    class Noisy(Port):
        reads = 0

        def read(self, count):
            self.reads += 1
            assert self.reads < 10_000
            return (noise * count)[:count]

    with pytest.raises(PopstreamError, match="no answer to RESET"):
        SerialClient(Noisy())


def test_board_that_falls_silent_is_an_error_and_may_come_back():
    port, inputs = Port(), frames(3)
    client = SerialClient(port)
    answer, port.spoil = port.spoil, lambda packet: []
    with pytest.raises(
        PopstreamError, match="no answer to frame 0, sent 3 times, nor to a request for counters"
    ):
        client.infer(inputs)
    port.spoil = answer
    assert client.infer(inputs) == expected(inputs)


def test_unplugged_port_is_one_line():
    port = Port()
    client = SerialClient(port)

    def unplugged(_):
        raise OSError("device disconnected")

    for method in ("write", "read"):
        setattr(port, method, unplugged)
        with pytest.raises(PopstreamError, match="serial port is gone: device disconnected"):
            client.infer(frames(1))


@pytest.mark.parametrize(
    "wrong", [frames(2)[:, :4], frames(2)[0], frames(2).astype(np.int64)], ids=str
)
def test_frames_of_another_shape_are_refused(wrong):
    with pytest.raises(ValueError, match=r"Frames must be uint8 of shape \(n, 5\), not"):
        SerialClient(Port()).infer(wrong)


def test_closes_its_port():
    port = Port()
    SerialClient(port).close()
    assert port.closed


def test_port_that_cannot_be_opened_is_one_line(tmp_path):
    with pytest.raises(PopstreamError, match=r"cannot open the serial port .*no-such-port"):
        open_port(str(tmp_path / "no-such-port"), 115_200)


def test_missing_pyserial_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingTool, match="pip install pyserial"):
        open_port("/dev/null", 115_200)
