"""Plans to look at before anything is built: `python -m hw.plan --board pynq --model mnist-sfc`.

Prints what each layer gets and costs, what binds, and how throughput and LUTs trade against each
other over the whole board; `--write` keeps the lanes for `hw.build --plan`.
"""

import argparse
import math
import sys
from pathlib import Path

from sw.errors import PopstreamError

__all__ = ["frontier", "main"]

SHARES = (0.05, 0.1, 0.15, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m hw.plan", description="Plan a network for a board.")
    p.add_argument("--board", required=True, help="pynq, arty_z7, ulx3s or icebreaker")
    p.add_argument("--model", default="digits-tiny", help="a model of the zoo or a file")
    p.add_argument("--clock", type=float, metavar="MHZ", help="the pipeline's clock")
    p.add_argument("--input", choices=("pixels", "bits"), default="pixels")
    pace = p.add_mutually_exclusive_group()
    pace.add_argument("--target-fps", type=float, metavar="N", help="the smallest of that pace")
    pace.add_argument("--fill", type=float, metavar="SHARE", help="the fastest within this share")
    pace.add_argument("--fastest", action="store_true", help="the fastest that fits (default)")
    p.add_argument("--write", type=Path, metavar="FILE", help="keep the lanes for hw.build --plan")
    return p


def frontier(network, board, clock_hz: int, input: str) -> list:
    """Plans that no other is both faster and smaller than, the smallest first.

    Found by filling shares of the board; shares that not even the slowest plan fits are left out.
    """
    from hw.pipeline import PlanError
    from hw.plan import fill

    plans = []
    for share in SHARES:
        try:
            plan = fill(network, board, clock_hz, share, input)
        except PlanError:
            continue
        if not plans or plan.cycles.per_frame < plans[-1].cycles.per_frame:
            plans.append(plan)
    return plans


def _layers(plan):
    from rich.table import Table

    from hw.pipeline import Matrix
    from hw.timing import stage_cycles

    table = Table(box=None, header_style="dim")
    for title in ("stage", "lanes in", "lanes out", "weights in", "cycles", "LUT", "block RAM"):
        table.add_column(title, justify="left" if title in ("stage", "weights in") else "right")
    for stage in plan.stages:
        matrix = isinstance(stage, Matrix)
        cost = plan.stage_resources(stage)
        lanes_in = stage.folding.inputs_per_beat if matrix else getattr(stage, "i_lanes", "")
        table.add_row(
            stage.name,
            str(lanes_in),
            str(stage.lanes),
            stage.folding.storage if matrix else "",
            f"{stage_cycles(stage):,}",
            f"{cost.luts:,.0f}",
            f"{cost.brams:g}",
        )
    return table


def _pareto(plans, chosen):
    from rich.table import Table

    table = Table(box=None, header_style="dim")
    for title in ("images/s", "cycles", "LUT", "block RAM", "throughput, each mark doubles it"):
        table.add_column(title, justify="left" if title.startswith("throughput") else "right")
    slowest = plans[0].frames_per_second
    for plan in plans:
        doublings = int(math.log2(plan.frames_per_second / slowest))
        mark = " <" if plan.lanes == chosen.lanes else ""
        table.add_row(
            f"{plan.frames_per_second:,.0f}",
            f"{plan.cycles.per_frame:,}",
            f"{plan.resources.luts:,.0f}",
            f"{plan.resources.brams:g}",
            "#" * (1 + doublings) + mark,
        )
    return table


def main(argv: list[str] | None = None) -> int:
    """Print the plan; returns the exit status."""
    args = parser().parse_args(argv)
    from rich.console import Console

    from boards.catalogue import board as find_board
    from hw.plan import fill, meet
    from sw import zoo
    from sw.artefact import load, write_file

    console = Console(highlight=False, soft_wrap=True)
    try:
        board = find_board(args.board)
        clock_hz = board.clock(None if args.clock is None else round(args.clock * 1e6)).hz
        is_file = args.model.endswith(".safetensors") or "/" in args.model
        network = load(Path(args.model) if is_file else zoo.path(args.model)).network
        if args.target_fps is not None:
            plan = meet(network, board, clock_hz, args.target_fps, args.input)
        else:
            share = 1.0 if args.fill is None else args.fill
            plan = fill(network, board, clock_hz, share, args.input)
        console.print(
            f"{args.model} on {board.name}: {plan.frames_per_second:,.0f} images/s at "
            f"{clock_hz / 1e6:g} MHz, {plan.cycles.per_frame:,} cycles a frame set by "
            f"{plan.cycles.binding}, latency {plan.cycles.latency:,} cycles"
        )
        shares = plan.shares
        scarce = max(shares, key=shares.get)
        listed = ", ".join(f"{share:.0%} of the {what}s" for what, share in shares.items())
        console.print(f"takes {listed}, by estimate; {scarce} is the scarcest\n")
        console.print(_layers(plan))
        console.print("\nwhat else this board allows:")
        console.print(_pareto(frontier(network, board, clock_hz, args.input), plan))
        if args.write:
            write_file(args.write, plan.to_json().encode())
            console.print(f"\nlanes written to {args.write}")
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
