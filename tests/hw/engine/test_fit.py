from dataclasses import replace

import pytest

from boards.catalogue import BOARDS
from hw.engine.fit import fit, rough_cycles
from hw.engine.passes import tail
from hw.engine.plan import plan_engine
from hw.engine.resources import engine_resources
from hw.resources import Resources
from sw.errors import PopstreamError
from sw.shapes import random_network

PYNQ = BOARDS["pynq"]
BVGG16 = tail(random_network("bvgg16"), "conv0")
HEAD = Resources(luts=5000, ffs=6000, brams=10)  # the shell, and what comes before the engine


@pytest.mark.parametrize(("simd", "pe", "batch"), [(64, 128, 8), (16, 64, 1), (128, 128, 12)])
def test_rough_cycles_are_near_the_exact_ones(simd, pe, batch):
    plan = plan_engine(BVGG16, simd=simd, pe=pe, batch=batch, resident=["conv1", "hidden0"])
    assert rough_cycles(plan) == pytest.approx(plan.timing.per_batch, rel=0.01)


def test_bvgg16_on_a_zynq():
    """15 Mbit of weights where 5 fit: twice the lanes and the batch that such a chip has room for.

    `doc/performance.md` has the numbers.
    """
    plan = fit(BVGG16, PYNQ, reserved=HEAD)
    cost = engine_resources(plan, PYNQ) + HEAD
    assert cost.luts <= 0.75 * PYNQ.luts and cost.brams <= PYNQ.brams
    rate = PYNQ.clock_hz * plan.batch / plan.timing.per_batch
    assert PYNQ.clock_hz == 100_000_000 and rate > 2500
    assert plan.timing.port_bound < 0.05

    # A frame at a time the port binds; what fits on the chip is there.
    one = fit(BVGG16, PYNQ, reserved=HEAD, batch=1)
    assert one.batch == 1 and one.timing.port_bound > 0.7
    assert any(step.resident for step in one.products)
    assert engine_resources(one, PYNQ).brams + HEAD.brams <= PYNQ.brams
    nothing = plan_engine(BVGG16, simd=one.simd, pe=one.pe, batch=1)
    assert one.timing.per_batch < 0.9 * nothing.timing.per_batch


def test_alexnet_on_a_zynq():
    plan = fit(tail(random_network("xnor-alexnet"), "pool0"), PYNQ, reserved=HEAD)
    assert plan.stream_words * 64 > 60e6
    assert engine_resources(plan, PYNQ).brams + HEAD.brams <= PYNQ.brams
    assert PYNQ.clock_hz * plan.batch / plan.timing.per_batch > 450


def test_a_slow_port_wants_larger_batches():
    ideal, slow = (fit(BVGG16, PYNQ, reserved=HEAD, efficiency=each) for each in (1, 0.25))
    assert slow.batch > ideal.batch and slow.simd * slow.pe < ideal.simd * ideal.pe
    rates = [plan.batch / plan.timing_at(0.25).per_batch for plan in (ideal, slow)]
    assert rates[0] < rates[1]


def test_what_fits_is_not_streamed():
    plan = fit(tail(random_network("bvgg16", 1 / 4), "conv0"), PYNQ, reserved=HEAD, batch=1)
    assert plan.stream_words == 0
    assert engine_resources(plan, PYNQ).brams + HEAD.brams <= PYNQ.brams


def test_no_room_for_the_images():
    board = replace(PYNQ, brams=20)
    message = (
        r"conv1: a batch of 3 images of 27x27x96, and of the 27x27x256 made of them, takes "
        r"752 Kbit; with that the smallest engine takes \d+ block RAMs of pynq's 20"
    )
    with pytest.raises(PopstreamError, match=message):
        fit(tail(random_network("xnor-alexnet"), "pool0"), board, batch=3)


def test_no_room_for_the_lanes():
    with pytest.raises(PopstreamError, match=r"takes \d+ LUTs with all .* 75% of pynq's 53200"):
        fit(BVGG16, PYNQ, reserved=Resources(luts=39_000))
