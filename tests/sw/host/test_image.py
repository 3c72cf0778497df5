"""sw.host.image: pictures as frames."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sw import zoo
from sw.errors import MissingTool, PopstreamError
from sw.host.image import load_frames, white_of
from sw.host.model import Samples, load


@pytest.fixture
def mnist():
    return load(zoo.path("mnist-tfc"))


@pytest.fixture
def digits(tiny):
    return load(tiny)


def png(path, pixels, mode=None):
    Image.fromarray(pixels, mode).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "pgm", "tif"])
def test_pixels_of_eight_bits_stay_as_they_are(mnist, tmp_path, suffix):
    frame = mnist.samples.inputs[3]
    path = png(tmp_path / f"x.{suffix}", frame)
    found = load_frames(path, mnist)
    assert found.dtype == np.uint8 and np.array_equal(found, frame[None])
    assert np.array_equal(load_frames(path, mnist, invert=True), 255 - frame[None])


def test_every_value_survives(mnist, tmp_path):
    frame = (np.arange(784) % 256).astype(np.uint8).reshape(28, 28)
    assert np.array_equal(load_frames(png(tmp_path / "x.png", frame), mnist)[0], frame)


def test_colours_become_grey(mnist, tmp_path):
    """By Rec. 601, as Pillow has it."""
    pixels = np.zeros((28, 28, 3), np.uint8)
    pixels[..., 1] = 200
    found = load_frames(png(tmp_path / "x.png", pixels), mnist)
    assert (found == round(0.587 * 200)).all()


def test_transparent_is_white(mnist, tmp_path):
    pixels = np.zeros((28, 28, 4), np.uint8)
    pixels[5, 5, 3] = 255
    found = load_frames(png(tmp_path / "x.png", pixels), mnist)[0]
    assert found[5, 5] == 0 and found.sum() == 255 * 783


def test_three_channels(mnist, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = png(tmp_path / "x.png", pixels)
    assert np.array_equal(load_frames(path, replace(mnist, shape=(4, 6, 3)))[0], pixels)
    assert load_frames(path, replace(mnist, shape=(4, 6, 1))).shape == (1, 4, 6, 1)


def test_wide_pictures_are_not_turned(mnist, tmp_path):
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)
    wide = replace(mnist, shape=(4, 6))
    assert np.array_equal(load_frames(png(tmp_path / "x.png", pixels), wide)[0], pixels)


# White of fewer bits


def test_white_is_what_the_samples_say(digits, mnist):
    assert digits.bits == 5
    assert white_of(digits) == 16
    assert white_of(mnist) == 255
    none = Samples(np.zeros((0, 8, 8), np.uint8), np.zeros(0, np.uint8), None)
    assert white_of(replace(digits, samples=none)) == 31
    dark = Samples(np.full((1, 28, 28), 9, np.uint8), np.zeros(1, np.uint8), None)
    assert white_of(replace(mnist, samples=dark)) == 255


@pytest.mark.parametrize(("white", "top"), [(None, 16), (31, 31), (1, 1)])
def test_values_are_scaled_to_the_nearest(digits, tmp_path, white, top):
    pixels = np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8)
    pixels[7, 7] = 255
    found = load_frames(png(tmp_path / "x.png", pixels), digits, white=white)[0]
    assert np.array_equal(found, np.floor(pixels / 255 * top + 0.5))
    assert found.max() == top


def test_sample_comes_back(digits, tmp_path):
    """A frame drawn as a picture, its white as white, is the same frame again."""
    frame = digits.samples.inputs[0]
    path = png(tmp_path / "x.png", np.rint(frame / 16 * 255).astype(np.uint8))
    assert np.array_equal(load_frames(path, digits)[0], frame)


@pytest.mark.parametrize("white", [0, 32])
def test_white_must_fit(digits, tmp_path, white):
    path = png(tmp_path / "x.png", np.zeros((8, 8), np.uint8))
    with pytest.raises(PopstreamError, match=rf"--white must be in 1\.\.31 .*, not {white}"):
        load_frames(path, digits, white=white)


# Sizes


def test_another_size_names_both_and_the_remedy(mnist, tmp_path):
    path = png(tmp_path / "x.png", np.zeros((20, 30), np.uint8))
    message = r"x\.png has 30 x 20 pixels, mnist-tfc takes 28 x 28: .* --resize"
    with pytest.raises(PopstreamError, match=message):
        load_frames(path, mnist)


def test_resized(digits, tmp_path):
    pixels = np.zeros((32, 64), np.uint8)
    pixels[:, 32:] = 255
    found = load_frames(png(tmp_path / "x.png", pixels), digits, resize=True)[0]
    assert found.shape == (8, 8) and (found[:, :3] == 0).all() and (found[:, 5:] == 16).all()


def test_frames_that_are_no_pictures(mnist, tmp_path):
    path = png(tmp_path / "x.png", np.zeros((28, 28), np.uint8))
    for shape in ((784,), (14, 14, 4), (2, 2, 14, 14)):
        with pytest.raises(PopstreamError, match=r"which are no pictures: give it an \.npy file"):
            load_frames(path, replace(mnist, shape=shape))


# Arrays


def test_arrays_are_taken_as_they_are(digits, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, digits.samples.inputs)
    assert np.array_equal(load_frames(path, digits), digits.samples.inputs)
    np.save(path, digits.samples.inputs[0].astype(np.int64))
    found = load_frames(path, digits)
    assert found.dtype == np.int64 and np.array_equal(found, digits.samples.inputs[:1])


@pytest.mark.parametrize("options", [{"resize": True}, {"invert": True}, {"white": 3}])
def test_arrays_are_not_changed(digits, tmp_path, options):
    np.save(tmp_path / "x.npy", digits.samples.inputs)
    with pytest.raises(PopstreamError, match="is taken as it is, without --resize, --invert or"):
        load_frames(tmp_path / "x.npy", digits, **options)


def test_wrong_arrays(digits, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((3, 64), np.uint8))
    with pytest.raises(PopstreamError, match=r"array of \(3, 64\), digits-tiny takes .* \(8, 8\)"):
        load_frames(path, digits)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(PopstreamError, match=r"x\.npy is no \.npy file: Object arrays cannot"):
        load_frames(path, digits)
    for text in (b"", b"hello"):
        path.write_bytes(text)
        with pytest.raises(PopstreamError, match=r"x\.npy is no \.npy file"):
            load_frames(path, digits)
    np.savez(tmp_path / "y.npz", digits.samples.inputs)
    (tmp_path / "y.npz").rename(path)
    with pytest.raises(PopstreamError, match="holds several arrays"):
        load_frames(path, digits)
    with pytest.raises(PopstreamError, match=r"cannot read .*none\.npy: No such file"):
        load_frames(tmp_path / "none.npy", digits)


# Unreadable pictures


def test_missing_and_damaged_pictures(mnist, tmp_path):
    with pytest.raises(PopstreamError, match=r"there is no picture .*none\.png"):
        load_frames(tmp_path / "none.png", mnist)
    with pytest.raises(PopstreamError, match=r"cannot read the picture "):
        load_frames(tmp_path, mnist)
    path = png(tmp_path / "x.png", mnist.samples.inputs[0])
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for length in (0, 4, 8, 40, len(data) // 2):
        path.write_bytes(data[:length])
        with pytest.raises(PopstreamError, match=r"cannot read the picture .*x\.png: ."):
            load_frames(path, mnist)
    for at in rng.integers(0, len(data), 100):
        damaged = bytearray(data)
        damaged[at] ^= 255
        path.write_bytes(damaged)
        try:
            assert load_frames(path, mnist).shape == (1, 28, 28)
        except PopstreamError:
            refused += 1
    assert refused > 50


def test_deeper_pictures_are_for_the_user_to_cut(mnist, tmp_path):
    path = png(tmp_path / "x.png", np.zeros((28, 28), np.uint16))
    with pytest.raises(PopstreamError, match="has more than 8 bits a channel"):
        load_frames(path, mnist)


def test_missing_pillow_names_the_remedy(mnist, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingTool, match=r"cannot read .*x\.png; pip install pillow"):
        load_frames(tmp_path / "x.png", mnist)
