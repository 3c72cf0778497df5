"""Bits packed 64 to a word, and counting the windows of words that differ from weights.

Two forms of one function: numpy, and numba (`sw.kernel`) where that is installed and asked for.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Limits", "Weights", "Windows", "pack", "pack_planes", "unpack"]

_GATHERED = 1 << 20  # words of windows at a time, so that numpy's working set stays in the cache


def pack(bits: np.ndarray) -> np.ndarray:
    """Pack 0 and 1, (..., n), into words (..., ceil(n / 64)), bit 0 lowest, the rest 0."""
    return pack_planes(bits, 1)[0]


def pack_planes(elements: np.ndarray, bits: int) -> np.ndarray:
    """Pack each bit of elements, uint8 (..., n), into (bits, ..., words), the lowest bit first."""
    *outer, n = elements.shape
    if n % 64:  # numpy packs rows one by one, and a flat array thirty times as fast
        whole = np.zeros((*outer, -(-n // 64) * 64), np.uint8)
        whole[..., :n] = elements
    else:
        whole = np.ascontiguousarray(elements)
    flat = whole.reshape(-1)
    planes = [
        np.packbits(flat & 1 << bit if bits > 1 else flat, bitorder="little") for bit in range(bits)
    ]
    words = np.stack(planes).view("<u8").astype(np.uint64, copy=False)
    return words.reshape(bits, *outer, -1)


def unpack(words: np.ndarray, count: int) -> np.ndarray:
    """The first `count` bits of words (..., n): uint8 0 and 1, (..., count)."""
    data = np.ascontiguousarray(words).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(data, axis=-1, count=count, bitorder="little")


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of packed elements, each in several words anywhere.

    Parameters
    ----------
    words : array of uint64, (planes, ...)
        Bit planes of the elements, the lowest first.
    starts : array of int64, (windows,)
        Where each begins in the lowest plane, in words.
    taps : array of int64, (words of a window,)
        Where its words are, from there.
    """

    words: np.ndarray
    starts: np.ndarray
    taps: np.ndarray

    @property
    def plane(self) -> int:
        """Words from one plane to the next."""
        return self.words[0].size


@dataclass(frozen=True, eq=False)
class Limits:
    """How many bits may differ: array of int, (classes of windows, neurons)."""

    numbers: np.ndarray

    @cached_property
    def padded(self) -> np.ndarray:
        """For whole blocks of neurons; those that are not there are never reached."""
        from sw.kernel import BLOCK

        classes, neurons = self.numbers.shape
        padded = np.full((classes, -(-neurons // BLOCK) * BLOCK), -1, np.int64)
        padded[:, :neurons] = self.numbers
        return padded


@dataclass(frozen=True, eq=False)
class Weights:
    """Packed weights (neurons, words of a window), and what differs from them."""

    words: np.ndarray

    @property
    def neurons(self) -> int:
        return len(self.words)

    @cached_property
    def blocks(self) -> np.ndarray:
        """For each block of neurons, word by word, those of its neurons."""
        from sw.kernel import BLOCK

        neurons, words = self.words.shape
        padded = np.zeros((-(-neurons // BLOCK) * BLOCK, words), np.uint64)
        padded[:neurons] = self.words
        return padded.reshape(-1, BLOCK, words).transpose(0, 2, 1).ravel()

    def differing(self, x: Windows, compiled: bool) -> np.ndarray:
        """How many bits differ, those of plane b counted 2^b times: int32, (windows, neurons)."""
        if compiled:
            from sw.kernel import BLOCK, count_sums

            out = np.empty((len(x.starts), -(-self.neurons // BLOCK) * BLOCK), np.int32)
            count_sums(*_kernel(x), self.blocks, out)
            return out[:, : self.neurons]
        out = np.zeros((len(x.starts), self.neurons), np.int32)
        step = max(1, _GATHERED // max(len(x.taps), self.neurons))
        flat = x.words.reshape(len(x.words), -1)
        for first in range(0, len(out), step):
            at = x.starts[first : first + step, None] + x.taps
            for plane, words in enumerate(flat):
                for theirs, ours in zip(words[at].T, self.words.T, strict=True):
                    ones = np.bitwise_count(theirs[:, None] ^ ours)
                    out[first : first + step] += ones.astype(np.int32) << plane
        return out

    def at_most(
        self, x: Windows, limits: Limits, classes: np.ndarray, compiled: bool
    ) -> np.ndarray:
        """Whether no more bits differ than may, as packed bits: (windows, words).

        Parameters
        ----------
        classes : array of int64, (windows,)
            Which limits are a window's.
        """
        if not compiled:
            return pack(self.differing(x, False) <= limits.numbers[classes])
        from sw.kernel import count_bits

        out = np.zeros((len(x.starts), -(-self.neurons // 64) * 8), np.uint8)
        count_bits(*_kernel(x), self.blocks, limits.padded, classes, out)
        return out.view("<u8").astype(np.uint64, copy=False)


def _kernel(x: Windows) -> tuple:
    return x.words.reshape(-1), len(x.words), x.plane, x.starts, x.taps
