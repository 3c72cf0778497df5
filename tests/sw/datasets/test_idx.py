import gzip
import struct
import zlib

import numpy as np
import pytest

from sw.datasets.idx import read_idx
from sw.errors import PopstreamError


def idx(*shape, data=None, magic=0x0800):
    header = struct.pack(f">I{len(shape)}I", magic + len(shape), *shape)
    return header + (bytes(int(np.prod(shape))) if data is None else data)


def write(tmp_path, content):
    path = tmp_path / "items-idx.gz"
    path.write_bytes(gzip.compress(content))
    return path


def test_images_come_back_in_order(tmp_path):
    data = bytes(range(24))
    items = read_idx(write(tmp_path, idx(2, 3, 4, data=data)), item_shape=(3, 4))
    assert items.shape == (2, 3, 4)
    assert items.dtype == np.uint8
    assert items.tobytes() == data


def test_labels_have_one_dimension(tmp_path):
    items = read_idx(write(tmp_path, idx(3, data=b"\0\t\5")), item_shape=(), largest=9)
    assert items.tolist() == [0, 9, 5]


BROKEN = {
    "magic": (idx(2, 3, magic=0x0C00), "magic 00000c02 is not that of an IDX file of bytes"),
    "dimensions": (idx(2, 3, 1), r"has 3 dimensions, not 2"),
    "item shape": (idx(2, 4), r"items have shape \(4,\), not \(3,\)"),
    "empty": (idx(0, 3), "announces 0 items"),
    "huge": (idx(0xFFFFFFFF, 3, data=b""), "announces 4294967295 items"),
    "no header": (b"\0\0\x08", "header is cut off after 3 bytes"),
    "cut off": (idx(2, 3, data=b"12345"), "holds 5 of the 6 bytes"),
    "trailing": (idx(2, 3, data=b"1234567"), "goes on after the 6 bytes"),
    "range": (idx(2, 3, data=b"\0\0\0\0\x0b\0"), "item 1 holds 11; at most 10 is allowed"),
}


@pytest.mark.parametrize("content, message", BROKEN.values(), ids=BROKEN)
def test_refuses(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(PopstreamError, match=message) as error:
        read_idx(path, item_shape=(3,), largest=10)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_refuses_a_cut_off_archive(tmp_path):
    path = write(tmp_path, idx(1000, 3, data=np.random.default_rng(1).bytes(3000)))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(PopstreamError, match=r"cannot use .*; delete it to have it downloaded"):
        read_idx(path, item_shape=(3,))


def test_refuses_a_corrupt_archive(tmp_path):
    path = write(tmp_path, idx(1000, 3))
    content = bytearray(path.read_bytes())
    content[20] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(PopstreamError, match="cannot use") as error:
        read_idx(path, item_shape=(3,))
    assert isinstance(error.value.__cause__, OSError | EOFError | zlib.error)


def test_refuses_what_is_no_archive(tmp_path):
    path = tmp_path / "page.gz"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(PopstreamError, match="Not a gzipped file"):
        read_idx(path, item_shape=(3,))
