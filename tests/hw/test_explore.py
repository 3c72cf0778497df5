import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from boards.catalogue import board
from hw import explore, plan
from hw.engine.share import share
from hw.resources import budgets
from sw import zoo
from sw.artefact import Card, Samples, load, save
from sw.shapes import random_network


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


def test_layers_that_share(tmp_path, capsys):
    network, lanes = random_network("bvgg16", 1 / 16), tmp_path / "lanes.json"
    image = np.zeros((1, 32, 32, 3), np.uint8)
    model = tmp_path / "narrow.safetensors"
    card = Card("narrow", "none", "none", 0.0, 0.0, 1)
    save(model, network, card, Samples(image, np.zeros(1, np.uint8)))
    args = ["--board", "pynq", "--model", str(model), "--clock", "100", "--batch", "2"]
    assert explore.main([*args, "--write", str(lanes), "--efficiency", "0.5"]) == 0
    out = capsys.readouterr().out
    pynq = board("pynq")
    made = plan.from_json(lanes, network, pynq, 100_000_000)
    assert made == share(network, pynq, 100_000_000, batch=2)
    assert f"{made.cycles.per_frame:,} cycles a frame" in out and "with a word in 50%" in out
    for step in made.engine.plan.steps:
        assert f" {step.work.name} " in out
    assert explore.main([*args, "--smallest"]) == 1
    assert "--batch is for layers that share" in capsys.readouterr().err
    assert explore.main([*args, "--plot", str(tmp_path / "plot.svg")]) == 1
    assert "--plot draws" in capsys.readouterr().err
    assert explore.main([*args, "--efficiency", "0"]) == 1
    assert "--efficiency must be over 0" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["pynq", "icebreaker"])
def test_frontier_rises(target):
    part, network = board(target), load(zoo.path("digits-tiny")).network
    limit = budgets(part)
    front = explore.frontier(plan.search(network, part, part.clock_hz), limit)
    assert len(front) > 10
    assert front[-1].cycles == plan.fastest(network, part, part.clock_hz).cycles.per_frame
    for smaller, larger in pairwise(front):
        assert larger.cycles < smaller.cycles
        assert larger.resources.luts > smaller.resources.luts
    assert all(found.fits(limit) for found in front)


def test_what_binds(capsys):
    """The pace's layers, and what the next faster plan is short of, by asking for it."""
    args = ["--board", "pynq", "--model", "mnist-lfc", "--clock", "100", "--luts", "0.75"]
    assert explore.main(args) == 0
    out = capsys.readouterr().out
    pynq, network = board("pynq"), load(zoo.path("mnist-lfc")).network
    limit = replace(budgets(pynq), luts=39_900.0)
    made = plan.fastest(network, pynq, 100_000_000, limit)
    assert f"{made.cycles.per_frame:,} cycles" in out
    assert f"{made.cycles.binding}" in out.split("what binds:")[1]
    said = re.search(r"([\d,]+) cycles would take ([\d,]+) of 53,200 LUTs \(limit 39,900\)", out)
    faster, needed = (int(number.replace(",", "")) for number in said.groups())
    paces = plan.search(network, pynq, 100_000_000).paces
    assert faster == max(pace for pace in paces if pace < made.cycles.per_frame)
    assert needed > 39_900
    assert "with 140 block RAMs of 140" in out
    assert "the memory port's 64 bits a cycle carry 1,020,408 images/s of 784 bytes" in out
    # 2,910,208 bits over 140 block RAMs of 72 bits a cycle.
    assert re.search(r"weights in block RAM +289 +346,021", out)


def test_a_clock_that_the_board_cannot_make(capsys):
    assert explore.main(["--board", "pynq", "--clock", "101"]) == 0
    assert "pynq cannot make 101 MHz: hw.build will refuse" in capsys.readouterr().out
    args = ["--board", "pynq", "--shell", "serial", "--input", "bits"]
    assert explore.main([*args, "--clock", "100"]) == 0
    out = capsys.readouterr().out
    assert "pynq cannot make 100 MHz: hw.build will refuse" in out
    assert "the serial line's 1,000,000 baud carry 5,882 images/s of 8 bytes" in out


def test_a_missed_target_gets_the_nearest_plan(tmp_path, capsys):
    lanes = tmp_path / "lanes.json"
    args = ["--board", "pynq", "--model", "mnist-sfc", "--target-fps", "50e6"]
    assert explore.main([*args, "--write", str(lanes)]) == 1
    out, err = capsys.readouterr()
    pynq, network = board("pynq"), load(zoo.path("mnist-sfc")).network
    made = plan.from_json(lanes, network, pynq, pynq.clock_hz)
    assert made == plan.fastest(network, pynq, pynq.clock_hz)
    assert f"{made.frames_per_second:,.0f} images/s" in out
    assert "50,000,000 frames a second" in err and len(err.splitlines()) == 1
    assert err.rstrip().endswith(f"the fastest that fits does {made.frames_per_second:,.0f}")


def test_smallest(capsys):
    assert explore.main(["--board", "icebreaker", "--smallest"]) == 0
    smallest = _luts(capsys.readouterr().out)
    assert explore.main(["--board", "icebreaker", "--target-fps", "100000"]) == 0
    assert smallest < _luts(capsys.readouterr().out)


def _luts(out):
    return int(re.search(r"^ all .*?([\d,]+) +[\d,]+ +[\d.]+ *$", out, re.M)[1].replace(",", ""))


def test_shares_limit_what_is_taken(tmp_path, capsys):
    lanes = tmp_path / "lanes.json"
    args = ["--board", "pynq", "--model", "mnist-sfc", "--fill", "0.5", "--brams", "0.1"]
    assert explore.main([*args, "--write", str(lanes)]) == 0
    pynq, network = board("pynq"), load(zoo.path("mnist-sfc")).network
    shares = plan.from_json(lanes, network, pynq, pynq.clock_hz).shares
    assert shares["block RAM"] <= 0.1 and 0.4 < shares["LUT"] <= 0.5


def test_plot_is_written(tmp_path, capsys):
    picture = tmp_path / "front.svg"
    assert explore.main(["--board", "icebreaker", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert f"plot written to {picture}" in out
    circles = ElementTree.parse(picture).getroot().findall("{*}circle")
    assert len(circles) > 10


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--board", "pinq"], "unknown board 'pinq'"),
        (["--board", "icebreaker", "--model", "mnist-lfc"], "does not fit icebreaker"),
        (["--board", "pynq", "--fill", "1.5"], "--fill must be over 0 and at most 1, not 1.5"),
        (["--board", "pynq", "--clock", "0"], "--clock must be over 0 MHz, not 0"),
        (["--board", "pynq", "--write", "/nowhere/at/all"], "cannot write /nowhere/at/all"),
    ],
)
def test_mistakes_are_one_line(args, message, capsys):
    assert explore.main(args) == 1
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1
