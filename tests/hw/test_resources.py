# amaranth: UnusedElaboratable=no
"""The resource model against what it stands for: trees, memories, synthesised units."""

from dataclasses import astuple

import numpy as np
import pytest

from boards.catalogue import board
from hw.cores.matrix_unit import MatrixUnit
from hw.cores.rom import rom_luts
from hw.cores.tree import tree
from hw.measure import measure
from hw.pipeline import LayerLanes, Matrix
from hw.resources import (
    FAMILIES,
    Resources,
    bram_width,
    brams,
    budgets,
    lane_luts,
    levels_near,
    rom,
    stage_resources,
    unit_cost,
)

PYNQ, ULX3S, ICEBREAKER = board("pynq"), board("ulx3s"), board("icebreaker")


@pytest.mark.parametrize(
    ("kind", "depth"), [(0, 0), (8, 2), (8, 8), (16, 9), (16, 16)], ids=lambda value: str(value)
)
def test_popcounts_are_the_real_trees(kind, depth):
    for width in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64):
        real = tree(width, "xc7", depth)
        luts, _ = FAMILIES["xc7"].trees[kind].cost(width, 0)
        assert luts == real.luts
        assert levels_near(width, "xc7", depth) == len(real.levels)


@pytest.mark.parametrize("width", [28, 41, 57, 98])
@pytest.mark.parametrize("depth", [0, 7, 13])
def test_popcounts_between(width, depth):
    real = tree(width, "xc7", depth)
    kind = min(limit for limit in (0, 8, 16) if limit >= depth and (limit or not depth))
    luts, _ = FAMILIES["xc7"].trees[kind].cost(width, 0)
    assert luts == pytest.approx(real.luts, rel=0.06, abs=1.5)
    assert abs(levels_near(width, "xc7", depth) - len(real.levels)) <= 1


def test_a_lane():
    assert 0.9 < lane_luts("xc7") < 1.0
    assert lane_luts("xc7", 1) == lane_luts("xc7", 8) < lane_luts("xc7") < lane_luts("xc7", 9)
    assert lane_luts("xc7", 17) == np.inf


@pytest.mark.parametrize("target", [PYNQ, ULX3S, ICEBREAKER], ids=lambda part: part.name)
@pytest.mark.parametrize("depth", [1, 32, 512, 513, 1024, 5000, 40000])
def test_widest_word(target, depth):
    for count in (1, 2, 7, 70):
        width = int(bram_width(target, count, depth))
        assert not width or brams(target, width, depth) <= count
        assert brams(target, width + 1, depth) > count


@pytest.mark.parametrize("family", FAMILIES)
def test_deep_roms_are_the_real_ones(family):
    for depth in (16, 17, 64, 65, 128, 200, 256, 300, 1000):
        assert rom(depth, 96, family) == pytest.approx(rom_luts(depth, 96, family), rel=0.01)
    assert rom(1, 96, family) == 0
    assert rom(3, 96, family) < 16  # few words, few columns


def test_arrays_cost_what_each_costs():
    simd, pe = np.array([[1], [8], [49], [784]]), np.array([[1, 3, 64, 100]])
    for storage, logic_bits in (("table", 0), ("logic", 0), ("block", 0), ("block", 30)):
        shape = {"synapses": 784, "neurons": 100, "scores": False, "storage": storage}
        every = unit_cost(PYNQ, **shape, simd=simd, pe=pe, stages=2, logic_bits=logic_bits)
        for (row, column), luts in np.ndenumerate(every.luts):
            lanes = {"simd": int(simd[row, 0]), "pe": int(pe[0, column])}
            one = unit_cost(PYNQ, **shape, **lanes, stages=2, logic_bits=logic_bits)
            assert float(one.luts) == luts
            fold = -(-784 // lanes["simd"]) * -(-100 // lanes["pe"])
            assert np.isinf(luts) == (storage == "table" and fold > 16)


def test_sums_and_shares():
    total = Resources(1, 2, 3, 4, 5) + Resources(10, 20, 30, 40, 50)
    assert astuple(total) == (11, 22, 33, 44, 55)
    assert astuple(total * 2) == (22, 44, 66, 88, 110)
    assert astuple(budgets(PYNQ)) == (53_200, 106_400, 140, 17_400, 220)


@pytest.mark.parametrize(
    ("family", "simd", "pe", "storage", "logic_bits"),
    [
        ("xc7", 32, 8, "block", 40),
        ("ecp5", 32, 8, "logic", 0),
        ("xc7", 16, 16, "table", 0),
        ("xc7", 64, 32, "logic", 0),
    ],
)
def test_a_unit_takes_what_is_estimated(family, simd, pe, storage, logic_bits):
    """A layer of 64 to 32, by yosys; the larger a unit the nearer."""
    rng, target = np.random.default_rng(1), {"xc7": PYNQ, "ecp5": ULX3S}[family]
    unit = MatrixUnit(
        weights=rng.integers(0, 2, (32, 64)),
        thresholds=32 + rng.integers(-7, 7, 32),
        inputs_per_beat=simd,
        neurons_per_beat=pe,
        stages=2,
        storage=storage,
        logic_bits=logic_bits,
        family=family,
    )
    folding = LayerLanes(simd, pe, 2, storage, logic_bits)
    stage = Matrix("", "", 32, pe, 1, synapses=64, folding=folding)
    real, made = measure(unit, family), stage_resources(stage, target)
    assert made.luts == pytest.approx(real.luts, rel=0.1)
    assert made.ffs == pytest.approx(real.ffs, rel=0.2)
    assert made.brams == real.brams
    assert made.lut_rams == pytest.approx(real.lutram, rel=0.25)
