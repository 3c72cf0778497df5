"""The published convolutional networks, as shapes filled with random numbers.

What plans, generates or simulates a network needs its shape and some weights, not its training. The
descriptions are in the notation of `sw.train.description`.

Sources: `cnv`, Y. Umuroglu et al., "FINN", 2017; `bvgg16`, N. Urbano Pintos et al., "B-VGG16",
2022, whose fully connected layers see 512 values, one a filter (the maximum over its 4x4 pixels);
`xnor-alexnet`, M. Rastegari et al., "XNOR-Net", 2016.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from sw.errors import unknown
from sw.network import Argmax, Conv, Dense, Input, Network, Pool, Type
from sw.train import description

__all__ = ["SHAPES", "Shape", "random_network"]


@dataclass(frozen=True)
class Shape:
    """Side of the square images of three 8-bit channels, the layers but the last, the classes."""

    side: int
    layers: str
    classes: int


SHAPES = {
    "cnv": Shape(32, "64C3-64C3-P2-128C3-128C3-P2-256C3-256C3-512-512", 10),
    "bvgg16": Shape(
        32,
        "64C3p1-64C3p1-P2-128C3p1-128C3p1-P2-256C3p1-256C3p1-256C3p1-P2-"
        "512C3p1-512C3p1-512C3p1-512C3p1-512C3p1-512C3p1-P4-1024",
        10,
    ),
    "xnor-alexnet": Shape(
        227, "96C11s4-P3s2-256C5p2-P3s2-384C3p1-384C3p1-256C3p1-P3s2-4096-4096", 1000
    ),
}


def random_network(
    name: str, width: float = 1, seed: int = 0, *, side: int | None = None
) -> Network:
    """A published network with random weights, padding and thresholds; equal arguments, equal bits.

    The thresholds lie about the middle of what they compare, such that about half the bits are 1
    (behind a pool, half of its own), so that every layer has something to get wrong.

    Parameters
    ----------
    name : str
        One of ``SHAPES``.
    width : float
        The number of filters and neurons is multiplied by this.
    seed : int
    side : int, optional
        Another side of the images.

    Raises
    ------
    PopstreamError
        The name is unknown.
    NetworkError
        A window does not fit images of this side.
    """
    if name not in SHAPES:
        raise unknown("shape", name, SHAPES)
    shape, rng = SHAPES[name], np.random.default_rng(seed)
    side = side or shape.side
    layers = description.scale(description.parse(shape.layers), width)
    nodes = [Input("pixels", shape=(side, side, 3))]
    x = nodes[0].infer()

    def add(kind, name, *arguments, **options):
        nonlocal x
        name += str(sum(node.name.startswith(name) for node in nodes))
        nodes.append(kind(name, (nodes[-1].name,), *arguments, **options))
        x = nodes[-1].infer(x)

    for layer, behind in zip(layers, (*layers[1:], None), strict=True):
        pooled = behind.size**2 if isinstance(behind, description.Pool) else 1
        match layer:
            case description.Conv(filters, kernel, stride, padding):
                weights = rng.integers(0, 2, (filters, kernel, kernel, x.shape[2]), np.uint8)
                add(
                    Conv,
                    "conv",
                    weights,
                    _thresholds(rng, weights, x, pooled),
                    stride=(stride, stride),
                    padding=(padding,) * 4,
                    fill=rng.integers(x.low, x.high + 1, x.shape[2]) if padding else 0,
                )
            case description.Pool(size, stride):
                add(Pool, "pool", size=(size, size), stride=(stride, stride))
            case description.Dense(neurons):
                weights = rng.integers(0, 2, (neurons, x.elements), np.uint8)
                add(Dense, "hidden", weights, _thresholds(rng, weights, x))
    nodes += [
        Dense(
            "scores",
            (nodes[-1].name,),
            rng.integers(0, 2, (shape.classes, x.elements), np.uint8),
        ),
        Argmax("label", ("scores",)),
    ]
    return Network(tuple(nodes))


def _thresholds(rng: np.random.Generator, weights: np.ndarray, x: Type, pooled: int = 1):
    """A threshold a neuron that the greatest of so many M reaches about every other time."""
    synapses, most = weights[0].size, x.high - x.low
    # Bits are 0 or `most`, k-bit numbers taken as evenly spread in 0..most.
    deviation = most * np.sqrt(synapses * (1 / 4 if most == 1 else 1 / 12))
    middle = NormalDist().inv_cdf(0.5 ** (1 / pooled)) + rng.normal(0, 0.3, len(weights))
    thresholds = np.rint(synapses * most / 2 + deviation * middle).astype(int)
    return thresholds.clip(0, synapses * most + 1)
