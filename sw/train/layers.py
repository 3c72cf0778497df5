"""Binary dense layers: ±1 weights and activations with real-valued latent weights behind them.

Forward, a layer computes with signs; backward, the sign passes the gradient straight through where
its argument lies in -1..1 and stops it elsewhere. sign(0) = +1.

Sources: M. Courbariaux et al., "Binarized Neural Networks", 2016 (straight-through sign, clipped
latent weights, batch norm between); M. Rastegari et al., "XNOR-Net", 2016.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.train.processes import ALONE, Processes

__all__ = ["BatchNorm", "BinaryClassifier", "BinaryDense", "clipped_sign", "sign"]

START = 0.3  # latent weights start this near 0, so that early steps still turn many of them


_PAST_1 = 1 + 2**-23  # float32's next after 1


def _signs(x: Tensor) -> Tensor:
    return torch.ge(x, 0, out=torch.empty_like(x)).mul_(2).sub_(1)  # thrice as fast as where()


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        context.save_for_backward(x)
        return _signs(x)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        (x,) = context.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, x, -_PAST_1, _PAST_1)  # in one pass


class _ClippedSign(torch.autograd.Function):
    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        return _signs(x)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return gradient


def sign(x: Tensor) -> Tensor:
    """+1 where x >= 0, else -1; its gradient is 1 where abs(x) <= 1, else 0."""
    return _Sign.apply(x)


def clipped_sign(x: Tensor) -> Tensor:
    """`sign` of what is known to lie in -1..1: its gradient is 1."""
    return _ClippedSign.apply(x)


class BinaryDense(nn.Module):
    """a = x · sign(weight)ᵀ: a whole number in -synapses..synapses for inputs of ±1.

    Members
    -------
    weight : float32 (neurons, synapses)
        The latent weights. The trainer keeps them in -1..1.
    """

    def __init__(self, synapses: int, neurons: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(neurons, synapses).uniform_(-START, START))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, clipped_sign(self.weight))

    @property
    def signs(self) -> np.ndarray:
        """bool (neurons, synapses), True = +1."""
        return (self.weight.detach() >= 0).cpu().numpy()


class BatchNorm(nn.Module):
    """Batch normalisation of a dense layer's sums, one scale and shift per neuron.

    In training the batch's own mean and variance are used, and running ones are kept. In evaluation
    the result is float64, gamma * (a - mean) / sqrt(variance + epsilon) + beta in exactly this
    order: the expression the fold to integer thresholds is exact against.
    """

    def __init__(self, neurons: int, *, epsilon: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(neurons))
        self.beta = nn.Parameter(torch.zeros(neurons))
        self.register_buffer("mean", torch.zeros(neurons))
        self.register_buffer("variance", torch.ones(neurons))
        self.epsilon = epsilon
        self.momentum = momentum

    def forward(self, a: Tensor, origin: Tensor | float = 0.0) -> Tensor:
        """The sums normalised, (n, neurons) or (n, neurons, height, width).

        The mean is kept relative to `origin`: in training `a` is, too; in evaluation it is not.
        """
        if self.training:
            return functional.batch_norm(
                a,
                self.mean,
                self.variance,
                self.gamma,
                self.beta,
                training=True,
                momentum=self.momentum,
                eps=self.epsilon,
            )
        gamma, beta, mean, variance = (
            t.double() for t in (self.gamma, self.beta, self.mean, self.variance)
        )
        # torch's own square root may be off by one unit in the last place, numpy's is not
        sigma = np.sqrt((variance + self.epsilon).detach().cpu().numpy())
        sigma = torch.from_numpy(sigma).to(a.device)
        each = (-1,) + (1,) * (a.ndim - 2)
        y = a.double() - (mean + origin).view(each)
        return y.mul_(gamma.view(each)).div_(sigma.view(each)).add_(beta.view(each))


class Moments:
    """Mean and variance of whole numbers, float64 (neurons,): exact up to the last division."""

    def __init__(self) -> None:
        self._count = 0
        self._total = self._squares = 0.0

    def add(self, a: Tensor) -> None:
        """Counts in some sums, (n, neurons) or (n, neurons, height, width)."""
        over = [0, *range(2, a.ndim)]
        a = a.double()
        self._count += a.numel() // a.shape[1]
        self._total += a.sum(over)
        self._squares += a.square().sum(over)

    def over(self, processes: Processes) -> tuple[Tensor, Tensor]:
        """Mean and variance of what was counted in by all processes."""
        total, squares, count = (
            processes.total(torch.as_tensor(each, dtype=torch.float64))
            for each in (self._total, self._squares, self._count)
        )
        mean = total / count
        return mean, squares / count - mean.square()


class BinaryClassifier(nn.Module):
    """Dense layers with batch norm and sign between them; the last yields one score per class.

    The scores are the last layer's whole sums times one positive learned number, which gives the
    loss its temperature and leaves every argmax as it is.
    """

    def __init__(
        self, inputs: int, hidden: Sequence[int], classes: int, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        widths = [inputs, *hidden, classes]
        self.dense = nn.ModuleList(BinaryDense(n, m) for n, m in pairwise(widths))
        self.norm = nn.ModuleList(BatchNorm(n) for n in hidden)
        self.log_scale = nn.Parameter(torch.tensor(-0.5 * np.log(widths[-2]), dtype=torch.float32))
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Scores (frames, classes) of bits x (frames, inputs), +1 and -1."""
        return self.sums(x, len(self.norm)) * self.log_scale.exp()

    def sums(self, x: Tensor, layer: int) -> Tensor:
        """What a layer (from 0) sums, (frames, neurons), for bits x (frames, inputs)."""
        for dense, norm in zip(self.dense[:layer], self.norm[:layer], strict=True):
            x = sign(norm(dense(x)))
            x = functional.dropout(x.to(dense.weight.dtype), self.dropout, self.training)
        return self.dense[layer](x)

    @torch.no_grad()
    def settle(self, batches: Callable[[], Iterable[Tensor]], processes: Processes = ALONE) -> None:
        """Sets each batch norm to the statistics of all bits (frames, inputs) in some batches.

        Each process has batches of its own.
        """
        for layer, norm in enumerate(self.norm):  # each sees the layers before it settled
            moments = Moments()
            for x in batches():
                moments.add(self.sums(x, layer))
            mean, variance = moments.over(processes)
            norm.mean.copy_(mean)
            norm.variance.copy_(variance)

    @torch.no_grad()
    def clip(self) -> None:
        """Brings every latent weight back to -1..1, where its gradient still reaches it."""
        for dense in self.dense:
            dense.weight.clamp_(-1, 1)
