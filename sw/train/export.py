"""From a trained network to a model file: fold, check prediction by prediction, write."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sw import artefact, golden
from sw.datasets import Dataset
from sw.fold import BatchNorm, TrainedConv, TrainedDense, TrainedPool, fold_classifier
from sw.network import Network
from sw.train import layers
from sw.train.convolution import Block, ConvolutionalClassifier
from sw.train.images import image_shape
from sw.train.loop import Trained, batches_of, evaluate
from sw.train.recipes import Recipe, command

__all__ = ["Exported", "export", "fold"]

_PART = 1000  # images evaluated at a time
SAMPLES = 50  # the first images of the test set, stored with the model


@dataclass(frozen=True)
class Exported:
    """What came out: the model's card, and on how many test images float and integer differ."""

    card: artefact.Card
    differing: int


def fold(
    network: layers.BinaryClassifier | ConvolutionalClassifier,
    threshold: int | np.ndarray | None,
    data: Dataset,
) -> Network:
    """The integer network that equals this one in evaluation."""
    if isinstance(network, ConvolutionalClassifier):
        return fold_classifier(
            input_shape=image_shape(data),
            input_bits=data.bits,
            layers=[
                *(
                    _block(block, 0 if index else network.middle)
                    for index, block in enumerate(network.blocks)
                ),
                TrainedDense(network.output.signs, norm=None),
            ],
            classes=data.classes,
        )
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


def _block(block: Block, middle: int) -> TrainedDense:
    signs = block.weighted.signs
    options = {
        "norm": _norm(block.norm, block.origin(middle)),
        "scale": block.factors().detach().numpy() if block.scaled else None,
    }
    if isinstance(block.weighted, layers.BinaryDense):
        return TrainedDense(signs, **options)
    stride, padding = block.weighted.stride, block.weighted.padding
    return TrainedConv(
        signs,
        stride=(stride, stride),
        padding=(padding,) * 4,
        fill=block.weighted.fill,
        pool=block.pool and TrainedPool((block.pool.size,) * 2, (block.pool.stride,) * 2),
        **options,
    )


def _norm(norm: layers.BatchNorm, origin: torch.Tensor | float = 0.0) -> BatchNorm:
    def float64(tensor: torch.Tensor) -> np.ndarray:
        return tensor.detach().cpu().double().numpy()

    return BatchNorm(
        gamma=float64(norm.gamma),
        beta=float64(norm.beta),
        mean=float64(norm.mean.double() + origin),
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
    trained.network.to("cpu")
    network = fold(trained.network, trained.threshold, data)
    pixels = batches_of(data.test_images, trained.threshold, None, data.bits, device="cpu")
    by_float = evaluate(trained.network, pixels)
    shape, images = network.nodes[0].shape, len(data.test_images)
    parts = (
        np.reshape(data.test_images[start : start + _PART], (-1, *shape))
        for start in range(0, images, _PART)
    )
    by_integer = np.concatenate([golden.predict(network, part) for part in parts])
    differing = int(np.count_nonzero(by_float != by_integer))

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
    inputs = np.reshape(data.test_images[:SAMPLES], (-1, *shape))
    labels = data.test_labels[:SAMPLES].astype(np.uint8 if len(data.classes) <= 256 else np.int32)
    samples = artefact.Samples(inputs, labels)
    artefact.save(path, network, card, samples)
    return Exported(card, differing)
