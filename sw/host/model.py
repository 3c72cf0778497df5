"""Reads a model file with nothing but numpy, as far as whoever drives a board needs it.

The container is safetensors (https://github.com/huggingface/safetensors, "Format"): the header's
length in 8 bytes, the header as JSON, the tensors without a gap. `sw.artefact` describes what ours
hold, and checks the network in them; here only its digest is computed, and a network that is not
the one in the fabric is known by that.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sw.errors import PopstreamError

__all__ = ["Model", "Samples", "load"]

FORMAT = 1
LARGEST = 1 << 30  # bytes; over this a file is refused unread
_DTYPES = {"U8": np.dtype("<u1"), "I8": np.dtype("<i1"), "I32": np.dtype("<i4")}
_STORED = {"bits": "U8", "integers": "I32"}
_SAMPLES = ("samples.inputs", "samples.labels", "samples.answers")


@dataclass(frozen=True, eq=False)
class Samples:
    """Frames of the test set.

    Attributes
    ----------
    inputs : array of uint8 (int8 where they are signed), (k, *shape)
    labels : array of uint8 (int32 where there are over 256 classes), (k,)
        What they show.
    answers : array of int32, (k, numbers), or None
        What the network answers to them; None in a file of an early version.
    """

    inputs: np.ndarray
    labels: np.ndarray
    answers: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Model:
    """What a model file says of its network.

    Attributes
    ----------
    name : str
    classes : tuple of str
        Empty where an output is no class.
    shape : tuple of int
        Of a frame: of a picture (height, width) or (height, width, channels).
    bits : int
        Of a frame's element: 1..8.
    signed : bool
        Whether elements are -2**(bits-1)..2**(bits-1)-1, else 0..2**bits-1.
    thresholds : array of int32 of this shape or (), or None
        Where the network begins by making a bit of each element: 1 where it reaches its threshold.
    samples : Samples
    card : dict
        Where the model comes from and how good it is; see `sw.artefact.Card`.
    digest : str
        Of the network, as `sw.artefact.network_digest` has it: 64 hexadecimal digits.
    """

    name: str
    classes: tuple
    shape: tuple
    bits: int
    signed: bool
    thresholds: np.ndarray | None
    samples: Samples
    card: dict
    digest: str

    @property
    def elements(self) -> int:
        """How many integers a frame has."""
        return math.prod(self.shape)

    @property
    def low(self) -> int:
        """The least that an element of a frame can be."""
        return _range(self.bits, self.signed)[0]

    @property
    def high(self) -> int:
        """The greatest that an element of a frame can be."""
        return _range(self.bits, self.signed)[1]


def _range(bits: int, signed: bool) -> tuple:
    low = -(1 << (bits - 1)) if signed else 0
    return low, low + (1 << bits) - 1


def load(path) -> Model:
    """Reads a model file.

    Raises
    ------
    PopstreamError
        The file is missing, truncated, no model, of another version, or damaged.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise PopstreamError("is a folder, not a model file")
        if path.stat().st_size > LARGEST:
            raise PopstreamError(f"over {LARGEST} bytes")
        return _model(*_container(path.read_bytes()))
    except FileNotFoundError as error:
        raise PopstreamError(f"there is no model file {path}") from error
    except OSError as error:
        raise PopstreamError(f"cannot read {path}: {error.strerror or error}") from error
    except PopstreamError as error:
        raise PopstreamError(f"{path}: {error}") from error


# The container


def _json(text: str, what: str):
    """JSON as the standard has it, which is less than what Python's reader takes."""

    def constant(name):
        raise ValueError(f"{name} is no number")

    try:
        return json.loads(text, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise PopstreamError(f"{what} is not JSON: {error}") from error


def _container(data: bytes) -> tuple:
    """The `popstream` entry of a safetensors file's metadata, and its tensors by name."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise PopstreamError(f"not a readable safetensors file (cut off after {len(data)} bytes)")
    try:
        text = data[8 : 8 + length].decode("utf-8")
        header = _json(text, "its header")
        # Lone surrogates, which only an escape can make.
        json.dumps(header, ensure_ascii=False).encode("utf-8")
        if not text.startswith("{"):
            raise PopstreamError("its header is no object")
        metadata = header.pop("__metadata__", {})
        strings = isinstance(metadata, dict) and all(type(v) is str for v in metadata.values())
        if not strings:
            raise PopstreamError("its metadata are not strings")
        tensors = _tensors(header, memoryview(data)[8 + length :])
    except UnicodeError as error:
        raise PopstreamError(f"not a readable safetensors file ({error.reason})") from error
    except PopstreamError as error:
        raise PopstreamError(f"not a readable safetensors file ({error})") from error
    return metadata.get("popstream"), tensors


def _tensors(header: dict, data: memoryview) -> dict:
    """Views of the data, which they cover one after the other."""
    entries = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or not _naturals(entry.get("shape")):
            raise PopstreamError(f"tensor {name} has no shape")
        offsets = entry.get("data_offsets")
        if not _naturals(offsets) or len(offsets) != 2:
            raise PopstreamError(f"tensor {name} has no place")
        dtype = entry.get("dtype")
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            raise PopstreamError(f"tensor {name} is of type {dtype!r}, not U8, I8 or I32")
        entries.append((*offsets, name, tuple(entry["shape"]), _DTYPES[dtype]))
    tensors, end = {}, 0
    for begin, finish, name, shape, dtype in sorted(entries, key=lambda entry: entry[:2]):
        size = math.prod(shape) * dtype.itemsize
        if begin != end or finish != begin + size or finish > len(data):
            raise PopstreamError(
                f"tensor {name} of {size} bytes lies at {begin}..{finish} of {len(data)} bytes, "
                f"behind others that end at {end}"
            )
        tensors[name], end = _array(data[begin:finish], dtype, shape), finish
    if end != len(data):
        raise PopstreamError(f"the tensors end at {end} of {len(data)} bytes")
    return tensors


def _array(data: memoryview, dtype: np.dtype, shape: tuple) -> np.ndarray:
    try:
        return np.frombuffer(data, dtype).reshape(shape)
    except (ValueError, OverflowError) as error:  # more axes than numpy has, or too long ones
        raise PopstreamError(f"no array has the shape {shape}: {error}") from error


def _naturals(value) -> bool:
    return isinstance(value, list) and all(type(each) is int and each >= 0 for each in value)


# What is in it


def _model(text, tensors: dict) -> Model:
    header = _header(text)
    samples = {name: tensors.pop(name, None) for name in _SAMPLES}
    digest = _digest(header, tensors)
    node = header["nodes"][0]
    shape, bits, signed = node.get("shape"), node.get("bits"), node.get("signed", False)
    if node.get("op") != "input" or not _naturals(shape) or not shape or 0 in shape:
        raise PopstreamError("the first node must be an input with a shape")
    if type(bits) is not int or not 1 <= bits <= 8:
        raise PopstreamError(f"{node['name']}: bits must be in 1..8, not {bits!r}")
    if type(signed) is not bool:
        raise PopstreamError(f"{node['name']}: signed must be true or false, not {signed!r}")
    low, high = _range(bits, signed)
    classes = header["classes"]
    if not all(isinstance(name, str) for name in classes):
        raise PopstreamError("class names must be strings")
    name = header["card"].get("name")
    if not isinstance(name, str):
        raise PopstreamError(f"card: name must be str, not {name!r}")
    return Model(
        name=name,
        classes=tuple(classes),
        shape=tuple(shape),
        bits=bits,
        signed=signed,
        thresholds=_thresholds(header["nodes"], tensors, tuple(shape), low, high),
        samples=_samples(samples, tuple(shape), low, high, len(classes)),
        card=header["card"],
        digest=digest,
    )


def _header(text) -> dict:
    if text is None:
        raise PopstreamError("not a Popstream model: the metadata has no 'popstream' entry")
    header = _json(text, "the header")
    version = header.get("format") if isinstance(header, dict) else None
    if type(version) is not int or version != FORMAT:
        raise PopstreamError(
            f"the file has format {version!r}, this version of Popstream reads format {FORMAT}"
        )
    for key, kind in (("nodes", list), ("classes", list), ("card", dict)):
        if not isinstance(header.get(key), kind):
            raise PopstreamError(f"the header's {key!r} must be a {kind.__name__}")
    if not header["nodes"]:
        raise PopstreamError("a network's first node must be its input")
    for node in header["nodes"]:
        if not isinstance(node, dict) or not isinstance(node.get("name"), str):
            raise PopstreamError("every node must be an object with a name")
    return header


def _digest(header: dict, tensors: dict) -> str:
    """The network's digest; every tensor must be the field of a node that says so."""
    owned = set()
    for node in header["nodes"]:
        for name, value in node.items():
            if isinstance(value, dict):
                owned.add(_field(node["name"], name, value, tensors))
    if set(tensors) != owned:
        raise PopstreamError(f"tensor {min(set(tensors) - owned)} belongs to no node")
    content = {key: header[key] for key in ("format", "nodes", "classes")}
    hasher = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for key in sorted(tensors):
        hasher.update(tensors[key].tobytes())
    return hasher.hexdigest()


def _field(node: str, name: str, value: dict, tensors: dict) -> str:
    """The name of the tensor that a node's array field has, which is as the node says."""
    key = f"{node}.{name}"
    stored, shape = next(iter(value.items()), (None, None))
    known = len(value) == 1 and stored in _STORED and _naturals(shape)
    if not known or (stored == "bits" and not shape):
        raise PopstreamError(f"{node}: {name} must be {{'bits' or 'integers': shape}}")
    if key not in tensors:
        raise PopstreamError(f"tensor {key} is missing")
    if stored == "bits":
        shape = [*shape[:-1], -(-shape[-1] // 8)]
    _expect(tensors[key], key, _STORED[stored], tuple(shape))
    return key


def _expect(tensor: np.ndarray, key: str, dtype: str, shape: tuple) -> None:
    if tensor.dtype != _DTYPES[dtype] or tensor.shape != shape:
        raise PopstreamError(
            f"tensor {key} must be {_DTYPES[dtype].name} {shape}, not {tensor.dtype} {tensor.shape}"
        )


def _thresholds(nodes: list, tensors: dict, shape: tuple, low: int, high: int):
    """Of the node that makes bits of the input, where there is one."""
    for node in nodes[1:]:
        if node.get("op") == "binarise" and node.get("inputs") == [nodes[0]["name"]]:
            key = f"{node['name']}.thresholds"
            thresholds = tensors.get(key)
            if thresholds is None:
                raise PopstreamError(f"tensor {key} is missing")
            _expect(thresholds, key, "I32", shape if thresholds.ndim else ())
            _in_range(thresholds, low, high + 1, key)
            return thresholds
    return None


def _samples(found: dict, shape: tuple, low: int, high: int, classes: int) -> Samples:
    for key in ("samples.inputs", "samples.labels"):
        if found[key] is None:
            raise PopstreamError(f"tensor {key} is missing")
    inputs, labels, answers = (found[key] for key in _SAMPLES)
    count = inputs.shape[:1]
    _expect(inputs, "samples.inputs", "I8" if low < 0 else "U8", count + shape)
    _expect(labels, "samples.labels", "U8" if classes <= 256 else "I32", count)
    _in_range(inputs, low, high, "samples.inputs")
    if classes:
        _in_range(labels, 0, classes - 1, "samples.labels")
    if answers is not None:
        _expect(answers, "samples.answers", "I32", count + (answers.shape[1:2] or (1,)))
        # An index is one number; scores are not bounded by what is read here.
        if classes and answers.shape[1:] == (1,):
            _in_range(answers, 0, classes - 1, "samples.answers")
    return Samples(inputs, labels, answers)


def _in_range(array: np.ndarray, low: int, high: int, key: str) -> None:
    """Raises unless all are in low..high."""
    wrong = array[(array < low) | (array > high)]
    if wrong.size:
        raise PopstreamError(f"tensor {key} must be in {low}..{high}, not {wrong.flat[0]}")
