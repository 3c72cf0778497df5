"""Plans to look at before anything is built: `python -m hw.plan --board pynq --model mnist-sfc`.

Prints what each layer gets and costs, the roofline and what binds, and how throughput and LUTs
trade against each other; `--write` keeps the lanes for `hw.build --plan`, `--plot` the picture.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from sw.errors import PopstreamError

__all__ = ["frontier", "main"]

_WIDTH = 110  # columns that the tables need
_POINTS = 80  # paces that are tried for the Pareto front


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m hw.plan", description="Plan a network for a board.")
    p.add_argument("--board", required=True, help="pynq, arty_z7, ulx3s or icebreaker")
    p.add_argument("--model", default="digits-tiny", help="a model of the zoo or a file")
    p.add_argument(
        "--clock", type=float, metavar="MHZ", help="the pipeline's clock, whoever makes it"
    )
    p.add_argument("--input", choices=("pixels", "bits"), default="pixels")
    p.add_argument("--shell", help="zynq or serial (default: the board's first)")
    pace = p.add_mutually_exclusive_group()
    pace.add_argument("--fastest", action="store_true", help="the fastest that fits (default)")
    pace.add_argument("--target-fps", type=float, metavar="N", help="the smallest of that pace")
    pace.add_argument("--smallest", action="store_true", help="the smallest of any pace")
    pace.add_argument(
        "--share",
        action="store_true",
        help="layers share one matrix unit (default: where nothing else fits)",
    )
    p.add_argument("--batch", type=int, metavar="N", help="frames of a batch, where layers share")
    p.add_argument(
        "--efficiency",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="in how many of the cycles the weights' port has a word (default: all)",
    )
    p.add_argument(
        "--fill", type=float, metavar="SHARE", help="take at most this share (0..1) of the board"
    )
    p.add_argument("--luts", type=float, metavar="SHARE", help="the same of the LUTs alone")
    p.add_argument("--brams", type=float, metavar="SHARE", help="the same of the block RAM alone")
    p.add_argument("--write", type=Path, metavar="FILE", help="keep the lanes for hw.build --plan")
    p.add_argument("--plot", type=Path, metavar="FILE.svg", help="keep the Pareto front as SVG")
    return p


def frontier(search, limit) -> list:
    """What is found at paces from the fastest that fits on, the smallest first.

    Parameters
    ----------
    search : hw.search.Search
    limit : Resources

    Returns
    -------
    list of hw.search.Found
        Each faster and larger than the one before it; all fit.
    """
    fastest, _ = search.fastest(limit)
    paces = [pace for pace in search.paces if pace >= fastest.cycles]
    wanted = np.geomspace(paces[0], paces[-1], _POINTS)
    picked = np.unique(np.searchsorted(paces, wanted, side="right") - 1)
    front = []
    for pace in (paces[index] for index in picked[::-1]):
        same = pace == fastest.cycles
        found = fastest if same else search.smallest(pace, limit, thorough=False)
        if not found.fits(limit):
            continue
        while front and front[-1].resources.luts >= found.resources.luts:
            front.pop()  # slower and not smaller
        front.append(found)
    return front


def _table(plan):
    from rich.table import Table

    from hw.pipeline import Matrix
    from hw.timing import stage_cycles

    table = Table(box=None, header_style="dim")
    for title in (
        *("stage", "lanes in", "lanes out", "weights in, bits a cycle", "registers"),
        *("cycles", "LUT", "FF", "block RAM"),
    ):
        left = title.startswith(("stage", "weights"))
        table.add_column(title, justify="left" if left else "right", no_wrap=True)

    def row(name, lanes_in, lanes_out, weights, registers, cycles, cost):
        counts = (f"{cost.luts:,.0f}", f"{cost.ffs:,.0f}", f"{cost.brams:g}")
        table.add_row(name, str(lanes_in), str(lanes_out), weights, registers, cycles, *counts)

    for stage in plan.stages:
        folding = stage.folding if isinstance(stage, Matrix) else None
        row(
            stage.name,
            folding.inputs_per_beat if folding else getattr(stage, "i_lanes", ""),
            stage.lanes,
            _weights(stage) if folding else "",
            str(folding.stages) if folding else "",
            f"{stage_cycles(stage):,}",
            plan.stage_resources(stage),
        )
    row("shell", "", plan.lanes.input_lanes, "", "", "", plan.shell)
    row("all", "", "", "", "", f"{plan.cycles.per_frame:,}", plan.resources)
    return table


def _weights(stage) -> str:
    """Where a layer's weights are, and how many bits a cycle that gives."""
    folding = stage.folding
    if stage.depth == 1:
        return f"constants, {stage.weight_width:,}"
    if folding.logic_bits:
        block = stage.weight_width - folding.logic_bits
        return f"block {block:,} + logic {folding.logic_bits:,}"
    return f"{folding.storage} {stage.weight_width:,}"


def _roofs(plan, limit):
    from rich.table import Table

    from hw.roofline import roofline

    table = Table(box=None, header_style="dim")
    for title in ("roof", "cycles", "images/s", "why"):
        right = title in ("cycles", "images/s")
        table.add_column(title, justify="right" if right else "left", no_wrap=True)

    def row(name, cycles, why):
        pace = f"{plan.clock_hz / cycles:,.0f}" if cycles else "none"
        table.add_row(name, f"{cycles:,}" if cycles else "none", pace, why)

    for roof in roofline(plan.network, plan.board, plan.lanes.input_lanes, limit):
        row(roof.name, roof.cycles, roof.why)
    row("this plan", plan.cycles.per_frame, "")
    return table


def _binds(plan, search, limit) -> list[str]:
    """What sets the pace, and what runs out at the next faster one."""
    from hw.pipeline import Matrix, Pooling, Window
    from hw.plan import overdrawn
    from hw.timing import stage_cycles

    pace = plan.cycles.per_frame
    slowest = [
        s.name
        for s in plan.stages
        if isinstance(s, (Matrix, Window, Pooling)) and stage_cycles(s) == pace
    ]
    if plan.input_beats == pace:
        slowest.insert(0, "the input stream")
    lines = [f"{' and '.join(slowest)} set{'s' * (len(slowest) == 1)} the pace, {pace:,} cycles"]
    faster = [cycles for cycles in search.paces if cycles < pace]
    if not faster:
        return [*lines, "no plan is faster: every weight has its own lane"]
    found = search.smallest(faster[-1], limit)
    needs = overdrawn(found.resources, limit, plan.board)
    if not needs:
        return [*lines, f"faster plans fit: {faster[-1]:,} cycles take {_taken(found.resources)}"]
    return [
        *lines,
        f"{faster[-1]:,} cycles would take {', '.join(needs)}"
        f", with {found.resources.brams:g} block RAMs of {limit.brams:g}",
    ]


def _taken(resources) -> str:
    return f"{resources.luts:,.0f} LUTs and {resources.brams:g} block RAMs"


def main(argv: list[str] | None = None) -> int:
    """Print the plan; returns the exit status: 1 where the target cannot be met, too."""
    args = parser().parse_args(argv)
    from rich.console import Console

    from boards.catalogue import board as find_board
    from hw import plan as plans
    from hw.plot import Front, draw, svg
    from hw.resources import budgets
    from hw.roofline import weight_bits
    from sw import zoo
    from sw.artefact import load, write_file

    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.width = max(console.width, _WIDTH)
    missed = None
    try:
        board = find_board(args.board).through(args.shell)
        if args.clock is not None and not args.clock > 0:
            raise PopstreamError(f"--clock must be over 0 MHz, not {args.clock:g}")
        clock_hz = board.clock_hz if args.clock is None else round(args.clock * 1e6)
        is_file = args.model.endswith(".safetensors") or "/" in args.model
        network = load(Path(args.model) if is_file else zoo.path(args.model)).network
        limit = _limit(args, budgets(board))
        common = (network, board, clock_hz)
        if args.batch is not None and (args.target_fps or args.smallest):
            raise PopstreamError("--batch is for layers that share: it goes with --share alone")
        if args.share or args.batch is not None:
            return _shared(console, args, common, limit)
        search = plans.search(*common, args.input)
        try:
            if args.target_fps is not None:
                plan = plans.meet(*common, args.target_fps, args.input, limit)
            elif args.smallest:
                plan = plans.choose(*common, search.paces[-1], args.input, limit).check(limit)
            else:
                plan = plans.fastest(*common, limit, args.input)
        except plans.TargetError as error:
            plan, missed = error.nearest, error
        except plans.PlanError as error:
            if args.target_fps is not None or args.smallest or board.shell.name != "zynq":
                raise
            console.print(f"{error}; so layers share one matrix unit\n")
            return _shared(console, args, common, limit)
        mhz = f"{clock_hz / 1e6:g} MHz"
        cycles = plan.cycles
        title = (
            f"{args.model} on {board.name}: {plan.frames_per_second:,.0f} images/s at {mhz}, "
            f"{cycles.per_frame:,} cycles a frame"
        )
        console.print(f"{title} set by {cycles.binding}, latency {cycles.latency:,} cycles")
        if not board.shell.oscillator.find(clock_hz):
            console.print(f"{board.name} cannot make {mhz}: hw.build will refuse")
        shares = plan.shares
        listed = ", ".join(f"{share:.0%} of the {what}s" for what, share in shares.items())
        console.print(f"{plan.port}")
        console.print(
            f"takes {listed}, by estimate; {max(shares, key=shares.get)} is the scarcest\n"
        )
        console.print(_table(plan))
        bits = weight_bits(network)
        console.print(
            f"\nroofline: {bits:,} bits of weights, {bits / cycles.per_frame:,.0f} a cycle at least"
        )
        console.print(_roofs(plan, limit))
        console.print("\nwhat binds: " + "; ".join(_binds(plan, search, limit)) + "\n")
        points = [
            (found.resources.luts, clock_hz / found.cycles) for found in frontier(search, limit)
        ]
        chosen = (plan.resources.luts, plan.frames_per_second)
        front = Front(title, points, chosen, limit.luts)
        console.print(draw(front))
        if args.plot:
            write_file(args.plot, svg(front).encode())
            console.print(f"\nplot written to {args.plot}")
        if args.write:
            write_file(args.write, plan.to_json().encode())
            console.print(f"\nlanes written to {args.write}")
        if missed:
            raise missed
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _shared(console, args, common, limit) -> int:
    """The plan of a network whose layers share an engine: what each pass takes, and what binds."""
    from hw.engine.share import share
    from hw.resources import budgets
    from sw.artefact import write_file

    _, board, clock_hz = common
    if not 0 < args.efficiency <= 1:
        raise PopstreamError(f"--efficiency must be over 0 and at most 1, not {args.efficiency:g}")
    if args.plot:
        raise PopstreamError(
            "--plot draws pipelines' Pareto front; of layers that share there is none"
        )
    luts = min(0.75, limit.luts / budgets(board).luts)
    plan = share(*common, luts=luts, batch=args.batch, input=args.input)
    cycles, engine = plan.cycles, plan.engine.plan
    console.print(
        f"{args.model} on {board.name}: {plan.frames_per_second:,.1f} images/s at "
        f"{clock_hz / 1e6:g} MHz, {cycles.per_frame:,} cycles a frame, "
        f"latency {cycles.latency:,} cycles"
    )
    console.print(f"{plan.engine}")
    if args.efficiency < 1:
        timing = engine.timing_at(args.efficiency)
        console.print(
            f"with a word in {args.efficiency:.0%} of the cycles at most "
            f"{clock_hz * engine.batch / timing.per_batch:,.1f} images/s, "
            f"{timing.port_bound:.0%} of the time waiting for the port"
        )
    listed = ", ".join(f"{part:.0%} of the {what}s" for what, part in plan.shares.items())
    console.print(f"takes {listed}, by estimate\n")
    console.print(_table(plan))
    console.print("")
    console.print(_passes(engine))
    if args.write:
        write_file(args.write, plan.to_json().encode())
        console.print(f"\nlanes written to {args.write}")
    return 0


def _passes(engine):
    from rich.table import Table

    table = Table(box=None, header_style="dim")
    for title in ("pass", "image", "outputs", "weights", "cycles a batch", "of them computing"):
        table.add_column(title, justify="left" if title in ("pass", "weights") else "right")
    for step, cycles in zip(engine.steps, engine.timing.by_pass, strict=True):
        shapes = step.work.image, step.work.outputs
        image, outputs = ("x".join(map(str, shape)) for shape in shapes)
        where = "" if step.work.pool else "on the chip" if step.resident else "from memory"
        busy = f"{step.computing / cycles:.0%}"
        table.add_row(step.work.name, image, outputs, where, f"{cycles:,}", busy)
    return table


def _limit(args, whole):
    """What may be taken of all that there is."""
    from hw.pipeline import PlanError

    for name in ("fill", "luts", "brams"):
        share = getattr(args, name)
        if share is not None and not 0 < share <= 1:
            raise PlanError(f"--{name} must be over 0 and at most 1, not {share:g}")
    limit = whole if args.fill is None else whole * args.fill
    if args.luts is not None:
        limit = replace(limit, luts=whole.luts * args.luts)
    if args.brams is not None:
        limit = replace(limit, brams=whole.brams * args.brams)
    return limit
