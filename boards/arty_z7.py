"""Arty Z7-20 (Digilent): amaranth-boards' pins, the open flow, and a serial link on PMOD JA.

The board's USB serial port belongs to the processor, hence the PMOD.
"""

from amaranth_boards.arty_z7 import ArtyZ720Platform

from boards.pmod import pmod_uart
from boards.xilinx import OpenXilinxPlatform

__all__ = ["ArtyZ7Platform"]


class ArtyZ7Platform(OpenXilinxPlatform, ArtyZ720Platform):
    """Arty Z7-20."""

    resources = (*ArtyZ720Platform.resources, pmod_uart(connector=0))
