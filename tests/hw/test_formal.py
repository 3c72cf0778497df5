# amaranth: UnusedElaboratable=no
"""That proofs prove: quick ones of real designs, and designs that break one rule each."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Assume, Const, Cover, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores.width_converter import WidthConverter
from hw.formal import CASES, main
from hw.shell.axi import MemoryPort
from hw.shell.bridge import ProcessorBridge
from hw.shell.protocol import Carried, Extent, Handshake, Progress, ReadRules, WriteRules
from hw.toolchain.sby import Case, prove
from sw.errors import PopstreamError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder():
    """Not in /tmp, which the tools do not see."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".yosys-") as name:
        yield Path(name)


class Flawed(wiring.Component):
    """A design in a wrapper of the same members, where a flaw can come between."""

    def __init__(self, inner, flaw):
        self._inner, self._flaw = inner, flaw
        super().__init__(inner.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = self._inner
        pairs = zip(self.signature.flatten(self), inner.signature.flatten(inner), strict=True)
        for (_, member, outside), (_, _, inside) in pairs:
            m.d.comb += outside.eq(inside) if member.flow is Out else inside.eq(outside)
        self._flaw(m, self, inner)
        return m


class PlainWriter(wiring.Component):
    """The plainest master of memory: writes jobs of zeros, burst by burst, in `beats` words each.

    With one word it keeps all rules; with more, a burst may cross 4 KiB.
    """

    def __init__(self, beats=1):
        self._beats = beats
        port = MemoryPort().members
        job = data.StructLayout({"address": 32, "frames": 16})
        super().__init__(
            {"job": In(stream.Signature(job)), **{name: port[name] for name in ("aw", "w", "b")}}
        )

    def elaborate(self, platform):
        m = Module()
        aw, w, b, job = self.aw, self.w, self.b, self.job
        word = Signal(29)
        bursts = Signal(16)
        beats = Signal(range(self._beats + 1))
        waits = Signal()
        m.d.comb += [
            job.ready.eq(bursts == 0),
            aw.payload.address.eq(word << 3),
            aw.payload.length.eq(self._beats - 1),
            w.valid.eq(beats != 0),
            w.payload.strobes.eq(0xFF),
            w.payload.last.eq(beats == 1),
            b.ready.eq(waits & ~aw.valid & ~w.valid),
        ]
        with m.If(job.ready & job.valid):
            m.d.sync += [word.eq(job.payload.address >> 3), bursts.eq(job.payload.frames)]
        with m.If((bursts != 0) & ~waits):
            m.d.sync += [waits.eq(1), aw.valid.eq(1), beats.eq(self._beats)]
        with m.If(aw.valid & aw.ready):
            m.d.sync += aw.valid.eq(0)
        with m.If(w.valid & w.ready):
            m.d.sync += beats.eq(beats - 1)
        with m.If(b.valid & b.ready):
            m.d.sync += [waits.eq(0), word.eq(word + self._beats), bursts.eq(bursts - 1)]
        return m


def writes(m, dut, inside, beats=1):
    m.submodules.job = Handshake(dut.job, ours=False)
    m.submodules.write = write = WriteRules(dut.aw, dut.w, dut.b, master=True, outstanding=1)
    m.submodules.extent = Extent(dut.job, dut.aw, frame_bytes=8 * beats, w=dut.w)
    waits = dut.aw.valid | dut.w.valid | (write.owed != 0)
    m.submodules.goes_on = Progress(~dut.job.ready, waits, cycles=1)
    m.d.comb += Cover(write.ended, "a burst is answered")


def bridges(m, dut, inside):
    """The processor's side only; without what an induction needs."""
    slave = dut.slave
    m.submodules.lite_r = Handshake(dut.master.r, ours=False)
    m.submodules.lite_b = Handshake(dut.master.b, ours=False)
    m.submodules.read = read = ReadRules(slave.ar, slave.r, master=False, outstanding=1)
    m.submodules.write = write = WriteRules(
        *(slave.aw, slave.w, slave.b), master=False, outstanding=1
    )
    m.d.comb += [Cover(read.ended, "a read ends"), Cover(write.ended, "a write ends")]


def converts(m, dut, inside):
    m.submodules.o = Handshake(dut.o, ours=True)
    m.submodules.carried = Carried(dut.i, dut.o, elements=3, limit=32)
    m.d.comb += Cover(dut.o.valid, "an element comes out")


WRITER = Case(PlainWriter, writes, depth=7, cover=6)
BRIDGE = Case(ProcessorBridge, bridges, depth=8, cover=8)
CONVERTER = Case(
    lambda: WidthConverter(width=2, elements=3, i_lanes=1, o_lanes=2), converts, depth=8, cover=6
)


@pytest.mark.parametrize("case", [WRITER, BRIDGE, CONVERTER])
def test_designs_without_a_flaw_are_proven(folder, case):
    """So that it is the flaw that the next test finds; and the wrapper does no harm."""
    whole = replace(case, design=lambda: Flawed(case.design(), lambda m, outer, inner: None))
    prove("whole", whole, folder)


def withdrawn(m, outer, inner):
    offered = Signal()
    m.d.sync += offered.eq(outer.aw.valid & ~outer.aw.ready)
    m.d.comb += outer.aw.valid.eq(inner.aw.valid & ~offered)


def changed(m, outer, inner):
    m.d.comb += outer.w.payload.data.eq(AnySeq(64))


def unaligned(m, outer, inner):
    m.d.comb += outer.aw.payload.address.eq(inner.aw.payload.address | 4)


def unannounced(m, outer, inner):
    m.d.comb += outer.w.valid.eq(1)


def endless(m, outer, inner):
    m.d.comb += outer.w.payload.last.eq(0)


def idle(m, outer, inner):
    m.d.comb += [outer.aw.valid.eq(0), outer.w.valid.eq(0)]


def displaced(m, outer, inner):
    m.d.comb += outer.aw.payload.address.eq(inner.aw.payload.address + 8)


def too_long(m, outer, inner):
    m.d.comb += inner.job.payload.frames.eq(outer.job.payload.frames | 1)


def too_short(m, outer, inner):
    m.d.comb += inner.job.payload.frames.eq(outer.job.payload.frames >> 1)


def too_much(m, outer, inner):
    m.d.comb += outer.w.payload.strobes.eq(0x7F)


def unasked(m, outer, inner):
    m.d.comb += outer.slave.r.valid.eq(1)


def endless_read(m, outer, inner):
    m.d.comb += outer.slave.r.payload.last.eq(0)


def nameless_read(m, outer, inner):
    m.d.comb += outer.slave.r.payload.id.eq(0)


def greedy(m, outer, inner):
    m.d.comb += outer.slave.ar.ready.eq(1)


def answered_twice(m, outer, inner):
    again = Signal()
    m.d.sync += again.eq(outer.slave.b.valid & outer.slave.b.ready & ~again)
    m.d.comb += outer.slave.b.valid.eq(inner.slave.b.valid | again)


def nameless_write(m, outer, inner):
    m.d.comb += outer.slave.b.payload.id.eq(0)


def early(m, outer, inner):
    slave = outer.slave
    m.d.comb += [slave.aw.ready.eq(0), slave.w.ready.eq(slave.aw.valid)]


def swapped(m, outer, inner):
    first, second = inner.o.payload
    m.d.comb += [outer.o.payload[0].eq(second), outer.o.payload[1].eq(first)]


def invented(m, outer, inner):
    m.d.comb += outer.o.valid.eq(1)


@pytest.mark.parametrize(
    ("case", "flaw", "text"),
    [
        (WRITER, withdrawn, "write.aw: valid is not withdrawn"),
        (WRITER, changed, "write.w: a payload waits unchanged"),
        (WRITER, unaligned, "write.command: an address is a multiple of 8"),
        (WRITER, unannounced, "write: data belong to an announced burst"),
        (WRITER, endless, "write: last marks the last beat of a write"),
        (WRITER, idle, "goes_on: what is owed goes on"),
        (WRITER, displaced, "extent: a burst follows the one before"),
        (WRITER, too_long, "extent: a burst is within its job"),
        (WRITER, too_short, "extent: a job is done before the next is begun"),
        (WRITER, too_much, "extent: just the bytes of the job are written"),
        (BRIDGE, unasked, "read: data answer a burst"),
        (BRIDGE, endless_read, "read: last marks the last beat of a read"),
        (BRIDGE, nameless_read, "read: data have the id of their burst"),
        (BRIDGE, greedy, "read.bursts: no more bursts than promised"),
        (BRIDGE, answered_twice, "write: an answer is to a complete burst"),
        (BRIDGE, nameless_write, "write: an answer has the id of its burst"),
        (BRIDGE, early, "write: data are not taken before their address"),
        (CONVERTER, swapped, "carried: what comes out is what went in"),
        (CONVERTER, invented, "carried: nothing comes out that has not gone in"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_flaw_is_found(folder, case, flaw, text):
    flawed = replace(case, design=lambda: Flawed(case.design(), flaw))
    message = rf"^flawed: in cycle \d+ this does not: .*{re.escape(text)}.*; see (.*\.vcd)$"
    with pytest.raises(PopstreamError, match=message) as caught:
        prove("flawed", flawed, folder)
    trace = Path(re.search(message, str(caught.value))[1])
    assert trace.read_text().startswith("$version")


def test_burst_across_4_kib_is_found(folder):
    """By a master that is right but for that."""
    long = Case(
        lambda: PlainWriter(beats=3), lambda *args: writes(*args, beats=3), depth=10, cover=9
    )
    with pytest.raises(PopstreamError, match=r"this does not: write.command: a burst stays within"):
        prove("long", long, folder)


class Even(wiring.Component):
    """Counts 0, 2, 4, 6, 0 and so on."""

    o: Out(3)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.o + 2)
        return m


def never_seven(m, dut, inside):
    m.d.comb += [Assert(dut.o != 7, "seven is not even"), Cover(dut.o == 6, "six is reached")]


def test_induction_wants_to_know_what_cannot_be_reached(folder):
    """From 7 come 1, 3, 5 and 7: four cycles before a 7 there was one already."""
    always = Case(Even, never_seven, depth=3, cover=6, always=True)
    message = (
        r"^even: after 3 cycles in which all hold this does not: seven is not even; "
        r"see (.*/trace_induct\.vcd)$"
    )
    with pytest.raises(PopstreamError, match=message) as caught:
        prove("even", always, folder)
    assert Path(re.search(message, str(caught.value))[1]).exists()
    proof = prove("even", replace(always, depth=4), folder)
    assert (proof.properties, proof.assumptions, proof.cover) == (1, 0, 4)


def test_what_induction_assumes_has_to_be_so_at_the_start(folder):
    def rules(m, dut, inside):
        m.d.comb += [Assert(dut.o == 1, "one"), Cover(dut.o == 6)]

    with pytest.raises(PopstreamError, match=r"^odd: in cycle 0 this does not: one; see "):
        prove("odd", Case(Even, rules, depth=2, cover=6, always=True), folder)


def test_proof_of_what_never_happens_is_none(folder):
    def rules(m, dut, inside):
        never_seven(m, dut, inside)
        m.d.comb += Cover(dut.o == 5, "five is reached")

    with pytest.raises(
        PopstreamError, match=r"^even: within 9 cycles this never happens: five is reached$"
    ):
        prove("even", Case(Even, rules, depth=9, cover=9), folder)


def test_contradicting_assumptions_prove_nothing(folder):
    def rules(m, dut, inside):
        never_seven(m, dut, inside)
        m.d.comb += Assume(dut.o != 4, "four never comes")

    with pytest.raises(PopstreamError, match=r"this never happens: six is reached$"):
        prove("even", Case(Even, rules, depth=9, cover=9), folder)


def test_inside_a_design(folder):
    """Signals, memories and states are found by their names."""

    def rules(m, dut, inside):
        m.d.comb += [
            Assert(inside["kept"] == inside.peek("words", Const(2, 2)), "the memory is seen"),
            Assert(inside.state("ON") == inside["on"], "the state is seen"),
            Assert(inside.exists(), "the state exists"),
            Assert(inside["part.o"] == ~inside["on"], "parts are seen"),
            Cover(inside.state("ON") & (inside["kept"] == 3), "on with three"),
        ]
        with pytest.raises(KeyError, match=r"part\.p"):
            inside["part.p"]

    prove("inside", Case(Nest, rules, depth=5, cover=5), folder)


class Nest(wiring.Component):
    """A memory, a machine, and a part."""

    i: In(4)

    def elaborate(self, platform):
        m = Module()
        kept = Signal(4)
        on = Signal()
        m.submodules.words = words = Memory(shape=4, depth=4, init=[])
        write = words.write_port()
        m.d.comb += [write.addr.eq(2), write.data.eq(self.i), write.en.eq(1)]
        m.d.sync += kept.eq(self.i)
        with m.FSM():
            with m.State("OFF"):
                m.d.sync += on.eq(1)
                m.next = "ON"
            with m.State("ON"), m.If(self.i == 0):
                m.d.sync += on.eq(0)
                m.next = "OFF"
        part = Module()
        o = Signal()
        part.d.comb += o.eq(~on)
        m.submodules.part = part
        return m


def test_command_proves_what_it_is_told_to(folder, capsys):
    assert main(["bridge", "registers", "--output", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert re.fullmatch(
        r"case +holds +properties +happens +seconds +verdict\n"
        r"bridge +always, by 2-induction +\d\d +by +9 +\d+ +proven\n"
        r"registers +always, by 2-induction +\d\d +by +3 +\d+ +proven\n",
        out,
    )
    assert err == ""


def test_command_goes_on_after_a_failure(folder, capsys, monkeypatch):
    monkeypatch.setitem(CASES, "bad", replace(WRITER, design=lambda: Flawed(PlainWriter(), idle)))
    assert main(["bad", "converter", "--output", str(folder)]) == 1
    out, err = capsys.readouterr()
    assert re.search(r"^bad +for 7 cycles +FAILED$", out, re.MULTILINE)
    assert re.search(r"^converter +always, by 2-induction .* proven$", out, re.MULTILINE)
    assert re.fullmatch(r"error: bad: in cycle 2 .*goes on; see .*/bad/case_start/.*\.vcd\n", err)


def test_command_says_what_is_unknown_or_missing(folder, capsys, monkeypatch):
    assert main(["bridges"]) == 1
    assert "unknown case 'bridges'; known: bridge, " in capsys.readouterr().err
    monkeypatch.setenv("YICES_SMT2", "/nowhere/yices")
    assert main(["bridge", "--output", str(folder)]) == 1
    assert "YICES_SMT2 says '/nowhere/yices'" in capsys.readouterr().err
