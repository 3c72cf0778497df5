import numpy as np
import pytest

from sim.job import Stream
from sim.watch import Difference, Watch

STREAM = Stream("layer", lanes=3, width=8, elements=8)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "beats"


def records(lanes, start=0):
    return b"".join(
        bytes([cycle, 0, 0, 0, *beat, 0]) for cycle, beat in enumerate(lanes.tolist(), start)
    )


def beats(frames, padding):
    return np.pad(frames, ((0, 0), (0, 1)), constant_values=padding).reshape(-1, 3)


@pytest.mark.parametrize("pieces", [[12], [1, 2, 3, 4, 2], [0, 5, 0, 7]])
def test_records_come_in_pieces(file, pieces):
    frames = np.arange(32).reshape(4, 8)
    watch = Watch(STREAM, frames, np.arange(4), file, keep=True)
    data, whole = records(beats(frames, 99)), b""
    for piece in pieces:
        whole += data[len(whole) // 8 * 8 :][: 8 * piece]
        file.write_bytes(whole + b"abc")  # the next record is half written
        watch.look()
    assert (watch.beats, watch.wrong, watch.starts) == (12, 0, [0, 3, 6, 9])
    assert np.array_equal(watch.outputs, frames)


def test_differences(file):
    frames = np.arange(32).reshape(4, 8)
    watch = Watch(STREAM, frames, np.array([7, 8, 9, 0]), file)
    got = frames.copy()
    got[1, 4] += 1
    got[3, 0] -= 1
    got[3, 7] = 200
    file.write_bytes(records(beats(got, 99)))
    watch.look()
    assert watch.wrong == 3
    assert watch.differences == [
        Difference(8, 4, 12, 13),
        Difference(0, 0, 24, 23),
        Difference(0, 7, 31, 200),
    ]
    assert str(watch.differences[0]) == "frame 8 neuron 4: expected 12, got 13"


def test_no_more_differences_than_a_message_lists(file):
    frames = np.zeros((4, 8), int)
    watch = Watch(STREAM, frames, np.arange(4), file)
    file.write_bytes(records(beats(frames + 1, 0)))
    watch.look()
    assert (watch.wrong, len(watch.differences)) == (32, 4)


def test_more_beats_than_expected(file):
    frames = np.zeros((1, 8), int)
    watch = Watch(STREAM, frames, np.arange(1), file, keep=True)
    file.write_bytes(records(beats(np.ones((2, 8), int), 0)))
    watch.look()
    assert (watch.beats, watch.wrong) == (6, 8)
    assert watch.outputs.shape == (2, 8)
