"""Runs yosys on texts, for what is not a stage of a build."""

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hw.toolchain.tools import require_tool
from sw.errors import PopstreamError

__all__ = ["attempt_yosys", "errors_in", "run_yosys"]


def attempt_yosys(
    files: Mapping[str, str], script: str, output: str | None = None, *, need: str
) -> tuple[str, str | None]:
    """What yosys says of a script on some files, and what it makes of them.

    Parameters
    ----------
    files : mapping of str to str
        By name, in the folder in which yosys runs.
    script : str
        yosys's commands.
    output : str or None
        The file that it writes, if any.
    need : str
        What cannot be made without yosys.

    Returns
    -------
    log : str
    made : str or None
        The output's text, empty where none was asked for; None where yosys failed.

    Raises
    ------
    MissingTool
        yosys is not on this machine.
    """
    yosys = require_tool("yosys", need=need)
    # yosys from pip sees the working folder, not /tmp.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".yosys-") as folder:
        root = Path(folder)
        for name, text in files.items():
            (root / name).write_text(text)
        command = [yosys, "-q", "-l", "log", "-p", script]
        failed = subprocess.run(command, cwd=root, capture_output=True).returncode
        log = (root / "log").read_text() if (root / "log").exists() else ""
        if failed:
            return log, None
        return log, (root / output).read_text() if output else ""


def errors_in(log: str) -> str:
    """The errors that yosys wrote into its log, in one line."""
    return " ".join(line for line in log.splitlines() if "ERROR" in line) or "see its log"


def run_yosys(files: Mapping[str, str], script: str, output: str, *, need: str) -> str:
    """What a script makes of some files; parameters are those of `attempt_yosys`.

    Raises
    ------
    MissingTool
        yosys is not on this machine.
    PopstreamError
        yosys fails; the message has its errors.
    """
    log, made = attempt_yosys(files, script, output, need=need)
    if made is None:
        raise PopstreamError(f"yosys failed: {errors_in(log)}")
    return made
