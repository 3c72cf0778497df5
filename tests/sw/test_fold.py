import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sw import fold, golden
from sw.errors import PopstreamError
from sw.fold import (
    BatchNorm,
    FoldError,
    TrainedConv,
    TrainedDense,
    TrainedPool,
    fold_classifier,
)
from sw.network import Conv, Dense, Layer, Pool

finite = st.floats(allow_nan=False, allow_infinity=False)  # zero, denormal and huge included
variance = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


def float_bit(a, gamma, beta, mean, var, epsilon):
    """The specification, one number at a time in Python's own float64."""
    return gamma * (a - mean) / math.sqrt(var + epsilon) + beta >= 0


def fold_dense(signs, norm):
    """Weights and thresholds of a layer of bits."""
    layers = [TrainedDense(signs, norm), TrainedDense(np.ones((1, len(signs)), bool), None)]
    network = fold_classifier(
        input_shape=signs.shape[1:], input_bits=1, binarise=1, layers=layers, classes="a"
    )
    layer = network.of(Dense)[0]
    return layer.weights, layer.thresholds


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


# Convolutions


def window_sums(x, layer):
    """a of a trained convolution: (frames, rows, columns, filters)."""
    top, bottom, left, right = layer.padding
    around = ((0, 0), (top, bottom), (left, right), (0, 0))
    x = np.pad(x, around, constant_values=layer.fill)
    weights = np.where(layer.signs, 1.0, -1.0)
    return np.array(
        [
            [np.tensordot(window, weights, axes=((1, 2, 3), (1, 2, 3))) for window in row]
            for row in windows(x, weights.shape[1:3], layer.stride)
        ]
    ).transpose(2, 0, 1, 3)


def windows(x, size, stride):
    """Row by row, the windows of images: each (frames, *size, channels)."""
    for row in range(0, x.shape[1] - size[0] + 1, stride[0]):
        yield [
            x[:, row : row + size[0], column : column + size[1]]
            for column in range(0, x.shape[2] - size[1] + 1, stride[1])
        ]


def greatest(x, pool):
    rows = [
        [window.max(axis=(1, 2)) for window in row] for row in windows(x, pool.size, pool.stride)
    ]
    return np.array(rows).transpose(2, 0, 1, 3)


def float_values(x, layers):
    """What each layer of the trained network yields, in float64; bits as 0 and 1."""
    level = None
    for layer in layers:
        if isinstance(layer, TrainedPool):
            level = greatest(level, layer)
        else:
            if isinstance(layer, TrainedConv):
                a = window_sums(x, layer)
                a = greatest(a, layer.pool) if layer.pool else a
            else:
                a = x.reshape(len(x), -1) @ np.where(layer.signs, 1.0, -1.0).T
            if layer.norm is None:
                yield a
                return
            n, scale = layer.norm, 1.0 if layer.scale is None else layer.scale
            with np.errstate(all="ignore"):
                y = n.gamma * (scale * a - n.mean) / np.sqrt(n.variance + n.epsilon) + n.beta
            level = sum((y >= step).astype(float) for step in layer.steps)
            is_bit = len(layer.steps) == 1
        yield level
        x = 2 * level - 1 if is_bit else level


def check(layers, network, images, x):
    """Every value of the integer network against the trained network's, for these images.

    A channel behind a pool of sums may be the complement.
    """
    found = golden.trace(network, images)
    nodes = iter(node for node in network.nodes if isinstance(node, Conv | Pool | Dense))
    *hidden, scores = float_values(x, layers)
    for layer, expected in zip(layers, hidden, strict=False):
        pooled = bool(getattr(layer, "pool", None))
        node = [next(nodes) for _ in range(1 + pooled)][-1]
        value, high = found[node.name], network.type(node).high
        for channel in range(expected.shape[-1]):
            same = np.array_equal(value[..., channel], expected[..., channel])
            complement = np.array_equal(high - value[..., channel], expected[..., channel])
            assert same or (pooled and complement), node.name
    m, synapses = found["scores"], network.of(Layer)[-1].synapses
    assert np.array_equal(2 * m - synapses, scores)


def shape_behind(layers, x):
    """(channels,) or the image that the layers yield."""
    *_, value = float_values(x[:1], layers)
    return value.shape[1:]


def signs(rng, *shape):
    return rng.random(shape) < 0.5


def random_norm(rng, neurons, spread):
    """A norm of either sign whose bit turns somewhere in -spread..spread."""
    return BatchNorm(
        gamma=rng.normal(size=neurons),
        beta=rng.normal(size=neurons) / 3,
        mean=rng.normal(size=neurons) * spread / 2,
        variance=rng.random(neurons) * spread**2,
        epsilon=1e-5,
    )


def all_images(shape, low, high):
    axes = [np.arange(low, high + 1)] * math.prod(shape)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, *shape)


norms = st.builds(
    lambda gamma, beta, mean, variance, epsilon: BatchNorm(
        *(np.array([value]) for value in (gamma, beta, mean, variance)), epsilon
    ),
    finite | st.floats(-3, 3),
    finite | st.floats(-3, 3),
    finite | st.floats(-9, 9),
    st.floats(0, 1e307) | st.floats(0, 9),
    st.sampled_from([1e-5, 1e-300, 5e-324, 1.0]),
)


@settings(max_examples=200, deadline=None)
@given(
    norm=norms,
    scale=st.none() | st.floats(0, 1e300),
    padding=st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 1)]),
    fill=st.sampled_from([-1.0, 0.0, 1.0, 0.25]),
    pool=st.sampled_from([None, TrainedPool((2, 2), (1, 1)), TrainedPool((1, 2), (2, 1))]),
    stride=st.sampled_from([(1, 1), (1, 2)]),
    seed=st.integers(0, 99),
)
def test_every_image_of_bits(norm, scale, padding, fill, pool, stride, seed):
    """All 512 images of 3x3 bits, so every reachable sum of every border class."""
    rng = np.random.default_rng(seed)
    alpha = None if scale is None else np.array([scale])
    conv = TrainedConv(
        signs(rng, 1, 2, 2, 1), norm, alpha, stride=stride, padding=padding, fill=fill, pool=pool
    )
    assume(pool is None or any(padding) or stride == (1, 1))  # it leaves something
    images = all_images((3, 3, 1), 0, 1)
    x = 2.0 * images - 1
    layers = [conv, TrainedDense(signs(rng, 3, math.prod(shape_behind([conv], x))), None)]
    network = fold_classifier(
        input_shape=(3, 3, 1), input_bits=1, binarise=1, layers=layers, classes="abc"
    )
    check(layers, network, images, x)
    per_class = any(padding) and abs(fill) != 1
    assert network.of(Conv)[0].thresholds.ndim == (3 if per_class else 1)


@settings(max_examples=200, deadline=None)
@given(
    norm=norms,
    low=st.sampled_from([0, -2]),
    steps=st.sampled_from([(0.0,), (-1.5, 0.0, 2.5), (0.0, 0.0, 1e300)]),
    padding=st.sampled_from([(0, 0, 0, 0), (1, 0, 1, 1)]),
    fill=st.sampled_from([-2.0, 0.0, 1.0, 9.0, 0.375]),
    pool=st.sampled_from([None, TrainedPool((1, 2), (1, 1))]),
    seed=st.integers(0, 99),
)
def test_every_image_of_integers(norm, low, steps, padding, fill, pool, seed):
    """All 4,096 images of 2x3 elements of 2 bits, to bits and to levels."""
    rng = np.random.default_rng(seed)
    conv = TrainedConv(
        signs(rng, 1, 2, 2, 1), norm, steps=steps, padding=padding, fill=fill, pool=pool
    )
    images = all_images((2, 3, 1), low, low + 3)
    x = images.astype(float)
    values = math.prod(shape_behind([conv], x))
    layers = [
        conv,
        TrainedDense(signs(rng, 4, values), random_norm(rng, 4, values)),
        TrainedDense(signs(rng, 2, 4), None),
    ]
    network = fold_classifier(
        input_shape=(2, 3, 1), input_bits=2, input_signed=low < 0, layers=layers, classes="ab"
    )
    check(layers, network, images, x)


@pytest.mark.parametrize("fill", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_deep_network(seed, fill):
    """Norms of both signs behind pools of sums and before them, scales, padding, a plain pool."""
    rng = np.random.default_rng(seed)
    one = (1, 1, 1, 1)
    layers = [
        TrainedConv(
            signs(rng, 5, 3, 3, 2),
            random_norm(rng, 5, 800),
            padding=one,
            fill=100.0,
            pool=TrainedPool(),
        ),
        TrainedConv(
            signs(rng, 6, 3, 3, 5),
            random_norm(rng, 6, 3),
            rng.random(6),
            padding=one,
            fill=fill,
            pool=TrainedPool((3, 3), (1, 1)),
        ),
        TrainedConv(
            signs(rng, 7, 2, 3, 6), random_norm(rng, 7, 6), padding=(1, 0, 1, 1), fill=fill
        ),
        TrainedPool((2, 2), (1, 1)),
        TrainedConv(signs(rng, 4, 1, 1, 7), random_norm(rng, 4, 3), pool=TrainedPool((1, 2))),
        TrainedDense(signs(rng, 9, 2 * 1 * 4), random_norm(rng, 9, 3)),
        TrainedDense(signs(rng, 3, 9), None),
    ]
    images = rng.integers(0, 256, (60, 12, 12, 2))
    x = images.astype(float)
    network = fold_classifier(input_shape=(12, 12, 2), input_bits=8, layers=layers, classes="abc")
    names = [node.name for node in network.nodes]
    assert names == [
        "pixels",
        "conv0",
        "pool0",
        "conv1",
        "pool1",
        "conv2",
        "pool2",
        "conv3",
        "pool3",
        "hidden0",
        "scores",
        "label",
    ]
    check(layers, network, images, x)
    assert len({tuple(row) for row in golden.trace(network, images)["scores"].tolist()}) > 3


def test_levels_behind_levels():
    """Levels of both directions through pools of sums, per channel flipped, with zero padding."""
    rng = np.random.default_rng(5)
    steps = (-1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0)
    layers = [
        TrainedConv(
            signs(rng, 6, 3, 3, 1),
            random_norm(rng, 6, 20),
            steps=steps,
            padding=(1, 1, 1, 1),
            pool=TrainedPool(),
        ),
        TrainedConv(
            signs(rng, 5, 3, 3, 6),
            random_norm(rng, 5, 20),
            steps=steps,
            padding=(1, 1, 1, 1),
            fill=-2.0,
        ),
        TrainedDense(signs(rng, 8, 125), random_norm(rng, 8, 40)),
        TrainedDense(signs(rng, 2, 8), None),
    ]
    images = rng.integers(-8, 8, (80, 10, 10, 1))
    network = fold_classifier(
        input_shape=(10, 10, 1), input_bits=4, input_signed=True, layers=layers, classes="ab"
    )
    check(layers, network, images, images.astype(float))
    assert network.type("pool0").high == network.type("conv1").high == 7
    assert network.nodes[3].thresholds.shape == (3, 3, 5, 7)


def test_chunks_of_evaluations(monkeypatch):
    rng = np.random.default_rng(0)
    layers = [
        TrainedDense(signs(rng, 30, 40), random_norm(rng, 30, 9), rng.random(30)),
        TrainedDense(signs(rng, 2, 30), None),
    ]

    def thresholds():
        network = fold_classifier(
            input_shape=(40,), input_bits=1, binarise=1, layers=layers, classes="ab"
        )
        return network.of(Dense)[0].thresholds.tolist()

    whole = thresholds()
    monkeypatch.setattr(fold, "_EVALUATIONS", 100)
    assert thresholds() == whole


def folded(*layers, shape=(4, 4, 1), bits=8):
    return fold_classifier(input_shape=shape, input_bits=bits, layers=layers, classes="ab")


def conv(change=None, **options):
    norm = {name: np.ones(2) for name in ("gamma", "beta", "mean", "variance")} | (change or {})
    return TrainedConv(np.ones((2, 2, 2, 1), bool), BatchNorm(**norm, epsilon=0.0), **options)


SCORES = TrainedDense(np.ones((2, 18), bool), None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: folded(conv()), "the last layer must be dense"),
        (lambda: folded(SCORES, SCORES), "every layer but the last"),
        (
            lambda: folded(conv({"mean": np.array([0, math.nan])}), SCORES),
            r"conv0: mean must be finite, not nan \(neuron 1\)",
        ),
        (
            lambda: folded(conv(scale=np.array([1.0, math.inf])), SCORES),
            r"conv0: scale must be finite, not inf \(neuron 1\)",
        ),
        (
            lambda: folded(conv(scale=np.array([1e308, 1.0])), SCORES),
            r"conv0: scale 1e\+308 is too large \(neuron 0\)",
        ),
        (lambda: folded(conv(scale=np.ones(3)), SCORES), r"conv0: scale must have shape \(2,\)"),
        (lambda: folded(conv(steps=(1.0, 0.0, 2.0)), SCORES), "conv0: steps must be numbers that"),
        (lambda: folded(conv(steps=(math.nan,)), SCORES), "conv0: steps must be numbers that"),
        (lambda: folded(conv(steps=(0.0, 1.0)), SCORES), "conv0: .* k in 2..8, not 2"),
        (lambda: folded(conv(fill=math.nan), SCORES), "conv0: fill must be finite, not nan"),
        (
            lambda: folded(TrainedConv(np.ones((2, 4), bool), None), SCORES),
            "every layer but the last",
        ),
        (
            lambda: folded(TrainedConv(np.ones((2, 4), bool), conv().norm), SCORES),
            r"conv0: signs must have shape \(filters, rows, columns, channels\), not \(2, 4\)",
        ),
        (
            lambda: folded(conv(), TrainedDense(np.ones((2, 17), bool), None)),
            r"scores: weights \(2, 17\) do not fit an input of \(3, 3, 2\)",
        ),
        (
            lambda: folded(conv(), TrainedDense(np.ones((2, 20), bool), None)),
            "scores: has 20 synapses a neuron, its input 18",
        ),
        (
            lambda: folded(TrainedDense(np.arange(32).reshape(2, 16) > 9, None)),
            r"scores: scores of inputs 0\.\.255 need a bias a neuron",
        ),
        (lambda: folded(conv(), SCORES, shape=(1, 4, 1)), "conv0: a window of 2x2 does not fit"),
        (
            lambda: folded(conv(padding=(1, 0, 0, 0), fill=0.5), SCORES, shape=(4, 1, 1)),
            "conv0: a window of 2x2 does not fit an image of 4x1",
        ),
        (
            lambda: folded(conv(pool=TrainedPool((4, 4))), SCORES),
            "pool0: a window of 4x4 leaves nothing of an image of 3x3",
        ),
        (
            lambda: folded(
                conv({"gamma": -np.ones(2)}, pool=TrainedPool((1, 1), (1, 1))),
                TrainedPool((1, 1), (1, 1)),
                SCORES,
            ),
            "pool1: takes the maximum of what falls",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(PopstreamError, match=message):
        make()
