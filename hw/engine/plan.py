"""The plan of an engine: how a batch is cut up, exact cycles, memory and estimated size.

The units of this plan:

- A *word* of an image is `simd` channels of a pixel. A pixel has ceil(channels / simd) words.
- A *tile* is the weights of `pe` neurons for one word of the window. A tile is held in registers
  while it meets one word of each pixel of a chunk, one a cycle; what it adds to the sums of these
  pixels goes through block RAM. The next tile loads meanwhile.
- A *chunk* is so many whole rows of output, of one frame or several, that its pixels fit the
  `depth` of that block RAM. Every chunk of a pass wants all its tiles again.
- A *group* is `pe` neurons. Ahead of its tiles come its starts: what its sums start from.
- Tiles and starts come as *rows* of `row_words` words of 64 bits.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from hw.engine.passes import Pass, passes
from sw.network import Network, NetworkError

__all__ = [
    "PORT_BITS",
    "SCORE_CYCLES",
    "START_BITS",
    "Clockwork",
    "EnginePlan",
    "Step",
    "Timing",
    "plan_engine",
]

# Bits of a word of the weights' stream, and of what a sum starts from in it.
PORT_BITS, START_BITS = 64, 16

# Rows that the loader holds, and cycles from an address of its ROM to the row.
ROWS_HELD, ROM_CYCLES = 4, 2

# Cycles from the request of a batch's last score to its first one's being offered.
SCORE_CYCLES = 3

# Register levels in the popcount, at most: when starts are loaded over older ones, the sums that
# start from these must have begun.
MOST_STAGES = 4

# Cycles between the last word of a chunk and the first one of the next, at least.
CHUNK_GAP = 2

# Cycles from one tile's start to the next one's, at least: a sum is read again when it is written.
SHORTEST_TILE = 3


@dataclass(frozen=True)
class Step:
    """A pass as an engine of some size does it.

    Parameters
    ----------
    work : Pass
    resident : bool
        Its weights are on the chip.
    words : int
        Of a pixel that it reads.
    written_words : int
        Of a pixel that it writes.
    groups : int
        Groups of neurons; of a pool, words of a pixel.
    tiles : int
        Tiles of a group; of a pool, pixels of a window.
    start_rows, tile_rows : int
        Rows of a group's starts and of a tile; 0 of a pool.
    rows, last_rows, chunks : int
        Output rows of a chunk and of the last one, and how many chunks a batch is.
    """

    work: Pass
    resident: bool
    words: int
    written_words: int
    groups: int
    tiles: int
    start_rows: int
    tile_rows: int
    rows: int
    last_rows: int
    chunks: int

    def chunk_pixels(self) -> Iterator[int]:
        """Output pixels of each chunk of a batch."""
        for chunk in range(self.chunks):
            rows = self.last_rows if chunk == self.chunks - 1 else self.rows
            yield rows * self.work.outputs[1]

    @property
    def weight_rows(self) -> int:
        """Rows that a chunk takes."""
        return self.groups * (self.start_rows + self.tiles * self.tile_rows)

    @property
    def computing(self) -> int:
        """Cycles of a batch in which it has a word to read, weights permitting."""
        return self.groups * self.tiles * sum(self.chunk_pixels())


@dataclass(frozen=True)
class Timing:
    """Cycles of an engine with an input that never waits and a port of some efficiency.

    Parameters
    ----------
    per_batch : int
        Between batches that leave, in the steady state.
    latency : int
        From reset to the first score of the first batch.
    waiting : int
        Of `per_batch`, those in which the engine waits for streamed weights.
    by_pass : tuple of int
        Cycles of each pass, drains and scores among them.
    """

    per_batch: int
    latency: int
    waiting: int
    by_pass: tuple[int, ...]

    @property
    def port_bound(self) -> float:
        """Share of the time that is spent waiting for the port."""
        return self.waiting / self.per_batch


@dataclass(frozen=True)
class EnginePlan:
    """All that decides the gateware of an engine beside the network's numbers.

    Parameters
    ----------
    simd : int
        Channels of a word, and synapses of a neuron a cycle.
    pe : int
        Neurons a cycle: `simd` times a power of two.
    batch : int
        Frames that share each tile.
    depth : int
        Pixels of a chunk, at most.
    row_words : int
        64-bit words of a row.
    stages : int
        Register levels inside the popcount, in 0..4.
    steps : tuple of Step
    """

    simd: int
    pe: int
    batch: int
    depth: int
    row_words: int
    stages: int
    steps: tuple[Step, ...]

    @property
    def columns(self) -> int:
        """Words that a group of neurons yields a cycle."""
        return self.pe // self.simd

    @property
    def products(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if not step.work.pool)

    @property
    def synapses(self) -> int:
        """The most that a neuron of any layer has."""
        return max(step.work.synapses for step in self.products)

    @property
    def drain(self) -> int:
        """Cycles from the last word of a pass to the first one of the next, less two."""
        return self.stages + 4

    @property
    def score_width(self) -> int:
        return self.steps[-1].work.synapses.bit_length()

    @property
    def sum_width(self) -> int:
        """Bits of a sum. The highest tells whether the threshold is reached."""
        return self.synapses.bit_length() + 1

    @property
    def scores(self) -> int:
        """Of a frame."""
        work = self.steps[-1].work
        return work.pixels * work.outputs[2]

    @property
    def tile_rows(self) -> int:
        return -(-self.simd * self.pe // (self.row_words * PORT_BITS))

    @property
    def start_slices(self) -> int:
        """Rows of the starts of one class of a group."""
        return -(-self.pe * START_BITS // (self.row_words * PORT_BITS))

    @property
    def classes(self) -> int:
        """The most classes of windows that any layer has."""
        return max(step.work.classes[0] * step.work.classes[1] for step in self.steps)

    @property
    def bank_words(self) -> tuple[int, int, int]:
        """Words of the bank that holds the input, and of those that passes write in turn."""
        height, width, _ = self.steps[0].work.image
        written = [self.batch * step.work.pixels * step.written_words for step in self.steps[:-1]]
        return (
            self.batch * height * width * self.steps[0].words,
            max(written[0::2], default=1),
            max(written[1::2], default=1),
        )

    @property
    def rom_rows(self) -> int:
        """Rows of the weights that are on the chip."""
        return sum(step.weight_rows for step in self.products if step.resident)

    @property
    def stream_words(self) -> int:
        """Words of 64 bits that a batch takes from the port."""
        rows = (step.weight_rows * step.chunks for step in self.products if not step.resident)
        return self.row_words * sum(rows)

    @cached_property
    def timing(self) -> Timing:
        """Cycles under an ideal port: a word in every cycle."""
        return self.timing_at(1)

    def timing_at(self, efficiency: float) -> Timing:
        """Cycles where the port has a word in `efficiency` of the cycles, evenly spread.

        Parameters
        ----------
        efficiency : float
            Above 0, at most 1.
        """
        if not 0 < efficiency <= 1:
            raise ValueError(f"efficiency must be above 0 and at most 1, not {efficiency}")
        return Clockwork(self, efficiency).timing()


def plan_engine(
    network: Network,
    *,
    simd: int,
    pe: int,
    batch: int,
    depth: int = 512,
    resident: Iterable[str] = (),
    row_words: int = 8,
    stages: int = 1,
) -> EnginePlan:
    """The plan of an engine that does a network.

    Parameters
    ----------
    network : Network
        On bits, as `hw.engine.passes.tail` yields it.
    resident : iterable of str
        Names of the layers whose weights are on the chip.
    simd, pe, batch, depth, row_words, stages : int
        As in `EnginePlan`.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    NetworkError
        Naming the layer that such an engine does not do.
    """
    for name, value in (
        ("simd", simd),
        ("batch", batch),
        ("depth", depth),
        ("row_words", row_words),
    ):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if not 0 <= stages <= MOST_STAGES:
        raise ValueError(f"stages must be in 0..{MOST_STAGES}, not {stages}")
    columns = pe // simd
    if pe < 1 or pe % simd or columns & columns - 1:
        raise ValueError(f"pe must be simd ({simd}) times a power of two, not {pe}")
    resident = set(resident)
    steps = []
    for work in passes(network):
        steps.append(_step(work, simd, pe, batch, depth, row_words, work.name in resident))
        resident.discard(work.name)
    if resident:
        raise NetworkError(f"no layer is named {', '.join(sorted(resident))}")
    plan = EnginePlan(simd, pe, batch, depth, row_words, stages, tuple(steps))
    if plan.sum_width > START_BITS:
        work = max((step.work for step in plan.products), key=lambda work: work.synapses)
        raise NetworkError(
            f"{work.name}: an engine counts up to {(1 << START_BITS - 1) - 1} synapses, "
            f"not {work.synapses}"
        )
    return plan


def _step(work, simd, pe, batch, depth, row_words, resident) -> Step:
    rows, columns, channels = work.outputs
    if columns > depth:
        raise NetworkError(
            f"{work.name}: a row of {columns} pixels is more than the {depth} that sums are kept of"
        )
    words, kernel = -(-work.image[2] // simd), work.kernel[0] * work.kernel[1]
    fitting = min(batch * rows, depth // columns)
    chunks = -(-batch * rows // fitting)
    row_bits = row_words * PORT_BITS
    starts = work.classes[0] * work.classes[1] * -(-pe * START_BITS // row_bits)
    return Step(
        work=work,
        resident=resident and not work.pool,
        words=words,
        written_words=-(-channels // simd),
        groups=words if work.pool else -(-channels // pe),
        tiles=kernel if work.pool else kernel * words,
        start_rows=0 if work.pool else starts,
        tile_rows=0 if work.pool else -(-simd * pe // row_bits),
        rows=fitting,
        last_rows=batch * rows - (chunks - 1) * fitting,
        chunks=chunks,
    )


class Clockwork:
    """Cycle numbers, from reset, of what happens in an engine when nobody else waits.

    It follows the gateware row by row and tile by tile: see `hw.engine.weights` for the rows,
    `hw.engine.sequencer` for the tiles.
    """

    def __init__(self, plan: EnginePlan, efficiency: float = 1):
        self._plan, self._word = plan, 1 / efficiency
        # Rows: when the next streamed one is complete; when the last was asked for, wherever it
        # comes from, and when of the ROM; when the last few were loaded; and from when on the
        # register that tiles are loaded into is free.
        self._complete = plan.row_words * self._word
        self._asked, self._asked_rom = -1, -ROM_CYCLES - 1
        self._loads = deque([-1] * ROWS_HELD, maxlen=ROWS_HELD)
        self._free = 0

    def _load(self, step: Step, rows: int) -> int:
        """The first cycle in which a tile of so many rows, starts included, is there."""
        row_words = self._plan.row_words
        for _ in range(rows):
            asked = max(self._asked, self._loads[0]) + 1
            if step.resident:
                self._asked = self._asked_rom = asked
                queued = asked + ROM_CYCLES
            else:
                asked = max(asked, ceil(self._complete), self._asked_rom + ROM_CYCLES + 1)
                self._complete = max(asked + row_words, self._complete + row_words * self._word)
                self._asked = queued = asked
            self._loads.append(max(queued + 1, self._loads[-1] + 1, self._free))
        return self._loads[-1] + 1

    def begin(self, now: int, filled: int) -> int:
        """When a batch begins whose input is there at `filled`; the last one was done at `now`."""
        # Of another pass the table has to be looked up.
        return max(now + (len(self._plan.steps) > 1), filled)

    def run(self, step: Step, at: int) -> tuple[int, int, int]:
        """Does a pass whose first word may be issued at some cycle.

        Returns the first cycle behind the last word's, the first one behind all that follows from
        it, and how many were spent waiting for the port.
        """
        drain, waited = self._plan.drain, 0
        for pixels in step.chunk_pixels():
            for group in range(step.groups):
                for tile in range(step.tiles):
                    start = at
                    if not step.work.pool:
                        rows = step.tile_rows + (0 if tile else step.start_rows)
                        start = max(at, self._load(step, rows))
                        self._free = start + 2
                        waited += 0 if step.resident else start - at
                    read = start + pixels
                    at = max(read, start + SHORTEST_TILE)
                at = max(at, read + CHUNK_GAP) if group == step.groups - 1 else at
                if step.work.scores:
                    lanes = min(self._plan.pe, step.work.outputs[2] - group * self._plan.pe)
                    at = read + drain + pixels * lanes
        return read, at if step.work.scores else read + drain, waited

    def timing(self) -> Timing:
        plan = self._plan
        words = plan.bank_words[0]
        filled, now, ends = words, 0, []
        for _ in range(4):
            waiting, by_pass = 0, []
            for index, step in enumerate(plan.steps):
                begin = now
                if index == 0:
                    now = self.begin(now, filled)
                read, now, waited = self.run(step, now + 1)
                waiting += waited
                if index == 0:
                    filled = read + 1 + words
                by_pass.append(now - begin)
            ends.append(now)
        return Timing(ends[-1] - ends[-2], ends[0] + SCORE_CYCLES, waiting, tuple(by_pass))
