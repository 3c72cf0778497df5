"""What an engine does to a batch: one pass for each layer or pool, as shapes and steps.

A dense layer is the convolution whose one window is the whole image, so there are two kinds of
pass: products (windows times weights) and pools (OR over windows).
"""

from dataclasses import dataclass

from sw.network import Argmax, Conv, Dense, Input, Layer, Network, NetworkError, Pool, Type

__all__ = ["Pass", "passes", "tail"]


@dataclass(frozen=True)
class Pass:
    """One pass over the images of a batch.

    Parameters
    ----------
    name : str
        Of the node.
    pool : bool
        OR over windows; else a product with weights.
    scores : bool
        Its results are the network's scores. The last pass, and no other.
    image : (height, width, channels)
        What it reads, a frame.
    kernel, stride : (rows, columns)
    padding : (top, bottom, left, right)
    outputs : (height, width, channels)
        What it writes, a frame.
    classes : (row classes, column classes)
        Of windows at the border that have thresholds of their own.
    """

    name: str
    pool: bool
    scores: bool
    image: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    outputs: tuple[int, int, int]
    classes: tuple[int, int] = (1, 1)

    @property
    def synapses(self) -> int:
        """Of a neuron."""
        return self.kernel[0] * self.kernel[1] * self.image[2]

    @property
    def pixels(self) -> int:
        """Output pixels of a frame."""
        return self.outputs[0] * self.outputs[1]

    @property
    def weight_bits(self) -> int:
        """Bits of its weights, without any padding."""
        return 0 if self.pool else self.synapses * self.outputs[2]


def _image(x: Type) -> tuple[int, int, int]:
    """The shape of a value as an image; what is no image is one pixel."""
    return x.shape if len(x.shape) == 3 else (1, 1, x.elements)


def tail(network: Network, after: str) -> Network:
    """The part of a network behind a node whose value is bits, with those bits as its input.

    Raises
    ------
    NetworkError
        There is no such node, or its value is not bits.
    """
    names = [node.name for node in network.nodes]
    if after not in names:
        raise NetworkError(f"no node is named {after!r}")
    x = network.type(after)
    if (x.low, x.high) != (0, 1):
        raise NetworkError(f"{after}: an engine takes bits, not {x.low}..{x.high}")
    nodes = (Input(after, shape=x.shape, bits=1), *network.nodes[names.index(after) + 1 :])
    return Network(nodes, network.classes)


def passes(network: Network) -> tuple[Pass, ...]:
    """The passes of a chain of `Conv`, `Dense` and `Pool` on bits that ends in scores.

    An argmax behind the scores is no pass.

    Raises
    ------
    NetworkError
        Naming the node that an engine does not do, and why.
    """
    nodes = [node for node in network.nodes[1:] if not isinstance(node, Argmax)]
    made = []
    for before, node in zip((network.input, *nodes), nodes, strict=False):
        if node.inputs != (before.name,):
            raise NetworkError(f"{node.name}: an engine does chains, and this takes {node.inputs}")
        taken, yielded = network.type(before), network.type(node)
        if (taken.low, taken.high) != (0, 1):
            raise NetworkError(f"{node.name}: an engine takes bits, not {taken.low}..{taken.high}")
        image, outputs = _image(taken), _image(yielded)
        match node:
            case Conv():
                classes = (1, 1)
                if node.thresholds is not None and node.thresholds.ndim > 2:
                    classes = node.thresholds.shape[:2]
                geometry = (node.kernel, node.stride, node.padding, outputs, classes)
            case Dense():
                geometry = (image[:2], (1, 1), (0, 0, 0, 0), outputs)
            case Pool():
                geometry = (node.size, node.stride, (0, 0, 0, 0), outputs)
            case _:
                raise NetworkError(f"{node.name}: an engine does no {type(node).__name__}")
        if isinstance(node, Layer) and node.levels > 1:
            raise NetworkError(f"{node.name}: an engine yields bits, not {node.levels + 1} levels")
        scores = isinstance(node, Layer) and node.thresholds is None
        made.append(Pass(node.name, isinstance(node, Pool), scores, image, *geometry))
    if not made or not made[-1].scores:
        name = network.output.name
        raise NetworkError(f"{name}: an engine ends in a layer without thresholds, in scores")
    return tuple(made)
