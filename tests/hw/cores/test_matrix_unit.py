# amaranth: UnusedElaboratable=no
import random

import numpy as np
import pytest

from hw.cores.matrix_unit import MatrixUnit


def ref_vector(weights, thresholds, x):
    """The ±1 sums by ordinary arithmetic, then matches and thresholds."""
    sums = (2 * weights.astype(int) - 1) @ (2 * np.array(x) - 1)
    m = (sums + weights.shape[1]) // 2
    return m.tolist() if thresholds is None else (m >= thresholds).astype(int).tolist()


def make(neurons, synapses, simd, pe, stages, scores, seed, **options):
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 2, (neurons, synapses))
    thresholds = rng.integers(0, synapses + 2, neurons)
    middle = rng.random(neurons) < 0.8  # most near the middle, where the counts are
    thresholds = np.where(middle, (synapses + 1) // 2, thresholds)
    thresholds = None if scores else thresholds
    core = MatrixUnit(
        weights=weights,
        thresholds=thresholds,
        inputs_per_beat=simd,
        neurons_per_beat=pe,
        stages=stages,
        **options,
    )
    vectors = rng.integers(0, 2, (12, synapses)).tolist()
    vectors += [[0] * synapses, [1] * synapses]
    return core, vectors, [ref_vector(weights, thresholds, x) for x in vectors]


CASES = [  # neurons, synapses, simd, pe, stages
    (1, 1, 1, 1, 0),
    (5, 7, 7, 5, 0),  # everything at once
    (5, 7, 7, 5, 2),
    (5, 7, 3, 5, 1),  # all neurons at once, no buffer
    (5, 7, 7, 2, 1),  # one beat a vector
    (5, 7, 1, 1, 0),  # one lane
    (8, 16, 4, 2, 1),
    (7, 17, 5, 3, 1),  # nothing divides
    (10, 64, 16, 4, 2),
    (3, 100, 33, 2, 3),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.5), (0.0, 0.9)])
def test_against_reference(streams, case, scores, stalls):
    neurons, synapses, simd, pe, _ = case
    core, vectors, expected = make(*case, scores, seed=synapses)
    width = synapses.bit_length() if scores else 1
    beats = streams.to_beats(vectors, simd, 1)
    run = streams.run(
        core, beats, len(vectors) * core.groups, i_stall=stalls[0], o_stall=stalls[1], seed=neurons
    )
    assert streams.from_beats(run.outputs, pe, width, neurons) == expected


@pytest.mark.parametrize("family", ["xc7", "ecp5"])
@pytest.mark.parametrize("storage", [("table", 0), ("logic", 0), ("block", 0), ("block", 5)])
@pytest.mark.parametrize(
    "case",
    [(5, 7, 7, 5, 1), (5, 7, 3, 5, 1), (8, 16, 8, 2, 1), (7, 17, 5, 3, 1), (12, 40, 40, 1, 3)],
)
def test_storage(streams, case, storage, family):
    neurons, _, simd, pe, _ = case
    options = {"storage": storage[0], "logic_bits": storage[1], "family": family}
    core, vectors, expected = make(*case, False, seed=simd, **options)
    beats = streams.to_beats(vectors, simd, 1)
    run = streams.run(core, beats, len(vectors) * core.groups, o_stall=0.3, seed=neurons)
    assert streams.from_beats(run.outputs, pe, 1, neurons) == expected


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.5), (0.0, 0.9)])
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("case", [(5, 7, 3, 5, 1), (7, 17, 5, 3, 1), (70, 9, 5, 35, 0)])
def test_accumulators_in_dsps(streams, case, scores, stalls):
    neurons, synapses, simd, pe, _ = case
    options = {"accumulators": "dsp", "family": "xc7"}
    core, vectors, expected = make(*case, scores, seed=synapses, **options)
    beats = streams.to_beats(vectors, simd, 1)
    run = streams.run(
        core, beats, len(vectors) * core.groups, i_stall=stalls[0], o_stall=stalls[1], seed=neurons
    )
    width = synapses.bit_length() if scores else 1
    assert streams.from_beats(run.outputs, pe, width, neurons) == expected


@pytest.mark.parametrize("storage", ["table", "logic", "block"])
def test_dsps_compare_where_a_group_takes_one_beat(streams, storage):
    options = {"storage": storage, "accumulators": "dsp", "family": "xc7"}
    core, vectors, expected = make(8, 16, 16, 2, 1, False, seed=1, **options)
    beats = streams.to_beats(vectors, 16, 1)
    run = streams.run(core, beats, len(vectors) * core.groups, o_stall=0.3)
    assert streams.from_beats(run.outputs, 2, 1, 8) == expected


def test_the_widest_sums_fit_dsps(streams):
    """2047 of 2047 synapses match, and the last bit of 12 says so."""
    for thresholds, answer in (([2047] * 2, 1), ([2048] * 2, 0)):
        core = MatrixUnit(
            weights=np.ones((2, 2047)),
            thresholds=thresholds,
            inputs_per_beat=1024,
            neurons_per_beat=1,
            accumulators="dsp",
        )
        run = streams.run(core, streams.to_beats([[1] * 2047], 1024, 1), 2)
        assert run.outputs == [answer] * 2


DSP_CASES = [(*case, "dsp") for case in CASES if case[2] < case[1] or case[3] < case[0]]


@pytest.mark.parametrize("case", [*((*case, "logic") for case in CASES), *DSP_CASES])
def test_cycles(streams, case):
    neurons, synapses, simd, pe, stages, accumulators = case
    core, vectors, _ = make(*case[:5], False, seed=1, accumulators=accumulators)
    vectors = vectors * 2
    run = streams.run(core, streams.to_beats(vectors, simd, 1), len(vectors) * core.groups)

    assert core.fold == -(-synapses // simd) * -(-neurons // pe)
    starts = run.o_cycles[:: core.groups]
    assert set(np.diff(starts[4:])) == {core.fold}

    last_in = run.i_cycles[core.beats_per_vector - 1]
    wait = 0 if core.groups == 1 else core.beats_per_vector
    assert run.o_cycles[0] - last_in == wait + stages + 3 + (accumulators == "dsp")
    assert set(np.diff(run.o_cycles[: core.groups])) <= {core.beats_per_vector}


@pytest.mark.parametrize("accumulators", ["logic", "dsp"])
def test_reset_in_mid_vector(streams, accumulators):
    """A vector cut off by a reset leaves no trace in the next one."""
    from amaranth.hdl import ResetInserter, Signal
    from amaranth.sim import Simulator

    core, vectors, expected = make(7, 17, 5, 3, 1, False, seed=3, accumulators=accumulators)
    reset = Signal()
    results = []

    async def bench(ctx):
        rng = random.Random(0)
        beats = streams.to_beats(vectors[:1], 5, 1)
        ctx.set(core.o.ready, 1)
        ctx.set(core.i.valid, 1)
        for _ in range(6):  # one vector and a half, with whatever it computes on the way
            ctx.set(core.i.payload.as_value(), rng.getrandbits(5))
            await ctx.tick()
        ctx.set(core.i.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for beat in beats:
            ctx.set(core.i.payload.as_value(), beat)
            ctx.set(core.i.valid, 1)
            await ctx.tick().until(core.i.ready)
        ctx.set(core.i.valid, 0)
        for _ in range(3):
            *_, value = await ctx.tick().sample(core.o.payload.as_value()).until(core.o.valid)
            results.append(value)

    simulator = Simulator(ResetInserter(reset)(core))
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert streams.from_beats(results, 3, 1, 7) == expected[:1]


W = np.zeros((4, 9), dtype=int)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.zeros(4)}, r"shape \(neurons, synapses\), not \(4,\)"),
        ({"weights": W + 2}, "Weights must be 0 or 1"),
        ({"thresholds": [0, 0, 0]}, "There must be 4 thresholds, not 3"),
        ({"thresholds": [0, 0, 11, 0]}, r"Thresholds must be in 0\.\.10, not 11 \(neuron 2\)"),
        ({"inputs_per_beat": 10}, r"inputs_per_beat must be in 1\.\.9, not 10"),
        ({"neurons_per_beat": 0}, r"neurons_per_beat must be in 1\.\.4, not 0"),
        ({"stages": 9}, r"stages must be in 0\.\.1, not 9"),
        ({"storage": "block", "logic_bits": 7}, r"logic_bits must be in 0\.\.6, not 7"),
        ({"weights": np.zeros((40, 9)), "thresholds": None, "storage": "table"}, "not the 60"),
        ({"storage": "tape"}, "Storage must be one of table, logic, block, not 'tape'"),
        ({"accumulators": "ram"}, "Accumulators must be one of logic, dsp, not 'ram'"),
        ({"accumulators": "dsp", "family": "ecp5"}, "in DSPs are for xc7, not 'ecp5'"),
        (
            {"accumulators": "dsp", "inputs_per_beat": 9, "neurons_per_beat": 4},
            "A unit that counts all synapses at once has no accumulators",
        ),
        (
            {"accumulators": "dsp", "inputs_per_beat": 9, "thresholds": None},
            "A unit that counts all synapses at once has no accumulators",
        ),
        (
            {"accumulators": "dsp", "weights": np.zeros((4, 2048))},
            "at most 12 bits, not the 13 that 2048 synapses take",
        ),
    ],
)
def test_bad_parameters(change, message):
    good = {"weights": W, "thresholds": [0] * 4, "inputs_per_beat": 3, "neurons_per_beat": 2}
    with pytest.raises(ValueError, match=message):
        MatrixUnit(**(good | change))
