import json
from dataclasses import replace

import pytest

from sim.job import Job, SimulationMismatch, Stalls, Stream, Weights
from sw.errors import PopstreamError

STREAM = Stream("a", lanes=3, width=2, elements=7)


def test_stream():
    assert (STREAM.beats, STREAM.bits, STREAM.range) == (3, 6, (0, 3))
    assert replace(STREAM, signed=True).range == (-2, 1)
    assert replace(STREAM, lanes=7).beats == 1


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"lanes": 0}, "stream 'a': lanes and elements must be at least 1, not 0 and 7"),
        ({"elements": 0}, "stream 'a': lanes and elements must be at least 1, not 3 and 0"),
        ({"width": 0}, r"stream 'a': width must be in 1\.\.62, not 0"),
        ({"width": 63}, r"stream 'a': width must be in 1\.\.62, not 63"),
    ],
)
def test_stream_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(STREAM, **fields)


@pytest.mark.parametrize("stalls", [(-0.1, 0), (0.95, 0), (0, -1), (0, 1.1)])
def test_stalls_refuse(stalls):
    with pytest.raises(ValueError, match=r"chance must be in 0\.\.0\.9 and bursts in 0\.\.1, not "):
        Stalls(*stalls)


def test_json():
    job = Job(
        verilog="module",
        top="top",
        input=STREAM,
        output=replace(STREAM, name="b", signed=True),
        taps=(replace(STREAM, name="c", path="x.y"),),
        cycles_per_frame=7,
        seed=5,
        input_stalls=Stalls(0.5, 0.5),
        reset=False,
    )
    assert [stream.name for stream in job.streams] == ["a", "c", "b"]
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == replace(job, verilog="")


def test_json_leaves_the_words_of_weights_out():
    weights = Weights(b"12345678" * 3, port="w", stalls=Stalls(0.3, 0.2))
    job = Job(verilog="", top="top", input=STREAM, output=replace(STREAM, name="b"))
    job = replace(job, weights=weights)
    read = Job.from_json(json.loads(json.dumps(job.to_json())))
    assert read == replace(job, weights=replace(weights, words=bytes(8)))


@pytest.mark.parametrize("count", [0, 12])
def test_weights_are_whole_words(count):
    with pytest.raises(ValueError, match=f"weights must be whole words of 8 bytes, not {count} b"):
        Weights(bytes(count))


def test_names_must_differ():
    with pytest.raises(ValueError, match="names of their own, not a, a"):
        Job(verilog="", top="top", input=STREAM, output=STREAM)


def test_mismatch_is_for_users():
    error = SimulationMismatch("text", kind="value", seed=3, layer="a", frame=1, neuron=2)
    assert isinstance(error, PopstreamError)
    assert str(error) == "text"
    assert (error.layer, error.frame, error.neuron, error.expected) == ("a", 1, 2, None)
