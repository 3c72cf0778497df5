# amaranth: UnusedElaboratable=no
"""Whole pipelines under random folds: bits as the golden model has them, cycles as predicted."""

import random
from itertools import pairwise

import numpy as np
import pytest

from hw.accelerator import Accelerator
from hw.cores.matrix_unit import ACCUMULATORS, STORAGE, TABLE
from hw.cores.popcount import levels
from hw.pipeline import Lanes, LayerLanes, PlanError
from hw.timing import predict
from sw import golden
from sw.network import Argmax, Binarise, Dense, Input, Network


def make_network(widths, seed, bits=3, classes=True):
    rng = np.random.default_rng(seed)
    thresholds = rng.integers(0, 2**bits + 1, widths[0]) if seed % 2 else 1 << (bits - 1)
    nodes = [
        Input("pixels", shape=(widths[0],), bits=bits),
        Binarise("bits", ("pixels",), thresholds=thresholds),
    ]
    for index, (synapses, neurons) in enumerate(pairwise(widths)):
        last = index == len(widths) - 2
        middle = rng.integers((synapses + 1) // 2, (synapses + 3) // 2, neurons)
        nodes.append(
            Dense(
                f"layer{index}",
                (nodes[-1].name,),
                rng.integers(0, 2, (neurons, synapses)),
                None if last else middle,
            )
        )
    if classes:
        nodes.append(Argmax("label", (nodes[-1].name,)))
    return Network(nodes)


def random_lanes(network, rng, kind, family):
    layers = {}
    for node in network.of(Dense):
        simd, pe = rng.randint(1, node.synapses), rng.randint(1, node.neurons)
        fold = -(-node.synapses // simd) * -(-node.neurons // pe)
        storage = rng.choice(STORAGE if fold <= TABLE else STORAGE[1:])
        table = fold if storage == "table" or fold == 1 else 0
        alone = simd == node.synapses and (fold == 1 or node.thresholds is None)
        layers[node.name] = LayerLanes(
            inputs_per_beat=simd,
            neurons_per_beat=pe,
            stages=rng.randint(0, levels(simd, family, table)),
            storage=storage,
            logic_bits=rng.randint(0, simd * pe) if storage == "block" else 0,
            accumulators="logic" if alone else rng.choice(ACCUMULATORS),
        )
    elements = network.type(network.input).elements
    return Lanes(kind, rng.choice([1, elements, rng.randint(1, elements)]), layers)


def random_case(seed):
    rng = random.Random(seed)
    widths = [rng.randint(2, 14) for _ in range(rng.randint(2, 4))] + [rng.randint(2, 7)]
    network = make_network(widths, seed)
    family = rng.choice(["xc7", "generic"])
    lanes = random_lanes(network, rng, rng.choice(["pixels", "bits"]), family)
    frames = np.random.default_rng(seed).integers(0, 8, (30, widths[0]))
    return network, lanes, family, frames


def i_beats(streams, network, lanes, frames):
    if lanes.input == "bits":
        return streams.to_beats(golden.trace(network, frames)["bits"], lanes.input_lanes, 1)
    return streams.to_beats(frames, lanes.input_lanes, network.input.bits)


@pytest.mark.parametrize("seed", range(24))
def test_cycles_are_the_predicted_ones(streams, seed):
    network, lanes, family, frames = random_case(seed)
    core = Accelerator(network, lanes, family)
    beats = i_beats(streams, network, lanes, frames)
    per_frame = len(beats) // len(frames)
    cycles = predict(core.stages, per_frame)

    run = streams.run(core, beats, len(frames))
    assert run.outputs == golden.predict(network, frames).tolist()
    assert run.o_cycles[0] - run.i_cycles[0] == cycles.latency, lanes
    assert set(np.diff(run.o_cycles[-12:])) == {cycles.per_frame}, lanes


@pytest.mark.parametrize("accumulators", ["logic", "dsp"])
@pytest.mark.parametrize("pe", [10, 8, 15])
def test_a_slow_converter_makes_the_unit_before_it_wait(streams, pe, accumulators):
    """Results come every 3 cycles, and take up to 8 to leave two by two."""
    network = make_network([12, 60, 4], seed=2)
    layers = {
        "layer0": LayerLanes(4, pe, accumulators=accumulators),
        "layer1": LayerLanes(2, 4, accumulators=accumulators),
    }
    lanes = Lanes("bits", 12, layers)
    core = Accelerator(network, lanes)
    frames = np.random.default_rng(0).integers(0, 8, (20, 12))
    run = streams.run(core, i_beats(streams, network, lanes, frames), len(frames))
    cycles = predict(core.stages, 1)
    assert run.o_cycles[0] - run.i_cycles[0] == cycles.latency
    assert set(np.diff(run.o_cycles[-8:])) == {cycles.per_frame} == {30}
    assert run.outputs == golden.predict(network, frames).tolist()


@pytest.mark.parametrize("seed", range(24, 36))
def test_any_stalls(streams, seed):
    network, lanes, family, frames = random_case(seed)
    core = Accelerator(network, lanes, family)
    stall = random.Random(seed).choice([(0.5, 0.5), (0.0, 0.9), (0.9, 0.0)])
    run = streams.run(
        core,
        i_beats(streams, network, lanes, frames),
        len(frames),
        i_stall=stall[0],
        o_stall=stall[1],
        seed=seed,
    )
    assert run.outputs == golden.predict(network, frames).tolist()


def test_scores_without_argmax(streams):
    network = make_network([9, 5, 4], seed=2, classes=False)
    lanes = Lanes("pixels", 2, {"layer0": LayerLanes(4, 2), "layer1": LayerLanes(5, 3)})
    frames = np.random.default_rng(0).integers(0, 8, (10, 9))
    run = streams.run(
        Accelerator(network, lanes), i_beats(streams, network, lanes, frames), 10 * 2, o_stall=0.3
    )
    expected = golden.trace(network, frames)["layer1"].tolist()
    assert streams.from_beats(run.outputs, 3, 3, 4) == expected


@pytest.mark.parametrize(
    ("lanes", "message"),
    [
        (Lanes("words", 1, {}), "input must be 'pixels' or 'bits', not 'words'"),
        (Lanes("bits", 10, {}), r"input_lanes must be in 1\.\.9, not 10"),
        (Lanes("bits", 1, {}), "layer0: the plan says nothing of this layer"),
        (
            Lanes("bits", 1, {"layer7": LayerLanes(1, 1)}),
            "no layer 'layer7'; it has layer0, layer1",
        ),
        (
            Lanes("bits", 1, {"layer0": LayerLanes(10, 1)}),
            r"layer0: inputs_per_beat .* 1\.\.9, not",
        ),
        (
            Lanes("bits", 1, {"layer0": LayerLanes(1, 6)}),
            r"layer0: neurons_per_beat .* 1\.\.5, not",
        ),
    ],
)
def test_bad_lanes(lanes, message):
    with pytest.raises(PlanError, match=message):
        Accelerator(make_network([9, 5, 4], seed=2), lanes)
