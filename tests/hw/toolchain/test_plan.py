# amaranth: UnusedElaboratable=no
"""hw.toolchain.plan: the same design gives the same plan, and the plan says what the tools need."""

import re

import pytest

from boards.catalogue import BOARDS, board
from hw.toolchain import STAGES, prepare
from hw.toolchain.plan import plain_names
from sw.errors import PopstreamError


@pytest.mark.parametrize("name", BOARDS)
def test_stages_and_bitstream(small, name):
    prepared = small(name)
    assert tuple(stage.name for stage in prepared.stages) == STAGES
    assert prepared.bitstream in prepared.stage("bitstream").outputs
    assert prepared.stage("synthesise").tools == ("yosys",)
    assert prepared.stage("place and route").log == "place_and_route.log"


@pytest.mark.parametrize("name", ["pynq", "ulx3s", "icebreaker"])
def test_equal_designs_give_equal_plans(small, name):
    one, two = small(name), small(name)
    assert one.files == two.files
    assert one.digest() == two.digest()
    assert "attribute \\src" not in one.files["top.il"]  # nor do they depend on where they are


def test_digest_covers_clock_and_content(small):
    digests = {
        small("ulx3s").digest(),
        small("ulx3s", clock_hz=80_000_000).digest(),
        small("ulx3s", parts=()).digest(),
        small("icebreaker").digest(),
    }
    assert len(digests) == 4


def test_building_needs_no_programmer(small):
    assert small("ulx3s").tools == ("yosys", "nextpnr-ecp5", "ecppack")
    assert small("icebreaker").tools == ("yosys", "nextpnr-ice40", "icepack")


@pytest.mark.parametrize("name", ["ulx3s", "icebreaker"])
def test_place_and_route_is_seeded_and_may_miss_its_target(small, name):
    (command,) = small(name).stage("place and route").commands
    text = " ".join(command)
    assert "--seed 1" in text
    assert "--timing-allow-fail" in text
    assert "--report top_report.json" in text
    assert f"--freq {board(name).clock_hz / 1e6}" in text


def test_block_ram_is_allowed_and_parts_are_kept(small):
    script = small("pynq").files["top.ys"]
    assert "-nobram" not in script
    assert "setattr -mod -set keep_hierarchy 1 top.counter" in script
    assert script.index("synth_xilinx") < script.index("stat -json") < script.index("write_json")


def test_names_do_not_look_like_bits(small):
    """yosys mistakes an element `x[0]` for bit 0 of `x`."""
    assert plain_names(
        "wire \\x[0]\nwire \\y[1][2].z[3]\nconnect \\x [0] \\y[1][2].z[3] [7:0]"
    ) == ("wire \\x.0\nwire \\y.1.2.z.3\nconnect \\x [0] \\y.1.2.z.3 [7:0]")
    rtlil = small("ulx3s").files["top.il"]
    assert "\\words.0" in rtlil
    assert not re.search(r"\\\S+\[", rtlil)


def test_unknown_part_is_refused(small):
    with pytest.raises(ValueError, match=r"No module 'counter.nothing' below 'top'"):
        small("ulx3s", parts=("counter", "counter.nothing"))


def test_unknown_flow_lists_those_of_the_board(small):
    message = r"unknown flow for pynq 'vivaldi'; known: .*vivado; did you mean 'vivado'\?"
    with pytest.raises(PopstreamError, match=message):
        small("pynq", flow="vivaldi")
    with pytest.raises(PopstreamError, match="unknown flow for ulx3s 'vivado'; known: nextpnr"):
        small("ulx3s", flow="vivado")


@pytest.mark.parametrize("name", ["", "1st", "to-p", "töp"])
def test_design_name_is_checked(name):
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        prepare(board("ulx3s"), None, clock_hz=1, name=name)


def test_constraints_are_what_both_dialects_read(small):
    prepared = small("pynq")
    lines = prepared.files["top.xdc"].splitlines()[1:]
    assert "set_property LOC H16 [get_ports {clk125_0__io}]" in lines
    assert "set_property IOSTANDARD LVCMOS33 [get_ports {led_0__io}]" in lines
    assert all(line.startswith("set_property ") for line in lines)
    # nextpnr-himbaechel refuses a property that is set twice.
    assert len(lines) == len({(line.split()[1], line.split()[-1]) for line in lines})


def test_vivado_is_told_both_clocks(small):
    lines = small("pynq").files["top_clocks.xdc"].splitlines()
    assert "create_clock -name clk125_0__io -period 8.0 [get_ports {clk125_0__io}]" in lines
    assert "create_clock -name pipeline_clk -period 16.0 [get_nets {clock/pipeline_clk}]" in lines


def test_extract_names_the_folder_it_cannot_write(small, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(PopstreamError, match=f"cannot write in {blocked / 'build'}: "):
        small("icebreaker").extract(blocked / "build")
