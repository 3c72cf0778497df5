import numpy as np
import torch

from sw.datasets import Dataset
from sw.train.images import Images, image_shape


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
