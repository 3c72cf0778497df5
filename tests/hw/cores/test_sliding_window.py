# amaranth: UnusedElaboratable=no
import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from hw.cores.sliding_window import SlidingWindow, ring_depth
from hw.cores.windows import Windows


def ref_windows(image, kernel, stride, padding, fill):
    """im2col from its definition: each window's elements in the order row, column, channel."""
    height, width, channels = image.shape
    top, bottom, left, right = padding
    fill = [fill] * channels if isinstance(fill, int) else fill
    windows = []
    for y in range(-top, height + bottom - kernel[0] + 1, stride[0]):
        for x in range(-left, width + right - kernel[1] + 1, stride[1]):
            window = []
            for row in range(y, y + kernel[0]):
                for column in range(x, x + kernel[1]):
                    inside = 0 <= row < height and 0 <= column < width
                    window += image[row, column].tolist() if inside else fill
            windows.append(window)
    return windows


CASES = [  # height, width, channels, bits, kernel, stride, padding, fill, lanes
    (1, 1, 1, 1, (1, 1), (1, 1), (0, 0, 0, 0), 0, 1),
    (5, 6, 2, 1, (3, 3), (1, 1), (0, 0, 0, 0), 0, 2),
    (5, 6, 4, 3, (3, 3), (1, 1), (1, 1, 1, 1), [5, 0, 7, 2], 2),
    (4, 4, 3, 8, (3, 3), (1, 1), (1, 1, 1, 1), 255, 1),
    (7, 5, 2, 2, (2, 3), (2, 2), (0, 0, 0, 0), 0, 1),  # pixels at the right that no window has
    (6, 5, 1, 4, (3, 2), (2, 3), (1, 2, 0, 1), 9, 1),
    (5, 7, 1, 4, (1, 1), (2, 3), (0, 0, 0, 0), 0, 1),  # strides beyond the kernel
    (9, 9, 1, 4, (3, 3), (3, 2), (4, 0, 1, 0), 3, 1),  # windows in the padding alone
    (3, 4, 2, 2, (5, 4), (1, 1), (1, 2, 2, 1), 1, 2),  # a kernel beyond the image
    (2, 3, 1, 3, (1, 1), (1, 1), (1, 1, 2, 2), 6, 1),
    (8, 3, 6, 1, (3, 3), (1, 1), (0, 0, 0, 0), 0, 3),
    (11, 10, 3, 2, (5, 5), (4, 4), (2, 2, 2, 2), 2, 3),
]


def random_case(rng):
    kernel = tuple(rng.integers(1, 5, 2).tolist())
    stride = tuple(rng.integers(1, 4, 2).tolist())
    padding = tuple(rng.integers(0, 4, 4).tolist()) if rng.random() < 0.7 else (0, 0, 0, 0)
    height = int(rng.integers(max(1, kernel[0] - padding[0] - padding[1]), 8))
    width = int(rng.integers(max(1, kernel[1] - padding[2] - padding[3]), 8))
    lanes, beats, bits = (int(n) for n in rng.integers(1, 4, 3))
    fill = rng.integers(0, 1 << bits, lanes * beats).tolist()
    return height, width, lanes * beats, bits, kernel, stride, padding, fill, lanes


CASES += [random_case(np.random.default_rng(seed)) for seed in range(16)]


def make(case, pixels=None):
    """A window with the smallest ring, or one of so many pixels."""
    height, width, channels, bits, kernel, stride, padding, fill, lanes = case
    pixels = pixels or Windows(height, width, kernel, stride, padding).least
    return SlidingWindow(
        height=height,
        width=width,
        channels=channels,
        bits=bits,
        kernel=kernel,
        stride=stride,
        padding=padding,
        fill=fill,
        lanes=lanes,
        depth=ring_depth(pixels, channels, lanes),
    )


def images_of(case, count, seed):
    height, width, channels, bits = case[:4]
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 1 << bits, (count, height, width, channels))
    windows = [w for image in images for w in ref_windows(image, *case[4:8])]
    return images.reshape(-1, channels).tolist(), windows


@pytest.mark.parametrize("stalls", [(0.4, 0.4), (0.0, 0.7), (0.8, 0.0)])
@pytest.mark.parametrize("case", CASES)
def test_windows(streams, case, stalls):
    """Frames follow each other, through the smallest ring there can be."""
    _, _, channels, bits, kernel, *_, lanes = case
    pixels, windows = images_of(case, 3, seed=channels)
    elements = kernel[0] * kernel[1] * channels
    run = streams.run(
        make(case),
        streams.to_beats(pixels, lanes, bits),
        len(windows) * elements // lanes,
        i_stall=stalls[0],
        o_stall=stalls[1],
        seed=elements,
    )
    assert streams.from_beats(run.outputs, lanes, bits, elements) == windows


def ref_cycles(windows, beats, depth, frames):
    """When beats leave with no stalls, counted from the first that comes: the docstring's rules."""
    taken, given, read = [0], [], -1
    heads = [(0, 0)]  # beats before the head, and the first cycle in which they are free
    for start in range(0, frames * windows.pixels * beats, windows.pixels * beats):
        following = [*windows.heads[1:].tolist(), windows.pixels]
        for number, window in enumerate(windows.places.reshape(windows.count, -1).tolist()):
            wanted = [p * beats + k if p >= 0 else -1 for p in window for k in range(beats)]
            if number == 0:
                wanted[0] = max(wanted[0], 0)
            for beat in wanted:
                while beat >= 0 and len(taken) <= start + beat:
                    free = next(when for head, when in heads if head + depth > len(taken))
                    taken.append(max(taken[-1] + 1, free))
                read = max(read, taken[start + beat] if beat >= 0 else -1) + 1
                given.append(read + 1)
            heads.append((start + following[number] * beats, read + 1))
    return given


@pytest.mark.parametrize("more", [0, 2, 20])
@pytest.mark.parametrize("case", CASES)
def test_cycles(streams, case, more):
    _, _, channels, bits, kernel, *_, lanes = case
    least = make(case).windows.least
    core = make(case, pixels=least + more)
    pixels, windows = images_of(case, 3, seed=channels)
    elements = kernel[0] * kernel[1] * channels
    beats = len(windows) * elements // lanes
    run = streams.run(core, streams.to_beats(pixels, lanes, bits), beats)
    cycles = ref_cycles(core.windows, channels // lanes, core.depth, 3)
    assert [cycle - run.i_cycles[0] for cycle in run.o_cycles] == cycles
    assert streams.from_beats(run.outputs, lanes, bits, elements) == windows


@pytest.mark.parametrize(
    ("padding", "depth", "enough"), [(0, 64, True), (0, 32, False), (1, 32, True)]
)
def test_enough(padding, depth, enough):
    """Pixels come just as fast as windows leave: neither waits for the other."""
    core = SlidingWindow(
        height=14, width=14, channels=1, kernel=(3, 3), padding=(padding,) * 4, lanes=1, depth=depth
    )
    assert (core.windows.enough <= depth) == enough
    frame, frames = core.windows.count * 9, 4  # cycles
    given = []

    async def drive(ctx):
        passed = 0
        for pixel in range(frames * core.windows.pixels):
            while passed < pixel * frame // core.windows.pixels:
                await ctx.tick()
                passed += 1
            ctx.set(core.i.valid, 1)
            while not ctx.get(core.i.ready):
                await ctx.tick()
                passed += 1
            await ctx.tick()
            passed += 1
            ctx.set(core.i.valid, 0)

    async def take(ctx):
        ctx.set(core.o.ready, 1)
        cycle = 0
        while len(given) < frames * frame:
            if ctx.get(core.o.valid):
                given.append(cycle)
            await ctx.tick()
            cycle += 1

    simulator = Simulator(core)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.add_testbench(take)
    simulator.run()
    assert (given[3 * frame] - given[2 * frame] == frame) == enough


@pytest.mark.parametrize("case", CASES[:6])
def test_reset_in_mid_frame(channel, case):
    """An image that is cut off by a reset leaves no trace in the next one."""
    lanes = case[-1]
    core, reset, seen = make(case), Signal(), []
    pixels, windows = images_of(case, 1, seed=0)
    beats = np.reshape(pixels, (-1, lanes)).tolist()
    expected = np.reshape(windows, (-1, lanes)).tolist()
    cut = len(beats) // 2

    async def drive(ctx):
        i = channel(ctx, core.i)
        for beat in beats[:cut]:
            await i.send(beat)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for beat in beats:
            await i.send(beat)

    async def take(ctx):
        o = channel(ctx, core.o, stall=0.3)
        ctx.set(core.o.ready, 1)
        await ctx.tick().until(reset)
        for _ in expected:
            seen.append(list(await o.receive()))
        await o.silence()

    simulator = Simulator(ResetInserter(reset)(core))
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.add_testbench(take)
    simulator.run()
    assert seen == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "An image must be at least 1x1, not 0x6"),
        ({"kernel": (3,)}, r"kernel must be 2 numbers from 1 on, not \(3,\)"),
        ({"stride": (1, 0)}, r"stride must be 2 numbers from 1 on, not \(1, 0\)"),
        ({"padding": (0, 0, -1, 0)}, r"padding must be 4 numbers from 0 on, not \(0, 0, -1, 0\)"),
        ({"kernel": (6, 3)}, "A window of 6x3 does not fit an image of 5x6 with its padding"),
        ({"bits": 0}, "Channels and bits must be at least 1, not 4 and 0"),
        ({"lanes": 3}, "Lanes must divide the 4 channels, not be 3"),
        ({"depth": 16}, "Depth must be a power of two from 32 on, not 16"),
        ({"depth": 48}, "Depth must be a power of two from 32 on, not 48"),
        ({"fill": [0, 1]}, "Fill must have 4 values, not 2"),
        ({"fill": [0, 1, 4, 0]}, r"Fill must be in 0\.\.3, not 4 \(channel 2\)"),
    ],
)
def test_bad_parameters(change, message):
    good = {"height": 5, "width": 6, "channels": 4, "bits": 2}
    good |= {"kernel": (3, 3), "lanes": 2, "depth": 32}
    with pytest.raises(ValueError, match=message):
        SlidingWindow(**(good | change))
