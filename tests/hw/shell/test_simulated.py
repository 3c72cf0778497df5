"""hw.shell.simulated: ports that fit the simulated boards; tests of sim.board use them."""

import re
from dataclasses import replace
from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.identity import Identity
from hw.shell.memory import MemoryShell
from hw.shell.simulated import SimulatedSerial, SimulatedZynq, shell_verilog

IDENTITY = Identity(
    digest=64 * "0",
    frame_elements=8,
    frame_bits=1,
    result_elements=1,
    result_width=8,
    scores=False,
    clock_hz=1_000_000,
    frame_cycles=1,
    latency_cycles=0,
)


class Wires(wiring.Component):
    i: In(stream.Signature(data.ArrayLayout(1, 8)))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
        ]
        return m


class Weighted(wiring.Component):
    i: In(stream.Signature(data.ArrayLayout(1, 8)))
    weights: In(stream.Signature(64))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.o.payload.eq(self.i.payload.as_value() ^ self.weights.payload[:8]),
            self.o.valid.eq(self.i.valid & self.weights.valid),
            self.i.ready.eq(self.o.valid & self.o.ready),
            self.weights.ready.eq(self.i.ready),
        ]
        return m


def ports(verilog: str) -> dict[str, tuple[str, int]]:
    """Direction and width of each port of the module `shell`."""
    body = re.search(r"^module shell\(.*?^endmodule", verilog, re.M | re.S)[0]
    found = re.findall(r"^  (input|output)\s+(?:reg\s+)?(?:\[(\d+):0\])?\s*(\w+)\s*;", body, re.M)
    return {name: (way, int(high or 0) + 1) for way, high, name in found}


def connected(board: str) -> set[str]:
    """The ports of the shell that a simulated board's Verilog connects, or leaves open."""
    path = Path(__file__).parents[3] / "sim" / f"board_{board}.v"
    return set(re.findall(r"\.(\w+)\(", path.read_text()))


def test_zynq():
    shell = ports(shell_verilog(SimulatedZynq(MemoryShell(Wires(), IDENTITY))))
    assert {name for name in shell if "_" not in name} == {"clk", "rst", "interrupt"}
    # The processor is outside, and the memory too.
    assert shell["gp_awaddr"] == ("input", 32)
    assert shell["gp_awready"] == ("output", 1)
    assert shell["gp_rid"] == ("output", 12)
    assert shell["hp_awaddr"] == ("output", 32)
    assert shell["hp_awready"] == ("input", 1)
    assert shell["hp_arid"] == ("output", 6)
    assert shell["hp_rdata"] == ("input", 64)
    # Only what reads weights has the port for them.
    assert set(shell) == {name for name in connected("zynq") if not name.startswith("hp2_")}


def test_zynq_with_weights():
    accelerator, identity = Weighted(), replace(IDENTITY, batch_frames=1, weight_words=1)
    shell = ports(shell_verilog(SimulatedZynq(MemoryShell(accelerator, identity))))
    assert shell["hp2_araddr"] == ("output", 32)
    assert shell["hp2_rdata"] == ("input", 64)
    assert set(shell) == connected("zynq")


def test_serial():
    shell = shell_verilog(SimulatedSerial(Wires(), IDENTITY, divisor=8))
    wire = ("input", 1)
    assert ports(shell) == {"clk": wire, "rst": wire, "rx": wire, "tx": ("output", 1)}
    assert set(ports(shell)) == connected("serial")
