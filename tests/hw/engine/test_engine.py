import numpy as np
import pytest
from amaranth.back import verilog

from hw.engine.engine import Engine
from hw.engine.passes import tail
from hw.engine.plan import plan_engine
from hw.engine.testbench import job_for
from sim.runner import simulate
from sim.tools import find_simulator
from sw import golden
from sw.errors import MissingTool
from sw.network import Argmax, Conv, Dense, Input, Network, Pool
from sw.shapes import random_network


class Chain:
    """A network of random numbers, layer by layer."""

    def __init__(self, shape, seed=0):
        self._rng = np.random.default_rng(seed)
        self._nodes = [Input("x", shape=shape, bits=1)]
        self._type = self._nodes[0].infer()

    def add(self, kind, *arguments, **options):
        name = f"{kind.__name__.lower()}{len(self._nodes)}"
        self._nodes.append(kind(name, (self._nodes[-1].name,), *arguments, **options))
        self._type = self._nodes[-1].infer(self._type)
        return self

    def _thresholds(self, shape, synapses):
        middle, spread = synapses / 2, synapses**0.5 / 2
        return self._rng.normal(middle, spread, shape).round().clip(0, synapses + 1).astype(int)

    def conv(self, filters, kernel, *, stride=(1, 1), padding=(0, 0, 0, 0), classes=(), bits=True):
        channels = self._type.shape[2]
        weights = self._rng.integers(0, 2, (filters, *kernel, channels))
        thresholds = self._thresholds((*classes, filters), weights[0].size) if bits else None
        fill = self._rng.integers(0, 2, channels)
        return self.add(Conv, weights, thresholds, stride=stride, padding=padding, fill=fill)

    def pool(self, size, stride):
        return self.add(Pool, size=size, stride=stride)

    def dense(self, neurons, bits=True):
        weights = self._rng.integers(0, 2, (neurons, self._type.elements))
        thresholds = self._thresholds(neurons, weights.shape[1]) if bits else None
        return self.add(Dense, weights, thresholds)

    def network(self):
        return Network(self._nodes)


ONE = Chain((1, 1, 1)).dense(1, bits=False).network()
# Channels that fill no word, neurons that fill no group; padding; frames that end in mid-chunk.
CONVS = (
    Chain((5, 6, 3))
    .conv(7, (3, 3), padding=(1, 1, 1, 1))
    .pool((2, 2), (2, 2))
    .dense(5)
    .dense(9, bits=False)
    .network()
)
# Odd strides and paddings, windows of pools that overlap, windows larger than the image.
STRIDES = (
    Chain((7, 5, 5), 1)
    .conv(6, (2, 3), stride=(2, 1), padding=(1, 0, 2, 1))
    .pool((3, 2), (1, 2))
    .conv(9, (4, 2), stride=(1, 3), padding=(3, 1, 1, 0))
    .conv(3, (1, 1), stride=(2, 1))
    .dense(11, bits=False)
    .add(Argmax)
    .network()
)
# A layer of one word of one window: tiles follow each other at once.
ONES = Chain((3, 3, 4), 2).conv(30, (1, 1)).conv(4, (1, 1)).dense(20, bits=False).network()
# Thresholds by border class; scores of several pixels.
BORDERS = (
    Chain((6, 5, 4), 3)
    .conv(9, (3, 3), padding=(1, 1, 1, 1), classes=(3, 3))
    .conv(4, (3, 3), stride=(2, 2), padding=(1, 1, 1, 1), classes=(2, 3))
    .conv(10, (2, 2), bits=False)
    .network()
)
DENSE = Chain((30,), 4).dense(24).dense(17).dense(3, bits=False).add(Argmax).network()
POOLED = Chain((4, 4, 9), 5).pool((2, 2), (1, 2)).dense(4, bits=False).network()

CASES = {
    "one": (ONE, {"simd": 1, "pe": 1, "batch": 1, "row_words": 1}),
    "one-resident": (ONE, {"simd": 1, "pe": 1, "batch": 1, "resident": ["dense1"]}),
    "batch-1": (CONVS, {"simd": 4, "pe": 8, "batch": 1, "depth": 16, "row_words": 1}),
    "batch-3": (CONVS, {"simd": 4, "pe": 4, "batch": 3, "depth": 64, "row_words": 1}),
    "one-row-a-chunk": (CONVS, {"simd": 2, "pe": 8, "batch": 2, "depth": 6, "row_words": 2}),
    "resident": (
        CONVS,
        {"simd": 4, "pe": 8, "batch": 2, "depth": 16, "resident": ["conv1", "dense3", "dense4"]},
    ),
    "wide-words": (CONVS, {"simd": 16, "pe": 16, "batch": 1, "row_words": 1, "stages": 2}),
    "slow-port": (CONVS, {"simd": 16, "pe": 32, "batch": 1, "row_words": 4, "stages": 0}),
    "strides": (STRIDES, {"simd": 2, "pe": 8, "batch": 2, "depth": 9, "row_words": 1}),
    "strides-resident": (
        STRIDES,
        {"simd": 3, "pe": 6, "batch": 3, "depth": 30, "resident": ["conv3", "dense5"]},
    ),
    "short-tiles": (
        ONES,
        {"simd": 4, "pe": 4, "batch": 1, "resident": ["conv1", "conv2", "dense3"], "stages": 2},
    ),
    "short-tiles-streamed": (ONES, {"simd": 4, "pe": 4, "batch": 2, "row_words": 1, "depth": 9}),
    "borders": (BORDERS, {"simd": 4, "pe": 8, "batch": 2, "depth": 12, "row_words": 1}),
    "borders-resident": (
        BORDERS,
        {"simd": 4, "pe": 4, "batch": 2, "depth": 30, "resident": ["conv2"], "row_words": 2},
    ),
    "dense": (DENSE, {"simd": 4, "pe": 16, "batch": 4, "row_words": 2}),
    "dense-mixed": (DENSE, {"simd": 8, "pe": 8, "batch": 1, "resident": ["dense2"]}),
    # Rows of the ROM are still on their way when the port's are due.
    "dense-resident-first": (
        DENSE,
        {"simd": 8, "pe": 64, "batch": 1, "row_words": 1, "resident": ["dense1"]},
    ),
    "pool-first": (POOLED, {"simd": 4, "pe": 4, "batch": 2, "row_words": 1}),
}


def frames(network, plan, batches, seed=0):
    shape = (batches * plan.batch, *network.input.shape)
    return np.random.default_rng(seed).integers(0, 2, shape)


def expected(network, images):
    return golden.predict(network, images).reshape(-1).tolist()


@pytest.mark.parametrize("name", CASES)
def test_results_and_cycles(name, engine_run):
    network, options = CASES[name]
    plan = plan_engine(network, **options)
    images = frames(network, plan, 3)
    run = engine_run(network, plan, images)
    assert run.outputs == expected(network, images)

    first = run.o_cycles[:: len(run.outputs) // 3]
    assert first[2] - first[1] == plan.timing.per_batch
    if not isinstance(network.output, Argmax):
        assert first[0] == plan.timing.latency


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", CASES)
def test_results_under_stalls(name, seed, engine_run):
    network, options = CASES[name]
    plan = plan_engine(network, **options)
    images = frames(network, plan, 2, seed)
    stalls = ((0.5, 0.1, 0.9), (0, 0.8, 0.5))[seed]
    run = engine_run(network, plan, images, stalls=stalls, seed=seed)
    assert run.outputs == expected(network, images)


def test_a_stalled_output_stops_the_engine(engine_run):
    """Scores that nobody takes hold up the batch behind the next one, and nothing is lost."""
    network, options = CASES["dense"]
    plan = plan_engine(network, **options)
    images = frames(network, plan, 5)
    run = engine_run(network, plan, images, stalls=(0, 0, 0.99), timeout=20_000)
    assert run.outputs == expected(network, images)


def test_verilog_with_resets_and_stalls(tmp_path):
    """On the simulator that full-size networks are run on: bit-exact, and exactly the cycles."""
    try:
        find_simulator()
    except MissingTool as error:
        pytest.skip(str(error))
    network = tail(random_network("bvgg16", 1 / 16), "conv0")
    plan = plan_engine(network, simd=4, pe=8, batch=2, depth=64, resident=["conv2", "scores"])
    engine = Engine(network=network, plan=plan)
    text = verilog.convert(engine, name="engine", emit_src=False)
    images = frames(network, plan, 2)
    job, batches, answers = job_for(network, plan, images, text)
    result = simulate(job, batches, answers, tmp_path)
    assert result.cycles_per_frame == plan.timing.per_batch
