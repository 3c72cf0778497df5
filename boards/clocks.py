"""Clocks: which frequencies a board can make from its oscillator, and with which dividers.

Arithmetic only; ``hw.shell.clock`` instantiates what is found here. Every frequency is a whole
number of hertz and is made exactly, so that cycle counts, baud rates and the constraints that the
tools see agree.

Sources: Lattice FPGA-DS-02012 (EHXPLLL) and FPGA-DS-02008, FPGA-TN-02052 (iCE40 sysCLOCK PLL);
Xilinx UG585 chapter 25 and DS187 (Zynq's FCLK).
"""

from dataclasses import dataclass, field
from functools import cached_property

__all__ = ["Clock", "Divider", "Oscillator", "PllEcp5", "PllIce40", "Processor"]


@dataclass(frozen=True)
class Clock:
    """The pipeline's clock: its frequency and how it is made.

    Attributes
    ----------
    hz : int
        Frequency.
    how : str
        ``"direct"``, ``"divide"``, ``"FCLK"``, ``"EHXPLLL"`` or ``"SB_PLL40_PAD"``.
    settings : dict of str to int
        The divider ``by``, or the divider parameters of the PLL's instance; none of FCLK, which
        software sets.
    """

    hz: int
    how: str = "direct"
    settings: dict[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Oscillator:
    """A board's oscillator and the frequencies that can be made from it.

    Attributes
    ----------
    hz : int
        The oscillator's frequency.
    """

    hz: int

    @cached_property
    def clocks(self) -> dict[int, Clock]:
        """Every frequency that can be made, each with the way chosen for it."""
        return {self.hz: Clock(self.hz)} | self._derived()

    def _derived(self) -> dict[int, Clock]:
        raise NotImplementedError

    def find(self, hz: int) -> Clock | None:
        """The way to make exactly ``hz``, or None."""
        return self.clocks.get(hz)

    def nearest(self, hz: int) -> tuple[int, ...]:
        """The frequencies just below and just above ``hz``, as far as there are any."""
        below = sorted(known for known in self.clocks if known < hz)
        above = sorted(known for known in self.clocks if known > hz)
        return (*below[-1:], *above[:1])


@dataclass(frozen=True)
class Divider(Oscillator):
    """An oscillator divided by powers of two, in flip-flops.

    Attributes
    ----------
    stages : int
        Most flip-flops in a row, thus the largest divider is ``2**stages``.
    """

    stages: int = 3

    def _derived(self) -> dict[int, Clock]:
        dividers = [2**stage for stage in range(1, self.stages + 1) if self.hz % 2**stage == 0]
        return {self.hz // by: Clock(self.hz // by, "divide", {"by": by}) for by in dividers}


@dataclass(frozen=True)
class Processor(Oscillator):
    """FCLK0 of a Zynq's processor: its I/O PLL of ``hz``, divided twice by 1..63, up to 250 MHz.

    Software on the processor sets the two dividers; the gateware only uses what comes.
    """

    def _derived(self) -> dict[int, Clock]:
        products = {first * second for first in range(1, 64) for second in range(1, 64)}
        exact = {self.hz // by for by in products if self.hz % by == 0}
        return {hz: Clock(hz, "FCLK") for hz in exact if hz <= 250_000_000}

    @cached_property
    def clocks(self) -> dict[int, Clock]:
        return self._derived()


@dataclass(frozen=True)
class PllEcp5(Oscillator):
    """An oscillator and an ECP5's EHXPLLL.

    The loop is closed through CLKOP, ``vco = hz / CLKI_DIV * CLKFB_DIV * CLKOP_DIV``, and the
    pipeline runs from CLKOS, ``vco / CLKOS_DIV``. Phase detector 10..400 MHz, VCO 400..800 MHz,
    output 3.125..400 MHz; among equal outputs the fastest phase detector and then the slowest VCO.
    """

    def _derived(self) -> dict[int, Clock]:
        found: dict[int, Clock] = {}
        for clki in range(1, self.hz // 10_000_000 + 1):
            for multiplier in range(1, 800_000_000 * clki // self.hz + 1):
                vco, rest = divmod(self.hz * multiplier, clki)
                if rest or vco < 400_000_000:
                    continue
                clkop = _feedback_divider(vco, multiplier)
                if clkop is None:
                    continue
                for clkos in range(1, 129):
                    if vco % clkos or not 3_125_000 <= vco // clkos <= 400_000_000:
                        continue
                    settings = {
                        "CLKI_DIV": clki,
                        "CLKFB_DIV": multiplier // clkop,
                        "CLKOP_DIV": clkop,
                        "CLKOS_DIV": clkos,
                    }
                    found.setdefault(vco // clkos, Clock(vco // clkos, "EHXPLLL", settings))
        found.pop(self.hz, None)
        return found


def _feedback_divider(vco_hz: int, multiplier: int) -> int | None:
    """The largest CLKOP_DIV that leaves CLKOP in range and CLKFB_DIV a whole number."""
    for clkop in range(128, 0, -1):
        in_range = 3_125_000 * clkop <= vco_hz <= 400_000_000 * clkop
        if in_range and multiplier % clkop == 0 and multiplier // clkop <= 128:
            return clkop
    return None


@dataclass(frozen=True)
class PllIce40(Oscillator):
    """An oscillator on the PLL's own pin and an iCE40's SB_PLL40_PAD.

    Simple feedback, ``hz / (DIVR + 1) * (DIVF + 1) / 2**DIVQ``. Phase detector 10..133 MHz, VCO
    533..1066 MHz, output 16..275 MHz; among equal outputs the fastest phase detector.
    """

    def _derived(self) -> dict[int, Clock]:
        found: dict[int, Clock] = {}
        for divr in range(self.hz // 10_000_000):
            for divf in range(128):
                vco, rest = divmod(self.hz * (divf + 1), divr + 1)
                if rest or not 533_000_000 <= vco <= 1_066_000_000:
                    continue
                for divq in range(1, 7):
                    if vco % 2**divq or not 16_000_000 <= vco >> divq <= 275_000_000:
                        continue
                    settings = {
                        "DIVR": divr,
                        "DIVF": divf,
                        "DIVQ": divq,
                        "FILTER_RANGE": _filter_range(self.hz // (divr + 1)),
                    }
                    found.setdefault(vco >> divq, Clock(vco >> divq, "SB_PLL40_PAD", settings))
        return found


def _filter_range(phase_detector_hz: int) -> int:
    """The loop filter for a phase detector frequency, as icepll picks it."""
    limits_hz = (17_000_000, 26_000_000, 44_000_000, 66_000_000, 101_000_000)
    return 1 + sum(phase_detector_hz >= limit for limit in limits_hz)
