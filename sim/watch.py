"""Compares what a stream carried with what it should carry, as its beats are recorded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim.beats import from_lanes, record_words, to_lanes, unpack_records
from sim.job import Stream

__all__ = ["Difference", "Watch"]

LISTED = 4  # differences worth a message


@dataclass(frozen=True)
class Difference:
    """One element that is not what it should be."""

    frame: int
    neuron: int
    expected: int
    got: int

    def __str__(self) -> str:
        return f"frame {self.frame} neuron {self.neuron}: expected {self.expected}, got {self.got}"


class Watch:
    """The expected frames of one stream against the file that its monitor writes.

    Parameters
    ----------
    stream : Stream
        What travels.
    expected : ndarray of integers (frames, elements)
        What it should carry.
    numbers : ndarray of int (frames,)
        What messages call each frame.
    path : Path
        The monitor's file.
    keep : bool
        Keep what it carried, for `outputs`.

    Members
    -------
    beats : int
        Beats seen so far.
    starts : list of int
        For each frame, the cycle in which its first beat was transferred.
    wrong : int
        Elements that differ.
    differences : list of Difference
        The first of them.
    """

    def __init__(
        self,
        stream: Stream,
        expected: np.ndarray,
        numbers: np.ndarray,
        path: Path,
        *,
        keep: bool = False,
    ) -> None:
        self.stream, self.numbers = stream, numbers
        self.beats = self.wrong = 0
        self.starts: list[int] = []
        self.differences: list[Difference] = []
        self._expected = to_lanes(stream, expected).reshape(-1, stream.lanes)
        # Which element of a frame each lane of each beat carries, -1 where it is padding.
        elements = np.arange(1, stream.elements + 1)[None]
        self._element = to_lanes(stream, elements).reshape(-1, stream.lanes) - 1
        self._kept: list[np.ndarray] | None = [] if keep else None
        self._path = path
        self._offset = 0

    @property
    def outputs(self) -> np.ndarray:
        """What it carried: int64 (whole frames, elements)."""
        beats = np.concatenate([*self._kept, np.empty((0, self.stream.lanes), np.int64)])
        frames = len(beats) // self.stream.beats
        lanes = beats[: frames * self.stream.beats].reshape(frames, -1)
        return from_lanes(self.stream, lanes)

    def look(self) -> None:
        """Reads the records written since the last look and compares them."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        data = data[: len(data) - len(data) % (4 * (1 + record_words(self.stream)))]
        self._offset += len(data)
        cycles, lanes = unpack_records(self.stream, data)
        self.starts.extend(cycles[-self.beats % self.stream.beats :: self.stream.beats].tolist())
        first, self.beats = self.beats, self.beats + len(lanes)
        if self._kept is not None:
            self._kept.append(lanes)

        expected = self._expected[first : self.beats]  # nothing is expected beyond the last frame
        lanes = lanes[: len(expected)]
        beat = np.arange(first, first + len(lanes)) % self.stream.beats
        differ = (lanes != expected) & (self._element[beat] >= 0)
        self.wrong += int(differ.sum())
        for row, lane in np.argwhere(differ)[: LISTED - len(self.differences)]:
            frame, beat = divmod(first + int(row), self.stream.beats)
            self.differences.append(
                Difference(
                    frame=int(self.numbers[frame]),
                    neuron=int(self._element[beat, lane]),
                    expected=int(expected[row, lane]),
                    got=int(lanes[row, lane]),
                )
            )
