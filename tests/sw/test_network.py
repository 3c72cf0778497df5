import numpy as np
import pytest

from sw.network import (
    Argmax,
    Binarise,
    Conv,
    Dense,
    Input,
    Kind,
    Layer,
    Network,
    NetworkError,
    Pool,
    Type,
    border_classes,
)

W = np.zeros((3, 4), dtype=np.uint8)


def nodes(**changes):
    made = {
        "pixels": Input("pixels", shape=(2, 2), bits=8),
        "bits": Binarise("bits", ("pixels",), 128),
        "hidden": Dense("hidden", ("bits",), W, [0, 2, 5]),
        "scores": Dense("scores", ("hidden",), np.ones((2, 3), dtype=np.uint8)),
        "label": Argmax("label", ("scores",)),
    }
    return tuple((made | changes).values())


def dense(thresholds):
    return Network(nodes(hidden=Dense("hidden", ("bits",), W, thresholds)))


def test_types():
    network = Network(nodes(), ("no", "yes"))
    assert network.type("pixels") == Type(Kind.INTEGER, (2, 2), 0, 255)
    assert network.type("bits") == Type(Kind.SIGN, (2, 2), 0, 1)
    assert network.type("hidden") == Type(Kind.SIGN, (3,), 0, 1)
    assert network.type("scores") == Type(Kind.INTEGER, (2,), 0, 3)
    assert network.type("label") == Type(Kind.INTEGER, (1,), 0, 1)
    assert network.type("scores").width == 2
    assert network.input.name == "pixels" and network.output.name == "label"
    assert [node.name for node in network.of(Dense)] == ["hidden", "scores"]


def test_scores():
    scores = Network(nodes(), ("no", "yes")).scores()
    assert scores.output.name == "scores" and scores.classes == ()
    with pytest.raises(NetworkError, match="scores: no argmax, so these are the scores already"):
        scores.scores()


@pytest.mark.parametrize(
    ("low", "high", "width"),
    [(0, 0, 1), (0, 1, 1), (0, 255, 8), (0, 256, 9), (-1, 0, 1), (-4, 3, 3)],
)
def test_width(low, high, width):
    assert Type(Kind.INTEGER, (1,), low, high).width == width


def test_size_by_the_formula():
    # B-128,88 of the paper is 17.95 KiB with a floating-point output layer of 88 x 10; here that
    # layer is binary, so 32 x (88 x 10 + 10) bits become 880, and batch norm adds 64 a neuron.
    layers = [(128, 784), (88, 128), (10, 88)]
    dense = [np.zeros(shape, dtype=np.uint8) for shape in layers]
    network = Network(
        (
            Input("pixels", shape=(784,), bits=8),
            Binarise("bits", ("pixels",), 128),
            Dense("a", ("bits",), dense[0], [0] * 128),
            Dense("b", ("a",), dense[1], [0] * 88),
            Dense("c", ("b",), dense[2]),
        )
    )
    paper_bits = 17.95 * 8192
    expected = paper_bits - 32 * (880 + 10) + 880 + 64 * 216
    assert network.size_kib == pytest.approx(expected / 8192, abs=0.01)


def test_numbers_cannot_change():
    with pytest.raises(ValueError, match="read-only"):
        Network(nodes()).nodes[2].weights[0, 0] = 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Input("Pixels", shape=(2,)), "lower-case identifier .* not 'Pixels'"),
        (lambda: Input("pixels", shape=()), r"positive integers, not \(\)"),
        (lambda: Input("pixels", shape=(2, 0)), r"positive integers, not \(2, 0\)"),
        (lambda: Input("pixels", shape=(1 << 13, 1 << 13)), r"over 2\^24"),
        (lambda: Input("pixels", shape=(2,), bits=9), r"bits must be in 1\.\.8, not 9"),
        (lambda: Dense("d", ("x",), W[0]), r"\(neurons, synapses\), not \(4,\)"),
        (lambda: Dense("d", ("x",), W + 2), r"weights must be in 0\.\.1, not 2 .*\(0, 0\)"),
        (lambda: Dense("d", ("x",), W.astype(float)), "must be integers, not float64"),
        (lambda: Dense("d", ("x",), W, [0, 0]), r"shape \(3,\) or \(3, levels\), not \(2,\)"),
        (lambda: dense([0, 6, 0]), r"hidden: .* in 0\.\.5, not 6 \(neuron 1\)"),
        (lambda: dense([0, 0, -1]), r"in 0\.\.5, not -1 \(neuron 2\)"),
        (lambda: Dense("d", ("x", "y"), W), "d: takes 1 inputs, not 2"),
        (lambda: Binarise("b", ("x",), 1 << 40), "must fit int32"),
        (lambda: Network(()), "first node must be its input"),
        (lambda: Network(nodes()[1:]), "first node must be its input"),
        (lambda: Network((*nodes(), *nodes()[:1])), "pixels: two nodes have this name"),
        (lambda: Network((*nodes(), Input("more", shape=(1,)))), "a network has one input"),
        (
            lambda: Network(nodes(hidden=Dense("hidden", ("label",), W))),
            "hidden: takes 'label', which no node before it yields",
        ),
        (
            lambda: Network(nodes(bits=Binarise("bits", ("pixels",), 257))),
            r"bits: thresholds must be in 0\.\.256, not 257",
        ),
        (
            lambda: Network(nodes(bits=Binarise("bits", ("pixels",), [1, 2]))),
            r"one number or of shape \(2, 2\), not \(2,\)",
        ),
        (
            lambda: Network(nodes(scores=Dense("scores", ("hidden",), W))),
            "scores: has 4 synapses a neuron, its input 3 values",
        ),
        (lambda: Input("pixels", shape=(2,), signed=1), "signed must be true or false, not 1"),
        (
            lambda: Network((*nodes()[:2], Dense("a", ("bits",), W), Dense("b", ("a",), W[:, 1:]))),
            r"b: takes bits or integers of 1 to 8 bits, not 0\.\.4; binarise them first",
        ),
        (lambda: Network((*nodes(), Dense("end", ("hidden",), W[:, :3]))), "label: no node takes"),
        (lambda: Network(nodes(), ("a", "b", "c")), "yields 2 classes, but 3 are named"),
    ],
)
def test_errors(make, message):
    with pytest.raises(NetworkError, match=message):
        make()


# Layers of integers and of levels


def test_signed_input():
    pixels = Input("pixels", shape=(4,), bits=3, signed=True)
    network = Network((pixels, Dense("scores", ("pixels",), W)))
    assert network.type("pixels") == Type(Kind.INTEGER, (4,), -4, 3)
    assert network.type("pixels").width == 3
    assert network.type("scores") == Type(Kind.INTEGER, (3,), 0, 4 * 7)
    one = Input("pixels", shape=(1,), bits=1, signed=True)
    assert Network((one,)).type(one) == Type(Kind.INTEGER, (1,), -1, 0)


def test_levels():
    pixels = Input("pixels", shape=(4,), bits=2)
    levels = Dense("levels", ("pixels",), W, [[0, 0, 13], [1, 2, 3], [4, 4, 4]])
    network = Network((pixels, levels, Dense("scores", ("levels",), W[:, :3])))
    assert network.type("levels") == Type(Kind.INTEGER, (3,), 0, 3)
    assert network.type("scores") == Type(Kind.INTEGER, (3,), 0, 9)
    assert [node.levels for node in network.of(Layer)] == [3, 0]


def levels(thresholds):
    pixels = Input("pixels", shape=(4,), bits=2)
    return Network((pixels, Dense("levels", ("pixels",), W, thresholds)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: levels([[0, 0, 14], [0, 0, 0], [0, 0, 0]]), r"0\.\.13, not 14 \(neuron, level"),
        (lambda: levels([[0, 0, 0], [1, 2, 1], [0, 0, 0]]), r"must not fall .* \(1, 1\)"),
        (lambda: levels(np.zeros((3, 2), int)), r"levels: 2\^k - 1 thresholds .* not 2$"),
        (lambda: levels(np.zeros((3, 511), int)), "k-bit levels, k in 2..8, not 511"),
        (lambda: levels(np.zeros((2, 3), int)), r"levels: .* shape \(3,\) or \(3, levels\), not"),
        (lambda: levels(np.zeros((1, 1, 3), int)), r"levels: .* not \(1, 1, 3\)"),
        (lambda: levels(4), r"levels: thresholds must have shape .* not \(\)"),
        (
            lambda: Network(
                (
                    Input("x", shape=(4096, 4096)),
                    Dense("d", ("x",), np.zeros((1, 1 << 24), np.uint8)),
                )
            ),
            r"d: 16777216 synapses of 8 bits count beyond 2\^31",
        ),
    ],
)
def test_bad_levels(make, message):
    with pytest.raises(NetworkError, match=message):
        make()


# Images


def by_hand(size, kernel, stride, before, after):
    """Which kernel elements fall on the image, window by window, counted one by one."""
    seen, classes, start = [], [], -before
    while start + kernel <= size + after:
        inside = tuple(0 <= start + offset < size for offset in range(kernel))
        if inside not in seen:
            seen.append(inside)
        classes.append(seen.index(inside))
        start += stride
    return classes


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_border_classes(size, kernel, stride):
    for before in range(kernel):
        for after in range(kernel):
            found = border_classes(size, kernel, stride, before, after)
            assert found.tolist() == by_hand(size, kernel, stride, before, after)


def test_border_classes_of_a_common_layer():
    assert border_classes(6, 3, 1, 1, 1).tolist() == [0, 1, 1, 1, 1, 2]
    assert border_classes(6, 3, 2, 1, 1).tolist() == [0, 1, 1]
    assert border_classes(6, 3, 1, 0, 0).tolist() == [0] * 4
    assert border_classes(2, 3, 1, 0, 0).tolist() == []


K = np.zeros((4, 3, 2, 5), dtype=np.uint8)  # four filters of 3x2 windows on 5 channels


def conv(shape=(7, 6, 5), bits=1, signed=False, weights=K, thresholds=None, **options):
    pixels = Input("pixels", shape=shape, bits=bits, signed=signed)
    return Network((pixels, Conv("conv", ("pixels",), weights, thresholds, **options)))


def pool(shape=(7, 6, 5), **options):
    return Network((Input("pixels", shape=shape), Pool("pool", ("pixels",), **options)))


def test_conv_types():
    assert conv().type("conv") == Type(Kind.INTEGER, (5, 5, 4), 0, 30)
    assert conv(bits=3).type("conv") == Type(Kind.INTEGER, (5, 5, 4), 0, 210)
    strided = conv(stride=(2, 3), padding=(1, 2, 1, 0))
    assert strided.type("conv").shape == ((7 + 3 - 3) // 2 + 1, (6 + 1 - 2) // 3 + 1, 4)
    assert conv(thresholds=[0, 1, 2, 31]).type("conv") == Type(Kind.SIGN, (5, 5, 4), 0, 1)
    assert conv(thresholds=[[0, 1, 2]] * 4).type("conv") == Type(Kind.INTEGER, (5, 5, 4), 0, 3)
    whole = conv(shape=(3, 2, 5), thresholds=np.zeros((1, 1, 4, 7), int))
    assert whole.type("conv") == Type(Kind.INTEGER, (1, 1, 4), 0, 7)
    layer = conv(padding=(2, 2, 1, 0)).output
    assert (layer.filters, layer.neurons, layer.synapses) == (4, 4, 30)
    assert (layer.kernel, layer.channels, layer.matrix.shape) == ((3, 2), 5, (4, 30))
    assert [each.tolist() for each in layer.classes(3, 3)] == [[0, 1, 2, 3, 4], [0, 1, 1]]


def test_pool_types():
    assert pool().type("pool") == Type(Kind.INTEGER, (3, 3, 5), 0, 255)
    assert pool(size=(3, 3), stride=(2, 1)).type("pool").shape == (3, 4, 5)
    network = conv(thresholds=[0, 0, 0, 0])
    network = Network((*network.nodes, Pool("pool", ("conv",))))
    assert network.type("pool") == Type(Kind.SIGN, (2, 2, 4), 0, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: conv((2, 6, 5)), "conv: a window of 3x2 does not fit an image of 2x6$"),
        (
            lambda: conv((7, 1, 5), weights=np.zeros((1, 3, 5, 5), int), padding=(0, 0, 1, 0)),
            "conv: a window of 3x5 does not fit an image of 7x1, padded to 7x2",
        ),
        (lambda: conv((7, 6, 3)), "conv: has weights of 5 channels, its input 3"),
        (lambda: conv((7, 30)), r"conv: takes an image \(height, width, channels\), not \(7, 30\)"),
        (lambda: conv(padding=(0, 3, 0, 0)), "leaves windows of 3x2 beside the image"),
        (lambda: conv(padding=(0, 0, 2, 0)), "leaves windows of 3x2 beside the image"),
        (lambda: conv(padding=(1, 1)), r"padding must be 4 integers of at least 0, not \(1, 1\)"),
        (lambda: conv(padding=(0, 0, 0, -1)), "padding must be 4 integers of at least 0"),
        (lambda: conv(stride=(0, 1)), r"stride must be 2 integers of at least 1, not \(0, 1\)"),
        (lambda: conv(stride=1), "stride must be 2 integers of at least 1, not 1"),
        (lambda: conv(stride=(1.0, 1)), "stride must be 2 integers of at least 1"),
        (lambda: conv(fill=2), r"conv: fill must be in 0\.\.1, not 2"),
        (lambda: conv(fill=[0, 0, 1, -1, 0]), r"fill must be in 0\.\.1, not -1 \(channel 3\)"),
        (lambda: conv(bits=4, signed=True, fill=8), r"fill must be in -8\.\.7, not 8"),
        (lambda: conv(fill=[0, 0]), r"fill must be one number or of shape \(5,\), not \(2,\)"),
        (lambda: conv(weights=K[0]), r"\(filters, kernel rows, kernel columns, channels\), not"),
        (lambda: conv(weights=K + 2), r"weights must be in 0\.\.1, not 2 .*\(0, 0, 0, 0\)"),
        (lambda: conv(thresholds=[0, 0]), r"conv: .* \(4,\) or .*row classes.*, not \(2,\)"),
        (lambda: conv(thresholds=[0, 0, 32, 0]), r"in 0\.\.31, not 32 \(filter 2\)"),
        (
            lambda: conv(thresholds=[[[0, 0, 0, -1]]]),
            r"not -1 \(row class, column class, filter \(0, 0, 3\)\)",
        ),
        (
            lambda: conv(thresholds=np.zeros((1, 1, 4), int), padding=(1, 1, 0, 0)),
            r"overhang an image of 7x6 in \(3, 1\) classes .* thresholds have \(1, 1\)",
        ),
        (lambda: pool((1, 6, 5)), "pool: a window of 2x2 leaves nothing of an image of 1x6"),
        (lambda: pool((7, 30)), r"pool: takes an image \(height, width, channels\), not \(7, 30\)"),
        (lambda: pool(size=(0, 1)), "size must be 2 integers of at least 1"),
        (lambda: pool(stride=(1, 1, 1)), "stride must be 2 integers of at least 1"),
    ],
)
def test_bad_images(make, message):
    with pytest.raises(NetworkError, match=message):
        make()
