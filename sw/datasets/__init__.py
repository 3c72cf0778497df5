"""Data sets as plain arrays: ``digits`` (embedded in scikit-learn), ``mnist``, ``fashion-mnist``,
``cifar10``.

All but the first are read from the publishers' own files, DIR/mnist/train-images-idx3-ubyte.gz,
DIR/cifar-10-batches-py/data_batch_1 and so on. DIR is the caller's choice, else the environment
variable POPSTREAM_DATA, else the user's cache folder; files that are missing there are downloaded.
What is too large for arrays is in `sw.datasets.imagenet`.

Behind a name may stand a size, ``cifar10@64``: the same images, scaled to 64 pixels a side.

Sources: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998;
Y. LeCun, C. Cortes, C. Burges, "The MNIST database"; H. Xiao, K. Rasul, R. Vollgraf,
"Fashion-MNIST", 2017; `sw.datasets.cifar` names its own.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sw.datasets import cifar
from sw.datasets.download import download
from sw.datasets.idx import read_idx
from sw.errors import MissingTool, PopstreamError, unknown

__all__ = ["Dataset", "data_directory", "folder", "load", "load_test", "names", "parse"]

_DIGITS = tuple("0123456789")
_CIFAR = "cifar10"
_LARGEST_SIDE = 1024


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification data set, split as its publisher splits it.

    Members
    -------
    name : str
    train_images, test_images : uint8 (images, height, width) or (images, height, width, channels)
        Pixels, 0..2**bits - 1, raster order.
    train_labels, test_labels : uint8 (images,)
        Index into ``classes``.
    bits : int
        Bits of a pixel: 5 of digits (0..16), 8 of the others.
    classes : tuple of str
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    bits: int
    classes: tuple[str, ...]


@dataclass(frozen=True)
class _Published:
    """Four IDX files of 28x28 images: where they are published, and the digests they must have."""

    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    classes: tuple[str, ...]


_PUBLISHED = {
    "mnist": _Published(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        sha256={
            "train-images-idx3-ubyte.gz": (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
            ),
            "train-labels-idx1-ubyte.gz": (
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
            ),
        },
        classes=_DIGITS,
    ),
    "fashion-mnist": _Published(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        sha256={
            "train-images-idx3-ubyte.gz": (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
            ),
            "train-labels-idx1-ubyte.gz": (
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
            "t10k-images-idx3-ubyte.gz": (
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            "t10k-labels-idx1-ubyte.gz": (
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
            ),
        },
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
}


def names() -> tuple[str, ...]:
    """Every name ``load`` takes."""
    return ("digits", *_PUBLISHED, _CIFAR)


def load(name: str, data_dir: Path | str | None = None) -> Dataset:
    """The data set of this name, downloaded first where its files are missing.

    Parameters
    ----------
    name : str
        One of ``names()``; with ``@64`` behind it, scaled to 64 pixels a side.
    data_dir : Path or str, optional
        The folder of all data sets; see ``data_directory``. Not used by ``digits``.

    Raises
    ------
    PopstreamError
        The name is unknown; a file is missing and cannot be downloaded, or is not sound.
    """
    name, side = parse(name)
    if side:
        data = load(name, data_dir)
        return replace(
            data,
            name=f"{name}@{side}",
            train_images=_scaled(data.train_images, side),
            test_images=_scaled(data.test_images, side),
        )
    if name == "digits":
        return _load_digits()
    train_images, train_labels = _read_split(name, "train", data_dir)
    test_images, test_labels = _read_split(name, "t10k", data_dir)
    classes = cifar.CLASSES if name == _CIFAR else _PUBLISHED[name].classes
    return Dataset(name, train_images, train_labels, test_images, test_labels, 8, classes)


def load_test(name: str, data_dir: Path | str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the test set alone, shaped as in ``Dataset``; raises as ``load``."""
    name, side = parse(name)
    if side:
        images, labels = load_test(name, data_dir)
        return _scaled(images, side), labels
    if name == "digits":
        digits = _load_digits()
        return digits.test_images, digits.test_labels
    return _read_split(name, "t10k", data_dir)


def data_directory(data_dir: Path | str | None = None) -> Path:
    """The folder of all data sets: ``data_dir``, else POPSTREAM_DATA, else in the user's cache."""
    chosen = data_dir or os.environ.get("POPSTREAM_DATA")
    if chosen:
        return Path(chosen).expanduser()
    try:
        import platformdirs
    except ImportError as error:
        raise MissingTool(
            "no data directory: give --data-dir or POPSTREAM_DATA, or pip install 'popstream[data]'"
        ) from error
    return platformdirs.user_cache_path("popstream")


def folder(name: str, data_dir: Path | str | None = None) -> Path:
    """Where the files of a published data set are, or will be."""
    return data_directory(data_dir) / (cifar.FOLDER if name == _CIFAR else name)


def parse(name: str, known: Sequence[str] = ()) -> tuple[str, int | None]:
    """A data set's own name, and the side its images are scaled to if one is asked for.

    Parameters
    ----------
    name : str
    known : sequence of str
        The names there are, if others than ``names()``.

    Raises
    ------
    PopstreamError
        The name is unknown, or what follows it is no size.
    """
    name, at, side = name.partition("@")
    known = known or names()
    if name not in known:
        raise unknown("data set", name, known)
    if not at:
        return name, None
    if not side.isdecimal() or not 1 <= int(side) <= _LARGEST_SIDE:
        raise PopstreamError(
            f"{name}: images can be scaled to 1..{_LARGEST_SIDE} pixels a side, not {side!r}"
        )
    return name, int(side)


def _scaled(images: np.ndarray, side: int) -> np.ndarray:
    """Each pixel of side x side is the one of the image that lies there."""
    rows, columns = (np.arange(side) * size // side for size in images.shape[1:3])
    return images[:, rows][:, :, columns]


def _read_split(
    name: str, split: str, data_dir: Path | str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of the ``train`` or ``t10k`` files."""
    place = folder(name, data_dir)
    if name == _CIFAR:
        files = cifar.TRAIN if split == "train" else cifar.TEST
        for file in files:
            _obtain(name, place / file, cifar.obtain, place)
        images, labels = zip(*(cifar.read_batch(place / file) for file in files), strict=True)
        return np.concatenate(images), np.concatenate(labels)
    published = _PUBLISHED[name]
    images_path = place / f"{split}-images-idx3-ubyte.gz"
    labels_path = place / f"{split}-labels-idx1-ubyte.gz"
    for path in (images_path, labels_path):
        urls = [mirror + path.name for mirror in published.mirrors]
        _obtain(name, path, download, urls, path, sha256=published.sha256[path.name])
    images = read_idx(images_path, item_shape=(28, 28))
    labels = read_idx(labels_path, item_shape=(), largest=len(published.classes) - 1)
    if len(images) != len(labels):
        raise PopstreamError(
            f"{images_path} holds {len(images)} images, but {labels_path.name} {len(labels)} labels"
        )
    return images, labels


def _obtain(name: str, path: Path, get: Callable, *arguments, **options) -> None:
    """Calls ``get`` unless the published file is there already."""
    if path.exists():
        return
    try:
        get(*arguments, **options)
    except PopstreamError as error:
        raise PopstreamError(
            f"data set {name!r}: {path.name} is not in {path.parent} and cannot be downloaded "
            f"({error}); put the publisher's file there, or name another data directory by "
            "--data-dir or POPSTREAM_DATA"
        ) from error


def _load_digits() -> Dataset:
    """scikit-learn's 1,797 digits of 8x8 pixels, 0..16.

    They come without a split. Here every fifth image of each class is a test image, in the order
    of the file: 1,442 to train and 355 to test, classes in proportion; writers are not separated.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingTool(
            "data set 'digits' is embedded in scikit-learn: pip install 'popstream[data]'"
        ) from error
    bunch = load_digits()
    images = bunch.images.astype(np.uint8)
    labels = bunch.target.astype(np.uint8)
    is_test = np.zeros(len(labels), bool)
    for label in range(10):
        is_test[np.flatnonzero(labels == label)[4::5]] = True
    return Dataset(
        name="digits",
        train_images=images[~is_test],
        train_labels=labels[~is_test],
        test_images=images[is_test],
        test_labels=labels[is_test],
        bits=5,
        classes=_DIGITS,
    )
