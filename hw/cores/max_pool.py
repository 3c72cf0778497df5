"""Max pooling: the largest of each channel over windows of an image that do not overlap."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores.windows import Windows

__all__ = ["MaxPool"]


class MaxPool(wiring.Component):
    """Gives the largest of each channel over each window; of bits that is their OR.

    Pixels come and leave in raster order, each in ceil(channels / lanes) beats, and a beat comes
    every cycle. Pixels that no window has are taken and dropped.

    A memory has the largest so far of each window of a row: LUT RAM, where there is some. Windows
    that overlap are pooled behind a `SlidingWindow`, as an image of a row for each window of them.

    On 7-series about 30 LUTs and one for each bit of a beat, beside the memory, and two for three
    bits of a beat in the FIFO of results.

    Timing: a beat of a window's last pixel makes one that is valid at `o` from the next cycle on.
    `i.ready` is 1 while less than two such beats wait there, in the cycle after one has left again.
    It depends on registers alone, as `o.valid` does.

    Parameters
    ----------
    height, width, channels : int
        Of an image, each at least 1.
    bits : int
        Of an unsigned element, at least 1.
    size : tuple of int
        Rows and columns of a window, in 1..height and 1..width.
    stride : tuple of int
        Rows and columns from a window to the next, each at least those of a window.
    lanes : int
        Channels a beat, in 1..channels.
    family : str
        Whose memories are used, as in `MatrixUnit`.

    Members
    -------
    i : In(stream.Signature(ArrayLayout(bits, lanes)))
    o : Out(stream.Signature(ArrayLayout(bits, lanes)))
        Padding lanes of a pixel's last beat carry anything.

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
        size: tuple[int, int] = (2, 2),
        stride: tuple[int, int] = (2, 2),
        lanes: int,
        family: str = "generic",
    ):
        self._windows = Windows(height, width, size, stride)
        if channels < 1 or bits < 1:
            raise ValueError(f"Channels and bits must be at least 1, not {channels} and {bits}")
        if not 1 <= lanes <= channels:
            raise ValueError(f"Lanes must be in 1..{channels}, not {lanes}")
        if stride[0] < size[0] or stride[1] < size[1]:
            raise ValueError(
                f"Strides must be at least the window's {size[0]}x{size[1]}, "
                f"not {stride[0]}x{stride[1]}: windows overlap"
            )
        self._bits, self._lanes, self._beats = bits, lanes, -(-channels // lanes)
        self._family = family
        beat = stream.Signature(data.ArrayLayout(bits, lanes))
        super().__init__({"i": In(beat), "o": Out(beat)})

    @property
    def windows(self) -> Windows:
        return self._windows

    def elaborate(self, platform):
        m = Module()
        windows = self._windows
        taken = Signal()
        m.d.comb += taken.eq(self.i.valid & self.i.ready)

        # Where the beat is: in its pixel, and the pixel among the windows.
        beat = Signal(range(self._beats))
        last_beat = beat == self._beats - 1
        with m.If(taken):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
        across = _Axis(windows.width, windows.columns, windows.kernel[1], windows.stride[1])
        down = _Axis(windows.height, windows.rows, windows.kernel[0], windows.stride[0])
        m.submodules += [across, down]
        m.d.comb += [across.next.eq(taken & last_beat), down.next.eq(across.next & across.ends)]

        # The largest so far of each window of a row; of the only one that is begun, where it is.
        open_windows = windows.columns if windows.kernel[0] > 1 else 1
        place = Cat(beat, across.window[: (open_windows - 1).bit_length()])
        attrs = {"ram_style": "distributed"} if self._family == "xc7" and len(place) > 1 else {}
        arriving = self.i.payload.as_value()
        m.submodules.largest = memory = Memory(
            shape=len(arriving), depth=1 << len(place), init=[], attrs=attrs
        )
        read, write = memory.read_port(domain="comb"), memory.write_port()
        before = data.View(self.i.payload.shape(), read.data)
        largest = Signal.like(self.i.payload)
        first = across.first & down.first
        for lane, element in enumerate(self.i.payload):
            larger = element > before[lane]
            m.d.comb += largest[lane].eq(Mux(first | larger, element, before[lane]))
        m.d.comb += [
            read.addr.eq(place),
            write.addr.eq(place),
            write.data.eq(largest),
            write.en.eq(taken & across.inside & down.inside),
        ]

        m.submodules.results = results = SyncFIFO(width=len(arriving), depth=2)
        m.d.comb += [
            self.i.ready.eq(results.w_rdy),
            results.w_data.eq(largest),
            results.w_en.eq(taken & across.last & down.last),
            results.r_en.eq(self.o.ready),
            self.o.valid.eq(results.r_rdy),
            self.o.payload.eq(results.r_data),
        ]
        return m


class _Axis(wiring.Component):
    """Goes along the rows or columns of an image: which window the next pixel is in.

    Parameters
    ----------
    length, windows, size, stride : int
        The image's pixels, how many windows there are, their pixels, and how far they are apart.

    Members
    -------
    next : In(1)
        Goes on to the next pixel.
    ends : Out(1)
        The pixel is the image's last.
    window : Out(range)
        The window that the pixel is in, or in whose gap.
    inside, first, last : Out(1)
        The pixel is in the window; is its first; is its last.
    """

    def __init__(self, length: int, windows: int, size: int, stride: int):
        self._length, self._windows, self._size, self._stride = length, windows, size, stride
        super().__init__(
            {
                "next": In(1),
                "ends": Out(1),
                "window": Out(range(-(-length // stride))),
                "inside": Out(1),
                "first": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        pixel = Signal(range(self._stride))
        gap = self._stride - 1
        at_end = (self._length - 1) // self._stride, (self._length - 1) % self._stride
        m.d.comb += [
            self.ends.eq((self.window == at_end[0]) & (pixel == at_end[1])),
            self.first.eq(pixel == 0),
            # What is left over at the end is less than a window, so it never has a last pixel.
            self.inside.eq((self.window < self._windows) & (pixel < self._size)),
            self.last.eq(pixel == self._size - 1),
        ]
        with m.If(self.next):
            with m.If(self.ends):
                m.d.sync += [pixel.eq(0), self.window.eq(0)]
            with m.Elif(pixel == gap):
                m.d.sync += [pixel.eq(0), self.window.eq(self.window + 1)]
            with m.Else():
                m.d.sync += pixel.eq(pixel + 1)
        return m
