"""The pipeline's clock and its reset, made from a board's oscillator."""

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import Out

from boards.clocks import Clock

__all__ = ["RESET_SECONDS", "ClockGenerator"]

# Block RAM of the iCE40 reads zeros for about 3 us after configuration; five times that is safe.
RESET_SECONDS = 15e-6


class ClockGenerator(wiring.Component):
    """Makes a board's clock, with a reset that lasts 15 us after configuration.

    The frequency that it makes is announced to place and route as a constraint. A PLL that loses
    lock resets again.

    Parameters
    ----------
    clock : boards.clocks.Clock
        How the clock is made.

    Members
    -------
    clk : Out(1)
        Drives the clock of the domain that the whole design shares.
    rst : Out(1)
        Drives its synchronous reset.

    Raises
    ------
    ValueError
        The clock is made in a way that is not known here.
    """

    def __init__(self, clock: Clock):
        if clock.how not in _MAKERS:
            raise ValueError(f"A clock is made by one of {', '.join(_MAKERS)}, not {clock.how!r}")
        self._clock = clock
        super().__init__({"clk": Out(1), "rst": Out(1)})

    @property
    def clock(self) -> Clock:
        return self._clock

    def elaborate(self, platform):
        m = Module()

        # Only a signal can be constrained, and only one that keeps its name.
        clk = Signal(attrs={"keep": 1}, name="pipeline_clk")
        locked = _MAKERS[self._clock.how](m, platform, self._clock.settings, clk)
        platform.add_clock_constraint(clk, self._clock.hz)

        m.domains.always = ClockDomain(reset_less=True, local=True)
        m.d.comb += [self.clk.eq(clk), ClockSignal("always").eq(clk)]

        # Counts up from zero, the only value in which every family's flip-flops can wake up.
        cycles = max(1, round(self._clock.hz * RESET_SECONDS))
        steady = Signal()
        m.submodules.lock_sync = FFSynchronizer(locked, steady, o_domain="always")
        timer = Signal(range(cycles + 1))
        ready = Signal()
        with m.If(~steady):
            m.d.always += [timer.eq(0), ready.eq(0)]
        with m.Elif(timer == cycles):
            m.d.always += ready.eq(1)
        with m.Else():
            m.d.always += timer.eq(timer + 1)
        m.d.comb += self.rst.eq(~ready)

        return m


def _pad(m, platform):
    """The oscillator, behind its input buffer."""
    port = platform.request(platform.default_clk, dir="-")
    m.submodules.pad = pad = io.Buffer("i", port)
    return pad.i


def _direct(m, platform, settings, clk):
    m.d.comb += clk.eq(_pad(m, platform))
    return Const(1)


def _divide(m, platform, settings, clk):
    # The counter's top bit halves its clock that many times; BUFG puts it on the clock network.
    count = Signal(range(settings["by"]))
    m.domains.oscillator = ClockDomain(reset_less=True, local=True)
    m.d.comb += ClockSignal("oscillator").eq(_pad(m, platform))
    m.d.oscillator += count.eq(count + 1)
    m.submodules.bufg = Instance("BUFG", i_I=count[-1], o_O=clk)
    return Const(1)


def _ehxplll(m, platform, settings, clk):
    locked = Signal()
    feedback = Signal()
    # Phases count from 0 in steps of the VCO's period: the divider less one means no shift.
    phases = {f"{output}_CPHASE": settings[f"{output}_DIV"] - 1 for output in ("CLKOP", "CLKOS")}
    m.submodules.pll = Instance(
        "EHXPLLL",
        p_FEEDBK_PATH="INT_OP",
        p_CLKOP_ENABLE="ENABLED",
        p_CLKOS_ENABLE="ENABLED",
        **{f"p_{name}": value for name, value in (settings | phases).items()},
        a_ICP_CURRENT="12",
        a_LPF_RESISTOR="8",
        i_CLKI=_pad(m, platform),
        i_CLKFB=feedback,
        i_RST=Const(0),
        i_STDBY=Const(0),
        o_CLKINTFB=feedback,
        o_CLKOS=clk,
        o_LOCK=locked,
    )
    return locked


def _sb_pll40_pad(m, platform, settings, clk):
    # The pin feeds the PLL itself; an input buffer could not share it.
    port = platform.request(platform.default_clk, dir="-")
    locked = Signal()
    widths = {"DIVR": 4, "DIVF": 7, "DIVQ": 3, "FILTER_RANGE": 3}
    m.submodules.pll = Instance(
        "SB_PLL40_PAD",
        p_FEEDBACK_PATH="SIMPLE",
        **{f"p_{name}": Const(settings[name], width) for name, width in widths.items()},
        i_PACKAGEPIN=port.io,
        i_RESETB=Const(1),
        i_BYPASS=Const(0),
        o_PLLOUTGLOBAL=clk,
        o_LOCK=locked,
    )
    return locked


_MAKERS = {
    "direct": _direct,
    "divide": _divide,
    "EHXPLLL": _ehxplll,
    "SB_PLL40_PAD": _sb_pll40_pad,
}
