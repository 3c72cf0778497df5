"""Finds the engine that does most images a second on a board."""

from dataclasses import replace

from boards.catalogue import Board
from hw.engine.passes import passes
from hw.engine.plan import SHORTEST_TILE, EnginePlan, plan_engine
from hw.engine.resources import engine_resources
from hw.resources import Resources, budgets
from sw.errors import PopstreamError
from sw.network import Network

__all__ = ["MOST_FRAMES", "fit"]

_SIMD = (16, 32, 64, 128, 256)
_ROW_WORDS = 8
_COLUMNS = (1, 2, 4)
MOST_FRAMES = 256


def rough_cycles(plan: EnginePlan, efficiency: float = 1) -> float:
    """About the cycles of a batch: exact but for what begins and ends a pass."""
    cycles = 0.0
    for step in plan.steps:
        rows = step.tile_rows + step.start_rows / step.tiles
        load = rows if step.resident else rows * plan.row_words / efficiency
        for pixels in step.chunk_pixels():
            cycles += step.groups * step.tiles * max(pixels, load, SHORTEST_TILE)
    work = plan.steps[-1].work
    return cycles + plan.batch * work.pixels * work.outputs[2]


def _resident(network, plan, efficiency, fits) -> EnginePlan:
    """With the layers on the chip that fit, those first that save most for their size.

    Those that save nothing are there only where none is streamed then.
    """

    def saved(step):
        rows = step.weight_rows / step.groups / step.tiles
        waits = (
            max(pixels, rows * plan.row_words / efficiency) - max(pixels, rows, SHORTEST_TILE)
            for pixels in step.chunk_pixels()
        )
        return step.groups * step.tiles * sum(waits) / step.weight_rows

    for step in sorted(plan.products, key=saved, reverse=True):
        if saved(step) > 0:
            place = [each.work.name for each in plan.steps].index(step.work.name)
            steps = list(plan.steps)
            steps[place] = replace(step, resident=True)
            if fits(more := replace(plan, steps=tuple(steps))):
                plan = more
    everything = tuple(replace(step, resident=not step.work.pool) for step in plan.steps)
    if fits(more := replace(plan, steps=everything)):
        plan = more
    return plan


def fit(
    network: Network,
    board: Board,
    *,
    reserved: Resources | None = None,
    share: float = 0.75,
    batch: int | None = None,
    efficiency: float = 1,
    stages: int = 1,
) -> EnginePlan:
    """The plan of most images a second by `rough_cycles`; of equals the smallest batch.

    Parameters
    ----------
    network : Network
        On bits, as `hw.engine.passes.tail` yields it.
    board : Board
    reserved : Resources or None
        What else is on the chip: the shell, and what comes before the engine.
    share : float
        Of the part's LUTs and flip-flops, how much may be used in all. Of block RAM all may be.
    batch : int or None
        The frames of a batch; None takes the best number.
    efficiency : float
        Of the weights' port: in how many of the cycles it has a word.
    stages : int
        As in `EnginePlan`.

    Raises
    ------
    NetworkError
        A layer is none that an engine does.
    PopstreamError
        No engine fits, naming the layer that takes most memory, and how much.
    """
    budget, reserved = budgets(board), reserved or Resources()

    def fits(plan):
        cost = engine_resources(plan, board) + reserved
        return (
            cost.luts <= share * budget.luts
            and cost.ffs <= share * budget.ffs
            and cost.lut_rams <= budget.lut_rams
            and cost.brams <= budget.brams
        )

    works, best, best_rate = passes(network), None, 0.0
    widest = max(work.outputs[1] for work in works)
    depth = max(board.bram_depth, widest)
    for simd in _SIMD:
        for columns in _COLUMNS:
            frames = 1 if batch is None else batch
            while True:
                plan = plan_engine(
                    network,
                    simd=simd,
                    pe=simd * columns,
                    batch=frames,
                    depth=depth,
                    row_words=_ROW_WORDS,
                    stages=stages,
                )
                if not fits(plan):
                    break
                plan = _resident(network, plan, efficiency, fits)
                rate = frames / rough_cycles(plan, efficiency)
                if rate > best_rate * 1.001:
                    best, best_rate = plan, rate
                frames += max(1, frames // 8)
                if batch is not None or frames > MOST_FRAMES:
                    break
    if best is None:
        raise _too_big(network, board, reserved, share, depth, batch or 1)
    return best


def _too_big(network, board, reserved, share, depth, batch) -> PopstreamError:
    """Why not even the smallest engine fits."""
    simd = _SIMD[0]
    plan = plan_engine(network, simd=simd, pe=simd, batch=batch, depth=depth)
    cost = engine_resources(plan, board) + reserved
    if cost.brams <= board.brams:
        return PopstreamError(
            f"the smallest engine takes {cost.luts:.0f} LUTs with all that is beside it, "
            f"{share:.0%} of {board.name}'s {board.luts} may be used"
        )

    def words(step):
        height, width, _ = step.work.image
        return height * width * step.words + step.work.pixels * step.written_words

    step = max(plan.steps, key=words)
    image, outputs = ("x".join(map(str, shape)) for shape in (step.work.image, step.work.outputs))
    return PopstreamError(
        f"{step.work.name}: a batch of {batch} images of {image}, and of the {outputs} made of "
        f"them, takes {batch * words(step) * simd / 1024:.0f} Kbit; with that the smallest engine "
        f"takes {cost.brams:.0f} block RAMs of {board.name}'s {board.brams}"
    )
