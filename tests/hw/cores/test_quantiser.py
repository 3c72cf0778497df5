# amaranth: UnusedElaboratable=no
import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from hw.cores.quantiser import Quantiser, quantiser_cycles


def ref_levels(thresholds, scores):
    """Levels of an image of scores, shape (rows, columns, neurons), one by one.

    `thresholds[row][column]` are those of a pixel, shape (neurons, levels).
    """
    return [
        [
            sum(int(score) >= threshold for threshold in of_neuron)
            for score, of_neuron in zip(scores[row, column], pixel, strict=True)
        ]
        for row, pixels in enumerate(thresholds)
        for column, pixel in enumerate(pixels)
    ]


CASES = [  # neurons, lanes, levels, top
    (1, 1, 1, 1),
    (5, 5, 1, 9),
    (5, 2, 1, 9),
    (5, 2, 3, 255),
    (6, 3, 7, 6),  # more thresholds than scores
    (4, 4, 5, 100),  # levels that do not fill their bits
    (7, 1, 2, 31),
    (2, 1, 255, 300),
]
CLASSES = [((0,), (0,)), ((0, 1, 1, 2), (0, 1, 0)), ((0, 1), (0,)), ((0,), (0, 1)), ((0, 0), (0,))]


def make(neurons, lanes, levels, top, classes):
    rng = np.random.default_rng([neurons, levels])
    row_classes, column_classes = classes
    shape = (max(row_classes) + 1, max(column_classes) + 1, neurons, levels)
    thresholds = np.sort(rng.integers(0, top + 2, shape))
    frames = rng.integers(0, top + 1, (4, len(row_classes), len(column_classes), neurons))
    frames[0], frames[1] = 0, top
    given = thresholds[0, 0] if shape[:2] == (1, 1) else thresholds
    core = Quantiser(
        thresholds=given[..., 0] if levels == 1 else given,
        top=top,
        lanes=lanes,
        row_classes=row_classes,
        column_classes=column_classes,
    )
    of_pixels = [[thresholds[r, c] for c in column_classes] for r in row_classes]
    vectors = [vector.tolist() for frame in frames for pixels in frame for vector in pixels]
    return core, vectors, [v for frame in frames for v in ref_levels(of_pixels, frame)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.5), (0.0, 0.9)])
def test_against_reference(streams, case, classes, stalls):
    neurons, lanes, levels, top = case
    core, vectors, expected = make(*case, classes)
    beats = streams.to_beats(vectors, lanes, top.bit_length())
    run = streams.run(core, beats, len(beats), i_stall=stalls[0], o_stall=stalls[1], seed=neurons)
    assert streams.from_beats(run.outputs, lanes, levels.bit_length(), neurons) == expected
    if stalls == (0.0, 0.0):
        assert core.groups == -(-neurons // lanes)
        assert set(np.diff(run.i_cycles)) <= {1}
        cycles = 2 * levels.bit_length() + 1
        assert quantiser_cycles(core.width) == cycles
        assert set(np.subtract(run.o_cycles, run.i_cycles)) == {cycles}


def test_reset_in_mid_image(streams):
    """The next beat is an image's first one again, and nothing comes of those before."""
    core, vectors, expected = make(5, 2, 3, 255, CLASSES[1])
    image = slice(24, 36)
    beats = streams.to_beats(vectors[image], 2, 8)
    reset = Signal()
    results = []

    async def bench(ctx):
        ctx.set(core.i.valid, 1)
        for beat in beats[:4]:
            ctx.set(core.i.payload.as_value(), beat)
            await ctx.tick()
        ctx.set(core.i.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert not ctx.get(core.o.valid)
        ctx.set(core.o.ready, 1)
        ctx.set(core.i.valid, 1)
        for beat in beats:
            ctx.set(core.i.payload.as_value(), beat)
            await ctx.tick()

    async def collect(ctx):
        await ctx.tick().until(reset)
        while len(results) < len(beats):
            *_, value = await ctx.tick().sample(core.o.payload.as_value()).until(core.o.valid)
            results.append(value)

    simulator = Simulator(ResetInserter(reset)(core))
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.add_testbench(collect)
    simulator.run()
    assert streams.from_beats(results, 2, 2, 5) == expected[image]


GOOD = {"thresholds": np.zeros((2, 2, 4, 3), dtype=int), "top": 9, "lanes": 2}
GOOD |= {"row_classes": (0, 1), "column_classes": (0, 1, 0)}


def _changed(*places):
    thresholds = GOOD["thresholds"].copy()
    for *place, value in places:
        thresholds[*place] = value
    return {"thresholds": thresholds}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thresholds": np.zeros(())}, r"levels\), or that for each pair of classes, not \(\)"),
        ({"thresholds": np.zeros((4, 0))}, r"not \(4, 0\)"),
        ({"thresholds": np.zeros((1,) * 5)}, r"not \(1, 1, 1, 1, 1\)"),
        ({"thresholds": np.zeros((2, 2, 4, 256))}, "at most 255 levels, not 256"),
        (_changed((1, 1, 3, 2, 11)), r"Thresholds must be in 0\.\.10, not 11 \(neuron 3\)"),
        (_changed((1, 0, 1, 0, -1)), r"Thresholds must be in 0\.\.10, not -1 \(neuron 1\)"),
        (_changed((1, 0, 2, 1, 1)), r"Thresholds must not decrease \(neuron 2\)"),
        ({"top": 0}, "top must be at least 1, not 0"),
        ({"lanes": 5}, r"Lanes must be in 1\.\.4, not 5"),
        ({"row_classes": (0, 2)}, r"row_classes must be in 0\.\.1, not \[0, 2\]"),
        ({"column_classes": ()}, r"column_classes must be in 0\.\.1, not \[\]"),
    ],
)
def test_bad_parameters(change, message):
    with pytest.raises(ValueError, match=message):
        Quantiser(**(GOOD | change))
