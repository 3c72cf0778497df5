"""PYNQ-Z1 (Digilent) and PYNQ-Z2 (TUL): the programmable logic's pins that both boards share.

The 125 MHz clock comes from the Ethernet PHY and runs as soon as the board has power and the PHY is
out of reset; neither needs software. Audio, the Raspberry Pi header and HDMI's side signals differ
between the two and are left out.

Source: the makers' master constraint files, PYNQ-Z1_C.xdc and pynq-z2_v1.0.xdc, and Xilinx/PYNQ
boards/Pynq-Z1 and boards/Pynq-Z2, base/vivado/constraints/base.xdc.
"""

from amaranth.build import Attrs, Clock, Connector, Pins, Resource
from amaranth_boards.resources import (
    ButtonResources,
    LEDResources,
    RGBLEDResource,
    SwitchResources,
)

from boards.pmod import pmod_uart
from boards.xilinx import OpenXilinxPlatform

__all__ = ["PynqPlatform"]

_LVCMOS33 = Attrs(IOSTANDARD="LVCMOS33")


class PynqPlatform(OpenXilinxPlatform):
    """PYNQ-Z1 and PYNQ-Z2, without what only one of them has."""

    device = "xc7z020"
    package = "clg400"
    speed = "1"
    default_clk = "clk125"
    resources = (
        Resource("clk125", 0, Pins("H16", dir="i"), Clock(125e6), _LVCMOS33),
        *SwitchResources(pins="M20 M19", attrs=_LVCMOS33),
        *ButtonResources(pins="D19 D20 L20 L19", attrs=_LVCMOS33),
        *LEDResources(pins="R14 P14 N16 M14", attrs=_LVCMOS33),
        RGBLEDResource(0, r="N15", g="G17", b="L15", attrs=_LVCMOS33),  # LD4
        RGBLEDResource(1, r="M15", g="L14", b="G14", attrs=_LVCMOS33),  # LD5
        pmod_uart(connector=0),
    )
    connectors = (
        Connector("pmod", 0, "Y18 Y19 Y16 Y17 - - U18 U19 W18 W19 - -"),  # PMODA, JA
        Connector("pmod", 1, "W14 Y14 T11 T10 - - V16 W16 V12 W13 - -"),  # PMODB, JB
        Connector("arduino", 0, "T14 U12 U13 V13 V15 T15 R16 U17 V17 V18 T16 R17 P18 N17"),
    )
