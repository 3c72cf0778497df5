# amaranth: UnusedElaboratable=no
"""A head and an engine as one accelerator: bits as the golden model has them, cycles as planned."""

import json

import numpy as np
import pytest
from amaranth.back import verilog

from boards.catalogue import board
from hw import plan as plans
from hw.accelerator import Accelerator
from hw.engine.share import share
from hw.pipeline import PlanError
from hw.testbench import job_for
from sim.runner import simulate
from sw.shapes import random_network

PYNQ = board("pynq")


@pytest.mark.parametrize(
    ("name", "width", "side", "batch"),
    [("bvgg16", 1 / 16, None, 3), ("xnor-alexnet", 1 / 64, 67, 1)],
)
def test_published_networks_narrow(name, width, side, batch, tmp_path):
    network = random_network(name, width, side=side)
    plan = share(network, PYNQ, 100_000_000, batch=batch)
    assert plan.cycles.batch == batch
    accelerator = Accelerator(network, plan.lanes, PYNQ.family)
    text = verilog.convert(
        accelerator, name="accelerator", emit_src=False, strip_internal_attrs=True
    )
    images = np.random.default_rng(0).integers(0, 256, (batch + 1, *network.input.shape))
    job, frames, expected = job_for(plan, network, images, text, seed=1)
    result = simulate(job, frames, expected, tmp_path)
    assert result.cycles_per_frame == plan.cycles.per_batch


def test_a_plan_goes_to_a_file_and_back(tmp_path):
    network = random_network("bvgg16", 1 / 16)
    plan = share(network, PYNQ, 100_000_000, batch=2)
    path = tmp_path / "plan.json"
    path.write_text(plan.to_json())
    assert plans.from_json(path, network, PYNQ, 100_000_000) == plan

    given = json.loads(plan.to_json())
    for change, message in (
        ({"after": "nothing"}, "no node 'nothing'"),
        ({"pe": 7}, "pe must be simd"),
        ({"batch": "2"}, "whole numbers"),
    ):
        path.write_text(json.dumps(given | {"engine": given["engine"] | change}))
        with pytest.raises(PlanError, match=message):
            plans.from_json(path, network, PYNQ, 100_000_000)


@pytest.mark.parametrize("batch", [0, -1, 257])
def test_batches_that_cannot_be(batch):
    with pytest.raises(PlanError, match=f"1..256 frames, not {batch}"):
        share(random_network("bvgg16", 1 / 16), PYNQ, 100_000_000, batch=batch)


def test_few_images_fill_a_batch():
    network = random_network("bvgg16", 1 / 32)
    plan = share(network, PYNQ, 100_000_000, batch=5)
    images = np.random.default_rng(0).integers(0, 256, (2, *network.input.shape))
    job, frames, expected = job_for(plan, network, images, "", seed=1)
    assert frames.tolist() == images[[0, 1, 0, 1, 0]].reshape(1, -1).tolist()
    assert expected["output"].shape == (1, job.output.elements) == (1, 5)


def test_only_where_weights_can_come_from():
    network = random_network("bvgg16", 1 / 16)
    with pytest.raises(PlanError, match="only the zynq shell"):
        share(network, board("ulx3s"), 50_000_000)


def test_images_that_no_chip_holds():
    with pytest.raises(PlanError, match="conv1"):
        share(random_network("bvgg16", side=224), PYNQ, 100_000_000)
