"""The sliding window that gives a whole window a beat: line buffers and a register that shifts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores.matrix_unit import LUT_RAM
from hw.cores.sliding_window import fill_words
from hw.cores.windows import Windows

__all__ = ["Sweep", "WholeWindow"]


@dataclass(frozen=True)
class Axis:
    """The places along one side of an image that a sweep goes through, padding among them.

    Parameters
    ----------
    before, pixels, after : int
        Places of padding, of pixels, and of padding again.
    first, count, stride : int
        The place at which the first window is complete, how many windows there are, and how far
        they are apart.
    """

    before: int
    pixels: int
    after: int
    first: int
    count: int
    stride: int

    @property
    def places(self) -> int:
        return self.before + self.pixels + self.after

    @property
    def last(self) -> int:
        """The place at which the last window is complete."""
        return self.first + (self.count - 1) * self.stride

    @property
    def inside(self) -> np.ndarray:
        """Whether each place is a pixel."""
        places = np.arange(self.places)
        return (places >= self.before) & (places < self.before + self.pixels)

    @property
    def completes(self) -> np.ndarray:
        """Whether a window is complete at each place."""
        places = np.arange(self.places) - self.first
        return (places >= 0) & (places % self.stride == 0) & (places <= self.last - self.first)


class Sweep:
    """The places that are shifted through a window, a cycle each: those of an image's pixels in
    raster order, and padding.

    Rows share the padding between them, so there is as much of it as the wider side has. Padding
    above the image takes no time, unless whole windows are in it.

    Attributes
    ----------
    rows, columns : Axis
    places : int
        Of an image: cycles that it takes at least.
    inside, completes : array of bool, shape (places,)
        Whether a place is a pixel of the image; whether a window is complete there.
    """

    def __init__(self, windows: Windows):
        top, _, left, _ = windows.padding
        self.rows = self._axis(
            windows.height, windows.rows, windows.kernel[0], windows.stride[0], top, 0
        )
        self.columns = self._axis(
            windows.width,
            windows.columns,
            windows.kernel[1],
            windows.stride[1],
            left,
            min(left, windows.kernel[1] - 1),
        )
        self.places = self.rows.places * self.columns.places
        self.inside = np.outer(self.rows.inside, self.columns.inside).reshape(-1)
        self.completes = np.outer(self.rows.completes, self.columns.completes).reshape(-1)

    @staticmethod
    def _axis(pixels: int, count: int, kernel: int, stride: int, padding: int, shared: int) -> Axis:
        before = max(0, padding - (kernel - 1))
        first = before + kernel - 1 - padding
        after = first + (count - 1) * stride + 1 - before - pixels
        return Axis(before, pixels, max(after, shared), first, count, stride)


class WholeWindow(wiring.Component):
    """Gives the windows of images whose pixels come: im2col, a whole window a beat.

    Pixels come in raster order, each in one beat, and windows leave in raster order, the elements
    of each in the order row, column, channel. Pixels that no window has are taken and dropped.

    A line buffer gives the pixels above the one that comes, and a register of a whole window
    shifts by this column of pixels: one place of `Sweep` a cycle, be it a pixel or padding. A
    window stays in that register until it has left. Pixels that come meanwhile wait in a FIFO.

    On 7-series about 20 + 5 log2(depth) LUTs, 15 more with padding, beside the memories: a FIFO of
    pixels, and a line of as many pixels as the image has columns, each with those above it that a
    window has. A flip-flop for each bit of a window.

    Timing: a place is shifted in at the earliest in the cycle after the one before; in the cycle
    after its pixel was transferred, where it is one; in the cycle in which a window that is
    complete is transferred at `o`. A window that is complete with it is valid there from the next
    cycle on, and its pixel's place in the FIFO is free. `i.ready` is 1 while there is a free place.
    It depends on registers alone, as `o.valid` does. After a reset as many places of padding are
    shifted in first as a window has at the left of the image.

    Parameters
    ----------
    height, width, channels : int
        Of an image, each at least 1.
    bits : int
        Of an element, at least 1.
    kernel, stride, padding
        As in `Windows`.
    fill : int or sequence of int
        The value of elements in the padding, or one for each channel, in 0..2**bits-1.
    depth : int
        Pixels that the FIFO holds, at least 1; 2 to take one every cycle.
    family : str
        Whose memories the line buffer is made of, as in `MatrixUnit`.

    Members
    -------
    i : In(stream.Signature(ArrayLayout(bits, channels)))
    o : Out(stream.Signature(ArrayLayout(bits, kernel rows * kernel columns * channels)))

    Raises
    ------
    ValueError
        Naming the parameter, its range and the value.
    """

    def __init__(
        self,
        *,
        height: int,
        width: int,
        channels: int,
        bits: int = 1,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        fill: int | Sequence[int] = 0,
        depth: int = 2,
        family: str = "generic",
    ):
        self._windows = Windows(height, width, kernel, stride, padding)
        if channels < 1 or bits < 1:
            raise ValueError(f"Channels and bits must be at least 1, not {channels} and {bits}")
        if depth < 1:
            raise ValueError(f"Depth must be at least 1, not {depth}")
        (self._fill,) = fill_words(fill, channels, bits, channels)
        self._depth, self._family = depth, family
        elements = kernel[0] * kernel[1] * channels
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(bits, channels))),
                "o": Out(stream.Signature(data.ArrayLayout(bits, elements))),
            }
        )

    @property
    def windows(self) -> Windows:
        return self._windows

    @property
    def depth(self) -> int:
        return self._depth

    def elaborate(self, platform):
        m = Module()
        windows, sweep = self._windows, Sweep(self._windows)
        kernel_rows, kernel_columns = windows.kernel
        width = len(self.i.payload.as_value())
        shift = Signal()

        m.submodules.pixels = pixels = SyncFIFO(width=width, depth=self._depth)
        m.d.comb += [
            pixels.w_data.eq(self.i.payload),
            pixels.w_en.eq(self.i.valid),
            self.i.ready.eq(pixels.w_rdy),
        ]

        # Padding at the right of a row is that at the left of the next one. So a sweep begins with
        # the end of a last row, where no window is complete before an image has come.
        columns, rows = sweep.columns, sweep.rows
        left = min(windows.padding[2], kernel_columns - 1)
        column, in_columns, at_window, row_ends = self._go(
            m, "column", shift, columns, columns.places - left if left else 0
        )
        row, in_rows, at_row_of_windows, ends = self._go(
            m, "row", shift & row_ends, rows, rows.places - 1 if left else 0
        )
        begun = Signal(init=not left)
        with m.If(shift & row_ends & ends):
            m.d.sync += begun.eq(1)

        inside, there, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            inside.eq(in_columns & in_rows),
            there.eq(pixels.r_rdy | ~inside),
            moves.eq(self.o.ready | ~self.o.valid),
            shift.eq(there & moves),
            pixels.r_en.eq(shift & inside),
        ]
        if rows.before or columns.before:  # padding that waits for the image
            with m.If((column == 0) & (row == 0)):
                m.d.comb += there.eq(pixels.r_rdy)
        with m.If(moves):
            m.d.sync += self.o.valid.eq(shift & begun & at_window & at_row_of_windows)

        # The register of a window, by columns. Padding is the reset of the newest one.
        window = [
            Signal(data.ArrayLayout(width, kernel_rows), name=f"column_{k}", reset_less=True)
            for k in range(kernel_columns)
        ]
        newest = window[-1]
        above = self._line_buffer(m, shift, column, in_columns, newest.as_value()[width:])
        with m.If(shift):
            m.d.sync += [older.eq(newer) for older, newer in pairwise(window)]
            m.d.sync += newest.as_value().eq(Cat(above, pixels.r_data))
            with m.If(~in_columns | ((row == 0) if windows.padding[0] else 0)):
                m.d.sync += newest.as_value()[: len(above)].eq(
                    sum(self._fill << k * width for k in range(kernel_rows - 1))
                )
            with m.If(~inside):
                m.d.sync += newest[-1].eq(self._fill)
        m.d.comb += self.o.payload.as_value().eq(
            Cat(column[k] for k in range(kernel_rows) for column in window)
        )

        return m

    def _line_buffer(self, m: Module, shift: Value, column: Value, inside: Value, store: Value):
        """The pixels above a place; of the last place, `store` is above that in the next row."""
        axis = Sweep(self._windows).columns
        if axis.places == 1 or not len(store):
            return store
        depth = axis.before + axis.pixels
        attrs = {}
        if self._family in LUT_RAM:  # so that it is where the plan expects it
            attrs["ram_style"] = "distributed" if depth <= LUT_RAM[self._family] else "block"
        m.submodules.lines = lines = Memory(shape=len(store), depth=depth, init=[], attrs=attrs)
        read, write = lines.read_port(domain="comb"), lines.write_port()
        stored = Signal()
        m.d.comb += [
            read.addr.eq(column),
            write.en.eq(shift & stored),
            write.data.eq(store),
        ]
        with m.If(shift):
            m.d.sync += [write.addr.eq(column), stored.eq(inside)]
        return read.data

    def _go(self, m: Module, name: str, step: Value, axis: Axis, start: int):
        """Goes along an axis.

        Returns
        -------
        place : Signal
        inside, completes : Value
            Whether it is a pixel; whether a window may be complete there.
        ends : Value
            Whether it is the last one.
        """
        place = Signal(range(axis.places), init=start, name=name)
        wait = Signal(range(max(axis.first + 1, axis.stride)), init=axis.first, name=f"{name}_wait")
        ends = place == axis.places - 1
        with m.If(step):
            m.d.sync += place.eq(Mux(ends, 0, place + 1))
            with m.If(ends):
                m.d.sync += wait.eq(axis.first)
            with m.Elif(wait == 0):
                m.d.sync += wait.eq(axis.stride - 1)
            with m.Else():
                m.d.sync += wait.eq(wait - 1)
        inside = (place >= axis.before) & (place < axis.before + axis.pixels)
        return place, inside, (wait == 0) & (place <= axis.last), ends
