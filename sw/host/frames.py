"""Frames and results as the bytes that travel: to a memory, or over a serial line.

A frame's elements are in raster order. Elements of one bit are packed eight to a byte, element 0 in
bit 0 of the first byte; wider elements take a byte each, signed ones as the two's complement of
their width. A result's numbers take 1, 2 or 4 bytes each, unsigned and little-endian. Frames follow
each other without a gap, and so do results.
"""

import numpy as np

from sw.errors import PopstreamError

__all__ = ["decode", "encode", "frame_bytes"]


def frame_bytes(elements: int, width: int) -> int:
    """Bytes of a frame of `elements` elements (at least 1) of `width` bits (1..8)."""
    if elements < 1 or not 1 <= width <= 8:
        raise ValueError(f"A frame is 1 or more elements of 1..8 bits, not {elements} of {width}")
    return -(-elements // 8) if width == 1 else elements


def encode(frames: np.ndarray, width: int) -> np.ndarray:
    """The bytes of frames.

    Parameters
    ----------
    frames : array of uint8, shape (n, ...)
        Elements in 0..2**width-1.
    width : int
        Bits of an element, 1..8.

    Returns
    -------
    array of uint8, shape (n, frame_bytes)

    Raises
    ------
    PopstreamError
        Elements of another type, or one that does not fit.
    """
    frames = np.asarray(frames)
    flat = frames.reshape(len(frames), int(np.prod(frames.shape[1:], dtype=np.int64)))
    if flat.dtype != np.uint8 or (flat.size and flat.max() >> width):
        most = f" up to {flat.max()}" if flat.size else ""
        raise PopstreamError(
            f"a frame's elements must be uint8 in 0..{2**width - 1}, not {flat.dtype}{most}"
        )
    return np.packbits(flat, axis=1, bitorder="little") if width == 1 else flat


def decode(data, elements: int, number_bytes: int) -> np.ndarray:
    """The numbers of results: int64, shape (n, elements).

    Parameters
    ----------
    data : bytes-like
        Of n whole results.
    elements : int
        Numbers of a result.
    number_bytes : int
        1, 2 or 4.
    """
    numbers = np.frombuffer(data, dtype=f"<u{number_bytes}")
    return numbers.reshape(-1, elements).astype(np.int64)
