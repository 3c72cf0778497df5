# amaranth: UnusedElaboratable=no
import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from hw.cores.whole_window import Sweep, WholeWindow


def ref_windows(image, kernel, stride, padding, fill):
    """im2col from its definition: a padded image, of which windows are cut."""
    height, width, channels = image.shape
    top, bottom, left, right = padding
    padded = np.empty((height + top + bottom, width + left + right, channels), dtype=int)
    padded[:] = fill
    padded[top : top + height, left : left + width] = image
    return [
        padded[y : y + kernel[0], x : x + kernel[1]].reshape(-1).tolist()
        for y in range(0, padded.shape[0] - kernel[0] + 1, stride[0])
        for x in range(0, padded.shape[1] - kernel[1] + 1, stride[1])
    ]


CASES = [  # height, width, channels, bits, kernel, stride, padding, fill
    (1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), 0),
    (5, 6, 2, 1, (3, 3), (1, 1), (0, 0, 0, 0), 0),
    (5, 6, 2, 3, (3, 3), (1, 1), (1, 1, 1, 1), [5, 2]),
    (4, 4, 3, 8, (3, 3), (1, 1), (1, 1, 1, 1), 255),
    (7, 5, 2, 2, (2, 3), (2, 2), (0, 0, 0, 0), 0),
    (6, 5, 1, 4, (3, 2), (2, 3), (1, 2, 0, 1), 9),
    (5, 7, 1, 4, (1, 1), (2, 3), (0, 0, 0, 0), 0),
    (9, 9, 1, 4, (3, 3), (3, 2), (4, 0, 1, 0), 3),
    (3, 4, 2, 2, (5, 4), (1, 1), (1, 2, 2, 1), 1),
    (2, 3, 1, 3, (1, 1), (1, 1), (1, 1, 2, 2), 6),
    (6, 1, 2, 3, (3, 1), (1, 1), (1, 0, 0, 0), 2),  # a row is a pixel
    (11, 10, 2, 2, (5, 5), (4, 4), (2, 2, 2, 2), 2),
]


def random_case(rng):
    kernel = tuple(rng.integers(1, 5, 2).tolist())
    stride = tuple(rng.integers(1, 4, 2).tolist())
    padding = tuple(rng.integers(0, 4, 4).tolist()) if rng.random() < 0.7 else (0, 0, 0, 0)
    height = int(rng.integers(max(1, kernel[0] - padding[0] - padding[1]), 8))
    width = int(rng.integers(max(1, kernel[1] - padding[2] - padding[3]), 8))
    channels, bits = (int(n) for n in rng.integers(1, 4, 2))
    fill = rng.integers(0, 1 << bits, channels).tolist()
    return height, width, channels, bits, kernel, stride, padding, fill


CASES += [random_case(np.random.default_rng(seed)) for seed in range(16)]


def make(case, depth=2):
    names = ("height", "width", "channels", "bits", "kernel", "stride", "padding", "fill")
    return WholeWindow(**dict(zip(names, case, strict=True)), depth=depth)


def images_of(case, count):
    height, width, channels, bits = case[:4]
    rng = np.random.default_rng(channels)
    images = rng.integers(0, 1 << bits, (count, height, width, channels))
    windows = [w for image in images for w in ref_windows(image, *case[4:])]
    return images.reshape(-1, channels).tolist(), windows


@pytest.mark.parametrize("stalls", [(0.4, 0.4), (0.0, 0.7), (0.8, 0.0)])
@pytest.mark.parametrize("case", CASES)
def test_windows(streams, case, stalls):
    _, _, channels, bits, kernel, *_ = case
    pixels, windows = images_of(case, 3)
    elements = kernel[0] * kernel[1] * channels
    run = streams.run(
        make(case, depth=1 + channels),
        streams.to_beats(pixels, channels, bits),
        len(windows),
        i_stall=stalls[0],
        o_stall=stalls[1],
        seed=elements,
    )
    assert streams.from_beats(run.outputs, elements, bits, elements) == windows


def ref_cycles(windows, depth, frames):
    """When windows leave with no stalls, counted from the first pixel: the docstring's rules."""
    sweep = Sweep(windows)
    taken, given, freed = [0], [], [0] * depth
    shifted = min(windows.padding[2], windows.kernel[1] - 1) - 1  # the padding after a reset
    for inside, completes, first in zip(
        np.tile(sweep.inside, frames).tolist(),
        np.tile(sweep.completes, frames).tolist(),
        np.tile(np.arange(sweep.places) == 0, frames).tolist(),
        strict=True,
    ):
        shifted += 1
        if inside or first:
            shifted = max(shifted, taken[-1] + 1)
        if inside:
            freed.append(shifted + 1)
            taken.append(max(taken[-1] + 1, freed[len(taken)]))
        if completes:
            given.append(shifted + 1)
    return given


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("case", CASES)
def test_cycles(streams, case, depth):
    _, _, channels, bits, *_ = case
    core = make(case, depth=depth)
    pixels, windows = images_of(case, 3)
    beats = streams.to_beats(pixels, channels, bits)
    run = streams.run(core, beats, len(windows))
    starts = run.i_cycles[0]
    assert [cycle - starts for cycle in run.o_cycles] == ref_cycles(core.windows, depth, 3)
    elements = len(windows[0])
    assert streams.from_beats(run.outputs, elements, bits, elements) == windows


@pytest.mark.parametrize("case", CASES[:6])
def test_reset_in_mid_frame(channel, case):
    """An image that is cut off by a reset leaves no trace in the next one."""
    core, reset, seen = make(case), Signal(), []
    pixels, windows = images_of(case, 1)

    async def drive(ctx):
        i = channel(ctx, core.i)
        for pixel in pixels[: len(pixels) * 2 // 3]:
            await i.send(pixel)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for pixel in pixels:
            await i.send(pixel)

    async def take(ctx):
        o = channel(ctx, core.o, stall=0.3)
        ctx.set(core.o.ready, 1)
        await ctx.tick().until(reset)
        for _ in windows:
            seen.append(list(await o.receive()))
        await o.silence()

    simulator = Simulator(ResetInserter(reset)(core))
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.add_testbench(take)
    simulator.run()
    assert seen == windows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": (6, 3)}, "A window of 6x3 does not fit an image of 5x6 with its padding"),
        ({"channels": 0}, "Channels and bits must be at least 1, not 0 and 2"),
        ({"depth": 0}, "Depth must be at least 1, not 0"),
        ({"fill": [0, 1, 4, 0]}, r"Fill must be in 0\.\.3, not 4 \(channel 2\)"),
    ],
)
def test_bad_parameters(change, message):
    good = {"height": 5, "width": 6, "channels": 4, "bits": 2, "kernel": (3, 3)}
    with pytest.raises(ValueError, match=message):
        WholeWindow(**(good | change))
