"""What an engine costs on 7-series, before synthesis."""

from boards.catalogue import Board
from hw.engine.plan import PORT_BITS, EnginePlan
from hw.engine.sequencer import padding_words
from hw.resources import FAMILIES, Resources, brams, memory_cost

__all__ = ["engine_resources"]

# Counters, comparisons and tables: the sequencer, the loader, the scores.
_CONTROL = Resources(luts=620, ffs=480)

# Copies of what the pipeline carries beside the words, in flip-flops a stage.
_CARRIED = 60


def engine_resources(plan: EnginePlan, board: Board) -> Resources:
    """The estimate for an engine on a board with LUT6s."""
    family = FAMILIES[board.family]
    simd, pe, width, row = plan.simd, plan.pe, plan.sum_width, plan.row_words * PORT_BITS
    columns, stages = plan.columns, plan.stages

    # XNOR and popcount; the sums; tiles twice; words in copies, and as pools take them.
    word = family.trees[0].cost(simd, stages)
    total = Resources(
        luts=float(word[0] + width * family.sum_bit) * pe,
        ffs=float(word[1] + 2 * width) * pe
        + 2 * simd * pe
        + simd * (-(-pe // family.reach) + stages + 3)
        + _CARRIED * (stages + 4)
        + pe
        + row * (1 + (plan.rom_rows > 0)),
    )

    # From a word of a column of a bank, or padding; to columns of a bank; sums to a score; pools.
    choices = simd * (columns + 1) + pe * columns.bit_length() * 0.7 + width * pe * 0.3 + simd
    total += Resources(luts=choices + simd * min(1, len(padding_words(plan)) / 64))

    # Rows that wait, and what sums start from, in LUT RAM.
    total += memory_cost(board, row, 4)
    total += memory_cost(board, pe * width, 3 * plan.classes)

    # Block RAM. Bits of the input's words that are no channel are not kept.
    lanes = min(simd, plan.steps[0].work.image[2])
    for bits, words in zip((lanes, simd, simd), plan.bank_words, strict=True):
        total += Resources(brams=columns * float(brams(board, bits, max(2, -(-words // columns)))))
    total += Resources(brams=float(brams(board, pe * width, plan.depth)))
    if plan.rom_rows:
        total += Resources(brams=float(brams(board, row, plan.rom_rows)))
    total += memory_cost(board, plan.score_width, plan.batch * plan.scores)
    return total + _CONTROL
