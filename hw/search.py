"""The search behind a plan: the fewest LUTs for a pace, within a board's other budgets.

A layer of n synapses and k neurons can be folded in a few thousand ways that differ: ceil(n / b)
synapses a cycle for every b, ceil(k / g) neurons for every g, dividing or not; its weights can be
in the first level's truth tables, in LUT ROM or in block RAM. Each way is costed once. Layers meet
in a width converter, whose cost depends on the neurons a cycle of one and the synapses a cycle of
the next, so the cheapest network is a shortest path, and dynamic programming finds it exactly.

What couples all layers is the block RAM. A price of it in LUTs decides who gets it: too low and
more is taken than there is, too high and LUT ROM is built beside empty block RAM. The price is
bisected, and each network met on the way is then filled: block RAM goes to the layers where it
saves the most LUTs, the last of them in part. What such a price leaves unpaid is also a bound that
no plan of that pace can beat, so every answer comes with its distance from the best there is.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cache, cached_property
from math import inf

import numpy as np

from boards.catalogue import Board
from hw import delay
from hw.pipeline import (
    Lanes,
    LayerLanes,
    Maximum,
    PlanError,
    Stage,
    Thresholding,
    conversions,
    layer_stages,
    pooling,
)
from hw.resources import (
    Resources,
    bram_width,
    brams,
    budgets,
    levels_near,
    rom,
    rom_columns,
    shell_resources,
    stage_resources,
    unit_cost,
)
from hw.timing import stage_cycles
from sw.network import Argmax, Binarise, Conv, Layer, Network, Pool

__all__ = ["Found", "Search", "registers"]

# Where a layer's weights may be; "whole" is block RAM in full width, and LUT ROM.
STORAGES = ("table", "logic", "block", "whole")

# Nanoseconds of one popcount level with its routing, about, besides 1.5 of the register; on
# 7-series each level has its register.
_LEVEL_NS = {"xc7": inf, "ecp5": 2.9, "ice40": 9.0}

# Where a resource is in the arrays below: the order of `Resources`.
_LUT, _FF, _BRAM, _LUT_RAM = range(4)
_NOTHING: dict = {}
_PRICES = np.geomspace(1, 4096, 1025)  # LUTs for one block RAM


def registers(levels, board: Board, clock_hz: int):
    """About how many registers `hw.delay.stages` gives popcounts of so many levels, an array."""
    per_stage = max(1, int((1e9 / clock_hz - 1.5) / _LEVEL_NS[board.family]))
    return np.minimum(levels, -(-(levels + 1) // per_stage) - 1)


def _vector(cost: Resources) -> np.ndarray:
    """A cost as an array, the resource first."""
    return np.stack(np.broadcast_arrays(*astuple(cost)[:4]))


def _divisors(total: int) -> np.ndarray:
    """Every divisor, ascending."""
    return np.array([d for d in range(1, total + 1) if total % d == 0])


def _parts(total: int) -> np.ndarray:
    """Every ceil(total / beats): the sizes worth having of a beat."""
    return np.unique(-(-total // np.arange(1, total + 1)))


class _Layer:
    """What every folding of a layer costs, the pools behind it included.

    Attributes
    ----------
    name : str
    elements : int
        Of the vectors that come; of a convolution, the channels of a pixel.
    i_lanes, simd, planes : arrays of int, shape (S,)
        Elements a beat of the stream that comes; synapses and bit planes a cycle.
    pe : array of int, shape (P,)
    behind : list of P stages
        The layer's last one.
    depth, lanes, pace : arrays of int, shape (S, P)
        Words of weights, weights a word, and cycles a frame.
    cost : array, shape (len(STORAGES), 4, S, P)
    """

    def __init__(
        self, network: Network, node: Layer, pools: Sequence[Pool], board: Board, clock_hz: int
    ):
        self.name, self._board, self._clock_hz = node.name, board, clock_hz
        self._bits = network.type(node.inputs[0]).width
        if isinstance(node, Conv):
            self.elements = node.channels
            simd = np.array([*_divisors(node.channels), node.synapses])
        else:
            self.elements = node.synapses
            simd = _parts(node.synapses)
        planes = _divisors(self._bits)
        self.simd, self.planes = simd.repeat(len(planes)), np.tile(planes, len(simd))
        self.i_lanes = np.minimum(self.simd, self.elements)
        self.pe = _parts(node.neurons)

        simd, planes, pe = self.simd[:, None], self.planes[:, None], self.pe[None, :]
        self.depth = -(-node.synapses // simd) * -(-node.neurons // pe)
        self.lanes = simd * pe
        half = bram_width(board, 0.5 if board.family == "xc7" else 1, self.depth)
        beyond = np.where(half > 0, self.lanes % np.maximum(1, half), 0)
        made = [self._stages(network, node, pools, lanes) for lanes in self.pe.tolist()]
        unit, others = made[0][0], [stages[1:] for stages in made]
        self.behind = [stages[-1] for stages in made]
        self.pace = unit.vectors * self.depth * (self._bits // planes)
        self.cost = np.stack(
            [
                _vector(
                    unit_cost(
                        board,
                        synapses=node.synapses,
                        neurons=node.neurons,
                        scores=unit.scores,
                        simd=simd,
                        pe=pe,
                        stages=registers(
                            levels_near(simd, board.family, self._table(storage, self.depth)),
                            board,
                            clock_hz,
                        ),
                        storage="block" if storage == "whole" else storage,
                        logic_bits=beyond if storage == "whole" else 0,
                        **({"bits": self._bits, "planes": planes} if self._bits > 1 else {}),
                    )
                )
                for storage in STORAGES
            ]
        )
        if isinstance(node, Conv):
            for index, lanes in enumerate(self.simd.tolist()):
                window, *_ = layer_stages(network, node, LayerLanes(lanes, 1))
                self.pace[index] = np.maximum(self.pace[index], stage_cycles(window))
                self.cost[:, :, index] += _vector(stage_resources(window, board))[:, None]
        for index, stages in enumerate(others):
            for stage in stages:
                self.pace[:, index] = np.maximum(self.pace[:, index], stage_cycles(stage))
                self.cost[:, :, :, index] += _vector(stage_resources(stage, board))[:, None]

    def _stages(self, network, node, pools, lanes) -> list[Stage]:
        """The matrix unit of so many neurons a cycle, and what is behind it."""
        made = layer_stages(network, node, LayerLanes(int(self.simd[0]), lanes))
        stages = list(made[isinstance(node, Conv) :])
        for pool in pools:
            stages += pooling(network, pool, stages[-1])
        return stages

    @staticmethod
    def _table(storage, depth):
        """Words of the table that the popcount has in its first level; 0 where it has none."""
        return np.where((depth == 1) | (storage == "table"), depth, 0)

    def folding(self, storage: str, s: int, p: int, logic_bits: int) -> LayerLanes:
        """The lanes of a folding by index, its registers counted exactly."""
        simd, depth = int(self.simd[s]), int(self.depth[s, p])
        table = int(self._table(storage, depth))
        stages = delay.stages(simd, self._board.family, self._clock_hz, table)
        planes = int(self.planes[s]) if self._bits > 1 else 0
        return LayerLanes(simd, int(self.pe[p]), stages, storage, logic_bits, planes=planes)


@dataclass(frozen=True)
class Found:
    """What a search for a pace found.

    Parameters
    ----------
    cycles : int
        Cycles a frame.
    resources : Resources
        The estimate, shell included.
    bound : float
        No folding and storage of the pace that was asked for takes fewer LUTs, by this estimate.
    make : callable
        Makes the lanes.
    """

    cycles: int
    resources: Resources
    bound: float
    make: Callable[[], Lanes]

    @cached_property
    def lanes(self) -> Lanes:
        return self.make()

    def fits(self, limit: Resources) -> bool:
        return all(
            used <= most for used, most in zip(astuple(self.resources), astuple(limit), strict=True)
        )


@dataclass(frozen=True)
class _Network:
    """One way to build a network, by index into the search's arrays.

    Parameters
    ----------
    total : array of 4
        What it takes, shell included.
    first : int
        Lanes of the input.
    picks : tuple of (storage, simd, pe)
    bits : tuple of int or None
        Weights a cycle in block RAM, None where the layer's storage is not to be mixed.
    """

    total: np.ndarray
    first: int
    picks: tuple
    bits: tuple

    def short(self, limit) -> bool:
        """Whether something else than LUTs is over its limit."""
        return bool((self.total[1:] > limit[1:]).any())

    def rank(self, limit) -> tuple:
        return self.short(limit), self.total[_LUT]


def _layers(network: Network) -> list[tuple[Layer, list[Pool]]]:
    """Every layer, and the pools between it and the next."""
    layers: list[tuple[Layer, list[Pool]]] = []
    for node in network.nodes:
        if isinstance(node, Layer):
            layers.append((node, []))
        elif isinstance(node, Pool):
            if not layers:
                raise PlanError(f"{node.name}: a pool of the input itself is not built")
            layers[-1][1].append(node)
    return layers


class Search:
    """Foldings and storage of a network's layers on a board at a clock.

    Parameters
    ----------
    network : Network
    board : Board
    clock_hz : int
        Decides the registers inside a unit.
    input : str
        "pixels" or "bits".
    """

    def __init__(self, network: Network, board: Board, clock_hz: int, input: str = "pixels"):
        self._board, self._input, self._priced = board, input, {}
        self._layers = [
            _Layer(network, node, pools, board, clock_hz) for node, pools in _layers(network)
        ]
        self._elements = network.type(network.input).elements
        self._lanes, self._first = self._entrance(network)
        width = network.input.bits if input == "pixels" and not network.of(Binarise) else 1
        before = [
            Stage(network.input.name, None, self._elements, lanes, width)
            for lanes in self._lanes.tolist()
        ]
        self._edges = []
        for layer in self._layers:
            self._edges.append(self._converters(before, layer))
            before = layer.behind
        self._last = self._exit(network)

    def _entrance(self, network):
        """Lanes the input may have, and what they cost."""
        lanes = np.unique([d for s in np.unique(self._layers[0].i_lanes) for d in _divisors(s)])
        bits = network.input.bits if self._input == "pixels" else 1
        around = [
            shell_resources(self._board, self._elements, bits, many) for many in lanes.tolist()
        ]
        cost = np.stack([_vector(made) for made in around], axis=1).astype(float)
        for node in network.of(Binarise) if self._input == "pixels" else ():
            thresholds = node.thresholds.reshape(-1)
            if len(thresholds) == 1:
                thresholds = thresholds.repeat(self._elements)
            thresholds = tuple(thresholds.tolist())
            for index, count in enumerate(lanes):
                stage = Thresholding(
                    node.name,
                    node.name,
                    self._elements,
                    int(count),
                    1,
                    i_width=network.input.bits,
                    thresholds=thresholds,
                )
                cost[:, index] += _vector(stage_resources(stage, self._board))
        return lanes, cost

    def _converters(self, before, layer):
        """What regroups for a layer what leaves each of some stages, and its cycles a frame.

        Returns
        -------
        cost, shape (4, len(before), S), and pace, shape (len(before), S)
        """
        cost = np.zeros((4, len(before), len(layer.i_lanes)))
        pace = np.zeros(cost.shape[1:], int)
        for i, now in enumerate(before):
            for o, wanted in enumerate(layer.i_lanes.tolist()):
                if o and wanted == layer.i_lanes[o - 1]:
                    cost[:, i, o], pace[i, o] = cost[:, i, o - 1], pace[i, o - 1]
                    continue
                for stage in conversions(now, layer.name, layer.elements, wanted):
                    made = stage_resources(stage, self._board)
                    cost[_LUT, i, o] += made.luts
                    cost[_FF, i, o] += made.ffs
                    pace[i, o] = max(pace[i, o], stage_cycles(stage))
        return cost, pace

    def _exit(self, network):
        """What the lanes of the last layer cost behind it."""
        last = self._layers[-1]
        cost = np.zeros((4, len(last.pe)))
        for node in network.of(Argmax):
            for index, lanes in enumerate(last.pe.tolist()):
                stage = Maximum(
                    node.name,
                    node.name,
                    1,
                    1,
                    network.type(node).width,
                    i_elements=last.behind[0].elements,
                    i_lanes=lanes,
                    i_width=network.type(node.inputs[0]).width,
                )
                cost[:, index] += _vector(stage_resources(stage, self._board))
        return cost

    @cached_property
    def paces(self) -> list[int]:
        """Every number of cycles a frame that some plan takes, ascending."""
        beats = np.unique(-(-self._elements // self._lanes))
        every = np.unique(np.concatenate([beats, *(layer.pace.ravel() for layer in self._layers)]))
        least = max(1, *(int(layer.pace.min()) for layer in self._layers))
        return every[every >= least].tolist()

    def _units(self, prices: tuple):
        """For each layer the cheapest storage of each folding, and what it costs at `prices`."""
        if prices not in self._priced:
            if len(self._priced) > 40:
                self._priced.clear()
            costs = [np.einsum("r,krsp->ksp", prices, layer.cost) for layer in self._layers]
            self._priced[prices] = [(cost, cost.argmin(axis=0), cost.min(axis=0)) for cost in costs]
        return self._priced[prices]

    def _cheapest(self, cycles: int, prices: tuple, kept: dict):
        """The cheapest network at `prices`.

        Parameters
        ----------
        kept : dict from a layer's index to its storage's
            Where the choice of storage is not free.

        Returns
        -------
        (cost, at, picks)
            Its cost, lanes in, and for each layer (storage, simd, pe), all by index.
        """
        price = np.einsum("r,ri->i", prices, self._first)
        price = np.where(-(-self._elements // self._lanes) <= cycles, price, np.inf)
        back = []
        for index, (layer, (edge, pace), (costs, storage, least)) in enumerate(
            zip(self._layers, self._edges, self._units(prices), strict=True)
        ):
            if index in kept:
                storage = np.full(layer.pace.shape, kept[index])
                least = costs[kept[index]]
            at_input = price[:, None] + prices[_LUT] * edge[_LUT] + prices[_FF] * edge[_FF]
            at_input = np.where(pace <= cycles, at_input, np.inf)
            lanes_in = at_input.argmin(axis=0)
            unit = np.where(layer.pace <= cycles, least, np.inf) + at_input.min(axis=0)[:, None]
            back.append((lanes_in, storage, unit.argmin(axis=0)))
            price = unit.min(axis=0)
        price = price + np.einsum("r,rp->p", prices, self._last)
        cost, at, picks = float(price.min()), int(price.argmin()), []
        for lanes_in, storage, simd in reversed(back):
            s = int(simd[at])
            picks.append((int(storage[s, at]), s, at))
            at = int(lanes_in[s])
        return cost, at, picks[::-1]

    def _filled(self, at: int, picks, room: float) -> "_Network":
        """The network of `picks` with `room` block RAMs where they save the most LUTs."""
        board, family = self._board, self._board.family
        total = self._first[:, at]
        first, bits, movable = at, [], []
        for index, (layer, (edge, _), (k, s, p)) in enumerate(
            zip(self._layers, self._edges, picks, strict=True)
        ):
            total = total + edge[:, at, s]
            at, depth, lanes = p, int(layer.depth[s, p]), int(layer.lanes[s, p])
            if STORAGES[k] == "table" or depth == 1:
                total += layer.cost[k, :, s, p]
                bits.append(None)
                continue
            total += layer.cost[STORAGES.index("logic"), :, s, p]
            in_rom, wanted = float(rom(depth, lanes, family)), float(brams(board, lanes, depth))
            total[_LUT] -= in_rom
            total[_FF] -= rom_columns(depth, lanes)
            movable.append((in_rom / wanted, index, depth, lanes))
            bits.append(0)
        total += self._last[:, at]
        room -= total[_BRAM]
        for _, index, depth, lanes in sorted(movable, reverse=True):
            block = min(lanes, int(bram_width(board, max(0.0, room), depth)))
            used = float(brams(board, block, depth))
            room -= used
            total[_LUT] += rom(depth, lanes - block, family)
            total[_FF] += block + rom_columns(depth, lanes - block)
            total[_BRAM] += used
            bits[index] = block
        return _Network(total, first, tuple(picks), tuple(bits))

    def smallest(
        self, cycles: int, limit: Resources | None = None, *, thorough: bool = True
    ) -> Found:
        """The fewest LUTs of at most `cycles` cycles a frame, within the block RAM of `limit`.

        Where flip-flops or LUT RAM are short they are given a price too; where that does not help,
        or the LUTs themselves do not suffice, what is found does not fit: ask `Found.fits`.

        Parameters
        ----------
        cycles : int
            Fewer than the least of `paces` count as that.
        limit : Resources or None
            What may be taken; None is all that the board has.
        thorough : bool
            Try other storage for single layers too, which finds a percent where block RAM is short.
        """
        cycles = max(cycles, self.paces[0])
        limit = np.array(astuple(limit or budgets(self._board))[:4])
        best, near = None, _PRICES[0]
        ff = lut_ram = 0.0
        bound = self._cheapest(cycles, (1.0, 0.0, 0.0, 0.0), _NOTHING)[0]

        def visit(price, kept=_NOTHING):
            """Whether the network at this price of block RAM keeps within it unaided."""
            nonlocal best, bound, near
            prices = (1.0, ff, float(price), lut_ram)
            cost, at, picks = self._cheapest(cycles, prices, kept)
            if not kept and ff == lut_ram == 0:
                bound = max(bound, cost - price * limit[_BRAM])
            network = self._filled(at, picks, limit[_BRAM])
            if best is None or network.rank(limit) < best.rank(limit):
                best, near = network, price
            layers = zip(self._layers, picks, strict=True)
            return sum(layer.cost[k, _BRAM, s, p] for layer, (k, s, p) in layers) <= limit[_BRAM]

        for _ in range(6):
            if not visit(_PRICES[0]):
                bisect_left(_PRICES, True, lo=1, key=visit)
                for price in (near, near * 0.7, near * 1.4) if thorough else ():
                    self._exchange(
                        lambda kept, price=price: visit(price, kept), lambda: best, bound
                    )
            if not best.short(limit):
                break
            over = best.total > limit
            ff += 0.25 * over[_FF] * (1 + ff)
            lut_ram += 0.5 * over[_LUT_RAM] * (1 + lut_ram)
        return self._found(best, float(bound))

    def _exchange(self, visit, best, bound):
        """Try other storage for one layer after another, until none makes the best better.

        Layers are few, so about the deciding price of block RAM many move at once from LUTs to
        block RAM and back, and the fill alone does not find which of them should.
        """
        kept, better = {}, True
        while better and best().total[_LUT] > 1.005 * bound:
            better = False
            for index in range(len(self._layers)):
                before = best()
                for storage in range(len(STORAGES)):
                    if storage != before.picks[index][0]:
                        visit({**kept, index: storage})
                if best() is not before:
                    better = True
                    kept[index] = best().picks[index][0]

    def _found(self, network, bound) -> Found:
        beats = -(-self._elements // int(self._lanes[network.first]))
        paces = [
            int(layer.pace[s, p])
            for layer, (_, s, p) in zip(self._layers, network.picks, strict=True)
        ]
        total = Resources(*network.total.tolist())
        return Found(max(beats, *paces), total, bound, lambda: self._lanes_of(network))

    def _lanes_of(self, network) -> Lanes:
        layers = {}
        for layer, (k, s, p), block in zip(self._layers, network.picks, network.bits, strict=True):
            storage = STORAGES[k] if block is None else "block" if block else "logic"
            if layer.depth[s, p] == 1:
                storage = "logic"
            logic_bits = int(layer.lanes[s, p]) - block if storage == "block" else 0
            layers[layer.name] = layer.folding(storage, s, p, logic_bits)
        return Lanes(self._input, int(self._lanes[network.first]), layers)

    def fastest(self, limit: Resources | None = None) -> tuple[Found, Found | None]:
        """The fewest cycles a frame within `limit`, and the next fewer, that are not.

        Returns
        -------
        (found, failed)
            `failed` is what the next faster pace would take, None where there is no faster one.
            Where not even the slowest fits, `found` is that one and does not.
        """
        limit, paces = limit or budgets(self._board), self.paces

        @cache
        def at(pace):
            quick = self.smallest(pace, limit, thorough=False)
            if quick.fits(limit) or quick.bound > limit.luts:
                return quick
            return self.smallest(pace, limit)

        first = bisect_left(paces, True, key=lambda pace: at(pace).fits(limit))
        first = min(first, len(paces) - 1)
        found = self.smallest(paces[first], limit)
        return found, at(paces[first - 1]) if first else None
