"""The register map as an AXI4-Lite slave; `sw.host.registers` is its table."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.axi import LitePort, Response
from hw.shell.identity import Identity
from sw.host.registers import (
    BATCH_COUNTERS,
    BATCHES,
    BYTES,
    COUNTERS,
    MAP,
    Register,
    register,
)

__all__ = ["RegisterFile"]


def _width(entry: Register) -> int:
    """Bits of a register that mean something."""
    return max((field.low + field.width for field in entry.fields), default=32)


def _word(entry: Register, values: dict[str, Value]) -> Value:
    """A register's word, made of a value for each field."""
    word = Const(0, 32)
    for field in entry.fields:
        word |= values[field.name] << field.low
    return word


def _select(words: dict[int, Value], number: Value) -> Value:
    """The word of a number, or any where there is none: not to care saves a quarter of the LUTs."""
    if len(words) == 1:
        return next(iter(words.values()))
    top = number[-1]
    halves = [{n: w for n, w in words.items() if n >> len(number) - 1 & 1 == bit} for bit in (0, 1)]
    if not all(halves):
        return _select(halves[0] or halves[1], number[:-1])
    low, high = (_select(half, number[:-1]) for half in halves)
    return Mux(top, high, low)


class RegisterFile(wiring.Component):
    """What a processor sees of the shell; where the identity has no batches, without their section.

    Every access is answered with OKAY, for a bus error would end the program that asked: addresses
    without a register read as 0, and there, as in registers to read, a write changes nothing. Nor
    does one that leaves out bytes of its word. A read is answered the cycle after it is asked, a
    write the cycle after its address and its data have both come; no output depends on an input of
    the same cycle but `aw.ready` and `w.ready`, which wait for each other's `valid`.

    208 LUT6 and 121 flip-flops where no counter is constant.

    Parameters
    ----------
    identity : Identity
        The constants.

    Members
    -------
    bus : In(LitePort)
        The lowest two bits of an address are ignored.
    interrupt : Out(1)
        High, from a register, while an enabled event is set.
    source, destination, frames : Out(32), Out(32), Out(16)
        As last written; with batches also `weights`.
    start, reset : Out(1)
        High for a cycle after a 1 was written to them; `reset` has cleared EVENTS and ENABLE when
        it is over.
    busy, error, queued, cause : In(1), In(1), In(4), In(4)
        The fields of STATUS. There busy is 1 during `start` and `reset` too, so a job that has been
        started is never seen as not begun.
    done, failed : In(1)
        While high, set EVENTS.done and EVENTS.error, even while they are written to be cleared.
    counters : In(StructLayout)
        The counters by their names in lower case, 32 bits each; with batches theirs too.
    """

    def __init__(self, identity: Identity):
        if not isinstance(identity, Identity):
            raise TypeError(f"Identity must be an Identity, not {identity!r}")
        self._identity = identity
        self._map, self._counters = MAP, (*COUNTERS, *BATCH_COUNTERS)
        self._job = ("SOURCE", "DESTINATION", "FRAMES", "WEIGHTS")
        if not identity.batch_frames:
            self._map = [entry for entry in MAP if entry not in BATCHES]
            self._counters, self._job = COUNTERS, self._job[:3]
        super().__init__(
            {
                "bus": In(LitePort((BYTES - 1).bit_length())),
                "interrupt": Out(1),
                **{name.lower(): Out(_width(register(name))) for name in self._job},
                **{field.name: Out(1) for field in register("CONTROL").fields},
                **{field.name: In(field.width) for field in register("STATUS").fields},
                "done": In(1),
                "failed": In(1),
                "counters": In(
                    data.StructLayout({entry.name.lower(): 32 for entry in self._counters})
                ),
            }
        )

    @property
    def identity(self) -> Identity:
        return self._identity

    def elaborate(self, platform):
        m = Module()
        ar, r, aw, w, b = (getattr(self.bus, name) for name in ("ar", "r", "aw", "w", "b"))

        # A write waits until its address, its data and room for its answer are all there.
        write = Signal()
        m.d.comb += [
            write.eq(aw.valid & w.valid & ~b.valid),
            aw.ready.eq(write),
            w.ready.eq(write),
            b.payload.response.eq(Response.OKAY.value),
        ]
        with m.If(write):
            m.d.sync += b.valid.eq(1)
        with m.Elif(b.ready):
            m.d.sync += b.valid.eq(0)

        written = {}
        whole = write & w.payload.strobes.all()
        for entry in self._map:
            if entry.access in ("write", "act"):
                written[entry.name] = strobe = Signal(name=f"{entry.name.lower()}_written")
                m.d.comb += strobe.eq(whole & (aw.payload.address[2:] == entry.address // 4))

        kept = {}
        for entry in self._map:
            if entry.access == "write":
                kept[entry.name] = word = Signal(_width(entry), name=entry.name.lower())
                with m.If(written[entry.name]):
                    m.d.sync += word.eq(w.payload.data)
        m.d.comb += [getattr(self, name.lower()).eq(kept[name]) for name in self._job]

        for field in register("CONTROL").fields:
            bit = w.payload.data[field.low]
            m.d.sync += getattr(self, field.name).eq(written["CONTROL"] & bit)

        events = Signal(_width(register("EVENTS")))
        pulses = _word(register("EVENTS"), {"done": self.done, "error": self.failed})
        clear = Mux(written["EVENTS"], w.payload.data, 0)
        m.d.sync += [
            events.eq((events & ~clear) | pulses),
            self.interrupt.eq((events & kept["ENABLE"]).any()),
        ]
        with m.If(self.reset):
            m.d.sync += [events.eq(0), kept["ENABLE"].eq(0)]

        busy = self.busy | self.start | self.reset
        status = {field.name: getattr(self, field.name) for field in register("STATUS").fields}
        words = {
            **{name: Const(value, 32) for name, value in self._identity.words().items()},
            **kept,
            "CONTROL": Const(0),
            "STATUS": _word(register("STATUS"), status | {"busy": busy}),
            "EVENTS": events,
            **{entry.name: self.counters[entry.name.lower()] for entry in self._counters},
        }
        m.d.comb += [ar.ready.eq(~r.valid), r.payload.response.eq(Response.OKAY.value)]
        number = ar.payload.address[2:]
        at = {entry.address // 4: words[entry.name] for entry in self._map}
        with m.If(ar.valid & ar.ready):
            m.d.sync += r.valid.eq(1)
            with m.Switch(number):
                with m.Case(*at):
                    m.d.sync += r.payload.data.eq(_select(at, number))
                with m.Default():
                    m.d.sync += r.payload.data.eq(0)
        with m.Elif(r.ready):
            m.d.sync += r.valid.eq(0)

        return m
