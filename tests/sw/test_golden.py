import numpy as np
import pytest

from sw import golden
from sw.errors import PopstreamError
from sw.network import Argmax, Binarise, Dense, Input, Network


@pytest.mark.parametrize("synapses", [1, 7, 8, 9, 63, 64, 65, 200])
def test_matches_by_counting(synapses):
    rng = np.random.default_rng(synapses)
    x = rng.integers(0, 2, (5, synapses), dtype=np.uint8)
    w = rng.integers(0, 2, (3, synapses), dtype=np.uint8)
    expected = [[int((a == b).sum()) for b in w] for a in x]
    assert golden.matches(x, w).tolist() == expected


def network(weights=((1, 0), (0, 1)), thresholds=None):
    return Network(
        (
            Input("pixels", shape=(2,), bits=3),
            Binarise("bits", ("pixels",), [4, 0]),
            Dense("scores", ("bits",), np.array(weights, dtype=np.uint8), thresholds),
            *([] if thresholds is not None else [Argmax("label", ("scores",))]),
        )
    )


def test_trace_by_hand():
    values = golden.trace(network(), np.array([[4, 0], [3, 7]]))
    assert values["bits"].tolist() == [[1, 1], [0, 1]]  # a threshold of 0 is always on
    assert values["scores"].tolist() == [[1, 1], [0, 2]]
    assert values["label"].tolist() == [[0], [1]]  # a tie goes to the lowest index


def test_thresholds_at_both_ends():
    frames = np.array([[0, 0], [7, 7]])
    assert golden.predict(network(thresholds=[0, 3]), frames).tolist() == [[1, 0], [1, 0]]
    assert golden.predict(network(thresholds=[1, 2]), frames).tolist() == [[0, 1], [1, 0]]


def test_chunks_and_progress():
    frames = np.random.default_rng(0).integers(0, 8, (1300, 2))
    seen = []
    whole = golden.predict(network(), frames, lambda done, total: seen.append((done, total)))
    single = [golden.predict(network(), frame[None])[0] for frame in frames]
    assert whole.tolist() == single
    assert seen[-1] == (1300, 1300) and len(seen) == 3
    assert golden.predict(network(), frames[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((1, 3), int), r"shape \(2,\), not \(3,\)"),
        (np.zeros((1, 2)), "integers, not float64"),
        (np.array([[0, 8]]), r"0\.\.7, not 8"),
        (np.array([[-1, 0]]), r"0\.\.7, not -1"),
    ],
)
def test_bad_frames(frames, message):
    with pytest.raises(PopstreamError, match=message):
        golden.predict(network(), frames)
