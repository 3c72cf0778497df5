"""An accelerator at the far end of a serial line; has what `sw.host.memory.MemoryLink` has."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from sw.errors import PopstreamError
from sw.host.serial import TRIES, SerialClient
from sw.host.totals import Totals

__all__ = ["SerialLink"]

BATCH = 64  # frames between two looks at the counters, and two reports of progress


class SerialLink:
    """Has a board answer frames that are sent one by one.

    Parameters
    ----------
    port
        As `SerialClient` takes it; the link owns it.
    timeout : float
        Seconds within which a frame must be answered, all tries together.

    Attributes
    ----------
    spent : Counter
        Seconds by activity: "wait" is sending and receiving.
    """

    def __init__(self, port, *, timeout: float):
        self.name = getattr(port, "name", None) or "serial"
        self._client = SerialClient(port, patience=timeout / TRIES)
        self._totals = Totals()
        self._fresh = True
        self.spent = Counter()

    def identify(self) -> dict:
        """The words of the identity registers, by name."""
        return self._client.identify()

    def prepare(self, hz: int) -> int:
        """The board's clock, which is what the design was built for; connecting has reset it."""
        return hz

    def batch(self, frame_bytes: int, result_bytes: int) -> int:
        """Frames of a batch, whatever their size."""
        return BATCH

    def counters(self) -> dict:
        """The totals of all counters, by name."""
        self._totals.update(self._client.counters())
        return self._totals.read()

    def run(self, batches: Iterable, result_bytes: int) -> Iterator:
        """As `MemoryLink.run`; each batch ends before the next is taken."""
        if not self._fresh:
            self.reset()
        self._fresh = False
        done = 0
        try:
            for batch in batches:
                yield self._infer(batch, done)
                done += len(batch)
        except BaseException:
            self._recover()
            raise
        self._fresh = True

    def reset(self) -> None:
        """Has the board forget all frames; counters start from 0, but not their totals."""
        self._fresh = False
        self._client.reset()
        self._totals.restart()
        self._fresh = True

    def close(self) -> None:
        """Closes the port."""
        self._client.close()

    def _infer(self, batch: np.ndarray, done: int) -> bytes:
        began = time.perf_counter()
        try:
            results = self._client.infer(batch)
        except PopstreamError as error:  # which counts from the batch's first frame
            raise PopstreamError(f"after {done} frames: {error}") from error
        self.spent["wait"] += time.perf_counter() - began
        self.counters()
        return results

    def _recover(self) -> None:
        # Where the board does not answer this either, the next run tries again.
        try:
            self.reset()
        except PopstreamError:
            self._fresh = False
