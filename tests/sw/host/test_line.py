"""sw.host.line: an accelerator behind a serial line, the line and its board in Python."""

import numpy as np
import pytest

from sw.errors import PopstreamError
from sw.host import Accelerator
from sw.host.line import BATCH
from sw.host.link import ANSWER, Kind, Packet, Parser, build, request_lengths
from sw.host.registers import COUNTERS, IDENTITY
from sw.host.serial import TRIES


class Port:
    """A port that leads to a fake board; `deaf` boards answer no frame, `mute` ones nothing."""

    def __init__(self, board, cycles=1000):
        self.board, self.cycles, self.timeout = board, cycles, None
        self.deaf = self.mute = self.gone = self.closed = False
        self.interrupt_at = None
        self.line = b""
        self.parser = Parser(request_lengths(board.identity["FRAME_BYTES"]))
        self.counters = {each.name: 0 for each in COUNTERS}
        self.resets = 0

    def write(self, data):
        if self.gone:
            raise OSError("device disconnected")
        for packet in self.parser.feed(bytes(data)):
            payload = self.answer(packet)
            if payload is not None and not self.mute:
                self.line += build(Packet(packet.kind | ANSWER, packet.sequence, payload))

    def answer(self, packet):
        if packet.kind == Kind.IDENTIFY:
            words = (self.board.identity[each.name] for each in IDENTITY)
            return b"".join(word.to_bytes(4, "little") for word in words)
        if packet.kind == Kind.COUNTERS:
            return b"".join(word.to_bytes(4, "little") for word in self.counters.values())
        if packet.kind == Kind.RESET:
            self.counters = dict.fromkeys(self.counters, 0)
            self.resets += 1
            return b""
        if self.interrupt_at == self.counters["FRAMES_DONE"]:
            raise KeyboardInterrupt
        if self.deaf:
            return None
        self.counters["FRAMES_DONE"] += 1
        self.counters["CYCLES_BUSY"] = (self.counters["CYCLES_BUSY"] + self.cycles) % 2**32
        return self.board.compute(np.frombuffer(packet.payload, np.uint8)[None])

    def read(self, count):
        data, self.line = self.line[:count], self.line[count:]
        return data

    def close(self):
        self.closed = True


@pytest.fixture
def board(fake, tiny):
    return lambda **what: fake(tiny, **what)


@pytest.fixture
def opened(board, tiny):
    def open_(cycles=1000, **what):
        port = Port(board(**what), cycles)
        return Accelerator.open(port, model=tiny, timeout=0.3), port

    return open_


def works(accelerator):
    samples = accelerator.model.samples
    labels = accelerator.infer(samples.inputs)
    return labels.tolist() == samples.answers[:, 0].tolist()


@pytest.mark.parametrize("bits", [False, True])
@pytest.mark.parametrize("scores", [False, True])
def test_answers_are_the_golden_models(opened, bits, scores):
    accelerator, port = opened(bits=bits, scores=scores, number_bytes=2)
    with accelerator:
        assert works(accelerator)
        assert accelerator.clock_hz == accelerator.identity.clock_hz
        assert repr(accelerator) == "<Accelerator digits-tiny on serial>"
    assert port.closed


def test_progress_and_counters(opened):
    accelerator, _ = opened()
    images = np.tile(accelerator.model.samples.inputs, (3, 1, 1))
    seen = []
    accelerator.infer(images, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(BATCH, 150), (2 * BATCH, 150), (150, 150)]
    assert accelerator.counters["FRAMES_DONE"] == 150
    assert accelerator.counters["CYCLES_BUSY"] == 150_000


def test_counters_do_not_wrap(opened):
    """Every frame takes 2^26 cycles, so a batch brings the counter round once."""
    accelerator, _ = opened(cycles=(1 << 26) - 1)
    images = np.zeros((256, 8, 8), np.uint8)
    accelerator.infer(images)
    assert accelerator.counters["CYCLES_BUSY"] == 256 * ((1 << 26) - 1)


def test_frame_that_is_never_answered(opened):
    accelerator, port = opened()
    images = np.zeros((BATCH + 1, 8, 8), np.uint8)

    def deafen(done, total):
        port.deaf = True

    with pytest.raises(PopstreamError, match=rf"^after {BATCH} frames: no answer to frame 0"):
        accelerator.infer(images, progress=deafen)
    port.deaf = False
    assert works(accelerator)


def test_board_that_says_nothing_any_more(opened):
    accelerator, port = opened()
    port.mute = True
    with pytest.raises(PopstreamError, match="no answer to frame 0"):
        accelerator.infer(np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(PopstreamError, match="no answer to RESET"):
        accelerator.infer(np.zeros((1, 8, 8), np.uint8))
    port.mute = False
    assert works(accelerator)


def test_port_that_is_gone(opened):
    accelerator, port = opened()
    port.gone = True
    with pytest.raises(PopstreamError, match="serial port is gone: device disconnected"):
        works(accelerator)
    port.gone = False
    assert works(accelerator)


def test_interrupted_by_the_user(opened):
    accelerator, port = opened()
    port.interrupt_at = 30
    resets = port.resets
    with pytest.raises(KeyboardInterrupt):
        works(accelerator)
    port.interrupt_at = None
    assert port.resets == resets + 1
    assert works(accelerator)


def test_reset_keeps_the_totals(opened):
    accelerator, _ = opened()
    assert works(accelerator)
    accelerator.reset()
    assert works(accelerator)
    assert accelerator.counters["FRAMES_DONE"] == 100


def test_benchmark(opened):
    accelerator, _ = opened()
    measured = accelerator.benchmark(seconds=0.1)
    assert measured.images == measured.counters["FRAMES_DONE"] > 0
    assert measured.busy_share == pytest.approx(measured.images * 1e-5 / measured.seconds)
    assert list(measured.spent) == ["encode", "wait", "decode"]


def test_timeout_is_of_all_tries(board, tiny):
    port = Port(board())
    Accelerator.open(port, model=tiny, timeout=0.06).close()
    assert port.timeout == pytest.approx(0.06 / TRIES)


def test_another_board_is_refused_and_the_port_closed(board, tiny):
    port = Port(board(identity={"MAGIC": 1}))
    with pytest.raises(PopstreamError, match="no Popstream accelerator"):
        Accelerator.open(port, model=tiny, timeout=0.3)
    assert port.closed


def test_board_that_does_not_answer_at_all(board, tiny):
    port = Port(board())
    port.mute = True
    with pytest.raises(PopstreamError, match=r"no answer to RESET, sent 3 times: check"):
        Accelerator.open(port, model=tiny, timeout=0.3)
    assert port.closed
