"""The serial shell: a pipeline's frames and results as packets on a serial line.

`sw.host.link` describes the packets, `sw.host.serial` is the other end.
"""

from math import ceil

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    ResetInserter,
    ResetSignal,
    Shape,
    Signal,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.cores.width_converter import WidthConverter
from hw.shell.answers import Answers
from hw.shell.identity import Identity
from hw.shell.packets import PacketReceiver
from hw.shell.uart import UartReceiver, UartTransmitter
from sw.errors import PopstreamError
from sw.host.link import LONGEST, PAUSE_SECONDS

__all__ = ["PacketShell", "SerialAccelerator", "SerialShell", "stream_shapes"]


def _streams(identity: Identity) -> dict:
    """A shell's members at the pipeline's side."""
    lanes = min(8, identity.frame_elements) if identity.frame_bits == 1 else 1
    return {
        "o": Out(stream.Signature(data.ArrayLayout(identity.frame_bits, lanes))),
        "i": In(stream.Signature(identity.result_width)),
        "restart": Out(1),
    }


class PacketShell(wiring.Component):
    """The serial shell without its UART: packets as bytes.

    Frames reach the pipeline whole and right, or not at all, in the order in which they come.

    Parameters
    ----------
    identity : Identity
        What is said of the pipeline; the sizes of its frames and results.
    pause_cycles : int
        A pause of so many cycles within a packet rejects it.

    Members
    -------
    i_line, o_line : In(stream.Signature(8)), Out(stream.Signature(8))
        Bytes from and to the host.
    o : Out(stream.Signature(ArrayLayout(frame_bits, lanes)))
        The frames, `lanes` elements a beat: 8, or all of a smaller frame, where an element is a
        bit, else 1.
    i : In(stream.Signature(result_width))
        The results, a number a beat.
    restart : Out(1)
        High for a cycle when the host asks for a reset. Resets all between `o` and `i`, in this
        cycle or the next.
    """

    def __init__(self, identity: Identity, *, pause_cycles: int):
        self._identity, self._pause_cycles = identity, pause_cycles
        super().__init__(
            {
                "i_line": In(stream.Signature(8)),
                "o_line": Out(stream.Signature(8)),
                **_streams(identity),
            }
        )

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def pause_cycles(self) -> int:
        return self._pause_cycles

    def elaborate(self, platform):
        m = Module()

        m.submodules.receiver = receiver = PacketReceiver(
            frame_bytes=self._identity.frame_bytes, pause_cycles=self._pause_cycles
        )
        answers = Answers(self._identity)
        m.submodules.answers = ResetInserter(receiver.restart)(answers)
        wiring.connect(m, wiring.flipped(self.i_line), receiver.i)
        wiring.connect(m, receiver.request, answers.request)
        wiring.connect(m, receiver.sequence, answers.sequence)
        wiring.connect(m, wiring.flipped(self.i), answers.i)
        wiring.connect(m, answers.o, wiring.flipped(self.o_line))
        m.d.comb += [
            self.o.payload.as_value().eq(receiver.o.payload),
            self.o.valid.eq(receiver.o.valid),
            receiver.o.ready.eq(self.o.ready),
            answers.starves.eq(self.o.ready & ~self.o.valid),
            answers.rejected.eq(receiver.rejected),
            self.restart.eq(receiver.restart),
        ]

        return m


class SerialShell(wiring.Component):
    """What a host reaches a pipeline through over a serial line.

    Parameters
    ----------
    identity : Identity
        What is said of the pipeline; the sizes of its frames and results.
    divisor : int
        Clock cycles a bit takes on the line, at least 4.
    pause_cycles : int
        A pause of so many cycles within a packet rejects it. More than the 10 bits of a byte.

    Members
    -------
    rx, tx : In(1), Out(1)
        The line, to and from its pads.
    o, i, restart
        As `PacketShell` has them.
    """

    def __init__(self, identity: Identity, *, divisor: int, pause_cycles: int):
        if pause_cycles <= 10 * divisor:
            raise ValueError(
                f"A pause must be more than a byte, {10 * divisor} cycles, not {pause_cycles}"
            )
        self._identity, self._divisor, self._pause_cycles = identity, divisor, pause_cycles
        line = {"rx": In(1, init=1), "tx": Out(1, init=1)}
        super().__init__({**line, **_streams(identity)})

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def divisor(self) -> int:
        return self._divisor

    @property
    def pause_cycles(self) -> int:
        return self._pause_cycles

    def elaborate(self, platform):
        m = Module()

        m.submodules.receiver = receiver = UartReceiver(divisor=self._divisor)
        m.submodules.transmitter = transmitter = UartTransmitter(divisor=self._divisor)
        m.submodules.packets = packets = PacketShell(
            self._identity, pause_cycles=self._pause_cycles
        )
        wiring.connect(m, receiver.o, packets.i_line)
        wiring.connect(m, packets.o_line, transmitter.i)
        wiring.connect(m, packets.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.i), packets.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            self.restart.eq(packets.restart),
        ]

        return m


def _beats(what: str, payload, elements: int, widths: range) -> tuple[int, int]:
    """Width and lanes of a stream of elements, checked against what the identity says."""
    lanes = 1
    if isinstance(payload, data.ArrayLayout):
        payload, lanes = payload.elem_shape, payload.length
    found = Shape.cast(payload).width
    if found not in widths or lanes > elements:
        raise ValueError(
            f"{what} of {elements} elements of {widths[-1]} bits do not come {lanes} of {found} "
            "bits a beat"
        )
    return found, lanes


def stream_shapes(
    accelerator: wiring.Component, identity: Identity
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and lanes of an accelerator's frames, and of its results.

    Raises
    ------
    PopstreamError
        A frame or a result is longer than a packet; or frames come in batches.
    ValueError
        They are not as the identity says.
    """
    for what, size in (("frame", identity.frame_bytes), ("result", identity.result_bytes)):
        if size > LONGEST:
            raise PopstreamError(
                f"a {what} of {size} bytes does not fit a packet of the serial link; at most "
                f"{LONGEST} do"
            )
    if identity.batch_frames:
        raise PopstreamError(
            "an accelerator of batches, or of weights from memory, cannot be behind a serial link; "
            "build it with --shell zynq"
        )
    frames, results = accelerator.i.payload.shape(), accelerator.o.payload.shape()
    bits = range(identity.frame_bits, identity.frame_bits + 1)
    return (
        _beats("Frames", frames, identity.frame_elements, bits),
        _beats("Results", results, identity.result_elements, range(identity.result_width + 1)),
    )


class SerialAccelerator(wiring.Component):
    """An accelerator in a serial shell: all of a board but clock, pads and LEDs.

    Parameters
    ----------
    accelerator : Component
        Streams `i`, a frame as ArrayLayout(frame_bits, lanes) beats, and `o`, a result: one number,
        or several as ArrayLayout(width, lanes) beats.
    identity : Identity
        What the shell says of it.
    divisor : int
        Clock cycles a bit takes on the line, at least 4.

    Members
    -------
    rx, tx : In(1), Out(1)
        The line, to and from its pads.
    last : Out(result_width)
        The last number of all results so far.

    Raises
    ------
    PopstreamError
        A frame or a result is longer than a packet.
    ValueError
        The accelerator's streams are not those that the identity tells of.
    """

    def __init__(self, accelerator: wiring.Component, identity: Identity, *, divisor: int):
        self._accelerator, self._identity, self._divisor = accelerator, identity, divisor
        self._shapes = stream_shapes(accelerator, identity)
        line = {"rx": In(1, init=1), "tx": Out(1, init=1)}
        super().__init__({**line, "last": Out(identity.result_width)})

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def divisor(self) -> int:
        return self._divisor

    def elaborate(self, platform):
        m = Module()

        identity = self._identity
        m.submodules.shell = shell = SerialShell(
            identity,
            divisor=self._divisor,
            pause_cycles=ceil(identity.clock_hz * PAUSE_SECONDS),
        )
        m.d.comb += [shell.rx.eq(self.rx), self.tx.eq(shell.tx)]

        # Whatever the shell forgets at a restart, the pipeline has to forget too: a cycle later,
        # because no logic should delay a net that goes everywhere.
        forget = Signal(reset_less=True)
        m.d.sync += forget.eq(ResetSignal(allow_reset_less=True) | shell.restart)
        m.domains.pipeline = ClockDomain(local=True)
        m.d.comb += [ClockSignal("pipeline").eq(ClockSignal()), ResetSignal("pipeline").eq(forget)]
        inside = DomainRenamer("pipeline")

        accelerator = self._accelerator
        width, lanes = self._shapes[0]
        frames = WidthConverter(
            width=width,
            elements=identity.frame_elements,
            i_lanes=shell.o.payload.shape().length,
            o_lanes=lanes,
        )
        m.submodules.frames = inside(frames)
        m.submodules.accelerator = inside(accelerator)
        wiring.connect(m, shell.o, frames.i)
        wiring.connect(m, frames.o, accelerator.i)

        source = accelerator.o
        width, lanes = self._shapes[1]
        if lanes > 1:
            results = WidthConverter(
                width=width, elements=identity.result_elements, i_lanes=lanes, o_lanes=1
            )
            m.submodules.results = inside(results)
            wiring.connect(m, accelerator.o, results.i)
            source = results.o
        m.d.comb += [
            shell.i.payload.eq(source.payload),
            shell.i.valid.eq(source.valid),
            source.ready.eq(shell.i.ready),
        ]

        with m.If(shell.i.valid & shell.i.ready):
            m.d.sync += self.last.eq(shell.i.payload)

        return m
