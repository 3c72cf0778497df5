"""Reader for IDX files, the format in which MNIST and its kin are published.

Big-endian: two zero bytes, a type code (8 is unsigned bytes, the only one read here), the number
of dimensions, one 32-bit size per dimension, then the elements in C order. The files come from
anywhere, so nothing in them is believed before it was checked.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "FILE FORMATS".
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from sw.errors import PopstreamError

__all__ = ["read_idx"]

_UNSIGNED_BYTE = 8
_MOST_ELEMENTS = 1 << 28  # four times the largest published file; stops a hostile header early


def read_idx(path: Path, *, item_shape: tuple[int, ...], largest: int = 255) -> np.ndarray:
    """The elements of a gzip-compressed IDX file of unsigned bytes, uint8 (items, *item_shape).

    Parameters
    ----------
    path : Path
        The ``.gz`` file.
    item_shape : tuple of int
        Shape of one item: ``(28, 28)`` of an image, ``()`` of a label.
    largest : int
        The greatest value allowed, 0..255.

    Raises
    ------
    PopstreamError
        The file cannot be read, is not IDX, is cut off or too long, or holds other shapes or
        values.
    """
    try:
        with gzip.open(path, "rb") as file:
            shape = _read_shape(path, file.read(4 + 4 * (1 + len(item_shape))), item_shape)
            expected = math.prod(shape)
            data = file.read(expected)
            trailing = file.read(1)
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, str(error) or type(error).__name__) from error
    if len(data) != expected:
        raise _broken(path, f"holds {len(data)} of the {expected} bytes its header announces")
    if trailing:
        raise _broken(path, f"goes on after the {expected} bytes its header announces")
    items = np.frombuffer(data, np.uint8).reshape(shape)
    if items.max() > largest:
        where = int(np.argmax(items.reshape(shape[0], -1).max(axis=1) > largest))
        raise _broken(
            path, f"item {where} holds {items[where].max()}; at most {largest} is allowed"
        )
    return items


def _read_shape(path: Path, header: bytes, item_shape: tuple[int, ...]) -> tuple[int, ...]:
    dimensions = 1 + len(item_shape)
    if len(header) != 4 + 4 * dimensions:
        raise _broken(path, f"its header is cut off after {len(header)} bytes")
    zero, kind, found = struct.unpack(">HBB", header[:4])
    if zero != 0 or kind != _UNSIGNED_BYTE:
        raise _broken(path, f"its magic {header[:4].hex()} is not that of an IDX file of bytes")
    if found != dimensions:
        raise _broken(path, f"it has {found} dimensions, not {dimensions}")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if shape[1:] != item_shape:
        raise _broken(path, f"its items have shape {shape[1:]}, not {item_shape}")
    if not 0 < math.prod(shape) <= _MOST_ELEMENTS:
        raise _broken(path, f"its header announces {shape[0]} items")
    return shape


def _broken(path: Path, why: str) -> PopstreamError:
    return PopstreamError(f"cannot use {path}: {why}; delete it to have it downloaded again")
