import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from sw import datasets
from sw.datasets import cifar
from sw.errors import PopstreamError

FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def write_set(folder, *, train=6, test=4, labels=None):
    folder.mkdir()
    for split, count in (("train", train), ("t10k", test)):
        images = (np.arange(count * 784) % 256).astype(np.uint8)
        header = struct.pack(">4I", 0x803, count, 28, 28)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(header + images.tobytes())
        )
        chosen = (np.arange(labels or count) % 10).astype(np.uint8)
        header = struct.pack(">2I", 0x801, len(chosen))
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(header + chosen.tobytes())
        )


@pytest.fixture
def offline(monkeypatch):
    def refuse(urls, path, *, sha256):
        raise PopstreamError(f"{urls[0]}: no network")

    monkeypatch.setattr(datasets, "download", refuse)
    monkeypatch.setattr(cifar, "download", refuse)


def test_digits_split_is_stratified_and_whole():
    data = datasets.load("digits")
    assert data.train_images.shape == (1442, 8, 8)
    assert data.test_images.shape == (355, 8, 8)
    assert data.bits == 5
    assert data.train_images.max() == 16
    counts = np.bincount(data.train_labels), np.bincount(data.test_labels)
    assert (counts[1] == (counts[0] + counts[1]) // 5).all()
    whole = np.concatenate([data.train_images, data.test_images]).reshape(1797, 64)
    from sklearn.datasets import load_digits

    expected = load_digits().data.astype(np.uint8)
    assert sorted(map(bytes, whole)) == sorted(map(bytes, expected))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_reads_the_publishers_files(name, tmp_path, offline):
    write_set(tmp_path / name)
    data = datasets.load(name, tmp_path)
    assert data.train_images.shape == (6, 28, 28)
    assert data.test_images.shape == (4, 28, 28)
    assert data.train_images[0, 1, 2] == 30
    assert data.test_labels.tolist() == [0, 1, 2, 3]
    assert data.bits == 8
    assert len(data.classes) == 10


def test_test_set_is_read_alone(tmp_path, offline):
    write_set(tmp_path / "mnist")
    for split in FILES[:2]:
        (tmp_path / "mnist" / f"{split}-ubyte.gz").unlink()
    images, labels = datasets.load_test("mnist", tmp_path)
    assert images.shape == (4, 28, 28)
    assert labels.shape == (4,)
    assert len(datasets.load_test("digits")[1]) == 355


def test_missing_files_are_downloaded_by_name_and_digest(tmp_path, monkeypatch):
    asked = []

    def serve(urls, path, *, sha256):
        asked.append((urls[0].rsplit("/", 1)[1], path.name, len(sha256)))
        if not path.parent.exists():
            write_set(path.parent)

    monkeypatch.setattr(datasets, "download", serve)
    datasets.load("mnist", tmp_path)
    assert asked == [("train-images-idx3-ubyte.gz", "train-images-idx3-ubyte.gz", 64)]


@pytest.mark.parametrize(
    ("name", "file"), [("mnist", "train-images-idx3-ubyte.gz"), ("cifar10", "data_batch_1")]
)
def test_offline_without_files_is_one_line(name, file, tmp_path, offline):
    with pytest.raises(PopstreamError) as error:
        datasets.load(name, tmp_path)
    message = str(error.value)
    assert "\n" not in message
    for part in (file, str(datasets.folder(name, tmp_path)), "no network", "--data-dir"):
        assert part in message


def test_counts_must_agree(tmp_path, offline):
    write_set(tmp_path / "mnist", labels=5)
    with pytest.raises(PopstreamError, match=r"holds 6 images, but .* 5 labels"):
        datasets.load("mnist", tmp_path)


@pytest.mark.parametrize("function", [datasets.load, datasets.load_test])
def test_unknown_name(function):
    with pytest.raises(PopstreamError, match=r"unknown data set 'mnits'; known: .*'mnist'"):
        function("mnits")


def test_images_are_scaled_where_a_size_is_asked_for(tmp_path, offline):
    write_set(tmp_path / "mnist")
    plain = datasets.load("mnist", tmp_path)
    for side, rows in ((56, np.repeat(np.arange(28), 2)), (14, np.arange(0, 28, 2))):
        data = datasets.load(f"mnist@{side}", tmp_path)
        assert data.name == f"mnist@{side}"
        assert np.array_equal(data.train_images, plain.train_images[:, rows][:, :, rows])
        assert np.array_equal(data.test_images, plain.test_images[:, rows][:, :, rows])
        assert np.array_equal(data.test_labels, plain.test_labels)
        images, labels = datasets.load_test(f"mnist@{side}", tmp_path)
        assert np.array_equal(images, data.test_images)
        assert np.array_equal(labels, data.test_labels)


@pytest.mark.parametrize("side", ["", "0", "1025", "64x64", "-1"])
def test_sizes_images_cannot_be_scaled_to(side):
    with pytest.raises(PopstreamError, match=rf"mnist: images can be .* not '{side}'"):
        datasets.load(f"mnist@{side}")


def test_data_directory_prefers_the_caller_then_the_environment(monkeypatch):
    monkeypatch.setenv("POPSTREAM_DATA", "/from/environment")
    assert datasets.data_directory("/given") == Path("/given")
    assert datasets.data_directory() == Path("/from/environment")
    monkeypatch.delenv("POPSTREAM_DATA")
    assert datasets.data_directory().name == "popstream"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mnist", (60000, 28, 28)),
        ("fashion-mnist", (60000, 28, 28)),
        ("cifar10", (50000, 32, 32, 3)),
    ],
)
def test_real_files(name, shape, offline):
    if "POPSTREAM_DATA" not in os.environ or not datasets.folder(name).is_dir():
        pytest.skip(f"no {name} under POPSTREAM_DATA")
    data = datasets.load(name)
    assert data.train_images.shape == shape
    assert data.test_images.shape == (10000, *shape[1:])
    assert set(data.train_labels) == set(range(10))
    assert len(data.train_labels) == len(data.train_images)
    assert len(data.test_labels) == len(data.test_images)
