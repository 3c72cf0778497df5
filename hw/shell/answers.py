"""What a serial shell answers: identity, counters, results."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.shell.identity import Identity
from hw.shell.packets import Header, PacketTransmitter
from sw.host.link import Kind
from sw.host.registers import COUNTERS

__all__ = ["Answers"]


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
    starves : In(1)
        High while the pipeline waits for input; counted where frames are under way.
    rejected : In(1)
        High for a cycle for each rejected packet.
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

        # A number waits in a register, so that next to no logic leads back into the pipeline. None
        # is taken where no frame is under way, as after a reset.
        number = Signal(8 * identity.number_bytes)
        held = Signal()
        m.d.comb += self.i.ready.eq(~held & self.sequence.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [number.eq(self.i.payload), held.eq(1)]

        # What is answered next: a request, else the first frame if its result has begun to come.
        header, request, sequence = transmitter.header, self.request, self.sequence
        infers = header.payload.kind == Kind.INFER
        m.d.comb += [
            request.ready.eq(~header.valid),
            sequence.ready.eq(header.ready & infers),
        ]
        with m.If(header.ready):
            m.d.sync += header.valid.eq(0)
        with m.If(~header.valid):
            m.d.sync += header.valid.eq(request.valid | held)
            with m.If(request.valid):
                m.d.sync += header.payload.eq(request.payload)
            with m.Else():
                m.d.sync += [
                    header.payload.kind.eq(Kind.INFER),
                    header.payload.sequence.eq(sequence.payload),
                ]

        # An event is counted a cycle late, for nothing but an addition to lead to a counter. A line
        # knows no jobs.
        events = {
            "FRAMES_DONE": sequence.ready,
            "CYCLES_BUSY": sequence.valid,
            "STALLS_IN": sequence.valid & self.starves,
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
        with m.If(~header.valid):
            m.d.sync += snapshot.eq(counters)
        with m.Elif(taken):
            m.d.sync += snapshot.eq(snapshot >> 8)

        # The memory gives a byte the cycle after its position.
        words = b"".join(word.to_bytes(4, "little") for word in identity.words().values())
        m.submodules.words = memory = Memory(shape=8, depth=len(words), init=words)
        word = memory.read_port()
        fetched = Signal()
        m.d.comb += word.addr.eq(transmitter.position)
        m.d.sync += fetched.eq(~taken)

        # A number gives way to the next with its last byte.
        part = transmitter.position[: identity.number_bytes.bit_length() - 1]
        with m.Switch(header.payload.kind):
            with m.Case(Kind.IDENTIFY):
                m.d.comb += [transmitter.i.payload.eq(word.data), transmitter.i.valid.eq(fetched)]
            with m.Case(Kind.COUNTERS):
                m.d.comb += [transmitter.i.payload.eq(snapshot), transmitter.i.valid.eq(1)]
            with m.Case(Kind.INFER):
                m.d.comb += [
                    transmitter.i.payload.eq(number.word_select(part, 8)),
                    transmitter.i.valid.eq(held),
                ]
                with m.If(taken & part.all()):
                    m.d.sync += held.eq(0)

        return m
