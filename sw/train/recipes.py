"""What a training does: a frozen recipe, the presets, and how a recipe is written as a command.

Imports no torch, so that the command line answers fast.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import PurePath

import numpy as np

from sw import datasets
from sw.errors import PopstreamError, unknown

__all__ = [
    "PRESETS",
    "Recipe",
    "command",
    "differences",
    "from_json",
    "pixel_threshold",
    "preset",
    "to_json",
]

_THRESHOLDS = {"digits": 8, "mnist": 128, "fashion-mnist": 20}


def _option(default, text: str):
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained weights, besides the data and the machine's arithmetic.

    Each field is an option of the command line; its ``help`` is the field's description.

    Raises
    ------
    PopstreamError
        A value is out of its range.
    """

    preset: str = ""
    dataset: str = _option("mnist", "digits, mnist or fashion-mnist")
    hidden: tuple[int, ...] = _option((), "neurons of the hidden layers, e.g. 256,256")
    epochs: int = _option(30, "passes over the training images")
    batch: int = _option(100, "images of one step; a last part of a batch is left out of its epoch")
    learning_rate: float = _option(0.01, "Adam's at its highest; falls to 0 along a cosine")
    warmup: float = _option(1.0, "epochs in which the learning rate first rises from 0")
    dropout: float = _option(0.0, "share of hidden activations dropped, 0 <= x < 1")
    shift: int = _option(0, "move each training image by up to this many pixels each way")
    label_smoothing: float = _option(0.0, "share of the target spread over all classes, 0 <= x < 1")
    binarise: str = _option(
        "", "pixel threshold: a number, or mean (of each pixel); default: the data set's own"
    )
    validation: int = _option(
        0, "hold out this many of the last training images and report on them, not on the test set"
    )
    seed: int = _option(1, "of weights, order, shifts and dropout")
    threads: int = _option(2, "processor threads; other numbers round sums in another order")

    def __post_init__(self) -> None:
        if self.dataset not in datasets.names():
            raise unknown("data set", self.dataset, datasets.names())
        if not self.hidden:
            raise PopstreamError(
                "no network: name a preset, or give --hidden, e.g. --hidden 256,256"
            )
        for width in self.hidden:
            _check("hidden", width, 1, 65536)
        _check("epochs", self.epochs, 1, 1_000_000)
        _check("batch", self.batch, 2, 1_000_000)
        _check("learning-rate", self.learning_rate, 1e-9, 10)
        _check("warmup", self.warmup, 0, self.epochs)
        _check("dropout", self.dropout, 0, 0.99)
        _check("shift", self.shift, 0, 8)
        _check("label-smoothing", self.label_smoothing, 0, 0.99)
        _check("validation", self.validation, 0, 1_000_000)
        _check("seed", self.seed, 0, 2**31 - 1)
        _check("threads", self.threads, 1, 1024)
        if self.binarise not in ("", "mean") and not self.binarise.isdecimal():
            raise PopstreamError(
                f"--binarise must be a whole number or mean, not {self.binarise!r}"
            )

    @property
    def network(self) -> str:
        """The preset's name, or the hidden widths: ``sfc``, ``256-256``."""
        return self.preset or "-".join(map(str, self.hidden))

    @property
    def name(self) -> str:
        """Name of the trained model, e.g. ``mnist-sfc``, ``fashion-sfc``."""
        return f"{self.dataset.removesuffix('-mnist')}-{self.network}"

    @property
    def directory(self) -> PurePath:
        """Where the run is kept unless the user says otherwise."""
        return PurePath("runs", f"{self.network}-{self.dataset}")


def _check(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # false of nan too
        raise PopstreamError(f"--{option} must be in {low}..{high}, not {value}")


PRESETS = {
    "tiny": Recipe("tiny", "digits", (64, 64), epochs=300, batch=32, threads=1),
    "tfc": Recipe("tfc", "mnist", (64, 64, 64), epochs=60, threads=1),
    "sfc": Recipe("sfc", "mnist", (256, 256, 256), epochs=60, shift=1),
    "lfc": Recipe("lfc", "mnist", (1024, 1024, 1024), epochs=40, shift=1),
}


def preset(name: str | None, **overrides) -> Recipe:
    """The preset of this name (None: the plain defaults) with some fields replaced.

    A preset given another ``hidden`` is that preset no more and loses its name.
    """
    if name is None:
        return Recipe(**overrides)
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    recipe = replace(PRESETS[name], **overrides)
    return recipe if recipe.hidden == PRESETS[name].hidden else replace(recipe, preset="")


def command(recipe: Recipe) -> str:
    """The shortest command line that trains by this recipe."""
    words = ["python", "-m", "sw.train"]
    if recipe.preset:
        words.append(recipe.preset)
        base = PRESETS[recipe.preset]
    else:
        base = Recipe(hidden=(1,))
    for option in fields(Recipe):
        value = getattr(recipe, option.name)
        if option.name == "preset" or (
            value == getattr(base, option.name) and option.name != "dataset"
        ):
            continue
        text = ",".join(map(str, value)) if option.name == "hidden" else str(value)
        words += [f"--{option.name.replace('_', '-')}", text]
    return " ".join(words)


def to_json(recipe: Recipe) -> dict:
    """The recipe as JSON values."""
    return {**asdict(recipe), "hidden": list(recipe.hidden)}


def from_json(values: dict) -> Recipe:
    """The recipe ``to_json`` wrote.

    Raises
    ------
    PopstreamError
        A field is unknown, of another type or out of range.
    """
    try:
        return Recipe(**{**values, "hidden": tuple(values["hidden"])})
    except (KeyError, TypeError) as error:
        raise PopstreamError("its recipe is not one of this version's recipes") from error


def differences(old: Recipe, new: Recipe) -> Sequence[str]:
    """The fields in which two recipes differ, as ``epochs 30, not 40``."""
    return [
        f"{option.name} {getattr(old, option.name)!r}, not {getattr(new, option.name)!r}"
        for option in fields(Recipe)
        if getattr(old, option.name) != getattr(new, option.name)
    ]


def pixel_threshold(recipe: Recipe, data: datasets.Dataset) -> int | np.ndarray:
    """A pixel at or above this is a 1: one number, or int64 (height, width) of one per pixel.

    ``mean`` is each pixel's mean over the training images rounded up, at least 1, so that a pixel
    that is never lit stays 0.
    """
    most = 2**data.bits - 1
    if recipe.binarise == "mean":
        images = data.train_images.astype(np.int64)
        return np.maximum(1, -(-images.sum(axis=0) // len(images)))
    threshold = int(recipe.binarise) if recipe.binarise else _THRESHOLDS[recipe.dataset]
    _check("binarise", threshold, 1, most)
    return threshold
