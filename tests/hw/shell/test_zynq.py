# amaranth: UnusedElaboratable=no
"""hw.shell.zynq: what is connected to the PS7, and to which of its pins."""

import re

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.catalogue import board
from hw.shell.identity import Identity
from hw.shell.memory import MemoryShell
from hw.shell.zynq import ZynqTop
from hw.toolchain import prepare
from hw.toolchain.yosys import attempt_yosys, errors_in

READ = "read_rtlil top.il; read_verilog -lib +/xilinx/cells_xtra.v +/xilinx/cells_sim.v"


class Parity(wiring.Component):
    """Stands in for a pipeline of one beat a frame, and of one word of weights or none."""

    def __init__(self, weights):
        members = {
            "i": In(stream.Signature(data.ArrayLayout(1, 64))),
            "o": Out(stream.Signature(1)),
        }
        super().__init__(members | ({"weights": In(stream.Signature(64))} if weights else {}))

    def elaborate(self, platform):
        m = Module()
        bits, valid = self.i.payload.as_value(), self.i.valid
        moves = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(moves)
        if "weights" in self.signature.members:
            valid = self.i.valid & self.weights.valid
            bits = bits & self.weights.payload
            m.d.comb += [self.i.ready.eq(moves & valid), self.weights.ready.eq(moves & valid)]
        with m.If(moves):
            m.d.sync += [self.o.valid.eq(valid), self.o.payload.eq(bits.xor())]
        return m


def top(name="pynq", clock_hz=None, weights=False):
    identity = Identity(
        digest="5a" * 32,
        frame_elements=64,
        frame_bits=1,
        result_elements=1,
        result_width=1,
        scores=False,
        clock_hz=100_000_000,
        frame_cycles=1,
        latency_cycles=1,
        batch_frames=1 if weights else 0,
        weight_words=1 if weights else 0,
    )
    return ZynqTop(board(name), MemoryShell(Parity(weights), identity), clock_hz=clock_hz)


@pytest.fixture(scope="module", params=[False, True], ids=["frames", "weights"])
def weights(request):
    """Whether the pipeline reads weights."""
    return request.param


@pytest.fixture(scope="module")
def files(weights):
    return prepare(board("pynq"), top(weights=weights), clock_hz=100_000_000).files


def test_pins_are_the_ps7s_and_as_wide(files):
    """yosys knows the PS7's ports; it warns where it has to resize what is connected."""
    script = f"{READ}; hierarchy -check -top top"
    log, made = attempt_yosys({"top.il": files["top.il"]}, script, need="a check")
    assert made is not None, errors_in(log)
    assert "Resizing" not in log


def test_what_the_ports_do_not_use_is_tied(files, weights):
    """What matters is that no request pin of a port in use is left open."""
    cell = re.search(r"\n  cell \\PS7 .*?\n  end\n", files["top.il"], re.DOTALL)[0]
    pins = set(re.findall(r"connect \\(\S+) ", cell))
    for channel in ("AR", "AW"):
        fields = "VALID ADDR LEN SIZE BURST ID LOCK CACHE PROT QOS"
        assert {f"SAXIHP0{channel}{field}" for field in fields.split()} <= pins
    assert {"SAXIHP0WID", "SAXIHP0WSTRB", "SAXIHP0WLAST", "SAXIHP0RREADY", "SAXIHP0BREADY"} <= pins
    assert {"MAXIGP0RID", "MAXIGP0BID", "MAXIGP0RLAST", "MAXIGP0BRESP", "MAXIGP0WREADY"} <= pins
    assert {"MAXIGP0ACLK", "SAXIHP0ACLK", "IRQF2P", "FCLKCLK", "FCLKRESETN"} <= pins
    of_weights = {pin.removeprefix("SAXIHP2") for pin in pins if pin.startswith("SAXIHP2")}
    if not weights:
        assert not of_weights
    else:
        assert {f"AR{field}" for field in fields.split()} <= of_weights
        assert {"ACLK", "RREADY", "RVALID", "RDATA", "RRESP", "RLAST"} <= of_weights
        for request in ("AWVALID", "WVALID"):
            assert f"connect \\SAXIHP2{request} 1'0" in cell


def test_directions(files):
    """Everything that the PS7 drives is driven by nobody else, and the other way round."""
    script = f"{READ}; hierarchy -check -top top; proc; flatten; opt_clean; check -assert"
    log, made = attempt_yosys({"top.il": files["top.il"]}, script, need="a check")
    assert made is not None, errors_in(log)


@pytest.mark.parametrize("name", ["pynq", "arty_z7"])
def test_clock_is_constrained_and_no_pad_brings_it(name):
    prepared = prepare(board(name), top(name, 50_000_000), clock_hz=50_000_000)
    assert "-period 20.0 [get_nets {pipeline_clk}]" in prepared.files["top_clocks.xdc"]
    assert "led_3__io" in prepared.files["top.xdc"]
    assert "clk" not in prepared.files["top.xdc"]
    place = prepared.stage("place and route").commands[0]
    assert place[place.index("--freq") + 1] == "50.0"
