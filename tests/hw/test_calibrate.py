# amaranth: UnusedElaboratable=no
"""Synthesised units beside the planner's estimate."""

import numpy as np
import pytest

from hw.calibrate import main
from hw.cores.matrix_unit import MatrixUnit
from hw.measure import FAMILIES, measure
from hw.pipeline import LayerLanes, Matrix
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


def test_unknown_family(capsys):
    assert main(["xc8"]) == 1
    assert "unknown family 'xc8'; known: ecp5, ice40, xc7" in capsys.readouterr().err
