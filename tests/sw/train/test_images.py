import numpy as np
import pytest
import torch

from sw.datasets import Dataset
from sw.train.images import Files, Images, image_shape


def numbered(n=2, height=4, width=5, channels=3):
    """Images in which every element says where it is."""
    return np.arange(n * height * width * channels, dtype=np.uint8).reshape(
        n, height, width, channels
    )


def test_still_images_are_as_they_are():
    images = numbered()
    rows = torch.tensor([1, 0, 1])
    for options in ({}, {"shift": 2, "flip": True}):
        x = Images(images, **options).batch(rows, still=True)
        assert (x.numpy() == images[[1, 0, 1]]).all()


class Read:
    """Stands for pictures: each image holds its row, and what was asked of it is kept."""

    def __init__(self):
        self.at = []

    def read(self, rows, at):
        self.at.append(at)
        return np.tile(rows.astype(np.uint8)[:, None, None, None], (1, 2, 2, 3))


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        ({}, []),
        ({"flip": True}, [2]),
        ({"shift": 1}, [0, 1]),
        ({"flip": True, "shift": 1}, [0, 1, 2]),
    ],
)
def test_pictures_are_cut_out_anywhere_and_mirrored_as_asked(options, drawn):
    pictures = Read()
    files = Files(pictures, **options)
    parts = torch.arange(50).split(20)
    torch.manual_seed(1)
    seen = [x[:, 0, 0, 0].tolist() for x in files.batches(parts)]
    assert seen == [part.tolist() for part in parts]
    moved = np.concatenate(pictures.at)
    for place in range(3):
        if place in drawn:
            assert len(set(moved[:, place])) == 50
            assert 0 <= moved[:, place].min() < 0.2 and 0.8 < moved[:, place].max() < 1
        else:
            assert (moved[:, place] == (0.5, 0.5, 0)[place]).all()
    assert files.batch(parts[2], still=True)[:, 1, 1, 2].tolist() == parts[2].tolist()
    assert (pictures.at[-1] == (0.5, 0.5, 0)).all()


def test_grey_images_get_a_channel():
    images = numbered(channels=1)[..., 0]
    x = Images(images).batch(torch.tensor([1]))
    assert (x.numpy() == images[1:, :, :, None]).all()
    data = Dataset("grey", images, None, images, None, 8, ())
    assert image_shape(data) == (4, 5, 1)


def test_every_shift_and_mirror_happens_and_no_other():
    image = numbered(1)
    pixels = Images(image, shift=1, flip=True, fill=128)
    torch.manual_seed(1)
    seen = {x.numpy().tobytes() for x in pixels.batch(torch.zeros(2000, dtype=torch.long))}
    padded = np.pad(image[0], ((1, 1), (1, 1), (0, 0)), constant_values=128)
    moved = [padded[y : y + 4, x : x + 5] for y in range(3) for x in range(3)]
    assert seen == {each.tobytes() for cut in moved for each in (cut, cut[:, ::-1])}


def test_mirrors_alone():
    images = numbered()
    pixels = Images(images, flip=True)
    torch.manual_seed(1)
    x = pixels.batch(torch.zeros(100, dtype=torch.long)).numpy()
    mirrored = (x == images[0, :, ::-1]).all(axis=(1, 2, 3))
    assert 30 < mirrored.sum() < 70
    assert (x[~mirrored] == images[0]).all()
