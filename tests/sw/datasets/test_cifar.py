import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest

from sw import datasets
from sw.datasets import cifar
from sw.errors import PopstreamError


def batch(labels, rows):
    """A pickle as the publisher's Python 2 wrote it, its operations by hand."""

    def short(text):
        return b"U" + struct.pack("<B", len(text)) + text

    return b"".join(
        (
            b"\x80\x02}(",
            short(b"batch_label") + short(b"testing batch 1 of 1"),
            short(b"labels") + b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e",
            short(b"data") + b"T" + struct.pack("<i", rows.size) + rows.tobytes(),
            short(b"filenames") + b"](" + short(b"labels_s_000001.png") + b"K\x07e",
            b"u.",
        )
    )


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The folder of six batches of three images, whose digests are believed."""
    folder = tmp_path / cifar.FOLDER
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = {}
    for name in (*cifar.TRAIN, *cifar.TEST):
        rows[name] = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
        content = batch([9, 0, len(rows)], rows[name])
        (folder / name).write_bytes(content)
        monkeypatch.setitem(cifar.SHA256, name, hashlib.sha256(content).hexdigest())
    return folder, rows


def test_the_batches_here_are_pickles(made):
    folder, rows = made
    content = pickle.loads((folder / "test_batch").read_bytes(), encoding="bytes")
    assert content[b"labels"] == [9, 0, 6]
    assert content[b"data"] == rows["test_batch"].tobytes()


def test_images_are_rows_columns_channels(made, tmp_path):
    _, rows = made
    data = datasets.load("cifar10", tmp_path)
    assert data.train_images.shape == (15, 32, 32, 3) and data.train_images.dtype == np.uint8
    assert data.train_labels.tolist() == [9, 0, 1, 9, 0, 2, 9, 0, 3, 9, 0, 4, 9, 0, 5]
    assert data.test_labels.tolist() == [9, 0, 6]
    assert (data.bits, len(data.classes), data.classes[1]) == (8, 10, "automobile")
    for image, row in zip(data.test_images, rows["test_batch"], strict=True):
        for channel in range(3):
            assert image[5, 7, channel] == row[1024 * channel + 32 * 5 + 7]
    images, labels = datasets.load_test("cifar10", tmp_path)
    assert np.array_equal(images, data.test_images) and np.array_equal(labels, data.test_labels)


def test_nothing_unknown_is_read(made, tmp_path):
    folder, _ = made
    path = folder / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1] + b"0.")
    with pytest.raises(PopstreamError, match=r"data_batch_3: SHA-256 is .*delete it to have it"):
        datasets.load("cifar10", tmp_path)
    assert len(datasets.load_test("cifar10", tmp_path)[1]) == 3


def archive(rows, names):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as file:
        for name in names:
            content = batch([1, 2, 3], rows)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return made.getvalue()


def serving(monkeypatch, content):
    def serve(urls, path, *, sha256):
        assert urls[0].endswith("/cifar-10-python.tar.gz") and len(sha256) == 64
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    monkeypatch.setattr(cifar, "download", serve)


def test_missing_batches_come_from_the_archive(tmp_path, monkeypatch):
    rows = np.zeros((3, 3072), np.uint8)
    wanted = [f"{cifar.FOLDER}/{name}" for name in (*cifar.TRAIN, *cifar.TEST)]
    serving(monkeypatch, archive(rows, [*wanted, "../outside", f"{cifar.FOLDER}/more"]))
    digest = hashlib.sha256(batch([1, 2, 3], rows)).hexdigest()
    for name in (*cifar.TRAIN, *cifar.TEST):
        monkeypatch.setitem(cifar.SHA256, name, digest)
    assert len(datasets.load("cifar10", tmp_path).train_labels) == 15
    folder = tmp_path / cifar.FOLDER
    assert sorted(path.name for path in folder.iterdir()) == [*cifar.TRAIN, *cifar.TEST]
    assert [path.name for path in tmp_path.iterdir()] == [cifar.FOLDER]


@pytest.mark.parametrize("content", [b"<html>", archive(np.zeros((3, 3072), np.uint8), ["other"])])
def test_an_archive_without_them_is_told(tmp_path, monkeypatch, content):
    serving(monkeypatch, content)
    with pytest.raises(PopstreamError, match=r"'cifar10': .* \(cannot unpack [^\n]*$"):
        datasets.load("cifar10", tmp_path)
    assert list((tmp_path / cifar.FOLDER).iterdir()) == []
