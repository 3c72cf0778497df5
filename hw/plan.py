"""The plan: how many lanes each layer gets, and what follows from it, exactly.

A layer of n synapses and k neurons takes ceil(n / SIMD) * ceil(k / PE) cycles a frame, a
convolution as many for each pixel, and the slowest stage sets the pace of all. So a plan starts
from a number of cycles a frame: `hw.search` finds the lanes and the storage of each layer that keep
within it for the fewest LUTs.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from boards.catalogue import Board
from hw.cores.accumulator import SUM_WIDTH
from hw.cores.matrix_unit import ACCUMULATORS, STORAGE, TABLE
from hw.cores.popcount import levels
from hw.engine.image import weights_image
from hw.pipeline import EngineLanes, Lanes, LayerLanes, Matrix, PlanError, Shared, Stage, pipeline
from hw.resources import (
    WEIGHTS_PORT,
    Resources,
    budgets,
    estimate,
    shell_resources,
    stage_resources,
)
from hw.search import Search
from hw.timing import Cycles, predict
from sw.host.frames import frame_bytes
from sw.host.link import OVERHEAD
from sw.network import Layer, Network

__all__ = [
    "Plan",
    "PlanError",
    "TargetError",
    "choose",
    "fastest",
    "fill",
    "from_json",
    "meet",
    "overdrawn",
    "search",
]

# What `Resources` counts, as a user calls it; of the last two only where the part has any.
_BUDGETS = {
    "luts": "LUT",
    "ffs": "FF",
    "brams": "block RAM",
    "lut_rams": "LUT RAM",
    "dsps": "DSP",
}


_ENGINE_WORDS = ("after", "resident")


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
    def engine(self) -> Shared | None:
        """The engine that layers share, if any do."""
        last = self.stages[-1]
        return last if isinstance(last, Shared) else None

    @cached_property
    def weights(self) -> bytes:
        """What the engine reads from memory for every batch; empty where it reads nothing."""
        return weights_image(self.engine.network, self.engine.plan) if self.engine else b""

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame, as it comes to the shell."""
        width = self.network.input.bits if self.lanes.input == "pixels" else 1
        return frame_bytes(self.network.type(self.network.input).elements, width)

    @property
    def port_frames_per_second(self) -> float:
        """What reaches the shell at most: 8 bytes a cycle from memory, or the serial line's."""
        if self.board.shell.name == "zynq":
            return 8 * self.clock_hz / self.frame_bytes
        return self.board.baud / 10 / (self.frame_bytes + OVERHEAD)

    @property
    def port(self) -> str:
        """The port's limit in words."""
        pace = f"{self.port_frames_per_second:,.0f} images/s of {self.frame_bytes:,} bytes"
        if self.board.shell.name == "zynq":
            return f"the memory port's 64 bits a cycle carry {pace}"
        return f"the serial line's {self.board.baud:,} baud carry {pace}"

    @property
    def latency_seconds(self) -> float:
        return self.cycles.latency / self.clock_hz

    @cached_property
    def shell(self) -> Resources:
        """What is estimated around the pipeline."""
        width = self.network.input.bits if self.lanes.input == "pixels" else 1
        elements = self.network.type(self.network.input).elements
        shell = shell_resources(self.board, elements, width, self.lanes.input_lanes)
        return shell + WEIGHTS_PORT if self.engine else shell

    @cached_property
    def resources(self) -> Resources:
        """Estimated, shell included."""
        return self.shell + estimate(self.stages, self.board)

    @property
    def shares(self) -> dict[str, float]:
        """The estimate as shares of the board's budgets; LUT RAM and DSP where used."""
        most = budgets(self.board)
        shares = {}
        for field, name in _BUDGETS.items():
            used = getattr(self.resources, field)
            if used or field in ("luts", "ffs", "brams"):
                shares[name] = used / getattr(most, field)
        return shares

    def stage_resources(self, stage: Stage) -> Resources:
        return stage_resources(stage, self.board)

    def check(self, limit: Resources | None = None) -> "Plan":
        """The plan itself; PlanError with the numbers if it takes more than `limit`, or the board.

        Parameters
        ----------
        limit : Resources or None
            What it may take, at most what the board has.
        """
        needs = overdrawn(self.resources, limit or budgets(self.board), self.board)
        if needs:
            raise PlanError(
                f"the plan of {self.cycles.per_frame:,} cycles a frame does not fit "
                f"{self.board.name}: it needs about {', '.join(needs)}"
            )
        return self

    def to_json(self) -> str:
        """The lanes, as `from_json` reads them."""
        return json.dumps({"format": 1, **asdict(self.lanes)}, indent=2) + "\n"


def overdrawn(resources: Resources, limit: Resources, board: Board) -> list[str]:
    """What is over its limit, such as "60,000 of 53,200 LUTs"."""
    whole, needs = budgets(board), []
    for field, name in _BUDGETS.items():
        used, allowed, most = (getattr(each, field) for each in (resources, limit, whole))
        if used > allowed:
            less = f" (limit {allowed:,.0f})" if allowed < most else ""
            needs.append(f"{used:,.0f} of {most:,} {name}s{less}")
    return needs


@lru_cache(maxsize=8)
def search(network: Network, board: Board, clock_hz: int, input: str = "pixels") -> Search:
    """The search for a network's plans, kept for the next question."""
    return Search(network, board, clock_hz, input)


class TargetError(PlanError):
    """A target that cannot be met; `nearest` is the nearest plan that fits."""

    def __init__(self, message: str, nearest: Plan):
        super().__init__(message)
        self.nearest = nearest


def choose(
    network: Network,
    board: Board,
    clock_hz: int,
    cycles: int,
    input: str = "pixels",
    limit: Resources | None = None,
) -> Plan:
    """The plan of at most `cycles` cycles a frame with the fewest LUTs, whether it fits or not.

    Parameters
    ----------
    cycles : int
        At least 1.
    input : str
        "pixels" or "bits".
    limit : Resources or None
        What may be taken; None is all that the board has.
    """
    wanted = cycles
    for _ in range(4):
        found = search(network, board, clock_hz, input).smallest(wanted, limit)
        plan = Plan(network, board, clock_hz, found.lanes)
        over = plan.cycles.per_frame - max(cycles, found.cycles)
        if over <= 0:
            break
        wanted -= over  # a window that is filled anew for each frame takes a few cycles more
    return plan


def meet(
    network: Network,
    board: Board,
    clock_hz: int,
    fps: float,
    input: str = "pixels",
    limit: Resources | None = None,
) -> Plan:
    """The plan of at least `fps` frames a second with the fewest LUTs.

    Raises
    ------
    TargetError
        When no plan that fits is that fast at this clock; with the fastest that does.
    PlanError
        When not even the slowest plan fits.
    """
    if fps <= 0:
        raise PlanError(f"the target must be more than 0 frames a second, not {fps:g}")
    cycles = int(clock_hz / fps)
    try:
        if cycles < 1:
            raise PlanError(f"that is more than one a cycle at {clock_hz / 1e6:g} MHz")
        plan = choose(network, board, clock_hz, cycles, input, limit).check(limit)
        if plan.frames_per_second < fps:
            raise PlanError(f"no plan takes fewer than {plan.cycles.per_frame:,} cycles a frame")
        return plan
    except PlanError as error:
        best = fastest(network, board, clock_hz, limit, input)
        raise TargetError(
            f"{fps:,.0f} frames a second: {error}; the fastest that fits does "
            f"{best.frames_per_second:,.0f}",
            best,
        ) from error


def fastest(
    network: Network,
    board: Board,
    clock_hz: int,
    limit: Resources | None = None,
    input: str = "pixels",
) -> Plan:
    """The fastest plan whose estimate is within `limit`, all of the board where that is None.

    Raises
    ------
    PlanError
        When not even the slowest plan fits.
    """
    found, _ = search(network, board, clock_hz, input).fastest(limit)
    try:
        return Plan(network, board, clock_hz, found.lanes).check(limit)
    except PlanError as error:
        bits = {node.name: node.weights.size for node in network.of(Layer)}
        total, held = sum(bits.values()), board.brams * board.bram_bits
        if total <= held:
            raise
        largest = max(bits, key=bits.get)
        raise PlanError(
            f"{error}; {board.brams} block RAMs hold {held:,} of its {total:,} bits of weights, "
            f"of which {largest} has {bits[largest]:,}"
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
    return fastest(network, board, clock_hz, budgets(board) * share, input)


def _check_unit(stage: Matrix, board: Board) -> None:
    """PlanError unless a matrix unit can be made of these lanes."""
    folding, name = stage.folding, stage.name
    if folding.storage not in STORAGE:
        raise PlanError(f"{name}: storage must be {', '.join(STORAGE[:-1])} or {STORAGE[-1]}")
    tabled = folding.storage == "table" or stage.depth == 1
    if tabled and stage.depth > TABLE:
        raise PlanError(f"{name}: a table has at most {TABLE} words, not {stage.depth}")
    most = levels(folding.inputs_per_beat, board.family, stage.depth if tabled else 0)
    if not 0 <= folding.stages <= most:
        raise PlanError(f"{name}: stages must be in 0..{most}, not {folding.stages}")
    if not 0 <= folding.logic_bits <= stage.weight_width:
        raise PlanError(
            f"{name}: logic_bits must be in 0..{stage.weight_width}, not {folding.logic_bits}"
        )
    if folding.accumulators not in ACCUMULATORS:
        raise PlanError(f"{name}: accumulators must be {' or '.join(ACCUMULATORS)}")
    if folding.accumulators == "dsp":
        most = stage.synapses * ((1 << stage.bits) - 1)
        width = most.bit_length() + (not stage.scores)
        if board.family != "xc7":
            raise PlanError(f"{name}: accumulators are in DSPs on 7-series only")
        if stage.passes > 1:
            raise PlanError(f"{name}: accumulators in DSPs take all bit planes at once")
        if stage.beats_per_vector == 1 and (stage.groups == 1 or stage.scores):
            raise PlanError(f"{name}: counts all synapses at once; accumulators must be logic")
        if width > SUM_WIDTH:
            raise PlanError(
                f"{name}: accumulators in DSPs have {SUM_WIDTH} bits, not the {width}"
                f" that counts up to {most} take"
            )


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
        engine = given.pop("engine", None)
        if engine:
            engine = EngineLanes(**{**engine, "resident": tuple(engine.get("resident", ()))})
        lanes = Lanes(layers=layers, engine=engine, **given)
        numbers = [lanes.input_lanes]
        if engine:
            numbers += [value for name, value in vars(engine).items() if name not in _ENGINE_WORDS]
        for folding in layers.values():
            names = vars(folding).keys() - {"storage", "accumulators"}
            numbers += [getattr(folding, name) for name in names]
        if not all(type(number) is int for number in numbers):
            raise PlanError(f"{path}: lanes, stages and bits must be whole numbers")
    except (TypeError, KeyError, AttributeError) as error:
        raise PlanError(f"{path}: not a plan ({error})") from error
    plan = Plan(network, board, clock_hz, lanes)
    try:
        for stage in plan.stages:
            if isinstance(stage, Matrix):
                _check_unit(stage, board)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    return plan.check()


if __name__ == "__main__":
    import sys

    from hw.explore import main

    sys.exit(main())
