"""The training loop.

Everything random in an epoch (order, shifts, dropout) is drawn from a generator seeded by the
recipe's seed and the epoch's number, and the learning rate is a function of the step, so that
weights and optimiser are all there is to keep: a training resumed after any epoch goes on bit for
bit as if it had not stopped, on the same machine with the same number of threads.
"""

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from sw.datasets import Dataset
from sw.datasets.imagenet import Pictures
from sw.errors import PopstreamError
from sw.train.convolution import ConvolutionalClassifier
from sw.train.images import Batches, Files, Images, Pixels, image_shape
from sw.train.layers import BinaryClassifier
from sw.train.processes import ALONE, Processes
from sw.train.progress import Reporter
from sw.train.recipes import Recipe, differences, from_json, pixel_threshold, to_json
from sw.train.run import Epoch, load_checkpoint, open_run, save_epoch, write_plot
from sw.train.teacher import FloatClassifier, distillation, load_teacher

__all__ = ["Trained", "batches_of", "evaluate", "learning_rate", "settle", "train"]

Classifier = BinaryClassifier | ConvolutionalClassifier | FloatClassifier

_SETTLED_IMAGES = 60_000
_REPORT_STEPS = 20  # reading the loss back waits for the device; every step would be too often


@dataclass(frozen=True)
class Trained:
    """A network, the epochs it has seen, and its pixel threshold; None where it sees pixels."""

    network: Classifier
    history: tuple[Epoch, ...]
    threshold: int | np.ndarray | None


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Rises linearly over the warm-up, stays, falls to 0 along half a cosine; steps from 0."""
    warmup = recipe.warmup * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (step + 1) / (warmup + 1)
    last = recipe.epochs * steps_per_epoch
    start = recipe.falls_after * steps_per_epoch
    fallen = max(0, step - start) / (last - start)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * fallen))


def train(
    recipe: Recipe,
    data: Dataset,
    directory: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    stop_after: int | None = None,
    reporter: Reporter,
    processes: Processes = ALONE,
) -> Trained:
    """Trains by the recipe, keeping a checkpoint in `directory` after every epoch.

    Parameters
    ----------
    resume : bool
        Continue from the folder's checkpoint; the recipe must be the one it was made by.
    stop_after : int, optional
        Stop when this many epochs are done, as if interrupted then.
    processes : Processes, optional
        Those of a training by `torchrun`; all call this with the same arguments.

    Raises
    ------
    PopstreamError
        The folder cannot be written, the device is not there, or resuming is not possible.
    KeyboardInterrupt
        After Ctrl-C; the checkpoint of the last whole epoch is in place.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    threshold = None if recipe.layers else pixel_threshold(recipe, data)
    images, labels, check_images, check_labels = _split(recipe, data)
    n, batch = len(images), min(recipe.batch, len(images))
    steps = n // batch

    try:
        network = _network(recipe, data).to(device)
        teacher = _teacher(recipe, data, device)
        x_train = batches_of(images, threshold, recipe, data.bits, device=device)
        x_check = batches_of(check_images, threshold, None, data.bits, device=device)
        y_train = torch.tensor(labels, dtype=torch.long, device=device)  # (n,)
    except (RuntimeError, AssertionError) as error:  # torch's answers to a device it has not
        reason = str(error).splitlines()[0]
        raise PopstreamError(f"cannot train on device {device!r}: {reason}") from error
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, fused=True)

    history: list[Epoch] = []
    if resume:
        history = _restore(recipe, directory, network, optimiser)
    forward = processes.joined(network)
    if recipe.compile:
        forward = torch.compile(forward)
    lowered = partial(
        torch.autocast, torch.device(device).type, torch.bfloat16, recipe.precision == "bf16"
    )

    def keep() -> None:
        state = {
            "recipe": to_json(recipe),
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
        }
        save_epoch(directory, state, history)

    processes.wait()  # until all have looked for a checkpoint
    if processes.first:
        open_run(directory, recipe)
        if not history:
            keep()
    reporter.begin(len(history))

    try:
        for epoch in range(len(history), min(recipe.epochs, stop_after or recipe.epochs)):
            torch.manual_seed((recipe.seed << 32) + epoch + 1)
            began = time.monotonic()
            network.train()
            order = torch.randperm(n)  # on the processor: the same order on every device
            if not processes.first:  # the same order, but shifts and dropout of its own
                torch.manual_seed((recipe.seed << 32) + epoch + 1 + (processes.index << 20))
            loss_sum = torch.zeros((), device=device)
            hits = torch.zeros((), dtype=torch.long, device=device)
            seen = 0
            parts = [processes.share(rows) for rows in order.split(batch)[:steps]]
            for step, x in enumerate(x_train.batches(parts)):
                rate = learning_rate(recipe, epoch * steps + step, steps)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                y = y_train[parts[step].to(device)]
                with lowered():
                    scores = forward(x)  # (batch, classes)
                loss = functional.cross_entropy(scores, y, label_smoothing=recipe.label_smoothing)
                if teacher:
                    with torch.no_grad(), lowered():
                        taught = teacher(x)  # (batch, classes)
                    apart = distillation(scores, taught, recipe.temperature)
                    loss = torch.lerp(loss, apart, recipe.distillation)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                network.clip()

                loss_sum += loss.detach()
                hits += (scores.argmax(1) == y).sum()
                seen += len(y)
                if step % _REPORT_STEPS == 0:
                    done = (epoch * steps + step) / (recipe.epochs * steps)
                    reporter.step(epoch, done, loss_sum.item() / (step + 1))

            processes.agree(network)
            accuracy = _accuracy(network, x_check, check_labels, processes)
            history.append(
                Epoch(
                    epoch=epoch + 1,
                    learning_rate=rate,
                    loss=loss_sum.item() / steps,
                    train_accuracy=hits.item() / seen,
                    accuracy=accuracy,
                    seconds=time.monotonic() - began,
                )
            )
            if processes.first:
                keep()
            reporter.epoch(history[-1])
    finally:
        if processes.first:
            write_plot(directory, recipe, history)
    if len(history) == recipe.epochs:
        settle(network, x_train, processes)
        reporter.settled(_accuracy(network, x_check, check_labels, processes))
    return Trained(network, tuple(history), threshold)


def batches_of(
    images: np.ndarray | Pictures,
    threshold: int | np.ndarray | None,
    recipe: Recipe | None,
    bits: int,
    *,
    device: str,
) -> Batches:
    """Batches of images as a network takes them; moved as a recipe says, if there is one."""
    shift, flip = (recipe.shift, recipe.flip) if recipe else (0, False)
    if threshold is not None:
        return Pixels(images, threshold, shift=shift, device=device)
    if isinstance(images, Pictures):
        return Files(images, shift=shift, flip=flip, device=device)
    return Images(images, shift=shift, flip=flip, fill=2 ** (bits - 1), device=device)


def _network(recipe: Recipe, data: Dataset) -> Classifier:
    """The untrained network of a recipe."""
    classes = len(data.classes)
    if not recipe.layers:
        inputs = data.train_images[0].size
        return BinaryClassifier(inputs, recipe.hidden, classes, dropout=recipe.dropout)
    image = image_shape(data)
    options = {"bits": data.bits, "dropout": recipe.dropout}
    if recipe.real:
        return FloatClassifier(image, recipe.description, classes, **options)
    return ConvolutionalClassifier(
        image, recipe.description, classes, scaled=recipe.scaled, **options
    )


def _teacher(recipe: Recipe, data: Dataset, device: str) -> FloatClassifier | None:
    if not recipe.teacher:
        return None
    image = image_shape(data)
    return load_teacher(
        Path(recipe.teacher), image, len(data.classes), bits=data.bits, device=device
    )


def _accuracy(
    network: Classifier, pixels: Batches, labels: np.ndarray, processes: Processes
) -> float:
    """The share of images whose class is predicted; each process looks at its part of them."""
    right = np.sum(evaluate(network, pixels, processes) == processes.share(labels))
    return processes.total(torch.tensor(float(right), dtype=torch.float64)).item() / len(labels)


@torch.no_grad()
def evaluate(network: Classifier, pixels: Batches, processes: Processes = ALONE) -> np.ndarray:
    """Predicted classes int64 of this process's images, in float64; of equal scores the first."""
    network.eval()
    parts = processes.share(torch.arange(len(pixels))).split(pixels.part)
    scores = [network(x).cpu().numpy() for x in pixels.batches(parts, still=True)]
    return np.concatenate(scores).argmax(axis=1)  # torch's argmax promises no order among equals


@torch.no_grad()
def settle(network: Classifier, pixels: Batches, processes: Processes = ALONE) -> None:
    """Sets every batch norm's mean and variance to those over all images, unshifted, undropped.

    The running ones follow the last few dozen batches, and move the accuracy by a tenth of a per
    cent either way. Sums are whole numbers, so their sums in float64 are exact, in any order. Of
    more than 60,000 images at most as many, evenly spaced, stand for all.
    """
    network.eval()
    rows = torch.arange(0, len(pixels), -(-len(pixels) // _SETTLED_IMAGES))
    parts = processes.share(rows).split(pixels.part)
    network.settle(lambda: pixels.batches(parts, still=True), processes)


def _split(recipe: Recipe, data: Dataset) -> tuple[np.ndarray, ...]:
    """Training images and labels, and those whose accuracy is reported."""
    held_out = recipe.validation
    if not held_out:
        return data.train_images, data.train_labels, data.test_images, data.test_labels
    kept = len(data.train_images) - held_out
    if kept < 2:
        raise PopstreamError(
            f"--validation {held_out} leaves too few of the {len(data.train_images)} images"
        )
    images, labels = data.train_images, data.train_labels
    return images[:kept], labels[:kept], images[kept:], labels[kept:]


def _restore(recipe: Recipe, directory: Path, network, optimiser) -> list[Epoch]:
    """Brings network and optimiser to the folder's checkpoint; its history."""
    state = load_checkpoint(directory)
    try:
        changed = differences(from_json(state["recipe"]), recipe, len(state["history"]))
        if not changed:
            network.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
    except (PopstreamError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise PopstreamError(
            f"cannot resume {directory}: its checkpoint is of another version; choose another --out"
        ) from error
    if changed:
        raise PopstreamError(
            f"cannot resume {directory}: it was begun with {'; '.join(changed)}; "
            "repeat the command it was begun with, or choose another --out"
        )
    return state["history"]
