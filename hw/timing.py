"""Exact cycles of a pipeline: how long a frame takes, and how often one leaves.

Steady state: a frame leaves every `cycles_per_frame`, the largest number of cycles that any stage
spends on one. Latency: from the transfer of a frame's first beat at the input to the transfer of
its first beat at the output, both counted in clock edges, with the pipeline empty before, a new
beat offered every cycle and the output always ready.

The latency is found by sending one frame through a model of each core's timing, beat by beat. In
an empty pipeline only a width converter can make the core before it wait, because every other core
has room for a whole vector; so times flow from the input to the output with that one exception.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from hw.cores.argmax import argmax_cycles
from hw.cores.width_converter import converter_sizes
from hw.pipeline import Conversion, Matrix, Maximum, Stage, Thresholding

__all__ = ["Cycles", "predict", "stage_cycles"]


@dataclass(frozen=True)
class Cycles:
    """What a pipeline takes, in clock cycles.

    Parameters
    ----------
    per_frame : int
        Between the frames that leave, once the pipeline is full.
    latency : int
        From the first beat's transfer in to the first beat's transfer out; 0 is the same edge.
    binding : str
        The stage that sets `per_frame`, "input" for the input stream itself.
    """

    per_frame: int
    latency: int
    binding: str


class _Always:
    """A consumer that takes each beat as soon as it is offered, one a cycle."""

    def __init__(self):
        self.times: list[int] = []

    def take(self, time: int) -> int:
        if self.times:
            time = max(time, self.times[-1] + 1)
        self.times.append(time)
        return time


class _Converter:
    """A width converter whose output is taken at once."""

    def __init__(self, stage: Conversion, after):
        self.capacity, self.step, self.last_step = converter_sizes(
            stage.elements, stage.i_lanes, stage.lanes
        )
        self.o_lanes, self.after = stage.lanes, after
        self.i_beats, self.beat = -(-stage.elements // stage.i_lanes), 0
        self.held, self.now = 0, 0  # elements held at the beginning of cycle `now`

    def _run(self, until: float) -> None:
        """Let beats leave, one a cycle, before cycle `until`."""
        while self.held >= self.o_lanes and self.now < until:
            self.after.take(self.now)
            self.held -= self.o_lanes
            self.now += 1

    def take(self, time: int) -> int:
        self._run(time)
        self.now = max(self.now, time)
        while self.held > self.capacity - self.step:
            self._run(self.now + 1)
        taken = self.now
        self._run(self.now + 1)  # a beat may leave in the cycle in which one comes
        self.now = taken + 1
        self.beat += 1
        self.held += self.last_step if self.beat == self.i_beats else self.step
        if self.beat == self.i_beats:
            self._run(inf)
        return taken


def _matrix(stage: Matrix, arrivals: Sequence[int], after) -> None:
    beats, depth = stage.beats_per_vector, stage.folding.stages + 3
    if stage.folding.accumulators == "dsp":
        depth += 1  # the register behind a DSP's sum
    result = arrivals[-1] + depth if stage.groups == 1 else arrivals[-1] + beats + depth
    for _ in range(stage.groups):
        result = max(result + beats, after.take(result) + 1)


def _walk(stages: Sequence[Stage], arrivals: list[int]) -> list[int]:
    """Times of the last stage's output beats, from times of the first one's input beats."""
    for index, stage in enumerate(stages):
        sink = _Always()
        following = stages[index + 1] if index + 1 < len(stages) else None
        after = _Converter(following, sink) if isinstance(following, Conversion) else sink
        match stage:
            case Thresholding():
                for time in arrivals:
                    after.take(time)
            case Matrix():
                _matrix(stage, arrivals, after)
            case Maximum():
                after.take(arrivals[-1] + argmax_cycles(stage.i_lanes))
            case Conversion() if index == 0:
                converter = _Converter(stage, sink)
                for time in arrivals:
                    converter.take(time)
            case Conversion():
                continue  # walked together with the stage before it
        arrivals = sink.times
    return arrivals


def stage_cycles(stage: Stage) -> int:
    """Cycles that a stage spends on a frame in the steady state."""
    match stage:
        case Matrix():
            return stage.fold
        case Conversion():
            return max(stage.beats, -(-stage.elements // stage.i_lanes))
        case Maximum():
            return -(-stage.i_elements // stage.i_lanes)
    return stage.beats


def predict(stages: Sequence[Stage], input_beats: int) -> Cycles:
    """Cycles of a pipeline whose frames come in `input_beats` beats.

    Parameters
    ----------
    stages : sequence of Stage
    input_beats : int
        Beats of a frame at the input, at least 1.
    """
    spent = {"input": input_beats} | {stage.name: stage_cycles(stage) for stage in stages}
    # A converter or a threshold only passes on what its neighbours bind.
    binding = max(
        spent,
        key=lambda name: (
            spent[name],
            any(s.name == name and isinstance(s, Matrix) for s in stages),
        ),
    )
    first_frame = _walk(stages, list(range(input_beats)))
    return Cycles(per_frame=spent[binding], latency=first_frame[0], binding=binding)
