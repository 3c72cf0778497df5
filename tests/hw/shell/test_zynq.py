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
    """Stands in for a pipeline of one beat a frame."""

    i: In(stream.Signature(data.ArrayLayout(1, 64)))
    o: Out(stream.Signature(1))

    def elaborate(self, platform):
        m = Module()
        with m.If(self.o.ready | ~self.o.valid):
            m.d.sync += self.o.valid.eq(self.i.valid)
            m.d.sync += self.o.payload.eq(self.i.payload.as_value().xor())
        m.d.comb += self.i.ready.eq(self.o.ready | ~self.o.valid)
        return m


def top(name="pynq", clock_hz=None):
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
    )
    return ZynqTop(board(name), MemoryShell(Parity(), identity), clock_hz=clock_hz)


@pytest.fixture(scope="module")
def files():
    return prepare(board("pynq"), top(), clock_hz=100_000_000).files


def test_pins_are_the_ps7s_and_as_wide(files):
    """yosys knows the PS7's ports; it warns where it has to resize what is connected."""
    script = f"{READ}; hierarchy -check -top top"
    log, made = attempt_yosys({"top.il": files["top.il"]}, script, need="a check")
    assert made is not None, errors_in(log)
    assert "Resizing" not in log


def test_what_the_ports_do_not_use_is_tied(files):
    """What matters is that no request pin of a port in use is left open."""
    cell = re.search(r"\n  cell \\PS7 .*?\n  end\n", files["top.il"], re.DOTALL)[0]
    pins = set(re.findall(r"connect \\(\S+) ", cell))
    for channel in ("AR", "AW"):
        fields = "VALID ADDR LEN SIZE BURST ID LOCK CACHE PROT QOS"
        assert {f"SAXIHP0{channel}{field}" for field in fields.split()} <= pins
    assert {"SAXIHP0WID", "SAXIHP0WSTRB", "SAXIHP0WLAST", "SAXIHP0RREADY", "SAXIHP0BREADY"} <= pins
    assert {"MAXIGP0RID", "MAXIGP0BID", "MAXIGP0RLAST", "MAXIGP0BRESP", "MAXIGP0WREADY"} <= pins
    assert {"MAXIGP0ACLK", "SAXIHP0ACLK", "IRQF2P", "FCLKCLK", "FCLKRESETN"} <= pins


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
