"""A float network of the same layers, and what a binary one learns from it.

The teacher has real weights, and ReLU for sign. The same trainer trains it (`--real`) and leaves a
checkpoint, never a model file. A student's loss then has a second part: how far its scores are from
the teacher's on the same batch, both softened by a temperature.

Source: G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.errors import PopstreamError
from sw.train import description
from sw.train.recipes import from_json
from sw.train.run import load_checkpoint

__all__ = ["FloatClassifier", "distillation", "load_teacher"]


class FloatClassifier(nn.Module):
    """Convolution or dense layer, pool, batch norm, ReLU; last a dense layer with a bias.

    Parameters
    ----------
    image, layers, classes, bits, dropout
        As of `ConvolutionalClassifier`.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        layers: Sequence[description.Conv | description.Pool | description.Dense],
        classes: int,
        *,
        bits: int = 8,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.middle = 2 ** (bits - 1)
        incoming = [image, *description.shapes(layers, image)]
        stages: list[nn.Module] = []
        for index, layer in enumerate(layers):
            shape = incoming[index]
            match layer:
                case description.Conv(filters, kernel, stride, padding):
                    stages.append(nn.Conv2d(shape[2], filters, kernel, stride, padding, bias=False))
                    norm = nn.BatchNorm2d(filters)
                case description.Pool(size, stride):
                    stages[-2:-2] = [nn.MaxPool2d(size, stride)]  # before norm and ReLU
                    continue
                case description.Dense(neurons):
                    stages += [nn.Flatten(), nn.Dropout(dropout)]
                    stages.append(nn.Linear(int(np.prod(shape)), neurons, bias=False))
                    norm = nn.BatchNorm1d(neurons)
            stages += [norm, nn.ReLU()]
        stages += [nn.Flatten(), nn.Linear(int(np.prod(incoming[-1])), classes)]
        self.stages = nn.Sequential(*stages).to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores (n, classes) of uint8 pixels (n, height, width, channels)."""
        x = pixels.permute(0, 3, 1, 2).float() / self.middle - 1
        return self.stages(x).float()

    def clip(self) -> None:
        """Nothing: real weights may be of any size."""

    def settle(self, batches, processes=None) -> None:
        """Nothing: the running statistics stay."""


def load_teacher(
    directory: Path, image: tuple[int, int, int], classes: int, *, bits: int, device: str
) -> FloatClassifier:
    """The float network of a finished or unfinished run, in evaluation and without gradients.

    Raises
    ------
    PopstreamError
        There is no checkpoint, or it is not of a float network for such images and classes.
    """
    state = load_checkpoint(directory)
    try:
        recipe = from_json(state["recipe"])
        if not recipe.real:
            raise PopstreamError(f"the teacher in {directory} is binary; train one by --real")
        teacher = FloatClassifier(image, recipe.description, classes, bits=bits)
        teacher.load_state_dict(state["network"])
    except (RuntimeError, KeyError) as error:
        raise PopstreamError(
            f"the teacher in {directory} is none for {classes} classes of images of "
            f"{'x'.join(map(str, image))}"
        ) from error
    return teacher.to(device).eval().requires_grad_(False)


def distillation(scores: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """The divergence of softened scores (n, classes) from the teacher's, times temperature²."""
    return temperature**2 * functional.kl_div(
        functional.log_softmax(scores / temperature, dim=1),
        functional.log_softmax(taught / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
