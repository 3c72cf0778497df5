from dataclasses import replace

import numpy as np
import pytest

from sim.job import SimulationMismatch, Stalls, Stream
from sim.runner import simulate
from sim.tools import find_simulator
from sw.errors import MissingTool, PopstreamError


@pytest.fixture
def run(job, frames, expected, simulator, models, tmp_path):
    """Simulates the pipeline, with changes to the job and to what is expected."""

    def simulated(*, changed=None, options=None, **fields):
        wanted = expected()
        for (stream, frame, neuron), value in (changed or {}).items():
            wanted[stream][frame, neuron] = value
        return simulate(
            replace(job, **fields),
            frames,
            wanted,
            tmp_path,
            **{"cache_dir": models, "simulator": simulator, **(options or {})},
        )

    return simulated


@pytest.fixture
def failure(run):
    def failed(**arguments):
        with pytest.raises(SimulationMismatch) as caught:
            run(**arguments)
        assert caught.value.seed == arguments.get("seed", 1)
        assert f"(seed {caught.value.seed})" in str(caught.value)
        return caught.value

    return failed


# A design that is right


def test_result(run, frames, simulator, tmp_path):
    calls = []
    result = run(options={"progress": lambda *call: calls.append(call)})
    assert result.frames == 40
    assert result.latency_cycles == 2
    assert result.cycles_per_frame == 3
    assert np.array_equal(result.outputs, (frames + 1) % 256)
    assert result.simulator == simulator.version
    assert result.cycles_per_second == result.cycles / result.seconds
    assert calls[-1] == (40, 40)
    assert (tmp_path / "run" / "simulation.log").stat().st_size > 0
    assert not list((tmp_path / "run").glob("*.beats"))


def test_a_seed_repeats_a_simulation(run):
    once, again, other = (run(seed=seed).cycles for seed in (1, 1, 2))
    assert once == again != other


@pytest.mark.parametrize("i, o", [((0, 0), (0.9, 1)), ((0.9, 1), (0, 0)), ((0, 0), (0, 0))])
def test_stalls_lose_nothing(run, i, o):
    assert run(input_stalls=Stalls(*i), output_stalls=Stalls(*o)).frames == 40


def test_one_frame(run, frames, job, models, simulator, tmp_path):
    one = frames[:1]
    result = simulate(
        job, one, {"first": one, "answer": one + 1}, tmp_path, cache_dir=models, simulator=simulator
    )
    assert result.outputs.shape == (1, 8)


def test_padding_lanes_are_not_looked_at(run, frames, job, models, simulator, tmp_path):
    # Two beats, of the second only lane 0: the others carry 0 + 1, and 7 is expected of nobody.
    shorter = {"elements": 4}
    fewer = replace(
        job,
        input=replace(job.input, **shorter),
        taps=(replace(job.taps[0], **shorter),),
        output=replace(job.output, **shorter),
        cycles_per_frame=2,
    )
    short = frames[:, :4]
    simulate(
        fewer,
        short,
        {"first": short, "answer": short + 1},
        tmp_path,
        cache_dir=models,
        simulator=simulator,
    )


# Cycles


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"latency_cycles": 3}, "the plan predicts 3 cycles of latency, measured: 2"),
        ({"cycles_per_frame": 4}, "the plan predicts 4 cycles per frame, measured: 3"),
    ],
)
def test_wrong_prediction(failure, fields, message):
    error = failure(**fields)
    assert message in str(error)
    assert "without stalls" in str(error)
    (predicted,) = fields.values()
    assert (error.kind, error.expected, error.got) == ("timing", predicted, predicted - 1)


def test_uneven_frames(run, failure, tell):
    tell("wait", frame=6)
    assert run(cycles_per_frame=None).cycles_per_frame is None
    assert "the plan predicts 3 cycles per frame, measured: 3, 4" in str(failure())


def test_patience(run, tell):
    tell("sleep", frame=20)
    assert run().frames == 40


# Values


def test_wrong_element_in_a_tap(failure, frames):
    right = int(frames[17, 5])
    calls = []
    progress = {"progress": lambda *call: calls.append(call)}
    error = failure(changed={("first", 17, 5): right ^ 1}, options=progress)
    assert (40, 40) not in calls
    where = (error.kind, error.layer, error.frame, error.neuron, error.expected, error.got)
    assert where == ("value", "first", 17, 5, right ^ 1, right)
    assert "with random stalls" in str(error)
    assert "first differs from the golden model in 1 of" in str(error)
    assert f"frame 17 neuron 5: expected {right ^ 1}, got {right}" in str(error)


def test_earliest_layer_is_blamed(failure):
    error = failure(changed={("answer", 3, 0): 250, ("first", 9, 7): 250}, seed=3)
    assert (error.layer, error.frame, error.neuron) == ("answer", 3, 0)  # seen without stalls
    error = failure(changed={("answer", 21, 0): 250, ("first", 22, 7): 250})
    assert (error.layer, error.frame, error.neuron) == ("first", 22, 7)


def test_differences_are_listed(failure):
    error = failure(changed={("answer", frame, 1): 250 for frame in range(20, 26)})
    assert [f"frame {frame} neuron 1" in str(error) for frame in range(20, 25)] == 4 * [True] + [
        False
    ]


# Beats


def test_lost_beat(failure, tell):
    tell("drop", frame=20, beat=1)
    error = failure()
    assert (error.kind, error.layer, error.frame) == ("lost", "answer", 20)
    assert "1 lost, first difference: frame 20 neuron 3" in str(error)


def test_lost_last_beat(failure, tell):
    tell("drop", frame=39, beat=2)
    error = failure()
    assert (error.kind, error.layer, error.frame) == ("lost", "answer", 39)
    assert "answer: 119 beats instead of 120, 1 lost, from frame 39 beat 2 on" in str(error)


def test_repeated_beat(failure, tell):
    tell("repeat", frame=20)
    error = failure()
    assert (error.kind, error.layer, error.frame) == ("duplicated", "answer", 20)


def test_repeated_last_beat(failure, tell):
    tell("repeat", frame=39, beat=2)
    error = failure()
    assert error.kind == "duplicated"
    assert "answer: 121 beats instead of 120, 1 duplicated" in str(error)


def test_endless_beats(failure, tell):
    tell("flood", frame=20)
    error = failure()
    assert (error.kind, error.layer, error.frame) == ("duplicated", "answer", 20)


@pytest.mark.parametrize(
    "fault, message",
    [
        ("withdraw", "answer: valid is withdrawn before the transfer of frame 20 beat 2"),
        ("change", "answer: payload changes before the transfer of frame 20 beat 2"),
    ],
)
def test_protocol(failure, tell, fault, message):
    tell(fault, frame=20, beat=2)
    error = failure(output_stalls=Stalls(0.9, 0))
    assert (error.kind, error.layer, error.frame) == ("protocol", "answer", 20)
    assert message in str(error)


def test_deadlock(failure, tell):
    tell("hang", frame=20, beat=1)
    error = failure()
    assert (error.kind, error.layer, error.frame) == ("deadlock", "first", 20)
    assert "deadlock after first: nothing moves for" in str(error)
    assert "first frame 20 beat 2 offered, not accepted" in str(error)
    assert "answer frame 20 beat 2 awaited" in str(error)


def test_wrong_element_before_a_deadlock(failure, tell):
    tell("hang", frame=22)
    error = failure(changed={("answer", 20, 3): 250})
    assert (error.kind, error.layer, error.frame, error.neuron) == ("value", "answer", 20, 3)


def test_reset_in_mid_frame(run, failure, tell):
    tell("remember", frame=slice(None))
    run(reset=False)
    error = failure()
    assert (error.kind, error.layer, error.frame, error.neuron) == ("value", "answer", 0, 0)


# Tools, files, arguments


def test_failing_compilation(run, job, models):
    nowhere = Stream("first", 3, 8, 8, path="no.where")
    with pytest.raises(PopstreamError, match=r"does not compile 'pipeline'; its log .*") as caught:
        run(taps=(nowhere,))
    assert str(models / "failed.log") in str(caught.value)
    assert "bench.v:" in str(caught.value)  # the log's end


def test_payload_of_another_width(run, job):
    wider = replace(job.taps[0], width=9)
    with pytest.raises(PopstreamError, match="first: payload of 24 bits, not 27"):
        run(taps=(wider,))


def test_missing_stream(job, frames, tmp_path):
    with pytest.raises(ValueError, match="stream 'first' has no expected frames"):
        simulate(job, frames, {"answer": frames}, tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda f: f[:, :7], r"shape \(40, 7\), expected \(at least 1, 8\)"),
        (lambda f: f[:0], r"shape \(0, 8\), expected \(at least 1, 8\)"),
        (lambda f: f + 200, r"must be in 0\.\.255, not "),
        (lambda f: f - 200, r"must be in 0\.\.255, not -"),
        (lambda f: f / 2, "must be integers, not float64"),
    ],
)
def test_frames_that_do_not_fit(job, frames, expected, tmp_path, change, message):
    with pytest.raises(ValueError, match=f"stream 'pixels': .*{message}"):
        simulate(job, change(frames), expected(), tmp_path)


def test_folder_that_cannot_be_made(run, job, frames, expected, models, simulator, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PopstreamError, match=r"cannot use .*file"):
        simulate(
            job, frames, expected(), tmp_path / "file" / "x", cache_dir=models, simulator=simulator
        )


def test_waves(run, tmp_path, simulator):
    run(options={"waves": True})
    names = {"verilator": "dump.vcd", "icarus": "dump.fst"}
    assert (tmp_path / "run" / names[simulator.name]).stat().st_size > 1000


def test_icarus(run):
    try:
        icarus = find_simulator("icarus")
    except MissingTool as error:
        pytest.skip(str(error))
    assert run(options={"simulator": icarus}).cycles_per_frame == 3
