"""Integer reference inference: what every other form of the network is compared with.

Bits are packed 64 to a word, and m = n - popcount(x xor w). Exact, without a floating-point number
anywhere.
"""

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Conv, Dense, Input, Layer, Network, Pool

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


def _planes(u: np.ndarray, weights: np.ndarray, bits: int) -> np.ndarray:
    """M of elements u of so many bits: the matches of each bit plane, weighed."""
    return sum(matches(u >> bit & 1, weights) << bit for bit in range(bits))


def _windows(u: np.ndarray, size: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """Windows of images (frames, height, width, channels): (frames, oh, ow, channels, *size)."""
    return sliding_window_view(u, size, axis=(1, 2))[:, :: stride[0], :: stride[1]]


def _conv(node: Conv, u: np.ndarray, low: int, bits: int) -> np.ndarray:
    """M at each output position, (frames, oh, ow, filters)."""
    top, bottom, left, right = node.padding
    frames, height, width, channels = u.shape
    padded = np.empty((frames, height + top + bottom, width + left + right, channels), u.dtype)
    padded[...] = node.fill - low
    padded[:, top : top + height, left : left + width] = u
    windows = _windows(padded, node.kernel, node.stride).transpose(0, 1, 2, 4, 5, 3)
    m = _planes(windows.reshape(-1, node.synapses), node.matrix, bits)
    return m.reshape(*windows.shape[:3], node.filters)


def _activate(node: Layer, m: np.ndarray, thresholds: np.ndarray | None) -> np.ndarray:
    """Scores, bits or levels; `thresholds` as broadcasts to m, levels behind."""
    if node.levels == 0:
        return m
    if node.levels == 1:
        return (m >= thresholds).astype(np.uint8)
    return sum((m >= thresholds[..., level]).astype(np.uint8) for level in range(node.levels))


def _step(network: Network, node, values: dict[str, np.ndarray]) -> np.ndarray:
    x = values[node.inputs[0]]
    match node:
        case Binarise():
            return (x >= node.thresholds).astype(np.uint8)
        case Dense() | Conv():
            taken = network.type(node.inputs[0])
            u = (x.astype(np.int16) - taken.low).astype(np.uint8)
            if isinstance(node, Dense):
                m = _planes(u.reshape(len(x), -1), node.weights, taken.width)
                return _activate(node, m, node.thresholds)
            m = _conv(node, u, taken.low, taken.width)
            thresholds = node.thresholds
            if thresholds is not None and thresholds.ndim > 2:
                rows, columns = node.classes(*taken.shape[:2])
                thresholds = thresholds[rows][:, columns]
            return _activate(node, m, thresholds)
        case Pool():
            return _windows(x, node.size, node.stride).max(axis=(4, 5))
        case Argmax():
            return np.argmax(x, axis=1)[:, None]  # the first of equals
    raise NotImplementedError(f"{node.name}: the golden model has no {type(node).__name__}")


def _checked(network: Network, inputs: np.ndarray) -> np.ndarray:
    inputs, frame = np.asarray(inputs), network.type(network.input)
    if inputs.shape[1:] != frame.shape:
        raise PopstreamError(f"frames must have shape {frame.shape}, not {inputs.shape[1:]}")
    if not np.issubdtype(inputs.dtype, np.integer):
        raise PopstreamError(f"frames must be integers, not {inputs.dtype}")
    if inputs.size and (inputs.min() < frame.low or inputs.max() > frame.high):
        worst = inputs.min() if inputs.min() < frame.low else inputs.max()
        raise PopstreamError(f"frames must hold {frame.low}..{frame.high}, not {worst}")
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
