"""sw.host.serial against a list of answers; against gateware it is in tests/hw/shell."""

import sys

import numpy as np
import pytest

from sw.artefact import Card, Samples, save
from sw.errors import MissingTool, PopstreamError
from sw.fold import TrainedDense, fold_classifier
from sw.golden import predict
from sw.host import serial as serial_module
from sw.host.serial import SerialClient, main, open_port


class Port:
    """Answers each frame by a function of its bytes."""

    def __init__(self, answer=lambda frame: frame[0]):
        self.answer, self.answers, self.slept, self.timeout = answer, [], [], None

    def write(self, frame):
        self.answers.append(self.answer(frame))

    def read(self, count):
        answer = self.answers.pop(0) if self.answers else None
        return b"" if answer is None else bytes([answer])

    def reset_input_buffer(self):
        self.answers.clear()


def client(port, **options):
    options = {"width": 8, "classes": 10, "sleep": port.slept.append} | options
    return SerialClient(port, **options)


FRAMES = np.array([[3, 0], [1, 0], [4, 0], [1, 0], [5, 0]], np.uint8)


@pytest.mark.parametrize("in_flight", [1, 2, 5, 9])
def test_answers_keep_the_order_of_the_frames(in_flight):
    counts = []
    port = Port()
    labels = client(port, frames_in_flight=in_flight).classify(FRAMES, progress=counts.append)
    assert labels.tolist() == [3, 1, 4, 1, 5]
    assert counts == [1, 2, 3, 4, 5]


def test_starts_with_a_pause_longer_than_the_boards_timeout():
    port = Port()
    client(port)
    assert port.slept == [0.2]
    assert port.timeout == 2.0


def test_no_frames_no_answers():
    assert client(Port()).classify(np.zeros((0, 2), np.uint8)).shape == (0,)


def test_missing_answer_names_the_frame_and_starts_over():
    port = Port(lambda frame: None if frame[0] == 4 else frame[0])
    this = client(port)
    with pytest.raises(PopstreamError, match="no answer to frame 2 within 2 s"):
        this.classify(FRAMES)
    assert port.slept == [0.2, 0.2]
    assert this.classify(FRAMES[:2]).tolist() == [3, 1]


def test_impossible_answer_names_the_class():
    with pytest.raises(PopstreamError, match="answered frame 2 with class 4, but there are 4"):
        client(Port(), classes=4).classify(FRAMES)


def test_unplugged_port_is_one_line():
    def unplugged(frame):
        raise OSError("device disconnected")

    with pytest.raises(PopstreamError, match="serial port is gone: device disconnected"):
        client(Port(unplugged)).classify(FRAMES)


def test_port_that_cannot_be_opened_is_one_line(tmp_path):
    with pytest.raises(PopstreamError, match=r"cannot open the serial port .*no-such-port"):
        open_port(str(tmp_path / "no-such-port"), 115_200)


def test_missing_pyserial_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingTool, match="pip install pyserial"):
        open_port("/dev/null", 115_200)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="Frames in flight must be at least 1, not 0"):
        client(Port(), frames_in_flight=0)


@pytest.fixture
def model(tmp_path):
    """A model of two pixels and three classes, with samples, as a file."""
    rng = np.random.default_rng(1)
    network = fold_classifier(
        input_shape=(2,),
        input_bits=8,
        binarise=128,
        layers=[TrainedDense(signs=rng.random((3, 2)) > 0.5, norm=None)],
        classes=["a", "b", "c"],
    )
    inputs = rng.integers(0, 256, (8, 2), dtype=np.uint8)
    card = Card("m", "none", "none", 1.0, 1.0, 8)
    path = tmp_path / "m.safetensors"
    save(path, network, card, Samples(inputs, predict(network, inputs).astype(np.uint8)))
    return path, network


@pytest.mark.parametrize(("right", "status"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("bits", [False, True])
def test_command_line_compares_with_the_golden_model(
    model, monkeypatch, capsys, right, status, bits
):
    path, network = model

    def answer(frame):
        if bits:
            (byte,) = frame
            pixels = [255 * (byte & 1), 255 * (byte >> 1 & 1)]
        else:
            pixels = list(frame)
        label = int(predict(network, np.array([pixels], np.uint8))[0])
        return label if right else (label + 1) % 3

    monkeypatch.setattr(serial_module, "open_port", lambda port, baud: Port(answer))
    monkeypatch.setattr(serial_module.SerialClient, "restart", lambda self: None)
    arguments = ["/dev/ttyUSB1", "--model", str(path), *(["--bits"] if bits else [])]
    assert main(arguments) == status
    count = 8 if right else 0
    assert f"8 frames: {count} as the golden model, {count} as labelled" in capsys.readouterr().out


def test_command_line_says_what_is_wrong_in_one_line(tmp_path, capsys):
    assert main(["/dev/ttyUSB1", "--model", str(tmp_path / "none.safetensors")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert not said.out
