"""Runs a simulated board's bench; a program of its own, because it lasts as long as the board.

python -m sim.board_process MODEL RUN

MODEL is the folder of the compiled model, RUN the one that `sim.board` prepared.
"""

import json
import signal
import sys
from pathlib import Path

from sim.compile import TIMESCALE, cocotb_runner
from sim.tools import find_simulator

__all__ = ["TOP", "main"]

TOP = "popstream_board"


def main(model: Path, run: Path) -> None:
    """Simulates until the bench has nobody to serve."""
    # An exception makes cocotb's runner take the simulator along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    config = json.loads((run / "board.json").read_text())
    with cocotb_runner(find_simulator(config["simulator"])) as runner:
        try:
            runner.test(
                test_module="sim.board_bench",
                hdl_toplevel=TOP,
                hdl_toplevel_lang="verilog",
                build_dir=model,
                test_dir=run,
                results_xml=str(run / "results.xml"),
                seed=config["seed"],
                timescale=TIMESCALE,
                waves=config["waves"],
                plusargs=[f"+dumpfile_path={run / 'dump.fst'}"] if config["waves"] else [],
                extra_env={"COCOTB_LOG_LEVEL": "WARNING", "GPI_LOG_LEVEL": "WARNING"},
            )
        except RuntimeError as error:
            sys.exit(f"the simulator: {error}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
