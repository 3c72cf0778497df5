"""From trained layers to the integer network: batch normalisation becomes one threshold a neuron.

The float network computes, for a ±1 sum a over n synapses,

    y = gamma * (a - mean) / sqrt(variance + epsilon) + beta,   bit = (y >= 0)

in float64 and in this order. The integer network counts matches m, a = 2m - n, and asks m >= T.
There are only n + 1 values of m, so nothing is solved or rounded: the float expression is evaluated
at every one of them, and T is where it turns positive. Each step of the expression is monotone
under IEEE rounding, so the bit changes at most once along m; where gamma is negative it falls, and
the neuron's weights are inverted (m' = n - m) so that it rises.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Dense, Input, Network

__all__ = ["BatchNorm", "FoldError", "TrainedDense", "float_bits", "fold_classifier", "fold_dense"]


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


@dataclass(frozen=True)
class TrainedDense:
    """A trained binary layer.

    Parameters
    ----------
    signs : array of bool, shape (neurons, synapses)
        True where the weight is +1.
    norm : BatchNorm or None
        None on the output layer, which yields scores.
    """

    signs: np.ndarray
    norm: BatchNorm | None


def float_bits(norm: BatchNorm, synapses: int) -> np.ndarray:
    """The float network's bit for each neuron and match count: bool, (neurons, synapses + 1)."""
    a = 2.0 * np.arange(synapses + 1) - synapses
    column = {
        name: np.asarray(getattr(norm, name), dtype=np.float64)[:, None]
        for name in ("gamma", "beta", "mean", "variance")
    }
    with np.errstate(over="ignore", under="ignore"):  # an infinite y still has a sign
        sigma = np.sqrt(column["variance"] + norm.epsilon)
        y = column["gamma"] * (a - column["mean"]) / sigma + column["beta"]
    return y >= 0


def _check(norm: BatchNorm, neurons: int) -> None:
    for name in ("gamma", "beta", "mean", "variance"):
        values = np.asarray(getattr(norm, name))
        if values.shape != (neurons,):
            raise FoldError(f"{name} must have shape ({neurons},), not {values.shape}")
        for neuron in np.flatnonzero(~np.isfinite(values)):
            raise FoldError(f"{name} must be finite, not {values[neuron]} (neuron {neuron})")
    sigma = np.sqrt(np.maximum(np.asarray(norm.variance, dtype=np.float64) + norm.epsilon, 0))
    for neuron in np.flatnonzero(~(sigma > 0)):
        raise FoldError(
            f"variance + epsilon must be positive, not "
            f"{norm.variance[neuron] + norm.epsilon} (neuron {neuron})"
        )


def fold_dense(signs: np.ndarray, norm: BatchNorm) -> tuple[np.ndarray, np.ndarray]:
    """Fold a batch norm into its layer.

    Returns
    -------
    weights : uint8, (neurons, synapses)
        1 for +1, 0 for -1, inverted where gamma is negative.
    thresholds : int32, (neurons,)
        In 0..synapses+1; the bit is (popcount(xnor(x, weights)) >= threshold).

    Raises
    ------
    FoldError
        When a parameter is not finite or a variance gives no positive deviation.
    """
    signs = np.asarray(signs, dtype=bool)
    neurons, synapses = signs.shape
    _check(norm, neurons)
    on = float_bits(norm, synapses)
    falling = on[:, 0] & ~on[:, -1]
    on[falling] = on[falling, ::-1]
    if not (on[:, :-1] <= on[:, 1:]).all():  # cannot happen: every step is monotone
        raise FoldError("a batch norm is not monotone in floating point")
    weights = (signs ^ falling[:, None]).astype(np.uint8)
    thresholds = (synapses + 1 - on.sum(axis=1)).astype(np.int32)
    return weights, thresholds


def fold_classifier(
    *,
    input_shape: Sequence[int],
    input_bits: int,
    binarise: int | np.ndarray,
    layers: Sequence[TrainedDense],
    classes: Sequence[str],
) -> Network:
    """The integer network of a trained stack of layers: binarise, hidden..., scores, argmax.

    Parameters
    ----------
    input_shape, input_bits
        Of a frame of unsigned integers.
    binarise : int or array of input_shape
        A pixel's bit is (pixel >= binarise).
    layers : sequence of TrainedDense
        All but the last with a norm.
    classes : sequence of str
        One name for each neuron of the last layer.
    """
    *hidden, output = layers
    if output.norm is not None or any(layer.norm is None for layer in hidden):
        raise FoldError("every layer but the last, and only those, must have a batch norm")
    nodes = [
        Input("pixels", shape=tuple(input_shape), bits=input_bits),
        Binarise("bits", ("pixels",), thresholds=binarise),
    ]
    for index, layer in enumerate(hidden):
        weights, thresholds = fold_dense(layer.signs, layer.norm)
        nodes.append(Dense(f"hidden{index}", (nodes[-1].name,), weights, thresholds))
    nodes.append(Dense("scores", (nodes[-1].name,), np.asarray(output.signs, dtype=bool)))
    nodes.append(Argmax("label", ("scores",)))
    return Network(tuple(nodes), tuple(classes))
