"""The sliding window: pixels come in raster order, the windows of a convolution leave."""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores.matrix_unit import LUT_RAM
from hw.cores.windows import Windows

__all__ = ["SlidingWindow", "fill_words", "ring_depth"]


def ring_depth(pixels: int, channels: int, lanes: int) -> int:
    """Beats of the smallest ring that holds so many pixels: a power of two, at least 2."""
    return max(2, 1 << (pixels * (channels // lanes) - 1).bit_length())


def fill_words(fill: int | Sequence[int], channels: int, bits: int, lanes: int) -> list[int]:
    """The beats of a pixel of padding.

    Raises
    ------
    ValueError
        There are not as many values as channels, or one is not of so many bits.
    """
    values = [fill] * channels if isinstance(fill, int) else [int(value) for value in fill]
    if len(values) != channels:
        raise ValueError(f"Fill must have {channels} values, not {len(values)}")
    for channel, value in enumerate(values):
        if not 0 <= value < 1 << bits:
            raise ValueError(
                f"Fill must be in 0..{(1 << bits) - 1}, not {value} (channel {channel})"
            )
    return [
        sum(value << bits * lane for lane, value in enumerate(values[start : start + lanes]))
        for start in range(0, channels, lanes)
    ]


class SlidingWindow(wiring.Component):
    """Gives the windows of images whose pixels come: im2col, some channels of a pixel a beat.

    Pixels come in raster order and windows leave in raster order, the elements of each in the order
    row, column, channel. Padding is never stored. Pixels that no window has are taken and dropped.

    The ring holds the beats from the head of the window that is read (`Windows.heads`) on. A cycle
    reads one: windows of kernel rows * kernel columns * channels / lanes beats follow each other
    without a gap, over rows and frames, where pixels are there. A ring of `Windows.enough` pixels
    is enough for pixels that come evenly.

    On 7-series about 33 + 5 log2(depth) + 3 log2(height * width) LUTs, 15 more with padding, beside
    the ring. Padding takes no more, unless it differs between the beats of a pixel: then a LUT for
    each bit of a beat.

    Timing: a beat is read at the earliest in the cycle after the pixel's beat was transferred, a
    beat of padding at once, but the first of a frame after the image's first beat was; not before
    the cycle in which the beat before is transferred at `o`. It is valid there from the next cycle
    on. When the last beat of a window is read, what comes
    before the next window's head is free from the next cycle on: `i.ready` is 1 while there is a
    free place. It depends on registers alone, as `o.valid` does.

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
    lanes : int
        Channels a beat, a divisor of `channels`.
    depth : int
        Beats that the ring holds: a power of two, at least `ring_depth` of `Windows.least`.
    family : str
        Whose memories the ring is made of, as in `MatrixUnit`.

    Members
    -------
    i : In(stream.Signature(ArrayLayout(bits, lanes)))
    o : Out(stream.Signature(ArrayLayout(bits, lanes)))

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
        lanes: int,
        depth: int,
        family: str = "generic",
    ):
        self._windows = Windows(height, width, kernel, stride, padding)
        if channels < 1 or bits < 1:
            raise ValueError(f"Channels and bits must be at least 1, not {channels} and {bits}")
        if lanes < 1 or channels % lanes:
            raise ValueError(f"Lanes must divide the {channels} channels, not be {lanes}")
        least = ring_depth(self._windows.least, channels, lanes)
        if depth < least or depth & (depth - 1):
            raise ValueError(f"Depth must be a power of two from {least} on, not {depth}")
        self._fill = fill_words(fill, channels, bits, lanes)
        self._depth, self._family = depth, family
        beat = stream.Signature(data.ArrayLayout(bits, lanes))
        super().__init__({"i": In(beat), "o": Out(beat)})

    @property
    def windows(self) -> Windows:
        return self._windows

    @property
    def depth(self) -> int:
        return self._depth

    def elaborate(self, platform):
        m = Module()

        m.submodules.scan = scan = _Scan(self._windows, len(self._fill))
        taken, read, moves, there = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            moves.eq(self.o.ready | ~self.o.valid),
            read.eq(moves & there),
            scan.next.eq(read),
        ]

        # Beats are numbered through all frames, as if rows and frames were one line. Numbers are
        # known only by how far the last beat that came is beyond the one to be read, and the next
        # one beyond the last that there is a place for. The signs say what may happen.
        depth = self._depth
        beyond_range, excess_range = self._ranges()
        beyond = Signal(beyond_range, init=-scan.first - 1)
        excess = Signal(excess_range, init=-depth)
        m.d.comb += [
            self.i.ready.eq(excess < 0),
            there.eq((beyond >= 0) | scan.outside),
        ]
        if scan.first < 0:
            with m.If(scan.starts):  # with padding
                m.d.comb += there.eq(excess > -depth)
        for distance, change in ((beyond, scan.back), (excess, scan.head_back)):
            back = Signal.like(distance)
            m.d.comb += back.eq(Mux(read, change, 0))
            # A single adder, of which `taken` is the carry.
            m.d.sync += distance.eq((Cat(1, distance) + Cat(taken, back))[1:])

        attrs = {}
        if self._family in LUT_RAM:  # so that it is where the plan expects it
            attrs["ram_style"] = "distributed" if depth <= LUT_RAM[self._family] else "block"
        arriving = self.i.payload.as_value()
        m.submodules.ring = ring = Memory(shape=len(arriving), depth=depth, init=[], attrs=attrs)
        write, port = ring.write_port(), ring.read_port(domain="comb")
        m.d.comb += [write.en.eq(taken), write.data.eq(arriving)]
        with m.If(taken):
            m.d.sync += write.addr.eq(write.addr + 1)

        # What leaves is in the memory's own register, whose reset is padding; but padding that
        # differs from beat to beat takes its place behind it.
        place = Signal(range(depth), init=scan.first % depth)
        leaving = Signal.like(arriving, reset_less=True)
        m.d.comb += [port.addr.eq(place), self.o.payload.eq(leaving)]
        with m.If(moves):
            m.d.sync += self.o.valid.eq(read)
        with m.If(read):
            m.d.sync += [place.eq(place - scan.back), leaving.eq(port.data)]
        if len(set(self._fill)) == 1:
            with m.If(read & scan.outside):
                m.d.sync += leaving.eq(self._fill[0])
        else:
            padding, beat = Signal(), Signal.like(scan.beat)
            with m.If(read):
                m.d.sync += [padding.eq(scan.outside), beat.eq(scan.beat)]
            with m.If(padding):
                m.d.comb += self.o.payload.eq(Array(self._fill)[beat])

        return m

    def _ranges(self) -> tuple[range, range]:
        """What `beyond` and `excess` may be."""
        windows, beats = self._windows, len(self._fill)
        # What has come when a window's last beat is to be read: all of the windows before it.
        came = np.roll(windows.lasts, 1) + 1
        came[0] -= windows.pixels
        rows, columns = windows.kernel
        lasts = windows.firsts + (rows - 1) * windows.width + columns - 1
        lowest, highest = (came - lasts).min() - 1, (windows.heads - windows.firsts).max()
        # What no window has may be free before it has come.
        skipped = np.append(windows.heads[1:], windows.pixels) - windows.lasts
        return (
            range(int(lowest) * beats, self._depth + int(highest) * beats),
            range(-self._depth - max(0, int(skipped.max())) * beats, 1),
        )


class _Scan(wiring.Component):
    """Goes from beat to beat of the windows of images; all that is said of a beat is in registers.

    Parameters
    ----------
    windows : Windows
    beats : int
        Of a pixel.

    Members
    -------
    next : In(1)
        Goes on to the next beat. Not in the first cycle after a reset.
    starts : Out(1)
        Whether the beat is a frame's first; also in the first cycle.
    outside : Out(1)
        Whether it is padding.
    beat : Out(range(beats))
        Which of its pixel it is.
    back : Out(signed)
        How far it is from the next beat back to this one, where rows and frames are one line.
    head_back : Out(signed)
        How far it is from the next head back to the one there was, once the beat was read.
    """

    def __init__(self, windows: Windows, beats: int):
        self._windows, self._beats = windows, beats
        top, bottom, left, right = windows.padding
        self._rows = top + windows.height + bottom
        self._columns = left + windows.width + right
        longest = (self._rows * windows.width + self._columns) * beats
        super().__init__(
            {
                "next": In(1),
                "starts": Out(1, init=1),
                "outside": Out(1),
                "beat": Out(range(beats)),
                "back": Out(range(-longest, longest)),
                "head_back": Out(range(-windows.pixels * beats, 1)),
            }
        )

    @property
    def first(self) -> int:
        """The number of the first beat of all."""
        return int(self._windows.firsts[0]) * self._beats

    def elaborate(self, platform):
        m = Module()
        windows, beats = self._windows, self._beats
        (kernel_rows, kernel_columns), (down, across) = windows.kernel, windows.stride
        top, _, left, _ = windows.padding
        height, width = windows.height, windows.width

        # The registers are a beat behind.
        begun, moves = Signal(), Signal()
        m.d.comb += moves.eq(self.next | ~begun)
        m.d.sync += begun.eq(1)

        # Where the beat is in its pixel, and the pixel in its window and in the padded image.
        beat = Signal(range(beats))
        kernel_row, kernel_column = Signal(range(kernel_rows)), Signal(range(kernel_columns))
        row, column = Signal(range(self._rows)), Signal(range(self._columns))
        bottom_row = (windows.rows - 1) * down + kernel_rows - 1
        right_column = (windows.columns - 1) * across + kernel_columns - 1
        last_beat = beat == beats - 1
        last_kernel_column = kernel_column == kernel_columns - 1
        last_kernel_row = kernel_row == kernel_rows - 1

        # What a window frees is between its head and the next one's; only a row of windows whose
        # first row of pixels is in the image has more than one head.
        heads = windows.heads.reshape(windows.rows, windows.columns)
        rights = np.arange(windows.columns) * across + kernel_columns - 1
        bottoms = np.arange(windows.rows) * down + kernel_rows - 1
        several = heads[:, -1] > heads[:, 0]
        in_row = _stepwise(column, rights, -np.diff(heads[several.argmax()]))
        in_row = Mux(_stepwise(row, bottoms, several), in_row, 0)
        to_row = _stepwise(row, bottoms, heads[:-1, -1] - heads[1:, 0])
        to_frame = int(heads[-1, -1]) - windows.pixels

        starts, ends = Signal(init=1), Signal()
        back, head_back = Signal.like(self.back), Signal.like(self.head_back)

        def follow(rows: int, columns: int, frames: int = 0, *, head: Value | int = 0):
            """The next pixel is so many rows below and columns to the right; the head moves."""
            pixels = frames * windows.pixels + rows * width + columns
            m.d.comb += [back.eq((1 - pixels) * beats - 1), head_back.eq(head * beats)]
            with m.If(moves):
                m.d.sync += [row.eq(row + rows), column.eq(column + columns)]

        with m.If(~last_beat):
            m.d.comb += back.eq(-1)
        with m.Elif(~last_kernel_column):
            follow(0, 1)
        with m.Elif(~last_kernel_row):
            follow(1, 1 - kernel_columns)
        with m.Elif(column != right_column):
            follow(1 - kernel_rows, across + 1 - kernel_columns, head=in_row)
        with m.Elif(row != bottom_row):
            follow(down + 1 - kernel_rows, -right_column, head=to_row)
        with m.Else():
            follow(-bottom_row, -right_column, frames=1, head=to_frame)
            m.d.comb += ends.eq(1)
        with m.If(moves):
            m.d.sync += starts.eq(ends)
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
            with m.If(last_beat):
                m.d.sync += kernel_column.eq(Mux(last_kernel_column, 0, kernel_column + 1))
                with m.If(last_kernel_column):
                    m.d.sync += kernel_row.eq(Mux(last_kernel_row, 0, kernel_row + 1))

        in_rows = (row >= top) & (row < top + height)
        in_columns = (column >= left) & (column < left + width)
        with m.If(moves):
            m.d.sync += [
                self.starts.eq(starts),
                self.outside.eq(~(in_rows & in_columns)),
                self.beat.eq(beat),
                self.back.eq(back),
                self.head_back.eq(head_back),
            ]
        return m


def _stepwise(place: Signal, places: np.ndarray, values: np.ndarray) -> Value:
    """The value at a place, of a function that seldom changes from one to the next."""
    value = Const(0)
    for index, now in enumerate(values.tolist()):
        if not index:
            value = Const(now)
        elif now != values[index - 1]:
            value = Mux(place >= int(places[index]), now, value)
    return value
