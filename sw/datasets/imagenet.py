"""ImageNet's folder layout: DIR/imagenet/train/<class>/<any name>.JPEG, and val beside train.

Too large for arrays: pictures are decoded when their batch is asked for. Any pictures in this
layout will do, of any size and any number of classes.

Source: O. Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015; crops as
A. Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", 2012.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from sw.datasets import Dataset, data_directory, parse
from sw.errors import MissingTool, PopstreamError

__all__ = ["FOLDER", "Pictures", "load"]

FOLDER = "imagenet"
_SIDE, _SHORTER = 227, 256  # AlexNet's
_SUFFIXES = (".jpeg", ".jpg", ".png")


def load(name: str = FOLDER, data_dir: Path | str | None = None) -> Dataset:
    """Both splits, with `Pictures` for arrays; the test set is ``val``.

    Parameters
    ----------
    name : str
        ``imagenet``, of 227 pixels a side, or ``imagenet@64``.

    Raises
    ------
    PopstreamError
        As `Pictures`; or ``val`` has other classes than ``train``.
    """
    _, side = parse(name, (FOLDER,))
    side = side or _SIDE
    train, test = (
        Pictures(split, data_dir, side=side, shorter=round(side * _SHORTER / _SIDE))
        for split in ("train", "val")
    )
    if test.classes != train.classes:
        only = sorted(set(test.classes) ^ set(train.classes))
        raise PopstreamError(f"{FOLDER}: only one of train and val has a class {only[0]!r}")
    return Dataset(name, train, train.labels, test, test.labels, 8, train.classes)


class Pictures:
    """One split of a folder of pictures.

    Parameters
    ----------
    split : str
        ``train`` or ``val``.
    data_dir : Path or str, optional
        The folder of all data sets; see `sw.datasets.data_directory`.
    side : int
        Pixels of the square that is cut out.
    shorter : int
        What a picture's shorter side is scaled to first, at least ``side``.

    Members
    -------
    classes : tuple of str
        Names of the class folders, sorted.
    files : tuple of Path
        The pictures, class by class, sorted.
    labels : int64 (pictures,)
        Index into ``classes``.

    Raises
    ------
    PopstreamError
        There is no such folder, or a class without pictures.
    """

    def __init__(
        self,
        split: str,
        data_dir: Path | str | None = None,
        *,
        side: int = _SIDE,
        shorter: int = _SHORTER,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', not {split!r}")
        if not 1 <= side <= shorter:
            raise ValueError(f"side must be in 1..shorter ({shorter}), not {side}")
        self._side, self._shorter = side, shorter
        folder = data_directory(data_dir) / FOLDER / split
        if not folder.is_dir():
            raise PopstreamError(
                f"there is no folder {folder}: ImageNet is not downloaded here; put its pictures "
                f"into {FOLDER}/train/<class> and {FOLDER}/val/<class> of the data directory"
            )
        found = {
            place.name: sorted(file for file in place.iterdir() if file.suffix.lower() in _SUFFIXES)
            for place in sorted(folder.iterdir())
            if place.is_dir()
        }
        if not found:
            raise PopstreamError(f"{folder} holds no folders of classes")
        for name, files in found.items():
            if not files:
                raise PopstreamError(f"{folder / name} holds no pictures ({', '.join(_SUFFIXES)})")
        self.classes = tuple(found)
        self.files = tuple(file for files in found.values() for file in files)
        self.labels = np.repeat(np.arange(len(found)), [len(files) for files in found.values()])

    def __len__(self) -> int:
        return len(self.files)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of an array of all of them."""
        return (len(self), self._side, self._side, 3)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Images uint8 of consecutive pictures, cut from their centre."""
        return self.read(np.arange(len(self))[rows])

    def batches(
        self, size: int, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images uint8 (n, side, side, 3) and labels int64 (n,), all pictures once.

        Parameters
        ----------
        size : int
            Images of a batch; the last may be smaller.
        rng : Generator, optional
            For training: pictures in random order, cut out anywhere, half of them mirrored.
            Without, in order and from the centre.

        Raises as ``read``.
        """
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        at = None if rng is None else rng.random((len(self), 3))
        for start in range(0, len(order), size):
            some = order[start : start + size]
            yield self.read(some, None if at is None else at[some]), self.labels[some]

    def read(self, rows: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """Images uint8 (n, side, side, 3) of some pictures.

        Parameters
        ----------
        rows : int (n,)
            Which; indices into ``files``.
        at : float (n, 3), in 0 <= x < 1, optional
            Where in the room that it has the square is cut out, from left and from top; and
            mirrored if the third is at least 0.5. Without, from the centre, as it is.

        Raises
        ------
        MissingTool
            Pillow is not installed.
        PopstreamError
            A file cannot be decoded.
        """
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingTool("Pillow not found: pip install 'popstream[data]'") from error
        if at is None:
            at = np.full((len(rows), 3), (0.5, 0.5, 0.0))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.stack(list(pool.map(partial(self._decode, Image), rows, at)))

    def _decode(self, pillow: ModuleType, index: int, at: np.ndarray) -> np.ndarray:
        """A picture's square, uint8 (side, side, 3)."""
        file, side = self.files[index], self._side
        try:
            with pillow.open(file) as picture:
                scale = self._shorter / min(picture.size)
                scaled = [max(self._shorter, round(length * scale)) for length in picture.size]
                picture = picture.convert("RGB").resize(scaled, pillow.Resampling.BILINEAR)
        except Exception as error:  # a damaged file makes Pillow raise whatever its reader ran into
            raise PopstreamError(f"cannot decode {file}: {error}") from error
        left, top = (
            int(share * (length - side + 1)) for share, length in zip(at[:2], scaled, strict=True)
        )
        image = np.asarray(picture)[top : top + side, left : left + side]
        return image[:, ::-1] if at[2] >= 0.5 else image
