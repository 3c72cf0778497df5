"""The pipeline a network becomes under given lanes: a list of stages, plain data.

One list serves everybody: the accelerator makes a core of each stage, the timing model walks it,
the resource model adds it up, the simulation taps its streams.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from amaranth.utils import ceil_log2

from hw.cores.sliding_window import ring_depth
from hw.cores.windows import Windows
from hw.engine.passes import tail
from hw.engine.plan import PORT_BITS, EnginePlan, plan_engine
from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Conv, Input, Layer, Network, Node, Pool

__all__ = [
    "Conversion",
    "EngineLanes",
    "Lanes",
    "LayerLanes",
    "Matrix",
    "Maximum",
    "PlanError",
    "Pooling",
    "Quantisation",
    "Shared",
    "Stage",
    "Thresholding",
    "Window",
    "conversions",
    "layer_stages",
    "pipeline",
    "pooling",
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
    planes : int
        Bit planes of the input a cycle, a divisor of its bits; 0 is all of them.
    line_buffer : int
        Beats of the image that a convolution's line buffer holds; 0 is as many as never slow down
        its neighbours.
    """

    inputs_per_beat: int
    neurons_per_beat: int
    stages: int = 0
    storage: str = "logic"
    logic_bits: int = 0
    accumulators: str = "logic"
    planes: int = 0
    line_buffer: int = 0


@dataclass(frozen=True)
class EngineLanes:
    """Which layers share one matrix unit, and how wide that is: see `hw.engine.plan.EnginePlan`.

    Parameters
    ----------
    after : str
        The node whose bits the engine takes; every layer behind it is the engine's.
    simd, pe : int
        Synapses and neurons a cycle.
    batch : int
        Frames that share each tile of weights.
    depth : int
        Pixels whose sums are kept.
    row_words, stages : int
        64-bit words of a row of weights; register levels inside the popcount.
    resident : tuple of str
        Layers whose weights are on the chip; those of the others come from memory.
    """

    after: str
    simd: int
    pe: int
    batch: int
    depth: int = 512
    row_words: int = 8
    stages: int = 1
    resident: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lanes:
    """How a whole network is folded.

    Parameters
    ----------
    input : str
        What a frame comes as: "pixels" (binarised in the fabric) or "bits" (binarised before).
    input_lanes : int
        Pixels or bits a beat of the pipeline's input; of an image's channels, elements.
    layers : dict from a Dense or Conv node's name to LayerLanes
        Of those that have a matrix unit of their own.
    engine : EngineLanes or None
        What the others share.
    """

    input: str
    input_lanes: int
    layers: dict[str, LayerLanes]
    engine: EngineLanes | None = None


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
    vectors : int
        Vectors a frame; those of an image are its pixels.
    """

    name: str
    node: str | None
    elements: int
    lanes: int
    width: int
    vectors: int = 1

    @property
    def beats(self) -> int:
        """Beats of a vector on the stream that leaves."""
        return -(-self.elements // self.lanes)

    @property
    def frame_beats(self) -> int:
        """Beats of a frame on the stream that leaves."""
        return self.vectors * self.beats

    @property
    def flat(self) -> bool:
        """Whether the beats of a frame's vectors are those of one vector of the whole frame."""
        return self.vectors == 1 or self.elements % self.lanes == 0


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
class Window(Stage):
    """An image's pixels become the windows of a convolution, in rows, columns, channels.

    `lanes` divides the channels, and a window leaves in beats; or it is the window's elements, and
    pixels come and windows leave as one beat.
    """

    height: int = 1
    columns: int = 1
    channels: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    fill: tuple[int, ...] = (0,)
    line_buffer: int = 0

    @property
    def windows(self) -> Windows:
        """Where they lie."""
        return Windows(self.height, self.columns, self.kernel, self.stride, self.padding)

    @property
    def parallel(self) -> bool:
        """Whether pixels come and windows leave as one beat."""
        return self.lanes > self.channels

    @property
    def depth(self) -> int:
        """Beats that the line buffer holds; where windows leave as one beat, pixels before it."""
        if self.line_buffer:
            return self.line_buffer
        if not self.parallel:
            return ring_depth(self.windows.enough, self.channels, self.i_lanes)
        # Pixels come while the last windows of a frame leave, as many as the next frame's first one
        # waits for.
        return 1 << max(1, ceil_log2(max(1, int(self.windows.lasts[0]) - 1)))

    @property
    def i_lanes(self) -> int:
        """Elements of a pixel that come a beat."""
        return min(self.lanes, self.channels)

    @property
    def i_beats(self) -> int:
        """Beats of a frame that come."""
        return self.height * self.columns * (self.channels // self.i_lanes)


@dataclass(frozen=True)
class Pooling(Stage):
    """The largest of each element over windows of an image."""

    height: int = 1
    columns: int = 1
    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)

    @property
    def i_beats(self) -> int:
        """Beats of a frame that come."""
        return self.height * self.columns * self.beats


@dataclass(frozen=True)
class Matrix(Stage):
    """A binary layer: a dense one does a vector a frame, a convolution one an output pixel."""

    synapses: int = 1
    bits: int = 1
    scores: bool = False
    folding: LayerLanes | None = None

    @property
    def neurons(self) -> int:
        return self.elements

    @property
    def beats_per_vector(self) -> int:
        """Input beats of a vector."""
        return -(-self.synapses // self.folding.inputs_per_beat)

    @property
    def planes(self) -> int:
        """Bit planes of the input a cycle."""
        return self.folding.planes or self.bits

    @property
    def passes(self) -> int:
        """How often a group of neurons goes through the input beats."""
        return self.bits // self.planes

    @property
    def group_cycles(self) -> int:
        """Cycles of a group of neurons."""
        return self.beats_per_vector * self.passes

    @property
    def groups(self) -> int:
        """Groups of neurons, and output beats of a vector."""
        return self.beats

    @property
    def depth(self) -> int:
        """Words of weights."""
        return self.beats_per_vector * self.groups

    @property
    def fold(self) -> int:
        """Cycles of a vector."""
        return self.group_cycles * self.groups

    @property
    def weight_width(self) -> int:
        """Bits of weights read a cycle."""
        return self.folding.inputs_per_beat * self.folding.neurons_per_beat


@dataclass(frozen=True)
class Quantisation(Stage):
    """Match counts become bits or levels, by thresholds that may depend on the place."""

    top: int = 1
    thresholds: np.ndarray | None = None
    row_classes: tuple[int, ...] = (0,)
    column_classes: tuple[int, ...] = (0,)


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


@dataclass(frozen=True)
class Shared(Stage):
    """Layers one after the other on an engine: batches of images in, a frame's answer each out."""

    plan: EnginePlan | None = None
    network: Network | None = None

    @property
    def frames(self) -> int:
        """Frames of a batch."""
        return self.plan.batch

    def __str__(self) -> str:
        plan, products = self.plan, self.plan.products
        lanes = f"{len(products)} layers share {plan.simd} x {plan.pe} lanes"
        lanes += f" in batches of {plan.batch}"
        if not plan.stream_words:
            return f"{lanes}; all weights are on the chip"
        resident = sum(step.resident for step in products)
        megabits = plan.stream_words * PORT_BITS / 1e6
        return (
            f"{lanes}; weights of {resident} are on the chip, {megabits:,.2f} Mbit a batch "
            f"come from memory and bind {plan.timing.port_bound:.0%} of the time"
        )


def layer_stages(network: Network, node: Layer, folding: LayerLanes) -> tuple[Stage, ...]:
    """What a layer becomes: a matrix unit, behind a window where it is a convolution, and before a
    quantiser where one threshold a neuron does not say it all.

    Raises
    ------
    PlanError
        The lanes of a convolution or the rows of its line buffer are none it can have.
    """
    taken, made = network.type(node.inputs[0]), network.type(node)
    stages: list[Stage] = []
    rows = columns = np.zeros(1, int)
    vectors = 1
    if isinstance(node, Conv):
        window = _window(node, taken.shape, taken.width, taken.low, folding)
        stages.append(window)
        vectors = window.vectors
        rows, columns = node.classes(*taken.shape[:2])

    top = node.synapses * (taken.high - taken.low)
    plain = node.thresholds is None or node.thresholds.ndim == 1
    scores = node.thresholds is None or not plain
    stages.append(
        Matrix(
            node.name,
            node.name if plain else None,
            node.neurons,
            folding.neurons_per_beat,
            top.bit_length() if scores else 1,
            vectors,
            synapses=node.synapses,
            bits=taken.width,
            scores=scores,
            folding=folding,
        )
    )
    if not plain:
        if node.thresholds.ndim == 2:
            rows, columns = rows * 0, columns * 0
        stages.append(
            Quantisation(
                f"{node.name}_levels",
                node.name,
                node.neurons,
                folding.neurons_per_beat,
                made.width,
                vectors,
                top=top,
                thresholds=node.thresholds,
                row_classes=tuple(rows.tolist()),
                column_classes=tuple(columns.tolist()),
            )
        )
    return tuple(stages)


def _window(node: Conv, shape, width: int, low: int, folding: LayerLanes) -> Window:
    lanes = folding.inputs_per_beat
    if lanes != node.synapses and node.channels % lanes:
        raise PlanError(
            f"{node.name}: inputs_per_beat must divide the {node.channels} channels or be all "
            f"{node.synapses} synapses of a window, not {lanes}"
        )
    windows = Windows(*shape[:2], node.kernel, node.stride, node.padding)
    if folding.line_buffer and lanes <= node.channels:
        least = ring_depth(windows.least, node.channels, lanes)
        if folding.line_buffer < least or folding.line_buffer & (folding.line_buffer - 1):
            raise PlanError(
                f"{node.name}: line_buffer must be a power of two from {least} on, "
                f"not {folding.line_buffer}"
            )
    return Window(
        f"{node.name}_window",
        None,
        node.synapses,
        lanes,
        width,
        windows.count,
        height=shape[0],
        columns=shape[1],
        channels=node.channels,
        kernel=node.kernel,
        stride=node.stride,
        padding=node.padding,
        fill=tuple(np.broadcast_to(node.fill - low, node.channels).tolist()),
        line_buffer=folding.line_buffer,
    )


def pooling(network: Network, node: Pool, now: Stage) -> list[Stage]:
    """What a pool becomes behind a stage.

    Windows that overlap are made one after the other, and each is an image's row to the pool.
    """
    taken, made = network.type(node.inputs[0]), network.type(node)
    height, width, channels = made.shape
    rows, columns = taken.shape[:2]
    pool = Pooling(
        node.name,
        node.name,
        channels,
        now.lanes,
        made.width,
        height * width,
        height=rows,
        columns=columns,
        size=node.size,
        stride=node.stride,
    )
    alone = node.stride[0] >= node.size[0] and node.stride[1] >= node.size[1]
    if alone and now.elements == channels:
        return [pool]
    lanes = max(d for d in range(1, min(now.lanes, channels) + 1) if channels % d == 0)
    stages = conversions(now, node.name, channels, lanes)
    if alone:
        return [*stages, replace(pool, lanes=lanes)]
    pixels = node.size[0] * node.size[1]
    window = Window(
        f"{node.name}_window",
        None,
        pixels * channels,
        lanes,
        made.width,
        height * width,
        height=rows,
        columns=columns,
        channels=channels,
        kernel=node.size,
        stride=node.stride,
        fill=(0,) * channels,
    )
    row = {"height": height * width, "columns": pixels, "size": (1, pixels), "stride": (1, pixels)}
    return [*stages, window, replace(pool, lanes=lanes, **row)]


def conversions(now: Stage, name: str, elements: int, lanes: int) -> list[Conversion]:
    """What regroups the stream that leaves a stage into vectors of `elements`, `lanes` a beat.

    An image's pixels are one vector of the frame, and the other way round, where beats hold no
    padding between them; a converter in front sees to that where it is not so.
    """
    made: list[Conversion] = []

    def convert(kind: str, cut: int, to: int) -> None:
        nonlocal now
        vectors = now.elements * now.vectors // cut
        now = Conversion(f"{name}_{kind}", None, cut, to, now.width, vectors, i_lanes=now.lanes)
        made.append(now)

    if elements != now.elements and not now.flat:
        divisors = [d for d in range(1, lanes + 1) if now.elements % d == 0]
        convert("pixels", now.elements, divisors[-1])
    if lanes != now.lanes:
        same = elements == now.elements
        convert("lanes", elements if same else now.elements * now.vectors, lanes)
    return made


class _Builder:
    """Stages one after the other; each is told what the stream before it carries."""

    def __init__(self, network: Network, lanes: Lanes):
        self.network, self.lanes = network, lanes
        input = network.input
        elements = network.type(input).elements
        if not 1 <= lanes.input_lanes <= elements:
            raise PlanError(f"input_lanes must be in 1..{elements}, not {lanes.input_lanes}")
        self.stages: list[Stage] = []
        # What the stream carries now, as if a stage had yielded it.
        self.now = Stage(input.name, input.name, elements, lanes.input_lanes, input.bits)

    def add(self, stage: Stage) -> None:
        self.stages.append(stage)
        self.now = stage

    def regroup(self, name: str, elements: int, lanes: int) -> None:
        """Makes what the stream carries vectors of `elements`, `lanes` a beat."""
        for stage in conversions(self.now, name, elements, lanes):
            self.add(stage)
        total = self.now.elements * self.now.vectors
        self.now = replace(self.now, elements=elements, vectors=total // elements)

    def _folding(self, node: Layer) -> LayerLanes:
        if node.name not in self.lanes.layers:
            raise PlanError(f"{node.name}: the plan says nothing of this layer")
        folding = self.lanes.layers[node.name]
        for what, value, limit in (
            ("inputs_per_beat", folding.inputs_per_beat, node.synapses),
            ("neurons_per_beat", folding.neurons_per_beat, node.neurons),
        ):
            if not 1 <= value <= limit:
                raise PlanError(f"{node.name}: {what} must be in 1..{limit}, not {value}")
        bits = self.now.width
        if folding.planes and bits % folding.planes:
            raise PlanError(
                f"{node.name}: planes must divide the input's {bits} bits, not {folding.planes}"
            )
        return folding

    def binarise(self, node: Binarise) -> None:
        low = self.network.type(node.inputs[0]).low
        if self.lanes.input == "pixels":
            thresholds = np.broadcast_to(node.thresholds - low, self.network.type(node).shape)
            self.add(
                Thresholding(
                    node.name,
                    node.name,
                    self.now.elements,
                    self.now.lanes,
                    1,
                    i_width=self.now.width,
                    thresholds=tuple(thresholds.reshape(-1).tolist()),
                )
            )
        self.now = replace(self.now, width=1)

    def layer(self, node: Layer) -> None:
        folding = self._folding(node)
        if isinstance(node, Conv):
            elements = node.channels
            lanes = min(folding.inputs_per_beat, elements)
        else:
            elements, lanes = node.synapses, folding.inputs_per_beat
        self.regroup(node.name, elements, lanes)
        for stage in layer_stages(self.network, node, folding):
            self.add(stage)

    def pool(self, node: Pool) -> None:
        for stage in pooling(self.network, node, self.now):
            self.add(stage)

    def argmax(self, node: Argmax) -> None:
        now = self.now
        self.add(
            Maximum(
                node.name,
                node.name,
                1,
                1,
                self.network.type(node).width,
                i_elements=now.elements,
                i_lanes=now.lanes,
                i_width=now.width,
            )
        )

    def engine(self, lanes: EngineLanes) -> None:
        """Every layer behind the node that was built last."""
        try:
            network = tail(self.network, lanes.after)
            plan = plan_engine(
                network,
                simd=lanes.simd,
                pe=lanes.pe,
                batch=lanes.batch,
                depth=lanes.depth,
                row_words=lanes.row_words,
                stages=lanes.stages,
                resident=lanes.resident,
            )
        except ValueError as error:
            raise PlanError(f"engine: {error}") from error
        channels = plan.steps[0].work.image[2]
        self.regroup("engine", channels, min(channels, plan.simd))
        made = network.type(network.output)
        self.add(
            Shared(
                "engine",
                network.output.name,
                made.elements,
                1,
                made.width,
                plan=plan,
                network=network,
            )
        )

    def node(self, node: Node) -> None:
        match node:
            case Input():
                pass
            case Binarise():
                self.binarise(node)
            case Layer():
                self.layer(node)
            case Pool():
                self.pool(node)
            case Argmax():
                self.argmax(node)
            case _:
                raise PlanError(f"{node.name}: this version cannot build a {type(node).__name__}")


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
    if lanes.input == "bits" and not isinstance(network.nodes[1], Binarise):
        raise PlanError(f"{network.nodes[1].name}: takes pixels, so the input cannot be bits")
    nodes, every = network.nodes, [node.name for node in network.nodes]
    if lanes.engine:
        if lanes.engine.after not in every:
            raise PlanError(f"engine: the network has no node {lanes.engine.after!r}")
        nodes = nodes[: every.index(lanes.engine.after) + 1]
    names = [node.name for node in nodes if isinstance(node, Layer)]
    for name in lanes.layers:
        if name not in every:
            raise PlanError(f"the network has no layer {name!r}; it has {', '.join(names)}")
        if name not in names:
            raise PlanError(f"{name}: has lanes of its own, but is the engine's too")
    builder = _Builder(network, lanes)
    for node in nodes:
        builder.node(node)
    if lanes.engine:
        builder.engine(lanes.engine)
    return tuple(builder.stages)
