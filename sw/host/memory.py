"""Drives an accelerator that fetches its frames from memory: jobs, interrupts, errors, resets.

A device is anything with the members of `RegisterDevice`, such as `sw.host.pynq.PynqDevice`.
"""

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from sw.errors import PopstreamError
from sw.host.registers import BATCH_COUNTERS, BATCHES, COUNTERS, IDENTITY, Cause, register
from sw.host.totals import Totals

__all__ = ["Buffer", "MemoryLink", "RegisterDevice"]

BUFFERS = 2  # of each kind: one is filled while the fabric works on the other
BATCH_BYTES = 1 << 22
MOST_FRAMES = 1 << 15  # a power of two that a job's 16 bits can say
LOOK_SECONDS = 0.1  # between two looks at the counters, should an interrupt be lost

_WORD = 0xFFFF_FFFF
_EVENTS = sum(field.mask for field in register("EVENTS").fields)


class Buffer(Protocol):
    """Memory that the fabric reaches: `array` is its uint8 for us, `address` its place there."""

    array: np.ndarray
    address: int

    def flush(self) -> None:
        """Makes what we wrote visible to the fabric."""

    def invalidate(self) -> None:
        """Makes what the fabric wrote visible to us."""

    def close(self) -> None:
        """Gives the memory back."""


class RegisterDevice(Protocol):
    """A fabric whose registers can be read and written, and which shares memory with us.

    Whatever it cannot do is an OSError or a PopstreamError; no call lasts for ever.
    """

    name: str

    def read(self, address: int) -> int:
        """The word of a register."""

    def write(self, address: int, value: int) -> None:
        """Writes a register."""

    def allocate(self, size: int) -> Buffer:
        """Memory of so many bytes, at an address that is a multiple of 8."""

    def set_clock(self, hz: int) -> int:
        """Sets the fabric's clock, at most to this; returns what it is."""

    def wait(self, timeout: float) -> bool:
        """Waits for an interrupt, at most so many seconds; whether there was one."""

    def close(self) -> None:
        """Lets go of the device."""


class MemoryLink:
    """Has a fabric work on jobs: so many frames from here, their results to there.

    Two jobs are with the fabric at a time, each with its buffers; the frames of the next are copied
    while it works. Where the fabric takes frames in batches, the last one of a job is filled up
    with frames of zeros, whose results are dropped. Whatever goes wrong, including Ctrl-C, ends
    with a reset of the fabric, and the next call finds it as new. Not for several threads at once.

    Parameters
    ----------
    device : RegisterDevice
    timeout : float
        Seconds in which at least one frame must be answered, and in which a reset must end.

    Attributes
    ----------
    spent : Counter
        Seconds by activity: "copy in", "wait", "copy out".
    """

    def __init__(self, device: RegisterDevice, *, timeout: float):
        self._device, self._timeout = device, timeout
        self._counters, self._totals = COUNTERS, Totals()
        self._batch_frames, self._weights = 1, None
        self._buffers: dict = {}
        self._fresh = True  # whatever it was given has ended
        self._jobs = self._frames = 0  # what the fabric has been given since it was reset
        self.spent = Counter()

    @property
    def name(self) -> str:
        """The device's."""
        return self._device.name

    def identify(self) -> dict:
        """The words of the constant registers, by name."""
        constants = [each for each in (*IDENTITY, *BATCHES) if each.access == "constant"]
        with self._reached():
            return {each.name: self._device.read(each.address) for each in constants}

    def prepare(self, hz: int) -> int:
        """Sets the clock that the design was built for and resets; returns the clock in Hz."""
        with self._reached():
            hz = self._device.set_clock(hz) or hz
        self.reset()
        return hz

    def take_batches(self, frames: int, weights: bytes) -> None:
        """Has the fabric work on batches of so many frames; it reads these weights for each.

        Raises
        ------
        PopstreamError
            There is no memory for them.
        """
        self._counters = (*COUNTERS, *BATCH_COUNTERS)
        self._totals, self._batch_frames = Totals(self._counters), frames
        if weights:
            with self._reached():
                self._weights = self._device.allocate(len(weights))
                self._weights.array[: len(weights)] = np.frombuffer(weights, np.uint8)
                self._weights.flush()

    def batch(self, frame_bytes: int, result_bytes: int) -> int:
        """Frames that make a job long enough for its overhead not to matter, in whole batches."""
        fitting = max(1, BATCH_BYTES // max(frame_bytes, result_bytes))
        frames = min(MOST_FRAMES, 1 << (fitting.bit_length() - 1))
        return max(1, frames // self._batch_frames) * self._batch_frames

    def counters(self) -> dict:
        """The totals of all counters, by name."""
        with self._reached():
            self._count()
        return self._totals.read()

    def run(self, batches: Iterable, result_bytes: int) -> Iterator:
        """Sends batches of frames through the fabric.

        Parameters
        ----------
        batches : iterable of array of uint8, (frames, bytes of a frame)
            Taken one by one while the fabric works, 1..65535 frames each.
        result_bytes : int
            Bytes of a frame's result.

        Yields
        ------
        bytes
            The results of a batch, in the order of the batches.

        Raises
        ------
        PopstreamError
            The fabric gave up, does not answer, or is gone; the message says which, and how far it
            came. It has been reset.
        """
        if not self._fresh:
            self.reset()
        self._fresh = False
        waiting = deque()
        try:
            with self._reached():
                for batch in batches:
                    if len(waiting) == BUFFERS:
                        yield self._finish(*waiting.popleft())
                    waiting.append(self._start(batch, result_bytes))
                while waiting:
                    yield self._finish(*waiting.popleft())
        except BaseException as error:
            self._recover(error)
            raise
        self._fresh = True

    def reset(self) -> None:
        """Has the fabric forget all jobs; counters start from 0, but not their totals.

        Raises
        ------
        PopstreamError
            It does not come to an end, or the device is gone.
        """
        self._fresh = False
        with self._reached():
            self._count()
            self._write("CONTROL", register("CONTROL").field("reset").mask)
            end = time.monotonic() + self._timeout
            while self._status("busy"):
                if time.monotonic() >= end:
                    raise PopstreamError(
                        f"the accelerator's reset has not ended within {self._timeout:g} s "
                        f"({self._state()}); a memory access is stuck: load the bitstream again"
                    )
                time.sleep(1e-4)
            self._write("ENABLE", _EVENTS)
        self._totals.restart()
        self._jobs = self._frames = 0
        self._fresh = True

    def close(self) -> None:
        """Gives the memory back and lets go of the device."""
        try:
            if not self._fresh:
                self.reset()
            # Only now: what still writes would write into what is somebody else's by then.
            for buffer in self._buffers.values():
                buffer.close()
            self._buffers.clear()
            if self._weights is not None:
                self._weights.close()
                self._weights = None
        finally:
            self._device.close()

    # A job

    def _start(self, batch: np.ndarray, result_bytes: int) -> tuple:
        """Has the fabric begin as soon as it can; returns what `_finish` takes."""
        frames, frame_bytes = batch.shape
        batches = -(-frames // self._batch_frames)
        whole = batches * self._batch_frames
        with self._timed("copy in"):
            source = self._buffer("source", whole * frame_bytes)
            destination = self._buffer("destination", whole * result_bytes)
            source.array[: batch.size] = batch.reshape(-1)
            source.array[batch.size : whole * frame_bytes] = 0
            source.flush()
        self._write("SOURCE", source.address)
        self._write("DESTINATION", destination.address)
        self._write("FRAMES", batches)
        if self._weights is not None:
            self._write("WEIGHTS", self._weights.address)
        self._write("CONTROL", register("CONTROL").field("start").mask)
        self._jobs += 1
        self._frames += whole
        return self._jobs, destination, frames * result_bytes

    def _finish(self, job: int, destination: Buffer, size: int) -> bytes:
        """The results of a job, once it has ended."""
        with self._timed("wait"):
            self._await(job)
        with self._timed("copy out"):
            destination.invalidate()
            return destination.array[:size].tobytes()

    def _await(self, job: int) -> None:
        """Returns when so many jobs have ended since the reset."""
        fewest, end = None, 0.0
        while True:
            # Cleared before the look: whatever ends after it interrupts again.
            self._write("EVENTS", _EVENTS)
            words = self._count()
            running = (self._jobs - words["JOBS_DONE"]) & _WORD
            if running <= self._jobs - job:
                return
            owed = (self._frames - words["FRAMES_DONE"]) & _WORD
            if self._status("error"):
                raise PopstreamError(f"the accelerator gave up: {self._cause()} ({self._state()})")
            if running > BUFFERS or owed > self._frames:
                raise PopstreamError(
                    f"the accelerator has answered what it was not asked, {self._jobs} jobs of "
                    f"{self._frames} frames ({self._state()}): does another program use it?"
                )
            now = time.monotonic()
            if fewest is None or owed < fewest:
                fewest, end = owed, now + self._timeout
            elif now >= end:
                why = f": {self._cause()}" if self._status("cause") else ""
                raise PopstreamError(
                    f"the accelerator has answered no frame for {self._timeout:g} s and owes "
                    f"{owed}{why} ({self._state()})"
                )
            self._device.wait(min(LOOK_SECONDS, end - now))

    def _buffer(self, kind: str, size: int) -> Buffer:
        """Memory of at least this size that the running job does not use."""
        size = max(8, 1 << (size - 1).bit_length())  # few sizes, so that they are used again
        key = kind, self._jobs % BUFFERS, size
        if key not in self._buffers:
            self._buffers[key] = self._device.allocate(size)
        return self._buffers[key]

    def _recover(self, error: BaseException) -> None:
        """Resets after an error; where that fails too, an error that says both."""
        try:
            self.reset()
        except PopstreamError as second:
            if isinstance(error, PopstreamError) and str(second) != str(error):
                raise PopstreamError(f"{error}; and {second}") from error

    # Registers

    def _read(self, name: str) -> int:
        return self._device.read(register(name).address)

    def _write(self, name: str, value: int) -> None:
        self._device.write(register(name).address, value)

    def _status(self, field: str) -> int:
        return register("STATUS").field(field).of(self._read("STATUS"))

    def _count(self) -> dict:
        """The counters' words, by name; the totals know them too."""
        words = {each.name: self._device.read(each.address) for each in self._counters}
        self._totals.update(words)
        return words

    def _cause(self) -> str:
        cause = self._status("cause")
        return Cause(cause).text if cause in list(Cause) else f"cause {cause}, which is unknown"

    def _state(self) -> str:
        """Status and counters in words."""
        status = register("STATUS")
        word = self._read("STATUS")
        flags = [name for name in ("busy", "error") if status.field(name).of(word)] or ["idle"]
        counts = [f"{name} {value}" for name, value in self._count().items()]
        return f"{', '.join(flags)}, {status.field('queued').of(word)} queued; {', '.join(counts)}"

    @contextmanager
    def _reached(self) -> Iterator:
        """Makes one error of whatever a device that is gone raises."""
        try:
            yield
        except (OSError, EOFError) as error:
            reason = str(error) or type(error).__name__
            raise PopstreamError(f"lost the device {self.name}: {reason}") from error

    @contextmanager
    def _timed(self, activity: str) -> Iterator:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent[activity] += time.perf_counter() - began
