# amaranth: UnusedElaboratable=no
"""hw.shell.aligner: frames of bytes, packed into words and cut out again."""

import random

import pytest
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring

from hw.shell.aligner import Aligner
from hw.shell.reader import WORD

SIZES = [1, 2, 3, 7, 8, 9, 12, 15, 16, 17, 24, 31, 98, 100]


def random_jobs(frame_bytes, counts, seed):
    rng = random.Random(seed)
    return [[rng.randbytes(frame_bytes) for _ in range(count)] for count in counts]


def to_words(jobs, seed=0):
    """Jobs of frames as what a reader gives; behind a job's end lies anything."""
    rng = random.Random(seed)
    words = []
    for job in jobs:
        line = b"".join(job)
        count = -(-len(line) // 8)
        padded = line + rng.randbytes(8 * count - len(line))
        for n in range(count):
            last = n == count - 1
            bytes = len(line) % 8 if last else rng.randrange(8)
            data = int.from_bytes(padded[8 * n : 8 * n + 8], "little")
            words.append(WORD.const({"data": data, "last": last, "bytes": bytes}).as_bits())
    return words


def from_beats(beats, frame_bytes, o_bytes):
    """The frames that beats carry, each from a beat of its own."""
    per_frame = -(-frame_bytes // o_bytes)
    line = [beat.to_bytes(o_bytes, "little") for beat in beats]
    return [
        b"".join(line[start : start + per_frame])[:frame_bytes]
        for start in range(0, len(line), per_frame)
    ]


class Frames(wiring.Component):
    """An aligner without what it lets out beyond a frame's end, which may change while it waits."""

    def __init__(self, **parameters):
        self.aligner = Aligner(**parameters)
        super().__init__(dict(self.aligner.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.aligner = aligner = self.aligner
        wiring.connect(m, wiring.flipped(self.i), aligner.i)
        beats = -(-aligner.frame_bytes // aligner.o_bytes)
        rest = aligner.frame_bytes - (beats - 1) * aligner.o_bytes
        beat = Signal(range(beats))
        last = beat == beats - 1
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        m.d.comb += [
            self.o.payload.eq(Mux(last, aligner.o.payload[: 8 * rest], aligner.o.payload)),
            self.o.valid.eq(aligner.o.valid),
            aligner.o.ready.eq(self.o.ready),
        ]
        return m


CASES = [(size, 8) for size in SIZES] + [(size, 16) for size in SIZES if size > 8]


@pytest.mark.parametrize(("frame_bytes", "o_bytes"), CASES)
@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.4, 0.6), (0.0, 0.8), (0.7, 0.0)])
def test_cuts_frames_out(streams, frame_bytes, o_bytes, stalls):
    core = Frames(frame_bytes=frame_bytes, o_bytes=o_bytes)
    jobs = random_jobs(frame_bytes, [1, 2, 3, 1, 1, 9, 4, 8, 5], seed=frame_bytes)
    frames = [frame for job in jobs for frame in job]
    beats = len(frames) * -(-frame_bytes // o_bytes)
    run = streams.run(
        core, to_words(jobs), beats, i_stall=stalls[0], o_stall=stalls[1], seed=o_bytes
    )
    assert from_beats(run.outputs, frame_bytes, o_bytes) == frames


@pytest.mark.parametrize(("frame_bytes", "o_bytes"), CASES)
def test_rate(streams, frame_bytes, o_bytes):
    """A beat of 8 bytes every cycle, or a word, whichever comes first; of 16 bytes, a word."""
    jobs = random_jobs(frame_bytes, [56], seed=1)
    core = Frames(frame_bytes=frame_bytes, o_bytes=o_bytes)
    beats = -(-frame_bytes // o_bytes)
    run = streams.run(core, to_words(jobs), 56 * beats)
    ends = run.o_cycles[beats - 1 :: beats]
    ideal = -(-frame_bytes // 8) if o_bytes == 8 else frame_bytes / 8
    assert (ends[48] - ends[16]) / 32 == ideal


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"frame_bytes": 0}, "at least 1 byte, not 0"),
        ({"frame_bytes": 98, "o_bytes": 32}, "must be 8 or 16, not 32"),
        ({"frame_bytes": 8, "o_bytes": 16}, "16 bytes are for larger frames than of 8"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        Aligner(**parameters)


def test_properties():
    aligner = Aligner(frame_bytes=98, o_bytes=16)
    assert (aligner.frame_bytes, aligner.o_bytes) == (98, 16)
