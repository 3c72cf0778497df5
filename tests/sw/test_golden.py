import sys

import numpy as np
import pytest

from sw import golden
from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Conv, Dense, Input, Kind, Network, Pool, border_classes
from sw.packed import pack, pack_planes, unpack
from sw.shapes import random_network


@pytest.fixture(params=["numpy", "numba"])
def form(request, monkeypatch):
    """Both forms of the inner loop."""
    if request.param == "numba":
        pytest.importorskip("numba")
    monkeypatch.setattr(golden, "_WORTH", 0 if request.param == "numba" else 1 << 62)


@pytest.mark.parametrize("count", [1, 8, 63, 64, 65, 200])
def test_words(count):
    bits = np.random.default_rng(count).integers(0, 2, (3, 2, count), dtype=np.uint8)
    words = pack(bits)
    assert words.dtype == np.uint64 and words.shape == (3, 2, -(-count // 64))
    for index in np.ndindex(3, 2):
        whole = sum(int(word) << 64 * at for at, word in enumerate(words[index]))
        assert whole == sum(int(bit) << at for at, bit in enumerate(bits[index]))
    assert np.array_equal(unpack(words, count), bits)


@pytest.mark.parametrize("count", [5, 64, 130])
def test_planes(count):
    elements = np.random.default_rng(count).integers(0, 256, (2, 3, count), dtype=np.uint8)
    planes = pack_planes(elements, 8)
    assert planes.shape == (8, 2, 3, -(-count // 64))
    whole = sum(unpack(plane, count).astype(int) << bit for bit, plane in enumerate(planes))
    assert np.array_equal(whole, elements)
    assert np.array_equal(pack_planes(elements & 1, 1)[0], planes[0])


@pytest.mark.parametrize("synapses", [1, 7, 8, 9, 63, 64, 65, 200])
def test_matches_by_counting(synapses):
    rng = np.random.default_rng(synapses)
    x = rng.integers(0, 2, (5, synapses), dtype=np.uint8)
    w = rng.integers(0, 2, (3, synapses), dtype=np.uint8)
    expected = [[int((a == b).sum()) for b in w] for a in x]
    assert golden.matches(x, w).tolist() == expected


def network(weights=((1, 0), (0, 1)), thresholds=None):
    return Network(
        (
            Input("pixels", shape=(2,), bits=3),
            Binarise("bits", ("pixels",), [4, 0]),
            Dense("scores", ("bits",), np.array(weights, dtype=np.uint8), thresholds),
            *([] if thresholds is not None else [Argmax("label", ("scores",))]),
        )
    )


def test_trace_by_hand():
    values = golden.trace(network(), np.array([[4, 0], [3, 7]]))
    assert values["bits"].tolist() == [[1, 1], [0, 1]]  # a threshold of 0 is always on
    assert values["scores"].tolist() == [[1, 1], [0, 2]]
    assert values["label"].tolist() == [[0], [1]]  # a tie goes to the lowest index


def test_thresholds_at_both_ends():
    frames = np.array([[0, 0], [7, 7]])
    assert golden.predict(network(thresholds=[0, 3]), frames).tolist() == [[1, 0], [1, 0]]
    assert golden.predict(network(thresholds=[1, 2]), frames).tolist() == [[0, 1], [1, 0]]


def test_chunks_and_progress():
    frames = np.random.default_rng(0).integers(0, 8, (1300, 2))
    seen = []
    whole = golden.predict(network(), frames, lambda done, total: seen.append((done, total)))
    single = [golden.predict(network(), frame[None])[0] for frame in frames]
    assert whole.tolist() == single
    assert seen[-1] == (1300, 1300) and len(seen) == 3
    assert golden.predict(network(), frames[:0]).shape == (0,)


# Layers of any kind, against loops over Python's integers


def by_definition(node, x, low, high):
    """One frame through a layer: M = the sum of u where the weight is +1, else of L - u."""
    weights, thresholds = node.weights.tolist(), node.thresholds
    if isinstance(node, Dense):
        sums = [sum_of(row, x.ravel().tolist(), low, high) for row in weights]
        return np.array([activated(m, thresholds, i) for i, m in enumerate(sums)])
    (height, width, _), (rows, columns) = x.shape, node.kernel
    top, bottom, left, right = node.padding
    fill = np.broadcast_to(node.fill, node.channels).tolist()
    classes = [
        border_classes(height, rows, node.stride[0], top, bottom),
        border_classes(width, columns, node.stride[1], left, right),
    ]

    def pixel(i, j):
        inside = 0 <= i < height and 0 <= j < width
        return x[i, j].tolist() if inside else fill

    out = []
    for i, row_class in enumerate(classes[0]):
        out.append([])
        for j, column_class in enumerate(classes[1]):
            at = i * node.stride[0] - top, j * node.stride[1] - left
            window = [
                value
                for di in range(rows)
                for dj in range(columns)
                for value in pixel(at[0] + di, at[1] + dj)
            ]
            here = thresholds
            if thresholds is not None and thresholds.ndim > 2:
                here = thresholds[row_class, column_class]
            out[-1].append(
                [
                    activated(sum_of(np.ravel(w).tolist(), window, low, high), here, f)
                    for f, w in enumerate(weights)
                ]
            )
    return np.array(out)


def sum_of(weights, x, low, high):
    return sum(
        value - low if weight else high - value for weight, value in zip(weights, x, strict=True)
    )


def activated(m, thresholds, neuron):
    return m if thresholds is None else int(np.sum(m >= thresholds[neuron]))


LAYERS = {
    "channels fill a word": ((4, 5, 64), 1, (33, 3, 2, 64), 1, {}),
    "two words a pixel": ((3, 3, 70), 1, (5, 2, 2, 70), 1, {"padding": (1, 0, 0, 1)}),
    "few channels": ((6, 5, 3), 1, (4, 3, 3, 3), 1, {"padding": (1, 1, 1, 1), "stride": (2, 1)}),
    "pixels": ((6, 5, 3), 8, (7, 3, 2, 3), 1, {"padding": (2, 1, 0, 1), "stride": (2, 2)}),
    "many deep pixels": ((3, 4, 65), 3, (6, 2, 2, 65), 1, {"padding": (1, 1, 1, 1)}),
    "signed pixels": ((5, 4, 2), -4, (70, 2, 2, 2), 1, {"padding": (0, 1, 1, 0)}),
    "levels": ((5, 4, 2), 4, (6, 2, 2, 2), 3, {}),
    "many levels": ((2, 2, 64), 2, (3, 1, 1, 64), 255, {}),
    "scores": ((4, 4, 3), 2, (6, 2, 2, 3), 0, {}),
    "classes": ((5, 4, 3), 1, (6, 3, 3, 3), -1, {"padding": (1, 1, 1, 1)}),
    "classes of words": ((5, 3, 64), 1, (6, 3, 3, 64), -1, {"padding": (2, 2, 1, 2)}),
    "classes of levels": ((5, 4, 3), -3, (6, 3, 3, 3), -3, {"padding": (1, 0, 1, 1)}),
    "dense of a vector": ((200,), 1, (33, 200), 1, {}),
    "dense of an image": ((3, 2, 5), 1, (8, 30), 1, {}),
    "dense of words": ((3, 2, 64), 1, (8, 384), 1, {}),
    "dense of integers": ((7, 3), -8, (40, 21), 1, {}),
    "dense of integers to levels": ((7, 3), 5, (40, 21), 7, {}),
    "dense of integers to scores": ((7, 3), 8, (3, 21), 0, {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_by_definition(name, form):
    """`bits` below 0 are signed; `levels` below 0 have thresholds for each class."""
    shape, bits, weights, levels, options = LAYERS[name]
    rng = np.random.default_rng(len(name))
    pixels = Input("pixels", shape=shape, bits=abs(bits), signed=bits < 0)
    nodes = [pixels]
    if bits == 1:
        nodes.append(Binarise("bits", ("pixels",), 1))
    taken = nodes[-1].infer(*(node.infer() for node in nodes[:-1]))
    low, high = taken.low, taken.high
    most = int(np.prod(weights[1:])) * (high - low)
    thresholds = None
    kind = Dense if len(weights) == 2 else Conv
    if kind is Conv:
        options = options | {"fill": rng.integers(low, high + 1, shape[2])}
    if levels:
        classes = ()
        if levels < 0:
            top, bottom, left, right = options["padding"]
            classes = (
                border_classes(shape[0], weights[1], 1, top, bottom).max() + 1,
                border_classes(shape[1], weights[2], 1, left, right).max() + 1,
            )
        middle = most / 2 + rng.normal(size=(*classes, weights[0], abs(levels))) * most**0.5
        thresholds = np.sort(middle.clip(0, most + 1).astype(int), axis=-1)
        thresholds = thresholds[..., 0] if abs(levels) == 1 else thresholds
    node = kind("layer", (nodes[-1].name,), rng.integers(0, 2, weights), thresholds, **options)
    network = Network((*nodes, node))
    images = rng.integers(low, high + 1, (5, *shape))
    found = golden.trace(network, images)["layer"]
    expected = np.array([by_definition(node, image, low, high) for image in images])
    assert np.array_equal(found, expected)
    assert found.shape[1:] == network.type(node).shape
    assert len(np.unique(found)) > 1
    assert np.array_equal(golden.predict(network, images), found)


def test_extreme_thresholds(form):
    """0 is always on, n*L + 1 never."""
    pixels = Input("pixels", shape=(2, 2, 1), bits=2)
    weights = np.ones((4, 2, 2, 1), np.uint8)
    node = Conv("conv", ("pixels",), weights, [0, 1, 12, 13])
    images = np.stack([np.full((2, 2, 1), value) for value in (0, 1, 3)])
    found = golden.trace(Network((pixels, node)), images)["conv"][:, 0, 0]
    assert found.tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]


@pytest.mark.parametrize("channels", [3, 64, 65])
@pytest.mark.parametrize("bits", [1, 5])
def test_pool_by_definition(channels, bits):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 1 << bits, (4, 7, 6, channels)) & rng.integers(0, 2, (4, 7, 6, 1))
    nodes = [Input("pixels", shape=images.shape[1:], bits=bits)]
    if bits == 1:
        nodes.append(Binarise("bits", ("pixels",), 1))
    network = Network((*nodes, Pool("pool", (nodes[-1].name,), (3, 2), (2, 3))))
    found = golden.trace(network, images)["pool"]
    assert found.shape == (4, 3, 2, channels)
    for frame, i, j, channel in np.ndindex(*found.shape):
        window = images[frame, 2 * i : 2 * i + 3, 3 * j : 3 * j + 2, channel]
        assert found[frame, i, j, channel] == window.max()


@pytest.mark.parametrize(("name", "side"), [("cnv", 32), ("bvgg16", 32), ("xnor-alexnet", 67)])
def test_published_networks_in_both_forms(name, side, monkeypatch):
    pytest.importorskip("numba")
    network = random_network(name, 1 / 4, side=side)
    frames = np.random.default_rng(2).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    traces = []
    for worth in (0, 1 << 62):
        monkeypatch.setattr(golden, "_WORTH", worth)
        traces.append(golden.trace(network, frames))
    for node in network.nodes:
        a, b = (values[node.name] for values in traces)
        assert a.dtype == b.dtype and np.array_equal(a, b), node.name
        assert a.shape[1:] == network.type(node).shape
        assert network.type(node).kind is not Kind.SIGN or a.dtype == np.uint8


def test_numba_is_asked_for_much_work_only(monkeypatch):
    network, frames = random_network("cnv", 1 / 16), np.zeros((2, 32, 32, 3), np.uint8)
    loaded = []
    load = golden.importlib.import_module
    monkeypatch.setattr(
        golden.importlib, "import_module", lambda name: loaded.append(name) or load(name)
    )
    answers = golden.predict(network, frames)
    assert loaded == []
    monkeypatch.setattr(golden, "_WORTH", 1000)
    monkeypatch.setitem(sys.modules, "numba", None)  # not installed
    monkeypatch.delitem(sys.modules, "sw.kernel", raising=False)
    assert np.array_equal(golden.predict(network, frames), answers)
    assert loaded == ["sw.kernel"]


def test_threads_and_chunks(monkeypatch, form):
    network = random_network("cnv", 1 / 16)
    frames = np.random.default_rng(2).integers(0, 256, (11, 32, 32, 3), dtype=np.uint8)
    whole = golden.predict(network, frames, threads=1).tolist()
    monkeypatch.setattr(golden, "_CHUNK", 2)
    seen = []
    parts = golden.predict(network, frames, lambda *done: seen.append(done), threads=3)
    assert parts.tolist() == whole
    assert seen == [(done, 11) for done in (2, 4, 6, 8, 10, 11)]


def test_large_layers_in_steps(monkeypatch):
    monkeypatch.setattr("sw.packed._GATHERED", 7)
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 2, (9, 200), np.uint8), rng.integers(0, 2, (3, 200), np.uint8)
    assert golden.matches(x, w).tolist() == [[int((a == b).sum()) for b in w] for a in x]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((1, 3), int), r"shape \(2,\), not \(3,\)"),
        (np.zeros((1, 2)), "integers, not float64"),
        (np.array([[0, 8]]), r"0\.\.7, not 8"),
        (np.array([[-1, 0]]), r"0\.\.7, not -1"),
    ],
)
def test_bad_frames(frames, message):
    with pytest.raises(PopstreamError, match=message):
        golden.predict(network(), frames)


@pytest.mark.parametrize("value", [-5, 4])
def test_bad_signed_frames(value):
    signed = Network((Input("pixels", shape=(2,), bits=3, signed=True),))
    with pytest.raises(PopstreamError, match=rf"frames must hold -4\.\.3, not {value}"):
        golden.predict(signed, np.array([[0, value]]))
    assert golden.predict(signed, np.array([[-4, 3]])).tolist() == [[-4, 3]]
