# amaranth: UnusedElaboratable=no
"""Cores on the simulator that their Verilog meets in a build; their own tests cover much more."""

import numpy as np
import pytest
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In

from hw.cores.argmax import Argmax
from hw.cores.matrix_unit import MatrixUnit
from hw.cores.max_pool import MaxPool
from hw.cores.sliding_window import SlidingWindow
from hw.cores.threshold import Threshold
from hw.cores.whole_window import Sweep, WholeWindow
from hw.cores.width_converter import WidthConverter
from sim.core import check_core, port_stream

FRAMES = 200


@pytest.fixture
def random():
    return np.random.default_rng(11)


@pytest.fixture
def check(simulator, models, tmp_path):
    def checked(core, frames, expected, **fields):
        return check_core(
            core, frames, expected, tmp_path, cache_dir=models, simulator=simulator, **fields
        )

    return checked


@pytest.mark.parametrize("payload, lanes, width, signed", [
    (data.ArrayLayout(5, 3), 3, 5, False),
    (data.ArrayLayout(range(-4, 4), 2), 2, 3, True),
    (range(10), 1, 4, False),
])  # fmt: skip
def test_port_stream(payload, lanes, width, signed):
    core = wiring.Component({"i_x": In(stream.Signature(payload))})
    found = port_stream(core, "i_x", 7)
    assert (found.lanes, found.width, found.signed) == (lanes, width, signed)
    assert (found.elements, found.port, found.path) == (7, "i_x", "")


@pytest.mark.parametrize(
    "width, elements, i_lanes, o_lanes", [(8, 7, 3, 5), (1, 50, 13, 4), (62, 3, 1, 3)]
)
def test_width_converter(check, random, width, elements, i_lanes, o_lanes):
    core = WidthConverter(width=width, elements=elements, i_lanes=i_lanes, o_lanes=o_lanes)
    frames = random.integers(0, 1 << width, (FRAMES, elements))
    beats = max(-(-elements // lanes) for lanes in (i_lanes, o_lanes))
    check(core, frames, frames, cycles_per_frame=beats)


@pytest.mark.parametrize("thresholds", [[100] * 7, [0, 256, 1, 255, 128, 7, 99]])
def test_threshold(check, random, thresholds):
    frames = random.integers(0, 256, (FRAMES, 7))
    expected = (frames >= thresholds).astype(int)
    core = Threshold(width=8, thresholds=thresholds, lanes=3)
    check(core, frames, expected, latency_cycles=0, cycles_per_frame=3)


def test_argmax(check, random):
    frames = random.integers(0, 4, (FRAMES, 10))
    expected = frames.argmax(axis=1)[:, None]
    check(Argmax(width=2, elements=10, lanes=3), frames, expected, cycles_per_frame=4)


@pytest.mark.parametrize("scores", [False, True])
def test_matrix_unit(check, random, scores):
    weights = random.integers(0, 2, (9, 50), dtype=np.uint8)
    thresholds = None if scores else random.integers(15, 35, 9)
    frames = random.integers(0, 2, (FRAMES, 50))
    matches = (frames[:, None, :] == weights).sum(axis=2)
    expected = matches if scores else (matches >= thresholds).astype(int)
    core = MatrixUnit(
        weights=weights, thresholds=thresholds, inputs_per_beat=13, neurons_per_beat=4
    )
    result = check(core, frames, expected, cycles_per_frame=4 * 3)
    assert np.array_equal(result.outputs, expected)


# A first layer's image, and one whose windows begin in padding and leave pixels over.
WINDOWS = [
    {"height": 7, "width": 9, "channels": 3, "bits": 8, "kernel": (3, 3)},
    {"height": 8, "width": 6, "channels": 4, "bits": 1, "kernel": (3, 2), "stride": (2, 2)}
    | {"padding": (1, 0, 1, 1), "fill": [1, 0, 1, 1]},
]


def windows_of(images, kernel, stride=(1, 1), padding=(0, 0, 0, 0), fill=0, **_):
    """im2col by numpy, each frame's windows in one row."""
    top, bottom, left, right = padding
    frames, height, width, channels = images.shape
    padded = np.empty((frames, height + top + bottom, width + left + right, channels), int)
    padded[:] = fill
    padded[:, top : top + height, left : left + width] = images
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))
    windows = windows[:, :: stride[0], :: stride[1]].transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(frames, -1)


@pytest.mark.parametrize("form", ["serial", "whole"])
@pytest.mark.parametrize("window", WINDOWS)
def test_windows(check, random, window, form):
    shape = (FRAMES // 10, window["height"], window["width"], window["channels"])
    images = random.integers(0, 1 << window["bits"], shape)
    if form == "serial":
        core = SlidingWindow(**window, lanes=window["channels"], depth=64)
        beats = core.windows.count * window["kernel"][0] * window["kernel"][1]
    else:
        core = WholeWindow(**window)
        beats = Sweep(core.windows).places
    frames = images.reshape(len(images), -1)
    check(core, frames, windows_of(images, **window), cycles_per_frame=beats)


@pytest.mark.parametrize("bits", [1, 5])
def test_max_pool(check, random, bits):
    images = random.integers(0, 1 << bits, (FRAMES // 10, 6, 9, 4))
    images *= random.random(images.shape) < 0.4
    core = MaxPool(height=6, width=9, channels=4, bits=bits, lanes=2)
    largest = images[:, :, :8].reshape(-1, 3, 2, 4, 2, 4).max(axis=(2, 4))
    frames = len(images)
    check(core, images.reshape(frames, -1), largest.reshape(frames, -1), cycles_per_frame=6 * 9 * 2)
