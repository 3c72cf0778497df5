import json
from dataclasses import fields

from hw import bench
from hw.bench import ROWS, Row, main

FIELDS = (
    "name family lanes lut ff bram36 lut_per_lane cycles images_per_second fmax_mhz levels "
    "target met"
)


def test_fields():
    assert [field.name for field in fields(Row)] == FIELDS.split()


def test_one_row_for_real(capsys, tmp_path):
    """64 lanes as instantiated: what the schedule says, in two LUTs and a chain."""
    path = tmp_path / "rows.json"
    assert main(["xnor_popcount_64", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())
    assert (row["lanes"], row["lut"], row["levels"], row["met"]) == (64, 63, 2, True)
    assert row["fmax_mhz"] is None and "no Fmax" in capsys.readouterr().out


def fake(**found):
    return 1, lambda name: Row(name=name, family="ecp5", **found)


def test_rows_are_kept_one_by_one(monkeypatch, capsys, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"name": "a", "lut": 1}, {"name": "gone", "lut": 2}]))

    def interrupted(name):
        assert [row["name"] for row in json.loads(path.read_text())] == ["a", "b"]
        raise KeyboardInterrupt

    rows = {"a": fake(lut=3), "b": fake(lut=4, met=True), "c": (1, interrupted)}
    monkeypatch.setattr(bench, "ROWS", rows)
    assert main(["b", "c", "--json", str(path)]) == 130
    assert f"what was measured is in {path}" in capsys.readouterr().err
    assert [row["lut"] for row in json.loads(path.read_text())] == [1, 4]


def test_a_missed_target_is_the_exit_status(monkeypatch, capsys):
    monkeypatch.setattr(bench, "ROWS", {"a": fake(met=False, target="more"), "b": fake(met=None)})
    assert main([]) == 1
    assert "NO" in capsys.readouterr().out
    assert main(["b"]) == 0


def test_errors(capsys, tmp_path):
    assert main(["unit_64x61"]) == 1
    assert "unit_64x16" in capsys.readouterr().err
    path = tmp_path / "rows.json"
    path.write_text("[1]")
    assert main(["unit_256", "--json", str(path)]) == 1
    assert "move it away" in capsys.readouterr().err


def test_routed_rows_read_the_build_report():
    report = {
        "placement": {"used": {"luts": 10, "ffs": 5, "brams": 2}, "fmax_mhz": 99.96},
        "cycles_per_frame": 192,
        "images_per_second": 520833.3,
    }
    row = bench._read("ulx3s_sfc", "ulx3s", report, 100)
    assert (row.fmax_mhz, row.met, row.bram36, row.cycles) == (100.0, False, 2, 192)


def test_names():
    wanted = (
        "xnor_popcount_128 unit_64x16 unit_128x8 unit_4096 table_depth8 table_depth16 "
        "sfc_32_cycles sfc_16_cycles lfc_fastest ulx3s_sfc icebreaker_digits"
    )
    assert set(wanted.split()) <= set(ROWS)
