# amaranth: UnusedElaboratable=no
"""Whole convolutional pipelines under random folds: bits as the golden model has them, cycles as
predicted."""

import random

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.cores.matrix_unit import STORAGE, TABLE
from hw.cores.popcount import levels
from hw.pipeline import Lanes, LayerLanes, pipeline
from hw.timing import predict, stage_cycles
from sw import golden
from sw.network import Argmax, Conv, Dense, Input, Layer, Network, Pool


def random_network(rng, numpy_rng):
    """One or two convolutions, a pool here and there, and dense layers."""
    bits = rng.choice([1, 2, 3, 8])
    shape = (rng.randint(3, 7), rng.randint(3, 7), rng.randint(1, 3))
    nodes = [Input("image", shape=shape, bits=bits, signed=rng.random() < 0.3)]
    network = Network(nodes)

    def add(node):
        nonlocal network
        nodes.append(node)
        network = Network(nodes)

    def thresholds(synapses, neurons, levels, classes=()):
        x = network.type(nodes[-1])
        most = synapses * (x.high - x.low)
        near = numpy_rng.normal(most / 2, most**0.5 * (x.high - x.low) ** 0.5, 99).round()
        shape = (*classes, neurons, levels) if levels > 1 else (*classes, neurons)
        return np.sort(numpy_rng.choice(np.clip(near, 0, most + 1), shape), axis=-1).astype(int)

    for index in range(rng.randint(1, 2)):
        x = network.type(nodes[-1])
        height, width, channels = x.shape
        kernel = rng.randint(1, min(3, height)), rng.randint(1, min(3, width))
        padding = tuple(rng.randint(0, kernel[axis // 2] - 1) for axis in range(4))
        filters = rng.randint(2, 6)
        conv = Conv(
            f"conv{index}",
            (nodes[-1].name,),
            numpy_rng.integers(0, 2, (filters, *kernel, channels)),
            np.zeros(filters, int),
            stride=(rng.randint(1, 2), rng.randint(1, 2)),
            padding=padding,
            fill=numpy_rng.integers(x.low, x.high + 1, channels),
        )
        classes = ()
        if rng.random() < 0.3:
            classes = tuple(int(each.max()) + 1 for each in conv.classes(height, width))
        many = thresholds(conv.synapses, filters, rng.choice([1, 1, 3]), classes)
        add(Conv(**{**vars(conv), "thresholds": many}))
        shape = network.type(nodes[-1]).shape
        if min(shape[:2]) > 1 and rng.random() < 0.5:
            size = rng.randint(1, min(3, shape[0])), rng.randint(1, min(3, shape[1]))
            stride = rng.choice([size, (rng.randint(1, 3), rng.randint(1, 3))])
            add(Pool(f"pool{index}", (nodes[-1].name,), size, stride))
    for index, neurons in enumerate([rng.randint(2, 6)] * rng.randint(0, 1)):
        synapses = network.type(nodes[-1]).elements
        weights = numpy_rng.integers(0, 2, (neurons, synapses))
        add(Dense(f"dense{index}", (nodes[-1].name,), weights, thresholds(synapses, neurons, 1)))
    weights = numpy_rng.integers(0, 2, (rng.randint(2, 5), network.type(nodes[-1]).elements))
    add(Dense("scores", (nodes[-1].name,), weights))
    if rng.random() < 0.5:
        add(Argmax("label", (nodes[-1].name,)))
    return network


def random_lanes(network, rng, family):
    layers = {}
    for node in network.of(Layer):
        simd = rng.randint(1, node.synapses)
        if isinstance(node, Conv):
            divisors = [d for d in range(1, node.channels + 1) if node.channels % d == 0]
            simd = rng.choice([*divisors, node.synapses])
        pe = rng.randint(1, node.neurons)
        words = -(-node.synapses // simd) * -(-node.neurons // pe)
        storage = rng.choice(STORAGE if words <= TABLE else STORAGE[1:])
        table = words if storage == "table" or words == 1 else 0
        bits = network.type(node.inputs[0]).width
        layers[node.name] = LayerLanes(
            inputs_per_beat=simd,
            neurons_per_beat=pe,
            stages=rng.randint(0, levels(simd, family, table)),
            storage=storage,
            logic_bits=rng.randint(0, simd * pe) if storage == "block" else 0,
            planes=rng.choice([d for d in range(bits + 1) if not d or bits % d == 0]),
        )
    elements = network.type(network.input).elements
    return Lanes("pixels", rng.choice([1, elements, rng.randint(1, elements)]), layers)


def random_case(seed):
    rng, numpy_rng = random.Random(seed), np.random.default_rng(seed)
    network = random_network(rng, numpy_rng)
    family = rng.choice(["xc7", "generic"])
    while True:
        lanes = random_lanes(network, rng, family)
        stages = pipeline(network, lanes)
        if max(stage_cycles(stage) for stage in stages) < 400:
            break
    x = network.type(network.input)
    frames = numpy_rng.integers(x.low, x.high + 1, (8, *x.shape))
    return network, lanes, family, frames


def i_beats(streams, network, lanes, frames):
    bits = network.input.bits
    flat = frames.reshape(len(frames), -1) & (1 << bits) - 1
    return streams.to_beats(flat, lanes.input_lanes, bits)


@pytest.mark.parametrize("seed", range(24))
def test_cycles_are_the_predicted_ones(streams, seed):
    network, lanes, family, frames = random_case(seed)
    core = Accelerator(network, lanes, family)
    beats = i_beats(streams, network, lanes, frames)
    cycles = predict(core.stages, len(beats) // len(frames))
    run = streams.run(core, beats, len(frames) * core.stages[-1].frame_beats)
    last = core.stages[-1]
    outputs = streams.from_beats(run.outputs, last.lanes, last.width, last.elements)
    assert outputs == golden.predict(network, frames).reshape(len(frames), -1).tolist()
    assert run.o_cycles[0] - run.i_cycles[0] == cycles.latency
    first = run.o_cycles[:: core.stages[-1].frame_beats]
    assert set(np.diff(first[-4:])) == {cycles.per_frame}


@pytest.mark.parametrize("seed", range(24, 40))
def test_any_stalls(streams, seed):
    network, lanes, family, frames = random_case(seed)
    core = Accelerator(network, lanes, family)
    stall = random.Random(seed).choice([(0.5, 0.5), (0.0, 0.9), (0.9, 0.0)])
    run = streams.run(
        core,
        i_beats(streams, network, lanes, frames),
        len(frames) * core.stages[-1].frame_beats,
        i_stall=stall[0],
        o_stall=stall[1],
        seed=seed,
    )
    last = core.stages[-1]
    outputs = streams.from_beats(run.outputs, last.lanes, last.width, last.elements)
    assert outputs == golden.predict(network, frames).reshape(len(frames), -1).tolist()
