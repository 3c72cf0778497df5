"""Reader for CIFAR-10's "python version": six pickles, cifar-10-batches-py/data_batch_1 and so on.

A pickle can run code when it is loaded, so none is: `pickletools` lists the operations of one
without doing any of them, and the labels and pixels stand among them. Only the publisher's own
files are read, known by their digests.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
https://www.cs.toronto.edu/~kriz/cifar.html, "Dataset layout".
"""

import hashlib
import pickletools
import tarfile
import zlib
from pathlib import Path

import numpy as np

from sw.datasets.download import download
from sw.errors import PopstreamError

__all__ = ["CLASSES", "FOLDER", "TEST", "TRAIN", "obtain", "read_batch"]

FOLDER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = ("test_batch",)
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

ARCHIVE = "cifar-10-python.tar.gz"
MIRRORS = (
    f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",
    f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{ARCHIVE}",
)
SHA256 = {
    ARCHIVE: "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
    "data_batch_2": "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
    "data_batch_3": "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
    "data_batch_4": "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
    "data_batch_5": "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
    "test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
}


def obtain(folder: Path) -> None:
    """Download the archive and unpack its six batches, of which any that lie in `folder` stay.

    Raises
    ------
    PopstreamError
        No mirror served the archive, or the folder cannot be written.
    """
    archive = folder / ARCHIVE
    download(MIRRORS, archive, sha256=SHA256[ARCHIVE])
    try:
        with tarfile.open(archive, "r:gz") as file:
            for name in (*TRAIN, *TEST):
                if not (folder / name).exists():
                    partial = folder / f".{name}"
                    partial.write_bytes(file.extractfile(f"{FOLDER}/{name}").read())
                    partial.replace(folder / name)
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise PopstreamError(f"cannot unpack {archive}: {error}") from error
    finally:
        archive.unlink()


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 32, 32, 3) and labels uint8 (n,) of a batch of the publisher's.

    Raises
    ------
    PopstreamError
        The file cannot be read, or is another than the publisher's of this name.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PopstreamError(f"cannot read {path}: {error.strerror}") from error
    found, expected = hashlib.sha256(data).hexdigest(), SHA256[path.name]
    if found != expected:
        raise PopstreamError(
            f"cannot use {path}: SHA-256 is {found[:12]}..., not {expected[:12]}...; "
            "delete it to have it downloaded again"
        )
    # A dictionary: b"labels", a list of numbers; b"data", an array whose bytes are one long string;
    # names of files, which are short strings, as keys are.
    labels, pixels, key = [], b"", None
    for operation, value, _ in pickletools.genops(data):
        match operation.name:
            case "SHORT_BINSTRING":
                key = value
            case "BININT1" if key == "labels":
                labels.append(value)
            case "BINSTRING":
                pixels = value.encode("latin-1")
    # A row is the image's red plane, then green, then blue.
    planes = np.frombuffer(pixels, np.uint8).reshape(len(labels), 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.array(labels, np.uint8)
