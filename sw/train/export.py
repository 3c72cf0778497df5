"""From a trained network to a model file: fold, check prediction by prediction, write."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sw import artefact, golden
from sw.datasets import Dataset
from sw.fold import BatchNorm, TrainedDense, fold_classifier
from sw.network import Network
from sw.train import layers
from sw.train.loop import Pixels, Trained, evaluate
from sw.train.recipes import Recipe, command

__all__ = ["Exported", "export", "fold"]

SAMPLES = 50  # the first images of the test set, stored with the model


@dataclass(frozen=True)
class Exported:
    """What came out: the model's card, and on how many test images float and integer differ."""

    card: artefact.Card
    differing: int


def fold(network: layers.BinaryClassifier, threshold: int | np.ndarray, data: Dataset) -> Network:
    """The integer network that equals this one in evaluation."""
    norms = [_norm(norm) for norm in network.norm] + [None]
    return fold_classifier(
        input_shape=data.test_images.shape[1:],
        input_bits=data.bits,
        binarise=threshold,
        layers=[
            TrainedDense(dense.signs, norm)
            for dense, norm in zip(network.dense, norms, strict=True)
        ],
        classes=data.classes,
    )


def _norm(norm: layers.BatchNorm) -> BatchNorm:
    def float64(tensor) -> np.ndarray:
        return tensor.detach().cpu().numpy().astype(np.float64)

    return BatchNorm(
        gamma=float64(norm.gamma),
        beta=float64(norm.beta),
        mean=float64(norm.mean),
        variance=float64(norm.variance),
        epsilon=norm.epsilon,
    )


def export(trained: Trained, recipe: Recipe, data: Dataset, path: Path) -> Exported:
    """Writes the model file, its accuracies measured on the whole test set.

    Raises
    ------
    PopstreamError
        The file cannot be written, or the training left numbers that are not finite.
    """
    network = fold(trained.network, trained.threshold, data)
    pixels = Pixels(data.test_images, trained.threshold, shift=0, device="cpu")
    by_float = evaluate(trained.network.to("cpu"), pixels)
    by_integer = golden.predict(network, data.test_images)
    differing = int(np.count_nonzero(by_float != by_integer))

    images = len(data.test_images)
    agreement = (
        f"Float and integer network agree on all {images:,} test images."
        if not differing
        else f"Float and integer network differ on {differing:,} of {images:,} test images."
    )
    epochs = len(trained.history)
    card = artefact.Card(
        name=recipe.name,
        dataset=recipe.dataset,
        command=command(recipe),
        float_accuracy=float(np.mean(by_float == data.test_labels)),
        integer_accuracy=float(np.mean(by_integer == data.test_labels)),
        test_images=images,
        notes=f"Weights after the last of {epochs} epochs. {agreement}",
    )
    samples = artefact.Samples(data.test_images[:SAMPLES], data.test_labels[:SAMPLES])
    artefact.save(path, network, card, samples)
    return Exported(card, differing)
