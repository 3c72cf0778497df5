"""The pipeline a network becomes under given lanes: a list of stages, plain data.

One list serves everybody: the accelerator makes a core of each stage, the timing model walks it,
the resource model adds it up, the simulation taps its streams.
"""

from dataclasses import dataclass
from itertools import pairwise

from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Dense, Input, Network

__all__ = [
    "Conversion",
    "Lanes",
    "LayerLanes",
    "Matrix",
    "Maximum",
    "PlanError",
    "Stage",
    "Thresholding",
    "pipeline",
]


class PlanError(PopstreamError):
    """A plan that does not fit its network or its board; the message says what and by how much."""


@dataclass(frozen=True)
class LayerLanes:
    """How one matrix unit is folded.

    Parameters
    ----------
    inputs_per_beat : int
        Synapses a cycle (SIMD), in 1..synapses.
    neurons_per_beat : int
        Neurons a cycle (PE), in 1..neurons.
    stages : int
        Register levels inside the unit, beyond the two it always has.
    storage : str
        Where weights are kept: "table" (in the truth tables of the first level, fold up to 16),
        "logic" (LUT ROM) or "block" (block RAM).
    logic_bits : int
        With "block": how many of the weights a cycle are in LUT ROM all the same.
    accumulators : str
        What adds up the counts: "logic" (LUTs) or, on 7-series, "dsp" (a DSP48E1 for four neurons
        a cycle, for one cycle of latency).
    """

    inputs_per_beat: int
    neurons_per_beat: int
    stages: int = 0
    storage: str = "logic"
    logic_bits: int = 0
    accumulators: str = "logic"


@dataclass(frozen=True)
class Lanes:
    """How a whole network is folded.

    Parameters
    ----------
    input : str
        What a frame comes as: "pixels" (binarised in the fabric) or "bits" (binarised before).
    input_lanes : int
        Pixels or bits a beat of the pipeline's input.
    layers : dict from a Dense node's name to LayerLanes
    """

    input: str
    input_lanes: int
    layers: dict[str, LayerLanes]


@dataclass(frozen=True)
class Stage:
    """One core of the pipeline and the stream that leaves it.

    Parameters
    ----------
    name : str
        The core's instance name.
    node : str or None
        The network's node whose value leaves; None where a stage only regroups.
    elements, lanes, width : int
        Elements of a vector, elements a beat, and bits an element of the stream that leaves.
    """

    name: str
    node: str | None
    elements: int
    lanes: int
    width: int

    @property
    def beats(self) -> int:
        """Beats of a vector on the stream that leaves."""
        return -(-self.elements // self.lanes)


@dataclass(frozen=True)
class Thresholding(Stage):
    """Integers become bits, without a register."""

    i_width: int = 8
    thresholds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Conversion(Stage):
    """A vector is regrouped from `i_lanes` to `lanes` elements a beat."""

    i_lanes: int = 1


@dataclass(frozen=True)
class Matrix(Stage):
    """A binary dense layer."""

    synapses: int = 1
    scores: bool = False
    folding: LayerLanes | None = None

    @property
    def neurons(self) -> int:
        return self.elements

    @property
    def beats_per_vector(self) -> int:
        """Input beats of a vector, and cycles of a group of neurons."""
        return -(-self.synapses // self.folding.inputs_per_beat)

    @property
    def groups(self) -> int:
        """Groups of neurons, and output beats of a vector."""
        return self.beats

    @property
    def fold(self) -> int:
        """Cycles of a vector."""
        return self.beats_per_vector * self.groups

    @property
    def weight_width(self) -> int:
        """Bits of weights read a cycle."""
        return self.folding.inputs_per_beat * self.folding.neurons_per_beat


@dataclass(frozen=True)
class Maximum(Stage):
    """The index of the largest of `i_elements`."""

    i_elements: int = 2
    i_lanes: int = 1
    i_width: int = 1


def _chain(network: Network) -> None:
    for before, node in pairwise(network.nodes):
        if node.inputs != (before.name,):
            raise PlanError(f"{node.name}: this version builds chains of layers, not branches")


def pipeline(network: Network, lanes: Lanes) -> tuple[Stage, ...]:
    """The stages of a network, in the order data meets them.

    Raises
    ------
    PlanError
        When a layer's lanes are missing, out of range or left over, or the network has a shape
        that this version cannot build.
    """
    _chain(network)
    if lanes.input not in ("pixels", "bits"):
        raise PlanError(f"input must be 'pixels' or 'bits', not {lanes.input!r}")
    elements = network.type(network.input).elements
    if not 1 <= lanes.input_lanes <= elements:
        raise PlanError(f"input_lanes must be in 1..{elements}, not {lanes.input_lanes}")
    names = [node.name for node in network.of(Dense)]
    for name in lanes.layers:
        if name not in names:
            raise PlanError(f"the network has no layer {name!r}; it has {', '.join(names)}")

    stages: list[Stage] = []
    now = lanes.input_lanes
    width = network.input.bits
    for node in network.nodes[1:]:
        if isinstance(node, Binarise):
            if lanes.input == "pixels":
                thresholds = tuple(
                    int(t)
                    for t in (
                        node.thresholds.reshape(-1)
                        if node.thresholds.ndim
                        else [node.thresholds] * elements
                    )
                )
                stages.append(
                    Thresholding(
                        node.name, node.name, elements, now, 1, i_width=width, thresholds=thresholds
                    )
                )
            width = 1
        elif isinstance(node, Dense):
            if node.name not in lanes.layers:
                raise PlanError(f"{node.name}: the plan says nothing of this layer")
            folding = lanes.layers[node.name]
            for what, value, limit in (
                ("inputs_per_beat", folding.inputs_per_beat, node.synapses),
                ("neurons_per_beat", folding.neurons_per_beat, node.neurons),
            ):
                if not 1 <= value <= limit:
                    raise PlanError(f"{node.name}: {what} must be in 1..{limit}, not {value}")
            if now != folding.inputs_per_beat:
                stages.append(
                    Conversion(
                        f"{node.name}_lanes",
                        None,
                        node.synapses,
                        folding.inputs_per_beat,
                        1,
                        i_lanes=now,
                    )
                )
            now = folding.neurons_per_beat
            width = network.type(node).width
            stages.append(
                Matrix(
                    node.name,
                    node.name,
                    node.neurons,
                    now,
                    width,
                    synapses=node.synapses,
                    scores=node.thresholds is None,
                    folding=folding,
                )
            )
        elif isinstance(node, Argmax):
            i_elements = network.type(node.inputs[0]).elements
            stages.append(
                Maximum(
                    node.name,
                    node.name,
                    1,
                    1,
                    network.type(node).width,
                    i_elements=i_elements,
                    i_lanes=now,
                    i_width=width,
                )
            )
            now, width = 1, network.type(node).width
        elif not isinstance(node, Input):
            raise PlanError(f"{node.name}: this version cannot build a {type(node).__name__}")
    return tuple(stages)
