"""A UART: one start bit, eight data bits with the lowest first, one stop bit, no parity (8N1)."""

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from sw.errors import PopstreamError

__all__ = ["UartReceiver", "UartTransmitter", "baud_divisor"]

# Halfway through the tenth bit a sample is off by 9.5 times the error: at 2 % a fifth of a bit.
_LARGEST_ERROR = 0.02
_SMALLEST_DIVISOR = 4


def baud_divisor(clock_hz: int, baud: int) -> int:
    """Clock cycles a bit takes: `clock_hz / baud`, rounded.

    Parameters
    ----------
    clock_hz : int
        Frequency of the clock.
    baud : int
        Wanted bits per second.

    Raises
    ------
    PopstreamError
        The rate that results is more than 2 % off, or a bit is shorter than 4 cycles.
    """
    divisor = max(1, round(clock_hz / baud)) if baud > 0 else 0
    if divisor < _SMALLEST_DIVISOR:
        fastest = clock_hz // _SMALLEST_DIVISOR
        raise PopstreamError(
            f"a {clock_hz / 1e6:g} MHz clock cannot do {baud} baud; choose 1..{fastest}"
        )
    error = clock_hz / divisor / baud - 1
    if abs(error) > _LARGEST_ERROR:
        raise PopstreamError(
            f"a {clock_hz / 1e6:g} MHz clock makes {clock_hz / divisor:.0f} baud instead of "
            f"{baud}, {error:+.1%}; at most 2 % works, so choose {clock_hz // divisor} or slower"
        )
    return divisor


class _Uart(wiring.Component):
    def __init__(self, signature: dict, *, divisor: int):
        if divisor < _SMALLEST_DIVISOR:
            raise ValueError(f"Divisor must be at least {_SMALLEST_DIVISOR}, not {divisor}")
        self._divisor = divisor
        super().__init__(signature)

    @property
    def divisor(self) -> int:
        return self._divisor


class UartReceiver(_Uart):
    """Receives bytes.

    A byte is given in the middle of its stop bit, two cycles late for the synchroniser, and held
    until it is taken. It has to be taken before the next one is whole, ten bits later.

    Parameters
    ----------
    divisor : int
        Clock cycles a bit takes, at least 4.

    Members
    -------
    rx : In(1)
        The line, straight from its pad; 1 is idle.
    o : Out(stream.Signature(8))
        The bytes.
    lost : Out(1)
        High for a cycle when a byte is lost: it came before the last one was taken, or its stop bit
        was 0.
    """

    def __init__(self, *, divisor: int):
        signature = {"rx": In(1, init=1), "o": Out(stream.Signature(8)), "lost": Out(1)}
        super().__init__(signature, divisor=divisor)

    def elaborate(self, platform):
        m = Module()

        rx = Signal(init=1)
        m.submodules.sync = FFSynchronizer(self.rx, rx, init=1)

        # The timer marks the middle of each bit.
        timer = Signal(range(self._divisor))
        bits = Signal(range(10))
        data = Signal(8)
        sample = Signal()
        whole = Signal()
        m.d.sync += timer.eq(timer - 1)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [timer.eq(self._divisor // 2 - 1), bits.eq(0)]
                with m.If(~rx):
                    m.next = "BITS"

            with m.State("BITS"):
                m.d.comb += sample.eq(timer == 0)
                with m.If(sample):
                    m.d.sync += [timer.eq(self._divisor - 1), bits.eq(bits + 1)]
                    with m.If(bits == 9):
                        m.d.comb += [whole.eq(rx), self.lost.eq(~rx)]
                        m.next = "GAP"
                    with m.Elif((bits == 0) & rx):
                        m.next = "IDLE"  # a start bit gone by its middle was a glitch
                    with m.Else():
                        # The start bit is shifted out again by the eight that follow.
                        m.d.sync += data.eq(Cat(data[1:], rx))

            # The rest of the stop bit, however long the line stays low where it was none.
            with m.State("GAP"), m.If(rx):
                m.next = "IDLE"

        with m.If(whole & (~self.o.valid | self.o.ready)):
            m.d.sync += [self.o.payload.eq(data), self.o.valid.eq(1)]
        with m.Elif(whole):
            m.d.comb += self.lost.eq(1)

        return m


class UartTransmitter(_Uart):
    """Sends bytes, ten bits each, back to back where they come fast enough.

    Parameters
    ----------
    divisor : int
        Clock cycles a bit takes, at least 4.

    Members
    -------
    i : In(stream.Signature(8))
        The bytes.
    tx : Out(1)
        The line, to its pad; 1 is idle.
    """

    def __init__(self, *, divisor: int):
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)}, divisor=divisor)

    def elaborate(self, platform):
        m = Module()

        timer = Signal(range(self._divisor))
        bits = Signal(range(11))  # still to send
        frame = Signal(10, init=-1)
        last = Signal()
        m.d.comb += [
            last.eq((bits == 0) | ((bits == 1) & (timer == 0))),
            self.i.ready.eq(last),
            self.tx.eq(frame[0]),
        ]

        with m.If(last):
            m.d.sync += [bits.eq(0), timer.eq(self._divisor - 1)]
            with m.If(self.i.valid):
                m.d.sync += [frame.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))), bits.eq(10)]
        with m.Elif(timer == 0):
            m.d.sync += [
                frame.eq(Cat(frame[1:], Const(1, 1))),
                bits.eq(bits - 1),
                timer.eq(self._divisor - 1),
            ]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)

        return m
