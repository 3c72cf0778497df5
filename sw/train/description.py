"""A network's layers as text, ``64C3-64C3-P2-512``, from the first to the last but one.

    64C3        64 filters of 3x3
    64C3p1      the image first padded by 1 pixel on each side
    96C11s4p2   stride 4, padding 2
    P2          maximum over windows of 2x2, a window every 2 pixels
    P3s2        windows of 3x3, one every 2 pixels
    512         512 neurons that see the whole image, or all neurons before

Each C and each number is followed by batch norm and sign; a P stands after a C and comes before
them. The last layer, one neuron a class, goes without saying.

Source of the notation: Y. Umuroglu et al., "FINN", 2017, and what it cites.
"""

import re
from dataclasses import dataclass, replace

from sw.errors import PopstreamError

__all__ = ["Conv", "Dense", "Pool", "parse", "scale", "shapes", "text"]

_MOST = 65536  # neurons or filters


@dataclass(frozen=True)
class Conv:
    """`filters` of `kernel` x `kernel`, each `stride` pixels, after `padding` on all four sides."""

    filters: int
    kernel: int
    stride: int = 1
    padding: int = 0

    def __str__(self) -> str:
        stride = f"s{self.stride}" if self.stride != 1 else ""
        padding = f"p{self.padding}" if self.padding else ""
        return f"{self.filters}C{self.kernel}{stride}{padding}"


@dataclass(frozen=True)
class Pool:
    """The maximum of each window of `size` x `size`, a window every `stride` pixels."""

    size: int
    stride: int

    def __str__(self) -> str:
        return f"P{self.size}" + (f"s{self.stride}" if self.stride != self.size else "")


@dataclass(frozen=True)
class Dense:
    """Neurons, each connected to everything before it."""

    neurons: int

    def __str__(self) -> str:
        return str(self.neurons)


_CONV = re.compile(r"(\d+)C(\d+)((?:[sp]\d+)*)")
_POOL = re.compile(r"P(\d+)((?:s\d+)*)")
_DENSE = re.compile(r"(\d+)")


def parse(layers: str) -> tuple[Conv | Pool | Dense, ...]:
    """The layers of a description.

    Raises
    ------
    PopstreamError
        It is not one; the message points at the place.
    """
    parsed = []
    start = 0
    for word in layers.split("-"):
        try:
            parsed.append(_layer(word, parsed))
        except ValueError as error:
            raise PopstreamError(
                f"--layers: {error}\n  {layers}\n  {' ' * start}{'^' * max(len(word), 1)}"
            ) from error
        start += len(word) + 1
    return tuple(parsed)


def _layer(word: str, before: list) -> Conv | Pool | Dense:
    """The layer of one word; ValueError says what is wrong with it."""
    if match := _CONV.fullmatch(word):
        if before and isinstance(before[-1], Dense):
            raise ValueError("a convolution cannot follow neurons that see the whole image")
        options = _options(match[3])
        layer = Conv(
            filters=_number("filters", match[1], 1, _MOST),
            kernel=_number("the kernel", match[2], 1, 32),
            stride=_number("the stride", options.get("s", "1"), 1, 32),
            padding=_number("the padding", options.get("p", "0"), 0, 32),
        )
        if layer.padding >= layer.kernel:
            raise ValueError(f"padding {layer.padding} must be less than the kernel")
        return layer
    if match := _POOL.fullmatch(word):
        if not before or not isinstance(before[-1], Conv):
            raise ValueError("a pool must follow a convolution")
        size = _number("the pool", match[1], 1, 32)
        return Pool(size, _number("the stride", _options(match[2]).get("s", str(size)), 1, 32))
    if match := _DENSE.fullmatch(word):
        return Dense(_number("neurons", match[1], 1, _MOST))
    raise ValueError(
        f"{word!r} is no layer; layers are 64C3, 64C3p1 (padded), 96C11s4 (stride), P2 and 512"
        if word
        else "a layer is missing"
    )


def _options(written: str) -> dict[str, str]:
    options = {}
    for letter, number in re.findall(r"([sp])(\d+)", written):
        if letter in options:
            raise ValueError(f"{letter} is given twice")
        options[letter] = number
    return options


def _number(what: str, digits: str, low: int, high: int) -> int:
    if len(digits) > 9 or not low <= int(digits) <= high:
        raise ValueError(f"{what} must be in {low}..{high}, not {digits}")
    return int(digits)


def text(layers: tuple[Conv | Pool | Dense, ...]) -> str:
    """The description `parse` would read."""
    return "-".join(map(str, layers))


def scale(layers: tuple[Conv | Pool | Dense, ...], width: float) -> tuple:
    """The same layers with `width` times the filters and neurons, at least one of each."""

    def scaled(layer):
        match layer:
            case Conv():
                return replace(layer, filters=max(1, round(layer.filters * width)))
            case Dense():
                return Dense(max(1, round(layer.neurons * width)))
            case Pool():
                return layer

    return tuple(map(scaled, layers))


def shapes(
    layers: tuple[Conv | Pool | Dense, ...], image: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """What each layer yields for an image (height, width, channels): such a shape or (neurons,).

    Raises
    ------
    PopstreamError
        A window does not fit what comes to it; names the layer and the sizes.
    """
    found = []
    shape = tuple(image)
    for number, layer in enumerate(layers, 1):
        match layer:
            case Conv():
                size, stride, padding, channels = (
                    layer.kernel,
                    layer.stride,
                    layer.padding,
                    layer.filters,
                )
            case Pool():
                size, stride, padding, channels = layer.size, layer.stride, 0, shape[2]
            case Dense():
                shape = (layer.neurons,)
                found.append(shape)
                continue
        height, width = (side + 2 * padding for side in shape[:2])
        if min(height, width) < size:
            padded = f" padded to {height}x{width}" if padding else ""
            raise PopstreamError(
                f"layer {number}, {layer}: a window of {size}x{size} does not fit an image of "
                f"{shape[0]}x{shape[1]}{padded}"
            )
        shape = ((height - size) // stride + 1, (width - size) // stride + 1, channels)
        found.append(shape)
    return found
