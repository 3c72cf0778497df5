"""The serial link's packets, as both ends know them.

The line carries 8N1 bytes. In both directions they are packets:

    SYNC  kind  sequence  length (2)  payload (length)  CRC-32 (4)

with numbers lowest byte first. The CRC is zlib's, of everything between SYNC and itself. What the
host asks for, a `Kind`, the board answers with a packet of kind | `ANSWER` and of the same sequence
number. What is no whole, right packet is dropped, and the search for SYNC goes on.

A pause of `PAUSE_SECONDS` within a packet makes the board drop it. The host needs no such rule:
`Parser` looks for packets everywhere in what it gets. Results come in the order of the frames;
other answers may overtake them.

Source: RFC 1952 section 8 (the CRC).
"""

import enum
import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from sw.host.registers import COUNTERS, IDENTITY

__all__ = [
    "ANSWER",
    "FRAMES_IN_FLIGHT",
    "LONGEST",
    "OVERHEAD",
    "PAUSE_SECONDS",
    "SYNC",
    "Kind",
    "Packet",
    "Parser",
    "answer_lengths",
    "build",
    "request_lengths",
]

SYNC = 0xA5
ANSWER = 0x80
PAUSE_SECONDS = 0.05  # a pause so long within a packet makes the board look for SYNC again
FRAMES_IN_FLIGHT = 2  # frames that the board always has room for

_HEADER = struct.Struct("<BBBH")
_LENGTH = struct.Struct("<H")  # the header's last field
_CRC = struct.Struct("<I")
LONGEST = 0xFFFF  # bytes of a payload
OVERHEAD = _HEADER.size + _CRC.size  # bytes of a packet that are not its payload


class Kind(enum.IntEnum):
    """What the host can ask for."""

    IDENTIFY = 0x01  # answered by the register map's identity section
    INFER = 0x02  # a frame; answered by its result
    COUNTERS = 0x03  # answered by the register map's counters
    RESET = 0x04  # forget all frames, counters start from 0; answered when that is done


class Packet(NamedTuple):
    """A packet without what only the line needs.

    Attributes
    ----------
    kind : int
        A `Kind`, with `ANSWER` if it comes from the board.
    sequence : int
        0..255.
    payload : bytes
    """

    kind: int
    sequence: int
    payload: bytes = b""


def request_lengths(frame_bytes: int) -> dict[int, int]:
    """Bytes of payload of each kind of packet that goes to the board."""
    return {kind: frame_bytes if kind is Kind.INFER else 0 for kind in Kind}


def answer_lengths(result_bytes: int) -> dict[int, int]:
    """Bytes of payload of each kind of packet that the board answers with."""
    return {
        Kind.IDENTIFY | ANSWER: 4 * len(IDENTITY),
        Kind.INFER | ANSWER: result_bytes,
        Kind.COUNTERS | ANSWER: 4 * len(COUNTERS),
        Kind.RESET | ANSWER: 0,
    }


def build(packet: Packet) -> bytes:
    """A packet as it goes over the line."""
    kind, sequence, payload = packet
    header = _HEADER.pack(SYNC, kind, sequence, len(payload))
    return header + payload + _CRC.pack(zlib.crc32(header[1:] + payload))


class Parser:
    """Finds the packets in what comes over a line, whatever else comes with them.

    Every place where a packet may start is tried, those within another that is not whole yet
    included: nothing that comes before a packet, be it half of another one, hides it.

    Parameters
    ----------
    lengths : mapping of int to int
        Bytes of payload of each kind of packet that may come.
    """

    def __init__(self, lengths: Mapping[int, int]):
        self._lengths = dict(lengths)
        self._held = b""  # from the first place on where a packet may have begun

    @property
    def longest(self) -> int:
        """Bytes of the longest packet."""
        return OVERHEAD + max(self._lengths.values())

    @property
    def missing(self) -> int:
        """Bytes that the packet under way lacks, or else a whole one has at least; 1 or more."""
        return self._size(self._held) - len(self._held)

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that are whole now that `data` has come."""
        self._held += data
        packets, begun, start = [], None, 0
        while (start := self._held.find(SYNC, start)) >= 0:
            size = self._size(self._held[start : start + _HEADER.size])
            found = self._held[start : start + size]
            if size and len(found) == size and _is_right(found):
                packets.append(Packet(found[1], found[2], found[_HEADER.size : -_CRC.size]))
                begun, start = None, start + size
                continue
            if begun is None and len(found) < size:
                begun = start
            start += 1
        self._held = b"" if begun is None else self._held[begun:]
        return packets

    def _size(self, head: bytes) -> int:
        """Bytes of the packet that starts so, as far as these tell; 0 where none does."""
        if len(head) < 2:
            return OVERHEAD + min(self._lengths.values())
        length = self._lengths.get(head[1])
        if length is None or not _LENGTH.pack(length).startswith(head[3 : _HEADER.size]):
            return 0
        return OVERHEAD + length


def _is_right(data: bytes) -> bool:
    (crc,) = _CRC.unpack(data[-_CRC.size :])
    return zlib.crc32(data[1 : -_CRC.size]) == crc
