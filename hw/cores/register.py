"""A register that stays one: for a signal with too many loads, or with loads too far apart."""

from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Register"]

# The flip-flop of each family: cell, clock, data and output pin, and what else it has to be told.
_CELLS = {
    "xc7": ("FDRE", "C", "D", "Q", {"i_CE": Const(1, 1), "i_R": Const(0, 1)}),
    "ecp5": (
        "TRELLIS_FF",
        "CLK",
        "DI",
        "Q",
        {
            "p_GSR": "DISABLED",
            "p_CEMUX": "1",
            "p_CLKMUX": "CLK",
            "p_LSRMUX": "LSR",
            "p_SRMODE": "LSR_OVER_CE",
            "p_REGSET": "RESET",
            "i_LSR": Const(0, 1),
        },
    ),
    "ice40": ("SB_DFF", "C", "D", "Q", {}),
}


class Register(wiring.Component):
    """Gives what it gets a cycle later, and is not merged with another that does the same.

    Synthesis merges registers of equal input, whatever attribute they carry; it leaves flip-flops
    alone that are instantiated. No reset, no enable; starts at 0.

    Parameters
    ----------
    width : int
        Bits, at least 1.
    family : str
        "xc7", "ecp5" or "ice40"; "generic" leaves the register to synthesis, and so does
        elaboration without a platform.

    Members
    -------
    i : In(width)
    o : Out(width)

    Raises
    ------
    ValueError
        When the width is less than 1 or there is no such family.
    """

    def __init__(self, *, width: int, family: str = "generic"):
        if width < 1:
            raise ValueError(f"Width must be at least 1, not {width}")
        if family not in ("generic", *_CELLS):
            families = ", ".join(("generic", *_CELLS))
            raise ValueError(f"Family must be one of {families}, not {family!r}")
        self._family = family
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        if platform is None or self._family == "generic":
            register = Signal.like(self.o, reset_less=True)
            m.d.sync += register.eq(self.i)
            m.d.comb += self.o.eq(register)
        else:
            cell, clock, data, output, others = _CELLS[self._family]
            for bit in range(len(self.i)):
                ports = {f"i_{clock}": ClockSignal(), f"i_{data}": self.i[bit]}
                m.submodules[f"bit_{bit}"] = Instance(
                    cell, **ports, **{f"o_{output}": self.o[bit]}, **others
                )
        return m
