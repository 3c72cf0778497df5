"""The planner's estimates beside yosys's counts: `python -m hw.calibrate [FAMILY ...]`.

Synthesises matrix units of several shapes for each family and prints, for each, the LUTs, flip-
flops and block RAMs that `hw.resources` expects and those in the netlist (`hw.measure`); then
popcounts alone, with a register wherever one may be.
"""

import argparse
import sys

import numpy as np

from hw import delay
from hw.cores.matrix_unit import MatrixUnit
from hw.cores.popcount import Popcount, levels
from hw.measure import FAMILIES, measure
from hw.pipeline import LayerLanes, Matrix
from hw.resources import stage_resources
from sw.errors import PopstreamError, unknown

__all__ = ["SHAPES", "main"]

# neurons, synapses, inputs_per_beat, neurons_per_beat, storage, and bits and planes where they are
# not 1; registers as a plan has them
SHAPES = (
    (64, 64, 8, 1, "block"),
    (64, 64, 16, 4, "logic"),
    (64, 64, 64, 8, "logic"),
    (64, 64, 64, 64, "logic"),
    (64, 784, 16, 4, "block"),
    (256, 784, 56, 8, "block"),
    (256, 784, 112, 16, "block"),
    (256, 256, 64, 32, "block"),
    (64, 64, 64, 8, "table"),
    (128, 256, 128, 16, "table"),
    (64, 27, 27, 8, "logic", 8, 1),
    (64, 27, 27, 64, "logic", 8, 1),
    (64, 27, 9, 16, "logic", 8, 2),
    (64, 27, 27, 2, "logic", 8, 8),
    (64, 64, 64, 8, "block", 4, 1),
)
WORDS = 16  # so many counts share a stream of inputs, as a unit's neurons do


def main(argv: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hw.calibrate", description=__doc__)
    parser.add_argument("family", nargs="*", help="xc7, ecp5 or ice40 (default: all)")
    families = parser.parse_args(argv).family or list(FAMILIES)
    out = sys.stdout.write
    try:
        for family in families:
            if family not in FAMILIES:
                raise unknown("family", family, FAMILIES)
        out(f"family  {'unit':<31} storage   LUT plan/real  FF plan/real  RAM, off\n")
        for family in families:
            board, _ = FAMILIES[family]
            luts, ffs = [], []
            for neurons, synapses, simd, pe, storage, *integers in SHAPES:
                bits, planes = integers or (1, 1)
                most = synapses * ((1 << bits) - 1)
                if neurons * synapses > 25 * board.brams * board.bram_bits // 30:
                    continue
                if storage == "table" and family != "xc7":
                    continue
                depth = synapses // simd * (neurons // pe)
                if storage != "table" and depth > 1:
                    depth = 0
                stages = delay.stages(simd, family, board.clock_hz, depth)
                rng = np.random.default_rng(0)
                near = most // 10 + 1
                unit = MatrixUnit(
                    weights=rng.integers(0, 2, (neurons, synapses)),
                    thresholds=most // 2 + rng.integers(-near, near, neurons),
                    inputs_per_beat=simd,
                    neurons_per_beat=pe,
                    bits=bits,
                    planes=planes,
                    stages=stages,
                    storage=storage,
                    family=family,
                )
                folding = LayerLanes(simd, pe, stages, storage, planes=planes)
                stage = Matrix(
                    "", "", neurons, pe, 1, synapses=synapses, bits=bits, folding=folding
                )
                plan, real = stage_resources(stage, board), measure(unit, family)
                shape = f"{synapses} to {neurons}, {simd} x {pe}"
                if bits > 1:
                    shape += f", {planes} of {bits} bits"
                out(
                    f"{family:<7} {shape:<31} {storage:<7} {plan.luts:7.0f}/{real.luts:<7} "
                    f"{plan.ffs:6.0f}/{real.ffs:<6} {plan.brams:g}/{real.brams:g} "
                    f"{plan.luts / real.luts - 1:+.0%} {plan.ffs / real.ffs - 1:+.0%}\n"
                )
                sys.stdout.flush()
                luts.append(abs(plan.luts / real.luts - 1))
                ffs.append(abs(plan.ffs / real.ffs - 1))
            out(
                f"{family:<7} at most {max(luts):.0%} off in LUT and {max(ffs):.0%} in FF, "
                f"{len(luts)} units\n"
            )
        out(
            "\nXNOR and popcount alone: LUT a lane, LUT levels and carry chains between registers\n"
        )
        for family in families:
            for width in (64, 128, 256):
                count = Popcount(
                    width=width, words=WORDS, stages=levels(width, family), family=family
                )
                real = measure(count, family)
                depth = real.between_registers
                out(
                    f"{family:<7} {width:>4} lanes of {WORDS}   {real.luts / width / WORDS:.2f}   "
                    f"{depth.levels} + {depth.carry_chains}\n"
                )
                sys.stdout.flush()
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
