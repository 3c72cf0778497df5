"""Binary convolutional networks: raw pixels, then convolutions, pools and dense layers of bits.

A block is a convolution (or a dense layer), the pool that may follow it, batch norm, sign. That is
XNOR-Net's order: a pool takes the greatest of sums, not of bits, which would nearly all be +1.

Pixels go in as they are, whole numbers of 0..255. In training their middle is subtracted first:
batch norm takes it out again, and what is left is exact in bfloat16.

Sources: as `sw.train.layers`; Y. Umuroglu et al., "FINN", 2017 (CNV).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sw.train import description
from sw.train.layers import START, BatchNorm, BinaryDense, Moments, clipped_sign, sign
from sw.train.processes import ALONE, Processes

__all__ = ["BinaryConv", "Block", "ConvolutionalClassifier"]


class BinaryConv(nn.Module):
    """a = the sums of sign(weight) · window over every window of images padded by a constant.

    Parameters
    ----------
    layer : description.Conv
    channels : int
        Of the images that come in, (n, channels, height, width).
    fill : float
        What the padding holds.

    Members
    -------
    weight : float32 (filters, channels, kernel, kernel)
        The latent weights. The trainer keeps them in -1..1.
    """

    def __init__(self, layer: description.Conv, channels: int, *, fill: float) -> None:
        super().__init__()
        shape = (layer.filters, channels, layer.kernel, layer.kernel)
        # With one channel the formats are the same, and gradients come in the other one.
        last = torch.channels_last if channels > 1 else torch.contiguous_format
        weight = torch.empty(shape, memory_format=last)
        self.weight = nn.Parameter(weight.copy_(torch.empty(shape).uniform_(-START, START)))
        self.stride = layer.stride
        self.padding = layer.padding
        self.fill = fill

    def forward(self, x: Tensor, lacking: int = 0) -> Tensor:
        """The sums, of images from which `lacking` was subtracted everywhere."""
        if self.padding:
            x = functional.pad(x, [self.padding] * 4, value=self.fill - lacking)
        return functional.conv2d(x, clipped_sign(self.weight), stride=self.stride)

    @property
    def signs(self) -> np.ndarray:
        """bool (filters, kernel, kernel, channels), True = +1."""
        return (self.weight.detach() >= 0).permute(0, 2, 3, 1).cpu().numpy()


class Block(nn.Module):
    """A convolution or dense layer with its pool, batch norm and sign.

    Parameters
    ----------
    weighted : BinaryConv or BinaryDense
    pool : description.Pool, optional
        Takes the maximum of the layer's sums.
    scaled : bool
        Multiply the sums by XNOR-Net's factor, the mean of a filter's absolute latent weights.
    """

    def __init__(
        self, weighted: BinaryConv | BinaryDense, pool: description.Pool | None, *, scaled: bool
    ) -> None:
        super().__init__()
        self.weighted = weighted
        self.pool = pool
        self.norm = BatchNorm(len(weighted.weight))
        self.scaled = scaled

    def sums(self, x: Tensor, lacking: int = 0) -> Tensor:
        """Whole numbers, of a pool's window the greatest: (n, neurons[, height, width])."""
        if isinstance(self.weighted, BinaryDense):
            return self.weighted(_flat(x))
        a = self.weighted(x, lacking)
        return functional.max_pool2d(a, self.pool.size, self.pool.stride) if self.pool else a

    def factors(self) -> Tensor:
        """What the sums of each neuron are multiplied by, float64 (neurons,) of at least 0."""
        if not self.scaled:
            return torch.ones(len(self.weighted.weight), dtype=torch.float64)
        return self.weighted.weight.double().abs().flatten(1).mean(1)

    def forward(self, x: Tensor, middle: int = 0) -> Tensor:
        """+1 and -1. In training `x` lacks `middle`, which the network took from it before."""
        a = self.sums(x, middle if self.training else 0)
        if self.scaled:
            factors = self.factors().view((-1,) + (1,) * (a.ndim - 2))
            a = a * factors.to(a.dtype) if self.training else a.double() * factors
        if self.training:
            return sign(self.norm(a))
        return sign(self.norm(a, self.origin(middle))).float()

    def origin(self, middle: int) -> Tensor | float:
        """What `middle` in every element of a window adds to the sums."""
        if not middle:
            return 0.0
        weight = torch.where(self.weighted.weight >= 0, 1.0, -1.0)
        return middle * weight.double().flatten(1).sum(1) * self.factors()


class ConvolutionalClassifier(nn.Module):
    """Blocks, then one binary dense layer whose sums are the scores, times one learned number.

    Parameters
    ----------
    image : tuple of int
        (height, width, channels) of what comes in.
    layers : sequence of description.Conv, Pool and Dense
        Without the last, which has one neuron a class.
    bits : int
        Of a pixel.
    scaled : bool
        Whether the blocks have XNOR-Net's factors.
    dropout : float
        Share of the dense layers' inputs that is dropped.

    Raises
    ------
    PopstreamError
        A window does not fit what comes to it.
    """

    def __init__(
        self,
        image: tuple[int, int, int],
        layers: Sequence[description.Conv | description.Pool | description.Dense],
        classes: int,
        *,
        bits: int = 8,
        scaled: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.middle = 2 ** (bits - 1)
        self.dropout = dropout
        self.blocks = nn.ModuleList()
        incoming = [image, *description.shapes(layers, image)]
        for index, layer in enumerate(layers):
            if isinstance(layer, description.Pool):
                continue
            shape = incoming[index]
            follows = layers[index + 1] if index + 1 < len(layers) else None
            if isinstance(layer, description.Conv):
                fill = -1 if self.blocks else self.middle
                weighted = BinaryConv(layer, shape[2], fill=fill)
            else:
                weighted = BinaryDense(int(np.prod(shape)), layer.neurons)
            pool = follows if isinstance(follows, description.Pool) else None
            self.blocks.append(Block(weighted, pool, scaled=scaled))
        synapses = int(np.prod(incoming[-1]))
        self.output = BinaryDense(synapses, classes)
        self.log_scale = nn.Parameter(torch.tensor(-0.5 * np.log(synapses), dtype=torch.float32))

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores (n, classes) of uint8 pixels (n, height, width, channels)."""
        *_, x = self.bits(pixels)
        with torch.autocast(x.device.type, enabled=False):
            return self.output(_flat(x).float()) * self.log_scale.exp()

    def bits(self, pixels: Tensor) -> Iterator[Tensor]:
        """What each block yields, +1 and -1."""
        x = _planes(pixels)
        if self.training:
            x = x - self.middle
        for index, block in enumerate(self.blocks):
            if isinstance(block.weighted, BinaryDense):
                x = functional.dropout(x, self.dropout, self.training)
            x = block(x, 0 if index else self.middle)
            yield x

    @torch.no_grad()
    def settle(self, batches: Callable[[], Iterable[Tensor]], processes: Processes = ALONE) -> None:
        """Sets each batch norm to the statistics of all pixels in some batches.

        Each process has batches of its own. Bits between blocks are kept, packed, so that each
        block is computed only twice.
        """
        held = None
        for index, block in enumerate(self.blocks):  # each sees the blocks before it settled
            middle = 0 if index else self.middle
            incoming = partial(_incoming, batches, held)
            moments = Moments()
            for x in incoming():
                moments.add(block.sums(x))
            factors = block.factors()
            mean, variance = moments.over(processes)
            block.norm.mean.copy_(mean * factors - block.origin(middle))
            block.norm.variance.copy_(variance * factors.square())
            held = [_PackedBits(block(x, middle)) for x in incoming()]

    @torch.no_grad()
    def clip(self) -> None:
        """Brings every latent weight back to -1..1, where its gradient still reaches it."""
        for module in self.modules():
            if isinstance(module, BinaryConv | BinaryDense):
                module.weight.clamp_(-1, 1)


class _PackedBits:
    """+1 and -1 of any shape, eight a byte."""

    def __init__(self, x: Tensor) -> None:
        self._shape, self._device = x.shape, x.device
        self._bits = np.packbits((_last(x) > 0).cpu().numpy())

    def unpacked(self) -> Tensor:
        bits = np.unpackbits(self._bits, count=self._shape.numel())
        x = torch.from_numpy(bits).to(self._device).float().mul_(2).sub_(1)
        if len(self._shape) == 2:
            return x.view(self._shape)
        n, channels, height, width = self._shape
        return x.view(n, height, width, channels).permute(0, 3, 1, 2)


def _incoming(
    batches: Callable[[], Iterable[Tensor]], held: Iterable[_PackedBits] | None
) -> Iterable[Tensor]:
    """What comes to a block: to the first the batches, to the others the bits before them."""
    return map(_planes, batches()) if held is None else (bits.unpacked() for bits in held)


def _planes(pixels: Tensor) -> Tensor:
    """float32 (n, channels, height, width) of uint8 (n, height, width, channels)."""
    return pixels.permute(0, 3, 1, 2).float()


def _last(x: Tensor) -> Tensor:
    """(n, height, width, channels) of (n, channels, height, width); other shapes as they are."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _flat(x: Tensor) -> Tensor:
    """(n, elements) in raster order, channels innermost, of (n, channels, height, width)."""
    return _last(x).flatten(1)
