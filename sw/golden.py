"""Integer reference inference: what every other form of the network is compared with.

Bits are packed 64 to a word, and m = n - popcount(x xor w). Exact, without a floating-point number
anywhere.
"""

from collections.abc import Callable

import numpy as np

from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Dense, Input, Network

__all__ = ["matches", "predict", "trace"]

_CHUNK = 512  # frames at a time, so that the working set stays in the cache


def _words(bits: np.ndarray) -> np.ndarray:
    """Pack (rows, n) of 0 and 1 into (rows, ceil(n / 64)) words, the rest filled with 0."""
    packed = np.packbits(bits, axis=1, bitorder="little")
    padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)


def matches(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Match counts popcount(xnor(x, w)).

    Parameters
    ----------
    x : array of 0 and 1, (frames, synapses)
    weights : array of 0 and 1, (neurons, synapses)

    Returns
    -------
    int32, (frames, neurons), in 0..synapses
    """
    x_words, weight_words = _words(x), _words(weights)
    differing = np.zeros((len(x), len(weights)), dtype=np.int32)
    for word in range(x_words.shape[1]):
        differing += np.bitwise_count(x_words[:, word, None] ^ weight_words[None, :, word])
    return weights.shape[1] - differing


def _step(network: Network, node, values: dict[str, np.ndarray]) -> np.ndarray:
    x = values[node.inputs[0]]
    match node:
        case Binarise():
            return (x >= node.thresholds).astype(np.uint8)
        case Dense():
            m = matches(x.reshape(len(x), -1), node.weights)
            return m if node.thresholds is None else (m >= node.thresholds).astype(np.uint8)
        case Argmax():
            return np.argmax(x, axis=1)[:, None]  # the first of equals
    raise NotImplementedError(f"{node.name}: the golden model has no {type(node).__name__}")


def _checked(network: Network, inputs: np.ndarray) -> np.ndarray:
    inputs, node = np.asarray(inputs), network.input
    if inputs.shape[1:] != node.shape:
        raise PopstreamError(f"frames must have shape {node.shape}, not {inputs.shape[1:]}")
    if not np.issubdtype(inputs.dtype, np.integer):
        raise PopstreamError(f"frames must be integers, not {inputs.dtype}")
    if inputs.size and (inputs.min() < 0 or inputs.max() >= 1 << node.bits):
        worst = inputs.min() if inputs.min() < 0 else inputs.max()
        raise PopstreamError(f"frames must hold 0..{(1 << node.bits) - 1}, not {worst}")
    return inputs


def trace(network: Network, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Every node's value for every frame.

    Parameters
    ----------
    inputs : array of int, (frames, *shape)

    Returns
    -------
    dict from a node's name to an array (frames, *shape of its type); signs as 0 and 1
    """
    values = {network.input.name: _checked(network, inputs)}
    for node in network.nodes:
        if not isinstance(node, Input):
            values[node.name] = _step(network, node, values)
    return values


def predict(
    network: Network, inputs: np.ndarray, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """The network's output for every frame: int64, (frames,) if an index, else (frames, *shape)."""
    inputs = _checked(network, inputs)
    parts = []
    for start in range(0, len(inputs), _CHUNK):
        part = trace(network, inputs[start : start + _CHUNK])[network.output.name]
        parts.append(part)
        if progress:
            progress(start + len(part), len(inputs))
    shape = network.type(network.output).shape
    result = np.concatenate(parts) if parts else np.zeros((0, *shape))
    return result.astype(np.int64).reshape(len(inputs), *(() if shape == (1,) else shape))
