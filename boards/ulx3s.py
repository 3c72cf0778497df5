"""ULX3S with an LFE5U-85F (Radiona): amaranth-boards' pins."""

from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.ulx3s import ULX3S_85F_Platform

__all__ = ["Ulx3sPlatform"]


class Ulx3sPlatform(ULX3S_85F_Platform):
    """ULX3S 85F, which can be built without the programmer's software."""

    @property
    def required_tools(self):
        return LatticeECP5Platform.required_tools.fget(self)
