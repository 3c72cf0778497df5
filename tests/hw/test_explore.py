from itertools import pairwise

import pytest

from boards.catalogue import board
from hw import explore, plan
from sw import zoo
from sw.artefact import load


def test_table_and_lanes(tmp_path, capsys):
    lanes = tmp_path / "lanes.json"
    args = ["--board", "pynq", "--model", "mnist-sfc", "--target-fps", "300000"]
    assert explore.main([*args, "--write", str(lanes)]) == 0
    out = capsys.readouterr().out
    pynq, network = board("pynq"), load(zoo.path("mnist-sfc")).network
    made = plan.from_json(lanes, network, pynq, pynq.clock_hz)
    assert made == plan.meet(network, pynq, pynq.clock_hz, 300_000)
    assert f"{made.frames_per_second:,.0f} images/s" in out
    assert f"{made.cycles.per_frame:,} cycles a frame set by {made.cycles.binding}" in out
    for stage in made.stages:
        assert f" {stage.name} " in out


@pytest.mark.parametrize("target", ["pynq", "icebreaker"])
def test_frontier_rises(target):
    part, network = board(target), load(zoo.path("digits-tiny")).network
    plans = explore.frontier(network, part, part.clock_hz, "pixels")
    assert len(plans) > 2
    for smaller, larger in pairwise(plans):
        assert larger.cycles.per_frame < smaller.cycles.per_frame
        assert max(larger.shares.values()) > max(smaller.shares.values())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--board", "pinq"], "unknown board 'pinq'"),
        (["--board", "icebreaker", "--model", "mnist-lfc"], "does not fit icebreaker"),
        (["--board", "pynq", "--clock", "99"], "cannot make 99 MHz"),
        (["--board", "pynq", "--write", "/nowhere/at/all"], "cannot write /nowhere/at/all"),
    ],
)
def test_mistakes_are_one_line(args, message, capsys):
    assert explore.main(args) == 1
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
