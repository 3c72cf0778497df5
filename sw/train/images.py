"""Batches of raw pixels for convolutional networks, moved and mirrored at random."""

import numpy as np
import torch
from torch import Tensor

from sw.datasets import Dataset

__all__ = ["Images", "image_shape"]


def image_shape(data: Dataset) -> tuple[int, int, int]:
    """(height, width, channels) of a data set's images; grey ones have one channel."""
    height, width, *channels = data.train_images.shape[1:]
    return (height, width, *(channels or [1]))


class Images:
    """Images on the device, cut into batches of whole pixels.

    Parameters
    ----------
    images : uint8 (n, height, width) or (n, height, width, channels)
    shift : int
        Each image of a batch is moved by up to this many pixels each way.
    flip : bool
        Mirror every other image of a batch, drawn at random.
    fill : int
        The pixels that come in by a shift.
    """

    part = 250  #: images to evaluate at a time

    def __init__(
        self,
        images: np.ndarray,
        *,
        shift: int = 0,
        flip: bool = False,
        fill: int = 0,
        device: str = "cpu",
    ) -> None:
        _, self.height, self.width, *channels = images.shape
        images = images.reshape(-1, self.height, self.width, *(channels or [1]))
        edge = ((0, 0), (shift, shift), (shift, shift), (0, 0))
        padded = np.pad(images, edge, constant_values=fill)
        self.pixels = torch.tensor(padded, device=device)  # (n, padded, padded, channels)
        self.shift = shift
        self.flip = flip

    def batch(self, rows: Tensor, *, still: bool = False) -> Tensor:
        """uint8 (rows, height, width, channels), as they are if `still`."""
        n = len(rows)
        top = left = torch.full((n, 1), self.shift)
        mirrored = torch.zeros((n, 1), dtype=torch.bool)
        if not still:
            if self.shift:
                top, left = torch.randint(2 * self.shift + 1, (2, n, 1)).unbind()
            if self.flip:
                mirrored = torch.rand(n, 1) < 0.5
        column = torch.arange(self.width)
        y = top + torch.arange(self.height)  # (n, height)
        x = left + torch.where(mirrored, self.width - 1 - column, column)  # (n, width)
        y, x = y.to(rows.device), x.to(rows.device)
        return self.pixels[rows[:, None, None], y[:, :, None], x[:, None, :]]
