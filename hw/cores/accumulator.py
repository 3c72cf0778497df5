"""Running sums in DSP48E1s, four to one of them.

In its SIMD mode a DSP48E1 is four adders of 12 bits that know nothing of each other. Each cycle it
adds A:B, four terms, to what its Z multiplexer takes: P, the four sums so far, or C, what they
start from. Made of LUTs a sum takes about one a bit.

Source: Xilinx UG479 (OPMODE, ALUMODE and the SIMD mode; what is not used of a DSP48E1).
"""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SUM_WIDTH", "Accumulator"]

# Bits of a sum, and sums of a DSP48E1.
SUM_WIDTH, _SUMS = 12, 4

# X takes A:B and Y nothing; of Z the lowest bit tells C (011) from P (010).
_OPMODE_LOW, _OPMODE_HIGH = Const(0b0011, 4), Const(0b01, 2)

# Only P has a register: before A, B and C there is the one of the popcount, and the 12-bit addition
# takes less of a cycle than an accumulator of LUTs and a carry chain would.
_PARAMETERS = {
    **{"USE_SIMD": "FOUR12", "USE_MULT": "NONE", "USE_DPORT": "FALSE", "PREG": 1},
    **{"A_INPUT": "DIRECT", "AREG": 0, "ACASCREG": 0, "ADREG": 0, "DREG": 0, "MREG": 0},
    **{"B_INPUT": "DIRECT", "BREG": 0, "BCASCREG": 0, "CREG": 0, "CARRYINREG": 0},
    **{"OPMODEREG": 0, "ALUMODEREG": 0, "INMODEREG": 0, "CARRYINSELREG": 0},
    **{"USE_PATTERN_DETECT": "NO_PATDET", "AUTORESET_PATDET": "NO_RESET"},
}
# What is 0 at all times. None of it is left open, for open pins are 1 to some tools; but cascades
# cannot be driven by anything but a DSP48E1.
_ZERO = {
    **{"ALUMODE": 4, "CARRYIN": 1, "CARRYINSEL": 3, "D": 25, "INMODE": 5},
    **{"CEA1": 1, "CEA2": 1, "CEAD": 1, "CEALUMODE": 1, "CEB1": 1, "CEB2": 1, "CEC": 1},
    **{"CECARRYIN": 1, "CECTRL": 1, "CED": 1, "CEINMODE": 1, "CEM": 1},
    **{"RSTA": 1, "RSTALLCARRYIN": 1, "RSTALUMODE": 1, "RSTB": 1, "RSTC": 1, "RSTCTRL": 1},
    **{"RSTD": 1, "RSTINMODE": 1, "RSTM": 1, "RSTP": 1},
}


class Accumulator(wiring.Component):
    """Adds up terms, in any number of lanes side by side.

    With every clock edge at which `valid` is 1: `total[k] = term[k] + (start[k] if first else
    total[k])`, modulo `2**width`; otherwise `total` stays. It follows a cycle after the last term.
    No reset; starts at 0.

    On 7-series four lanes take a DSP48E1 and nothing else. Elaborated without a platform, or with
    family "generic", it is plain arithmetic with the same cycles.

    Parameters
    ----------
    width : int
        Bits of a lane, in 1..12.
    lanes : int
        At least 1.
    family : str
        "xc7" or "generic".

    Members
    -------
    valid : In(1)
    first : In(1)
        The term is a sum's first. Looked at while `valid`, as are the terms.
    start, term : In(ArrayLayout(width, lanes))
    total : Out(ArrayLayout(width, lanes))

    Raises
    ------
    ValueError
        When a parameter is out of its range; families but 7-series have no such DSP.
    """

    def __init__(self, *, width: int, lanes: int, family: str = "generic"):
        if not 1 <= width <= SUM_WIDTH:
            raise ValueError(f"Width must be in 1..{SUM_WIDTH} bits in a DSP48E1, not {width}")
        if lanes < 1:
            raise ValueError(f"Lanes must be at least 1, not {lanes}")
        if family not in ("xc7", "generic"):
            raise ValueError(f"Accumulators in DSPs are for xc7 (or generic), not {family!r}")
        self._width, self._lanes, self._family = width, lanes, family
        row = data.ArrayLayout(width, lanes)
        members = {"valid": In(1), "first": In(1), "start": In(row), "term": In(row)}
        super().__init__(members | {"total": Out(row)})

    def elaborate(self, platform):
        m = Module()
        if platform is None or self._family == "generic":
            for lane in range(self._lanes):
                total = Signal(self._width, name=f"total_{lane}", reset_less=True)
                m.d.comb += self.total[lane].eq(total)
                with m.If(self.valid):
                    m.d.sync += total.eq(self.term[lane] + Mux(self.first, self.start[lane], total))
        else:
            for low in range(0, self._lanes, _SUMS):
                self._dsp(m, range(low, min(low + _SUMS, self._lanes)))
        return m

    def _dsp(self, m, lanes):
        """A DSP48E1 for up to four lanes."""

        def spread(row):
            padding = Const(0, SUM_WIDTH - self._width)
            return Cat(Cat(row[lane], padding) for lane in lanes)

        terms, starts, p = (Signal(SUM_WIDTH * _SUMS) for _ in range(3))
        m.d.comb += [terms.eq(spread(self.term)), starts.eq(spread(self.start))]
        m.submodules[f"dsp_{lanes[0]}"] = Instance(
            "DSP48E1",
            **{f"p_{name}": value for name, value in _PARAMETERS.items()},
            **{f"i_{name}": Const(0, bits) for name, bits in _ZERO.items()},
            i_CLK=ClockSignal(),
            i_OPMODE=Cat(_OPMODE_LOW, self.first, _OPMODE_HIGH),
            i_A=terms[18:],
            i_B=terms[:18],
            i_C=starts,
            i_CEP=self.valid,
            o_P=p,
        )
        for place, lane in enumerate(lanes):
            m.d.comb += self.total[lane].eq(p[SUM_WIDTH * place :])
