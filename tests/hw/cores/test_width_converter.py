# amaranth: UnusedElaboratable=no
import itertools
import random

import pytest

from hw.cores.width_converter import WidthConverter, converter_sizes, dropped_beats

LANES = [1, 2, 3, 4, 7, 10]
CASES = [(10, a, b) for a, b in itertools.product(LANES, LANES)]
CASES += [(1, 1, 1), (9, 8, 5), (9, 5, 8), (13, 13, 6), (13, 6, 13), (64, 8, 64), (37, 36, 1)]
CASES += [(24, 2, 8), (24, 8, 2), (12, 12, 5), (26, 5, 13), (64, 10, 12), (40, 7, 8), (33, 7, 8)]


def random_vectors(elements, count, seed, width=3):
    rng = random.Random(seed)
    return [[rng.getrandbits(width) for _ in range(elements)] for _ in range(count)]


@pytest.mark.parametrize(("elements", "i_lanes", "o_lanes"), CASES)
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.4, 0.6), (0.0, 0.8)])
def test_regroups(streams, elements, i_lanes, o_lanes, stalls):
    core = WidthConverter(width=3, elements=elements, i_lanes=i_lanes, o_lanes=o_lanes)
    vectors = random_vectors(elements, 7, seed=elements + i_lanes)
    beats = streams.to_beats(vectors, i_lanes, 3)
    out_beats = 7 * -(-elements // o_lanes)
    run = streams.run(core, beats, out_beats, i_stall=stalls[0], o_stall=stalls[1], seed=o_lanes)
    assert streams.from_beats(run.outputs, o_lanes, 3, elements) == vectors


@pytest.mark.parametrize(("elements", "i_lanes", "o_lanes"), CASES)
def test_no_gap_between_vectors(streams, elements, i_lanes, o_lanes):
    core = WidthConverter(width=1, elements=elements, i_lanes=i_lanes, o_lanes=o_lanes)
    vectors = random_vectors(elements, 40, seed=1, width=1)
    i_beats, o_beats = -(-elements // i_lanes), -(-elements // o_lanes)
    run = streams.run(core, streams.to_beats(vectors, i_lanes, 1), 40 * o_beats)
    ends = run.o_cycles[o_beats - 1 :: o_beats]
    assert ends[30] - ends[10] == 20 * max(i_beats, o_beats)
    # An output beat leaves the cycle after the input beat that completes it.
    needed = -(-min(o_lanes, elements) // i_lanes)
    assert run.o_cycles[0] - run.i_cycles[needed - 1] == 1


@pytest.mark.parametrize(
    ("elements", "i_lanes", "o_lanes", "sizes"),
    [
        (784, 28, 112, (224, 28, 28)),  # two output beats
        (784, 112, 28, (224, 112, 112)),  # two input beats
        (256, 37, 64, (256, 37, 34)),  # a vector
        (10, 7, 10, (20, 7, 3)),  # two vectors
        (1025, 8, 1, (16, 8, 8)),  # two input beats, the last one of which is padded
    ],
)
def test_sizes(elements, i_lanes, o_lanes, sizes):
    assert converter_sizes(elements, i_lanes, o_lanes) == sizes


@pytest.mark.parametrize(("elements", "i_lanes", "o_lanes"), [(1029, 8, 1), (1026, 8, 4)])
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.3, 0.3)])
def test_padding_behind_a_large_vector_is_dropped(streams, elements, i_lanes, o_lanes, stalls):
    core = WidthConverter(width=1, elements=elements, i_lanes=i_lanes, o_lanes=o_lanes)
    vectors = random_vectors(elements, 4, seed=2, width=1)
    o_beats, dropped = -(-elements // o_lanes), dropped_beats(elements, i_lanes, o_lanes)
    beats = streams.to_beats(vectors, i_lanes, 1)
    run = streams.run(core, beats, 4 * o_beats, i_stall=stalls[0], o_stall=stalls[1])
    assert streams.from_beats(run.outputs, o_lanes, 1, elements) == vectors
    if not any(stalls):
        assert set(run.o_cycles[2 * o_beats - 1 :: o_beats]) == {
            run.o_cycles[o_beats - 1] + k * (o_beats + dropped) for k in (1, 2, 3)
        }
        assert dropped == -elements % i_lanes // o_lanes > 0


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((0, 4, 1, 1), "at least 1, not 0 and 4"),
        ((1, 4, 5, 1), r"i_lanes must be in 1\.\.4, not 5"),
        ((1, 4, 1, 0), r"o_lanes must be in 1\.\.4, not 0"),
    ],
)
def test_bad_parameters(parameters, message):
    names = ("width", "elements", "i_lanes", "o_lanes")
    with pytest.raises(ValueError, match=message):
        WidthConverter(**dict(zip(names, parameters, strict=True)))
