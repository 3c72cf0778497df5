# amaranth: UnusedElaboratable=no
"""Netlists that yosys synthesised, simulated: block RAMs of many shapes, and what can go wrong."""

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores.sliding_window import SlidingWindow
from hw.cores.whole_window import WholeWindow
from hw.measure import FAMILIES
from hw.netlist import netlist
from hw.toolchain import plain_names
from hw.toolchain.yosys import run_yosys
from sim.job import Job, Stream
from sim.runner import simulate
from sw.errors import PopstreamError

# Words and bits of the memories; those with a write port last.
SHAPES = {
    "xc7": (
        ((512, 72), (1024, 36), (2048, 18), (4096, 9), (8192, 4), (512, 36)),
        ((1024, 18), (512, 72)),
    ),
    "ecp5": (((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2)), ((512, 36), (1024, 9))),
    "ice40": (((256, 16), (512, 8), (1024, 4), (2048, 2)), ((256, 16), (512, 8))),
}
BITS, FRAMES = 9, 200


class Memories(wiring.Component):
    """Reads its ROMs at an address a beat; writes its RAMs, and reads what the last beat wrote."""

    def __init__(self, roms, rams, contents):
        self._roms, self._rams, self._contents = roms, rams, contents
        self._bits = max(words for words, _ in (*roms, *rams)).bit_length() - 1
        words = sum(-(-bits // BITS) for _, bits in (*roms, *rams))
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(14, 3))),  # read at, write at, value
                "o": Out(stream.Signature(data.ArrayLayout(BITS, words))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(self.o.ready | ~self.o.valid)
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(self.i.valid)
        read_at, write_at, value = self.i.payload
        last, written, known = Signal(14), Signal(), Signal()
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [last.eq(write_at), written.eq(1), known.eq(written)]
        lane = 0
        for index, (words, bits) in enumerate((*self._roms, *self._rams)):
            attrs = {"ram_style": "block", "rom_style": "block", "syn_ramstyle": "block_ram"}
            init = self._contents[index] if index < len(self._roms) else ()
            memory = Memory(shape=bits, depth=words, init=init, attrs=attrs)
            m.submodules[f"memory{index}"] = memory
            read = memory.read_port()
            ram = index >= len(self._roms)
            m.d.comb += [read.addr.eq(last if ram else read_at), read.en.eq(self.i.ready)]
            if ram:
                write = memory.write_port()
                m.d.comb += [
                    write.addr.eq(write_at),
                    write.data.eq(Cat(value, ~value, value, value, ~value, value)),
                    write.en.eq(self.i.ready & self.i.valid),
                ]
            for start in range(0, bits, BITS):
                word = read.data[start : start + BITS]
                m.d.comb += self.o.payload[lane].eq(Mux(known, word, 0) if ram else word)
                lane += 1
        return m


def repeated(value):
    """What is written: a value of 14 bits six times, some of them inverted."""
    return sum((value ^ 0x3FFF * (n in (1, 4))) << 14 * n for n in range(6))


def expected(roms, rams, contents, frames):
    """What the memories answer."""
    out, last = [], None
    for read_at, _, value in frames.tolist():
        answers = [
            (words[read_at % depth], bits)
            for words, (depth, bits) in zip(contents, roms, strict=True)
        ]
        for _, bits in rams:
            answers.append((0 if last is None else repeated(last), bits))
        out.append(
            [
                word >> start & (1 << min(BITS, bits - start)) - 1
                for word, bits in answers
                for start in range(0, bits, BITS)
            ]
        )
        last = value
    return np.array(out)


@pytest.fixture(scope="module", params=FAMILIES)
def memories(request):
    """A family, its component's netlist as RTLIL, and random contents."""
    family = request.param
    rng = np.random.default_rng(7)
    roms, rams = SHAPES[family]
    contents = [
        [int.from_bytes(rng.bytes(9)) >> 72 - bits for _ in range(words)] for words, bits in roms
    ]
    component = Memories(roms, rams, contents)
    text = rtlil.convert(component, name="unit", emit_src=False)
    script = (
        f"read_rtlil in.il; {FAMILIES[family][1]} -top unit; "
        "select unit; write_rtlil -selected out.il"
    )
    return (
        family,
        contents,
        run_yosys({"in.il": plain_names(text)}, script, "out.il", need="a test"),
    )


def test_block_rams_of_every_shape(memories, tmp_path):
    family, contents, text = memories
    roms, rams = SHAPES[family]
    used = {"xc7": "RAMB", "ecp5": "DP16KD", "ice40": "SB_RAM40_4K"}[family]
    assert text.count(f"  cell \\{used}") >= len(roms) + len(rams)
    rng = np.random.default_rng(8)
    frames = rng.integers(0, 1 << 14, (FRAMES, 3))
    lanes = sum(-(-bits // BITS) for _, bits in (*roms, *rams))
    job = Job(
        verilog=netlist(text, family, "unit"),
        top="accelerator",
        input=Stream("input", 3, 14, 3, port="i"),
        output=Stream("output", lanes, BITS, lanes),
        latency_cycles=1,
        cycles_per_frame=1,
    )
    wanted = expected(roms, rams, contents, frames)
    simulate(job, frames, {"output": wanted}, tmp_path)


@pytest.mark.parametrize(
    ("form", "family"), [*(("serial", family) for family in FAMILIES), ("whole", "xc7")]
)
def test_windows_in_block_ram(family, form, tmp_path):
    """Padding is the reset of a memory's register, where the family's memories have one."""
    height, width, lanes = (9, 12, 1) if form == "serial" else (2, 300, 2)
    image = {"height": height, "width": width, "channels": 2, "bits": 5, "family": family}
    image |= {"kernel": (3, 3), "padding": (1, 1, 1, 1), "fill": 19}
    if form == "serial":
        core = SlidingWindow(**image, lanes=lanes, depth=512)
    else:
        core = WholeWindow(**image)
    text = rtlil.convert(core, name="unit", emit_src=False)
    script = (
        f"read_rtlil in.il; {FAMILIES[family][1]} -top unit; "
        "select unit; write_rtlil -selected out.il"
    )
    text = run_yosys({"in.il": plain_names(text)}, script, "out.il", need="a test")
    used = {"xc7": "RAMB", "ecp5": "DP16KD", "ice40": "SB_RAM40_4K"}[family]
    assert f"  cell \\{used}" in text

    rng = np.random.default_rng(9)
    images = rng.integers(0, 32, (6, height, width, 2))
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=19)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    windows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(6, -1)
    job = Job(
        verilog=netlist(text, family, "unit"),
        top="accelerator",
        input=Stream("input", lanes, 5, images[0].size, port="i"),
        output=Stream("output", lanes if form == "serial" else 18, 5, windows[0].size),
    )
    simulate(job, images.reshape(6, -1), {"output": windows}, tmp_path)


def test_unknown_module():
    with pytest.raises(PopstreamError, match="the netlist has no module 'top'"):
        netlist("module \\other\nend\n", "ecp5", "top")
