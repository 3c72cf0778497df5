"""What a pipeline costs: LUTs, flip-flops and block RAMs, before anything is synthesised.

The coefficients were fitted to synthesised units of each family (`nox -s calibrate` prints the
comparison). They serve to choose a plan and to refuse what cannot fit; the build's report shows
the synthesised counts beside them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from boards.catalogue import Board
from hw.cores.width_converter import converter_sizes
from hw.pipeline import Conversion, Matrix, Maximum, Stage, Thresholding

__all__ = ["SHELL", "Resources", "brams", "estimate", "stage_resources"]


@dataclass(frozen=True)
class Resources:
    """Counts of the target's own LUTs, flip-flops and block RAMs (halves where they split)."""

    luts: float = 0
    ffs: float = 0
    brams: float = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(self.luts + other.luts, self.ffs + other.ffs, self.brams + other.brams)


@dataclass(frozen=True)
class _Family:
    """LUTs of one family for each thing a pipeline is made of."""

    lane: float  # XNOR and its share of the popcount
    sum_bit: float  # a bit of accumulator, adder and comparison
    rom_words: float  # words of a one-bit ROM that one LUT holds, as yosys maps it
    constant: float  # what a weight that never changes adds to its lane, or saves
    ram_lut: float  # LUTs of one bit of a 32-word RAM; 0: made of flip-flops or block RAM
    control: float  # counters and handshake of a unit


_FAMILIES = {
    "xc7": _Family(lane=1.35, sum_bit=3.5, rom_words=15, constant=0, ram_lut=4 / 6, control=30),
    "ecp5": _Family(lane=3.3, sum_bit=5, rom_words=10, constant=-1.2, ram_lut=2, control=50),
    "ice40": _Family(lane=3.3, sum_bit=5, rom_words=10, constant=-1.2, ram_lut=0, control=50),
}

# The serial shell, UART and clock included.
SHELL = {
    "xc7": Resources(250, 250),
    "ecp5": Resources(350, 250),
    "ice40": Resources(350, 250),
}


def brams(board: Board, width: int, depth: int) -> float:
    """Block RAMs of a memory of `depth` words of `width` bits, in the cheapest shape.

    A block RAM trades width for depth by halves. On 7-series half a RAMB36 is a RAMB18.
    """
    unit = 0.5 if board.family == "xc7" else 1
    shape_width, shape_depth = int(board.bram_width * unit), board.bram_depth
    best = float("inf")
    while shape_width >= 1:
        best = min(best, unit * -(-depth // shape_depth) * -(-width // shape_width))
        shape_width, shape_depth = shape_width // 2, shape_depth * 2
    return best


def _rom_bit(depth: int, family: _Family) -> float:
    """LUTs of one bit of ROM; a shallow one dissolves into the logic behind it."""
    if depth >= 8:
        return depth / family.rom_words
    return family.constant + (8 / family.rom_words - family.constant) * (depth - 1) / 7


def _matrix(stage: Matrix, board: Board) -> Resources:
    family, folding = _FAMILIES[board.family], stage.folding
    simd, pe = folding.inputs_per_beat, folding.neurons_per_beat
    lanes = simd * pe
    bits = stage.synapses.bit_length()

    luts = family.lane * lanes + family.control
    ffs = 0.35 * lanes * folding.stages + simd + 40
    memory = 0.0

    # Accumulators where a neuron takes several beats, else only the comparison.
    luts += family.sum_bit * pe * bits * (1 if stage.beats_per_vector > 1 else 0.4)
    ffs += pe * (stage.width + (bits if stage.beats_per_vector > 1 else 0))

    if stage.fold > 1:
        if folding.storage == "block":
            memory += brams(board, lanes, stage.fold)
        else:
            luts += lanes * _rom_bit(stage.fold, family)
            ffs += lanes if stage.fold > 4 else 0
    if stage.groups > 1 and not stage.scores:
        luts += pe * bits * max(0.0, _rom_bit(stage.groups, family))
    if stage.groups > 1:  # two banks of input
        depth = 2 * stage.beats_per_vector
        if family.ram_lut:
            luts += simd * family.ram_lut * -(-depth // 32)
        elif depth <= 2:
            luts += simd
            ffs += depth * simd
        else:
            memory += brams(board, simd, depth)
    return Resources(luts, ffs, memory)


def _conversion(stage: Conversion) -> Resources:
    capacity, step, last_step = converter_sizes(stage.elements, stage.i_lanes, stage.lanes)
    positions = (capacity - max(step, last_step)) // gcd(stage.i_lanes, stage.lanes) + 1
    bits = capacity * stage.width
    return Resources(luts=bits * (1 + min(positions, stage.i_lanes) / 3) + 20, ffs=bits + 10)


def stage_resources(stage: Stage, board: Board) -> Resources:
    """The estimate for one stage on a board."""
    match stage:
        case Matrix():
            return _matrix(stage, board)
        case Conversion():
            return _conversion(stage)
        case Thresholding():
            constant = len(set(stage.thresholds)) == 1
            words = 1 if constant else stage.beats / 8
            return Resources(luts=stage.lanes * stage.i_width * (0.3 + 0.5 * words))
        case Maximum():
            luts = 2 * stage.i_lanes * (stage.i_width + 2) + 3 * stage.i_width
            return Resources(luts=luts, ffs=stage.i_width + 16)
    return Resources()


def estimate(stages: Sequence[Stage], board: Board) -> Resources:
    """The estimate for a pipeline and the serial shell around it."""
    return sum((stage_resources(stage, board) for stage in stages), SHELL[board.family])
