"""Packets of the serial link, `sw.host.link`, byte by byte."""

from amaranth.hdl import Module, Mux, ResetInserter, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hw.shell.frame_buffer import FrameBuffer
from sw.host.link import (
    ANSWER,
    FRAMES_IN_FLIGHT,
    LONGEST,
    SYNC,
    Kind,
    answer_lengths,
    request_lengths,
)

__all__ = ["Header", "PacketReceiver", "PacketTransmitter"]

# What the host keeps unanswered may come a second time before its answers have gone.
_UNDER_WAY = 2 * FRAMES_IN_FLIGHT

Header = data.StructLayout({"kind": Kind, "sequence": 8})


class _State(enum.Enum):
    SYNC = 0
    KIND = 1
    SEQUENCE = 2
    LENGTH_LOW = 3
    LENGTH_HIGH = 4
    PAYLOAD = 5
    CRC = 6
    CHECK = 7


def _length(m: Module, kind, lengths: dict[int, int]) -> Signal:
    """The length of a packet of this kind."""
    length = Signal(16)
    with m.Switch(kind):
        for each in Kind:
            with m.Case(each):
                m.d.comb += length.eq(lengths[each])
    return length


class PacketReceiver(wiring.Component):
    """Takes what comes from the host apart, and lets nothing through that is no right packet.

    A frame is stored as it comes and leaves only when its CRC was right; there is room for two. A
    packet without room is rejected when its header has come. Of packets other than frames one can
    wait.

    Parameters
    ----------
    frame_bytes : int
        Bytes of a frame, in 1..65535.
    pause_cycles : int
        A pause of so many cycles within a packet rejects it.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes from the line. Ready but for a cycle behind each packet.
    request : Out(stream.Signature(Header))
        Packets other than frames.
    sequence : Out(stream.Signature(8))
        The sequence numbers of the frames, in their order.
    o : Out(stream.Signature(8))
        The bytes of these frames.
    restart : Out(1)
        High for a cycle when the host asked for a reset. All frames and requests are forgotten;
        after this cycle the reset itself is the request.
    rejected : Out(1)
        High for a cycle when something has come that is no right packet, or one without room.
    """

    def __init__(self, *, frame_bytes: int, pause_cycles: int):
        if not 1 <= frame_bytes <= LONGEST:
            raise ValueError(f"A frame must have 1..{LONGEST} bytes, not {frame_bytes}")
        if pause_cycles < 2:
            raise ValueError(f"A pause must be at least 2 cycles, not {pause_cycles}")
        self._frame_bytes, self._pause_cycles = frame_bytes, pause_cycles
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "request": Out(stream.Signature(Header)),
                "sequence": Out(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "restart": Out(1),
                "rejected": Out(1),
            }
        )

    @property
    def frame_bytes(self) -> int:
        return self._frame_bytes

    @property
    def pause_cycles(self) -> int:
        return self._pause_cycles

    def elaborate(self, platform):
        m = Module()

        buffer = FrameBuffer(frame_bytes=self._frame_bytes)
        sequences = SyncFIFOBuffered(width=8, depth=_UNDER_WAY)
        m.submodules.buffer = ResetInserter(self.restart)(buffer)
        m.submodules.sequences = ResetInserter(self.restart)(sequences)
        m.submodules.crc = crc = CRC32_ISO_HDLC(8).create()
        wiring.connect(m, buffer.o, wiring.flipped(self.o))
        wiring.connect(m, sequences.r_stream, wiring.flipped(self.sequence))

        state = Signal(_State)
        header = Signal(Header)
        byte = self.i.payload
        taken = Signal()
        m.d.comb += [
            self.i.ready.eq(state != _State.CHECK),
            taken.eq(self.i.valid & self.i.ready),
            crc.start.eq(state == _State.SYNC),
            crc.valid.eq(taken & (state != _State.SYNC)),
            crc.data.eq(byte),
            buffer.i.payload.eq(byte),
            buffer.i.valid.eq(taken & (state == _State.PAYLOAD)),
            sequences.w_data.eq(header.sequence),
        ]

        # Nobody else takes up room: what is there when the header has come is there at the end.
        length = _length(m, header.kind, request_lengths(self._frame_bytes))
        room = Signal()
        with m.Switch(header.kind):
            with m.Case(Kind.INFER):
                m.d.comb += room.eq(buffer.i.ready & sequences.w_rdy)
            with m.Case(Kind.RESET):
                m.d.comb += room.eq(1)
            with m.Default():
                m.d.comb += room.eq(~self.request.valid)

        rejects = Signal()
        silence = Signal(range(self._pause_cycles))
        m.d.sync += [
            silence.eq(Mux(taken | (state == _State.SYNC), 0, silence + 1)),
            self.rejected.eq(rejects),
            self.restart.eq(0),
        ]
        m.d.comb += [
            rejects.eq((silence == self._pause_cycles - 1) & ~taken),
            buffer.rollback.eq(rejects),
        ]

        with m.If(self.request.ready):
            m.d.sync += self.request.valid.eq(0)

        crc_bytes = Signal(2)
        with m.Switch(state):
            with m.Case(_State.SYNC), m.If(taken & (byte == SYNC)):
                m.d.sync += state.eq(_State.KIND)

            with m.Case(_State.KIND), m.If(taken):
                m.d.sync += [header.kind.eq(byte), state.eq(_State.SEQUENCE)]
                with m.If(~byte.matches(*Kind)):
                    m.d.comb += rejects.eq(1)

            with m.Case(_State.SEQUENCE), m.If(taken):
                m.d.sync += [header.sequence.eq(byte), state.eq(_State.LENGTH_LOW)]

            with m.Case(_State.LENGTH_LOW), m.If(taken):
                m.d.sync += state.eq(_State.LENGTH_HIGH)
                with m.If(byte != length[:8]):
                    m.d.comb += rejects.eq(1)

            with m.Case(_State.LENGTH_HIGH), m.If(taken):
                payload = header.kind == Kind.INFER
                m.d.sync += state.eq(Mux(payload, _State.PAYLOAD, _State.CRC))
                with m.If((byte != length[8:]) | ~room):
                    m.d.comb += rejects.eq(1)

            with m.Case(_State.PAYLOAD), m.If(taken & buffer.last):
                m.d.sync += state.eq(_State.CRC)

            with m.Case(_State.CRC), m.If(taken):
                m.d.sync += crc_bytes.eq(crc_bytes + 1)
                with m.If(crc_bytes == 3):
                    m.d.sync += state.eq(_State.CHECK)

            with m.Case(_State.CHECK):
                m.d.sync += state.eq(_State.SYNC)
                with m.If(~crc.match_detected):
                    m.d.comb += rejects.eq(1)
                with m.Elif(header.kind == Kind.INFER):
                    m.d.comb += [buffer.commit.eq(1), sequences.w_en.eq(1)]
                with m.Elif(header.kind == Kind.RESET):
                    m.d.sync += self.restart.eq(1)
                with m.Else():
                    m.d.sync += [self.request.payload.eq(header), self.request.valid.eq(1)]

        with m.If(rejects):
            m.d.sync += [state.eq(_State.SYNC), crc_bytes.eq(0)]
        with m.If(self.restart):
            m.d.sync += [self.request.payload.eq(header), self.request.valid.eq(1)]

        return m


class PacketTransmitter(wiring.Component):
    """Makes the packets that answer the host.

    Parameters
    ----------
    result_bytes : int
        Bytes of a frame's result, in 1..65535.

    Members
    -------
    header : In(stream.Signature(Header))
        What is answered. Taken when the last byte of its packet has been made.
    i : In(stream.Signature(8))
        The answer's payload.
    position : Out(...)
        Which byte of the payload is due, from 0.
    o : Out(stream.Signature(8))
        Bytes to the line.
    """

    def __init__(self, *, result_bytes: int):
        if not 1 <= result_bytes <= LONGEST:
            raise ValueError(f"A result must have 1..{LONGEST} bytes, not {result_bytes}")
        answers = answer_lengths(result_bytes)
        self._lengths = {kind: answers[kind | ANSWER] for kind in Kind}
        super().__init__(
            {
                "header": In(stream.Signature(Header)),
                "i": In(stream.Signature(8)),
                "position": Out(range(max(self._lengths.values()))),
                "o": Out(stream.Signature(8)),
            }
        )

    @property
    def result_bytes(self) -> int:
        return self._lengths[Kind.INFER]

    def elaborate(self, platform):
        m = Module()

        # The CRC takes each byte from the register that it leaves by, a cycle later.
        m.submodules.crc = crc = CRC32_ISO_HDLC(8).create()
        covered = Signal()
        free = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            crc.data.eq(self.o.payload),
            crc.valid.eq(covered),
        ]
        m.d.sync += covered.eq(0)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        def give(byte, *, covers=1):
            m.d.sync += [self.o.payload.eq(byte), self.o.valid.eq(1), covered.eq(covers)]

        kind = self.header.payload.kind
        length = _length(m, kind, self._lengths)
        crc_bytes = Signal(2)
        with m.FSM():
            with m.State("SYNC"):
                m.d.comb += crc.start.eq(1)
                with m.If(free & self.header.valid):
                    give(SYNC, covers=0)
                    m.next = "KIND"

            with m.State("KIND"), m.If(free):
                give(kind | ANSWER)
                m.next = "SEQUENCE"

            with m.State("SEQUENCE"), m.If(free):
                give(self.header.payload.sequence)
                m.next = "LENGTH_LOW"

            with m.State("LENGTH_LOW"), m.If(free):
                give(length[:8])
                m.next = "LENGTH_HIGH"

            with m.State("LENGTH_HIGH"), m.If(free):
                give(length[8:])
                with m.If(length == 0):
                    m.next = "COVER"
                with m.Else():
                    m.next = "PAYLOAD"

            with m.State("PAYLOAD"):
                m.d.comb += self.i.ready.eq(free)
                with m.If(free & self.i.valid):
                    give(self.i.payload)
                    m.d.sync += self.position.eq(self.position + 1)
                    with m.If(self.position == length - 1):
                        m.d.sync += self.position.eq(0)
                        m.next = "COVER"

            # The last byte reaches the CRC.
            with m.State("COVER"):
                m.next = "CRC"

            with m.State("CRC"), m.If(free):
                give(crc.crc.word_select(crc_bytes, 8), covers=0)
                m.d.sync += crc_bytes.eq(crc_bytes + 1)
                with m.If(crc_bytes == 3):
                    m.d.comb += self.header.ready.eq(1)
                    m.next = "SYNC"

        return m
