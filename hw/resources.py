"""What a pipeline costs: LUT sites, flip-flops, block RAMs, LUT RAM and DSPs, before synthesis.

One table of coefficients a family, fitted to synthesised units (`python -m hw.calibrate` prints
estimate beside count). They serve to choose a plan and to refuse what cannot fit; the build's
report shows the synthesised counts beside them.

A matrix unit is costed by `unit_cost`, whose lanes may be numpy arrays: the search costs every
folding of a layer at once, and a single stage is costed by the same formula.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from amaranth.utils import ceil_log2

from boards.catalogue import Board
from hw.cores.matrix_unit import LUT_RAM
from hw.cores.rom import rom_luts
from hw.cores.width_converter import converter_sizes
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

__all__ = [
    "FAMILIES",
    "WEIGHTS_PORT",
    "Resources",
    "bram_width",
    "brams",
    "budgets",
    "conversion_cost",
    "estimate",
    "lane_luts",
    "levels_near",
    "quantiser_cost",
    "rom",
    "rom_columns",
    "shell_resources",
    "stage_resources",
    "unit_cost",
]

# LUTs that can serve as RAM; they are counted among the LUTs too. Sources: DS190, FPGA-DS-02012.
_LUT_RAMS = {"xc7z020clg400-1": 17_400, "LFE5U-85F-6BG381C": 41_820}


@dataclass(frozen=True)
class Resources:
    """Counts of the target's own elements, or arrays of counts.

    Parameters
    ----------
    luts : float
        LUT sites, those that serve as RAM included.
    ffs : float
    brams : float
        Block RAMs, halves where they split.
    lut_rams : float
        Those of the LUTs that serve as RAM.
    dsps : float
        Multiplier blocks; accumulators are in them where a plan's file says so.
    """

    luts: float = 0
    ffs: float = 0
    brams: float = 0
    lut_rams: float = 0
    dsps: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, share: float) -> "Resources":
        return Resources(*(getattr(self, f.name) * share for f in fields(self)))


def budgets(board: Board) -> Resources:
    """All that a board's part has."""
    return Resources(board.luts, board.ffs, board.brams, _LUT_RAMS.get(board.part, 0), board.dsps)


# Widths of the popcounts whose LUTs and levels are listed below; others lie between.
_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024, 1536)


@dataclass(frozen=True)
class _Tree:
    """Popcounts of one kind: `hw.cores.popcount.tree` of the widths `_WIDTHS`.

    Parameters
    ----------
    luts, levels : tuple of float
    left : float
        Bits a lane that are left behind the first level; each other one leaves half.
    """

    luts: tuple[float, ...]
    levels: tuple[int, ...]
    left: float

    def cost(self, width, stages) -> tuple:
        """LUTs and flip-flops of a word, with `stages` registers; ints or arrays."""
        width = np.asarray(width)
        luts = np.interp(width, _WIDTHS, self.luts) * np.maximum(1, width / _WIDTHS[-1])
        depth = np.round(np.interp(width, _WIDTHS, self.levels))
        stages, ffs = np.minimum(stages, depth), 0.0
        for cut in range(int(np.max(stages, initial=0))):
            level = (cut + 1) * (depth + 1) // (stages + 1)
            ffs = ffs + (cut < stages) * (
                self.left * width / 2.0 ** (level - 1) + 0.4 * np.log2(width)
            )
        return luts, ffs


# The Zynq's shell, and what aligns frames that are no multiple of 8 bytes.
_ZYNQ = Resources(luts=1080, ffs=700, lut_rams=200)
_ALIGNER = Resources(luts=90, ffs=100)

# What the shell takes more where frames come in batches, and weights from memory, of which a buffer
# of 128 words of 64 bits.
WEIGHTS_PORT = Resources(luts=500, ffs=305, lut_rams=171)


@dataclass(frozen=True)
class _Family:
    """What one family takes for each thing a pipeline is made of."""

    trees: dict[int, _Tree]  # by the greatest fold of a table; 0: the weights stream in
    reach: int  # words that share a copy of the input; 0: all
    sum_bit: float  # LUTs of a bit of the accumulator, comparison included
    ram_words: int  # words of a LUT RAM
    ram_lut: float  # LUTs of one bit of such a RAM; 0: made of flip-flops or block RAM
    ram_most: int  # words of a small memory that is LUT RAM or, on iCE40, flip-flops
    control: float  # handshake of a unit; its counters take more
    mux: tuple[float, float]  # a multiplexer of n bits: LUTs a bit, and how many fewer; at least 1
    maximum: tuple[float, float]  # LUTs of a bit of a score that is compared, and others
    compared: float  # LUTs of a bit of a number that is compared with one from a ROM
    link: float  # the serial link, the clock and the LEDs


def _adders(lut4: float) -> _Tree:
    """Trees of plain adders, of which LUT4s take so many for a counter's bit."""
    bits = (1, 2, 2, 5, 6, 12, 17, 23, 32, 46, 70, 93, 176, 356, 704, 1388, 2074)
    levels = (1, 1, 1, 2, 2, 3, 4, 5, 5, 5, 6, 8, 7, 11, 9, 11, 12)
    return _Tree(tuple(lut4 * many for many in bits), levels, 0.67)


FAMILIES = {
    "xc7": _Family(
        trees={
            0: _Tree(
                (1, 1, 2, 4, 6, 8, 12, 16, 23, 33, 45, 63, 123, 250, 500, 995, 1493),
                (1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5, 6, 6, 7, 8, 8),
                0.5,
            ),
            8: _Tree(
                (1, 2, 2, 4, 5, 7, 9, 14, 20, 26, 39, 53, 106, 209, 417, 833, 1250),
                (1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 7, 7),
                0.26,
            ),
            16: _Tree(
                (1, 2, 5, 6, 9, 12, 19, 25, 39, 50, 77, 104, 206, 415, 830, 1662, 2496),
                (1, 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
                0.52,
            ),
        },
        reach=32,
        sum_bit=1.0,
        ram_words=32,
        ram_lut=4 / 6,
        ram_most=LUT_RAM["xc7"],
        control=22,
        mux=(0.42, 0),
        maximum=(1.9, 4),
        compared=0.56,
        link=830,
    ),
    "ecp5": _Family(
        trees={
            0: _Tree(
                (1, 4, 4, 9, 10, 14, 20, 27, 40, 56, 80, 111, 224, 457, 926, 1861, 2798),
                (1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 6, 6, 7, 9, 10, 9),
                0.6,
            ),
            1: _adders(1.4),
        },
        reach=0,
        sum_bit=2.4,
        ram_words=16,
        ram_lut=1.5,
        ram_most=LUT_RAM["ecp5"],
        control=30,
        mux=(0.95, 0.9),
        maximum=(2.1, 45),
        compared=0.95,
        link=1000,
    ),
    "ice40": _Family(
        trees={0: _adders(1.85), 1: _adders(0.75)},
        reach=0,
        sum_bit=2.0,
        ram_words=1,
        ram_lut=0,
        ram_most=2,
        control=30,
        mux=(0.95, 0.9),
        maximum=(3.0, 10),
        compared=1.6,
        link=950,
    ),
}


def levels_near(width, family: str, depth):
    """Levels of a popcount's tree, or one more or less: quicker than to make the tree.

    Parameters
    ----------
    width, depth : int or array of int
        As `hw.cores.popcount.tree` has them.
    """
    trees = FAMILIES[family].trees
    near = np.interp(width, _WIDTHS, trees[0].levels)
    for limit in sorted(trees, reverse=True):
        tabled = (np.asarray(depth) > 0) & (np.asarray(depth) <= limit)
        near = np.where(tabled, np.interp(width, _WIDTHS, trees[limit].levels), near)
    return np.round(near).astype(int)


def lane_luts(family: str, table: int = 0) -> float:
    """LUTs of a lane of a wide popcount.

    Parameters
    ----------
    family : str
    table : int
        Words of the table its weights are in; 0 where they stream in. Infinite where the family
        has no such tables.
    """
    trees = FAMILIES[family].trees
    limits = [limit for limit in trees if (limit >= table > 0) or limit == table]
    return trees[min(limits)].luts[13] / _WIDTHS[13] if limits else np.inf


def brams(board: Board, width, depth):
    """Block RAMs of a memory of `depth` words of `width` bits, in the cheapest shape.

    A block RAM trades width for depth by halves. On 7-series half a RAMB36 is a RAMB18.

    Parameters
    ----------
    width, depth : int or array of int
        `width` at least 0, `depth` at least 1.
    """
    unit = 0.5 if board.family == "xc7" else 1
    shape_width, shape_depth = int(board.bram_width * unit), board.bram_depth
    best = np.inf
    while shape_width >= 1:
        best = np.minimum(best, unit * -(-depth // shape_depth) * -(-width // shape_width))
        shape_width, shape_depth = shape_width // 2, shape_depth * 2
    return best


def bram_width(board: Board, count: float, depth):
    """Bits of the widest word of a memory of `depth` words, an int or an array, in `count`."""
    unit = 0.5 if board.family == "xc7" else 1
    shape_width, shape_depth = int(board.bram_width * unit), board.bram_depth
    best = 0
    while shape_width >= 1:
        best = np.maximum(best, int(count / unit) // -(-depth // shape_depth) * shape_width)
        shape_width, shape_depth = shape_width // 2, shape_depth * 2
    return best


@cache
def _column(depth: int, family: str) -> int:
    return rom_luts(depth, 1, family)


def _each(function, values) -> np.ndarray:
    """The function of each integer of an array, asked once for those that are equal."""
    distinct, where = np.unique(values, return_inverse=True)
    return np.array([function(int(value)) for value in distinct])[where].reshape(np.shape(values))


def rom_columns(depth, width):
    """Columns of a ROM that differ, of ints or arrays.

    Few words make few columns; equal ones are shared in parts of 128.
    """
    kinds = 2.0 ** np.minimum(depth, 40)
    part = np.clip(width, 1, 128)
    return width * np.minimum(1, -np.expm1(-part / kinds) * kinds / part)


def rom(depth, width, family: str):
    """LUTs of a ROM of `depth` words of `width` bits, ints or arrays."""
    return rom_columns(depth, width) * _each(lambda words: _column(words, family), depth)


def unit_cost(
    board: Board,
    *,
    synapses: int,
    neurons: int,
    scores: bool,
    simd,
    pe,
    stages,
    storage: str,
    logic_bits=0,
    accumulators: str = "logic",
    bits: int = 1,
    planes=1,
) -> Resources:
    """What a matrix unit costs.

    Parameters
    ----------
    synapses, neurons : int
    scores : bool
        The unit yields counts and compares nothing.
    simd, pe, stages : int or arrays of int that broadcast
        Synapses and neurons a cycle, and register levels inside.
    storage : str
        As in `LayerLanes`; "table" costs infinity where the fold is over 16 or the family
        has no such tables.
    logic_bits : int
        With "block", weights a cycle that are in LUT ROM all the same.
    accumulators : str
        As in `LayerLanes`.
    bits : int
        Bits of an input element.
    planes : int or array of int that broadcasts
        Bit planes a cycle, a divisor of `bits`.
    """
    family = FAMILIES[board.family]
    simd, pe, stages, planes = (np.asarray(lanes) for lanes in (simd, pe, stages, planes))
    beats, groups, passes = -(-synapses // simd), -(-neurons // pe), bits // planes
    fold, lanes = beats * groups, simd * pe
    most = synapses * ((1 << bits) - 1)
    total = (most + 1).bit_length() + (0 if scores else 1)  # bits of an accumulator
    result = most.bit_length() if scores else 1
    luts, ffs = family.control + 4 * np.log2(fold * passes), 60.0
    memory, lut_rams = 0.0, 0.0

    # XNOR and popcount, with the weights in its first level or streaming in.
    if storage == "table":
        word = (np.full(fold.shape, np.inf), 0.0)
    else:
        word = family.trees[0].cost(simd, stages)
    for limit in sorted(family.trees, reverse=True):
        if limit:
            tabled = (fold <= limit) & ((storage == "table") | (fold == 1))
            made = family.trees[limit].cost(simd, stages)
            word = tuple(
                np.where(tabled, ours, other) for ours, other in zip(made, word, strict=True)
            )
            if board.family == "xc7" and limit <= 8:
                # Parities, once; and of constants neurons share what counts three lanes.
                luts = luts + np.where(tabled, planes * simd / 2, 0)
                luts = luts - np.where(fold == 1, planes * simd / 2 * np.maximum(0, pe - 8), 0)
    shared = np.where(fold > 1, 1, 0.85)  # equal counts of constants share their registers too
    luts, ffs = luts + word[0] * planes * pe, ffs + word[1] * planes * pe * shared
    copies = -(-pe // family.reach) if family.reach else 1
    ffs = ffs + simd * planes * np.where(fold > 1, copies, 1)
    if storage != "table":
        in_logic = np.minimum(logic_bits, lanes) if storage == "block" else lanes
        memory = np.where(fold > 1, brams(board, lanes - in_logic, fold), 0)
        luts = luts + rom(fold, in_logic, board.family)
        words = rom_columns(fold, in_logic) + lanes - in_logic
        ffs = ffs + np.where(fold > 1, words, 0)

    # Counts of planes are added in pairs, those in pairs and so on, with a register behind each.
    for span in (1, 2, 4):
        pairs, sums = -(-planes // span) // 2, -(-planes // (2 * span))
        luts = luts + pe * pairs * (np.log2(simd) + span + 0.5) * family.sum_bit
        ffs = ffs + np.where(planes > span, pe * sums * (np.log2(simd) + 2 * span), 0)

    # Accumulators, which count from the threshold below 0.
    dsps = 0.0
    if accumulators == "dsp":
        dsps = -(-pe // 4)
    else:
        alone = 0 if scores else np.where(groups > 1, total, (total - 2) / 3)
        added, held = np.where(beats > 1, total, alone), np.where(beats > 1, total, 0)
        if bits > 1:
            # Of several passes there is what can be a carry, which begins at the lower bits of a
            # threshold or at 0; in the end it is compared with the higher ones.
            first = synapses * ((1 << planes) - 1) + (0 if scores else (1 << bits) - 1)
            sums = np.ceil(np.log2(np.maximum(first, most >> bits - planes) + 1))
            higher = (most >> bits).bit_length()
            compared = np.where(groups > 1, higher, max(0, higher - 2) / 3)
            added = np.where(passes > 1, sums + (0 if scores else compared), added)
            held = np.where(passes > 1, sums + (bits if scores else 0), held)
        luts, ffs = luts + pe * added * family.sum_bit, ffs + pe * held
    if not scores:
        luts = luts + rom(groups, pe * total, board.family)
        ffs = ffs + np.where(groups > 1, rom_columns(groups, pe * total), 0)

    # The results under way, which are read at once and so never in block RAM; and two banks of
    # input where groups of neurons or passes take turns.
    wait = stages + np.ceil(np.log2(planes)).astype(int) + 4
    depth = 2 * 2 ** np.ceil(np.log2(beats))
    for width, words, there, small in (
        (result * pe, -(-wait // (beats * passes)), True, True),
        (simd * bits, depth, groups * passes > 1, depth <= family.ram_most),
    ):
        near, far = there & small, there & ~np.asarray(small)
        if bits > 1:  # bits are so few that this makes no difference
            single = near & (words == 1)
            ffs, near = ffs + np.where(single, width, 0), near & (words > 1)
        if family.ram_lut:
            ram = np.where(near, width * family.ram_lut * -(-words // family.ram_words), 0)
            luts, lut_rams = luts + ram, lut_rams + ram
        else:
            luts, ffs = luts + np.where(near, width, 0), ffs + np.where(near, words * width, 0)
        memory = memory + np.where(far, brams(board, width, words), 0)
    ffs = ffs + simd * bits

    # A pass takes some of the planes that are held.
    row, less = family.mux
    luts = luts + np.where(passes > 1, simd * planes * np.maximum(1, row * passes - less), 0)
    return Resources(luts, ffs, memory, lut_rams, dsps)


def quantiser_cost(
    board: Board, *, neurons: int, levels: int, top: int, classes: int, lanes
) -> Resources:
    """What a quantiser costs.

    Parameters
    ----------
    neurons, levels, top
        Of `hw.cores.quantiser.Quantiser`.
    classes : int
        Pairs of a row's class and a column's.
    lanes : int or array of int
        Neurons a beat.
    """
    family, lanes = FAMILIES[board.family], np.asarray(lanes)
    rows, width = classes * -(-neurons // lanes), (top + 1).bit_length()
    bits = levels.bit_length()
    address = np.ceil(np.log2(rows))
    luts, ffs = 25.0 + (15 if classes > 1 else 0) + np.log2(rows), 20.0 + 2 * bits * address
    for known in range(bits):
        # A ROM in which the bits that are known choose, and a comparison; scores wait beside.
        words = rows << known
        compared = width * np.where(words > 1, family.compared, family.sum_bit / 5)
        luts = luts + lanes * (rom(words, width, board.family) * (words > 1) + compared)
        read = np.where(words > 1, rom_columns(words, width) + address + known, 0)
        ffs = ffs + lanes * (read + 2 * width + 2 * known)
    if family.ram_lut:
        ram = lanes * bits * family.ram_lut
        return Resources(luts=luts + ram, ffs=ffs, lut_rams=ram)
    words = 2 * bits + 2  # that wait, in flip-flops
    row, less = family.mux
    return Resources(luts + lanes * bits * (row * words - less), ffs + lanes * bits * words)


@cache
def conversion_cost(
    family: str, elements: int, i_lanes: int, lanes: int, width: int = 1
) -> Resources:
    """What a width converter costs; nothing where both sides are equal."""
    if i_lanes == lanes:
        return Resources()
    capacity, _, _ = converter_sizes(elements, i_lanes, lanes)
    row, less = FAMILIES[family].mux
    chosen = max(1, row * (capacity // lanes) - less)  # LUTs for one bit of the output
    luts = lanes * width * chosen + 1.1 * capacity / i_lanes + 20
    return Resources(luts=luts, ffs=capacity * width + 24)


def memory_cost(board: Board, width: int, depth: int) -> Resources:
    """A memory that is written and read: LUT RAM where it is small, else block RAM."""
    family = FAMILIES[board.family]
    if depth > family.ram_most:
        return Resources(brams=float(brams(board, width, depth)))
    if not family.ram_lut:
        return Resources(luts=width, ffs=depth * width)
    ram = width * family.ram_lut * -(-depth // family.ram_words)
    return Resources(luts=ram, lut_rams=ram)


def _logic(board: Board, lut6: float, ffs: float) -> Resources:
    """Control logic that takes so many LUT6; of LUT4 about 1.6 times as many."""
    return Resources(luts=lut6 if board.lut_inputs == 6 else 1.6 * lut6, ffs=ffs)


def _window_cost(stage: Window, board: Board) -> Resources:
    bits, depth = stage.lanes * stage.width, stage.depth
    control = 5 * np.log2(depth) + 15 * any(stage.padding)
    if stage.parallel:
        pixel, (rows, _) = stage.channels * stage.width, stage.kernel
        lines = memory_cost(board, (rows - 1) * pixel, stage.columns)
        fifo = memory_cost(board, pixel, depth)
        ffs = bits + 22 + 3 * np.log2(depth)
        return lines + fifo + _logic(board, float(20 + control), float(ffs))
    small = depth <= FAMILIES[board.family].ram_most
    luts = 33 + control + 3 * np.log2(stage.height * stage.columns) + bits * (small and depth > 64)
    ffs = 14 + 6 * np.log2(depth) + bits * small
    return memory_cost(board, bits, depth) + _logic(board, float(luts), float(ffs))


def _pooling_cost(stage: Pooling, board: Board) -> Resources:
    bits = stage.lanes * stage.width
    depth = 1 << ceil_log2(stage.beats) + ceil_log2(-(-stage.columns // stage.stride[1]))
    row, results = memory_cost(board, bits, depth), memory_cost(board, bits, 2)
    return row + results + _logic(board, 30 + bits, 15)


def shell_resources(board: Board, elements: int, width: int, lanes: int) -> Resources:
    """What is around a pipeline: the board's shell, and the conversion of bytes to beats.

    Parameters
    ----------
    elements : int
        Elements of a frame.
    width : int
        Bits of an element.
    lanes : int
        Elements a beat that the pipeline takes.
    """
    family = FAMILIES[board.family]
    many = 8 if width == 1 else 1  # elements of a byte
    frame = -(-elements // many)
    if board.shell.name == "zynq":
        aligner = Resources() if frame % 8 == 0 else _ALIGNER
        shell, i_lanes = _ZYNQ + aligner, 8 * many
    else:
        # Room for two frames.
        if 2 * frame <= family.ram_most:
            ram = 8 * family.ram_lut * -(-2 * frame // family.ram_words)
            buffer = Resources(luts=ram, lut_rams=ram)
        else:
            buffer = Resources(brams=float(brams(board, 8, 2 * frame)))
        shell, i_lanes = Resources(luts=family.link, ffs=650) + buffer, many
    return shell + conversion_cost(board.family, elements, min(i_lanes, elements), lanes, width)


def _threshold_luts(stage: Thresholding, board: Board) -> float:
    """LUTs of one lane."""
    values = set(stage.thresholds)
    if len(values) > 1:
        return stage.i_width * (0.3 + 0.5 * stage.beats / 8)
    (value,) = values
    zeros = (value & -value).bit_length() - 1 if value else stage.i_width
    return -(-max(0, stage.i_width - zeros - 1) // (board.lut_inputs - 1))


def stage_resources(stage: Stage, board: Board) -> Resources:
    """The estimate for one stage on a board."""
    match stage:
        case Matrix():
            folding = stage.folding
            cost = unit_cost(
                board,
                synapses=stage.synapses,
                neurons=stage.neurons,
                scores=stage.scores,
                simd=folding.inputs_per_beat,
                pe=folding.neurons_per_beat,
                stages=folding.stages,
                storage=folding.storage,
                logic_bits=folding.logic_bits,
                accumulators=folding.accumulators,
                bits=stage.bits,
                planes=stage.planes,
            )
            return Resources(*(float(getattr(cost, f.name)) for f in fields(cost)))
        case Conversion():
            return conversion_cost(
                board.family, stage.elements, stage.i_lanes, stage.lanes, stage.width
            )
        case Shared():
            from hw.engine.resources import engine_resources  # which adds up costs of this file

            return engine_resources(stage.plan, board)
        case Window():
            return _window_cost(stage, board)
        case Pooling():
            return _pooling_cost(stage, board)
        case Quantisation():
            shape = stage.thresholds.shape
            levels = 1 if len(shape) % 2 else shape[-1]
            cost = quantiser_cost(
                board,
                neurons=stage.elements,
                levels=levels,
                top=stage.top,
                classes=stage.thresholds.size // (stage.elements * levels),
                lanes=stage.lanes,
            )
            return Resources(*(float(getattr(cost, f.name)) for f in fields(cost)))
        case Thresholding():
            return Resources(luts=stage.lanes * _threshold_luts(stage, board))
        case Maximum():
            lane, control = FAMILIES[board.family].maximum
            luts = lane * stage.i_width * stage.i_lanes + control
            return Resources(luts=luts, ffs=1.4 * stage.i_width * stage.i_lanes + 15)
    return Resources()


def estimate(stages: Sequence[Stage], board: Board) -> Resources:
    """The estimate for a pipeline, without what is around it."""
    return sum((stage_resources(stage, board) for stage in stages), Resources())
