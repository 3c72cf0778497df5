# amaranth: UnusedElaboratable=no
import json
import random
import re
import subprocess

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.cores.rom import LATENCY, Rom, rom_luts
from hw.toolchain.tools import require_tool

_SHAPES = [(2, 1), (3, 5), (4, 40), (16, 9), (17, 3), (32, 3), (33, 6), (64, 12), (65, 3), (100, 4)]
_SHAPES += [(128, 3), (130, 2), (200, 3), (256, 2), (257, 2), (600, 2)]


def _words(depth, width, seed=1):
    """Random words; where there is room a column of 0, one of 1 and two equal ones."""
    source = random.Random(seed)
    words = [source.getrandbits(width) for _ in range(depth)]
    if width >= 5:
        words = [word & ~0b1111 | (word >> 4 & 1) << 3 | 0b010 for word in words]
    return words


def _yosys(folder, script):
    """Runs yosys, which sees only what is below its folder; what it says."""
    command = [require_tool("yosys", need="a test"), "-q", "-l", "log", "-p", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    log = (folder / "log").read_text()
    assert not done.returncode, log[-3000:]
    return log


@pytest.mark.parametrize("depth, width", [(2, 1), (5, 70), (64, 9), (200, 33)])
def test_every_word_is_read_two_cycles_later(depth, width):
    words = _words(depth, width)
    rom = Rom(words=words, width=width)
    order = random.Random(2).sample(range(depth), depth)
    seen = []

    async def bench(ctx):
        for address in order + [0] * LATENCY:
            ctx.set(rom.address, address)
            seen.append(ctx.get(rom.data))
            await ctx.tick()

    simulator = Simulator(rom)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen[LATENCY:] == [words[address] for address in order]


def test_one_word_is_a_constant():
    rom = Rom(words=[5], width=3)

    async def bench(ctx):
        assert ctx.get(rom.data) == 5

    simulator = Simulator(rom)
    simulator.add_testbench(bench)
    simulator.run()


def _check(name, words, width):
    """Verilog of a module whose `ok` is 1 while a ROM's word is that of two cycles before."""
    bits = max(1, (len(words) - 1).bit_length())
    cases = "".join(f"{row}: word = {width}'h{word:x};\n" for row, word in enumerate(words))
    return f"""
        module check_{name}(input clk, input rst, input [{bits - 1}:0] address, output ok);
            reg [{bits - 1}:0] row, before;
            always @(posedge clk) begin before <= address; row <= before; end
            reg [{width - 1}:0] word;
            always @* case (row)
                {cases}
                default: word = 0;
            endcase
            wire [{width - 1}:0] data;
            {name} rom(.clk(clk), .rst(rst), .address(address), .data(data));
            assign ok = row >= {len(words)} || data === word;
        endmodule
    """


# Deferred, since one model nobody uses here takes yosys 40 s.
@pytest.mark.parametrize(
    "family, model",
    [
        ("xc7", "read_verilog +/xilinx/cells_sim.v"),
        ("ecp5", "read_verilog -overwrite +/ecp5/cells_sim.v"),
        ("ice40", "read_verilog -overwrite -defer +/ice40/cells_sim.v"),
    ],
)
def test_what_is_instantiated_reads_the_same_words(family, model, tmp_path):
    """Proven for every address, with yosys' models of the cells."""
    script, prove = [], []
    for depth, width in _SHAPES:
        name, words = f"rom_{depth}_{width}", _words(depth, width)
        rom = Rom(words=words, width=width, family=family)
        if depth == 200:
            rom = Rom(words=words, width=width, family=family, storage="block", logic_bits=1)
        (tmp_path / f"{name}.il").write_text(rtlil.convert(rom, name=name, platform=object()))
        (tmp_path / f"{name}.v").write_text(_check(name, words, width))
        script += [f"read_rtlil {name}.il", f"read_verilog -sv {name}.v"]
        prove += [
            f"hierarchy -check -top check_{name}",
            "proc; memory; flatten; opt_clean",
            f"sat -verify -seq {LATENCY + 1} -prove-skip {LATENCY} -prove ok 1 check_{name}",
            "design -load all",
        ]
    log = _yosys(tmp_path, "; ".join([*script, model, "design -save all", *prove]))
    assert log.count("SAT proof finished - no model found: SUCCESS!") == len(_SHAPES)


@pytest.mark.parametrize(
    "family, cell", [("xc7", "LUT[1-6]"), ("ecp5", "LUT4"), ("ice40", "SB_LUT4")]
)
@pytest.mark.parametrize("depth, width", _SHAPES)
def test_rom_luts_is_what_is_instantiated(family, cell, depth, width):
    source = random.Random(3)
    words = [source.getrandbits(width) for _ in range(depth)]
    words[-1] = ~words[-2] & (1 << width) - 1  # no column is constant, nor its last words
    text = rtlil.convert(Rom(words=words, width=width, family=family), platform=object())
    luts = len(re.findall(rf"^ +cell \\{cell} ", text, re.MULTILINE))
    if depth >= 16:  # equal columns are unlikely
        assert luts == rom_luts(depth, width, family)
    assert luts <= rom_luts(depth, width, family)


def test_rom_luts():
    assert [rom_luts(depth, 1, "xc7") for depth in (1, 2, 64, 65, 256, 258, 1024)] == [
        0, 1, 1, 2, 4, 6, 17,
    ]  # fmt: skip
    assert [rom_luts(depth, 10, "ecp5") for depth in (16, 64, 128)] == [10, 40, 80]
    assert [rom_luts(depth, 1, "ice40") for depth in (16, 32, 64, 256)] == [1, 3, 6, 26]


def test_constant_and_equal_columns_take_no_lut_of_their_own():
    words = [0b1110 * (row >> 3 & 1) + 1 for row in range(64)]  # three equal ones, a constant
    text = rtlil.convert(Rom(words=words, width=4, family="xc7"), platform=object())
    assert text.count("cell \\LUT6 ") == 1


def test_many_columns_have_more_than_one_address_register(tmp_path):
    """Synthesis must not merge them."""
    rom = Rom(words=_words(64, 300), width=300, family="xc7")
    (tmp_path / "rom.il").write_text(rtlil.convert(rom, name="top", platform=object()))
    steps = "read_rtlil rom.il; hierarchy -top top; proc; flatten; opt -full; opt_merge -share_all"
    log = _yosys(tmp_path, f"{steps}; tee -o stat stat")
    assert re.search(r"18 +FDRE$", (tmp_path / "stat").read_text(), re.MULTILINE), log


def test_a_block_ram_holds_the_words(tmp_path):
    """With 72 bits to a word a RAMB36E1 puts out bits 64 r.. of its INITs on DOADO and DOBDO, and
    bits 8 r.. of its INITPs on DOPADOP and DOPBDOP, as word r; so yosys maps its memories to it.
    """
    depth, width = 300, 2 * 72
    words = _words(depth, width)
    rom = Rom(words=words, width=width, family="xc7", storage="block")
    (tmp_path / "rom.il").write_text(rtlil.convert(rom, name="top", platform=object()))
    _yosys(tmp_path, "read_rtlil rom.il; proc; flatten; opt_clean; write_json rom.json")

    top = json.loads((tmp_path / "rom.json").read_text())["modules"]["top"]
    columns = {}
    for cell in (cell for cell in top["cells"].values() if cell["type"] == "RAMB36E1"):
        pins, parameters = cell["connections"], cell["parameters"]
        assert int(parameters["READ_WIDTH_A"], 2) == 72
        assert pins["ADDRARDADDR"] == [*"000000", *top["ports"]["address"]["bits"], "1"]
        data = "".join(parameters[f"INIT_{k:02X}"][::-1] for k in range(128))
        parity = "".join(parameters[f"INITP_{k:02X}"][::-1] for k in range(16))
        columns |= {net: data[k::64] for k, net in enumerate(pins["DOADO"] + pins["DOBDO"])}
        columns |= {net: parity[k::8] for k, net in enumerate(pins["DOPADOP"] + pins["DOPBDOP"])}
    late = {}
    for cell in (cell for cell in top["cells"].values() if cell["type"] == "$dff"):
        pins = cell["connections"]
        late |= {q: columns[d] for d, q in zip(pins["D"], pins["Q"], strict=True)}
    for row, word in enumerate(words):
        bits = [late[net][row] for net in top["ports"]["data"]["bits"]]
        assert int("".join(bits)[::-1], 2) == word


def test_what_fills_block_rams_is_instantiated_and_the_rest_inferred():
    width = 10 + 2 * 72 + 20
    words = _words(200, width)
    rom = Rom(words=words, width=width, family="xc7", storage="block", logic_bits=10)
    text = rtlil.convert(rom, platform=object())
    assert text.count("cell \\RAMB36E1 ") == 2
    assert re.search(r"rom_style \"block\"\n +memory width 20 size 200 ", text)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"width": 0}, "Width and words must be at least 1, not 0 and 2"),
        ({"words": []}, "Width and words must be at least 1, not 3 and 0"),
        ({"words": [1, 8]}, r"Words must have 3 bits, not 0x8 \(word 1\)"),
        ({"storage": "auto"}, "Storage must be logic or block, not 'auto'"),
        ({"logic_bits": 4}, r"logic_bits must be in 0\.\.3, not 4"),
        ({"family": "xc6"}, "Family must be one of generic, xc7, ecp5, ice40, not 'xc6'"),
    ],
)
def test_rom_rejects(fields, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Rom(**{"words": [1, 2], "width": 3, **fields})
