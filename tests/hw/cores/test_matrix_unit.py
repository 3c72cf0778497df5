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


@pytest.mark.parametrize("accumulators, bits", [("logic", 1), ("dsp", 1), ("logic", 3)])
def test_reset_in_mid_vector(streams, accumulators, bits):
    """A vector cut off by a reset leaves no trace in the next one."""
    from amaranth.hdl import ResetInserter, Signal
    from amaranth.sim import Simulator

    if bits == 1:
        core, vectors, expected = make(7, 17, 5, 3, 1, False, seed=3, accumulators=accumulators)
    else:
        core, vectors, expected = make_integers(7, 17, 5, 3, bits, 1, False)
    reset = Signal()
    results = []

    async def bench(ctx):
        rng = random.Random(0)
        beats = streams.to_beats(vectors[:1], 5, bits)
        ctx.set(core.o.ready, 1)
        ctx.set(core.i.valid, 1)
        for _ in range(6):  # one vector and a half, with whatever it computes on the way
            ctx.set(core.i.payload.as_value(), rng.getrandbits(5 * bits))
            await ctx.tick()
        ctx.set(core.i.valid, 0)
        if core.passes > 1:  # up to its second pass
            await ctx.tick().repeat(4)
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


def ref_integers(weights, thresholds, x, bits):
    """Elements of 0..top, or what is missing to top: by ordinary arithmetic, no bit planes."""
    x = np.array(x)
    m = np.where(weights == 1, x, (1 << bits) - 1 - x).sum(axis=1)
    return m.tolist() if thresholds is None else (m >= thresholds).astype(int).tolist()


def make_integers(neurons, synapses, simd, pe, bits, planes, scores, **options):
    """A unit whose thresholds are some vector's counts, or one more; and vectors."""
    rng = np.random.default_rng([neurons, synapses, bits])
    most = synapses * ((1 << bits) - 1)
    weights = rng.integers(0, 2, (neurons, synapses))
    x = rng.integers(0, 1 << bits, (9, synapses))
    counts = np.array([ref_integers(weights, None, vector, bits) for vector in x])
    neuron = np.arange(neurons)
    thresholds = counts[neuron % len(x), neuron] + rng.integers(0, 2, neurons)
    thresholds[rng.random(neurons) < 0.1] = most + 1
    thresholds = None if scores else thresholds
    core = MatrixUnit(
        weights=weights,
        thresholds=thresholds,
        inputs_per_beat=simd,
        neurons_per_beat=pe,
        bits=bits,
        planes=planes,
        **options,
    )
    vectors = [*x.tolist(), [0] * synapses, [(1 << bits) - 1] * synapses]
    return core, vectors, [ref_integers(weights, thresholds, v, bits) for v in vectors]


DIVISORS = [(bits, n) for bits in range(2, 9) for n in range(1, bits + 1) if bits % n == 0]
INTEGERS = [  # neurons, synapses, simd, pe, bits, planes
    *((5, 7, 3, 2, bits, planes) for bits, planes in DIVISORS),
    (1, 1, 1, 1, 8, 1),
    (1, 1, 1, 1, 8, 8),
    (5, 7, 7, 5, 4, 4),  # everything at once
    (5, 7, 7, 5, 4, 2),  # but for two passes
    (5, 7, 3, 5, 4, 4),  # all neurons at once, no buffer
    (5, 7, 3, 5, 4, 1),
    (5, 7, 7, 2, 3, 3),  # one beat a vector
    (5, 7, 7, 2, 3, 1),
    (33, 8, 4, 33, 2, 1),  # a control signal in copies
    (10, 27, 27, 4, 8, 2),
]


@pytest.mark.parametrize("case", INTEGERS)
@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.3, 0.6)])
def test_integers(streams, case, scores, stalls):
    neurons, synapses, simd, pe, bits, _ = case
    core, vectors, expected = make_integers(*case, scores)
    width = (synapses * ((1 << bits) - 1)).bit_length() if scores else 1
    beats = streams.to_beats(vectors, simd, bits)
    run = streams.run(
        core, beats, len(vectors) * core.groups, i_stall=stalls[0], o_stall=stalls[1], seed=neurons
    )
    assert streams.from_beats(run.outputs, pe, width, neurons) == expected


@pytest.mark.parametrize("family, storage", [("xc7", "table"), ("xc7", "block"), ("ecp5", "logic")])
@pytest.mark.parametrize("planes", [1, 2, 4])
@pytest.mark.parametrize("case", [(5, 7, 7, 5), (5, 7, 3, 5), (7, 17, 5, 3), (12, 40, 40, 1)])
def test_weights_of_every_pass(streams, case, planes, family, storage):
    neurons, _, simd, pe = case
    logic_bits = 5 if storage == "block" else 0
    options = {"storage": storage, "logic_bits": logic_bits, "family": family, "stages": 1}
    core, vectors, expected = make_integers(*case, 4, planes, False, **options)
    beats = streams.to_beats(vectors, simd, 4)
    run = streams.run(core, beats, len(vectors) * core.groups, o_stall=0.3, seed=neurons)
    assert streams.from_beats(run.outputs, pe, 1, neurons) == expected


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("case", [(5, 7, 3, 5, 4, 4), (7, 17, 5, 3, 6, 6), (35, 4, 2, 35, 2, 2)])
def test_integers_in_dsps(streams, case, scores):
    neurons, synapses, simd, pe, bits, _ = case
    options = {"accumulators": "dsp", "family": "xc7"}
    core, vectors, expected = make_integers(*case, scores, **options)
    beats = streams.to_beats(vectors, simd, bits)
    run = streams.run(core, beats, len(vectors) * core.groups, i_stall=0.3, o_stall=0.3)
    width = (synapses * ((1 << bits) - 1)).bit_length() if scores else 1
    assert streams.from_beats(run.outputs, pe, width, neurons) == expected


@pytest.mark.parametrize("case", INTEGERS)
def test_cycles_of_integers(streams, case):
    _, synapses, simd, _, bits, planes = case
    stages = bits % 2
    core, vectors, _ = make_integers(*case, False, stages=stages)
    vectors = vectors * 2
    run = streams.run(core, streams.to_beats(vectors, simd, bits), len(vectors) * core.groups)

    assert core.cycles_per_group == -(-synapses // simd) * (bits // planes)
    assert core.fold == core.cycles_per_group * core.groups
    assert set(np.diff(run.o_cycles[:: core.groups])[4:]) == {core.fold}

    depth = stages + 3 + {1: 0, 2: 1, 3: 2, 4: 2}.get(planes, 3)
    held = core.groups > 1 or planes < bits
    last_in = run.i_cycles[core.beats_per_vector - 1]
    assert run.o_cycles[0] - last_in == core.cycles_per_group * held + depth
    assert set(np.diff(run.o_cycles[: core.groups])) <= {core.cycles_per_group}


@pytest.mark.parametrize("case", [(10, 9, 9, 2, 1, 1), (10, 9, 9, 2, 8, 8), (10, 9, 9, 5, 8, 2)])
def test_a_vector_every_fold(streams, case):
    """Vectors of one beat are taken as often as they are computed, without a gap."""
    core, vectors, _ = make_integers(*case, False)
    beats = streams.to_beats(vectors * 4, case[2], case[4])
    run = streams.run(core, beats, len(beats) * core.groups)
    assert set(np.diff(run.i_cycles[2:])) == {core.fold}
    assert set(np.diff(run.o_cycles)) == {core.cycles_per_group}


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
        ({"bits": 0}, r"bits must be in 1\.\.8, not 0"),
        ({"bits": 9}, r"bits must be in 1\.\.8, not 9"),
        ({"bits": 6, "planes": 4}, "planes must divide the 6 bits, or be 0, not 4"),
        ({"bits": 4, "planes": 8}, "planes must divide the 4 bits, or be 0, not 8"),
        (
            {"bits": 4, "thresholds": [0, 0, 0, 137]},
            r"Thresholds must be in 0\.\.136, not 137 \(neuron 3\)",
        ),
        (
            {"accumulators": "dsp", "bits": 4, "planes": 2},
            "Accumulators in DSPs take all planes at once, not 2 of 4",
        ),
        (
            {"accumulators": "dsp", "bits": 8},
            "at most 12 bits, not the 13 that 9 synapses of 8 bits take",
        ),
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
