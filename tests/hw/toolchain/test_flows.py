# amaranth: UnusedElaboratable=no
"""hw.toolchain.flows and boards.xilinx: the 7-series tools, by recorded command lines."""

import json
import subprocess

import pytest

from boards.catalogue import board
from hw.toolchain import missing, read_placement, run_stage
from hw.toolchain.flows import choose_flow
from sw.errors import MissingTool

STAT = {"modules": {"\\top": {"num_cells_by_type": {"LUT6": 10, "FDRE": 4}}}}
REPORT = {
    "fmax": {"clk": {"achieved": 71.5, "constraint": 62.5}},
    "utilization": {"SLICE_LUTX": {"used": 12, "available": 106_400}},
}
FASM = "A.SLICEL_X0.ALUT.INIT[63:0] = 64'b0\nA.SLICEL_X0.BLUT.INIT[63:0] = 64'b1\nA.AFF.ZINI\n"
LOG = r"""
Info:      SLICE_LUTX:    12/106400     0%
Info: Max frequency for clock 'clk': 99.00 MHz (PASS at 62.50 MHz)
Warning: Max frequency for clock 'clk': 58.25 MHz (FAIL at 62.50 MHz)
"""


@pytest.fixture
def xilinx_tools(fake_tools, monkeypatch, tmp_path):
    """yosys and the prjxray tools, with a database."""
    yosys = fake_tools.add(
        "yosys", top__json="{}", top_stat__json=json.dumps(STAT), top__v="module top;"
    )
    monkeypatch.setenv("YOSYS", str(yosys))
    fake_tools.add("fasm2frames", top__frames="frames")
    fake_tools.add("xc7frames2bit", top__bit="bits")
    database = tmp_path / "db"
    (database / "zynq7/xc7z020clg400-1").mkdir(parents=True)
    (database / "zynq7/xc7z020clg400-1/part.yaml").write_text("")
    monkeypatch.setenv("PRJXRAY_DB_DIR", str(database))
    return fake_tools


def build(prepared, root):
    prepared.extract(root)
    for stage in ("synthesise", "place and route", "bitstream"):
        run_stage(prepared, stage, root)


def prjxray_calls(database):
    part = "xc7z020clg400-1"
    return [
        ["fasm2frames", "--part", part, "--db-root", f"{database}/zynq7", "top.fasm", "top.frames"],
        [
            *("xc7frames2bit", "--part_file", f"{database}/zynq7/{part}/part.yaml"),
            *("--part_name", part, "--frm_file", "top.frames", "--output_file", "top.bit"),
        ],
    ]


def test_himbaechel(xilinx_tools, small, tmp_path):
    xilinx_tools.add("nextpnr-himbaechel", top__fasm=FASM, top_report__json=json.dumps(REPORT))
    prepared = small("pynq")
    assert prepared.flow == "himbaechel"
    build(prepared, tmp_path / "build")
    assert (tmp_path / "build/top.bit").read_text() == "bits"
    assert xilinx_tools.calls() == [
        ["yosys", "-l", "top.rpt", "top.ys"],
        [
            *("nextpnr-himbaechel", "--device", "xc7z020clg400-1", "-o", "xdc=top.xdc"),
            *("--json", "top.json", "-o", "fasm=top.fasm", "--report", "top_report.json"),
            *("--freq", "62.5", "--timing-allow-fail", "--seed", "1"),
        ],
        *prjxray_calls(tmp_path / "db"),
    ]
    placement = read_placement(prepared, tmp_path / "build")
    assert placement.met
    assert placement.fmax_hz == 71.5e6
    assert placement.used.luts == 2  # the sites of the FASM, not the LUTs of the report


def test_himbaechel_takes_a_chip_database(xilinx_tools, small, tmp_path, monkeypatch):
    monkeypatch.setenv("HIMBAECHEL_CHIPDB", "/db/chipdb-xc7z020.bin")
    xilinx_tools.add("nextpnr-himbaechel", top__fasm=FASM, top_report__json=json.dumps(REPORT))
    build(small("pynq"), tmp_path / "build")
    assert "--chipdb=/db/chipdb-xc7z020.bin" in xilinx_tools.calls()[1]


def test_himbaechel_places_crowded_designs_with_the_static_placer(
    xilinx_tools, small, tmp_path, monkeypatch
):
    crowded = {"modules": {"\\top": {"num_cells_by_type": {"LUT6": 25_000}}}}
    xilinx_tools.add("yosys", top__json="{}", top_stat__json=json.dumps(crowded))
    xilinx_tools.add("nextpnr-himbaechel", top__fasm=FASM, top_report__json=json.dumps(REPORT))
    build(small("pynq"), tmp_path / "one")
    assert "--placer=static" in xilinx_tools.calls()[1]
    monkeypatch.setenv("PLACER", "heap")
    build(small("pynq"), tmp_path / "two")
    assert "--placer=heap" in xilinx_tools.calls()[5]


def test_openxc7(xilinx_tools, small, tmp_path, monkeypatch):
    chipdb = tmp_path / "xc7z020.bin"
    chipdb.write_text("")
    monkeypatch.setenv("CHIPDB", str(tmp_path))
    xilinx_tools.add("nextpnr-xilinx", f"print({LOG!r})", top__fasm=FASM)
    prepared = small("arty_z7")
    assert prepared.flow == "openxc7"
    build(prepared, tmp_path / "build")
    assert xilinx_tools.calls()[1:] == [
        [
            *("nextpnr-xilinx", "--chipdb", str(chipdb), "--xdc", "top.xdc"),
            *("--json", "top.json", "--fasm", "top.fasm"),
            *("--freq", "62.5", "--timing-allow-fail", "--seed", "1"),
        ],
        *prjxray_calls(tmp_path / "db"),
    ]
    # The last line of the log is the routed one; the target is missed, and said to be.
    placement = read_placement(prepared, tmp_path / "build")
    assert not placement.met
    assert placement.fmax_hz == 58.25e6
    assert placement.clocks == {"clk": (58.25, 62.5)}


def test_vivado(xilinx_tools, small, tmp_path):
    body = (
        "tcl = pathlib.Path(sys.argv[-1])\n"
        "assert tcl.exists()\n"
        "name = {'top_place.tcl': 'top.dcp', 'top_bitstream.tcl': 'top.bit'}[tcl.name]\n"
        "pathlib.Path(name).write_text('vivado')\n"
    )
    xilinx_tools.add("vivado", body, top_report__json=json.dumps(REPORT))
    prepared = small("pynq", flow="vivado")
    build(prepared, tmp_path / "build")
    assert (tmp_path / "build/top.bit").read_text() == "vivado"
    options = ["-mode", "batch", "-nojournal", "-log"]
    assert xilinx_tools.calls()[1:] == [
        ["vivado", *options, "top_vivado.log", "-source", "top_place.tcl"],
        ["vivado", *options, "top_bit.log", "-source", "top_bitstream.tcl"],
    ]
    place = prepared.files["top_place.tcl"]
    for line in (
        "read_verilog top.v",
        "read_verilog xc7_cells.v",
        "read_xdc top_clocks.xdc",
        "route_design",
    ):
        assert line in place


def test_first_flow_that_is_here_is_chosen(fake_tools):
    pynq = board("pynq")
    assert choose_flow(pynq) == "himbaechel"  # nothing is here
    fake_tools.add("vivado")
    assert choose_flow(pynq) == "vivado"
    for tool in ("nextpnr-xilinx", "fasm2frames", "xc7frames2bit"):
        fake_tools.add(tool)
    assert choose_flow(pynq) == "openxc7"
    fake_tools.add("nextpnr-himbaechel")
    assert choose_flow(pynq) == "himbaechel"
    assert choose_flow(pynq, "vivado") == "vivado"


def test_nothing_installed_is_known_beforehand(fake_tools, small):
    prepared = small("pynq")
    assert missing(prepared, "synthesise") is None
    assert "nextpnr-himbaechel not found: no place and route for pynq" in str(
        missing(prepared, "place and route")
    )
    assert "fasm2frames not found: no bitstream for pynq" in str(missing(prepared, "bitstream"))


def test_missing_chip_database_says_where_it_was_sought(xilinx_tools, small, tmp_path, monkeypatch):
    monkeypatch.setenv("CHIPDB", str(tmp_path / "none"))
    xilinx_tools.add("nextpnr-xilinx")
    error = missing(small("pynq", flow="openxc7"), "place and route")
    assert isinstance(error, MissingTool)
    assert f"chip database not found in {tmp_path / 'none'}" in str(error)
    assert "set CHIPDB" in str(error)


def test_missing_prjxray_database_says_where_it_was_sought(xilinx_tools, small, monkeypatch):
    monkeypatch.setenv("PRJXRAY_DB_DIR", "/nowhere")
    error = missing(small("pynq", flow="himbaechel"), "bitstream")
    assert "no zynq7/xc7z020clg400-1/part.yaml in /nowhere" in str(error)
    assert "set PRJXRAY_DB_DIR" in str(error)


@pytest.mark.parametrize("flow", ["himbaechel", "openxc7", "vivado"])
def test_scripts_run_the_same_commands_elsewhere(xilinx_tools, small, tmp_path, monkeypatch, flow):
    """A shell makes of the script what the runner makes of the plan."""
    monkeypatch.setenv("CHIPDB", str(tmp_path / "xc7z020.bin"))
    (tmp_path / "xc7z020.bin").write_text("")
    xilinx_tools.add("nextpnr-himbaechel", top__fasm=FASM, top_report__json=json.dumps(REPORT))
    xilinx_tools.add("nextpnr-xilinx", top__fasm=FASM)
    body = "pathlib.Path('top.dcp' if 'place' in sys.argv[-1] else 'top.bit').write_text('')"
    xilinx_tools.add("vivado", body, top_report__json=json.dumps(REPORT))
    prepared = small("pynq", flow=flow)
    build(prepared, tmp_path / "build")
    calls = xilinx_tools.calls()
    xilinx_tools.record.unlink()
    prepared.extract(tmp_path / "elsewhere")
    subprocess.run(["sh", f"build_top_{flow}.sh"], cwd=tmp_path / "elsewhere", check=True)
    assert xilinx_tools.calls() == calls
