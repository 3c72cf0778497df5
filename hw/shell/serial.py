"""The serial link: frames in, class indices out. `sw.host.link` describes its protocol."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hw.shell.uart import UartReceiver, UartTransmitter
from sw.host.link import frame_bytes

__all__ = ["SerialLink"]

_SMALLEST_FIFO = 16


class SerialLink(wiring.Component):
    """Turns a serial line into a stream of vectors, and a stream of class indices back.

    Received bytes wait in a buffer of a whole frame. A pipeline that is done with all but the last
    frame takes that one as it comes, so a host that keeps at most two frames unanswered never
    overruns it; for one that does, the link waits for silence and starts over.

    Parameters
    ----------
    elements : int
        Elements of a frame, at least 1.
    width : int
        Bits of an element, in 1..8.
    divisor : int
        Clock cycles a bit takes on the line, at least 4.
    timeout_cycles : int
        A pause of so many cycles starts over when it comes in mid-frame or after a lost byte. At
        least the 10 bits of a byte.

    Members
    -------
    rx, tx : In(1), Out(1)
        The line, to and from its pads.
    o : Out(stream.Signature(ArrayLayout(width, lanes)))
        The frames, `lanes` elements a beat: 8, or all of a smaller frame, where an element is a
        bit, else 1.
    i : In(stream.Signature(8))
        One class index a frame.
    restart : Out(1)
        High for a cycle when the link starts over; resets all between `o` and `i`.
    """

    def __init__(self, *, elements: int, width: int, divisor: int, timeout_cycles: int):
        self._frame_bytes = frame_bytes(elements, width)
        if timeout_cycles < 10 * divisor:
            raise ValueError(
                f"Timeout must be at least a byte, {10 * divisor} cycles, not {timeout_cycles}"
            )
        self._divisor, self._timeout_cycles = divisor, timeout_cycles
        lanes = min(8, elements) if width == 1 else 1
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "o": Out(stream.Signature(data.ArrayLayout(width, lanes))),
                "i": In(stream.Signature(8)),
                "restart": Out(1),
            }
        )

    @property
    def frame_bytes(self) -> int:
        return self._frame_bytes

    @property
    def divisor(self) -> int:
        return self._divisor

    @property
    def timeout_cycles(self) -> int:
        return self._timeout_cycles

    def elaborate(self, platform):
        m = Module()

        m.submodules.receiver = receiver = UartReceiver(divisor=self._divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor=self._divisor)
        fifo = SyncFIFOBuffered(width=8, depth=max(_SMALLEST_FIFO, self._frame_bytes))
        m.submodules.fifo = ResetInserter(self.restart)(fifo)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)

        # After a lost byte nothing fits until the next pause.
        broken = Signal()
        arrived = Signal()
        m.d.comb += [
            fifo.w_data.eq(receiver.o.payload),
            fifo.w_en.eq(receiver.o.valid & ~broken),
            receiver.o.ready.eq(fifo.w_rdy | broken),
            arrived.eq(receiver.o.valid & receiver.o.ready),
            self.o.payload.as_value().eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
        ]

        position = Signal(range(self._frame_bytes))
        silence = Signal(range(self._timeout_cycles))
        m.d.comb += self.restart.eq(silence == self._timeout_cycles - 1)
        with m.If(receiver.lost):
            m.d.sync += broken.eq(1)
        with m.If(self.restart):
            m.d.sync += [broken.eq(0), position.eq(0), silence.eq(0)]
        with m.Elif(arrived):
            last = position == self._frame_bytes - 1
            m.d.sync += [position.eq(Mux(last, 0, position + 1)), silence.eq(0)]
        with m.Elif(receiver.lost | ((position == 0) & ~broken)):
            m.d.sync += silence.eq(0)
        with m.Else():
            m.d.sync += silence.eq(silence + 1)

        return m
