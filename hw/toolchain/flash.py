"""Loads a bitstream into a board."""

import subprocess
from pathlib import Path

from boards.catalogue import Board
from hw.toolchain.tools import require_tool
from sw.errors import MissingTool, PopstreamError

__all__ = ["flash"]


def flash(board: Board, bitstream: Path) -> None:
    """Loads a bitstream into a board over USB with openFPGALoader.

    It lasts until power goes; the iCEBreaker is loaded through its flash and keeps it.

    Raises
    ------
    MissingTool
        openFPGALoader is not on this machine, or a library that it needs.
    PopstreamError
        There is no such bitstream, or openFPGALoader found no board or failed.
    """
    if not bitstream.is_file():
        raise PopstreamError(f"no bitstream {bitstream} to load into {board.name}")
    loader = require_tool("openFPGALoader", need=f"loading of {board.name}")
    command = [loader, *board.loader_options, bitstream]
    ran = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if not ran.returncode:
        return
    said = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    if any("libusb-1.0" in line for line in said):
        raise MissingTool(
            f"openFPGALoader needs libusb-1.0, which this machine lacks: {board.name} is not "
            "loaded; install it (Debian: apt install libusb-1.0-0)"
        )
    last = said[-1] if said else f"status {ran.returncode}"
    raise PopstreamError(f"openFPGALoader could not load {board.name}: {last}")
