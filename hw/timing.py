"""Exact cycles of a pipeline: how long a frame takes, and how often one leaves.

Latency: from the transfer of a frame's first beat at the input to the transfer of its first beat at
the output, both counted in clock edges, with the pipeline empty before, a new beat offered every
cycle and the output always ready. Steady state: from one frame's first beat at the output to the
next one's, once the pipeline is full. No pipeline is faster than its slowest stage; it is just that
fast where the line buffers are deep enough, and whether they are is found here.

Each core's timing is a process or two of `hw.events`, through which frames are sent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, cycle, repeat

import numpy as np

from hw.cores import rom
from hw.cores.argmax import argmax_cycles
from hw.cores.quantiser import quantiser_cycles
from hw.cores.whole_window import Sweep
from hw.cores.width_converter import converter_sizes, dropped_beats
from hw.cores.windows import Windows
from hw.engine.plan import SCORE_CYCLES, Clockwork
from hw.events import Process, Stream, Tokens, run
from hw.pipeline import (
    Conversion,
    Matrix,
    Maximum,
    Pooling,
    Quantisation,
    Shared,
    Stage,
    Thresholding,
    Window,
)
from sw.network import Argmax

__all__ = ["Cycles", "predict", "stage_cycles", "starts"]


@dataclass(frozen=True)
class Cycles:
    """What a pipeline takes, in clock cycles.

    Parameters
    ----------
    per_batch : int
        Between the batches that leave, once the pipeline is full.
    latency : int
        From the first beat's transfer in to the first beat's transfer out; 0 is the same edge.
    binding : str
        The slowest stage, which sets `per_batch`; "input" for the input stream itself.
    batch : int
        Frames that are done together; 1 where they follow each other one by one.
    """

    per_batch: int
    latency: int
    binding: str
    batch: int = 1

    @property
    def per_frame(self) -> int | float:
        """Between frames that leave, on average over a batch."""
        return self.per_batch if self.batch == 1 else self.per_batch / self.batch


def _conversion(stage: Conversion, i: Stream, o: Stream) -> Iterator[Process]:
    capacity, step, last_step = converter_sizes(stage.elements, stage.i_lanes, stage.lanes)
    i_beats = -(-stage.elements // stage.i_lanes)
    steps = [step] * (i_beats - 1) + [last_step]
    dropped = dropped_beats(stage.elements, stage.i_lanes, stage.lanes)
    came, left = Tokens(), Tokens()

    def arrive():
        time, room = 0, capacity
        for added in cycle(steps):
            while room < step:
                time = max(time, (yield left))
                room += stage.lanes
            time = 1 + (yield from i.take(time))
            came.put(time)
            room -= added

    def leave():
        time = held = 0
        added = cycle(steps)
        while True:
            for beat in range(stage.beats + dropped):
                while held < stage.lanes:
                    time = max(time, (yield came))
                    held += next(added)
                time = 1 + ((yield from o.give(time)) if beat < stage.beats else time)
                left.put(time)
                held -= stage.lanes

    yield arrive()
    yield leave()


def _matrix(stage: Matrix, i: Stream, o: Stream) -> Iterator[Process]:
    cycles = stage.group_cycles
    # Between a group's last cycle and its results: a level for each doubling of the planes that are
    # summed, and the register behind a DSP's sum.
    depth = rom.LATENCY + stage.folding.stages + (stage.planes - 1).bit_length()
    depth += stage.folding.accumulators == "dsp"
    room = Tokens([0] * -(-(depth + 2) // cycles))
    results = Tokens()

    def leave():
        time = 0
        while True:
            time = max(time, (yield results))
            time = 1 + (yield from o.give(time))
            room.put(time)

    yield leave()
    if stage.groups == stage.passes == 1:

        def stream():
            time = 0
            while True:
                for _ in range(stage.beats_per_vector - 1):
                    time = 1 + (yield from i.take(time))
                time = 1 + (yield from i.take(max(time, (yield room))))
                results.put(time + depth)

        yield stream()
        return

    banks, full = Tokens([0, 0]), Tokens()

    def arrive():
        time = 0
        while True:
            time = max(time, (yield banks))
            for _ in range(stage.beats_per_vector):
                time = 1 + (yield from i.take(time))
            full.put(time)

    def compute():
        time = 0
        while True:
            time = max(time, (yield full))
            for _ in range(stage.groups):
                time = 1 + max(time + cycles - 1, (yield room))
                results.put(time + depth)
            banks.put(time)

    yield arrive()
    yield compute()


def _quantisation(stage: Quantisation, i: Stream, o: Stream) -> Iterator[Process]:
    cycles = quantiser_cycles(stage.width)
    room, results = Tokens([0] * (cycles + 1)), Tokens()

    def arrive():
        time = 0
        while True:
            time = yield from i.take(max(time, (yield room)))
            results.put(time + cycles)
            time += 1

    def leave():
        time = 0
        while True:
            time = max(time, (yield results))
            time = 1 + (yield from o.give(time))
            room.put(time)

    yield arrive()
    yield leave()


def _whole_window(stage: Window, i: Stream, o: Stream) -> Iterator[Process]:
    sweep = Sweep(stage.windows)
    room, came = Tokens([0] * stage.depth), Tokens()

    def arrive():
        time = 0
        while True:
            time = 1 + (yield from i.take(max(time, (yield room))))
            came.put(time)

    def shift():
        time = 0  # the padding after a reset is shifted in before an image comes
        waits = not sweep.inside[0]  # for the image to come, though it begins with padding
        places = list(zip(sweep.inside.tolist(), sweep.completes.tolist(), strict=True))
        while True:
            if waits:
                time = max(time, (yield came))
                came.put_back(time)
            for inside, completes in places:
                if inside:
                    time = max(time, (yield came))
                    room.put(time + 1)
                if completes:
                    time = max(time + 1, (yield from o.give(time + 1)))
                else:
                    time += 1

    yield arrive()
    yield shift()


def _window(stage: Window, i: Stream, o: Stream) -> Iterator[Process]:
    if stage.parallel:
        yield from _whole_window(stage, i, o)
        return
    windows, beats = stage.windows, stage.channels // stage.i_lanes
    heads = windows.heads.tolist()
    came, freed = Tokens(), Tokens()

    def arrive():
        time = index = 0
        for frame in count():
            for head in heads:
                # Beats up to the end of the line buffer, whose first one is the window's head.
                end = (frame * windows.pixels + head) * beats + stage.depth
                while index < end:
                    time = 1 + (yield from i.take(time))
                    came.put(time)
                    index += 1
                time = max(time, (yield freed))

    def leave():
        time = arrived = 0
        places = (windows.places * beats).reshape(windows.count, -1).tolist()
        for frame in count():
            first = frame * windows.pixels * beats
            needed = first  # a frame's first beat waits for the image, though it may be padding
            for window in places:
                for place in window:
                    for beat in range(beats):
                        if place >= 0:
                            needed = max(needed, first + place + beat)
                        while arrived <= needed:
                            time = max(time, (yield came))
                            arrived += 1
                        last, time = time, (yield from o.give(time + 1))
                freed.put(last + 1)

    yield arrive()
    yield leave()


def _pooling(stage: Pooling, i: Stream, o: Stream) -> Iterator[Process]:
    windows = Windows(stage.height, stage.columns, stage.size, stage.stride)
    completes = np.zeros(windows.pixels, bool)
    completes[windows.lasts] = True
    room, results = Tokens([0, 0]), Tokens()

    def arrive():
        time = 0
        while True:
            for complete in completes.repeat(stage.beats).tolist():
                time = max(time, (yield room))
                if not complete:
                    room.put_back(time)
                time = 1 + (yield from i.take(time))
                if complete:
                    results.put(time)

    def leave():
        time = 0
        while True:
            time = 1 + (yield from o.give(max(time, (yield results))))
            room.put(time)

    yield arrive()
    yield leave()


def _maximum(stage: Maximum, i: Stream, o: Stream) -> Iterator[Process]:
    """Only where the output is always taken, as the last stage's is."""

    def process():
        time = 0
        beats = -(-stage.i_elements // stage.i_lanes)
        while True:
            for _ in range(beats):
                time = 1 + (yield from i.take(time))
            yield from o.give(time + argmax_cycles(stage.i_lanes) - 1)

    yield process()


def _shared(stage: Shared, i: Stream, o: Stream) -> Iterator[Process]:
    """Only where the output is always taken, as the last stage's is."""
    plan = stage.plan
    filled, free = Tokens(), Tokens([0])

    def arrive():
        time = 0
        while True:
            time = max(time, (yield free))
            for _ in range(plan.bank_words[0]):
                time = 1 + (yield from i.take(time))
            filled.put(time)

    def compute():
        clockwork, now = Clockwork(plan), 0
        while True:
            now = clockwork.begin(now, (yield filled))
            for index, step in enumerate(plan.steps):
                read, now, _ = clockwork.run(step, now + 1)
                if index == 0:
                    free.put(read + 1)
            # Scores leave one a cycle, all of a batch; of each frame's, the index of the largest.
            every, first = 1, now + SCORE_CYCLES
            if isinstance(stage.network.output, Argmax):
                every = plan.scores
                first += every - 1 + argmax_cycles(1)
            for answer in range(stage.frames * stage.elements):
                yield from o.give(first + answer * every)

    yield arrive()
    yield compute()


_PROCESSES = {
    Conversion: _conversion,
    Matrix: _matrix,
    Maximum: _maximum,
    Pooling: _pooling,
    Quantisation: _quantisation,
    Shared: _shared,
    Window: _window,
}


def starts(stages: Sequence[Stage], input_beats: int, frames: int) -> list[int]:
    """The cycles in which the first beats of some frames leave, counted from the first one in.

    Parameters
    ----------
    stages : sequence of Stage
    input_beats : int
        Beats of a frame at the input, at least 1.
    frames : int
        How many.
    """
    stream, processes, times = Stream(), [], []

    def source(o: Stream):
        time = 0
        for _ in repeat(None, frames * input_beats):
            time = 1 + (yield from o.give(time))

    def sink(i: Stream, beats: int):
        time = 0
        for _ in range(frames):
            time = yield from i.take(time)
            times.append(time)
            time += 1
            for _ in range(beats - 1):
                time = 1 + (yield from i.take(time))

    processes.append(source(stream))
    for stage in stages:
        if not isinstance(stage, Thresholding):  # logic on the stream's way
            made = Stream()
            processes += _PROCESSES[type(stage)](stage, stream, made)
            stream = made
    processes.append(sink(stream, stages[-1].frame_beats if stages else input_beats))
    run(processes)
    return times


def stage_cycles(stage: Stage) -> int:
    """Cycles that a stage spends on a frame in the steady state."""
    match stage:
        case Matrix():
            return stage.vectors * stage.fold
        case Conversion():
            return stage.vectors * max(stage.beats, -(-stage.elements // stage.i_lanes))
        case Window() if stage.parallel:
            return Sweep(stage.windows).places
        case Window() | Pooling():
            return max(stage.i_beats, stage.frame_beats)
        case Shared():
            return stage.plan.timing.per_batch // stage.frames
        case Maximum():
            return -(-stage.i_elements // stage.i_lanes)
    return stage.frame_beats


def predict(stages: Sequence[Stage], input_beats: int) -> Cycles:
    """Cycles of a pipeline whose frames come in `input_beats` beats.

    Parameters
    ----------
    stages : sequence of Stage
    input_beats : int
        Beats of a frame at the input, at least 1.
    """
    batch = next((stage.frames for stage in stages if isinstance(stage, Shared)), 1)
    spent = {"input": input_beats} | {stage.name: stage_cycles(stage) for stage in stages}
    # A converter or a threshold only passes on what its neighbours bind.
    binding = max(
        spent,
        key=lambda name: (
            spent[name],
            any(s.name == name and isinstance(s, Matrix) for s in stages),
        ),
    )
    if not any(isinstance(stage, (Window, Pooling, Shared)) for stage in stages):
        return Cycles(spent[binding], starts(stages, input_beats, 1)[0], binding)
    # Vectors of different stages are of different frames, and a line buffer may be too short.
    batches = 4 if batch == 1 else 3
    latency, *_, before, last = starts(stages, input_beats, batches * batch)[::batch]
    return Cycles(last - before, latency, binding, batch)
