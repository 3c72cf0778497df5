# amaranth: UnusedElaboratable=no
"""The published networks, narrow, each as one pipeline: every layer bit for bit on Verilator."""

import numpy as np
import pytest
from amaranth.back import verilog

from boards.catalogue import board
from hw import plan as plans
from hw.accelerator import Accelerator
from hw.testbench import job_for
from sim.runner import simulate
from sw.shapes import random_network

PYNQ = board("pynq")


@pytest.mark.parametrize(
    ("name", "width", "side", "cycles"),
    [
        ("cnv", 1 / 16, None, 4000),
        ("bvgg16", 1 / 32, None, 6000),
        ("xnor-alexnet", 1 / 64, 67, 40_000),
    ],
)
def test_every_layer(name, width, side, cycles, tmp_path):
    network = random_network(name, width, side=side)
    plan = plans.choose(network, PYNQ, 100_000_000, cycles)
    assert plan.cycles.per_frame <= cycles
    text = verilog.convert(
        Accelerator(network, plan.lanes, PYNQ.family),
        name="accelerator",
        emit_src=False,
        strip_internal_attrs=True,
    )
    images = np.random.default_rng(0).integers(0, 256, (2, *network.input.shape))
    job, frames, expected = job_for(plan, network, images, text, seed=1)
    tapped = {tap.name for tap in job.taps}
    assert {node.name for node in network.nodes[1:]} <= tapped
    result = simulate(job, frames, expected, tmp_path)
    assert result.cycles_per_frame == plan.cycles.per_frame
    assert result.latency_cycles == plan.cycles.latency
