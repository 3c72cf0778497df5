import sys

import numpy as np
import pytest
from PIL import Image

from sw.datasets.imagenet import Pictures, load
from sw.errors import MissingTool, PopstreamError


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def gradient(height, width):
    """Red grows downward, green to the right."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    train = tmp_path / "imagenet" / "train"
    for number in range(3):
        write(train / "n02" / f"b_{number}.JPEG", np.full((30, 40, 3), 60 * number, np.uint8))
    write(train / "n01" / "a.JPEG", np.full((50, 20), 200, np.uint8))  # grey
    (train / "n01" / "readme.txt").write_text("no picture")
    (train / "list.txt").write_text("no class")
    write(tmp_path / "imagenet" / "val" / "n01" / "wide.png", gradient(100, 140))
    return tmp_path


def test_layout(folder):
    pictures = Pictures("train", folder, side=8, shorter=10)
    assert pictures.classes == ("n01", "n02")
    assert [file.name for file in pictures.files] == ["a.JPEG", "b_0.JPEG", "b_1.JPEG", "b_2.JPEG"]
    assert pictures.labels.tolist() == [0, 1, 1, 1] and len(pictures) == 4


def test_batches_in_order(folder):
    batches = list(Pictures("train", folder, side=8, shorter=10).batches(3))
    assert [images.shape for images, _ in batches] == [(3, 8, 8, 3), (1, 8, 8, 3)]
    assert [labels.tolist() for _, labels in batches] == [[0, 1, 1], [1]]
    images = np.concatenate([images for images, _ in batches])
    assert images.dtype == np.uint8
    assert np.abs(images.mean(axis=(1, 2, 3)) - [200, 0, 60, 120]).max() < 2


def test_as_an_array(folder):
    pictures = Pictures("train", folder, side=8, shorter=10)
    ((images, _),) = pictures.batches(4)
    assert pictures.shape == images.shape
    assert np.array_equal(pictures[1:3], images[1:3])
    assert np.array_equal(pictures.read(np.array([3, 0])), images[[3, 0]])


def test_as_a_data_set(folder):
    with pytest.raises(PopstreamError, match="only one of train and val has a class 'n02'"):
        load("imagenet@8", folder)
    write(folder / "imagenet" / "val" / "n02" / "a.png", gradient(30, 30))
    data = load("imagenet@8", folder)
    assert data.train_images.shape == (4, 8, 8, 3)
    assert data.test_labels.tolist() == [0, 1]
    assert data.classes == ("n01", "n02")
    assert np.array_equal(data.test_images[1:2], Pictures("val", folder, side=8, shorter=9)[1:2])
    assert load("imagenet", folder).test_images.shape == (2, 227, 227, 3)


def test_centre(folder):
    ((images, _),) = Pictures("val", folder, side=50, shorter=100).batches(1)
    assert np.abs(images[0, 0, 0].astype(int) - [25, 45, 0]).max() <= 1
    assert np.array_equal(images[0], gradient(100, 140)[25:75, 45:95])


def test_shorter_side_is_scaled(folder):
    ((images, _),) = Pictures("val", folder, side=50, shorter=50).batches(1)
    red, green = images[0, :, :, 0].astype(int), images[0, :, :, 1].astype(int)
    assert np.abs(red[:, 0] - np.arange(0.5, 100, 2)).max() <= 1
    assert np.abs(green[0] - np.arange(20.5, 120, 2)).max() <= 1


def test_training_sees_all_pictures_from_anywhere(folder):
    pictures = Pictures("val", folder, side=50, shorter=100)
    corners, mirrored = set(), set()
    for seed in range(40):
        ((images, _),) = pictures.batches(4, np.random.default_rng(seed))
        (image,) = images.astype(int)
        rises = image[0, -1, 1] > image[0, 0, 1]
        mirrored.add(bool(rises))
        left = image[0, 0 if rises else -1, 1]
        corners.add((int(image[0, 0, 0]), int(left)))
        whole = gradient(100, 140)[image[0, 0, 0] :, left:][:50, :50]
        assert np.array_equal(images[0], whole if rises else whole[:, ::-1])
    assert mirrored == {True, False} and len(corners) > 30
    tops, lefts = zip(*corners, strict=True)
    assert min(tops) < 10 and max(tops) > 40 and max(tops) <= 50
    assert min(lefts) < 15 and max(lefts) > 75 and max(lefts) <= 90


def test_random_order_keeps_labels(folder):
    pictures = Pictures("train", folder, side=8, shorter=8)
    orders = set()
    for seed in range(8):
        ((images, labels),) = pictures.batches(4, np.random.default_rng(seed))
        level = np.rint(images.mean(axis=(1, 2, 3)) / 20).astype(int).tolist()
        assert [0 if each == 10 else 1 for each in level] == labels.tolist()
        assert sorted(level) == [0, 3, 6, 10]
        orders.add(tuple(level))
    assert len(orders) > 3


def test_what_is_missing_is_named(folder, monkeypatch):
    with pytest.raises(PopstreamError, match=r"no folder .*nowhere/imagenet/train: .*val/<class>"):
        Pictures("train", folder / "nowhere")
    with pytest.raises(ValueError, match="split must be 'train' or 'val', not 'test'"):
        Pictures("test", folder)
    with pytest.raises(ValueError, match=r"side must be in 1\.\.shorter \(9\), not 10"):
        Pictures("train", folder, side=10, shorter=9)
    (folder / "imagenet" / "train" / "n03").mkdir()
    with pytest.raises(PopstreamError, match=r"n03 holds no pictures \(\.jpeg, \.jpg, \.png\)"):
        Pictures("train", folder)
    (folder / "empty" / "imagenet" / "val").mkdir(parents=True)
    with pytest.raises(PopstreamError, match="val holds no folders of classes"):
        Pictures("val", folder / "empty")
    pictures = Pictures("val", folder)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingTool, match=r"Pillow not found: pip install"):
        next(pictures.batches(1))


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0 broken", b"text"])
def test_broken_picture_is_named(folder, content):
    (folder / "imagenet" / "val" / "n01" / "broken.jpg").write_bytes(content)
    with pytest.raises(PopstreamError, match=r"cannot decode .*broken\.jpg: "):
        list(Pictures("val", folder, side=8, shorter=8).batches(9))


def test_cut_off_picture_is_named(folder):
    path = folder / "imagenet" / "train" / "n02" / "b_1.JPEG"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(PopstreamError, match=r"cannot decode .*b_1\.JPEG: "):
        list(Pictures("train", folder, side=8, shorter=8).batches(9))
