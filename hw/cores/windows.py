"""Where the windows of an image lie, and how many of its pixels a core has to hold for them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Windows"]


@dataclass(frozen=True)
class Windows:
    """The windows of an image in raster order, as those of a convolution or a pool.

    Pixels are numbered in raster order too. The pixel that a window would have at a place in the
    padding is outside of the image.

    Parameters
    ----------
    height, width : int
        Of the image, at least 1.
    kernel : tuple of int
        Rows and columns of a window, each at least 1.
    stride : tuple of int
        Rows and columns from a window to the next, each at least 1.
    padding : tuple of int
        Rows above and below the image, columns at its left and right.

    Raises
    ------
    ValueError
        Naming the parameter, its range and the value; or the window does not fit.
    """

    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self):
        if self.height < 1 or self.width < 1:
            raise ValueError(f"An image must be at least 1x1, not {self.height}x{self.width}")
        for name, count, least in (("kernel", 2, 1), ("stride", 2, 1), ("padding", 4, 0)):
            values = getattr(self, name)
            if len(values) != count or min(values) < least:
                raise ValueError(f"{name} must be {count} numbers from {least} on, not {values}")
        top, bottom, left, right = self.padding
        padded = self.height + top + bottom, self.width + left + right
        if self.kernel[0] > padded[0] or self.kernel[1] > padded[1]:
            raise ValueError(
                f"A window of {self.kernel[0]}x{self.kernel[1]} does not fit an image of "
                f"{padded[0]}x{padded[1]} with its padding"
            )

    @property
    def pixels(self) -> int:
        """Pixels of the image."""
        return self.height * self.width

    @property
    def padded(self) -> bool:
        """Whether a window may have places outside of the image."""
        return any(self.padding)

    @property
    def rows(self) -> int:
        """Rows of windows."""
        return (self.height + sum(self.padding[:2]) - self.kernel[0]) // self.stride[0] + 1

    @property
    def columns(self) -> int:
        """Windows of a row."""
        return (self.width + sum(self.padding[2:]) - self.kernel[1]) // self.stride[1] + 1

    @property
    def count(self) -> int:
        """Windows of the image."""
        return self.rows * self.columns

    @cached_property
    def tops(self) -> np.ndarray:
        """The image's row of the top of each row of windows."""
        return np.arange(self.rows) * self.stride[0] - self.padding[0]

    @cached_property
    def lefts(self) -> np.ndarray:
        """The image's column of the left of each window of a row."""
        return np.arange(self.columns) * self.stride[1] - self.padding[2]

    @cached_property
    def firsts(self) -> np.ndarray:
        """The first pixel of each window; rows are taken to follow each other without a seam, so
        that a place in the padding has a number too.
        """
        return (self.tops[:, None] * self.width + self.lefts).reshape(-1)

    @cached_property
    def places(self) -> np.ndarray:
        """The pixels of each window, shape (count, kernel rows, kernel columns); -1 outside."""
        rows = self.tops[:, None] + np.arange(self.kernel[0])
        columns = self.lefts[:, None] + np.arange(self.kernel[1])
        rows, columns = rows[:, None, :, None], columns[None, :, None, :]
        inside = (rows >= 0) & (rows < self.height) & (columns >= 0) & (columns < self.width)
        return np.where(inside, rows * self.width + columns, -1).reshape(-1, *self.kernel)

    @cached_property
    def lasts(self) -> np.ndarray:
        """The last pixel that each window or one before it has; the first pixel at least."""
        bottom = np.minimum(self.tops + self.kernel[0], self.height) - 1
        right = np.minimum(self.lefts + self.kernel[1], self.width) - 1
        last = bottom[:, None] * self.width + right
        last[(bottom < 0)[:, None] | (right < 0)] = 0
        return np.maximum.accumulate(last.reshape(-1))

    @cached_property
    def heads(self) -> np.ndarray:
        """The pixel before which no window from this one on has any.

        That is the window's first one. Where that is above or below the image, it is the image's
        first, or the number of its pixels.
        """
        rows, columns = self.tops[:, None], self.lefts.clip(0, self.width)
        heads = np.where(rows < 0, 0, (rows * self.width + columns).clip(0, self.pixels))
        return heads.reshape(-1)

    @cached_property
    def least(self) -> int:
        """Pixels to be held at once, without which a window would never be complete."""
        return int(max(1, (self.lasts + 1 - self.heads).max()))

    @cached_property
    def enough(self) -> int:
        """Pixels to hold so that neither side slows down the other.

        Pixels come evenly, in as many cycles a frame as windows leave evenly. Then each window
        begins as much later than it could as the one that could begin the latest, and its pixels
        are held until it has left. What is enough then is so where one of the sides is slower.
        """
        pace = self.pixels / self.count
        number = np.arange(self.count)
        begun = (self.lasts + 1 - number * pace).max() + number * pace
        return int(np.ceil((begun + pace - self.heads).max()))
