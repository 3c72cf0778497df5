"""sw.host.link: frames as bytes."""

import numpy as np
import pytest

from sw.errors import PopstreamError
from sw.host.link import encode, frame_bytes


@pytest.mark.parametrize(
    ("elements", "width", "expected"),
    [(1, 1, 1), (8, 1, 1), (9, 1, 2), (784, 1, 98), (784, 8, 784), (5, 4, 5)],
)
def test_frame_bytes(elements, width, expected):
    assert frame_bytes(elements, width) == expected


def test_bits_are_packed_lowest_first():
    bits = np.zeros((2, 3, 4), np.uint8)
    bits[0, 0, 1] = bits[0, 2, 3] = 1  # elements 1 and 11
    assert encode(bits, 1) == [b"\x02\x08", b"\x00\x00"]


def test_wider_elements_take_a_byte_each():
    assert encode(np.array([[0, 7, 255]], np.uint8), 8) == [b"\x00\x07\xff"]
    assert encode(np.array([[0, 7, 15]], np.uint8), 4) == [b"\x00\x07\x0f"]


@pytest.mark.parametrize("width", [1, 4, 7])
def test_element_that_does_not_fit_is_refused(width):
    fits = np.array([[0, 2**width - 1]], np.uint8)
    encode(fits, width)
    with pytest.raises(
        PopstreamError, match=rf"in 0\.\.{2**width - 1}, not uint8 up to {2**width}"
    ):
        encode(fits + 1, width)


def test_floats_are_refused():
    with pytest.raises(PopstreamError, match="must be uint8"):
        encode(np.array([[0.0, 1.0]]), 8)


@pytest.mark.parametrize(("elements", "width"), [(0, 8), (4, 0), (4, 9)])
def test_impossible_frames_are_refused(elements, width):
    with pytest.raises(ValueError, match=r"1 or more elements of 1\.\.8 bits"):
        frame_bytes(elements, width)
