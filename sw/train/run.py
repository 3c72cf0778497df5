"""The folder of one training: config, checkpoint, history as CSV and as a plot.

    config.json      the recipe, and the versions of what computed
    checkpoint.pt    everything needed to continue, written after every epoch
    history.csv      one line an epoch
    history.png      the same as a plot, where matplotlib is installed

Files are written beside and renamed, so that each is whole whenever the training is stopped.
"""

import csv
import io
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from sw.artefact import write_file
from sw.errors import PopstreamError
from sw.train.recipes import Recipe, to_json

__all__ = ["Epoch", "has_checkpoint", "load_checkpoint", "open_run", "save_epoch", "write_plot"]


@dataclass(frozen=True)
class Epoch:
    """One line of the history. Accuracies are fractions; `accuracy` is on the test (or held-out)
    images with running batch norm, `train_accuracy` on the epoch's own batches as they passed."""

    epoch: int
    learning_rate: float
    loss: float
    train_accuracy: float
    accuracy: float
    seconds: float


def has_checkpoint(directory: Path) -> bool:
    return (directory / "checkpoint.pt").exists()


def open_run(directory: Path, recipe: Recipe) -> None:
    """Makes the folder and writes its config.json.

    Raises
    ------
    PopstreamError
        The folder cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PopstreamError(f"cannot make the folder {directory}: {error.strerror}") from error
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    config = {"recipe": to_json(recipe), "versions": versions}
    write_file(directory / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def save_epoch(directory: Path, state: dict, history: Sequence[Epoch]) -> None:
    """Writes the checkpoint (`state` and the history) and the history's CSV."""
    buffer = io.BytesIO()
    torch.save({**state, "history": [asdict(epoch) for epoch in history]}, buffer)
    write_file(directory / "checkpoint.pt", buffer.getvalue())

    text = io.StringIO()
    table = csv.DictWriter(text, [item.name for item in fields(Epoch)], lineterminator="\n")
    table.writeheader()
    for epoch in history:
        table.writerow(
            {k: v if isinstance(v, int) else f"{v:.6g}" for k, v in asdict(epoch).items()}
        )
    write_file(directory / "history.csv", text.getvalue().encode())


def load_checkpoint(directory: Path) -> dict:
    """What `save_epoch` was given, with the history as a list of `Epoch` under "history".

    Only tensors and plain values are read; nothing in the file can run code.

    Raises
    ------
    PopstreamError
        There is no checkpoint, or it is not one.
    """
    path = directory / "checkpoint.pt"
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        history = [Epoch(**epoch) for epoch in state["history"]]
    except FileNotFoundError as error:
        raise PopstreamError(f"nothing to resume: there is no {path}") from error
    except Exception as error:  # a damaged file makes torch fail in any way it likes
        raise PopstreamError(
            f"cannot resume from {path}: it is damaged or of another version; delete the folder "
            "to train afresh"
        ) from error
    return {**state, "history": history}


def write_plot(directory: Path, recipe: Recipe, history: Sequence[Epoch]) -> None:
    """Draws history.png: loss and accuracies over the epochs. Does nothing without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    if not history:
        return
    epochs = [line.epoch for line in history]
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    left.plot(epochs, [line.loss for line in history], color="tab:red", label="loss")
    left.set(xlabel="epoch", ylabel="loss", title=recipe.name, ylim=(0, None))
    shown = "held-out" if recipe.validation else "test"
    for key, label, color in (
        ("train_accuracy", "training accuracy", "tab:gray"),
        ("accuracy", f"{shown} accuracy", "tab:blue"),
    ):
        right.plot(epochs, [100 * getattr(line, key) for line in history], color=color, label=label)
    right.set_ylabel("accuracy in %")
    left.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_file(directory / "history.png", buffer.getvalue())
