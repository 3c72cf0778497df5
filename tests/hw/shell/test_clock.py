# amaranth: UnusedElaboratable=no
"""hw.shell.clock: what is instantiated for each way to make a clock."""

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import io, wiring
from amaranth.sim import Simulator

from boards.catalogue import board
from boards.clocks import Clock
from hw.shell.clock import RESET_SECONDS, ClockGenerator


class Blinky(wiring.Component):
    def __init__(self, clock):
        self.clock = clock
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.clock = generator = ClockGenerator(self.clock)
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(generator.clk), ResetSignal().eq(generator.rst)]
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.sync += led.o.eq(~led.o)
        return m


def rtlil(name: str, clock_hz: int) -> str:
    this = board(name).through("serial")
    platform = this.platform()
    platform.pipeline_hz = clock_hz
    options = {"script_after_read": "", "synth_opts": "", "script_after_synth": ""}
    return platform.prepare(Blinky(this.clock(clock_hz)), "top", **options).files["top.il"]


def test_direct_clock_takes_no_part():
    text = rtlil("icebreaker", 12_000_000)
    assert "PLL" not in text


@pytest.mark.parametrize(
    ("hz", "wire"), [(62_500_000, "wire width 1"), (15_625_000, "wire width 3")]
)
def test_divided_clock_goes_through_a_global_buffer(hz, wire):
    text = rtlil("pynq", hz)
    assert "cell \\BUFG" in text
    assert f"  {wire} \\count\n" in text


def test_ecp5_pll_closes_its_loop_inside():
    text = rtlil("ulx3s", 80_000_000)
    assert 'parameter \\FEEDBK_PATH "INT_OP"' in text
    # 25 MHz x 16 / 5, without a phase shift.
    for name, value in (("CLKI_DIV", 1), ("CLKFB_DIV", 1), ("CLKOP_DIV", 16), ("CLKOS_DIV", 5)):
        assert f"parameter \\{name} {value}\n" in text
    assert "parameter \\CLKOP_CPHASE 15\n" in text
    assert "parameter \\CLKOS_CPHASE 4\n" in text


def test_ice40_pll_sits_on_the_pin():
    text = rtlil("icebreaker", 24_000_000)
    assert "cell \\SB_PLL40_PAD" in text
    assert "connect \\PACKAGEPIN \\clk12_0__io" in text
    assert "SB_IO" not in text.split("module \\top.clock\n")[1].split("\nmodule")[0]


def test_unknown_way_is_refused():
    with pytest.raises(ValueError, match=r"made by one of direct, divide, .* not 'magic'"):
        ClockGenerator(Clock(1_000_000, "magic"))


class Bench:
    """Stands in for a platform: its oscillator is driven by the testbench."""

    default_clk = "clk"

    def __init__(self):
        self.port = io.SimulationPort("i", 1)
        self.constraints = []

    def request(self, name, number=0, *, dir):
        return self.port

    def add_clock_constraint(self, signal, hz):
        self.constraints.append((signal.name, hz))


def test_reset_lasts_long_enough_for_block_ram():
    hz = 1_000_000
    platform = Bench()
    dut = ClockGenerator(Clock(hz))
    sim = Simulator(dut.elaborate(platform))
    cycles = []

    async def testbench(ctx):
        while ctx.get(dut.rst):
            cycles.append(1)
            for level in (1, 0):
                ctx.set(platform.port.i, level)
                await ctx.delay(1e-7)

    sim.add_testbench(testbench)
    sim.run()
    assert platform.constraints == [("pipeline_clk", hz)]
    assert RESET_SECONDS * hz <= len(cycles) <= RESET_SECONDS * hz + 5
