"""The model file: a `.safetensors` whose header holds the graph and the card.

The metadata has one entry, `popstream`, a JSON object:

    format    1
    nodes     one object a node, in order: op, name, inputs, and the operation's own fields; an
              array field is {"bits": shape} or {"integers": shape} and its data is the tensor
              `<node>.<field>`; a field younger than the format is left out at its default
    classes   names
    card      see `Card`

Bits are stored as uint8, packed along the last axis in little-endian bit order, the rest of the
last byte 0. Integers are int32. `samples.inputs` (uint8, or int8 where the network's input is
signed) and `samples.labels` (uint8, or int32 where there are over 256 classes) are frames of the
test set, so that a build can run real input where no data set is; `samples.answers` (int32) is what
the network answers to them, so that a board can check itself where no golden model is. Nothing in
the file can run code; a reader checks all of it and says what is wrong where.
"""

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from sw.errors import PopstreamError
from sw.golden import predict
from sw.network import (
    Argmax,
    Binarise,
    Conv,
    Dense,
    Input,
    Network,
    Node,
    Pool,
    stored_fields,
)

__all__ = [
    "ArtefactError",
    "Card",
    "Model",
    "Samples",
    "load",
    "network_digest",
    "save",
    "write_file",
]

FORMAT = 1
LARGEST = 1 << 30  # bytes; over this a file is refused unread

OPERATIONS: dict[str, type[Node]] = {
    "input": Input,
    "binarise": Binarise,
    "dense": Dense,
    "conv": Conv,
    "pool": Pool,
    "argmax": Argmax,
}


class ArtefactError(PopstreamError):
    """A model file that cannot be read or written; the message says what is wrong where."""


@dataclass(frozen=True)
class Card:
    """Where a model comes from and how good it is.

    Parameters
    ----------
    name, dataset : str
    command : str
        The command that trained it.
    float_accuracy, integer_accuracy : float
        Of the float network and of the integer network, on the full test set, as fractions in 0..1.
    test_images : int
        How many images that test set has.
    notes : str
        Anything a user should know.
    """

    name: str
    dataset: str
    command: str
    float_accuracy: float
    integer_accuracy: float
    test_images: int
    notes: str = ""

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            kind = {str: str, float: (float, int), int: int}[item.type]
            if not isinstance(value, kind) or isinstance(value, bool):
                raise ArtefactError(
                    f"card: {item.name} must be {item.type.__name__}, not {value!r}"
                )
        for name in ("float_accuracy", "integer_accuracy"):
            if not 0 <= getattr(self, name) <= 1:
                raise ArtefactError(f"card: {name} must be in 0..1, not {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Samples:
    """Frames of the test set.

    Parameters
    ----------
    inputs : array of uint8 (int8 where the input is signed), (k, *shape)
    labels : array of uint8 (int32 where there are over 256 classes), (k,)
        What they show.
    answers : array of int32, (k, *shape of the network's output), or None
        What the network answers to them. None only until they are saved.
    """

    inputs: np.ndarray
    labels: np.ndarray
    answers: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Model:
    """A model file, read: network, card, samples, and the network's digest (hex sha256)."""

    network: Network
    card: Card
    samples: Samples
    digest: str


def _encode(network: Network) -> tuple[list[dict], dict[str, np.ndarray]]:
    names = {kind: name for name, kind in OPERATIONS.items()}
    nodes, tensors = [], {}
    for node in network.nodes:
        entry = {"op": names[type(node)], "name": node.name, "inputs": list(node.inputs)}
        for item in stored_fields(type(node)):
            value = getattr(node, item.name)
            if item.metadata.get("later") and value == item.default:
                continue
            stored = item.metadata.get("stored")
            if stored is None or value is None:
                entry[item.name] = list(value) if isinstance(value, tuple) else value
                continue
            entry[item.name] = {stored: list(value.shape)}
            tensors[f"{node.name}.{item.name}"] = (
                np.packbits(value, axis=-1, bitorder="little")
                if stored == "bits"
                else value.astype(np.int32)
            )
        nodes.append(entry)
    return nodes, tensors


def network_digest(network: Network) -> str:
    """The hex sha256 of the graph and its numbers; card, samples and layout do not enter."""
    nodes, tensors = _encode(network)
    header = {"format": FORMAT, "nodes": nodes, "classes": list(network.classes)}
    hasher = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        hasher.update(tensors[name].tobytes())
    return hasher.hexdigest()


def write_file(path: Path, data: bytes) -> None:
    """Write beside, then rename: `path` holds either what it held before or all of `data`."""
    path = Path(path)
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ArtefactError(f"cannot write {path}: {error.strerror}") from error


def save(path: str | Path, network: Network, card: Card, samples: Samples) -> str:
    """Write a model file; equal arguments give equal bytes. Returns the network's digest.

    The answers of the samples are computed here, whatever `samples` says they are.

    Raises
    ------
    ArtefactError
        When the samples do not fit the network, or the file cannot be written.
    """
    _check_samples(samples, network)
    nodes, tensors = _encode(network)
    tensors["samples.inputs"] = np.ascontiguousarray(samples.inputs)
    tensors["samples.labels"] = np.ascontiguousarray(samples.labels)
    tensors["samples.answers"] = _answers(network, samples.inputs)
    header = {
        "format": FORMAT,
        "nodes": nodes,
        "classes": list(network.classes),
        "card": asdict(card),
    }
    # One metadata entry only: safetensors does not keep the order of several.
    write_file(
        Path(path), to_bytes(tensors, metadata={"popstream": json.dumps(header, sort_keys=True)})
    )
    return network_digest(network)


def _answers(network: Network, inputs: np.ndarray) -> np.ndarray:
    """What the network answers: int32, (k, *shape of its output)."""
    shape = network.type(network.output).shape
    return predict(network, inputs).reshape(len(inputs), *shape).astype(np.int32)


def _frame_dtype(network: Network) -> np.dtype:
    return np.dtype(np.int8 if network.input.signed else np.uint8)


def _check_samples(samples: Samples, network: Network) -> None:
    inputs, labels = samples.inputs, samples.labels
    frame, dtype = network.type(network.input), _frame_dtype(network)
    if inputs.dtype != dtype or inputs.shape[1:] != frame.shape:
        raise ArtefactError(
            f"samples.inputs must be {dtype.name} (k, {', '.join(map(str, frame.shape))}), "
            f"not {inputs.dtype} {inputs.shape}"
        )
    wrong = inputs[(inputs < frame.low) | (inputs > frame.high)]
    if wrong.size:
        raise ArtefactError(
            f"samples.inputs must be in {frame.low}..{frame.high}, not {wrong.flat[0]}"
        )
    classes = len(network.classes)
    dtype = np.dtype(np.uint8 if classes <= 256 else np.int32)
    if labels.dtype != dtype or labels.shape != inputs.shape[:1]:
        raise ArtefactError(
            f"samples.labels must be {dtype.name} ({len(inputs)},), "
            f"not {labels.dtype} {labels.shape}"
        )
    wrong = labels[(labels < 0) | (labels >= classes)]
    if classes and wrong.size:
        raise ArtefactError(f"samples.labels must be in 0..{classes - 1}, not {wrong[0]}")


def _check_answers(samples: Samples, network: Network) -> None:
    answers, output = samples.answers, network.type(network.output)
    _expect(answers, "samples.answers", np.int32, [len(samples.inputs), *output.shape])
    wrong = answers[(answers < output.low) | (answers > output.high)]
    if wrong.size:
        raise ArtefactError(
            f"samples.answers must be in {output.low}..{output.high}, not {wrong[0]}"
        )


def _field(entry: dict, item, tensors: dict[str, np.ndarray]):
    """One field of a node out of its JSON value and, for an array, its tensor."""
    if item.name not in entry:
        if item.metadata.get("later"):
            return item.default
        raise ArtefactError(f"{entry['name']}: {item.name} is missing")
    value, stored = entry[item.name], item.metadata.get("stored")
    if stored is None or value is None:
        return tuple(value) if isinstance(value, list) else value
    match value:
        case {**shapes} if list(shapes) == [stored] and isinstance(shapes[stored], list):
            shape = shapes[stored]
        case _:
            raise ArtefactError(f"{entry['name']}: {item.name} must be {{{stored!r}: shape}}")
    if not all(type(size) is int and 0 < size <= 1 << 28 for size in shape):
        raise ArtefactError(f"{entry['name']}: {item.name} has the shape {shape}")
    key = f"{entry['name']}.{item.name}"
    if key not in tensors:
        raise ArtefactError(f"tensor {key} is missing")
    tensor = tensors.pop(key)
    if stored == "integers":
        _expect(tensor, key, np.int32, shape)
        return tensor
    if not shape:
        raise ArtefactError(f"{entry['name']}: {item.name} has no axis to pack along")
    _expect(tensor, key, np.uint8, [*shape[:-1], -(-shape[-1] // 8)])
    unpacked = np.unpackbits(tensor, axis=-1, bitorder="little")
    if unpacked[..., shape[-1] :].any():
        raise ArtefactError(f"tensor {key}: the padding bits behind {shape[-1]} must be 0")
    return unpacked[..., : shape[-1]]


def _expect(tensor: np.ndarray, key: str, dtype, shape: list[int]) -> None:
    if tensor.dtype != dtype or list(tensor.shape) != shape:
        raise ArtefactError(
            f"tensor {key} must be {np.dtype(dtype).name} {tuple(shape)}, "
            f"not {tensor.dtype} {tensor.shape}"
        )


def _decode(header: dict, tensors: dict[str, np.ndarray]) -> Network:
    nodes = []
    for entry in header["nodes"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ArtefactError("every node must be an object with a name")
        operation = entry.get("op")
        kind = OPERATIONS.get(operation) if isinstance(operation, str) else None
        if kind is None:
            raise ArtefactError(
                f"{entry['name']}: unknown operation {operation!r}; "
                f"this version knows {', '.join(OPERATIONS)}"
            )
        items = stored_fields(kind)
        extra = set(entry) - {"op", "name", "inputs", *(item.name for item in items)}
        if extra:
            raise ArtefactError(f"{entry['name']}: unknown field {sorted(extra)[0]!r}")
        inputs = entry.get("inputs")
        if not isinstance(inputs, list) or not all(isinstance(name, str) for name in inputs):
            raise ArtefactError(f"{entry['name']}: inputs must be a list of names")
        values = {item.name: _field(entry, item, tensors) for item in items}
        nodes.append(kind(entry["name"], tuple(inputs), **values))
    return Network(tuple(nodes), tuple(header["classes"]))


def _header(text: str | None) -> dict:
    if text is None:
        raise ArtefactError("not a Popstream model: the metadata has no 'popstream' entry")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        version = header.get("format") if isinstance(header, dict) else None
        raise ArtefactError(
            f"the file has format {version!r}, this version of Popstream reads format {FORMAT}; "
            f"train again, or use the version that wrote it"
        )
    for key, kind in (("nodes", list), ("classes", list), ("card", dict)):
        if not isinstance(header.get(key), kind):
            raise ArtefactError(f"the header's {key!r} must be a {kind.__name__}")
    return header


def load(path: str | Path) -> Model:
    """Read and check a model file.

    Answers that an older file does not have are computed.

    Raises
    ------
    ArtefactError
        When the file is missing, truncated, not a model, of another version, or wrong in any part.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ArtefactError("is a folder, not a model file")
        if path.stat().st_size > LARGEST:
            raise ArtefactError(f"over {LARGEST} bytes")
        with safe_open(path, framework="numpy") as file:
            header = _header((file.metadata() or {}).get("popstream"))
            tensors = {key: file.get_tensor(key) for key in list(file.keys())}
        for key in ("samples.inputs", "samples.labels"):
            if key not in tensors:
                raise ArtefactError(f"tensor {key} is missing")
        samples = Samples(
            tensors.pop("samples.inputs"),
            tensors.pop("samples.labels"),
            tensors.pop("samples.answers", None),
        )
        network = _decode(header, tensors)
        if tensors:
            raise ArtefactError(f"tensor {sorted(tensors)[0]} belongs to no node")
        _check_samples(samples, network)
        if samples.answers is not None:
            _check_answers(samples, network)
        else:
            samples = replace(samples, answers=_answers(network, samples.inputs))
        try:
            card = Card(**header["card"])
        except TypeError as error:
            raise ArtefactError(f"card: {str(error).removeprefix('Card.__init__() ')}") from error
    except FileNotFoundError as error:
        raise ArtefactError(f"there is no model file {path}") from error
    except OSError as error:
        raise ArtefactError(f"cannot read {path}: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ArtefactError(f"{path}: not a readable safetensors file ({error})") from error
    except PopstreamError as error:
        raise ArtefactError(f"{path}: {error}") from error
    return Model(network, card, samples, network_digest(network))
