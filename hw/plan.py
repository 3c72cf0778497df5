"""The plan: how many lanes each layer gets, and what follows from it, exactly.

A layer of n synapses and k neurons takes ceil(n / SIMD) * ceil(k / PE) cycles a frame, and the
slowest stage sets the pace of all. So a plan starts from a number of cycles a frame: each layer
takes the cheapest lanes that keep within it, since to be faster than the slowest is waste.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from boards.catalogue import Board
from hw.cores.popcount import levels
from hw.pipeline import Conversion, Lanes, LayerLanes, Matrix, PlanError, Stage, pipeline
from hw.resources import Resources, estimate, stage_resources
from hw.timing import Cycles, predict
from sw.network import Dense, Network

__all__ = ["Plan", "choose", "fill", "from_json", "meet"]

# Nanoseconds of one LUT level with its routing, for the number of popcount registers.
_LEVEL_NS = {"xc7": 1.1, "ecp5": 2.2, "ice40": 4.0}
# Levels that stand before and behind the tree: XNOR, final adder, accumulator, comparison.
_OTHER_LEVELS = 6


@dataclass(frozen=True)
class Plan:
    """A network's lanes on a board at a clock, and what they give and cost.

    Parameters
    ----------
    network : Network
    board : Board
    clock_hz : int
    lanes : Lanes
    """

    network: Network
    board: Board
    clock_hz: int
    lanes: Lanes

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        return pipeline(self.network, self.lanes)

    @property
    def input_beats(self) -> int:
        """Beats of a frame at the input."""
        return -(-self.network.type(self.network.input).elements // self.lanes.input_lanes)

    @cached_property
    def cycles(self) -> Cycles:
        """Cycles a frame and latency, exact."""
        return predict(self.stages, self.input_beats)

    @property
    def frames_per_second(self) -> float:
        """Of the pipeline at this clock, its input always there and its output always taken."""
        return self.clock_hz / self.cycles.per_frame

    @property
    def latency_seconds(self) -> float:
        return self.cycles.latency / self.clock_hz

    @cached_property
    def resources(self) -> Resources:
        """Estimated, shell included."""
        return estimate(self.stages, self.board)

    @property
    def shares(self) -> dict[str, float]:
        """The estimate as shares of the board's LUTs, flip-flops and block RAMs."""
        return {
            "LUT": self.resources.luts / self.board.luts,
            "FF": self.resources.ffs / self.board.ffs,
            "block RAM": self.resources.brams / self.board.brams,
        }

    def stage_resources(self, stage: Stage) -> Resources:
        return stage_resources(stage, self.board)

    def check(self, share: float = 1.0) -> "Plan":
        """The plan itself; PlanError with the numbers if it takes over `share` of a budget."""
        needs = [
            f"{value:,.0f} of {budget:,} {what}"
            for what, value, budget in (
                ("LUTs", self.resources.luts, self.board.luts),
                ("flip-flops", self.resources.ffs, self.board.ffs),
                ("block RAMs", self.resources.brams, self.board.brams),
            )
            if value > share * budget
        ]
        if needs:
            limit = "" if share == 1 else f" (limit {share:.0%})"
            raise PlanError(
                f"the plan of {self.cycles.per_frame:,} cycles a frame does not fit "
                f"{self.board.name}{limit}: it needs about {', '.join(needs)}"
            )
        return self

    def to_json(self) -> str:
        """The lanes, as `from_json` reads them."""
        return json.dumps({"format": 1, **asdict(self.lanes)}, indent=2) + "\n"


def _stages(simd: int, board: Board, clock_hz: int) -> int:
    """Registers that keep a path within the clock's period, by a delay a level."""
    per_stage = max(1, int(0.9e9 / clock_hz / _LEVEL_NS[board.family]))
    return min(levels(simd), -(-(levels(simd) + _OTHER_LEVELS) // per_stage) - 1)


def _layer(node: Dense, cycles: int, lanes_before: int, board: Board, clock_hz: int) -> LayerLanes:
    """The cheapest lanes of a layer within `cycles`, its converter included.

    Cost is the largest share of any budget plus a little of the others, so that LUTs and block
    RAMs are traded by how scarce they are.
    """
    best, best_cost = None, float("inf")
    tried = set()
    for beats in range(1, min(node.synapses, cycles) + 1):
        simd = -(-node.synapses // beats)
        if simd in tried:
            continue
        tried.add(simd)
        beats = -(-node.synapses // simd)
        pe = -(-node.neurons // min(node.neurons, cycles // beats))
        stages = _stages(simd, board, clock_hz)
        for storage in ("logic", "block"):
            folding = LayerLanes(simd, pe, stages, storage)
            matrix = Matrix(
                node.name,
                node.name,
                node.neurons,
                pe,
                1 if node.thresholds is not None else node.synapses.bit_length(),
                synapses=node.synapses,
                scores=node.thresholds is None,
                folding=folding,
            )
            if storage == "block" and matrix.fold < 8:
                continue
            cost = stage_resources(matrix, board)
            if simd != lanes_before:
                converter = Conversion(
                    "", None, node.synapses, simd, 1, i_lanes=min(lanes_before, node.synapses)
                )
                cost += stage_resources(converter, board)
            shares = (cost.luts / board.luts, cost.ffs / board.ffs, cost.brams / board.brams)
            weighed = max(shares) + 0.5 * sum(shares)
            if weighed < best_cost:
                best, best_cost = folding, weighed
    return best


def choose(
    network: Network, board: Board, clock_hz: int, cycles: int, input: str = "pixels"
) -> Plan:
    """The plan of at most `cycles` cycles a frame.

    Parameters
    ----------
    cycles : int
        At least 1.
    input : str
        "pixels" or "bits".
    """
    elements = network.type(network.input).elements
    cycles = max(1, cycles)
    fewest = -(-elements // min(cycles, elements))
    now, layers = fewest, {}
    for index, node in enumerate(network.of(Dense)):
        folding = _layer(node, cycles, now, board, clock_hz)
        if index == 0:
            # Lanes that divide the first layer's make the cheapest way in.
            simd = folding.inputs_per_beat
            fewest = min((d for d in range(fewest, simd + 1) if simd % d == 0), default=fewest)
        layers[node.name] = folding
        now = folding.neurons_per_beat
    return Plan(network, board, clock_hz, Lanes(input, fewest, layers))


def _slowest(network: Network) -> int:
    return max(node.weights.size for node in network.of(Dense))


def meet(network: Network, board: Board, clock_hz: int, fps: float, input: str = "pixels") -> Plan:
    """The smallest plan of at least `fps` frames a second.

    Raises
    ------
    PlanError
        When no plan is that fast at this clock, or it does not fit; with the fastest that does.
    """
    cycles = int(clock_hz / fps) if fps > 0 else 0
    if fps <= 0:
        raise PlanError(f"the target must be more than 0 frames a second, not {fps:g}")
    if cycles < 1:
        raise PlanError(
            f"{fps:,.0f} frames a second are more than one a cycle at {clock_hz / 1e6:g} MHz"
        )
    plan = choose(network, board, clock_hz, cycles, input)
    try:
        return plan.check()
    except PlanError as error:
        best = fill(network, board, clock_hz, 1.0, input)
        raise PlanError(
            f"{fps:,.0f} frames a second: {error}; the fastest that fits does "
            f"{best.frames_per_second:,.0f}"
        ) from error


def fill(
    network: Network, board: Board, clock_hz: int, share: float, input: str = "pixels"
) -> Plan:
    """The fastest plan whose estimate takes at most `share` of each of the board's budgets.

    Raises
    ------
    PlanError
        When not even the slowest plan fits.
    """
    if not 0 < share <= 1:
        raise PlanError(f"the share of the board must be over 0 and at most 1, not {share:g}")

    def fits(cycles):
        plan = choose(network, board, clock_hz, cycles, input)
        return plan if max(plan.shares.values()) <= share else None

    slow = _slowest(network)
    best = fits(slow)
    if best is None:
        choose(network, board, clock_hz, slow, input).check(share)
    fast = 0  # does not fit, or is no plan
    while slow - fast > max(1, slow // 256):
        middle = (slow * max(1, fast)) ** 0.5 if slow > 4 * max(1, fast) else (slow + fast) / 2
        middle = min(slow - 1, max(fast + 1, int(middle)))
        plan = fits(middle)
        if plan:
            best, slow = plan, middle
        else:
            fast = middle
    return best


def from_json(path: str | Path, network: Network, board: Board, clock_hz: int) -> Plan:
    """A plan whose lanes a file gives, checked against the network and the board.

    Raises
    ------
    PlanError
        When the file cannot be read, is no plan, or does not fit the network or the board.
    """
    try:
        given = json.loads(Path(path).read_text())
    except OSError as error:
        raise PlanError(f"cannot read the plan {path}: {error.strerror}") from error
    except ValueError as error:
        raise PlanError(f"{path}: not JSON ({error})") from error
    try:
        if given.pop("format") != 1:
            raise PlanError(f"{path}: a plan has format 1")
        layers = {name: LayerLanes(**folding) for name, folding in given.pop("layers").items()}
        lanes = Lanes(layers=layers, **given)
        numbers = [
            lanes.input_lanes,
            *(n for f in layers.values() for n in list(vars(f).values())[:3]),
        ]
        if not all(type(number) is int for number in numbers):
            raise PlanError(f"{path}: lanes and stages must be whole numbers")
        for name, folding in layers.items():
            if folding.storage not in ("auto", "logic", "block"):
                raise PlanError(f"{path}: {name}: storage must be auto, logic or block")
            most = levels(max(1, folding.inputs_per_beat))
            if not 0 <= folding.stages <= most:
                raise PlanError(f"{path}: {name}: stages must be in 0..{most}")
    except (TypeError, KeyError, AttributeError) as error:
        raise PlanError(f"{path}: not a plan ({error})") from error
    plan = Plan(network, board, clock_hz, lanes)
    try:
        _ = plan.stages
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    return plan.check()


if __name__ == "__main__":
    import sys

    from hw.explore import main

    sys.exit(main())
