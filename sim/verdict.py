"""Says what is wrong with a simulated run, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

from sim.job import Job, SimulationMismatch
from sim.watch import Watch

__all__ = ["Run", "judge", "judge_timing"]


@dataclass(frozen=True)
class Run:
    """A run that came to its end, or was broken off.

    Members
    -------
    seed : int
        Of the job.
    phase : str
        What messages call it, such as ``"with random stalls"``.
    watches : sequence of Watch
        One for each stream, in the order in which data passes them.
    frames : int
        Frames that were sent, each of them complete.
    broken_off : bool
        A reset is about to interrupt it: beats may be missing.
    still_cycles : int
        For how long nothing has moved.
    valids, readies, withdrawn, changed : int
        Bit k for stream k: the handshake at the end, the protocol's violations.
    broken_beats : sequence of int
        For each stream, the beat at which its protocol was first violated.
    """

    seed: int
    phase: str
    watches: Sequence[Watch]
    frames: int
    broken_off: bool
    still_cycles: int
    valids: int
    readies: int
    withdrawn: int
    changed: int
    broken_beats: Sequence[int]

    def fail(self, message: str, **where) -> None:
        raise SimulationMismatch(
            f"simulation {self.phase}: {message} (seed {self.seed})", seed=self.seed, **where
        )


def _place(watch: Watch, beat: int) -> tuple[int, str]:
    """The frame that a beat of a stream belongs to, and both in words."""
    frame, rest = divmod(beat, watch.stream.beats)
    number = int(watch.numbers[frame]) if frame < len(watch.numbers) else len(watch.numbers)
    return number, f"frame {number} beat {rest}"


def judge(run: Run) -> None:
    """Raises SimulationMismatch unless every stream carried what it should, as it should.

    Among several faults the protocol comes first, then beats too many; then the earliest stream
    with wrong elements or missing beats, unless beats are missing because nothing moves any more.
    """
    for index, watch in enumerate(run.watches):
        _judge_protocol(run, index, watch)
    for watch in run.watches:
        if watch.beats > run.frames * watch.stream.beats:
            _fail_count(run, watch, "duplicated")
    waiting = 0 if run.broken_off else run.valids & ~run.readies
    for watch in run.watches:
        missing = watch.beats < run.frames * watch.stream.beats
        if missing and not waiting and not run.broken_off:
            _fail_count(run, watch, "lost")
        if watch.wrong:
            _fail_values(run, watch)
    if waiting:
        _fail_stuck(run, waiting)


def _judge_protocol(run: Run, index: int, watch: Watch) -> None:
    for flags, what in ((run.withdrawn, "valid is withdrawn"), (run.changed, "payload changes")):
        if flags >> index & 1:
            frame, place = _place(watch, run.broken_beats[index])
            run.fail(
                f"{watch.stream.name}: {what} before the transfer of {place}",
                kind="protocol",
                layer=watch.stream.name,
                frame=frame,
            )


def _fail_stuck(run: Run, waiting: int) -> None:
    states = []
    for index, watch in enumerate(run.watches):
        valid, ready = run.valids >> index & 1, run.readies >> index & 1
        state = "offered, not accepted" if valid else "awaited" if ready else "not awaited"
        states.append(f"{watch.stream.name} {_place(watch, watch.beats)[1]} {state}")
    last = run.watches[waiting.bit_length() - 1]
    run.fail(
        f"deadlock after {last.stream.name}: nothing moves for {run.still_cycles} cycles; "
        + "; ".join(states),
        kind="deadlock",
        layer=last.stream.name,
        frame=_place(last, last.beats)[0],
    )


def _fail_count(run: Run, watch: Watch, kind: str) -> None:
    due = run.frames * watch.stream.beats
    frame, place = _place(watch, watch.beats)
    neuron, since = None, f"from {place} on"
    if watch.differences:
        frame, neuron = watch.differences[0].frame, watch.differences[0].neuron
        since = f"first difference: {_listed(watch)}"
    run.fail(
        f"{watch.stream.name}: {watch.beats} beats instead of {due}, "
        f"{abs(watch.beats - due)} {kind}, {since}",
        kind=kind,
        layer=watch.stream.name,
        frame=frame,
        neuron=neuron,
        expected=due,
        got=watch.beats,
    )


def _fail_values(run: Run, watch: Watch) -> None:
    first = watch.differences[0]
    elements = watch.beats * watch.stream.elements // watch.stream.beats
    run.fail(
        f"{watch.stream.name} differs from the golden model in {watch.wrong} of {elements} "
        f"elements: {_listed(watch)}",
        kind="value",
        layer=watch.stream.name,
        frame=first.frame,
        neuron=first.neuron,
        expected=first.expected,
        got=first.got,
    )


def _listed(watch: Watch) -> str:
    return "; ".join(map(str, watch.differences))


def judge_timing(job: Job, run: Run, latency: int, intervals: Sequence[int]) -> None:
    """Raises SimulationMismatch unless the cycles are those the job predicts, if it does."""
    for what, predicted, measured in (
        ("cycles of latency", job.latency_cycles, [latency]),
        ("cycles per frame", job.cycles_per_frame, intervals),
    ):
        odd = [cycles for cycles in measured if cycles != predicted]
        if predicted is not None and odd:
            each = ", ".join(map(str, dict.fromkeys(measured)))
            run.fail(
                f"the plan predicts {predicted} {what}, measured: {each}",
                kind="timing",
                layer=job.output.name,
                expected=predicted,
                got=odd[0],
            )
