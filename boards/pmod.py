"""Serial links over a PMOD socket, for boards whose USB serial port is not the FPGA's.

Digilent's UART pinout for PMOD, as its Pmod USBUART has it: the FPGA transmits on pin 2 and
receives on pin 3; pins 5 and 11 are ground, 6 and 12 supply 3.3 V. Any USB serial adapter with
3.3 V levels does.

Source: Digilent Pmod Interface Specification 1.2, "expanded UART".
"""

from amaranth.build import Attrs, Pins, Resource, Subsignal

__all__ = ["pmod_uart"]


def pmod_uart(*, connector: int) -> Resource:
    """The resource ``uart`` on the upper row of a PMOD socket of a 7-series board.

    The receiver is pulled up, so that an open socket reads as an idle line.

    Parameters
    ----------
    connector : int
        Number of the platform's ``pmod`` connector.
    """
    return Resource(
        "uart",
        0,
        Subsignal("rx", Pins("3", dir="i", conn=("pmod", connector)), Attrs(PULLTYPE="PULLUP")),
        Subsignal("tx", Pins("2", dir="o", conn=("pmod", connector))),
        Attrs(IOSTANDARD="LVCMOS33"),
    )
