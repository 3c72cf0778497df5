"""Runs a job on a simulator: compile, simulate, turn the outcome into a result or an error."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from sim import harness
from sim.compile import TIMESCALE, cocotb_runner, compile_model, log_end
from sim.job import Job, Result, SimulationMismatch, Stream
from sim.tools import Simulator, find_simulator
from sw.errors import PopstreamError

__all__ = ["simulate"]

PROGRESS_SECONDS = 0.2


def simulate(
    job: Job,
    frames: np.ndarray,
    expected: Mapping[str, np.ndarray],
    build_dir: Path,
    *,
    cache_dir: Path | None = None,
    simulator: Simulator | None = None,
    progress: Callable[[int, int], None] | None = None,
    waves: bool = False,
) -> Result:
    """Simulates a design on frames and checks everything that its streams carry.

    Parameters
    ----------
    job : Job
        The design and its streams.
    frames : ndarray of integers (frames, elements of the input)
        What goes in, at least one frame.
    expected : mapping of str to ndarray of integers (frames, elements)
        What each tap and the output should carry, by the stream's name.
    build_dir : Path
        Gets the folder ``run`` with the log, and with everything recorded if a check fails. One
        simulation at a time.
    cache_dir : Path or None
        Where compiled models are kept; None is ``models`` in `build_dir`.
    simulator : Simulator or None
        None takes what `find_simulator` finds.
    progress : function of (frames done, frames) or None
        Called a few times a second, from a thread of its own, while the frames are checked, and
        once they are right.
    waves : bool
        Record every signal to ``run/dump.vcd`` (Icarus: ``run/dump.fst``). Slow.

    Raises
    ------
    SimulationMismatch
        The design does not do what it should.
    MissingTool
        There is no simulator.
    PopstreamError
        A tool fails; the message has the end of its log.
    ValueError
        The frames do not fit the streams.
    """
    arrays = [_fitting(job.input, frames)]
    for stream in job.streams[1:]:
        if stream.name not in expected:
            raise ValueError(f"stream {stream.name!r} has no expected frames")
        arrays.append(_fitting(stream, expected[stream.name], len(frames)))
    simulator = simulator or find_simulator()
    try:
        return _simulate(job, arrays, build_dir, cache_dir, simulator, progress, waves)
    except OSError as error:
        raise PopstreamError(
            f"the simulation cannot use {error.filename or build_dir}: {error.strerror or error}"
        ) from error


def _fitting(stream: Stream, frames: np.ndarray, count: int | None = None) -> np.ndarray:
    """The frames, if the stream can carry them."""
    frames = np.asarray(frames)
    low, high = stream.range
    if not np.issubdtype(frames.dtype, np.integer):
        raise ValueError(f"stream {stream.name!r}: frames must be integers, not {frames.dtype}")
    if frames.shape != (count or len(frames), stream.elements) or not len(frames):
        raise ValueError(
            f"stream {stream.name!r}: frames have shape {frames.shape}, "
            f"expected ({count or 'at least 1'}, {stream.elements})"
        )
    if frames.min() < low or frames.max() > high:
        raise ValueError(
            f"stream {stream.name!r}: elements must be in {low}..{high}, "
            f"not {frames.min()}..{frames.max()}"
        )
    return frames


def _simulate(job, arrays, build_dir, cache_dir, simulator, progress, waves) -> Result:
    began = time.monotonic()
    model = compile_model(job, simulator, cache_dir or build_dir / "models", waves=waves)
    compile_seconds = time.monotonic() - began

    run = build_dir / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    (run / "job.json").write_text(json.dumps(job.to_json()))
    if job.weights is not None:  # each word from its highest byte on, as `sim.beats` has it
        words = np.frombuffer(job.weights.words, "<u8").astype(">u8")
        (run / "weights.beats").write_bytes(words.tobytes())
    for index, array in enumerate(arrays):
        np.save(run / f"{index}.npy", array)
    with (
        cocotb_runner(simulator) as runner,
        _reporting(run, len(arrays[0]), progress),
        suppress(SystemExit, RuntimeError),  # the outcome says more than the exit status
    ):
        runner.test(
            test_module="sim.bench",
            hdl_toplevel=harness.TOP,
            hdl_toplevel_lang="verilog",
            build_dir=model,
            test_dir=run,
            results_xml=str(run / "results.xml"),
            seed=job.seed,
            plusargs=[f"+dumpfile_path={run / 'dump.fst'}"] if waves else [],
            timescale=TIMESCALE,
            waves=waves,
            log_file=run / "simulation.log",
        )
    try:
        outcome = json.loads((run / "outcome.json").read_text())
    except FileNotFoundError:
        outcome = {}
    if "message" in outcome:
        raise SimulationMismatch(**outcome)
    if "latency_cycles" not in outcome:
        log = run / "simulation.log"
        raise PopstreamError(f"the simulation stopped early; its log {log} ends:\n{log_end(log)}")
    result = Result(
        frames=len(arrays[0]),
        outputs=np.load(run / "outputs.npy"),
        compile_seconds=compile_seconds,
        simulator=simulator.version,
        seed=job.seed,
        **outcome,
    )
    for path in (*run.glob("*.npy"), *run.glob("*.beats")):
        path.unlink()
    if progress is not None:
        progress(result.frames, result.frames)
    return result


@contextmanager
def _reporting(run: Path, total: int, progress: Callable[[int, int], None] | None) -> Iterator:
    """Passes on the number of frames that the bench notes."""
    if progress is None:
        yield
        return
    over = threading.Event()

    def report() -> None:
        while not over.wait(PROGRESS_SECONDS):
            with suppress(OSError, ValueError):  # not there yet, or half written
                progress(int((run / "progress").read_text()), total)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
