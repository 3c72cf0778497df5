import numpy as np
import pytest

from sw import golden
from sw.errors import PopstreamError
from sw.network import Dense, Kind, Layer, NetworkError, Pool
from sw.shapes import SHAPES, random_network

WEIGHTS = {  # counted by hand from the papers
    "cnv": 1_728 + 36_864 + 73_728 + 147_456 + 294_912 + 589_824 + 131_072 + 262_144 + 5_120,
    "bvgg16": 14_710_464 + 512 * 1024 + 10_240,
    "xnor-alexnet": 34_848 + 614_400 + 884_736 + 1_327_104 + 884_736 + 4096 * (9216 + 4096 + 1000),
}


@pytest.mark.parametrize("name", SHAPES)
def test_full_size(name):
    network = random_network(name)
    assert sum(node.weights.size for node in network.of(Layer)) == WEIGHTS[name]
    assert network.type(network.output).high == SHAPES[name].classes - 1


def test_cnv_by_hand():
    network = random_network("cnv")
    shapes = [network.type(node).shape for node in network.of((Layer, Pool))]
    assert shapes == [
        (30, 30, 64),
        (28, 28, 64),
        (14, 14, 64),
        (12, 12, 128),
        (10, 10, 128),
        (5, 5, 128),
        (3, 3, 256),
        (1, 1, 256),
        (512,),
        (512,),
        (10,),
    ]


@pytest.mark.parametrize(("name", "side"), [("cnv", 32), ("bvgg16", 32), ("xnor-alexnet", 67)])
def test_no_layer_is_constant(name, side):
    network = random_network(name, 1 / 8, side=side)
    frames = np.random.default_rng(1).integers(0, 256, (4, side, side, 3))
    values = golden.trace(network, frames)
    pooled = {name for node in network.of(Pool) for name in node.inputs}
    for node in network.nodes:
        if network.type(node).kind is Kind.SIGN and node.name not in pooled:
            assert 0.25 < values[node.name].mean() < 0.75, node.name
    assert len(set(values["scores"].ravel())) > 3


def test_equal_arguments_equal_bits():
    a, b, c = (random_network("cnv", 1 / 16, seed) for seed in (3, 3, 4))
    for one, same, other in zip(a.of(Layer), b.of(Layer), c.of(Layer), strict=True):
        assert np.array_equal(one.weights, same.weights)
        assert not np.array_equal(one.weights, other.weights)
        if one.name != "scores":
            assert np.array_equal(one.thresholds, same.thresholds)


def test_width_leaves_the_classes():
    network = random_network("xnor-alexnet", 1 / 64, side=67)
    assert [node.neurons for node in network.of(Dense)] == [64, 64, 1000]


def test_refusals():
    with pytest.raises(PopstreamError, match=r"unknown shape 'cnw'; .*did you mean 'cnv'"):
        random_network("cnw")
    with pytest.raises(NetworkError, match="conv5: a window of 3x3 does not fit an image of 2x2"):
        random_network("cnv", 1 / 16, side=28)
