# amaranth: UnusedElaboratable=no
"""hw.shell.top: a whole board in simulation, every board elaborated, misfits refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Fragment, Module
from amaranth.lib import data, io, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from boards.catalogue import BOARDS, board
from hw.accelerator import Accelerator
from hw.pipeline import Lanes, LayerLanes
from hw.shell.top import BoardTop
from sw.errors import PopstreamError
from sw.fold import TrainedDense, fold_classifier
from sw.golden import predict
from sw.host.link import encode


class Parity(wiring.Component):
    """Stands in for a pipeline: answers the parity of each beat that ends a frame of one beat."""

    def __init__(self, *, width, lanes, index_width=4):
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(width, lanes))),
                "o": Out(stream.Signature(index_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.eq(self.i.payload.as_value().xor()),
            ]
        return m


class Pads:
    """Stands in for a platform: its pads are driven and read by a testbench."""

    default_clk = "clk12"

    def __init__(self):
        self.clk = io.SimulationPort("i", 1)
        self.uart = SimpleNamespace(rx=io.SimulationPort("i", 1), tx=io.SimulationPort("o", 1))
        self.leds = [io.SimulationPort("o", 1) for _ in range(2)]

    def request(self, name, number=0, *, dir):
        return {"clk12": self.clk, "uart": self.uart, "led": self.leds[number]}[name]

    def add_clock_constraint(self, signal, hz):
        pass


@pytest.mark.parametrize(("source", "broken"), [("pixels", 0), ("bits", 0), ("pixels", 13)])
def test_board_classifies_what_comes_over_the_line(source, broken, monkeypatch):
    """From pad to pad: UART, link, lanes, a real pipeline, and back, and the last class on LEDs.

    The first `broken` bytes of a frame, then silence, leave no trace.
    """
    monkeypatch.setattr("hw.shell.top.TIMEOUT_SECONDS", 1e-4)
    rng = np.random.default_rng(3)
    network = fold_classifier(
        input_shape=(5, 4),
        input_bits=8,
        binarise=100,
        layers=[TrainedDense(signs=rng.random((4, 20)) > 0.5, norm=None)],
        classes="abcd",
    )
    inputs = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    # A last label whose two lowest bits differ tells the LEDs apart.
    inputs = inputs[np.argsort(np.isin(predict(network, inputs), (1, 2)), kind="stable")]
    labels = predict(network, inputs)
    assert len(set(labels)) > 1 and labels[-1] in (1, 2)
    dense = network.nodes[2].name
    lanes = Lanes(source, 3, {dense: LayerLanes(inputs_per_beat=6, neurons_per_beat=2)})
    sent = inputs if source == "pixels" else (inputs >= 100).astype(np.uint8)
    line = b"".join(encode(sent, 8 if source == "pixels" else 1))

    baud = 3_000_000  # four cycles a bit
    top = BoardTop(board("icebreaker"), Accelerator(network, lanes), elements=20, baud=baud)
    pads = Pads()
    answers = []

    async def testbench(ctx):
        async def cycles(count):
            for _ in range(count):
                for level in (1, 0):
                    ctx.set(pads.clk.i, level)
                    await ctx.delay(1e-8)

        async def listen(count):
            for _ in range(count):
                await cycles(1)
                heard.append(ctx.get(pads.uart.tx.o))

        heard = []
        ctx.set(pads.uart.rx.i, 1)
        await cycles(200)  # the reset after configuration
        for part, silence in ((line[:broken], 1300 if broken else 0), (line, 200)):
            for byte in part:
                for bit in (0, *((byte >> n) & 1 for n in range(8)), 1):
                    ctx.set(pads.uart.rx.i, bit)
                    await listen(4)
            await listen(silence)
        while 0 in heard:
            start = heard.index(0)
            bits = heard[start + 6 : start + 38 : 4]
            answers.append(sum(bit << n for n, bit in enumerate(bits)))
            del heard[: start + 38]
        assert ctx.get(pads.leds[1].o) == labels[-1] & 1

    sim = Simulator(Fragment.get(top, pads))
    sim.add_testbench(testbench)
    sim.run()
    assert answers == labels.tolist()


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(("width", "lanes", "elements"), [(8, 3, 20), (1, 12, 30), (1, 2, 2)])
def test_elaborates_for_every_board(name, width, lanes, elements):
    this = board(name)
    top = BoardTop(this, Parity(width=width, lanes=lanes), elements=elements)
    platform = this.platform()
    platform.pipeline_hz = top.clock_hz
    options = {"script_after_read": "", "synth_opts": "", "script_after_synth": ""}
    plan = platform.prepare(top, "top", **options)
    rtlil = plan.files["top.il"]
    assert "\nmodule \\top.accelerator\n" in rtlil
    for port in ("uart_0__rx__io", "uart_0__tx__io", "led_0__io", "led_1__io"):
        assert port in rtlil


def test_properties():
    top = BoardTop(board("pynq"), Parity(width=1, lanes=8), elements=784, clock_hz=125_000_000)
    assert (top.clock_hz, top.baud, top.frame_bytes) == (125_000_000, 1_000_000, 98)


def test_constraints_reach_the_tools():
    """The pipeline's own frequency, not the oscillator's, is what place and route has to reach."""
    this = board("ulx3s")
    top = BoardTop(this, Parity(width=8, lanes=1), elements=4, clock_hz=80_000_000)
    plan = this.platform().prepare(top, "top")
    assert 'FREQUENCY NET "clock.pipeline_clk" 80000000.0 HZ;' in plan.files["top.lpf"]
    this = board("icebreaker")
    top = BoardTop(this, Parity(width=8, lanes=1), elements=4, clock_hz=24_000_000)
    plan = this.platform().prepare(top, "top")
    assert "set_frequency clock.pipeline_clk 24.0" in plan.files["top.pcf"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clock_hz": 100_000_000}, PopstreamError, "pynq cannot make 100 MHz"),
        ({"baud": 50_000_000}, PopstreamError, "62.5 MHz clock cannot do 50000000 baud"),
    ],
)
def test_refuses_what_the_board_cannot_do(options, error, message):
    with pytest.raises(error, match=message):
        BoardTop(board("pynq"), Parity(width=8, lanes=1), elements=4, **options)


def test_refuses_too_many_classes():
    with pytest.raises(ValueError, match="class index must fit 8 bits, not 9"):
        BoardTop(board("pynq"), Parity(width=8, lanes=1, index_width=9), elements=4)
