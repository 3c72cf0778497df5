# amaranth: UnusedElaboratable=no
"""The real tools on a small design, for each family."""

import pytest

from hw.toolchain import STAGES, read_placement, read_synthesis, run_stage


def build(prepared, root, *, until="bitstream"):
    prepared.extract(root)
    results = {}
    for stage in STAGES[: STAGES.index(until) + 1]:
        results[stage] = run_stage(prepared, stage, root)
    return results


@pytest.mark.parametrize(
    ("name", "clock_hz", "brams"), [("ulx3s", 80_000_000, 1), ("icebreaker", 24_000_000, 4)]
)
def test_bitstream_from_pip_alone(small, tmp_path, name, clock_hz, brams):
    """The PLL's frequency is the one that is checked, and it is met."""
    prepared = small(name, clock_hz=clock_hz)
    build(prepared, tmp_path)
    assert (tmp_path / prepared.bitstream).stat().st_size > 50_000
    synthesis = read_synthesis(prepared, tmp_path)
    assert synthesis.parts["counter"].brams == brams
    assert synthesis.parts["rest"].brams == 0
    assert synthesis.total.ffs >= 32
    placement = read_placement(prepared, tmp_path)
    assert placement.met
    assert placement.fmax_hz > clock_hz
    (clock,) = placement.clocks.values()
    assert clock[1] == pytest.approx(clock_hz / 1e6, rel=1e-4)
    assert placement.used.brams == brams
    assert placement.used.ffs == synthesis.total.ffs
    assert placement.used.luts >= synthesis.total.luts / 2


def test_missed_target_still_makes_a_bitstream_and_equal_builds_equal_bytes(small, tmp_path):
    bitstreams = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        prepared = small("icebreaker", clock_hz=270_000_000)
        build(prepared, folder)
        bitstreams.append((folder / prepared.bitstream).read_bytes())
        assert not read_placement(prepared, folder).met
    assert bitstreams[0] == bitstreams[1]


def test_7_series_synthesis_uses_block_ram_and_writes_verilog(small, tmp_path):
    prepared = small("pynq")
    build(prepared, tmp_path, until="synthesise")
    synthesis = read_synthesis(prepared, tmp_path)
    assert synthesis.parts["counter"].brams == 0.5
    assert synthesis.total.cells["BUFG"] == 2  # of the oscillator and of what it is divided to
    assert "module top(" in (tmp_path / "top.v").read_text()
    netlist = (tmp_path / "top.json").read_text()
    assert "$scopeinfo" not in netlist
    assert '"top.counter"' not in netlist  # flat for place and route
