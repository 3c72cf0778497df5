"""Which compressor tree a family's popcount is."""

from hw.cores import compressor_ecp5
from hw.cores.compressor import Schedule, adders, schedule

__all__ = ["tree"]


def tree(width: int, family: str, depth: int = 0) -> Schedule:
    """The popcount of `width` lanes for a family.

    Parameters
    ----------
    width : int
        Lanes, at least 1.
    family : str
        "xc7", "ecp5", or one whose trees are made of plain adders: "ice40", "generic".
    depth : int
        Words of the table that the weights come from, in 1..16; 0 where they are an input.
    """
    if family == "ecp5" and depth == 0:
        return compressor_ecp5.schedule(width)
    if family != "xc7":
        return adders(width)
    return schedule(width, "match" if depth == 0 else "threes" if depth <= 8 else "pairs")
