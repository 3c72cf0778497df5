"""Frames of integers to beats of bits, and back."""

import numpy as np

from sim.job import Stream

__all__ = ["from_lanes", "record_words", "to_input_file", "to_lanes", "unpack_records"]

CHUNK_FRAMES = 256  # bounds the memory for unpacked bits


def to_lanes(stream: Stream, frames: np.ndarray) -> np.ndarray:
    """Frames (n, elements) as lanes (n, beats * lanes), padding lanes 0."""
    vectors = frames.reshape(len(frames), stream.vectors, -1)
    padding = stream.vector_beats * stream.lanes - vectors.shape[2]
    return np.pad(vectors, ((0, 0), (0, 0), (0, padding))).reshape(len(frames), -1)


def from_lanes(stream: Stream, lanes: np.ndarray) -> np.ndarray:
    """The inverse of `to_lanes`."""
    vectors = lanes.reshape(len(lanes), stream.vectors, -1)
    return vectors[:, :, : stream.elements // stream.vectors].reshape(len(lanes), -1)


def to_input_file(stream: Stream, frames: np.ndarray, path) -> None:
    """Writes what the bench's driver reads: one big-endian number of whole bytes for each beat.

    Parameters
    ----------
    stream : Stream
        How the frames travel.
    frames : ndarray of integers (frames, elements)
        Within the stream's range. Padding lanes are sent as 0.
    path : Path
        The file.
    """
    with path.open("wb") as file:
        for start in range(0, len(frames), CHUNK_FRAMES):
            chunk = frames[start : start + CHUNK_FRAMES].astype(np.int64)
            lanes = to_lanes(stream, chunk)
            bits = (lanes[:, :, None] >> np.arange(stream.width)) & 1
            beats = bits.astype(np.uint8).reshape(-1, stream.bits)
            file.write(np.packbits(beats, axis=1, bitorder="little")[:, ::-1].tobytes())


def record_words(stream: Stream) -> int:
    """32-bit words of payload in one record of the bench's monitor."""
    return -(-stream.bits // 32)


def unpack_records(stream: Stream, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Reads whole records of the bench's monitor.

    Returns
    -------
    cycles : ndarray of int64 (beats,)
        When each beat was transferred.
    lanes : ndarray of int64 (beats, lanes)
        What it carried.
    """
    records = np.frombuffer(data, np.uint8).reshape(-1, 4 * (1 + record_words(stream)))
    cycles = records[:, :4].copy().view("<u4")[:, 0].astype(np.int64)
    payload = np.unpackbits(records[:, 4:], axis=1, bitorder="little", count=stream.bits)
    bits = payload.reshape(len(records), stream.lanes, stream.width)
    weights = np.int64(1) << np.arange(stream.width)
    if stream.signed:
        weights[-1] *= -1
    return cycles, bits @ weights
