# amaranth: UnusedElaboratable=no
"""hw.toolchain.reports: sizes and speeds from what tools leave behind."""

import json

import pytest

from hw.toolchain import Utilisation, read_placement, read_synthesis
from hw.toolchain.reports import count_cells
from sw.errors import PopstreamError


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"LUT1": 1, "LUT6": 2, "INV": 1, "MUXF7": 9}, {"luts": 4}),
        ({"RAM32M": 2, "RAM64X1D": 1, "SRL16E": 3}, {"luts": 13}),
        ({"FDRE": 1, "FDSE_1": 1, "FDCE": 1, "FDPE": 1}, {"ffs": 4}),
        ({"RAMB36E1": 2, "RAMB18E1": 3}, {"brams": 3.5}),
        ({"DSP48E1": 2, "CARRY4": 5}, {"dsps": 2, "carries": 5}),
        ({"LUT4": 3, "CCU2C": 2, "PFUMX": 4, "TRELLIS_DPR16X4": 1}, {"luts": 13, "carries": 2}),
        ({"TRELLIS_FF": 7, "DP16KD": 2, "PDPW16KD": 1}, {"ffs": 7, "brams": 3}),
        ({"MULT18X18D": 1}, {"dsps": 1}),
        ({"SB_LUT4": 2, "SB_DFFESR": 3, "SB_RAM40_4KNR": 2}, {"luts": 2, "ffs": 3, "brams": 2}),
        ({"SB_CARRY": 4, "SB_MAC16": 1, "SB_IO": 5}, {"carries": 4, "dsps": 1}),
        ({}, {}),
    ],
)
def test_cells_are_counted_in_the_boards_units(cells, expected):
    assert count_cells(cells) == Utilisation(**expected, cells=cells)


def test_parts_and_rest_make_the_total(small, tmp_path):
    prepared = small("pynq")
    modules = {
        "\\top": {"num_cells_by_type": {"LUT2": 5, "FDRE": 3, "top.counter": 1, "$scopeinfo": 2}},
        "\\top.counter": {"num_cells_by_type": {"LUT2": 1, "RAMB18E1": 1}},
    }
    (tmp_path / "top_stat.json").write_text(json.dumps({"modules": modules}))
    synthesis = read_synthesis(prepared, tmp_path)
    assert synthesis.total.cells == {"LUT2": 6, "FDRE": 3, "RAMB18E1": 1}
    assert (synthesis.parts["counter"].luts, synthesis.parts["counter"].brams) == (1, 0.5)
    assert (synthesis.parts["rest"].luts, synthesis.parts["rest"].ffs) == (5, 3)


def report(folder, fmax, utilization=None):
    folder.mkdir(exist_ok=True)
    content = {"fmax": fmax, "utilization": utilization or {}}
    (folder / "top_report.json").write_text(json.dumps(content))
    return folder


def test_placement_takes_the_slowest_clock(small, tmp_path):
    fmax = {
        "pipeline": {"achieved": 50.4, "constraint": 50},
        "oscillator": {"achieved": 300.0, "constraint": 25},
    }
    used = {"TRELLIS_COMB": {"used": 10, "available": 83640}, "DP16KD": {"used": 2, "available": 9}}
    placement = read_placement(small("ulx3s", clock_hz=50_000_000), report(tmp_path, fmax, used))
    assert placement.met
    assert placement.fmax_hz == 50.4e6
    assert placement.target_hz == 50_000_000
    assert (placement.used.luts, placement.used.brams) == (10, 2)


@pytest.mark.parametrize(("achieved", "met"), [(49.9, False), (49.999, True), (50.0, True)])
def test_missed_target_is_said(small, tmp_path, achieved, met):
    fmax = {"pipeline": {"achieved": achieved, "constraint": 50.0}}
    assert read_placement(small("ulx3s"), report(tmp_path, fmax)).met is met


def test_placement_without_utilisation_says_nothing_of_it(small, tmp_path):
    fmax = {"pipeline": {"achieved": 80.0, "constraint": 62.5}}
    assert read_placement(small("pynq"), report(tmp_path, fmax)).used is None


def test_report_without_a_clock_is_an_error(small, tmp_path):
    with pytest.raises(PopstreamError, match=r"reported no clock; see .*top_report\.json"):
        read_placement(small("ulx3s"), report(tmp_path, {}))


def test_report_that_is_no_json_is_one_line(small, tmp_path):
    (tmp_path / "top_stat.json").write_text("{")
    with pytest.raises(PopstreamError, match=r"cannot read .*top_stat\.json: "):
        read_synthesis(small("ulx3s"), tmp_path)
