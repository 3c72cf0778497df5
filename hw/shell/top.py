"""The design that goes onto a board without a processor: clock, serial link, pipeline, LEDs."""

from math import ceil

from amaranth.hdl import ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import io, wiring

from boards.catalogue import Board
from hw.cores.width_converter import WidthConverter
from hw.shell.clock import ClockGenerator
from hw.shell.serial import SerialLink
from hw.shell.uart import baud_divisor
from sw.host.link import TIMEOUT_SECONDS, frame_bytes

__all__ = ["BoardTop"]


class BoardTop(wiring.Component):
    """A pipeline behind a board's serial link.

    The first LED blinks about once a second for as long as the clock runs; the others show the last
    class index, lowest bit first.

    Parameters
    ----------
    board : Board
    accelerator : Component
        Streams `i`, a vector as ArrayLayout(width, lanes) beats with width in 1..8, and `o`, one
        unsigned class index of at most 8 bits a frame.
    elements : int
        Elements of an input vector.
    clock_hz : int or None
        The pipeline's clock; None means the board's default.
    baud : int or None
        The link's bits per second; None means the board's default.

    Raises
    ------
    PopstreamError
        A clock or a baud rate that the board cannot make.
    ValueError
        The streams of the accelerator do not fit the link.
    """

    def __init__(
        self,
        board: Board,
        accelerator: wiring.Component,
        *,
        elements: int,
        clock_hz: int | None = None,
        baud: int | None = None,
    ):
        self._board, self._accelerator, self._elements = board, accelerator, elements
        self._clock = board.clock(clock_hz)
        self._baud = board.baud if baud is None else baud
        self._divisor = baud_divisor(self._clock.hz, self._baud)
        self._beats = accelerator.i.payload.shape()
        index_width = len(accelerator.o.payload)
        if index_width > 8:
            raise ValueError(f"A class index must fit 8 bits, not {index_width}")
        super().__init__({})

    @property
    def clock_hz(self) -> int:
        return self._clock.hz

    @property
    def baud(self) -> int:
        return self._baud

    @property
    def frame_bytes(self) -> int:
        return frame_bytes(self._elements, self._beats.elem_shape)

    def elaborate(self, platform):
        m = Module()

        m.submodules.clock = clock = ClockGenerator(self._clock)
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(clock.clk), ResetSignal().eq(clock.rst)]

        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)

        m.submodules.link = link = SerialLink(
            elements=self._elements,
            width=self._beats.elem_shape,
            divisor=self._divisor,
            timeout_cycles=ceil(self._clock.hz * TIMEOUT_SECONDS),
        )
        m.d.comb += [link.rx.eq(rx.i), tx.o.eq(link.tx)]

        # Whatever the link forgets when it starts over, the pipeline has to forget too: a cycle
        # later, because no logic should delay a net that goes everywhere.
        forget = Signal(reset_less=True)
        m.d.sync += forget.eq(clock.rst | link.restart)
        m.domains.pipeline = ClockDomain()
        m.d.comb += [ClockSignal("pipeline").eq(clock.clk), ResetSignal("pipeline").eq(forget)]
        accelerator = self._accelerator
        converter = WidthConverter(
            width=self._beats.elem_shape,
            elements=self._elements,
            i_lanes=link.o.payload.shape().length,
            o_lanes=self._beats.length,
        )
        m.submodules.converter = DomainRenamer("pipeline")(converter)
        m.submodules.accelerator = DomainRenamer("pipeline")(accelerator)
        wiring.connect(m, link.o, converter.i)
        wiring.connect(m, converter.o, accelerator.i)
        m.d.comb += [
            link.i.payload.eq(accelerator.o.payload),
            link.i.valid.eq(accelerator.o.valid),
            accelerator.o.ready.eq(link.i.ready),
        ]

        seconds = Signal(range(self._clock.hz))
        m.d.sync += seconds.eq(seconds + 1)
        index = Signal(8)
        with m.If(link.i.valid & link.i.ready):
            m.d.sync += index.eq(link.i.payload)
        for number in range(min(9, self._board.leds)):
            led = io.Buffer("o", platform.request("led", number, dir="-"))
            m.submodules[f"led{number}"] = led
            m.d.comb += led.o.eq(index[number - 1] if number else seconds[-1])

        return m
