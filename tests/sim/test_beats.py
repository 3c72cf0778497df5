import numpy as np
import pytest

from sim.beats import record_words, to_input_file, unpack_records
from sim.job import Stream


def beat_numbers(stream, frame):
    """The beats of a frame as plain integers."""
    numbers = []
    for first in range(0, stream.elements, stream.lanes):
        number = 0
        for lane, element in enumerate(frame[first : first + stream.lanes]):
            number |= (int(element) % (1 << stream.width)) << (lane * stream.width)
        numbers.append(number)
    return numbers


def record(stream, cycle, number):
    words = [number >> 32 * k & 0xFFFF_FFFF for k in range(record_words(stream))]
    return b"".join(word.to_bytes(4, "little") for word in (cycle, *words))


CASES = [
    Stream("one bit", lanes=1, width=1, elements=1),
    Stream("bits that fill bytes", lanes=16, width=1, elements=784),
    Stream("an odd number of bits", lanes=13, width=1, elements=256),
    Stream("more than a word", lanes=7, width=11, elements=10),
    Stream("wide", lanes=65, width=8, elements=784),
    Stream("signed", lanes=3, width=9, elements=10, signed=True),
    Stream("widest", lanes=2, width=62, elements=3, signed=True),
]


@pytest.fixture(params=CASES, ids=lambda stream: stream.name)
def stream(request):
    return request.param


@pytest.fixture
def frames(stream):
    low, high = stream.range
    random = np.random.default_rng(3)
    frames = random.integers(low, high, (300, stream.elements), endpoint=True)
    frames[0], frames[1] = low, high
    return frames


def test_input_file(stream, frames, tmp_path):
    to_input_file(stream, frames, tmp_path / "file")
    size = -(-stream.bits // 8)
    data = (tmp_path / "file").read_bytes()
    numbers = [int.from_bytes(data[k : k + size], "big") for k in range(0, len(data), size)]
    assert numbers == [number for frame in frames for number in beat_numbers(stream, frame)]


def test_records(stream, frames):
    numbers = [number for frame in frames[:20] for number in beat_numbers(stream, frame)]
    data = b"".join(record(stream, 2**31 + k, number) for k, number in enumerate(numbers))
    cycles, lanes = unpack_records(stream, data)
    assert cycles.tolist() == list(range(2**31, 2**31 + len(numbers)))
    vectors = lanes.reshape(20, -1)[:, : stream.elements]
    assert np.array_equal(vectors, frames[:20])


def test_no_records():
    cycles, lanes = unpack_records(CASES[3], b"")
    assert cycles.shape == (0,)
    assert lanes.shape == (0, 7)
