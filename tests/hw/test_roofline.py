"""Roofs, against figures worked out by hand, and plans below them."""

from dataclasses import replace

import pytest

from boards.catalogue import board
from hw import plan
from hw.resources import budgets
from hw.roofline import roofline, weight_bits
from sw import zoo
from sw.artefact import load

PYNQ, ICEBREAKER = board("pynq"), board("icebreaker")


@pytest.fixture(scope="module")
def lfc():
    return load(zoo.path("mnist-lfc")).network


def test_figures(lfc):
    assert weight_bits(lfc) == (784 + 1024 + 1024 + 10) * 1024
    block, lanes, both, stream = roofline(lfc, PYNQ, 7)
    assert block.cycles == 289  # 2,910,208 bits, 140 x 72 a cycle
    assert "140 block RAMs of 72 bits" in block.why
    assert stream.cycles == 112  # 784 pixels, 7 a cycle
    assert lanes.cycles < both.cycles < block.cycles
    # 100 x 72 a cycle.
    assert roofline(lfc, PYNQ, 7, replace(budgets(PYNQ), brams=100))[0].cycles == 405


def test_weights_that_no_block_ram_holds(lfc):
    block, _, both, _ = roofline(lfc, ICEBREAKER, 1)
    assert block.cycles is None and "hold 122,880 of 2,910,208 bits" in block.why
    assert both.cycles is None or both.cycles > 1000


@pytest.mark.parametrize("model", ["mnist-lfc", "mnist-sfc", "digits-tiny"])
@pytest.mark.parametrize("target", [PYNQ, board("ulx3s")], ids=lambda part: part.name)
def test_no_plan_is_above(model, target):
    network = load(zoo.path(model)).network
    made = plan.fastest(network, target, target.clock_hz)
    _, lanes, both, stream = roofline(network, target, made.lanes.input_lanes)
    assert made.cycles.per_frame >= max(lanes.cycles, both.cycles, stream.cycles)
