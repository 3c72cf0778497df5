# amaranth: UnusedElaboratable=no
"""hw.shell.top: a whole board in simulation, every board elaborated, misfits refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Fragment, Module, Value
from amaranth.lib import data, io, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from boards.catalogue import BOARDS, board
from hw.accelerator import Accelerator
from hw.pipeline import Lanes, LayerLanes
from hw.shell.top import BoardTop
from sw.errors import PopstreamError
from sw.fold import TrainedDense, fold_classifier
from sw.golden import predict, trace
from sw.host.frames import decode, encode
from sw.host.link import PAUSE_SECONDS, Kind, Packet, build
from sw.host.serial import SerialClient


class Parity(wiring.Component):
    """Stands in for a pipeline: answers the parity of each beat of a frame of one beat."""

    def __init__(self, *, width, lanes, result=4):
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(width, lanes))),
                "o": Out(stream.Signature(result)),
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
                Value.cast(self.o.payload).eq(self.i.payload.as_value().xor()),
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


def tiny_network(seed=3):
    """Twenty pixels, four classes."""
    rng = np.random.default_rng(seed)
    return fold_classifier(
        input_shape=(5, 4),
        input_bits=8,
        binarise=100,
        layers=[TrainedDense(signs=rng.random((4, 20)) > 0.5, norm=None)],
        classes="abcd",
    )


def about(lines, **changes):
    values = {"frame_elements": 20, "result_elements": 1, "result_width": 4, "scores": False}
    return lines.identity(**values | changes)


@pytest.fixture
def connect(lines, monkeypatch):
    """Makes icebreakers with the host's client at the pads of their line."""
    monkeypatch.setattr("hw.shell.serial.PAUSE_SECONDS", 1e-4)
    hz = 12e6 * 1e-4 / PAUSE_SECONDS  # for the host: its pauses stay as long as the board's
    ports = []

    class PadPort(lines.BitPort):
        def simulator(self, dut):
            self.pads = Pads()
            return Simulator(Fragment.get(dut, self.pads))

        async def step(self, ctx):
            for level in (1, 0):
                ctx.set(self.pads.clk.i, level)
                await ctx.delay(1e-8)
            ctx.set(self.pads.uart.rx.i, self.exchange(ctx.get(self.pads.uart.tx.o)))
            self.lights = [ctx.get(led.o) for led in self.pads.leds]

    def make(accelerator, identity):
        top = BoardTop(board("icebreaker"), accelerator, identity, baud=3_000_000)
        ports.append(PadPort(top, hz, divisor=4))
        return ports[-1], SerialClient(ports[-1], patience=1.0)

    yield make
    for port in ports:
        port.close()


@pytest.mark.parametrize("source", ["pixels", "bits"])
def test_board_classifies_what_comes_over_the_line(connect, lines, source):
    """From pad to pad: UART, packets, lanes, a real pipeline, and back; the last class on LEDs.

    A frame that breaks off, then silence, leaves no trace.
    """
    network = tiny_network()
    inputs = np.random.default_rng(3).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    # A last label whose two lowest bits differ tells the LEDs apart.
    inputs = inputs[np.argsort(np.isin(predict(network, inputs), (1, 2)), kind="stable")]
    labels = predict(network, inputs)
    assert len(set(labels)) > 1 and labels[-1] in (1, 2)
    dense = network.nodes[2].name
    lanes = Lanes(source, 3, {dense: LayerLanes(inputs_per_beat=6, neurons_per_beat=2)})
    bits = 8 if source == "pixels" else 1
    frames = encode(inputs if bits == 8 else (inputs >= 100).astype(np.uint8), bits)

    identity = about(lines, frame_bits=bits, result_width=2)
    port, client = connect(Accelerator(network, lanes), identity)
    port.write(build(Packet(Kind.INFER, 1, frames[0].tobytes()))[:7])
    port.advance(7 * 40 + 1300)
    assert client.identify() == identity.words()
    assert decode(client.infer(frames), 1, 1)[:, 0].tolist() == labels.tolist()
    assert client.counters()["REJECTED"] == 1
    assert port.lights[1] == labels[-1] & 1


def test_board_answers_with_scores(connect, lines):
    """Two scores a beat become one number after the other; a reset in between leaves no trace."""
    network = tiny_network()
    network = type(network)(network.nodes[:-1])
    inputs = np.random.default_rng(4).integers(0, 256, (2, 5, 4), dtype=np.uint8)
    dense = network.nodes[-1].name
    lanes = Lanes("pixels", 3, {dense: LayerLanes(inputs_per_beat=20, neurons_per_beat=2)})
    scores = trace(network, inputs)[dense]

    # Four bytes a number give time to reset while half of the numbers are still to come.
    identity = about(lines, result_elements=4, result_width=32, scores=True)
    port, client = connect(Accelerator(network, lanes), identity)
    frames = encode(inputs, 8)
    for cycles in (0, 80, 160):
        port.write(build(Packet(Kind.INFER, 99, frames[0].tobytes())))
        port.advance(cycles)
        client.reset()
        results = client.infer(frames)
        np.testing.assert_array_equal(decode(results, 4, 4), scores)
        assert client.counters()["FRAMES_DONE"] == 2


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(("width", "lanes", "elements"), [(8, 3, 20), (1, 12, 30), (1, 2, 2)])
def test_elaborates_for_every_board(lines, name, width, lanes, elements):
    this = board(name).through("serial")
    identity = about(lines, frame_elements=elements, frame_bits=width, clock_hz=this.clock_hz)
    top = BoardTop(this, Parity(width=width, lanes=lanes), identity)
    platform = this.platform()
    platform.pipeline_hz = top.clock_hz
    options = {"script_after_read": "", "synth_opts": "", "script_after_synth": ""}
    plan = platform.prepare(top, "top", **options)
    rtlil = plan.files["top.il"]
    assert f"\nmodule \\top.{top.pipeline}\n" in rtlil
    for port in ("uart_0__rx__io", "uart_0__tx__io", "led_0__io", "led_1__io"):
        assert port in rtlil


def test_properties(lines):
    this = board("pynq").through("serial")
    top = BoardTop(this, Parity(width=8, lanes=8), about(lines, clock_hz=125_000_000))
    assert (top.clock_hz, top.baud) == (125_000_000, 1_000_000)


@pytest.mark.parametrize(
    ("name", "mhz", "file", "constraint"),
    [
        ("ulx3s", 80, "top.lpf", 'FREQUENCY NET "clock.pipeline_clk" 80000000.0 HZ;'),
        ("icebreaker", 24, "top.pcf", "set_frequency clock.pipeline_clk 24.0"),
    ],
)
def test_constraints_reach_the_tools(lines, name, mhz, file, constraint):
    """The pipeline's own frequency, not the oscillator's, is what place and route has to reach."""
    this = board(name)
    top = BoardTop(this, Parity(width=8, lanes=1), about(lines, clock_hz=mhz * 1_000_000))
    assert constraint in this.platform().prepare(top, "top").files[file]


@pytest.mark.parametrize(
    ("clock_hz", "baud", "message"),
    [
        (100_000_000, None, "pynq cannot make 100 MHz"),
        (62_500_000, 50_000_000, "62.5 MHz clock cannot do 50000000 baud"),
    ],
)
def test_refuses_what_the_board_cannot_do(lines, clock_hz, baud, message):
    this = board("pynq").through("serial")
    with pytest.raises(PopstreamError, match=message):
        BoardTop(this, Parity(width=8, lanes=1), about(lines, clock_hz=clock_hz), baud=baud)


def test_refuses_streams_that_do_not_fit(lines):
    with pytest.raises(ValueError, match="Results of 1 elements of 4 bits do not come 1 of 9"):
        BoardTop(board("icebreaker"), Parity(width=8, lanes=1, result=9), about(lines))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_elements": 65536}, "a frame of 65536 bytes does not fit a packet"),
        ({"result_elements": 16384, "result_width": 32}, "a result of 65536 bytes does not fit"),
        ({"batch_frames": 2}, "batches, .* cannot be behind a serial link; .* --shell zynq"),
    ],
)
def test_refuses_what_packets_cannot_carry(lines, changes, message):
    with pytest.raises(PopstreamError, match=message):
        BoardTop(board("icebreaker"), Parity(width=8, lanes=1), about(lines, **changes))
