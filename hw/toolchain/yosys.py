"""Runs yosys on texts, for what is not a stage of a build."""

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hw.toolchain.tools import require_tool
from sw.errors import PopstreamError

__all__ = ["run_yosys"]


def run_yosys(files: Mapping[str, str], script: str, output: str, *, need: str) -> str:
    """What a script makes of some files.

    Parameters
    ----------
    files : mapping of str to str
        By name, in the folder in which yosys runs.
    script : str
        yosys's commands.
    output : str
        The file that it writes.
    need : str
        What cannot be made without yosys.

    Raises
    ------
    MissingTool
        yosys is not on this machine.
    PopstreamError
        yosys fails; the message has its errors.
    """
    yosys = require_tool("yosys", need=need)
    # yosys from pip sees the working folder, not /tmp.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".yosys-") as folder:
        root = Path(folder)
        for name, text in files.items():
            (root / name).write_text(text)
        command = [yosys, "-q", "-l", "log", "-p", script]
        if subprocess.run(command, cwd=root, capture_output=True).returncode:
            log = (root / "log").read_text() if (root / "log").exists() else ""
            errors = [line for line in log.splitlines() if "ERROR" in line]
            raise PopstreamError(f"yosys failed: {' '.join(errors) or 'see its log'}")
        return (root / output).read_text()
