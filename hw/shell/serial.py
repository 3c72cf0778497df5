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
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores.width_converter import WidthConverter
from hw.shell.identity import Identity
from hw.shell.packets import Header, PacketReceiver, PacketTransmitter
from hw.shell.uart import UartReceiver, UartTransmitter
from sw.host.link import PAUSE_SECONDS, Kind
from sw.host.registers import COUNTERS

__all__ = ["Answers", "PacketShell", "SerialAccelerator", "SerialShell", "stream_shapes"]


class Answers(wiring.Component):
    """Answers requests by identity and counters, and frames by their results.

    Parameters
    ----------
    identity : Identity
        What is said of the pipeline; the sizes of its results.

    Members
    -------
    request : In(stream.Signature(Header))
        What is asked for; answered before any result that has not begun.
    sequence : In(stream.Signature(8))
        The sequence number of each frame that is under way.
    i : In(stream.Signature(result_width))
        Their results, a number a beat.
    starves, rejected : In(1)
        High in each cycle that the counters of input stalls, where frames are under way, and of
        rejected packets are to count.
    o : Out(stream.Signature(8))
        Packets to the host.
    """

    def __init__(self, identity: Identity):
        self._identity = identity
        super().__init__(
            {
                "request": In(stream.Signature(Header)),
                "sequence": In(stream.Signature(8)),
                "i": In(stream.Signature(identity.result_width)),
                "starves": In(1),
                "rejected": In(1),
                "o": Out(stream.Signature(8)),
            }
        )

    @property
    def identity(self) -> Identity:
        return self._identity

    def elaborate(self, platform):
        m = Module()

        identity = self._identity
        m.submodules.transmitter = transmitter = PacketTransmitter(
            result_bytes=identity.result_bytes
        )
        wiring.connect(m, transmitter.o, wiring.flipped(self.o))

        # What is answered next: a request, else the first frame if its result has begun to come.
        header, request, sequence = transmitter.header, self.request, self.sequence
        begins = Signal()
        m.d.comb += [
            begins.eq(~header.valid | header.ready),
            request.ready.eq(begins),
            sequence.ready.eq(begins & ~request.valid & self.i.valid),
        ]
        with m.If(begins):
            m.d.sync += header.valid.eq(request.valid | (sequence.valid & self.i.valid))
            with m.If(request.valid):
                m.d.sync += header.payload.eq(request.payload)
            with m.Else():
                m.d.sync += [
                    header.payload.kind.eq(Kind.INFER),
                    header.payload.sequence.eq(sequence.payload),
                ]

        # An event is counted a cycle late, for nothing but an addition to lead to a counter.
        busy = sequence.valid | (header.valid & (header.payload.kind == Kind.INFER))
        events = {
            "FRAMES_DONE": sequence.valid & sequence.ready,
            "CYCLES_BUSY": busy,
            "STALLS_IN": busy & self.starves,
            "STALLS_OUT": self.i.valid & ~self.i.ready,
            "REJECTED": self.rejected,
        }
        counters = Signal(data.StructLayout({register.name: 32 for register in COUNTERS}))
        for name, happens in events.items():
            event = Signal(name=name.lower())
            m.d.sync += [event.eq(happens), counters[name].eq(counters[name] + event)]

        # All counters as they are when their answer begins, the next byte lowest.
        taken = Signal()
        snapshot = Signal(counters.shape().size)
        m.d.comb += taken.eq(transmitter.i.valid & transmitter.i.ready)
        with m.If(begins):
            m.d.sync += snapshot.eq(counters)
        with m.Elif(taken):
            m.d.sync += snapshot.eq(snapshot >> 8)

        words = b"".join(word.to_bytes(4, "little") for word in identity.words().values())
        m.submodules.words = memory = Memory(shape=8, depth=len(words), init=words)
        word = memory.read_port()
        fetched = Signal()
        m.d.comb += word.addr.eq(transmitter.position)
        m.d.sync += fetched.eq(~taken)

        # A number is taken with the last of its bytes.
        number = Signal(8 * identity.number_bytes)
        part = transmitter.position[: identity.number_bytes.bit_length() - 1]
        m.d.comb += number.eq(self.i.payload)

        with m.Switch(header.payload.kind):
            with m.Case(Kind.IDENTIFY):
                m.d.comb += [transmitter.i.payload.eq(word.data), transmitter.i.valid.eq(fetched)]
            with m.Case(Kind.COUNTERS):
                m.d.comb += [transmitter.i.payload.eq(snapshot), transmitter.i.valid.eq(1)]
            with m.Case(Kind.INFER):
                m.d.comb += [
                    transmitter.i.payload.eq(number.word_select(part, 8)),
                    transmitter.i.valid.eq(self.i.valid),
                    self.i.ready.eq(transmitter.i.ready & part.all()),
                ]

        return m


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
    ValueError
        They are not as the identity says.
    """
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
