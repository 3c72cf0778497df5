"""Images cut into the batches that networks take, moved and mirrored at random."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from sw.datasets import Dataset
from sw.datasets.imagenet import Pictures

__all__ = ["Batches", "Files", "Images", "Pixels", "image_shape"]


def image_shape(data: Dataset) -> tuple[int, int, int]:
    """(height, width, channels) of a data set's images; grey ones have one channel."""
    height, width, *channels = data.train_images.shape[1:]
    return (height, width, *(channels or [1]))


class Batches(ABC):
    """Images on the device, or on their way there. What is random comes from torch's generator.

    Members
    -------
    part : int
        How many images to evaluate at a time.
    """

    part: int

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def batch(self, rows: Tensor, *, still: bool = False) -> Tensor:
        """The images of some rows, moved unless `still`."""

    def batches(self, parts: Iterable[Tensor], *, still: bool = False) -> Iterator[Tensor]:
        """A batch for each of these rows."""
        return (self.batch(rows, still=still) for rows in parts)


class Pixels(Batches):
    """Images on the device, cut into batches of ±1 bits.

    Parameters
    ----------
    images : uint8 (n, height, width)
    threshold : int or int (height, width)
        A pixel's bit is +1 where pixel >= threshold.
    shift : int
        Each image of a batch is moved by up to this many pixels each way; what comes in is 0.
    """

    part = 1000

    def __init__(self, images: np.ndarray, threshold, *, shift: int, device: str) -> None:
        _, height, width = images.shape
        edge = ((0, 0), (shift, shift), (shift, shift))
        padded = np.pad(images, edge).reshape(len(images), -1)
        self.pixels = torch.tensor(padded, device=device)  # (n, padded)
        full = np.broadcast_to(np.asarray(threshold, dtype=np.int16), (height, width))
        self.threshold = torch.tensor(full.reshape(-1), device=device)  # (height * width,)
        self.padded_width = width + 2 * shift
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        self.window = (rows * self.padded_width + columns).flatten().to(device)
        self.shift = shift

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: Tensor, *, still: bool = False) -> Tensor:
        """Bits (rows, height * width) of some images, shifted at random unless `still`."""
        x = self.pixels[rows.to(self.pixels.device)]  # (rows, padded)
        if self.shift:
            span = 2 * self.shift + 1
            if still:
                moves = torch.full((len(rows), 1), self.shift * (self.padded_width + 1))
            else:
                moves = torch.randint(span * span, (len(rows), 1))
                moves = moves // span * self.padded_width + moves % span
            x = x.gather(1, self.window + moves.to(x.device))  # (rows, height * width)
        return torch.where(x >= self.threshold, 1.0, -1.0)


class Images(Batches):
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

    part = 250

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
        self.pixels = torch.from_numpy(padded).to(device)  # (n, padded, padded, channels)
        self.shift = shift
        self.flip = flip

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(self, rows: Tensor, *, still: bool = False) -> Tensor:
        """uint8 (rows, height, width, channels), as they are if `still`."""
        n, device = len(rows), self.pixels.device
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
        rows, y, x = (index.to(device) for index in (rows, y, x))
        return self.pixels[rows[:, None, None], y[:, :, None], x[:, None, :]]


class Files(Batches):
    """Pictures that are read from their files, a batch while the one before is computed.

    Parameters
    ----------
    pictures : Pictures
    shift : int
        If not 0, images are cut out anywhere in their pictures.
    flip : bool
        Mirror every other image of a batch, drawn at random.
    """

    part = 250

    def __init__(
        self, pictures: Pictures, *, shift: int = 0, flip: bool = False, device: str = "cpu"
    ) -> None:
        self.pictures = pictures
        self.shift = shift
        self.flip = flip
        self.device = device

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, rows: Tensor, *, still: bool = False) -> Tensor:
        """uint8 (rows, height, width, channels), from the pictures' centres if `still`."""
        return next(self.batches([rows], still=still))

    def batches(self, parts: Iterable[Tensor], *, still: bool = False) -> Iterator[Tensor]:
        with ThreadPoolExecutor(1) as ahead:
            coming = None
            for rows in parts:
                here, coming = (
                    coming,
                    ahead.submit(self.pictures.read, rows.numpy(), self._at(rows, still)),
                )
                if here:
                    yield torch.from_numpy(here.result()).to(self.device)
            if coming:
                yield torch.from_numpy(coming.result()).to(self.device)

    def _at(self, rows: Tensor, still: bool) -> np.ndarray:
        """Where in its picture each image is cut out, and whether it is mirrored."""
        at = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).repeat(len(rows), 1)
        drawn = torch.rand(at.shape, dtype=torch.float64)
        if self.shift and not still:
            at[:, :2] = drawn[:, :2]
        if self.flip and not still:
            at[:, 2] = drawn[:, 2]
        return at.numpy()
