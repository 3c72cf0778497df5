"""python -m sw.zoo: the models' cards as a table; --readme writes it into README.md."""

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.console import Console

from sw import artefact, zoo
from sw.errors import PopstreamError
from sw.network import Conv, Dense, Layer, Network, Pool

__all__ = ["main", "table"]

_README = Path(__file__).with_name("README.md")
_BEGIN, _END = "<!-- table: python -m sw.zoo --readme -->\n", "<!-- end of table -->\n"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sw.zoo", description="Lists the models.")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    options = parser.parse_args(arguments)
    try:
        if options.readme:
            before, rest = _README.read_text(encoding="utf-8").split(_BEGIN)
            _, after = rest.split(_END)
            text = f"{before}{_BEGIN}\n{table()}\n{_END}{after}"
            artefact.write_file(_README, text.encode())
        else:
            Console(soft_wrap=True).print(table(), markup=False, highlight=False)
    except PopstreamError as error:
        console = Console(stderr=True, soft_wrap=True)
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        return 1
    return 0


def layers(network: Network) -> str:
    """The layers in short: ``784-256-10``, or ``32x32x3-64C3-P2-10`` of a convolutional network."""
    shape = network.input.shape
    flat = not network.of(Conv)
    words = [str(np.prod(shape)) if flat else "x".join(map(str, shape))]
    for node in network.nodes:
        match node:
            case Conv():
                words.append(f"{node.filters}C{'x'.join(map(str, dict.fromkeys(node.kernel)))}")
            case Pool():
                words.append(f"P{'x'.join(map(str, dict.fromkeys(node.size)))}")
            case Dense():
                words.append(str(node.neurons))
    return "-".join(words)


def table() -> str:
    """The cards as a Markdown table, one line a model."""
    lines = [
        "| model | layers | test images | float | integer | weights | file | trained by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in zoo.names():
        file = zoo.path(name)
        model = artefact.load(file)
        card = model.card
        weights = sum(node.weights.size for node in model.network.of(Layer))
        lines.append(
            f"| {name} | {layers(model.network)} | {card.test_images:,} of {card.dataset} "
            f"| {card.float_accuracy:.2%} | {card.integer_accuracy:.2%} "
            f"| {weights / 8192:.1f} KiB | {file.stat().st_size / 1024:.1f} KiB "
            f"| `{card.command}` |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
