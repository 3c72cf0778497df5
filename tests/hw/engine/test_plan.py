import numpy as np
import pytest

from hw.engine.image import rom_rows, weights_image
from hw.engine.plan import plan_engine
from sw.network import Conv, Dense, Input, Network, NetworkError

RNG = np.random.default_rng(0)
NETWORK = Network(
    (
        Input("x", shape=(4, 5, 3), bits=1),
        Conv("conv", ("x",), RNG.integers(0, 2, (5, 2, 3, 3)), RNG.integers(0, 20, 5)),
        Dense("scores", ("conv",), RNG.integers(0, 2, (3, 45))),
    )
)
SIZE = {"simd": 2, "pe": 4, "batch": 3, "row_words": 1}


def test_units():
    plan = plan_engine(NETWORK, **SIZE, depth=12)
    conv, scores = plan.steps
    assert (conv.words, conv.groups, conv.tiles, conv.written_words) == (2, 2, 12, 3)
    assert (conv.rows, conv.last_rows, conv.chunks) == (4, 1, 3)
    assert list(conv.chunk_pixels()) == [12, 12, 3]
    assert (scores.words, scores.groups, scores.tiles, scores.chunks) == (3, 1, 27, 1)
    assert list(scores.chunk_pixels()) == [3]
    assert plan.bank_words == (3 * 20 * 2, 3 * 9 * 3, 1)
    assert plan.sum_width == 7 and plan.score_width == 6 and plan.scores == 3


def test_the_image_in_words():
    """What the port reads, put together word by word from what the engine's docstring says."""
    plan = plan_engine(NETWORK, **SIZE, depth=12)
    conv, scores = NETWORK.nodes[1:]
    words = []
    for _chunk in range(3):
        for group in (range(4), range(4, 8)):
            starts = [64 - int(conv.thresholds[n]) if n < 5 else 0 for n in group]
            words.append(sum(start << 16 * place for place, start in enumerate(starts)))
            for row, column, first in np.ndindex(2, 3, 2):
                tile = ""
                for channel in (2 * first, 2 * first + 1):
                    for n in group:
                        real = n < 5 and channel < 3
                        tile += str(conv.weights[n, row, column, channel] if real else 1)
                words.append(int(tile[::-1], 2))
    words.append(0)
    weights = scores.weights.reshape(3, 9, 5)
    for pixel, first in np.ndindex(9, 3):
        tile = ""
        for channel in (2 * first, 2 * first + 1):
            for n in range(4):
                tile += str(weights[n, pixel, channel] if n < 3 and channel < 5 else 1)
        words.append(int(tile[::-1], 2))

    image = weights_image(NETWORK, plan)
    assert np.frombuffer(image, "<u8").tolist() == words
    assert plan.stream_words == len(words)

    # What is resident is there once.
    plan = plan_engine(NETWORK, **SIZE, depth=12, resident=["conv"])
    assert rom_rows(NETWORK, plan) == words[:26]
    assert np.frombuffer(weights_image(NETWORK, plan), "<u8").tolist() == words[78:]


def test_a_slow_port_binds():
    plan = plan_engine(NETWORK, simd=8, pe=16, batch=1, row_words=1)
    ideal, slow = plan.timing, plan.timing_at(0.25)
    assert plan.stream_words == 38 < ideal.per_batch
    assert slow.per_batch == 38 / 0.25
    assert 0 < ideal.port_bound < slow.port_bound < 1
    assert sum(ideal.by_pass) == ideal.per_batch
    resident = plan_engine(NETWORK, simd=8, pe=16, batch=1, resident=["conv", "scores"])
    assert resident.timing == resident.timing_at(0.1) and resident.stream_words == 0
    assert resident.timing.waiting == 0
    with pytest.raises(ValueError, match="efficiency must be above 0 and at most 1, not 0"):
        plan.timing_at(0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"simd": 0}, ValueError, "simd must be at least 1, not 0"),
        ({"batch": 0}, ValueError, "batch must be at least 1, not 0"),
        ({"row_words": 0}, ValueError, "row_words must be at least 1, not 0"),
        ({"stages": 5}, ValueError, "stages must be in 0..4, not 5"),
        ({"pe": 6}, ValueError, r"pe must be simd \(2\) times a power of two, not 6"),
        ({"pe": 1}, ValueError, r"pe must be simd \(2\) times a power of two, not 1"),
        ({"resident": ["conw"]}, NetworkError, "no layer is named conw"),
        (
            {"depth": 2},
            NetworkError,
            "conv: a row of 3 pixels is more than the 2 that sums are kept of",
        ),
    ],
)
def test_bad_parameters(change, error, message):
    with pytest.raises(error, match=message):
        plan_engine(NETWORK, **(SIZE | change))


def test_too_many_synapses():
    nodes = (
        Input("x", shape=(1 << 15,), bits=1),
        Dense("wide", ("x",), np.zeros((1, 1 << 15), dtype=np.uint8)),
    )
    with pytest.raises(NetworkError, match="wide: an engine counts up to 32767 synapses, not 3276"):
        plan_engine(Network(nodes), **SIZE)
