"""When things happen in a pipeline: coroutines that pass cycle numbers, not data.

A core's timing is a few coroutines: one takes its input beats, one gives its output beats, and
places in its buffers pass between them. Each is straight-line code about its own time: `time` is
a cycle number, and waiting for something is `time = max(time, yield tokens)`. No cycle is visited
in which nothing happens, so a network that takes a million cycles a frame costs no more than one
that takes a hundred.

Nothing here chooses between events that come at once, so the order in which coroutines run does not
matter, and the times are exact (a Kahn network with time stamps; G. Kahn, "The semantics of a
simple language for parallel programming", 1974).
"""

from collections import deque
from collections.abc import Generator, Iterable

__all__ = ["Process", "Stream", "Tokens", "run"]

Process = Generator["Tokens", int, None]


class Tokens:
    """A queue of cycle numbers: from when on the next of something is there.

    Any coroutine may put one in at once; one coroutine takes them out, by ``yield tokens``.

    Parameters
    ----------
    times : iterable of int
        What is there at the beginning, e.g. ``[0] * n`` for n free places.
    """

    def __init__(self, times: Iterable[int] = ()):
        self._times = deque(times)
        self._taker: Process | None = None
        self._runnable: deque | None = None

    def put(self, time: int) -> None:
        if self._taker is None:
            self._times.append(time)
        else:
            self._runnable.append((self._taker, time))
            self._taker = None

    def put_back(self, time: int) -> None:
        """Leaves what was taken for the next to take."""
        self._times.appendleft(time)


class Stream:
    """The transfers of a stream: the next is when it is both offered and asked for.

    Valid and ready are functions of each side's own state, so each side says from which cycle on it
    is up, and both learn the cycle of the transfer.
    """

    def __init__(self):
        self._valid, self._ready = Tokens(), Tokens()

    def give(self, time: int) -> Generator[Tokens, int, int]:
        """Valid is up from cycle `time` on; ``yield from`` it is the cycle of the transfer."""
        self._valid.put(time)
        return max(time, (yield self._ready))

    def take(self, time: int) -> Generator[Tokens, int, int]:
        """Ready is up from cycle `time` on; ``yield from`` it is the cycle of the transfer."""
        self._ready.put(time)
        return max(time, (yield self._valid))


def run(processes: Iterable[Process]) -> None:
    """Runs coroutines until every one has ended or waits for what never comes."""
    runnable: deque = deque((process, None) for process in processes)
    while runnable:
        process, sent = runnable.popleft()
        try:
            tokens = process.send(sent)
            while tokens._times:
                tokens = process.send(tokens._times.popleft())
        except StopIteration:
            continue
        tokens._taker, tokens._runnable = process, runnable
