# amaranth: UnusedElaboratable=no
import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from hw.cores.max_pool import MaxPool

CASES = [  # height, width, channels, bits, size, stride, lanes
    (1, 1, 1, 1, (1, 1), (1, 1), 1),
    (4, 6, 4, 1, (2, 2), (2, 2), 4),
    (4, 6, 4, 3, (2, 2), (2, 2), 2),
    (5, 7, 3, 2, (2, 2), (2, 2), 1),  # a row and a column left over
    (6, 5, 5, 1, (2, 2), (2, 2), 3),  # lanes that do not divide the channels
    (7, 7, 2, 4, (3, 3), (3, 3), 1),
    (8, 8, 2, 2, (3, 2), (3, 2), 2),  # two rows left over
    (7, 8, 3, 2, (2, 1), (3, 4), 3),  # gaps between windows, the last of them incomplete
    (3, 3, 6, 8, (3, 3), (3, 3), 2),  # one window
    (5, 9, 4, 3, (1, 9), (1, 9), 1),  # a window is a row
    (3, 4, 2, 1, (1, 1), (2, 3), 1),
]


def ref_pool(image, size, stride):
    """The largest of each channel over each window, from the definition."""
    pixels = []
    for y in range(0, image.shape[0] - size[0] + 1, stride[0]):
        for x in range(0, image.shape[1] - size[1] + 1, stride[1]):
            pixels.append(image[y : y + size[0], x : x + size[1]].max(axis=(0, 1)).tolist())
    return pixels


def make(case):
    names = ("height", "width", "channels", "bits", "size", "stride", "lanes")
    return MaxPool(**dict(zip(names, case, strict=True)))


def images_of(case, count, seed=0):
    """Pixels of some images, with many small elements so that the OR of bits is not always 1."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 1 << case[3], (count, *case[:3]))
    images *= rng.random(images.shape) < 0.4
    return images.reshape(-1, case[2]).tolist(), [
        p for i in images for p in ref_pool(i, *case[4:6])
    ]


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.4, 0.4), (0.0, 0.8), (0.8, 0.0)])
@pytest.mark.parametrize("case", CASES)
def test_largest(streams, case, stalls):
    _, _, channels, bits, _, _, lanes = case
    pixels, expected = images_of(case, 4)
    run = streams.run(
        make(case),
        streams.to_beats(pixels, lanes, bits),
        len(expected) * -(-channels // lanes),
        i_stall=stalls[0],
        o_stall=stalls[1],
        seed=channels,
    )
    assert streams.from_beats(run.outputs, lanes, bits, channels) == expected


@pytest.mark.parametrize("case", CASES)
def test_cycles(streams, case):
    """A beat comes every cycle, and the last one of a window leaves as a result in the next."""
    height, width, channels, bits, size, stride, lanes = case
    pixels, expected = images_of(case, 4)
    beats = -(-channels // lanes)
    run = streams.run(make(case), streams.to_beats(pixels, lanes, bits), len(expected) * beats)
    assert [c - run.i_cycles[0] for c in run.i_cycles] == list(range(len(pixels) * beats))
    last = np.zeros((4, height, width, beats), dtype=bool)
    rows, columns = height - size[0] + 1, width - size[1] + 1
    last[:, size[0] - 1 :][:, : rows : stride[0], size[1] - 1 :][:, :, : columns : stride[1]] = True
    assert [c - run.i_cycles[0] - 1 for c in run.o_cycles] == np.flatnonzero(last).tolist()


def test_two_results_wait(channel):
    """Nothing comes in while two results wait, from the cycle after the second on."""
    core, ready = MaxPool(height=1, width=8, channels=1, size=(1, 1), stride=(1, 1), lanes=1), []

    async def bench(ctx):
        ctx.set(core.i.valid, 1)
        for cycle in range(6):
            ctx.set(core.o.ready, cycle == 3)
            ready.append(ctx.get(core.i.ready))
            await ctx.tick()

    simulator = Simulator(core)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert ready == [1, 1, 0, 0, 1, 0]


@pytest.mark.parametrize("case", CASES[1:6])
def test_reset_in_mid_frame(channel, case):
    """An image that is cut off by a reset leaves no trace in the next one."""
    _, _, channels, _, _, _, lanes = case
    core, reset, seen = make(case), Signal(), []
    pixels, expected = images_of(case, 1)
    beats = [p[at : at + lanes] for p in pixels for at in range(0, channels, lanes)]

    async def drive(ctx):
        i = channel(ctx, core.i)
        for beat in beats[: len(beats) * 2 // 3]:
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
        for pixel in expected:
            for at in range(0, channels, lanes):
                wanted = pixel[at : at + lanes]
                seen.append(list(await o.receive())[: len(wanted)] == wanted)
        await o.silence()

    simulator = Simulator(ResetInserter(reset)(core))
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.add_testbench(take)
    simulator.run()
    assert all(seen) and len(seen) == len(expected) * -(-channels // lanes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (5, 2), "stride": (5, 2)}, "A window of 5x2 does not fit an image of 4x6"),
        ({"channels": 0}, "Channels and bits must be at least 1, not 0 and 2"),
        ({"lanes": 5}, r"Lanes must be in 1\.\.4, not 5"),
        ({"stride": (2, 1)}, "Strides must be at least the window's 2x2, not 2x1"),
    ],
)
def test_bad_parameters(change, message):
    good = {"height": 4, "width": 6, "channels": 4, "bits": 2, "lanes": 2}
    with pytest.raises(ValueError, match=message):
        MaxPool(**(good | change))
