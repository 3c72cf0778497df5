"""The serial link's protocol, as both ends know it.

The line carries 8N1 bytes. A frame goes to the board as a fixed number of bytes, without header or
pause: elements of one bit are packed eight to a byte, element 0 in bit 0 of the first byte; wider
elements take a byte each. For each frame the board answers one byte, the index of its class, in the
order of the frames.

Both ends start over the same way: a pause of `TIMEOUT_SECONDS` in the middle of a frame makes the
board forget that frame and all whose answers are still due. The board also does so, after the same
pause, when it had to drop a byte. `FRAMES_IN_FLIGHT` frames may be sent ahead of their answers; the
board has room for them whatever the pipeline's speed.
"""

import numpy as np

from sw.errors import PopstreamError

__all__ = ["FRAMES_IN_FLIGHT", "TIMEOUT_SECONDS", "encode", "frame_bytes"]

TIMEOUT_SECONDS = 0.1
FRAMES_IN_FLIGHT = 2


def frame_bytes(elements: int, width: int) -> int:
    """Bytes of a frame of `elements` elements (at least 1) of `width` bits (1..8)."""
    if elements < 1 or not 1 <= width <= 8:
        raise ValueError(f"A frame is 1 or more elements of 1..8 bits, not {elements} of {width}")
    return -(-elements // 8) if width == 1 else elements


def encode(inputs: np.ndarray, width: int) -> list[bytes]:
    """The bytes of each frame.

    Parameters
    ----------
    inputs : array of uint8, shape (frames, ...)
        Elements in raster order, each in 0..2**width-1.
    width : int
        Bits of an element, 1..8.

    Raises
    ------
    PopstreamError
        An element that does not fit.
    """
    inputs = np.asarray(inputs)
    if not len(inputs):
        return []
    flat = inputs.reshape(len(inputs), -1)
    if flat.dtype != np.uint8 or (flat >> (width - 1) > 1).any():
        raise PopstreamError(
            f"a frame's elements must be uint8 in 0..{2**width - 1}, not {flat.dtype} up to "
            f"{flat.max()}"
        )
    packed = np.packbits(flat, axis=1, bitorder="little") if width == 1 else flat
    return [frame.tobytes() for frame in packed]
