import pytest

from boards.catalogue import BOARDS
from hw.engine.engine import Engine
from hw.engine.passes import tail
from hw.engine.plan import plan_engine
from hw.engine.resources import engine_resources
from hw.measure import measure
from sw.shapes import random_network


def test_the_estimate_is_near_the_netlist():
    """`doc/performance.md` has the counts of larger ones."""
    network = tail(random_network("bvgg16", 1 / 4), "conv0")
    plan = plan_engine(network, simd=16, pe=32, batch=2)
    real = measure(Engine(network=network, plan=plan, family="xc7"), "xc7")
    cost = engine_resources(plan, BOARDS["pynq"])
    assert cost.luts == pytest.approx(real.luts, rel=0.15)
    assert cost.ffs == pytest.approx(real.ffs, rel=0.15)
    assert cost.brams == pytest.approx(real.brams, rel=0.15)
    assert cost.lut_rams == pytest.approx(real.lutram, rel=0.15)
    # What 100 MHz leaves room for.
    assert real.between_registers.levels <= 6
    assert real.between_registers.carry_chains <= 2
