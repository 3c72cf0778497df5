"""python -m sw.benchmark: how fast the golden model is.

    golden  a network on the test images of CIFAR-10 or MNIST, or on random ones
    xnor    one layer on one core, against PyTorch's convolution of float32

The second is the claim of M. Rastegari et al., "XNOR-Net", 2016: binary convolutions 58 times as
fast on a CPU, in a 32nd of the memory.
"""

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from sw import artefact, datasets, golden, zoo
from sw.errors import MissingTool, PopstreamError
from sw.fold import BatchNorm, TrainedConv, TrainedDense, fold_classifier
from sw.network import Conv, Network
from sw.packed import pack
from sw.shapes import SHAPES, random_network

__all__ = ["main"]

SIDES = (8, 14, 32)  # of bvgg16's images at 256 channels, of XNOR-Net's figure, of CIFAR-10's
CHANNELS = 256


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m sw.benchmark", description="Measures the golden model."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    whole = commands.add_parser("golden", help="images a second of a network")
    whole.add_argument(
        "--model",
        default="cnv",
        help=f"a model of the zoo, a model file, or random numbers as {', '.join(SHAPES)}",
    )
    whole.add_argument("--images", type=int, default=10_000)
    whole.add_argument("--threads", type=int, help="one a processor")
    layer = commands.add_parser("xnor", help="a layer against PyTorch, on one core")
    layer.add_argument("--rounds", type=int, default=30, help="the best counts")
    options = parser.parse_args(arguments)
    console = Console(soft_wrap=True, highlight=False)
    try:
        if options.command == "golden":
            _golden(console, options.model, options.images, options.threads)
        else:
            _xnor(console, options.rounds)
    except PopstreamError as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


def _golden(console: Console, model: str, count: int, threads: int | None) -> None:
    network = _network(model)
    images, what = _images(network, count)
    began, processor = time.perf_counter(), time.process_time()
    golden.predict(network, images, threads=threads)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    console.print(
        f"{model}: {len(images):,} {what} in {seconds:.1f} s ({processor:.1f} s of processors), "
        f"{len(images) / seconds:,.0f} a second"
    )


def _network(model: str) -> Network:
    if model in SHAPES:
        return random_network(model)
    path = zoo.path(model) if model in zoo.names() else model
    return artefact.load(path).network


def _images(network: Network, count: int) -> tuple[np.ndarray, str]:
    for name, shape in (("cifar10", (32, 32, 3)), ("mnist", (28, 28))):
        if network.input.shape == shape and datasets.folder(name).is_dir():
            images, _ = datasets.load_test(name)
            return images[:count], f"of {name}'s test images"
    frame = network.type(network.input)
    rng = np.random.default_rng(0)
    return rng.integers(frame.low, frame.high + 1, (count, *frame.shape)), "random images"


def _xnor(console: Console, rounds: int) -> None:
    if not golden.have_kernel():
        raise MissingTool("numba not found: pip install 'popstream[speed]'")
    table = Table("image", "conv2d", "with norm, sign", "golden", "times", "times", box=None)
    for side in SIDES:
        conv2d, block, ours = _layer(side, rounds)
        table.add_row(
            f"{side}x{side}",
            *(f"{seconds * 1e6:,.0f} µs" for seconds in (conv2d, block, ours)),
            f"{conv2d / ours:.1f}",
            f"{block / ours:.1f}",
        )
    console.print(
        f"{CHANNELS} filters of 3x3 on {CHANNELS} channels, zero padding, one image, one core: "
        f"PyTorch's float32, and the golden model from packed bits to packed bits; "
        f"processor time, the best of {rounds} rounds"
    )
    console.print(table)
    weights = np.zeros((CHANNELS, 3, 3, CHANNELS), np.float32)
    packed = pack(weights.astype(np.uint8))
    console.print(
        f"weights: {weights.nbytes:,} bytes of float32, {packed.nbytes:,} packed, "
        f"1/{weights.nbytes / packed.nbytes:.0f}"
    )


def _layer(side: int, rounds: int) -> tuple[float, float, float]:
    """Seconds of PyTorch's convolution, of it with batch norm and sign, and of the golden model."""
    try:
        import torch
    except ImportError as error:
        raise MissingTool("torch not found: pip install 'popstream[train]'") from error
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 2, (CHANNELS, 3, 3, CHANNELS), np.uint8)
    bits = rng.integers(0, 2, (1, side, side, CHANNELS), np.uint8)
    norm = BatchNorm(
        gamma=rng.choice([-1.0, 1.0], CHANNELS),
        beta=np.zeros(CHANNELS),
        mean=rng.integers(-50, 50, CHANNELS) + 0.5,
        variance=np.ones(CHANNELS),
        epsilon=0.0,
    )
    # Padded with zeros, as PyTorch pads; the golden model's thresholds know of the borders.
    conv = TrainedConv(signs.astype(bool), norm, padding=(1, 1, 1, 1), fill=0.0)
    scores = TrainedDense(np.ones((1, side * side * CHANNELS), bool), None)
    network = fold_classifier(
        input_shape=(side, side, CHANNELS),
        input_bits=1,
        binarise=1,
        layers=[conv, scores],
        classes=("one",),
    )
    layer = golden.PreparedLayer(network.of(Conv)[0], network.type("bits"))
    x = golden.Bits(pack(bits), CHANNELS)

    def tensor(array: np.ndarray, layout):
        """0 and 1 as -1 and +1, channels first."""
        values = torch.from_numpy(array.astype(np.float32) * 2 - 1).permute(0, 3, 1, 2)
        return values.contiguous(memory_format=layout)

    mean, variance, gamma = (
        torch.from_numpy(each).float() for each in (norm.mean, norm.variance, norm.gamma)
    )
    forms = []
    for layout in (torch.contiguous_format, torch.channels_last):
        image, weights = tensor(bits, layout), tensor(signs, layout)

        def conv2d(image=image, weights=weights):
            return torch.nn.functional.conv2d(image, weights, padding=1)

        def block(conv2d=conv2d):
            return torch.nn.functional.batch_norm(conv2d(), mean, variance, gamma, eps=0.0).sign()

        forms += [conv2d, block]

    def ours():
        return layer(x, compiled=True)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            expected = block().permute(0, 2, 3, 1).numpy() > 0
            if not np.array_equal(ours().unpacked(), expected):
                raise PopstreamError("PyTorch and the golden model do not compute the same")
            best = _interleaved([*forms, ours], rounds)
    finally:
        torch.set_num_threads(threads)
    return min(best[0], best[2]), min(best[1], best[3]), best[4]


def _interleaved(functions: list[Callable], rounds: int) -> list[float]:
    """The least processor time each has taken, all in turn: whatever else runs slows all alike."""
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for index, function in enumerate(functions):
            function()  # its numbers are in the cache now
            began = time.thread_time()
            for _ in range(3):
                function()
            best[index] = min(best[index], (time.thread_time() - began) / 3)
    return best


if __name__ == "__main__":
    sys.exit(main())
