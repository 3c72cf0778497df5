"""The synthesised netlist as Verilog that any simulator reads: `python -m hw.netlist`.

yosys synthesises the accelerator for a family and then puts its own models of that family's cells
(LUTs, carry chains, LUT RAM, flip-flops) in the place of the cells. What comes out has the
accelerator's ports and takes the place of its Verilog in the same simulation. ECP5 and 7-series
block RAMs have no model in yosys, so the plan keeps weights in LUTs there.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from boards.catalogue import BOARDS, Board
from hw.toolchain.plan import keep
from hw.toolchain.tools import require_tool
from sw.errors import PopstreamError, unknown

__all__ = ["main", "netlist"]

_FAMILIES = {
    "xc7": ("synth_xilinx -flatten -noiopad -noclkbuf", "xilinx"),
    "ecp5": ("synth_ecp5 -noiopad -nobram", "ecp5"),
    "ice40": ("synth_ice40 -device u", "ice40"),
}


def netlist(verilog: str, board: Board) -> str:
    """The netlist of a module named `accelerator`, its cells replaced by their models.

    Raises
    ------
    PopstreamError
        When yosys fails, a wire has no driver, or a cell has no model.
    """
    yosys = require_tool("yosys", need="a netlist")
    synthesise, cells = _FAMILIES[board.family]
    steps = (
        f"read_verilog accelerator.v; {keep(board.family)}; {synthesise} -top accelerator; "
        "check -assert; setattr -mod -unset keep_hierarchy; flatten; opt_clean; "
        "select accelerator; write_rtlil -selected netlist.il",
        f"read_rtlil netlist.il; read_verilog -overwrite +/{cells}/cells_sim.v; "
        "hierarchy -check -top accelerator; proc; flatten; opt_clean; "
        "write_verilog -noattr netlist.v",
    )
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".netlist-") as name:
        folder = Path(name)
        (folder / "accelerator.v").write_text(verilog)
        for step in steps:
            log = folder / "log"
            command = [yosys, "-q", "-l", log.name, "-p", step]
            if subprocess.run(command, cwd=folder, capture_output=True).returncode:
                errors = [line for line in log.read_text().splitlines() if "ERROR" in line]
                raise PopstreamError(f"yosys failed: {' '.join(errors) or 'see its log'}")
        return (folder / "netlist.v").read_text()


def main(argv: list[str] | None = None) -> int:
    """Simulate a model's netlist on its sample images; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hw.netlist", description=__doc__)
    parser.add_argument("--board", default="icebreaker")
    parser.add_argument("--model", default="digits-tiny")
    parser.add_argument("--cycles", type=int, default=64, help="cycles a frame at most")
    args = parser.parse_args(argv)

    from amaranth.back import verilog

    from hw.accelerator import Accelerator
    from hw.pipeline import LayerLanes
    from hw.plan import choose
    from hw.testbench import job_for
    from hw.toolchain.plan import plain_names
    from sim.runner import simulate
    from sw import zoo
    from sw.artefact import load

    try:
        if args.board not in BOARDS:
            raise unknown("board", args.board, BOARDS)
        board = BOARDS[args.board]
        model = load(zoo.path(args.model))
        plan = choose(model.network, board, board.clock_hz, args.cycles)
        if board.family != "ice40":
            layers: dict[str, LayerLanes] = {
                name: replace(layer, storage="logic") for name, layer in plan.lanes.layers.items()
            }
            plan = replace(plan, lanes=replace(plan.lanes, layers=layers))
        text = verilog.convert(
            Accelerator(model.network, plan.lanes),
            name="accelerator",
            emit_src=False,
            strip_internal_attrs=True,
        )
        gates = netlist(plain_names(text), board)
        job, frames, expected = job_for(plan, model.network, model.samples.inputs, gates, seed=1)
        folder = Path("build") / f"netlist-{board.name}-{args.model}"
        result = simulate(replace(job, taps=()), frames, expected, folder)
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(
        f"{args.model} on {board.name}: the netlist gives the golden model's answer for "
        f"{result.frames} images, {result.cycles_per_frame} cycles a frame, "
        f"{result.latency_cycles} latency\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
