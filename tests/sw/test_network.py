import numpy as np
import pytest

from sw.network import Argmax, Binarise, Dense, Input, Kind, Network, NetworkError, Type

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
        (lambda: Dense("d", ("x",), W, [0, 0]), r"shape \(3,\), not \(2,\)"),
        (lambda: Dense("d", ("x",), W, [0, 6, 0]), r"in 0\.\.5, not 6 \(neuron 1\)"),
        (lambda: Dense("d", ("x",), W, [0, 0, -1]), r"in 0\.\.5, not -1 \(neuron 2\)"),
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
        (
            lambda: Network(nodes(hidden=Dense("hidden", ("pixels",), W, [0, 0, 0]))),
            "hidden: takes signs, not integers",
        ),
        (lambda: Network((*nodes(), Dense("end", ("hidden",), W[:, :3]))), "label: no node takes"),
        (lambda: Network(nodes(), ("a", "b", "c")), "yields 2 classes, but 3 are named"),
    ],
)
def test_errors(make, message):
    with pytest.raises(NetworkError, match=message):
        make()
