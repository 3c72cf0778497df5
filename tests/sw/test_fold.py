import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sw import golden
from sw.fold import BatchNorm, FoldError, TrainedDense, fold_classifier, fold_dense

finite = st.floats(allow_nan=False, allow_infinity=False)  # zero, denormal and huge included
variance = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


def float_bit(a, gamma, beta, mean, var, epsilon):
    """The specification, one number at a time in Python's own float64."""
    return gamma * (a - mean) / math.sqrt(var + epsilon) + beta >= 0


def integer_bits(signs, weights, threshold):
    """What the folded neuron says for an input that matches the original weights m times."""
    n = len(signs)
    bits = []
    for m in range(n + 1):
        x = np.where(np.arange(n) < m, signs, ~signs)
        bits.append(bool((x == weights.astype(bool)).sum() >= threshold))
    return bits


@settings(max_examples=400, deadline=None)
@given(
    gamma=finite,
    beta=finite,
    mean=finite,
    var=variance,
    epsilon=st.sampled_from([1e-5, 1e-300, 5e-324, 1.0]),
    synapses=st.integers(1, 40),
    seed=st.integers(0, 9),
)
def test_every_reachable_count(gamma, beta, mean, var, epsilon, synapses, seed):
    signs = np.random.default_rng(seed).random(synapses) < 0.5
    norm = BatchNorm(*(np.array([v]) for v in (gamma, beta, mean, var)), epsilon)
    if not math.isfinite(var + epsilon):
        return
    weights, thresholds = fold_dense(signs[None], norm)
    assert 0 <= thresholds[0] <= synapses + 1
    expected = [
        float_bit(float(2 * m - synapses), gamma, beta, mean, var, epsilon)
        for m in range(synapses + 1)
    ]
    assert integer_bits(signs, weights[0], thresholds[0]) == expected


@pytest.mark.parametrize(
    ("gamma", "beta", "mean", "var", "bits"),
    [
        (1.0, 0.0, 0.0, 1.0, [0, 0, 1, 1, 1]),  # sign(0) = +1
        (-1.0, 0.0, 0.0, 1.0, [1, 1, 1, 0, 0]),
        (0.0, 1.0, 3.0, 1.0, [1, 1, 1, 1, 1]),
        (0.0, -1.0, 3.0, 1.0, [0, 0, 0, 0, 0]),
        (0.0, 0.0, 3.0, 1.0, [1, 1, 1, 1, 1]),
        (-0.0, 0.0, 3.0, 1.0, [1, 1, 1, 1, 1]),
        (5e-324, 0.0, 1.0, 1.0, [0, 0, 0, 1, 1]),
        (1e308, -1e308, 0.0, 1e-300, [0, 0, 0, 1, 1]),
        (1.0, 1e308, 0.0, 1.0, [1, 1, 1, 1, 1]),
        (1.0, 0.0, 4.0, 0.0, [0, 0, 0, 0, 1]),  # sigma near zero
    ],
)
def test_known_cases(gamma, beta, mean, var, bits):
    signs = np.array([[True, False, True, True]])
    norm = BatchNorm(*(np.array([v]) for v in (gamma, beta, mean, var)), 1e-5)
    weights, thresholds = fold_dense(signs, norm)
    assert integer_bits(signs[0], weights[0], thresholds[0]) == [bool(bit) for bit in bits]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": [1.0, math.nan]}, r"gamma must be finite, not nan \(neuron 1\)"),
        ({"beta": [math.inf, 0.0]}, r"beta must be finite, not inf \(neuron 0\)"),
        ({"mean": [0.0]}, r"mean must have shape \(2,\), not \(1,\)"),
        ({"variance": [1.0, -1.0]}, r"must be positive, not -1.0 \(neuron 1\)"),
    ],
)
def test_bad_norms(change, message):
    good = {name: [1.0, 1.0] for name in ("gamma", "beta", "mean", "variance")} | change
    norm = BatchNorm(**{name: np.array(value) for name, value in good.items()}, epsilon=0.0)
    with pytest.raises(FoldError, match=message):
        fold_dense(np.ones((2, 3), dtype=bool), norm)


def test_classifier_against_float_arithmetic():
    """The whole network in floating point, from the trained numbers, prediction for prediction."""
    rng = np.random.default_rng(0)

    def norm(neurons):
        return BatchNorm(
            rng.normal(size=neurons),
            rng.normal(size=neurons),
            rng.normal(size=neurons) * 3,
            rng.random(neurons) * 20,
            1e-5,
        )

    layers = [
        TrainedDense(rng.random((20, 30)) < 0.5, norm(20)),
        TrainedDense(rng.random((15, 20)) < 0.5, norm(15)),
        TrainedDense(rng.random((4, 15)) < 0.5, None),
    ]
    network = fold_classifier(
        input_shape=(5, 6), input_bits=4, binarise=7, layers=layers, classes="abcd"
    )
    images = rng.integers(0, 16, (200, 5, 6))
    x = np.where(images.reshape(200, -1) >= 7, 1.0, -1.0)
    for layer in layers:
        x = x @ np.where(layer.signs, 1.0, -1.0).T
        if layer.norm:
            n = layer.norm
            y = n.gamma * (x - n.mean) / np.sqrt(n.variance + n.epsilon) + n.beta
            x = np.where(y >= 0, 1.0, -1.0)
    assert golden.predict(network, images).tolist() == x.argmax(axis=1).tolist()


def test_norms_in_the_wrong_place():
    layer = TrainedDense(np.ones((2, 4), dtype=bool), None)
    with pytest.raises(FoldError, match="every layer but the last"):
        fold_classifier(
            input_shape=(4,), input_bits=1, binarise=1, layers=[layer, layer], classes="ab"
        )
