"""A line that loses, doubles, changes and invents bytes: no wrong answer, and it works again.

The shell's packets are simulated without the UART, a byte a cycle and a second of 800 cycles, so
that thousands of cases take seconds.
"""

import os
import random
import struct
import subprocess
from collections import Counter
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.shell.serial import PacketShell
from sim.tools import find_simulator
from sw.errors import MissingTool, PopstreamError
from sw.host.link import PAUSE_SECONDS, SYNC, Kind
from sw.host.serial import SerialClient

HZ = 800
PAUSE_CYCLES = round(PAUSE_SECONDS * HZ)


class Board(wiring.Component):
    """A shell and its stand-in of a pipeline, with ports that have plain names."""

    def __init__(self, looped):
        self._looped = looped
        i = {"i_byte": In(8), "i_valid": In(1), "i_ready": Out(1)}
        super().__init__({**i, "o_byte": Out(8), "o_valid": Out(1), "o_ready": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.looped = looped = self._looped
        m.d.comb += [
            looped.i_line.payload.eq(self.i_byte),
            looped.i_line.valid.eq(self.i_valid),
            self.i_ready.eq(looped.i_line.ready),
            self.o_byte.eq(looped.o_line.payload),
            self.o_valid.eq(looped.o_line.valid),
            looped.o_line.ready.eq(self.o_ready),
        ]
        return m


class VerilatedPort:
    """The host's port to a compiled board; time passes while it is read.

    Parameters
    ----------
    program : Path
        What `line.cpp` has become.
    """

    def __init__(self, program: Path):
        self.timeout = None
        self.damage = lambda data, to_board: data
        self._sent, self._received = b"", bytearray()
        self._board = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def write(self, data: bytes):
        self._sent += self.damage(data, True)

    def read(self, count: int) -> bytes:
        left = round(self.timeout * HZ)
        while len(self._received) < count and left > 0:
            wanted = count - len(self._received)
            self._board.stdin.write(struct.pack("=III", wanted, left, len(self._sent)) + self._sent)
            self._board.stdin.flush()
            passed, come = struct.unpack("=II", self._board.stdout.read(8))
            self._received += self.damage(self._board.stdout.read(come), False)
            self._sent = b""
            left -= passed
        data, self._received = bytes(self._received[:count]), self._received[count:]
        return data

    def close(self):
        self._board.stdin.close()
        self._board.stdout.close()
        self._board.wait()


class Line:
    """What happens to the bytes of both directions: faults at some, or at a share of all."""

    NOISE = (SYNC, *Kind, *(kind | 0x80 for kind in Kind), 0, 8, 4, 76)

    def __init__(self, seed: int):
        self.rng = rng = random.Random(seed)
        self.share = rng.choice((0, 0, 0, 0, 0.01, 0.05))
        self.places = {True: set(), False: set()}
        for _ in range(rng.randrange(1, 4)):
            to_board = rng.random() < 0.5
            self.places[to_board].add(rng.randrange(51 if to_board else 39))
        self.passed = Counter()
        self.faults = 0

    def __call__(self, data: bytes, to_board: bool) -> bytes:
        result = bytearray()
        for byte in data:
            if self.passed[to_board] in self.places[to_board] or self.rng.random() < self.share:
                result += self.spoil(byte)
                self.faults += 1
            else:
                result.append(byte)
            self.passed[to_board] += 1
        return bytes(result)

    def spoil(self, byte: int) -> bytes:
        rng = self.rng
        match rng.randrange(5):
            case 0:
                return b""
            case 1:
                return bytes([byte, byte])
            case 2:
                return bytes([byte ^ 1 << rng.randrange(8)])
            case 3:
                return bytes([*rng.choices(self.NOISE, k=rng.randrange(1, 30)), byte])
            case 4:
                return rng.randbytes(rng.randrange(1, 30))


def check(client, port, about, results, seed) -> str:
    """A case; returns how it ended."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (4, about.frame_bytes), dtype=np.uint8)
    port.damage = line = Line(seed)
    try:
        match seed % 8:
            case 0:
                assert client.identify() == about.words(), f"wrong identity, {seed=}"
            case 1:
                client.reset()
            case 2:
                assert client.counters()["JOBS_DONE"] == 0, f"wrong counters, {seed=}"
            case _:
                assert client.infer(frames[:3]) == results(frames[:3], about), (
                    f"a wrong answer, {seed=}"
                )
        end = "answered"
    except PopstreamError:
        end = "given up"
    port.damage = lambda data, to_board: data
    assert client.infer(frames[3:]) == results(frames[3:], about), f"wrong afterwards, {seed=}"
    return f"{end} after faults" if line.faults else end


def run(port, lines, cases):
    """As many cases with a fault, and how they ended."""
    about, seeds, ends = lines.identity(), count(), Counter()
    client = SerialClient(port, patience=0.2)
    while ends.total() - ends["answered"] < cases:
        ends[check(client, port, about, lines.results, next(seeds))] += 1
    assert client.counters()["REJECTED"] > 0
    client.close()
    return ends


def looped(lines):
    return lines.Looped(PacketShell(lines.identity(), pause_cycles=PAUSE_CYCLES), cycles=5)


def test_no_wrong_answer(lines):
    """In Amaranth's own simulator, which is there on every machine."""
    ends = run(lines.BytePort(looped(lines), HZ), lines, 32)
    assert ends["answered after faults"] > 16


def test_no_wrong_answer_in_a_thousand_cases(lines, tmp_path):
    try:
        simulator = find_simulator("verilator")
    except MissingTool as error:
        pytest.skip(str(error))
    (tmp_path / "board.v").write_text(verilog.convert(Board(looped(lines)), name="board"))
    environment = {**os.environ, **simulator.environment}
    environment["MAKEFLAGS"] = f"{environment.get('MAKEFLAGS', '')} OPT_FAST=-O1"
    options = "-cc -exe --build -O3 -Wno-fatal -Wno-lint -Wno-style --top-module board -o board"
    subprocess.run(
        ["verilator", *options.split(), "board.v", Path(__file__).with_name("line.cpp")],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
    )
    ends = run(VerilatedPort(tmp_path / "obj_dir" / "board"), lines, 1000)
    assert 20 < ends["given up after faults"] < 300
