# amaranth: UnusedElaboratable=no
"""A small design with a part of its own, and tools that only record how they were called."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import data, io, memory, wiring
from amaranth.lib.wiring import Out

from boards.catalogue import board
from hw.shell.clock import ClockGenerator
from hw.toolchain import prepare


class Counter(wiring.Component):
    """Plays a memory of 1024 words back, over and over."""

    def __init__(self):
        super().__init__({"o": Out(data.ArrayLayout(8, 2))})

    def elaborate(self, platform):
        m = Module()
        words = [(index * 40503 + 12345) % 65536 for index in range(1024)]
        m.submodules.memory = rom = memory.Memory(shape=16, depth=1024, init=words)
        port = rom.read_port()
        address = Signal(10)
        m.d.sync += address.eq(address + 1)
        # An array, like the payload of a stream.
        words_out = Signal(data.ArrayLayout(8, 2), name="words")
        m.d.sync += words_out.eq(port.data)
        m.d.comb += [port.addr.eq(address), self.o.eq(words_out)]
        return m


class Small(wiring.Component):
    """A counter, a sum of what it plays, and an LED."""

    def __init__(self, clock):
        self._clock = clock
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.clock = clock = ClockGenerator(self._clock)
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(clock.clk), ResetSignal().eq(clock.rst)]
        m.submodules.counter = counter = Counter()
        total = Signal(24)
        m.d.sync += total.eq(total + counter.o.as_value())
        m.submodules.led = led = io.Buffer("o", platform.request("led", 0, dir="-"))
        m.d.comb += led.o.eq(total[-1])
        return m


@pytest.fixture
def small():
    """Prepares the small design for a board."""

    def make(name, *, clock_hz=None, parts=("counter",), flow=None):
        this = board(name).through("serial")
        clock = this.clock(clock_hz)
        return prepare(this, Small(clock), clock_hz=clock.hz, name="top", parts=parts, flow=flow)

    return make


FAKE = """\
#!{python}
import json, os, pathlib, sys
with open({record!r}, "a") as record:
    record.write(json.dumps([{name!r}, *sys.argv[1:]]) + "\\n")
if "--version" in sys.argv or "-version" in sys.argv:
    print({name!r}, "1.2.3")
    sys.exit()
{body}
"""


class FakeTools:
    """Programs on a PATH of their own that record their arguments and leave files behind."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.record = folder / "record.jsonl"

    def add(self, name: str, body: str = "", **outputs: str):
        """Adds a tool that runs `body` and then writes `outputs` (`__` in a name is a dot)."""
        writes = "\n".join(
            f"pathlib.Path({file.replace('__', '.')!r}).write_text({text!r})"
            for file, text in outputs.items()
        )
        path = self.folder / name
        path.write_text(
            FAKE.format(
                python=sys.executable, record=str(self.record), name=name, body=f"{body}\n{writes}"
            )
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def calls(self) -> list[list[str]]:
        """The command lines so far."""
        if not self.record.exists():
            return []
        return [json.loads(line) for line in self.record.read_text().splitlines()]


@pytest.fixture
def fake_tools(tmp_path, monkeypatch):
    """An empty folder first on the PATH, and no tool's variable set."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for variable in (
        *("YOSYS", "NEXTPNR_ECP5", "ECPPACK", "NEXTPNR_ICE40", "ICEPACK", "OPENFPGALOADER"),
        *("NEXTPNR_HIMBAECHEL", "NEXTPNR_XILINX", "FASM2FRAMES", "XC7FRAMES2BIT", "VIVADO"),
        *("CHIPDB", "HIMBAECHEL_CHIPDB", "PRJXRAY_DB_DIR", "PLACER"),
    ):
        monkeypatch.delenv(variable, raising=False)
    return FakeTools(folder)
