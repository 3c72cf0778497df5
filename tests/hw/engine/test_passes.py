import numpy as np
import pytest

from hw.engine.passes import Pass, passes, tail
from sw.network import Argmax, Binarise, Conv, Dense, Input, Network, NetworkError, Pool


def bits(*shape):
    return np.zeros(shape, dtype=int)


IMAGE = Input("pixels", shape=(6, 6, 3))
CONV = Conv("conv", ("pixels",), bits(4, 3, 3, 3), bits(4), padding=(1, 0, 1, 1))
POOL = Pool("pool", ("conv",))
DENSE = Dense("dense", ("pool",), bits(5, 24))
LABEL = Argmax("label", ("dense",))


def test_a_chain():
    network = tail(Network((IMAGE, CONV, POOL, DENSE, LABEL)), "conv")
    assert [node.name for node in network.nodes] == ["conv", "pool", "dense", "label"]
    assert network.type("conv").shape == (5, 6, 4)
    assert passes(network) == (
        Pass("pool", True, False, (5, 6, 4), (2, 2), (2, 2), (0, 0, 0, 0), (2, 3, 4)),
        Pass("dense", False, True, (2, 3, 4), (2, 3), (1, 1), (0, 0, 0, 0), (1, 1, 5)),
    )


def test_a_convolution_and_vectors():
    nodes = (
        Input("x", shape=(6, 6, 3), bits=1),
        Conv("conv", ("x",), bits(4, 3, 2, 3), bits(2, 3, 4), padding=(1, 0, 1, 1), stride=(2, 1)),
        Dense("hidden", ("conv",), bits(9, 84), bits(9)),
        Dense("scores", ("hidden",), bits(2, 9)),
    )
    conv, hidden, scores = passes(Network(nodes))
    assert conv.classes == (2, 3) and conv.outputs == (3, 7, 4) and conv.padding == (1, 0, 1, 1)
    assert (conv.synapses, conv.pixels, conv.weight_bits) == (18, 21, 72)
    assert hidden.image == (3, 7, 4) and hidden.kernel == (3, 7)
    assert scores.image == (1, 1, 9) and scores.scores


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((IMAGE, CONV), "conv: an engine takes bits, not 0..255"),
        (
            (
                Input("x", shape=(4,), bits=1),
                Dense("a", ("x",), bits(3, 4), bits(3, 3)),
                Dense("b", ("a",), bits(3, 3)),
            ),
            "a: an engine yields bits, not 4 levels",
        ),
        (
            (Input("x", shape=(4,), bits=1), Dense("a", ("x",), bits(3, 4), bits(3))),
            "a: an engine ends in a layer without thresholds",
        ),
        (
            (Input("x", shape=(4,), bits=1), Binarise("a", ("x",)), Dense("b", ("a",), bits(1, 4))),
            "a: an engine does no Binarise",
        ),
    ],
)
def test_what_an_engine_does_not_do(nodes, message):
    with pytest.raises(NetworkError, match=message):
        passes(Network(nodes))


def test_where_no_tail_begins():
    network = Network((IMAGE, CONV, POOL, DENSE))
    with pytest.raises(NetworkError, match="no node is named 'conw'"):
        tail(network, "conw")
    with pytest.raises(NetworkError, match=r"pixels: an engine takes bits, not 0\.\.255"):
        tail(network, "pixels")
