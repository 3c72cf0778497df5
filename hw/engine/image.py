"""The weights as an engine reads them: rows of starts and of tiles, in the order of their use."""

from collections.abc import Iterator

import numpy as np

from hw.engine.plan import PORT_BITS, EnginePlan, Step
from sw.network import Layer, Network

__all__ = ["rom_rows", "weights_image"]


def _rows(plan: EnginePlan, bits: np.ndarray) -> np.ndarray:
    """Bits, lowest first, as rows of bytes; filled up with 0."""
    row = plan.row_words * PORT_BITS
    packed = np.packbits(bits, bitorder="little")
    return np.pad(packed, (0, -len(packed) % (row // 8))).reshape(-1, row // 8)


def _starts(plan: EnginePlan, step: Step, layer: Layer) -> np.ndarray:
    """What the sums of each group start from, shape (groups, classes, pe).

    So far below the weight of a sum's highest bit as the threshold is above 0, so that this bit
    tells whether the threshold is reached. Of scores and of padding it is 0: bits that are no
    neuron's are never on.
    """
    neurons = step.groups * plan.pe
    starts = np.zeros((step.work.classes[0] * step.work.classes[1], neurons), dtype=np.uint16)
    if layer.thresholds is not None:
        thresholds = layer.thresholds.reshape(-1, layer.neurons)
        starts[:, : layer.neurons] = (1 << plan.sum_width - 1) - thresholds
    return starts.reshape(len(starts), step.groups, plan.pe).transpose(1, 0, 2)


def _tiles(plan: EnginePlan, step: Step, layer: Layer) -> np.ndarray:
    """Bits of the tiles, shape (groups, tiles, simd, pe): bit-sliced, as the popcount wants them.

    What pads a word is 0 in every image; its weight is 1, so that it never matches.
    """
    rows, columns = step.work.kernel
    padded = np.ones((step.groups * plan.pe, rows, columns, step.words * plan.simd), dtype=np.uint8)
    weights = layer.weights.reshape(layer.neurons, rows, columns, -1)
    padded[: layer.neurons, :, :, : weights.shape[3]] = weights
    tiles = padded.reshape(step.groups, plan.pe, step.tiles, plan.simd)
    return tiles.transpose(0, 2, 3, 1)


def _chunk(network: Network, plan: EnginePlan, step: Step) -> Iterator[np.ndarray]:
    """The rows of bytes that a chunk of a product takes."""
    layer = next(node for node in network.nodes if node.name == step.work.name)
    starts, tiles = _starts(plan, step, layer), _tiles(plan, step, layer)
    for group in range(step.groups):
        for of_class in starts[group]:
            bytes_ = of_class.astype("<u2").view(np.uint8)
            yield _rows(plan, np.unpackbits(bytes_, bitorder="little"))
        for tile in tiles[group]:
            yield _rows(plan, tile)


def weights_image(network: Network, plan: EnginePlan) -> bytes:
    """What a batch takes from the weights' port: `plan.stream_words` little-endian words.

    A layer of several chunks is there so many times: the port reads from one end to the other.
    """
    parts = []
    for step in plan.products:
        if not step.resident:
            parts += [b"".join(row.tobytes() for row in _chunk(network, plan, step))] * step.chunks
    return b"".join(parts)


def rom_rows(network: Network, plan: EnginePlan) -> list[int]:
    """The rows that are on the chip, as integers."""
    return [
        int.from_bytes(row.tobytes(), "little")
        for step in plan.products
        if step.resident
        for rows in _chunk(network, plan, step)
        for row in rows
    ]
