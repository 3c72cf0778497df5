"""The accelerator: a network as one streaming pipeline. Wires only."""

from amaranth.hdl import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.cores.argmax import Argmax
from hw.cores.matrix_unit import MatrixUnit
from hw.cores.max_pool import MaxPool
from hw.cores.quantiser import Quantiser
from hw.cores.sliding_window import SlidingWindow
from hw.cores.threshold import Threshold
from hw.cores.whole_window import WholeWindow
from hw.cores.width_converter import WidthConverter
from hw.engine.engine import Engine
from hw.engine.plan import PORT_BITS
from hw.pipeline import (
    Conversion,
    Lanes,
    Matrix,
    Maximum,
    Pooling,
    Quantisation,
    Shared,
    Thresholding,
    Window,
    pipeline,
)
from sw.network import Argmax as ArgmaxNode
from sw.network import Network

__all__ = ["Accelerator"]


class Accelerator(wiring.Component):
    """A network, frame in, answer out.

    A frame comes in beats of `lanes.input_lanes` pixels (or bits), in raster order, and yields one
    beat at the output, the class index. Cycles are `hw.timing.predict`'s.

    Parameters
    ----------
    network : Network
    lanes : Lanes
        How each layer is folded.
    family : str
        The FPGA family whose LUTs the cores are made for: "xc7", "ecp5", "ice40" or "generic".

    Members
    -------
    i : In(stream.Signature(ArrayLayout(bits of a pixel or 1, input_lanes)))
    o : Out(stream.Signature(unsigned index))
    weights : In(stream.Signature(64))
        Where layers share an engine and not all their weights are on the chip: the words of
        `hw.engine.image.weights_image`, for every batch.

    Raises
    ------
    PlanError
        When the lanes do not fit the network.
    """

    def __init__(self, network: Network, lanes: Lanes, family: str = "generic"):
        self._network, self._lanes, self._family = network, lanes, family
        self._stages = pipeline(network, lanes)
        i_width = network.input.bits if lanes.input == "pixels" else 1
        last = self._stages[-1]
        index = isinstance(network.output, ArgmaxNode)
        classes = network.type(network.output).high + 1
        result = range(classes) if index else data.ArrayLayout(last.width, last.lanes)
        members = {
            "i": In(stream.Signature(data.ArrayLayout(i_width, lanes.input_lanes))),
            "o": Out(stream.Signature(result)),
        }
        if isinstance(last, Shared) and last.plan.stream_words:
            members["weights"] = In(stream.Signature(PORT_BITS))
        super().__init__(members)

    @property
    def stages(self):
        """The stages, one a submodule of the same name."""
        return self._stages

    def _core(self, stage):
        match stage:
            case Thresholding():
                return Threshold(
                    width=stage.i_width, thresholds=stage.thresholds, lanes=stage.lanes
                )
            case Conversion():
                return WidthConverter(
                    width=stage.width,
                    elements=stage.elements,
                    i_lanes=stage.i_lanes,
                    o_lanes=stage.lanes,
                )
            case Matrix():
                node = next(node for node in self._network.nodes if node.name == stage.name)
                return MatrixUnit(
                    weights=node.matrix,
                    thresholds=None if stage.scores else node.thresholds,
                    inputs_per_beat=stage.folding.inputs_per_beat,
                    neurons_per_beat=stage.folding.neurons_per_beat,
                    bits=stage.bits,
                    planes=stage.planes,
                    stages=stage.folding.stages,
                    storage=stage.folding.storage,
                    logic_bits=stage.folding.logic_bits,
                    accumulators=stage.folding.accumulators,
                    family=self._family,
                )
            case Quantisation():
                return Quantiser(
                    thresholds=stage.thresholds,
                    top=stage.top,
                    lanes=stage.lanes,
                    row_classes=stage.row_classes,
                    column_classes=stage.column_classes,
                    family=self._family,
                )
            case Window():
                image = {
                    "height": stage.height,
                    "width": stage.columns,
                    "channels": stage.channels,
                    "bits": stage.width,
                    "kernel": stage.kernel,
                    "stride": stage.stride,
                    "padding": stage.padding,
                    "fill": stage.fill,
                    "depth": stage.depth,
                    "family": self._family,
                }
                if stage.parallel:
                    return WholeWindow(**image)
                return SlidingWindow(**image, lanes=stage.lanes)
            case Pooling():
                return MaxPool(
                    height=stage.height,
                    width=stage.columns,
                    channels=stage.elements,
                    bits=stage.width,
                    size=stage.size,
                    stride=stage.stride,
                    lanes=stage.lanes,
                    family=self._family,
                )
            case Shared():
                return Engine(network=stage.network, plan=stage.plan, family=self._family)
            case Maximum():
                return Argmax(width=stage.i_width, elements=stage.i_elements, lanes=stage.i_lanes)

    def _offset(self, m):
        """The input as distances from its least value: two's complement with the sign inverted."""
        offset = stream.Signature(self.i.payload.shape()).create()
        m.d.comb += [
            offset.valid.eq(self.i.valid),
            self.i.ready.eq(offset.ready),
        ]
        for lane, element in enumerate(self.i.payload):
            m.d.comb += offset.payload[lane].eq(Cat(element[:-1], ~element[-1]))
        return offset

    def elaborate(self, platform):
        m = Module()

        source = wiring.flipped(self.i)
        if self._network.input.signed:
            source = self._offset(m)
        for stage in self._stages:
            m.submodules[stage.name] = core = self._core(stage)
            wiring.connect(m, source, core.i)
            if "weights" in core.signature.members:
                wiring.connect(m, wiring.flipped(self.weights), core.weights)
            source = core.o
        wiring.connect(m, source, wiring.flipped(self.o))

        return m
