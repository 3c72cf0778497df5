"""The trainer's command line: python -m sw.train sfc --dataset mnist."""

import argparse
import math
import os
import shlex
import sys
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from sw import datasets
from sw.datasets import imagenet
from sw.errors import MissingTool, PopstreamError
from sw.train import description
from sw.train.processes import Processes
from sw.train.recipes import PRESETS, Recipe, command, preset

__all__ = ["main"]

_DESCRIPTION = """
Trains a binarised network and writes it as a model file for python -m hw.build.
A preset fixes every option below; options given beside it win. Without a preset, give --hidden.
"""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; the exit status: 0, 1 on a user's mistake, 130 when interrupted."""
    options = vars(_parser().parse_args(arguments))
    console = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)
    try:
        return _run(options, console)
    except PopstreamError as error:
        console.print(f"error: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130


def _run(options: dict, console: Console) -> int:
    data_dir, out, resume, device, stop_after = (
        options.pop(name) for name in ("data_dir", "out", "resume", "device", "stop_after")
    )
    processes = Processes.started()
    recipe = preset(options.pop("preset"), **options, processes=processes.count)
    directory = Path(out or recipe.directory)
    if stop_after is not None and stop_after < 1:
        raise PopstreamError(f"--stop-after must be at least 1, not {stop_after}")
    load = imagenet.load if recipe.dataset.startswith(imagenet.FOLDER) else datasets.load
    data = load(recipe.dataset, data_dir)
    # Threads that wait by spinning take the time they wait for where other programs run as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from sw.train.export import export
        from sw.train.loop import train
        from sw.train.progress import Reporter
        from sw.train.run import has_checkpoint
    except ModuleNotFoundError as error:
        raise MissingTool(f"training needs {error.name}: pip install 'popstream[train]'") from error
    if has_checkpoint(directory) and not resume:
        raise PopstreamError(
            f"{directory} holds a training already: continue it by --resume, "
            "choose another folder by --out, or delete it"
        )

    if not processes.first:
        console = Console(quiet=True)
    try:
        processes.meet(device)
        image = data.train_images.shape[1:]
        begin = "x".join(map(str, image)) if recipe.layers else str(math.prod(image))
        layers = f"{begin}-{description.text(recipe.description)}-{len(data.classes)}"
        console.print(
            f"{recipe.name}: {layers}, "
            f"{len(data.train_images) - recipe.validation:,} images, {recipe.epochs} epochs, "
            f"to {directory}"
        )
        again = command(recipe)
        for option, value in (("--out", out), ("--data-dir", data_dir), ("--device", device)):
            if value and (option, value) != ("--device", "cpu"):
                again += f" {option} {shlex.quote(value)}"
        try:
            with Reporter(console, epochs=recipe.epochs) as reporter:
                trained = train(
                    recipe,
                    data,
                    directory,
                    resume=resume,
                    device=processes.device(device),
                    stop_after=stop_after,
                    reporter=reporter,
                    processes=processes,
                )
        except KeyboardInterrupt:
            console.print(f"interrupted; whole epochs are kept. Continue by: {again} --resume")
            return 130
        if len(trained.history) < recipe.epochs:
            console.print(f"stopped as asked. Continue by: {again} --resume")
            return 0
        if recipe.real:
            console.print(f"a teacher, by: --teacher {shlex.quote(str(directory))}")
            return 0
        if processes.first:
            path = directory / f"{recipe.name}.safetensors"
            exported = export(trained, recipe, data, path)
            card = exported.card
            console.print(
                f"{path}: {card.integer_accuracy:.2%} of {card.test_images:,} test images "
                f"(float {card.float_accuracy:.2%}, {exported.differing} predictions differ)",
                style="red" if exported.differing else None,
            )
        return 0
    finally:
        processes.part()


def _hidden(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers with commas between, e.g. 256,256, not {text!r}"
        ) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sw.train", description=_DESCRIPTION)
    parser.add_argument(
        "preset", nargs="?", help="; ".join(f"{k}: {_shape(v)}" for k, v in PRESETS.items())
    )
    recipe = parser.add_argument_group("recipe")
    for option in fields(Recipe):
        if "help" not in option.metadata:
            continue
        flag = f"--{option.name.replace('_', '-')}"
        if option.type is bool:
            recipe.add_argument(
                flag,
                action=argparse.BooleanOptionalAction,
                default=argparse.SUPPRESS,
                help=option.metadata["help"],
            )
            continue
        recipe.add_argument(
            flag,
            type=_hidden if option.name == "hidden" else option.type,
            default=argparse.SUPPRESS,
            metavar={int: "N", float: "X"}.get(option.type, option.name.upper()),
            help=option.metadata["help"],
        )
    run = parser.add_argument_group("run")
    run.add_argument("--out", metavar="DIR", help="folder of the run; runs/<preset>-<dataset>")
    run.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    run.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of the data sets; else $POPSTREAM_DATA, else cache",
    )
    run.add_argument("--device", default="cpu", help="where torch computes, e.g. cuda; cpu")
    run.add_argument("--stop-after", type=int, metavar="N", help="stop when N epochs are done")
    return parser


def _shape(recipe: Recipe) -> str:
    return f"{recipe.dataset} {description.text(recipe.description)}"


if __name__ == "__main__":
    sys.exit(main())
