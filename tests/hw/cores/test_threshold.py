# amaranth: UnusedElaboratable=no
import random

import pytest

from hw.cores.threshold import Threshold


@pytest.mark.parametrize("lanes", [1, 3, 7, 10])
@pytest.mark.parametrize(
    "thresholds", [[5] * 10, [0, 8, 7, 1, 2, 3, 4, 5, 6, 8], [0] * 10, [8] * 10]
)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_thresholds(streams, lanes, thresholds, stall):
    rng = random.Random(lanes)
    vectors = [[rng.getrandbits(3) for _ in range(10)] for _ in range(20)]
    core = Threshold(width=3, thresholds=thresholds, lanes=lanes)
    beats = streams.to_beats(vectors, lanes, 3)
    run = streams.run(core, beats, len(beats), i_stall=stall, o_stall=stall, seed=lanes)
    assert streams.from_beats(run.outputs, lanes, 1, 10) == [
        [int(x >= t) for x, t in zip(vector, thresholds, strict=True)] for vector in vectors
    ]
    assert run.o_cycles == run.i_cycles


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 0, "thresholds": [1], "lanes": 1}, "Width must be at least 1, not 0"),
        ({"width": 8, "thresholds": [1, 257], "lanes": 1}, r"0\.\.256, not 257 \(element 1\)"),
        ({"width": 8, "thresholds": [1, 2], "lanes": 3}, r"Lanes must be in 1\.\.2, not 3"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        Threshold(**parameters)
