# amaranth: UnusedElaboratable=no
"""Synthesised units beside the planner's estimate."""

import numpy as np
import pytest

from hw.calibrate import main
from hw.cores.matrix_unit import MatrixUnit
from hw.cores.quantiser import Quantiser
from hw.measure import FAMILIES, measure
from hw.pipeline import LayerLanes, Matrix, Quantisation
from hw.resources import stage_resources

SIMD, PE = 64, 8


@pytest.fixture(scope="module")
def counts():
    """Of 512 lanes at a depth of 8, for each family."""
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 2, (64, 64))
    thresholds = 32 + rng.integers(-7, 7, 64)

    def unit(family):
        return MatrixUnit(
            weights=weights,
            thresholds=thresholds,
            inputs_per_beat=SIMD,
            neurons_per_beat=PE,
            stages=1,
            storage="logic",
            family=family,
        )

    return {family: measure(unit(family), family) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_estimate_is_near_and_on_the_safe_side(counts, family):
    folding = LayerLanes(SIMD, PE, 1, "logic")
    stage = Matrix("", "", 64, PE, 1, synapses=64, folding=folding)
    estimate = stage_resources(stage, FAMILIES[family][0])
    assert 0.95 * counts[family].luts <= estimate.luts <= 1.5 * counts[family].luts
    assert counts[family].brams == estimate.brams == 0


@pytest.mark.parametrize("simd, pe, bits, planes", [(16, 4, 2, 1), (16, 2, 3, 3)])
def test_planes_are_estimated(simd, pe, bits, planes):
    rng = np.random.default_rng(0)
    unit = MatrixUnit(
        weights=rng.integers(0, 2, (16, 64)),
        thresholds=32 * ((1 << bits) - 1) + rng.integers(-7, 7, 16),
        inputs_per_beat=simd,
        neurons_per_beat=pe,
        bits=bits,
        planes=planes,
        stages=3,
        family="xc7",
    )
    folding = LayerLanes(simd, pe, 3, "logic", planes=planes)
    stage = Matrix("", "", 16, pe, 1, synapses=64, bits=bits, folding=folding)
    estimate, count = stage_resources(stage, FAMILIES["xc7"][0]), measure(unit, "xc7")
    assert estimate.luts == pytest.approx(count.luts, rel=0.15)
    assert estimate.ffs == pytest.approx(count.ffs, rel=0.15)


def test_quantisers_are_estimated():
    rng = np.random.default_rng(0)
    thresholds, places = np.sort(rng.integers(100, 400, (3, 1, 16, 3))), (0, 1, 2)
    quantiser = Quantiser(thresholds=thresholds, top=576, lanes=8, row_classes=places, family="xc7")
    stage = Quantisation("", "", 16, 8, 2, top=576, thresholds=thresholds, row_classes=places)
    estimate, count = stage_resources(stage, FAMILIES["xc7"][0]), measure(quantiser, "xc7")
    assert estimate.luts == pytest.approx(count.luts, rel=0.15)
    assert estimate.ffs == pytest.approx(count.ffs, rel=0.15)


def test_unknown_family(capsys):
    assert main(["xc8"]) == 1
    assert "unknown family 'xc8'; known: ecp5, ice40, xc7" in capsys.readouterr().err
