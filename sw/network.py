"""The integer network: a typed graph of operations on small integers, checked when it is made.

A bit stands for a sign: 1 is +1, 0 is -1. A value on an edge of the graph has a `Type`: its shape
and the range of its integers. Each operation knows the type it yields from the types it takes, so a
graph that was constructed is a graph that makes sense; whoever reads it (golden model, planner,
gateware) need not check again.

Nodes are listed in the order they are computed; a node may only take what stands before it, so the
graph has no cycles.
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
    "Dense",
    "Input",
    "Kind",
    "Network",
    "NetworkError",
    "Node",
    "Type",
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


def _frozen(array, dtype, node, what) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype == bool:
        array = array.astype(dtype)
    if not np.issubdtype(array.dtype, np.integer):
        raise NetworkError(f"{node}: {what} must be integers, not {array.dtype}")
    copy = np.array(array, dtype=dtype)
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
    """The frame as the outside world gives it: unsigned integers of 1 to 8 bits.

    Parameters
    ----------
    shape : tuple of int
        Shape of a frame, e.g. (28, 28); raster order.
    bits : int
        Width of an element, 1..8.
    """

    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    bits: int = 8

    arity = 0

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "shape", tuple(self.shape))
        integral = all(type(size) is int and 1 <= size <= 1 << 20 for size in self.shape)
        if not self.shape or not integral:
            raise NetworkError(f"{self.name}: shape must be positive integers, not {self.shape}")
        if np.prod(self.shape, dtype=object) > 1 << 24:
            raise NetworkError(f"{self.name}: a frame of {self.shape} is over 2^24 elements")
        if type(self.bits) is not int or not 1 <= self.bits <= 8:
            raise NetworkError(f"{self.name}: bits must be in 1..8, not {self.bits}")

    def infer(self) -> Type:
        return Type(Kind.INTEGER, self.shape, 0, (1 << self.bits) - 1)


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
class Dense(Node):
    """Binary matrix-vector product, then a threshold per neuron.

    m = popcount(xnor(x, w)) counts the synapses whose input equals their weight; the sum over +1
    and -1 is 2m - n. With thresholds the output bit is (m >= T); without, the output is the score m
    itself. The input is taken in raster order, whatever its shape.

    Parameters
    ----------
    weights : array of 0 and 1, shape (neurons, synapses)
    thresholds : array of int, shape (neurons,), or None
        In 0..synapses+1: 0 is always on, synapses+1 never.
    """

    weights: np.ndarray = field(default=None, metadata=_BITS)
    thresholds: np.ndarray | None = field(default=None, metadata=_INTEGERS)

    def __post_init__(self):
        super().__post_init__()
        weights = _frozen(self.weights, np.uint8, self.name, "weights")
        if weights.ndim != 2 or 0 in weights.shape:
            raise NetworkError(
                f"{self.name}: weights must have shape (neurons, synapses), not {weights.shape}"
            )
        _in_range(weights, 0, 1, self.name, "weights", "neuron, synapse")
        object.__setattr__(self, "weights", weights)
        if self.thresholds is not None:
            thresholds = _frozen(self.thresholds, np.int32, self.name, "thresholds")
            if thresholds.shape != (self.neurons,):
                raise NetworkError(
                    f"{self.name}: thresholds must have shape ({self.neurons},), "
                    f"not {thresholds.shape}"
                )
            _in_range(thresholds, 0, self.synapses + 1, self.name, "thresholds", "neuron")
            object.__setattr__(self, "thresholds", thresholds)

    @property
    def neurons(self) -> int:
        return self.weights.shape[0]

    @property
    def synapses(self) -> int:
        return self.weights.shape[1]

    def infer(self, x: Type) -> Type:
        if x.kind is not Kind.SIGN:
            raise NetworkError(
                f"{self.name}: takes signs, not {x.kind.value}s; binarise them first"
            )
        if x.elements != self.synapses:
            raise NetworkError(
                f"{self.name}: has {self.synapses} synapses a neuron, its input {x.elements} values"
            )
        if self.thresholds is None:
            return Type(Kind.INTEGER, (self.neurons,), 0, self.synapses)
        return Type(Kind.SIGN, (self.neurons,), 0, 1)


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
        for node in self.of(Dense):
            total += node.weights.size + (0 if node.thresholds is None else 96 * node.neurons)
        return total / 8192


def stored_fields(kind: type) -> list:
    """The fields of an operation beyond its name and inputs, for whoever stores it."""
    return [item for item in fields(kind) if item.name not in ("name", "inputs")]
