"""Cycle numbers that coroutines pass: transfers, credits, and no matter who runs first."""

import random
from itertools import permutations

import pytest

from hw.events import Stream, Tokens, run


def chain(gaps, room, order=None):
    """A source with gaps, a buffer of `room` places and a sink with gaps: cycles of both sides.

    Parameters
    ----------
    gaps : (list of int, list of int)
        Cycles that the source and the sink wait before each beat.
    """
    i, o, places, held = Stream(), Stream(), Tokens([0] * room), Tokens()
    came, left = [], []

    def source():
        time = 0
        for gap in gaps[0]:
            time = 1 + (yield from i.give(time + gap))

    def arrive():
        time = 0
        while True:
            time = yield from i.take(max(time, (yield places)))
            came.append(time)
            time += 1
            held.put(time)

    def leave():
        time = 0
        while True:
            time = 1 + (yield from o.give(max(time, (yield held))))
            places.put(time)

    def sink():
        time = 0
        for gap in gaps[1]:
            time = yield from o.take(time + gap)
            left.append(time)
            time += 1

    processes = [source(), arrive(), leave(), sink()]
    run(processes[k] for k in order or range(4))
    return came, left


def cycle_by_cycle(gaps, room):
    """The same, by looking at every cycle."""
    came, left = [], []
    held, time = 0, 0
    waits = [list(side) for side in gaps]
    while len(left) < len(gaps[1]):
        moves = [
            bool(waits[0]) and waits[0][0] == 0 and held < room,
            waits[1][0] == 0 and held > 0,
        ]
        for side, moved in zip(waits, moves, strict=True):
            if moved:
                side.pop(0)
            elif side and side[0]:
                side[0] -= 1
        came += [time] * moves[0]
        left += [time] * moves[1]
        held += moves[0] - moves[1]
        time += 1
    return came, left


@pytest.mark.parametrize("seed", range(20))
def test_a_buffer_is_as_cycle_by_cycle(seed):
    rng = random.Random(seed)
    gaps = [[rng.choice([0, 0, 1, 3]) for _ in range(30)] for _ in range(2)]
    room = rng.randint(1, 4)
    assert chain(gaps, room) == cycle_by_cycle(gaps, room)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_it_does_not_matter_who_runs_first(order):
    gaps = [[0, 2, 0, 0, 1, 0], [1, 0, 0, 4, 0, 0]]
    assert chain(gaps, 2, order) == chain(gaps, 2)


def test_what_is_put_back_comes_next():
    tokens, seen = Tokens([3, 7]), []

    def taker():
        time = yield tokens
        tokens.put_back(time + 1)
        seen.extend([(yield tokens), (yield tokens)])

    run([taker()])
    assert seen == [4, 7]


def test_what_never_comes_ends_the_run():
    times = []

    def waits():
        times.append((yield Tokens()))

    run([waits()])
    assert times == []
