"""Shells in simulation: a stand-in for a pipeline, and the host's port to one."""

from collections import deque

import numpy as np
import pytest
from amaranth.hdl import Const, Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from hw.shell.identity import Identity

DIGEST = bytes(range(200, 232)).hex()


def identity(**changes) -> Identity:
    """Of a pipeline of frames of 8 bytes that answers with two numbers of 12 bits."""
    values = {
        "digest": DIGEST,
        "frame_elements": 8,
        "frame_bits": 8,
        "result_elements": 2,
        "result_width": 12,
        "scores": True,
        "clock_hz": 12_000_000,
        "frame_cycles": 17,
        "latency_cycles": 40,
    }
    return Identity(**values | changes)


def results(frames: np.ndarray, about: Identity) -> bytes:
    """What `Checksum` answers to frames of bytes: each byte and its place tell."""
    numbers = []
    for frame in frames:
        total = 1
        for byte in frame:
            total = (total * 33 + int(byte)) % (1 << 32)
        total ^= total >> 16
        mask = (1 << about.result_width) - 1
        numbers += [(total + 977 * n) & mask for n in range(about.result_elements)]
    return np.array(numbers, f"<u{about.number_bytes}").tobytes()


class Checksum(wiring.Component):
    """Stands in for a pipeline: answers a frame's checksum, some cycles later.

    Holds up to four results; takes frames meanwhile.
    """

    def __init__(self, about: Identity, payload, *, cycles: int):
        self._about, self._cycles = about, cycles
        super().__init__(
            {"i": In(stream.Signature(payload)), "o": Out(stream.Signature(about.result_width))}
        )

    def elaborate(self, platform):
        m = Module()
        about = self._about

        m.submodules.totals = totals = SyncFIFOBuffered(width=32, depth=4)
        total = Signal(32, init=1)
        byte = Signal(range(about.frame_bytes + 1))
        ends = byte == about.frame_bytes
        m.d.comb += [self.i.ready.eq(~ends), totals.w_data.eq(total), totals.w_en.eq(ends)]
        with m.If(self.i.valid & self.i.ready):
            value = self.i.payload.as_value()
            m.d.sync += [total.eq(total * 33 + value), byte.eq(byte + 1)]
        with m.If(ends & totals.w_rdy):
            m.d.sync += [total.eq(1), byte.eq(0)]

        waited = Signal(range(self._cycles + 1))
        number = Signal(range(about.result_elements + 1))
        folded = Signal(32)
        last = number == about.result_elements - 1
        m.d.comb += [
            folded.eq(totals.r_data ^ totals.r_data[16:]),
            self.o.payload.eq(folded + 977 * number),
            self.o.valid.eq(totals.r_rdy & (waited == self._cycles)),
            totals.r_en.eq(self.o.valid & self.o.ready & last),
        ]
        with m.If(totals.r_rdy & ~self.o.valid):
            m.d.sync += waited.eq(waited + 1)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [number.eq(Mux(last, 0, number + 1)), waited.eq(Mux(last, 0, waited))]

        return m


class Port:
    """A serial port whose other end is simulated gateware; time passes while it is read.

    Parameters
    ----------
    dut : Component
    hz : float
        The gateware's cycles in a second of the host.
    """

    def __init__(self, dut, hz: float):
        self.timeout = None
        self.cycle = 0
        self.dut, self._hz = dut, hz
        self.received = deque()
        self._closed = False
        self._sim = self.simulator(dut)
        self._sim.add_testbench(self._run)

    def simulator(self, dut) -> Simulator:
        simulator = Simulator(dut)
        simulator.add_clock(1e-8)
        return simulator

    async def _run(self, ctx):
        while not self._closed:
            await self.step(ctx)
            self.cycle += 1

    async def step(self, ctx):
        """Lets a cycle pass."""
        raise NotImplementedError

    def advance(self, cycles: int):
        deadline = self.cycle + cycles
        while self.cycle < deadline:
            self._sim.advance()

    def read(self, count: int) -> bytes:
        deadline = self.cycle + max(1, round(self.timeout * self._hz))
        while len(self.received) < count and self.cycle < deadline:
            self._sim.advance()
        return bytes(self.received.popleft() for _ in range(min(count, len(self.received))))

    def close(self):
        self._closed = True
        while self._sim.advance():
            pass


class BytePort(Port):
    """To `i_line` and `o_line`, byte by byte.

    Attributes
    ----------
    damage : callable
        What the line does to bytes, given whether they go to the board.
    watched : Value
        A bit of the gateware.
    seen : int
        Cycles in which it was high.
    """

    def __init__(self, dut, hz: float):
        self.damage = lambda data, to_board: data
        self.watched, self.seen = Const(0), 0
        self._sent = deque()
        self._offered = False
        super().__init__(dut, hz)

    def write(self, data: bytes):
        self._sent.extend(self.damage(data, True))

    async def step(self, ctx):
        i, o = self.dut.i_line, self.dut.o_line
        if not self.cycle:
            ctx.set(o.ready, 1)
        if not self._offered and self._sent:
            ctx.set(i.payload, self._sent.popleft())
            ctx.set(i.valid, 1)
            self._offered = True
        _, _, ready, valid, byte, seen = await ctx.tick().sample(
            i.ready, o.valid, o.payload, self.watched
        )
        self.seen += seen
        if ready and self._offered:
            self._offered = False
            if not self._sent:
                ctx.set(i.valid, 0)
        if valid:
            self.received.extend(self.damage(bytes([byte]), False))


class BitPort(Port):
    """To `rx` and `tx`, bit by bit, `divisor` cycles each."""

    def __init__(self, dut, hz: float, *, divisor: int):
        self._divisor = divisor
        self._levels = deque()  # to be driven, one a cycle
        self._shift = []  # sampled in the middle of the bits of a byte
        self._next_sample = 0
        super().__init__(dut, hz)

    def write(self, data: bytes):
        for byte in data:
            self.drive([0, *((byte >> bit) & 1 for bit in range(8)), 1])

    def drive(self, bits):
        self._levels.extend(bit for bit in bits for _ in range(self._divisor))

    async def step(self, ctx):
        _, _, tx = await ctx.tick().sample(self.dut.tx)
        ctx.set(self.dut.rx, self.exchange(tx))

    def exchange(self, tx: int) -> int:
        """Hears the board's level of this cycle; returns the host's."""
        self._listen(tx)
        return self._levels.popleft() if self._levels else 1

    def _listen(self, tx: int):
        if not self._shift:
            if not tx:
                self._shift = [0]
                self._next_sample = self.cycle + self._divisor + self._divisor // 2
        elif self.cycle == self._next_sample:
            self._shift.append(tx)
            self._next_sample += self._divisor
            if len(self._shift) == 10:
                assert tx == 1, "no stop bit"
                self.received.append(sum(bit << n for n, bit in enumerate(self._shift[1:9])))
                self._shift = []


class Looped(wiring.Component):
    """A shell around a `Checksum`, with the members of the shell's line."""

    def __init__(self, shell, *, cycles: int):
        self.shell, self._cycles = shell, cycles
        members = shell.signature.members
        line = [name for name in ("rx", "tx", "i_line", "o_line") if name in members]
        super().__init__({name: members[name] for name in line})

    def elaborate(self, platform):
        m = Module()

        m.submodules.shell = shell = self.shell
        work = Checksum(shell.identity, shell.o.payload.shape(), cycles=self._cycles)
        forget = Signal()  # as late as a pipeline may forget
        m.d.sync += forget.eq(shell.restart)
        m.submodules.work = ResetInserter(forget)(work)
        wiring.connect(m, shell.o, work.i)
        wiring.connect(m, work.o, shell.i)
        if "rx" in self.signature.members:
            m.d.comb += [shell.rx.eq(self.rx), self.tx.eq(shell.tx)]
        else:
            wiring.connect(m, wiring.flipped(self.i_line), shell.i_line)
            wiring.connect(m, shell.o_line, wiring.flipped(self.o_line))

        return m


@pytest.fixture
def lines():
    """The helpers of this file, as a fixture: test folders are not packages."""

    class Lines:
        BitPort, BytePort, Checksum, Looped, Port = BitPort, BytePort, Checksum, Looped, Port
        identity = staticmethod(identity)
        results = staticmethod(results)

    return Lines
