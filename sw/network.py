"""The integer network: a typed graph of operations on small integers, checked when it is made.

A bit stands for a sign: 1 is +1, 0 is -1. A value on an edge of the graph has a `Type`: its shape
and the range of its integers. Each operation knows the type it yields from the types it takes, so a
graph that was constructed is a graph that makes sense; whoever reads it (golden model, planner,
gateware) need not check again.

Nodes are listed in the order they are computed; a node may only take what stands before it, so the
graph has no cycles.

A layer (`Dense`, `Conv`) multiplies its input by weights of +1 and -1, and always counts matches.
An element x in low..high is taken as u = x - low, in 0..L with L = high - low = 2^k - 1:

    M = sum over synapses of (u if the weight is +1 else L - u),  in 0..n*L

For bits (L = 1) that is popcount(xnor(x, w)), and the sum over +1 and -1 is 2M - n. For k bits it
is the same on each bit plane, weighed: L - u is the complement of u's bits. The sum of w*x is
M - L*minus + low*(plus - minus), of a neuron with so many weights of either sign.
"""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from sw.errors import PopstreamError

__all__ = [
    "Argmax",
    "Binarise",
    "Conv",
    "Dense",
    "Input",
    "Kind",
    "Layer",
    "Network",
    "NetworkError",
    "Node",
    "Pool",
    "Type",
    "border_classes",
]


class NetworkError(PopstreamError):
    """A network that makes no sense; the message names the node, the rule and the value."""


class Kind(enum.Enum):
    """What the integers on an edge stand for."""

    SIGN = "sign"  # 0 stands for -1, 1 for +1
    INTEGER = "integer"  # themselves


@dataclass(frozen=True)
class Type:
    """The type of a value: `low <= x <= high` for each element x of an array of this `shape`."""

    kind: Kind
    shape: tuple[int, ...]
    low: int
    high: int

    @property
    def elements(self) -> int:
        """How many integers the value has."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def width(self) -> int:
        """Bits an element takes (two's complement when `low` is negative), at least 1."""
        if self.low < 0:
            return max(int(self.high).bit_length(), int(-self.low - 1).bit_length()) + 1
        return max(1, int(self.high).bit_length())


# How a field's array is stored: 0 and 1 packed, or as 32-bit integers.
_BITS = {"stored": "bits"}
_INTEGERS = {"stored": "integers"}
# Not stored where it has its default: files that were written before it existed stay as they are.
_LATER = {"later": True}


def _frozen(array, dtype, node, what) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype == bool:
        array = array.astype(dtype)
    if not np.issubdtype(array.dtype, np.integer):
        raise NetworkError(f"{node}: {what} must be integers, not {array.dtype}")
    copy = np.array(array, dtype=dtype, order="C")
    if not np.array_equal(copy, array):
        raise NetworkError(f"{node}: {what} must fit {np.dtype(dtype).name}")
    copy.flags.writeable = False
    return copy


def _in_range(array, low, high, node, what, each):
    """Raise NetworkError unless every element lies in low..high, naming the first that does not."""
    wrong = np.argwhere((array < low) | (array > high))
    if len(wrong):
        at = tuple(int(index) for index in wrong[0])
        where = f" ({each} {at[0] if len(at) == 1 else at})" if at else ""
        raise NetworkError(f"{node}: {what} must be in {low}..{high}, not {array[at]}{where}")


def _sizes(node: "Node", what: str, count: int, least: int) -> None:
    """Make a field a tuple; raise NetworkError unless it is `count` integers, each >= `least`."""
    value = getattr(node, what)
    integral = isinstance(value, Sequence) and all(type(each) is int for each in value)
    if not integral or len(value) != count or min(value) < least:
        raise NetworkError(
            f"{node.name}: {what} must be {count} integers of at least {least}, not {value!r}"
        )
    object.__setattr__(node, what, tuple(value))


@dataclass(frozen=True, eq=False)
class Node:
    """One operation: its name, and the names of the nodes whose values it takes.

    Raises
    ------
    NetworkError
        When the name is not a lower-case identifier of at most 40 characters.
    """

    name: str
    inputs: tuple[str, ...]

    arity = 1  #: how many values the operation takes

    def __post_init__(self):
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", self.name):
            raise NetworkError(
                f"a node's name must be a lower-case identifier of at most 40 characters, "
                f"not {self.name!r}"
            )
        if len(self.inputs) != self.arity:
            raise NetworkError(f"{self.name}: takes {self.arity} inputs, not {len(self.inputs)}")

    def infer(self, *types: Type) -> Type:
        """The type this operation yields from the types it takes; NetworkError if it cannot."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Input(Node):
    """The frame as the outside world gives it: integers of 1 to 8 bits.

    Parameters
    ----------
    shape : tuple of int
        Shape of a frame in raster order, e.g. (28, 28); of an image with channels (height, width,
        channels).
    bits : int
        Width of an element, 1..8.
    signed : bool
        Whether elements are -2^(bits-1)..2^(bits-1)-1, else 0..2^bits-1.
    """

    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    bits: int = 8
    signed: bool = field(default=False, metadata=_LATER)

    arity = 0

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.shape, Sequence):
            object.__setattr__(self, "shape", tuple(self.shape))
        if (
            not isinstance(self.shape, tuple)
            or not self.shape
            or not all(type(size) is int and 1 <= size <= 1 << 20 for size in self.shape)
        ):
            raise NetworkError(f"{self.name}: shape must be positive integers, not {self.shape}")
        if np.prod(self.shape, dtype=object) > 1 << 24:
            raise NetworkError(f"{self.name}: a frame of {self.shape} is over 2^24 elements")
        if type(self.bits) is not int or not 1 <= self.bits <= 8:
            raise NetworkError(f"{self.name}: bits must be in 1..8, not {self.bits}")
        if type(self.signed) is not bool:
            raise NetworkError(f"{self.name}: signed must be true or false, not {self.signed!r}")

    def infer(self) -> Type:
        low = -(1 << self.bits - 1) if self.signed else 0
        return Type(Kind.INTEGER, self.shape, low, low + (1 << self.bits) - 1)


@dataclass(frozen=True, eq=False)
class Binarise(Node):
    """Bit = (x >= threshold), element by element.

    Parameters
    ----------
    thresholds : int or array of the input's shape
        In low..high+1 of the input's range: low is always on, high+1 never.
    """

    thresholds: np.ndarray = field(default=0, metadata=_INTEGERS)

    def __post_init__(self):
        super().__post_init__()
        array = _frozen(self.thresholds, np.int32, self.name, "thresholds")
        object.__setattr__(self, "thresholds", array)

    def infer(self, x: Type) -> Type:
        if x.kind is not Kind.INTEGER:
            raise NetworkError(f"{self.name}: takes integers, not {x.kind.value}s")
        if self.thresholds.shape not in ((), x.shape):
            raise NetworkError(
                f"{self.name}: thresholds must be one number or of shape {x.shape}, "
                f"not {self.thresholds.shape}"
            )
        _in_range(self.thresholds, x.low, x.high + 1, self.name, "thresholds", "element")
        return Type(Kind.SIGN, x.shape, 0, 1)


@dataclass(frozen=True, eq=False)
class Layer(Node):
    """What `Dense` and `Conv` share: binary weights, and thresholds on the matches M.

    Without thresholds the output is M itself. With one a neuron it is the bit (M >= T), with
    2^k - 1 a neuron the level 0..2^k-1: how many of its thresholds M reaches.
    """

    weights: np.ndarray = field(default=None, metadata=_BITS)
    thresholds: np.ndarray | None = field(default=None, metadata=_INTEGERS)

    _axes = ()  # what an index into the weights means
    _thresholds_ndim = 2  # at most

    def __post_init__(self):
        super().__post_init__()
        weights = _frozen(self.weights, np.uint8, self.name, "weights")
        if weights.ndim != len(self._axes) or 0 in weights.shape:
            raise NetworkError(
                f"{self.name}: weights must have shape ({', '.join(self._axes)}), "
                f"not {weights.shape}"
            )
        _in_range(weights, 0, 1, self.name, "weights", "at")
        object.__setattr__(self, "weights", weights)
        if self.thresholds is not None:
            thresholds = _frozen(self.thresholds, np.int32, self.name, "thresholds")
            object.__setattr__(self, "thresholds", thresholds)
            ndim, by_neuron = thresholds.ndim, thresholds.shape[-2 if self._by_level else -1 :]
            if not 1 <= ndim <= self._thresholds_ndim or by_neuron[0] != self.neurons:
                shapes = f"({self.neurons},) or ({self.neurons}, levels)"
                classes = ", alone or behind (row classes, column classes)"
                raise NetworkError(
                    f"{self.name}: thresholds must have shape {shapes}"
                    f"{classes if self._thresholds_ndim == 4 else ''}, not {thresholds.shape}"
                )

    @property
    def neurons(self) -> int:
        return self.weights.shape[0]

    @property
    def synapses(self) -> int:
        return self.weights[0].size

    @property
    def matrix(self) -> np.ndarray:
        """The weights as (neurons, synapses)."""
        return self.weights.reshape(self.neurons, -1)

    @property
    def levels(self) -> int:
        """Thresholds a neuron: 0 of scores, 1 of bits, 2^k - 1 of levels."""
        if self.thresholds is None:
            return 0
        return self.thresholds.shape[-1] if self._by_level else 1

    @property
    def _by_level(self) -> bool:
        """Whether the last axis of the thresholds is the level, not the neuron."""
        return self.thresholds.ndim % 2 == 0

    def _most(self, x: Type) -> int:
        """n*L: the greatest M that input of this type gives."""
        if x.high - x.low != (1 << x.width) - 1 or x.width > 8:
            raise NetworkError(
                f"{self.name}: takes bits or integers of 1 to 8 bits, not {x.low}..{x.high}; "
                f"binarise them first"
            )
        most = self.synapses * (x.high - x.low)
        if most >= 1 << 31:
            raise NetworkError(
                f"{self.name}: {self.synapses} synapses of {x.width} bits count beyond 2^31"
            )
        return most

    def _yields(self, shape: tuple[int, ...], most: int) -> Type:
        """The output's type, thresholds checked but for their classes."""
        if self.thresholds is None:
            return Type(Kind.INTEGER, shape, 0, most)
        each = ("row class, column class, " if self.thresholds.ndim > 2 else "") + self._axes[0][
            :-1
        ]
        if not self._by_level:
            _in_range(self.thresholds, 0, most + 1, self.name, "thresholds", each)
            return Type(Kind.SIGN, shape, 0, 1)
        if self.levels not in (3, 7, 15, 31, 63, 127, 255):
            raise NetworkError(
                f"{self.name}: 2^k - 1 thresholds a neuron make k-bit levels, k in 2..8, "
                f"not {self.levels}"
            )
        _in_range(self.thresholds, 0, most + 1, self.name, "thresholds", f"{each}, level")
        falls = np.argwhere(np.diff(self.thresholds, axis=-1) < 0)
        if len(falls):
            raise NetworkError(
                f"{self.name}: thresholds must not fall from level to level "
                f"({each}, level {tuple(int(index) for index in falls[0])})"
            )
        return Type(Kind.INTEGER, shape, 0, self.levels)


@dataclass(frozen=True, eq=False)
class Dense(Layer):
    """Binary matrix-vector product, then thresholds on its matches.

    The input is taken in raster order, whatever its shape.

    Parameters
    ----------
    weights : array of 0 and 1, shape (neurons, synapses)
    thresholds : array of int, shape (neurons,) or (neurons, levels), or None
        In 0..n*L+1: 0 is always on, n*L+1 never. Levels are 2^k - 1, k in 2..8, and do not fall.
    """

    _axes = ("neurons", "synapses")

    def infer(self, x: Type) -> Type:
        if x.elements != self.synapses:
            raise NetworkError(
                f"{self.name}: has {self.synapses} synapses a neuron, its input {x.elements} values"
            )
        return self._yields((self.neurons,), self._most(x))


def _outputs(size: int, kernel: int, stride: int, before: int = 0, after: int = 0) -> int:
    """How many windows an axis has; not positive where none fits."""
    return (size + before + after - kernel) // stride + 1


def border_classes(size: int, kernel: int, stride: int, before: int, after: int) -> np.ndarray:
    """The class of each output position of an axis, by which kernel elements fall on the image.

    Positions whose windows overhang the image alike have the same class; classes are numbered in
    order of first appearance.

    Parameters
    ----------
    size : int
        Of the image, without its padding.
    kernel, stride : int
    before, after : int
        Padding.

    Returns
    -------
    int array, (outputs,)
        In 0..classes-1.
    """
    starts = np.arange(_outputs(size, kernel, stride, before, after)) * stride - before
    overhang = zip(np.maximum(-starts, 0), np.maximum(starts + kernel - size, 0), strict=True)
    seen = {}
    return np.array([seen.setdefault(each, len(seen)) for each in overhang], dtype=int)


@dataclass(frozen=True, eq=False)
class Conv(Layer):
    """Binary convolution of an image (height, width, channels), then thresholds on its matches.

    A window's synapses are taken in the order row, column, channel. The image is padded with a
    constant, which the network was trained with. One that was trained with another padding (zeros,
    say, which no bit is) is exact with thresholds of their own for each way a window overhangs the
    image: see `border_classes`.

    Parameters
    ----------
    weights : array of 0 and 1, shape (filters, kernel rows, kernel columns, channels)
    thresholds : array of int, or None
        In 0..n*L+1, of shape (filters,), or (filters, levels), or either behind
        (row classes, column classes). Levels are 2^k - 1, k in 2..8, and do not fall.
    stride : (rows, columns)
    padding : (top, bottom, left, right)
        Each less than the kernel.
    fill : int, or array of int, shape (channels,)
        What the padding holds, in the input's low..high.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    fill: np.ndarray = field(default=0, metadata=_INTEGERS)

    _axes = ("filters", "kernel rows", "kernel columns", "channels")
    _thresholds_ndim = 4

    def __post_init__(self):
        super().__post_init__()
        _sizes(self, "stride", 2, 1)
        _sizes(self, "padding", 4, 0)
        rows, columns = self.kernel
        if max(self.padding[:2]) >= rows or max(self.padding[2:]) >= columns:
            raise NetworkError(
                f"{self.name}: a padding of {self.padding} leaves windows of {rows}x{columns} "
                f"beside the image"
            )
        fill = _frozen(self.fill, np.int32, self.name, "fill")
        if fill.shape not in ((), (self.channels,)):
            raise NetworkError(
                f"{self.name}: fill must be one number or of shape ({self.channels},), "
                f"not {fill.shape}"
            )
        object.__setattr__(self, "fill", fill)

    @property
    def filters(self) -> int:
        return self.neurons

    @property
    def kernel(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.weights.shape[1:3]

    @property
    def channels(self) -> int:
        return self.weights.shape[3]

    def classes(self, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """`border_classes` of the rows and of the columns of an image of this size."""
        top, bottom, left, right = self.padding
        return (
            border_classes(height, self.kernel[0], self.stride[0], top, bottom),
            border_classes(width, self.kernel[1], self.stride[1], left, right),
        )

    def infer(self, x: Type) -> Type:
        height, width = _image(self.name, x)
        if x.shape[2] != self.channels:
            raise NetworkError(
                f"{self.name}: has weights of {self.channels} channels, its input {x.shape[2]}"
            )
        most = self._most(x)
        _in_range(self.fill, x.low, x.high, self.name, "fill", "channel")
        top, bottom, left, right = self.padding
        shape = (
            _outputs(height, self.kernel[0], self.stride[0], top, bottom),
            _outputs(width, self.kernel[1], self.stride[1], left, right),
        )
        if min(shape) < 1:
            padded = f", padded to {height + top + bottom}x{width + left + right}"
            raise NetworkError(
                f"{self.name}: a window of {self.kernel[0]}x{self.kernel[1]} does not fit an image "
                f"of {height}x{width}{padded if any(self.padding) else ''}"
            )
        if self.thresholds is not None and self.thresholds.ndim > 2:
            classes = tuple(int(each.max()) + 1 for each in self.classes(height, width))
            if self.thresholds.shape[:2] != classes:
                raise NetworkError(
                    f"{self.name}: its windows overhang an image of {height}x{width} in "
                    f"{classes} classes of rows and columns, its thresholds have "
                    f"{self.thresholds.shape[:2]}"
                )
        return self._yields((*shape, self.filters), most)


@dataclass(frozen=True, eq=False)
class Pool(Node):
    """The greatest element of each window of an image, channel by channel; of bits, their OR.

    Rows and columns at the end that fill no window are left out.

    Parameters
    ----------
    size, stride : (rows, columns)
    """

    size: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)

    def __post_init__(self):
        super().__post_init__()
        _sizes(self, "size", 2, 1)
        _sizes(self, "stride", 2, 1)

    def infer(self, x: Type) -> Type:
        image = _image(self.name, x)
        shape = tuple(map(_outputs, image, self.size, self.stride))
        if min(shape) < 1:
            raise NetworkError(
                f"{self.name}: a window of {self.size[0]}x{self.size[1]} leaves nothing of an "
                f"image of {image[0]}x{image[1]}"
            )
        return Type(x.kind, (*shape, x.shape[2]), x.low, x.high)


def _image(node: str, x: Type) -> tuple[int, int]:
    """Height and width of an image; NetworkError if it is none."""
    if len(x.shape) != 3:
        raise NetworkError(f"{node}: takes an image (height, width, channels), not {x.shape}")
    return x.shape[:2]


@dataclass(frozen=True, eq=False)
class Argmax(Node):
    """The index of the largest element; ties go to the lowest index."""

    def infer(self, x: Type) -> Type:
        if x.kind is not Kind.INTEGER or len(x.shape) != 1:
            raise NetworkError(f"{self.name}: takes a vector of integers")
        return Type(Kind.INTEGER, (1,), 0, x.shape[0] - 1)


@dataclass(frozen=True, eq=False)
class Network:
    """A checked graph: one Input first, the last node is the output, and every other node is used.

    Parameters
    ----------
    nodes : sequence of Node
        In the order they are computed.
    classes : sequence of str
        Names of the classes that the output index means; empty when the output is no class.

    Raises
    ------
    NetworkError
        Naming the node, the rule and the value.
    """

    nodes: tuple[Node, ...]
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "classes", tuple(self.classes))
        if not self.nodes or not isinstance(self.nodes[0], Input):
            raise NetworkError("a network's first node must be its input")
        types: dict[str, Type] = {}
        for index, node in enumerate(self.nodes):
            if node.name in types:
                raise NetworkError(f"{node.name}: two nodes have this name")
            if index and isinstance(node, Input):
                raise NetworkError(f"{node.name}: a network has one input")
            for name in node.inputs:
                if name not in types:
                    raise NetworkError(
                        f"{node.name}: takes {name!r}, which no node before it yields"
                    )
            types[node.name] = node.infer(*(types[name] for name in node.inputs))
        used = {name for node in self.nodes for name in node.inputs}
        for node in self.nodes[:-1]:
            if node.name not in used:
                raise NetworkError(f"{node.name}: no node takes its value")
        if not all(isinstance(name, str) for name in self.classes):
            raise NetworkError("class names must be strings")
        output = types[self.nodes[-1].name]
        if self.classes and output.high != len(self.classes) - 1:
            raise NetworkError(
                f"{self.nodes[-1].name}: yields {output.high + 1} classes, "
                f"but {len(self.classes)} are named"
            )
        object.__setattr__(self, "_types", types)

    @property
    def input(self) -> Input:
        return self.nodes[0]

    @property
    def output(self) -> Node:
        return self.nodes[-1]

    def type(self, node: Node | str) -> Type:
        """The type of a node's value."""
        return self._types[node if isinstance(node, str) else node.name]

    def of(self, kind: type) -> Sequence[Node]:
        """Every node of a class, in order."""
        return [node for node in self.nodes if isinstance(node, kind)]

    def scores(self) -> "Network":
        """This network up to the scores that its argmax compares.

        Raises
        ------
        NetworkError
            It does not end in an argmax.
        """
        if not isinstance(self.output, Argmax):
            raise NetworkError(f"{self.output.name}: no argmax, so these are the scores already")
        return Network(self.nodes[:-1])

    @property
    def size_kib(self) -> float:
        """Size in KiB by the residual-MLP formula (Solís and López Chau, eq. 4 to 7; k 1, m 32).

        A binary layer counts one bit a weight and 32 bits of bias a neuron, its batch norm 64 bits
        a neuron. The formula's output layer is in floating point; here it is binary too and counts
        one bit a weight.
        """
        total = 0
        for node in self.of(Layer):
            total += node.weights.size + (0 if node.thresholds is None else 96 * node.neurons)
        return total / 8192


def stored_fields(kind: type) -> list:
    """The fields of an operation beyond its name and inputs, for whoever stores it."""
    return [item for item in fields(kind) if item.name not in ("name", "inputs")]
