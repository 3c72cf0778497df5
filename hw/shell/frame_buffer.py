"""A buffer of two frames, each of which counts only once it has been found right."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["FRAMES", "FrameBuffer"]

FRAMES = 2


class FrameBuffer(wiring.Component):
    """Holds two frames in block RAM: one may leave while the next comes.

    The bytes of a frame leave when it has been committed. A byte can leave every cycle; nothing
    combinational follows the block RAM.

    Parameters
    ----------
    frame_bytes : int
        Bytes of a frame, at least 1.

    Members
    -------
    i : In(stream.Signature(8))
        The next byte of the frame that comes. Ready while there is a place for it.
    last : Out(1)
        The next byte will be the frame's last.
    commit : In(1)
        The frame counts. At least a cycle after its last byte.
    rollback : In(1)
        What has come of the frame is forgotten.
    o : Out(stream.Signature(8))
        The bytes of committed frames.
    """

    def __init__(self, *, frame_bytes: int):
        if frame_bytes < 1:
            raise ValueError(f"A frame must have at least 1 byte, not {frame_bytes}")
        self._frame_bytes = frame_bytes
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "last": Out(1),
                "commit": In(1),
                "rollback": In(1),
                "o": Out(stream.Signature(8)),
            }
        )

    @property
    def frame_bytes(self) -> int:
        return self._frame_bytes

    def elaborate(self, platform):
        m = Module()

        size = self._frame_bytes
        m.submodules.memory = memory = Memory(shape=8, depth=FRAMES * size, init=[])
        write = memory.write_port()
        read = memory.read_port()
        committed = Signal(range(FRAMES + 1))
        released = Signal()
        m.d.sync += committed.eq(committed + self.commit - released)

        def is_last(address):
            return (address == size - 1) | (address == FRAMES * size - 1)

        def step(address):
            return address.eq(Mux(address == FRAMES * size - 1, 0, address + 1))

        # A frame whose bytes are all there has left the address where the next one starts.
        second = Signal()  # the place of the frame that comes
        m.d.comb += [
            self.i.ready.eq(committed != FRAMES),
            self.last.eq(is_last(write.addr)),
            write.data.eq(self.i.payload),
            write.en.eq(self.i.valid & self.i.ready),
        ]
        address = Signal(range(FRAMES * size))
        m.d.comb += write.addr.eq(address)
        with m.If(self.commit):
            m.d.sync += second.eq(~second)
        with m.Elif(self.rollback):
            m.d.sync += address.eq(Mux(second, size, 0))
        with m.Elif(write.en):
            m.d.sync += step(address)

        # Three steps that move as one: the address, what the memory gives, what is offered.
        moves = Signal()
        fetched = Signal()
        available = Signal()
        m.d.comb += [
            moves.eq(~self.o.valid | self.o.ready),
            available.eq(committed != 0),
            read.en.eq(moves),
            released.eq(moves & available & is_last(read.addr)),
        ]
        next_address = Signal(range(FRAMES * size))
        m.d.comb += read.addr.eq(next_address)
        with m.If(moves):
            m.d.sync += [
                fetched.eq(available),
                self.o.valid.eq(fetched),
                self.o.payload.eq(read.data),
            ]
            with m.If(available):
                m.d.sync += step(next_address)

        return m
