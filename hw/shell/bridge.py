"""Bursts of a processor, one register at a time.

Source: Arm IHI 0022, chapter A3 (bursts and their addresses).
"""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.axi import LitePort, ProcessorPort, Response
from sw.host.registers import BYTES

__all__ = ["Burst", "ProcessorBridge"]

ADDRESS_WIDTH = (BYTES - 1).bit_length()


class Burst(enum.Enum, shape=2):
    """How an address goes on from beat to beat."""

    FIXED = 0
    INCR = 1
    WRAP = 2


def _below(size: Value, length: Value | None = None) -> Value:
    """Bytes of a beat, or of so many beats, less one."""
    # A burst that wraps has 2, 4, 8 or 16 beats: the lowest bit of its length is 1.
    ones = Const(0b111, 3) if length is None else Cat(Const(0b1111, 4), length[1:])
    return (ones << size) >> 3


class _BeatAddress(wiring.Component):
    """The address of a burst's beats, one after the other.

    Parameters
    ----------
    command : StructLayout
        The payload of a `ProcessorPort`'s `ar` or `aw`.

    Members
    -------
    command : In(command)
    begin, advance : In(1)
        Take the address of a command; go on to its next beat.
    o : Out(8)
        A byte address.
    """

    def __init__(self, command: data.StructLayout):
        super().__init__(
            {"command": In(command), "begin": In(1), "advance": In(1), "o": Out(ADDRESS_WIDTH)}
        )

    def elaborate(self, platform):
        m = Module()
        moving = Signal.like(self.o)  # the bits that change within the burst
        low = Signal(2)  # a beat's bytes, less one
        size = self.command.size
        # A beat after the first is aligned. Plus one is written out: of so short a sum, a carry
        # chain takes more LUTs.
        end = self.o | low
        following = end ^ Cat(end[:bit].all() for bit in range(len(end)))
        with m.If(self.begin):
            m.d.sync += [self.o.eq(self.command.address), low.eq(_below(size))]
            with m.Switch(self.command.burst):
                with m.Case(Burst.FIXED):
                    m.d.sync += moving.eq(0)
                with m.Case(Burst.WRAP):
                    m.d.sync += moving.eq(_below(size, self.command.length))
                with m.Default():
                    m.d.sync += moving.eq(~0)
        with m.Elif(self.advance):
            m.d.sync += self.o.eq((self.o & ~moving) | (following & moving))
        return m


class ProcessorBridge(wiring.Component):
    """Lets a master that has bursts and IDs use registers that know neither.

    One burst at a time in each direction; reads and writes do not wait for each other. The beats of
    a burst go through one by one, each when the one before has been answered; their data pass
    through without a register. A write is answered with the worst of what its beats were.

    82 LUT6 and 73 flip-flops.

    Members
    -------
    slave : In(ProcessorPort)
        INCR, FIXED and WRAP bursts of 1..16 beats of 1, 2 or 4 bytes. Only the lowest 8 bits of an
        address matter. `w.last` ends a write, so it has to be right; `w.id` does not matter, since
        data come in the order of their addresses.
    master : Out(LitePort(8))
        One access at a time in each direction.
    """

    def __init__(self):
        super().__init__({"slave": In(ProcessorPort()), "master": Out(LitePort(ADDRESS_WIDTH))})

    def elaborate(self, platform):
        m = Module()
        self._read(m)
        self._write(m)
        return m

    def _read(self, m: Module) -> None:
        slave, master = self.slave, self.master
        m.submodules.read_address = address = _BeatAddress(slave.ar.payload.shape())
        left = Signal.like(slave.ar.payload.length)  # beats after this one
        m.d.comb += [
            address.command.eq(slave.ar.payload),
            master.ar.payload.address.eq(address.o),
            slave.r.payload.data.eq(master.r.payload.data),
            slave.r.payload.response.eq(master.r.payload.response),
            slave.r.payload.last.eq(left == 0),
        ]

        with m.FSM(name="read"):
            with m.State("IDLE"):
                m.d.comb += [slave.ar.ready.eq(1), address.begin.eq(1)]
                m.d.sync += [
                    slave.r.payload.id.eq(slave.ar.payload.id),
                    left.eq(slave.ar.payload.length),
                ]
                with m.If(slave.ar.valid):
                    m.next = "ADDRESS"

            with m.State("ADDRESS"):
                m.d.comb += master.ar.valid.eq(1)
                with m.If(master.ar.ready):
                    m.next = "DATA"

            with m.State("DATA"):
                m.d.comb += [slave.r.valid.eq(master.r.valid), master.r.ready.eq(slave.r.ready)]
                with m.If(master.r.valid & slave.r.ready):
                    m.d.comb += address.advance.eq(1)
                    m.d.sync += left.eq(left - 1)
                    m.next = "ADDRESS"
                    with m.If(left == 0):
                        m.next = "IDLE"

    def _write(self, m: Module) -> None:
        slave, master = self.slave, self.master
        m.submodules.write_address = address = _BeatAddress(slave.aw.payload.shape())
        # What of a beat has not been taken yet: registers may take its address and its data in any
        # order, or wait for both before they take one.
        address_left = Signal()
        data_left = Signal()
        last = Signal()
        m.d.comb += [
            address.command.eq(slave.aw.payload),
            master.aw.payload.address.eq(address.o),
            master.aw.valid.eq(address_left),
            master.w.payload.data.eq(slave.w.payload.data),
            master.w.payload.strobes.eq(slave.w.payload.strobes),
            master.w.valid.eq(slave.w.valid & data_left),
            slave.w.ready.eq(master.w.ready & data_left),
        ]
        with m.If(master.aw.ready):
            m.d.sync += address_left.eq(0)
        with m.If(slave.w.valid & slave.w.ready):
            m.d.sync += [data_left.eq(0), last.eq(slave.w.payload.last)]

        with m.FSM(name="write"):
            with m.State("IDLE"):
                m.d.comb += [slave.aw.ready.eq(1), address.begin.eq(1)]
                m.d.sync += [
                    slave.b.payload.id.eq(slave.aw.payload.id),
                    slave.b.payload.response.eq(Response.OKAY.value),
                ]
                with m.If(slave.aw.valid):
                    m.d.sync += [address_left.eq(1), data_left.eq(1)]
                    m.next = "BEAT"

            with m.State("BEAT"):
                m.d.comb += master.b.ready.eq(~address_left & ~data_left)
                with m.If(master.b.valid & master.b.ready):
                    m.d.comb += address.advance.eq(1)
                    # The worst of OKAY, SLVERR and DECERR, for these are 0, 2 and 3.
                    worst = slave.b.payload.response | master.b.payload.response
                    m.d.sync += slave.b.payload.response.eq(worst)
                    with m.If(last):
                        m.next = "ANSWER"
                    with m.Else():
                        m.d.sync += [address_left.eq(1), data_left.eq(1)]

            with m.State("ANSWER"):
                m.d.comb += slave.b.valid.eq(1)
                with m.If(slave.b.ready):
                    m.next = "IDLE"
