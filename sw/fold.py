"""From trained layers to the integer network: batch normalisation becomes integer thresholds.

The float network computes, for the sum a of a neuron's weights times its inputs,

    y = gamma * (alpha * a - mean) / sqrt(variance + epsilon) + beta

in float64 and in this order; alpha is XNOR-Net's factor of the neuron, 1 elsewhere. The output is
the bit (y >= 0) or, of k bits, how many of 2^k - 1 steps y reaches. The integer network counts
matches M in 0..n*L (see `sw.network`), of which a is a linear function, and asks M >= T.

There are only n*L + 1 values of M, so nothing is solved or rounded: the float expression is
evaluated at every one of them, and T is where it turns. Each operation of the expression is
monotone under IEEE rounding, so a bit changes at most once along M. Where it falls, the neuron's
weights are inverted (M' = n*L - M) so that it rises.

Two things reach beyond the neuron:

- A pool between the sums and the norm takes the greatest a of its window. Where y rises with a, the
  greatest of the bits is the bit of the greatest. Where it falls, the hardware keeps the bit's
  complement, which rises, and the layers behind take it for what it is: their weights and their
  padding of that channel are inverted.
- Padding with what no element can be (zeros between -1 and +1) is padding with one that can,
  and a correction of a that depends on how a window overhangs the image: thresholds for each
  border class.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Conv, Dense, Input, Kind, Network, Node, Pool, Type

__all__ = [
    "BatchNorm",
    "FoldError",
    "TrainedConv",
    "TrainedDense",
    "TrainedPool",
    "float_bits",
    "fold_classifier",
]

_EVALUATIONS = 1 << 22  # of the float expression at a time


class FoldError(PopstreamError):
    """Trained numbers no threshold can stand for; the message names the neuron and the value."""


@dataclass(frozen=True)
class BatchNorm:
    """The frozen statistics and parameters of a batch norm, one float64 a neuron, and epsilon."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    epsilon: float

    def __call__(self, a: np.ndarray, neurons: slice = slice(None)) -> np.ndarray:
        """y, of float64 (neurons, ...)."""
        gamma, beta, mean, variance = (
            np.asarray(each, np.float64)[neurons].reshape(-1, *(1,) * (a.ndim - 1))
            for each in (self.gamma, self.beta, self.mean, self.variance)
        )
        with np.errstate(over="ignore", under="ignore"):  # an infinite y still has a sign
            return gamma * (a - mean) / np.sqrt(variance + self.epsilon) + beta


@dataclass(frozen=True)
class TrainedDense:
    """A trained binary layer.

    Its inputs are taken as -1 and +1 where they are bits, else as the integers they are: pixels,
    or levels 0..2^k-1.

    Parameters
    ----------
    signs : array of bool, shape (neurons, synapses)
        True where the weight is +1. The synapses of an image are in the order row, column, channel.
    norm : BatchNorm or None
        None on the output layer, which yields scores.
    scale : array of float, shape (neurons,), or None
        alpha; None where there is none.
    steps : sequence of float
        Ascending, 2^k - 1 of them; the output is how many y reaches. One is a bit, of y >= step.
    """

    signs: np.ndarray
    norm: BatchNorm | None
    scale: np.ndarray | None = None
    steps: Sequence[float] = (0.0,)


@dataclass(frozen=True)
class TrainedPool:
    """The maximum of each window of so many rows and columns."""

    size: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)


@dataclass(frozen=True)
class TrainedConv(TrainedDense):
    """A trained binary convolution.

    Parameters
    ----------
    signs : array of bool, shape (filters, kernel rows, kernel columns, channels)
    stride : (rows, columns)
    padding : (top, bottom, left, right)
    fill : float
        What the padding holds, in the trained network's own numbers: -1 or +1, 0 of zero padding,
        a pixel.
    pool : TrainedPool or None
        A maximum of the sums, before scale and norm. (A pool of outputs is an item of its own in
        the sequence of layers.)
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    fill: float = 0.0
    pool: TrainedPool | None = None


def float_bits(norm: BatchNorm, synapses: int) -> np.ndarray:
    """The float network's bit for each neuron and match count: bool, (neurons, synapses + 1)."""
    return norm((2.0 * np.arange(synapses + 1) - synapses)[None]) >= 0


@dataclass(frozen=True)
class _Values:
    """What stands on an edge of the integer network, and what it means to the trained one.

    The element u in 0..most of the trained network's low, low + unit, ..., high. Where its channel
    is `flipped`, the trained network has low + high minus that.
    """

    type: Type
    flipped: np.ndarray  # bool, (the last axis,)

    @property
    def most(self) -> int:
        return self.type.high - self.type.low

    @property
    def low(self) -> int:
        return -1 if self.type.kind is Kind.SIGN else self.type.low

    @property
    def high(self) -> int:
        return self.type.high

    @property
    def unit(self) -> int:
        return 2 if self.type.kind is Kind.SIGN else 1

    def holds(self, value: float) -> bool:
        """Whether an element can be this."""
        return self.low <= value <= self.high and (value - self.low) % self.unit == 0


def _check(name: str, layer: TrainedDense, greatest: float) -> None:
    """Refuse what no threshold can stand for; `greatest` is the largest of abs(a)."""
    neurons, norm = len(layer.signs), layer.norm
    arrays = {each: getattr(norm, each) for each in ("gamma", "beta", "mean", "variance")}
    if layer.scale is not None:
        arrays["scale"] = layer.scale
    for what, values in arrays.items():
        values = np.asarray(values)
        if values.shape != (neurons,):
            raise FoldError(f"{name}: {what} must have shape ({neurons},), not {values.shape}")
        for neuron in np.flatnonzero(~np.isfinite(values)):
            raise FoldError(
                f"{name}: {what} must be finite, not {values[neuron]} (neuron {neuron})"
            )
    sigma = np.sqrt(np.maximum(np.asarray(norm.variance, dtype=np.float64) + norm.epsilon, 0))
    for neuron in np.flatnonzero(~(sigma > 0)):
        raise FoldError(
            f"{name}: variance + epsilon must be positive, not "
            f"{norm.variance[neuron] + norm.epsilon} (neuron {neuron})"
        )
    if layer.scale is not None:
        highest = np.finfo(np.float64).max / 2 / greatest
        for neuron in np.flatnonzero(np.abs(layer.scale) > highest):
            raise FoldError(f"{name}: scale {layer.scale[neuron]} is too large (neuron {neuron})")
    steps = np.asarray(layer.steps, np.float64)
    if np.isnan(steps).any() or (np.diff(steps) < 0).any():
        raise FoldError(f"{name}: steps must be numbers that do not fall, not {layer.steps}")


def _thresholds(
    layer: TrainedDense, sums: np.ndarray, unit: int, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds on M, or on n*L - M where the output falls along M.

    Parameters
    ----------
    sums : array of float, (neurons, classes)
        The sum a where M is 0; it grows by `unit`.
    most : int
        The greatest M.

    Returns
    -------
    thresholds : int array, (neurons, classes, steps)
    falling : bool array, (neurons,)
    """
    steps = np.asarray(layer.steps, np.float64)
    neurons, classes = sums.shape
    thresholds = np.empty((neurons, classes, len(steps)), np.int64)
    falling = np.empty(neurons, bool)
    for some in _slices(neurons, classes * len(steps) * (most + 1)):
        a = sums[some, :, None] + unit * np.arange(most + 1.0)
        if layer.scale is not None:
            a = np.asarray(layer.scale, np.float64)[some, None, None] * a
        on = layer.norm(a, some)[:, :, None] >= steps[:, None]  # (neurons, classes, steps, M)
        falling[some] = (on[..., 0] & ~on[..., -1]).any(axis=(1, 2))
        on[falling[some]] = on[falling[some], ..., ::-1]
        if not (on[..., :-1] <= on[..., 1:]).all():  # cannot happen: every operation is monotone
            raise FoldError("a batch norm is not monotone in floating point")
        thresholds[some] = most + 1 - on.sum(axis=-1)
    return thresholds, falling


def _slices(count: int, size: int) -> Iterator[slice]:
    """Slices of 0..count-1 with as many items of this size as are evaluated at a time."""
    step = max(1, _EVALUATIONS // size)
    return (slice(start, start + step) for start in range(0, count, step))


def _overhang(conv: Conv, height: int, width: int) -> np.ndarray:
    """For each border class, the part of the window that lies outside the image.

    Returns
    -------
    bool array, (row classes, column classes, kernel rows, kernel columns)
    """
    outside = []
    for axis, (size, classes) in enumerate(
        zip((height, width), conv.classes(height, width), strict=True)
    ):
        first = np.unique(classes, return_index=True)[1]
        start = first * conv.stride[axis] - conv.padding[2 * axis]
        at = start[:, None] + np.arange(conv.kernel[axis])
        outside.append((at < 0) | (at >= size))
    rows, columns = outside
    return rows[:, None, :, None] | columns[None, :, None, :]


def _fold(
    name: str, layer: TrainedDense, source: str, x: _Values
) -> tuple[Node, np.ndarray | None]:
    """The node of a trained layer, and which of its neurons yield the complement."""
    signs = np.asarray(layer.signs, dtype=bool)
    is_conv = isinstance(layer, TrainedConv)
    if signs.ndim != (4 if is_conv else 2) or 0 in signs.shape:
        axes = "(filters, rows, columns, channels)" if is_conv else "(neurons, synapses)"
        raise FoldError(f"{name}: signs must have shape {axes}, not {signs.shape}")
    if signs.shape[-1] % len(x.flipped):
        raise FoldError(f"{name}: weights {signs.shape} do not fit an input of {x.type.shape}")

    # A flipped channel holds low + high - x: the weight changes its sign, and a gets an offset.
    flipped = np.resize(x.flipped, signs.shape[1:])
    sums = (x.low + x.high) * (2 * signs[:, flipped].sum(axis=1) - flipped.sum())
    signs = signs ^ flipped
    positive = signs.reshape(len(signs), -1).sum(axis=1)
    negative = signs[0].size - positive
    sums = sums + x.low * (positive - negative) - x.unit * x.most * negative
    most = signs[0].size * x.most

    if layer.norm is None:
        if (sums != sums[0]).any():
            raise FoldError(
                f"{name}: scores of inputs {x.low}..{x.high} need a bias a neuron; "
                f"only those of bits can be compared as matches"
            )
        return Dense(name, (source,), signs), None
    sums = sums.astype(np.float64)[:, None]
    options, corners = {}, None
    if is_conv:
        if not np.isfinite(layer.fill):
            raise FoldError(f"{name}: fill must be finite, not {layer.fill}")
        fill = np.where(x.flipped, x.low + x.high - layer.fill, layer.fill)
        exact = all(map(x.holds, fill))
        held = fill if exact else np.full(len(fill), x.low)
        options = {
            "stride": tuple(layer.stride),
            "padding": tuple(layer.padding),
            "fill": ((held - x.low) // x.unit + x.type.low).astype(int),
        }
        if any(layer.padding) and not exact:
            conv = Conv(name, (source,), signs, **options)
            conv.infer(x.type)  # its windows fit
            outside = _overhang(conv, *x.type.shape[:2])
            missing = (np.where(signs, 1, -1) * (fill - held)).sum(axis=3)
            corners = np.tensordot(missing, outside, axes=((1, 2), (2, 3)))
            sums = sums + corners.reshape(len(signs), -1)
    _check(name, layer, np.abs(sums).max() + x.unit * most)
    thresholds, falling = _thresholds(layer, sums, x.unit, most)
    complement = None
    if is_conv and layer.pool:
        # Not (n*L - M >= T) is M >= n*L + 1 - T; the complement of level l is levels - l.
        thresholds[falling] = most + 1 - thresholds[falling, :, ::-1]
        complement = falling
    else:
        signs = signs ^ falling.reshape(-1, *(1,) * (signs.ndim - 1))
    if thresholds.shape[2] == 1:
        thresholds = thresholds[..., 0]
    if corners is None:
        thresholds = thresholds[:, 0]
    else:
        shape = (len(signs), *corners.shape[1:], *thresholds.shape[2:])
        thresholds = np.moveaxis(thresholds.reshape(shape), 0, 2)
    kind = Conv if is_conv else Dense
    return kind(name, (source,), signs, thresholds, **options), complement


def fold_classifier(
    *,
    input_shape: Sequence[int],
    input_bits: int,
    layers: Sequence[TrainedDense | TrainedPool],
    classes: Sequence[str],
    binarise: int | np.ndarray | None = None,
    input_signed: bool = False,
) -> Network:
    """The integer network of a trained stack of layers, with scores and argmax behind.

    Parameters
    ----------
    input_shape, input_bits, input_signed
        Of a frame of integers.
    layers : sequence of TrainedDense, TrainedConv and TrainedPool
        The last a TrainedDense without a norm, all others with one.
    classes : sequence of str
        One name for each neuron of the last layer.
    binarise : int or array of input_shape, optional
        A pixel's bit is (pixel >= binarise). Without it the first layer takes the pixels.

    Raises
    ------
    FoldError
        A parameter is not finite, a variance gives no positive deviation, or the layers cannot be
        folded; names the layer.
    NetworkError
        The layers do not fit each other; names the layer.
    """
    *hidden, output = layers
    if not isinstance(output, TrainedDense) or isinstance(output, TrainedConv):
        raise FoldError("the last layer must be dense")
    weighted = [layer for layer in hidden if not isinstance(layer, TrainedPool)]
    if output.norm is not None or any(layer.norm is None for layer in weighted):
        raise FoldError("every layer but the last, and only those, must have a batch norm")
    nodes = [
        Input("pixels", shape=tuple(input_shape), bits=input_bits, signed=input_signed),
    ]
    x = _Values(nodes[0].infer(), np.zeros(input_shape[-1], bool))

    def add(node: Node, flipped: np.ndarray | None = None) -> None:
        nonlocal x
        kind = node.infer(x.type)
        nodes.append(node)
        x = _Values(kind, np.zeros(kind.shape[-1], bool) if flipped is None else flipped)

    counts = {"conv": 0, "pool": 0, "hidden": 0}

    def numbered(what: str) -> str:
        counts[what] += 1
        return f"{what}{counts[what] - 1}"

    if binarise is not None:
        add(Binarise("bits", ("pixels",), binarise))
    for layer in hidden:
        source = nodes[-1].name
        match layer:
            case TrainedConv():
                node, complement = _fold(numbered("conv"), layer, source, x)
                add(node)
                if layer.pool:
                    name = numbered("pool")
                    add(Pool(name, (node.name,), layer.pool.size, layer.pool.stride), complement)
            case TrainedPool():
                name = numbered("pool")
                if x.flipped.any():
                    raise FoldError(f"{name}: takes the maximum of what falls with the one before")
                add(Pool(name, (source,), layer.size, layer.stride))
            case TrainedDense():
                add(_fold(numbered("hidden"), layer, source, x)[0])
    add(_fold("scores", output, nodes[-1].name, x)[0])
    add(Argmax("label", ("scores",)))
    return Network(tuple(nodes), tuple(classes))
