"""An engine for a published network, filled with random numbers: `python -m hw.engine bvgg16`.

Prints what it takes, of a board and of time, pass by pass; then generates, synthesises or simulates
it. A simulation sends random images through the generated Verilog on Verilator, compares every
score with the golden model's, under random stalls of images, weights and results, and checks the
plan's cycles.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from boards.catalogue import board as board_named
from hw.engine.engine import Engine
from hw.engine.fit import fit
from hw.engine.passes import tail
from hw.engine.plan import EnginePlan, plan_engine
from hw.engine.resources import engine_resources
from hw.engine.share import head_of
from hw.engine.testbench import job_for
from hw.measure import FAMILIES, measure_rtlil
from hw.resources import Resources
from sw.errors import PopstreamError
from sw.shapes import SHAPES, random_network

__all__ = ["main"]

# What else is on the chip: a Zynq's shell, and a head of a layer or two.
_BESIDE = Resources(luts=6000, ffs=7000, brams=10)


def _table(plan: EnginePlan, board, clock_hz: int, efficiency: float) -> str:
    timing, cost = plan.timing_at(efficiency), engine_resources(plan, board)
    lines = [
        f"{plan.simd} x {plan.pe} lanes, batches of {plan.batch}, {clock_hz / 1e6:g} MHz, "
        f"port {efficiency:.0%}",
        f"{'pass':10} {'image':>12} {'outputs':>12} {'groups':>6} {'tiles':>5} {'chunks':>6} "
        f"{'weights':>8} {'cycles':>8} {'computing':>9}",
    ]
    for step, cycles in zip(plan.steps, timing.by_pass, strict=True):
        image, outputs = ("x".join(map(str, s)) for s in (step.work.image, step.work.outputs))
        weights = "" if step.work.pool else "resident" if step.resident else "streamed"
        lines.append(
            f"{step.work.name:10} {image:>12} {outputs:>12} {step.groups:6} {step.tiles:5} "
            f"{step.chunks:6} {weights:>8} {cycles:8} {step.computing / cycles:9.1%}"
        )
    rate = clock_hz * plan.batch / timing.per_batch
    lines += [
        f"{timing.per_batch} cycles a batch, {rate:.1f} images/s, "
        f"{timing.port_bound:.1%} of them waiting for the port; "
        f"{plan.stream_words} words of weights a batch",
        f"plan: {cost.luts:.0f} LUT ({cost.luts / board.luts:.1%}), {cost.ffs:.0f} FF, "
        f"{cost.brams:g} block RAM ({cost.brams / board.brams:.1%})",
    ]
    return "\n".join(lines)


def _synthesise(network, plan, board) -> str:
    from amaranth.back import rtlil

    engine = Engine(network=network, plan=plan, family=board.family)
    platform = FAMILIES[board.family][0].platform()
    text = rtlil.convert(engine, name="engine", platform=platform, emit_src=False)
    real, cost = measure_rtlil(text, board.family, "engine"), engine_resources(plan, board)
    return (
        f"synthesised: {real.luts} LUT ({cost.luts / real.luts - 1:+.1%} in the plan), "
        f"{real.ffs} FF ({cost.ffs / real.ffs - 1:+.1%}), "
        f"{real.brams:g} block RAM ({cost.brams / real.brams - 1:+.1%}); "
        f"{real.between_registers.levels} LUT levels, "
        f"{real.between_registers.carry_chains} carry chains"
    )


def _simulate(network, plan, batches, seed) -> str:
    from amaranth.back import verilog

    from sim.runner import simulate

    network = network.scores()  # which tell more than the labels
    text = verilog.convert(Engine(network=network, plan=plan), name="engine", emit_src=False)
    rng = np.random.default_rng(seed)
    shape = (batches * plan.batch, *network.input.shape)
    images = rng.integers(0, 2, shape, dtype=np.uint8)
    job, frames, expected = job_for(network, plan, images, text, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        result = simulate(job, frames, expected, Path(folder))
    return (
        f"simulated: {len(images)} images, every score the golden model's, under stalls; "
        f"{result.cycles_per_frame} cycles a batch without; "
        f"{result.cycles} cycles in {result.seconds:.0f} s"
    )


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hw.engine", description=__doc__)
    parser.add_argument("network", choices=SHAPES)
    parser.add_argument("--width", type=float, default=1, help="of all layers (default: 1)")
    parser.add_argument("--board", default="pynq", help="default: pynq")
    parser.add_argument("--batch", type=int, help="frames (default: what is fastest)")
    parser.add_argument("--lanes", type=int, nargs=2, metavar=("SIMD", "PE"))
    parser.add_argument("--efficiency", type=float, default=1, help="of the port (default: 1)")
    parser.add_argument("--stages", type=int, default=1, help="registers in the popcount")
    parser.add_argument("--synthesise", action="store_true")
    parser.add_argument("--simulate", type=int, metavar="BATCHES", default=0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    out = sys.stdout.write
    try:
        began, board = time.monotonic(), board_named(args.board)
        network = random_network(args.network, args.width, args.seed)
        network = tail(network, head_of(network))
        if args.lanes is None:
            options = {"batch": args.batch, "efficiency": args.efficiency, "stages": args.stages}
            plan = fit(network, board, reserved=_BESIDE, **options)
        else:
            simd, pe = args.lanes
            plan = plan_engine(network, simd=simd, pe=pe, batch=args.batch or 1, stages=args.stages)
        out(f"{_table(plan, board, board.clock_hz, args.efficiency)}\n")
        if args.synthesise:
            out(f"{_synthesise(network, plan, board)}\n")
        if args.simulate:
            out(f"{_simulate(network, plan, args.simulate, args.seed)}\n")
        out(f"{time.monotonic() - began:.0f} s\n")
    except (PopstreamError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
