"""Which of a board's ways to place and route this machine has, and where its databases are."""

import os
from pathlib import Path

from boards.catalogue import Board
from hw.toolchain.tools import find_tool
from sw.errors import MissingTool, unknown

__all__ = ["choose_flow", "flow_variables"]

_TOOLS = {
    "nextpnr": (),
    "himbaechel": ("nextpnr-himbaechel", "fasm2frames", "xc7frames2bit"),
    "openxc7": ("nextpnr-xilinx", "fasm2frames", "xc7frames2bit"),
    "vivado": ("vivado",),
}
_CHIPDB_FOLDER = Path("/usr/share/nextpnr/xilinx-chipdb")
_DATABASE_FOLDER = Path("/usr/share/nextpnr/prjxray-db")
# Place and route's own placer does not finish on designs of about 25,000 LUTs.
_CROWDED_LUTS = 12_000


def choose_flow(board: Board, wanted: str | None = None) -> str:
    """The flow to build with: the wanted one, or the first whose tools are here, or the first.

    Raises
    ------
    PopstreamError
        The wanted flow is none of the board's.
    """
    if wanted is not None:
        if wanted not in board.flows:
            raise unknown(f"flow for {board.name}", wanted, board.flows)
        return wanted
    here = (flow for flow in board.flows if all(find_tool(tool) for tool in _TOOLS[flow]))
    return next(here, board.flows[0])


def flow_variables(board: Board, tool: str, *, luts: int) -> dict[str, str]:
    """The variables in a 7-series tool's command; those already in the environment win.

    Parameters
    ----------
    board : Board
    tool : str
        The tool that is about to run.
    luts : int
        LUTs of the synthesised design, 0 if unknown.

    Raises
    ------
    MissingTool
        A database that the tool needs is nowhere.
    """
    if tool == "nextpnr-himbaechel":
        return {"PLACER": "static"} if luts > _CROWDED_LUTS and "PLACER" not in os.environ else {}
    if tool == "nextpnr-xilinx":
        return {"CHIPDB": str(_chip_database(board))}
    if tool in ("fasm2frames", "xc7frames2bit"):
        return {"PRJXRAY_DB_DIR": str(_prjxray_database(board))}
    return {}


def _chip_database(board: Board) -> Path:
    told = os.environ.get("CHIPDB")
    place = Path(told) if told else _CHIPDB_FOLDER
    if place.is_file():
        return place.absolute()
    die = board.part[: board.part.index("clg")]
    names = [f"{board.part}.bin", f"{board.part.rsplit('-', 1)[0]}.bin", f"{die}.bin"]
    for name in names:
        if (place / name).is_file():
            return (place / name).absolute()
    raise MissingTool(
        f"nextpnr-xilinx's chip database not found in {place}: no place and route for "
        f"{board.name}; set CHIPDB to the file {names[-1]} or its folder"
    )


def _prjxray_database(board: Board) -> Path:
    place = Path(os.environ.get("PRJXRAY_DB_DIR") or _DATABASE_FOLDER)
    if (place / "zynq7" / board.part / "part.yaml").is_file():
        return place.absolute()
    raise MissingTool(
        f"the prjxray database has no zynq7/{board.part}/part.yaml in {place}: no bitstream for "
        f"{board.name}; get https://github.com/f4pga/prjxray-db and set PRJXRAY_DB_DIR to it"
    )
