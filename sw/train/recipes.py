"""What a training does: a frozen recipe, the presets, and how a recipe is written as a command.

Imports no torch, so that the command line answers fast.
"""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import PurePath

import numpy as np

from sw import datasets
from sw.datasets import imagenet
from sw.errors import PopstreamError, unknown
from sw.shapes import SHAPES
from sw.train import description

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

PRECISIONS = ("float32", "bf16")

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
    dataset: str = _option(
        "mnist", ", ".join(datasets.names()) + " or imagenet; cifar10@64: scaled to 64x64"
    )
    hidden: tuple[int, ...] = _option((), "neurons of the hidden layers, e.g. 256,256")
    layers: str = _option(
        "", "instead of --hidden, a network that takes pixels as they are: 64C3p1-P2-128C3s2-512"
    )
    width: float = _option(1.0, "times so many filters and neurons in --layers")
    scaled: bool = _option(False, "XNOR-Net's scale factors: a filter's mean absolute weight")
    real: bool = _option(False, "real weights, and ReLU for sign: a teacher, not a model")
    epochs: int = _option(30, "passes over the training images")
    batch: int = _option(100, "images of one step; a last part of a batch is left out of its epoch")
    learning_rate: float = _option(0.01, "Adam's at its highest; at last falls to 0 by a cosine")
    warmup: float = _option(1.0, "epochs in which the learning rate first rises from 0")
    decay: float = _option(
        0.0, "epochs at the end in which the learning rate falls; 0: all after the warm-up"
    )
    dropout: float = _option(0.0, "share of hidden activations dropped, 0 <= x < 1")
    shift: int = _option(
        0,
        "move each training image by up to this many pixels each way; imagenet: cut out anywhere",
    )
    flip: bool = _option(False, "mirror every other training image, left to right")
    label_smoothing: float = _option(0.0, "share of the target spread over all classes, 0 <= x < 1")
    binarise: str = _option(
        "", "pixel threshold: a number, or mean (of each pixel); default: the data set's own"
    )
    validation: int = _option(
        0, "hold out this many of the last training images and report on them, not on the test set"
    )
    seed: int = _option(1, "of weights, order, shifts and dropout")
    teacher: str = _option("", "folder of a run with --real whose outputs are to be learned too")
    distillation: float = _option(0.0, "share of the loss for that, 0 < x <= 1")
    temperature: float = _option(4.0, "by which scores are softened for that")
    precision: str = _option(
        "float32", "of the training's sums, float32 or bf16 (bfloat16); evaluation is always exact"
    )
    compile: bool = _option(False, "let torch.compile make kernels for the training step")
    threads: int = _option(
        2, "processor threads of a process; other numbers round sums in another order"
    )
    processes: int = 1  # as many as torchrun started

    def __post_init__(self) -> None:
        name, _ = datasets.parse(self.dataset, (*datasets.names(), imagenet.FOLDER))
        if name == imagenet.FOLDER and (self.hidden or self.validation):
            raise PopstreamError("imagenet is for --layers, and has a validation set of its own")
        self._check_layers()
        _check("epochs", self.epochs, 1, 1_000_000)
        _check("batch", self.batch, 2, 1_000_000)
        _check("learning-rate", self.learning_rate, 1e-9, 10)
        _check("warmup", self.warmup, 0, self.epochs)
        _check("decay", self.decay, 0, self.epochs)
        _check("dropout", self.dropout, 0, 0.99)
        _check("shift", self.shift, 0, 8)
        _check("label-smoothing", self.label_smoothing, 0, 0.99)
        _check("validation", self.validation, 0, 1_000_000)
        _check("seed", self.seed, 0, 2**31 - 1)
        _check("threads", self.threads, 1, 1024)
        _check("processes", self.processes, 1, self.batch // 2)
        _check("distillation", self.distillation, 0, 1)
        _check("temperature", self.temperature, 0.01, 1000)
        if bool(self.teacher) != (self.distillation > 0):
            raise PopstreamError("--teacher and --distillation go together")
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.binarise not in ("", "mean") and not self.binarise.isdecimal():
            raise PopstreamError(
                f"--binarise must be a whole number or mean, not {self.binarise!r}"
            )

    def _check_layers(self) -> None:
        if not (self.hidden or self.layers):
            raise PopstreamError(
                "no network: name a preset, or give --hidden, e.g. --hidden 256,256, or --layers"
            )
        if self.hidden and self.layers:
            raise PopstreamError("--hidden and --layers are two networks; give one of them")
        for width in self.hidden:
            _check("hidden", width, 1, 65536)
        _check("width", self.width, 0.001, 1000)
        if self.layers:
            description.parse(self.layers)
            if self.binarise:
                raise PopstreamError(
                    "--binarise is for --hidden; --layers takes pixels as they are"
                )
            return
        for option in ("width", "flip", "scaled", "real", "teacher"):
            if getattr(self, option) != Recipe.__dataclass_fields__[option].default:
                raise PopstreamError(f"--{option} is for --layers, not for --hidden")

    @property
    def description(self) -> tuple[description.Conv | description.Pool | description.Dense, ...]:
        """The hidden layers, `width` applied."""
        if self.hidden:
            return tuple(map(description.Dense, self.hidden))
        return description.scale(description.parse(self.layers), self.width)

    @property
    def network(self) -> str:
        """The preset's name, or the layers: ``sfc``, ``cnv-x0.25``, ``256-256``."""
        if self.preset:
            return self.preset + (f"-x{self.width:g}" if self.width != 1 else "")
        return description.text(self.description)

    @property
    def falls_after(self) -> float:
        """Epochs before the learning rate falls."""
        return max(self.warmup, self.epochs - self.decay) if self.decay else self.warmup

    @property
    def name(self) -> str:
        """Name of the trained model, e.g. ``mnist-sfc``, ``fashion-sfc``."""
        dataset = self.dataset.partition("@")[0].removesuffix("-mnist")
        return f"{dataset}-{self.network}"

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
    "cnv": Recipe(
        "cnv",
        "cifar10",
        layers=SHAPES["cnv"].layers,
        epochs=30,
        decay=10,
        batch=128,
        shift=2,
        flip=True,
        precision="bf16",
        threads=1,
    ),
    # The paper's epochs, batch, learning rate, flips and crops.
    "bvgg16": Recipe(
        "bvgg16",
        "cifar10",
        layers=SHAPES["bvgg16"].layers,
        epochs=1000,
        batch=100,
        learning_rate=0.02,
        shift=4,
        flip=True,
        precision="bf16",
    ),
    "xnor-alexnet": Recipe(
        "xnor-alexnet",
        "imagenet",
        layers=SHAPES["xnor-alexnet"].layers,
        scaled=True,
        epochs=60,
        batch=512,
        learning_rate=0.001,
        dropout=0.1,
        flip=True,
        precision="bf16",
    ),
}


def preset(name: str | None, **overrides) -> Recipe:
    """The preset of this name (None: the plain defaults) with some fields replaced.

    A preset given another ``hidden`` is that preset no more and loses its name.
    """
    if name is None:
        return Recipe(**overrides)
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    base = PRESETS[name]
    recipe = replace(base, **overrides)
    same = (recipe.hidden, recipe.layers) == (base.hidden, base.layers)
    return recipe if same else replace(recipe, preset="")


def command(recipe: Recipe) -> str:
    """The shortest command line that trains by this recipe."""
    words = ["python", "-m", "sw.train"]
    if recipe.processes > 1:
        words[:1] = ["torchrun", "--nproc-per-node", str(recipe.processes)]
    if recipe.preset:
        words.append(recipe.preset)
        base = PRESETS[recipe.preset]
    else:
        base = Recipe(hidden=recipe.hidden and (1,), layers=recipe.layers and "1")
    for option in fields(Recipe):
        value = getattr(recipe, option.name)
        if "help" not in option.metadata or (
            value == getattr(base, option.name) and option.name != "dataset"
        ):
            continue
        flag = f"--{option.name.replace('_', '-')}"
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
            continue
        text = ",".join(map(str, value)) if option.name == "hidden" else str(value)
        words += [flag, shlex.quote(text)]
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


def differences(old: Recipe, new: Recipe, done: int = 0) -> Sequence[str]:
    """The fields in which two recipes differ, as ``epochs 30, not 40``.

    Epochs and decay may, as long as the `done` first epochs are the same in both: none in which the
    learning rate has begun to fall.
    """
    if done <= min(old.falls_after, new.falls_after):
        old = replace(old, epochs=new.epochs, decay=new.decay)
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
    if len(data.train_images.shape) != 3:
        raise PopstreamError(f"--hidden takes grey images; for {data.name} give --layers")
    most = 2**data.bits - 1
    if recipe.binarise == "mean":
        images = data.train_images.astype(np.int64)
        return np.maximum(1, -(-images.sum(axis=0) // len(images)))
    threshold = int(recipe.binarise) if recipe.binarise else _THRESHOLDS[recipe.dataset]
    _check("binarise", threshold, 1, most)
    return threshold
