"""The roofline: how fast a network could be on a board, whatever way it is folded.

A frame needs each weight once, or once for each pixel that a convolution makes; so a pace asks for
so many bits of weights a cycle, and for as many lanes to use them. Block RAM gives its full width a
cycle and no more; what goes beyond has to be in LUTs, which the lanes take too. A roof is what one
of these allows if nothing else is in the way.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np

from boards.catalogue import Board
from hw.resources import Resources, budgets, lane_luts, rom
from sw.network import Conv, Layer, Network

__all__ = ["Roof", "roofline", "weight_bits"]


@dataclass(frozen=True)
class Roof:
    """The fewest cycles a frame that something allows.

    Parameters
    ----------
    name : str
    cycles : int or None
        None where no pace is possible.
    why : str
        The numbers behind it.
    """

    name: str
    cycles: int | None
    why: str


@dataclass(frozen=True)
class _Work:
    """A layer: its bits of weights, how often a frame needs each, and bits of what it meets."""

    weights: int
    times: int
    bits: int


def _work(network: Network) -> list[_Work]:
    work = []
    for node in network.of(Layer):
        shape = network.type(node).shape
        times = shape[0] * shape[1] if isinstance(node, Conv) else 1
        work.append(_Work(node.weights.size, times, network.type(node.inputs[0]).width))
    return work


def weight_bits(network: Network) -> int:
    """Bits of all weights."""
    return sum(node.weights.size for node in network.of(Layer))


def _paces(bits: int) -> np.ndarray:
    """Cycles a frame worth asking for, ascending: every small number, larger ones by steps."""
    small = np.arange(1, min(bits, 1000) + 1)
    return np.unique(np.concatenate([small, np.geomspace(1, bits, 2000).astype(int)]))


def _luts(work: list[_Work], cycles: int, family: str, limit: Resources, bram_width: int) -> float:
    """LUTs of all lanes at a pace, each weight where it costs the least; nothing else counted."""
    total, saved = 0.0, []
    for layer in work:
        lanes, depth = layer.weights * layer.times / cycles, max(1, cycles // layer.times)
        streamed, table = layer.bits * lane_luts(family), layer.bits * lane_luts(family, depth)
        in_luts = min(streamed + float(rom(depth, 1e9, family)) / 1e9, table)
        total += lanes * in_luts
        saved.append((in_luts - min(streamed, in_luts), lanes))
    width = limit.brams * bram_width
    for each, lanes in sorted(saved, reverse=True):
        total -= each * min(lanes, width)
        width -= min(lanes, width)
    return total


def roofline(
    network: Network, board: Board, input_lanes: int, limit: Resources | None = None
) -> list[Roof]:
    """The roofs over a network on a board.

    Parameters
    ----------
    network : Network
    board : Board
    input_lanes : int
        Elements a cycle of the input stream.
    limit : Resources or None
        What may be taken; None is all that the board has.
    """
    limit = limit or budgets(board)
    work, bits, family = _work(network), weight_bits(network), board.family
    reads = sum(layer.weights * layer.times for layer in work)
    used = sum(layer.weights * layer.times * layer.bits for layer in work)
    elements = network.type(network.input).elements

    read = limit.brams * board.bram_width
    held = limit.brams * board.bram_bits
    block = Roof(
        "weights in block RAM",
        ceil(reads / read) if 0 < bits <= held else None,
        f"{limit.brams:g} block RAMs of {board.bram_width} bits a cycle"
        if bits <= held
        else f"{limit.brams:g} block RAMs hold {held:,.0f} of {bits:,} bits",
    )

    def fewest(luts):
        """The fewest cycles for which `luts` says no more than there are."""
        return next((int(pace) for pace in _paces(used) if luts(int(pace)) <= limit.luts), None)

    def lane(cycles):
        return min(lane_luts(family), lane_luts(family, cycles))

    def stored(cycles):
        return _luts(work, cycles, family, limit, board.bram_width)

    free = fewest(lambda cycles: used / cycles * lane(cycles))
    lanes = Roof("lanes in LUTs", free, f"{lane(free or 1):.2f} of {limit.luts:,.0f} LUTs a lane")
    both = fewest(stored)
    return [
        block,
        lanes,
        Roof("both", both, "block RAM first, the other weights in LUTs beside the lanes"),
        Roof("input stream", ceil(elements / input_lanes), f"{input_lanes:,} elements a cycle"),
    ]
