# amaranth: UnusedElaboratable=no
import random

import pytest

from hw.cores.argmax import Argmax, argmax_cycles


def first_largest(vector):
    return vector.index(max(vector))


@pytest.mark.parametrize(
    ("elements", "lanes"),
    [(e, lanes) for e in (2, 3, 10, 13) for lanes in (1, 2, 3, 10, 13) if lanes <= e],
)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_argmax(streams, elements, lanes, stall):
    rng = random.Random(elements * lanes)
    vectors = [[rng.getrandbits(3) for _ in range(elements)] for _ in range(60)]
    vectors += [[0] * elements, [7] * elements, [*range(elements)], [*range(elements)][::-1]]
    vectors = [[min(x, 7) for x in vector] for vector in vectors]
    core = Argmax(width=3, elements=elements, lanes=lanes)
    beats = streams.to_beats(vectors, lanes, 3)
    run = streams.run(core, beats, len(vectors), i_stall=stall, o_stall=stall, seed=lanes)
    assert run.outputs == [first_largest(vector) for vector in vectors]
    if not stall:
        per_vector = -(-elements // lanes)
        later = argmax_cycles(lanes)
        ends = run.i_cycles[per_vector - 1 :: per_vector]
        assert run.o_cycles == [cycle + later for cycle in ends]
        assert run.i_cycles == list(range(len(beats)))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((0, 4, 1), "Width must be at least 1, not 0"),
        ((1, 1, 1), "Elements must be at least 2, not 1"),
        ((1, 4, 5), r"Lanes must be in 1\.\.4, not 5"),
    ],
)
def test_bad_parameters(parameters, message):
    names = ("width", "elements", "lanes")
    with pytest.raises(ValueError, match=message):
        Argmax(**dict(zip(names, parameters, strict=True)))
