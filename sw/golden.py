"""Integer reference inference: what every other form of the network is compared with.

Bits are packed 64 to a word, and M = n*L - popcount(x xor w), bit plane by bit plane. Exact,
without a floating-point number anywhere. Much work goes to a compiled kernel where numba is
installed (`pip install 'popstream[speed]'`); it counts the same.
"""

import importlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Conv, Dense, Layer, Network, Node, Pool, Type
from sw.packed import Limits, Weights, Windows, pack, pack_planes, unpack

__all__ = ["Bits", "PreparedLayer", "have_kernel", "matches", "predict", "trace"]

_CHUNK = 512  # frames at a time, at most
_ELEMENTS = 1 << 22  # of the largest value of a chunk, so that the working set stays small
_WORTH = 1 << 28  # words to count that are worth a second of importing numba


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
    return weights.shape[1] - Weights(pack(weights)).differing(_rows(pack(x)[None]), False)


@dataclass(frozen=True, eq=False)
class Bits:
    """Packed signs: words (frames, *shape but the last, ceil(last / 64)), and the last of shape."""

    words: np.ndarray
    last: int

    def unpacked(self) -> np.ndarray:
        return unpack(self.words, self.last)


def _rows(words: np.ndarray) -> Windows:
    """Each row of planes (planes, rows, words) as a window."""
    _, rows, width = words.shape
    return Windows(words, np.arange(rows) * width, np.arange(width))


def _windows(x: np.ndarray, size: tuple[int, int], stride: tuple[int, int]) -> np.ndarray:
    """Windows of images (frames, height, width, n): (frames, oh, ow, n, *size)."""
    return sliding_window_view(x, size, axis=(1, 2))[:, :: stride[0], :: stride[1]]


def _padded(node: Conv, x: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """Images (..., height, width, n) with their padding, which holds `fill` (..., n)."""
    top, bottom, left, right = node.padding
    *frames, height, width, n = x.shape
    padded = np.empty((*frames, height + top + bottom, width + left + right, n), x.dtype)
    padded[...] = fill
    padded[..., top : top + height, left : left + width, :] = x
    return padded


class PreparedLayer:
    """A layer made ready to be computed.

    Its input is taken as windows of words. An image's pixels are packed one by one where their
    channels fill a word; else windows are cut out first, and then packed whole.
    """

    def __init__(self, node: Layer, taken: Type):
        self.node, self.taken = node, taken
        self.most = node.synapses * (taken.high - taken.low)
        self.by_pixel = isinstance(node, Conv) and node.channels >= 64
        packed = pack(node.weights if self.by_pixel else node.matrix)
        self.weights = Weights(packed.reshape(node.neurons, -1))
        self.shape = node.infer(taken).shape
        #: words to count, a frame
        self.work = int(np.prod(self.shape)) * self.weights.words.shape[1] * taken.width
        self._make_places()
        self._make_thresholds()
        self._known = 0, None  # see `_of_frames`

    def _make_thresholds(self) -> None:
        """Thresholds as (classes, neurons, levels), and the class of each output position."""
        node = self.node
        self.classes = np.zeros(self.shape[:-1], np.int64)
        if not node.levels:
            return
        thresholds = node.thresholds if node.levels > 1 else node.thresholds[..., None]
        if thresholds.ndim > 2:
            rows, columns = node.classes(*self.taken.shape[:2])
            self.classes = rows[:, None] * thresholds.shape[1] + columns
        self.thresholds = thresholds.reshape(-1, *thresholds.shape[-2:])
        if node.levels == 1:
            self.limits = Limits(self.most - self.thresholds[..., 0])

    def _make_places(self) -> None:
        """Of a padded image of words, where windows begin and where their words are from there."""
        self.starts, self.size = np.zeros(1, np.int64), 0
        if not self.by_pixel:
            return
        node, (height, width, _) = self.node, self.taken.shape
        top, bottom, left, right = node.padding
        shape = (height + top + bottom, width + left + right, -(-node.channels // 64))
        self.size = int(np.prod(shape))
        place = np.arange(self.size).reshape(1, *shape)
        at = _windows(place, node.kernel, node.stride).transpose(0, 1, 2, 4, 5, 3)[0]
        self.starts, self.taps = at[..., 0, 0, 0].ravel(), at[0, 0].ravel()
        self.fills = pack_planes(self._fill(), self.taken.width)

    def _fill(self) -> np.ndarray:
        """u of the padding, (channels,)."""
        fill = self.node.fill - self.taken.low
        return np.broadcast_to(fill, self.node.channels).astype(np.uint8)

    def _elements(self, x) -> np.ndarray:
        """u in 0..2^k-1, uint8."""
        if isinstance(x, Bits):
            return x.unpacked()
        return (x.astype(np.int16) - self.taken.low).astype(np.uint8)

    def windows(self, x) -> Windows:
        """What each neuron sees, packed."""
        node, bits, frames = self.node, self.taken.width, len(_array(x))
        if isinstance(node, Dense):
            if isinstance(x, Bits) and (x.words.ndim == 2 or x.last % 64 == 0):
                return _rows(x.words.reshape(1, frames, -1))
            return _rows(pack_planes(self._elements(x).reshape(frames, -1), bits))
        if not self.by_pixel:
            u = _padded(node, self._elements(x), self._fill())
            cut = _windows(u, node.kernel, node.stride).transpose(0, 1, 2, 4, 5, 3)
            return _rows(pack_planes(cut.reshape(-1, node.synapses), bits))
        planes = x.words[None] if isinstance(x, Bits) else pack_planes(self._elements(x), bits)
        if any(node.padding):
            planes = _padded(node, planes, self.fills[:, None, None, None])
        return Windows(planes, self._of_frames(frames)[0], self.taps)

    def _of_frames(self, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the windows of so many frames start, and their classes; the last answer is kept."""
        known, answer = self._known
        if known != frames:
            starts = self.starts + np.arange(frames)[:, None] * self.size
            answer = starts.ravel(), np.tile(self.classes.ravel(), frames)
            self._known = frames, answer
        return answer

    def __call__(self, x, compiled: bool):
        """The layer's value of packed signs or of integers: `Bits`, or an array of integers."""
        windows = self.windows(x)
        frames = len(_array(x))
        if self.node.levels == 1:
            classes = self._of_frames(frames)[1]
            bits = self.weights.at_most(windows, self.limits, classes, compiled)
            return Bits(bits.reshape(frames, *self.shape[:-1], -1), self.shape[-1])
        m = self.most - self.weights.differing(windows, compiled).reshape(frames, *self.shape)
        if not self.node.levels:
            return m
        level = np.zeros(m.shape, np.uint8)
        for thresholds in np.moveaxis(self.thresholds, -1, 0):
            level += m >= thresholds[self.classes]
        return level


def _array(x) -> np.ndarray:
    return x.words if isinstance(x, Bits) else x


def have_kernel() -> bool:
    """Whether the compiled kernel can be had; it is loaded then."""
    try:
        importlib.import_module("sw.kernel")
    except (ImportError, RuntimeError):  # no numba, one for another numpy, or nowhere to cache
        return False
    return True


class _Inference:
    """A network made ready: its weights packed, the form of the kernel chosen."""

    def __init__(self, network: Network, frames: int):
        self.network = network
        self.layers = {
            node.name: PreparedLayer(node, network.type(node.inputs[0]))
            for node in network.of(Layer)
        }
        work = frames * sum(layer.work for layer in self.layers.values())
        self.compiled = work >= _WORTH and have_kernel()

    def step(self, node: Node, x):
        match node:
            case Layer():
                return self.layers[node.name](x, self.compiled)
            case Binarise():
                return Bits(pack(x >= node.thresholds), x.shape[-1])
            case Pool() if isinstance(x, Bits):
                windows = _windows(x.words, node.size, node.stride)
                return Bits(np.bitwise_or.reduce(windows, axis=(4, 5)), x.last)
            case Pool():
                return _windows(x, node.size, node.stride).max(axis=(4, 5))
            case Argmax():
                return np.argmax(x, axis=1)[:, None]  # the first of equals
        raise NotImplementedError(f"{node.name}: the golden model has no {type(node).__name__}")

    def values(self, inputs: np.ndarray) -> dict:
        values = {self.network.input.name: inputs}
        for node in self.network.nodes[1:]:
            values[node.name] = self.step(node, values[node.inputs[0]])
        return values

    def output(self, inputs: np.ndarray) -> np.ndarray:
        value = self.values(inputs)[self.network.output.name]
        return value.unpacked() if isinstance(value, Bits) else value


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
    inputs = _checked(network, inputs)
    values = _Inference(network, len(inputs)).values(inputs)
    return {
        name: value.unpacked() if isinstance(value, Bits) else value
        for name, value in values.items()
    }


def predict(
    network: Network,
    inputs: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """The network's output for every frame: int64, (frames,) if an index, else (frames, *shape).

    Parameters
    ----------
    inputs : array of int, (frames, *shape)
    progress : callable, optional
        Called with the frames done and the frames in all.
    threads : int, optional
        As many as there are processors, unless said otherwise.
    """
    inputs = _checked(network, inputs)
    inference = _Inference(network, len(inputs))
    largest = max(network.type(node).elements for node in network.nodes)
    chunk = max(1, min(_CHUNK, _ELEMENTS // largest))
    slices = [inputs[start : start + chunk] for start in range(0, len(inputs), chunk)]
    parts, done = [], 0
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for part in (pool.map if len(slices) > 1 else map)(inference.output, slices):
            parts.append(part)
            done += len(part)
            if progress:
                progress(done, len(inputs))
    shape = network.type(network.output).shape
    result = np.concatenate(parts) if parts else np.zeros((0, *shape))
    return result.astype(np.int64).reshape(len(inputs), *(() if shape == (1,) else shape))
