"""sw.host.link: packets, and finding them again among anything."""

import random
import zlib

import pytest

from sw.host.link import (
    ANSWER,
    OVERHEAD,
    SYNC,
    Kind,
    Packet,
    Parser,
    answer_lengths,
    build,
    request_lengths,
)

LENGTHS = request_lengths(6)


def test_packet_on_the_line():
    """Written out by hand, as the gateware's author reads the protocol."""
    payload = bytes([1, 2, 3])
    body = bytes([0x02, 0x7F, 3, 0]) + payload
    crc = zlib.crc32(body).to_bytes(4, "little")
    assert build(Packet(Kind.INFER, 0x7F, payload)) == bytes([0xA5]) + body + crc
    assert build(Packet(Kind.RESET, 9)).hex() == "a504090000" + "c473f7a1"
    assert len(build(Packet(Kind.RESET, 9))) == OVERHEAD


def test_lengths():
    assert request_lengths(98) == {1: 0, 2: 98, 3: 0, 4: 0}
    assert answer_lengths(20) == {0x81: 76, 0x82: 20, 0x83: 24, 0x84: 0}


def test_long_payload():
    packet = Packet(Kind.INFER, 1, random.Random(1).randbytes(3072))
    assert Parser(request_lengths(3072)).feed(build(packet)) == [packet]


PACKETS = [
    Packet(Kind.IDENTIFY, 0),
    Packet(Kind.INFER, 255, bytes(6)),
    Packet(Kind.INFER, SYNC, bytes([SYNC] * 6)),
    Packet(Kind.COUNTERS, 7),
    Packet(Kind.RESET, 8),
    Packet(Kind.INFER, 1, build(Packet(Kind.RESET, 8))[:6]),
]


def test_finds_packets_however_they_are_cut():
    line = b"".join(map(build, PACKETS))
    for size in (1, 2, 7, len(line)):
        parser = Parser(LENGTHS)
        found = [p for at in range(0, len(line), size) for p in parser.feed(line[at : at + size])]
        assert found == PACKETS


def test_reading_what_is_missing_never_reads_too_much():
    """A reader who waits for as many bytes as are missing gets each packet when it is whole."""
    parser, line = Parser(LENGTHS), b"".join(map(build, PACKETS))
    ends, position = [], 0
    while position < len(line):
        wanted = parser.missing
        assert 1 <= wanted <= parser.longest
        position += wanted
        ends += [position] * len(parser.feed(line[position - wanted : position]))
    sizes = [len(build(packet)) for packet in PACKETS]
    assert ends == [sum(sizes[: count + 1]) for count in range(len(sizes))]


@pytest.mark.parametrize("byte", range(15))
@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_is_seen(byte, bit):
    line = bytearray(build(Packet(Kind.INFER, 3, b"frames")))
    line[byte] ^= 1 << bit
    good = Packet(Kind.COUNTERS, 4)
    assert Parser(LENGTHS).feed(bytes(line) + build(good)) == [good]


def test_half_a_packet_hides_nothing():
    """Not even a packet that is shorter than what the half one lacks."""
    half = build(Packet(Kind.INFER, 3, bytes(6)))[:6]
    parser, good = Parser(LENGTHS), Packet(Kind.RESET, 4)
    assert len(half) + OVERHEAD < OVERHEAD + 6 + 1
    assert parser.feed(half) == []
    assert parser.feed(build(good)) == [good]
    assert parser.missing == OVERHEAD


def test_kinds_and_lengths_that_cannot_come_are_not_waited_for():
    parser = Parser(LENGTHS)
    for line in (
        build(Packet(Kind.INFER, 3, bytes(7))),
        build(Packet(Kind.INFER | ANSWER, 3, bytes(6))),
        build(Packet(Kind.IDENTIFY, 3, bytes(256))),
        bytes([SYNC, Kind.INFER, 3, 6, 1]),
    ):
        assert parser.feed(line) == []
        assert parser.missing == OVERHEAD


def test_random_bytes_keep_nothing_for_long():
    parser, rng = Parser(LENGTHS), random.Random(2)
    for _ in range(200):
        noise = bytes(rng.choice([SYNC, 1, 2, 6, 0, rng.randrange(256)]) for _ in range(20))
        assert parser.feed(noise) == []
        assert 1 <= parser.missing <= parser.longest
    good = Packet(Kind.INFER, 5, b"frames")
    assert parser.feed(build(good)) == [good]
