"""The design that goes onto a board with a serial line: clock, serial shell, pipeline, LEDs."""

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import io, wiring

from boards.catalogue import Board
from hw.shell.clock import ClockGenerator
from hw.shell.identity import Identity
from hw.shell.serial import SerialAccelerator, stream_shapes
from hw.shell.uart import baud_divisor

__all__ = ["BoardTop"]


class BoardTop(wiring.Component):
    """A pipeline behind a board's serial line.

    The first LED blinks about once a second for as long as the clock runs; the others show the last
    number of the last result, lowest bit first.

    Parameters
    ----------
    board : Board
    accelerator : Component
        As `SerialAccelerator` takes it.
    identity : Identity
        What the shell says of it. Its clock is the one that is made.
    baud : int or None
        The line's bits per second; None means the board's default.

    Raises
    ------
    PopstreamError
        A clock or a baud rate that the board cannot make; a frame or a result that is longer than a
        packet.
    ValueError
        The accelerator's streams are not those that the identity tells of.
    """

    pipeline = "serial.accelerator"  # where it is among the submodules

    def __init__(
        self,
        board: Board,
        accelerator: wiring.Component,
        identity: Identity,
        *,
        baud: int | None = None,
    ):
        self._board = board
        self._clock = board.clock(identity.clock_hz)
        self._baud = board.baud if baud is None else baud
        self._divisor = baud_divisor(self._clock.hz, self._baud)
        stream_shapes(accelerator, identity)
        self._accelerator, self._identity = accelerator, identity
        super().__init__({})

    @property
    def clock_hz(self) -> int:
        return self._clock.hz

    @property
    def baud(self) -> int:
        return self._baud

    def elaborate(self, platform):
        m = Module()

        m.submodules.clock = clock = ClockGenerator(self._clock)
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(clock.clk), ResetSignal().eq(clock.rst)]

        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.submodules.serial = serial = SerialAccelerator(
            self._accelerator, self._identity, divisor=self._divisor
        )
        m.d.comb += [serial.rx.eq(rx.i), tx.o.eq(serial.tx)]

        second = Signal(range(self._clock.hz))
        m.d.sync += second.eq(second + 1)
        lights = [second[-1], *serial.last]
        for number, light in enumerate(lights[: min(9, self._board.leds)]):
            led = io.Buffer("o", platform.request("led", number, dir="-"))
            m.submodules[f"led{number}"] = led
            m.d.comb += led.o.eq(light)

        return m
