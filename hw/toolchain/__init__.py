"""From gateware to a bitstream: the tools that synthesise, place, route and pack.

`prepare` turns a design into a build plan, `run_stage` executes one stage of it, `read_synthesis`
and `read_placement` tell what came out, `write_archive` packs the plan for another machine,
`flash` loads a board.
"""

from hw.toolchain.archive import write_archive
from hw.toolchain.flash import flash
from hw.toolchain.plan import STAGES, Prepared, Stage, plain_names, prepare
from hw.toolchain.reports import Placement, Synthesis, Utilisation, read_placement, read_synthesis
from hw.toolchain.run import StageResult, missing, run_stage
from hw.toolchain.tools import find_tool, tool_version, versions

__all__ = [
    "STAGES",
    "Placement",
    "Prepared",
    "Stage",
    "StageResult",
    "Synthesis",
    "Utilisation",
    "find_tool",
    "flash",
    "missing",
    "plain_names",
    "prepare",
    "read_placement",
    "read_synthesis",
    "run_stage",
    "tool_version",
    "versions",
    "write_archive",
]
