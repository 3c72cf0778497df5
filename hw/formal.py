"""Proves that the shell keeps the rules of its ports: `python -m hw.formal [case ...]`.

Each case puts the rules of `hw.shell.protocol` around a design, whose inputs do whatever the rules
let them; doc/formal.md says what that comes to. Where a property is proven by induction, a case has
besides what the design's registers have to do with what is owed at its ports.
"""

import argparse
import sys
from math import gcd
from pathlib import Path

from amaranth.hdl import Array, Assert, Assume, Cat, Const, Cover, Module, Mux, Signal, Value

from hw.cores.width_converter import WidthConverter
from hw.progress import bar, say
from hw.shell.bridge import ProcessorBridge
from hw.shell.identity import Identity
from hw.shell.protocol import Carried, Extent, Handshake, Progress, ReadRules, WriteRules
from hw.shell.reader import Reader
from hw.shell.registers import RegisterFile
from hw.shell.writer import Writer
from hw.toolchain.sby import Case, Inside, Proof, prove
from sw.errors import MissingTool, PopstreamError, unknown

__all__ = ["CASES", "main"]

_IDENTITY = Identity(
    digest=bytes(range(32)).hex(),
    frame_elements=8,
    frame_bits=8,
    result_elements=1,
    result_width=8,
    scores=False,
    clock_hz=100_000_000,
    frame_cycles=1,
    latency_cycles=1,
)


def _happens(m: Module, event: Value, text: str) -> None:
    """Wants a proof that something can come about."""
    m.d.comb += Cover(event, text)


def _register_file(m: Module, dut: RegisterFile, inside: Inside) -> None:
    bus = dut.bus
    m.submodules.read = read = ReadRules(bus.ar, bus.r, master=False, outstanding=1)
    m.submodules.write = write = WriteRules(bus.aw, bus.w, bus.b, master=False, outstanding=1)
    m.submodules.answers_reads = Progress(read.owed != 0, bus.r.valid, cycles=0)
    m.submodules.answers_writes = Progress(write.owed != 0, bus.b.valid, cycles=0)
    m.submodules.takes_reads = Progress(bus.ar.valid & ~bus.ar.ready, bus.r.valid, cycles=0)
    m.submodules.takes_writes = Progress(
        bus.aw.valid & bus.w.valid & ~bus.aw.ready, bus.b.valid, cycles=0
    )
    _happens(m, read.ended & (bus.r.payload.data == 5), "a register is read")
    _happens(m, write.ended & dut.start, "a job is started")
    _happens(m, dut.interrupt, "an event interrupts")


def _bridge(m: Module, dut: ProcessorBridge, inside: Inside) -> None:
    slave, master = dut.slave, dut.master
    m.submodules.read = read = ReadRules(slave.ar, slave.r, master=False, outstanding=1)
    m.submodules.write = write = WriteRules(slave.aw, slave.w, slave.b, master=False, outstanding=1)
    m.submodules.lite_read = lite_read = ReadRules(master.ar, master.r, master=True, outstanding=1)
    m.submodules.lite_write = lite_write = WriteRules(
        master.aw, master.w, master.b, master=True, outstanding=1
    )
    m.submodules.answers_reads = Progress(
        read.owed != 0, slave.r.valid | master.ar.valid | (lite_read.owed != 0), cycles=0
    )
    m.submodules.answers_writes = Progress(
        write.owed != 0,
        slave.b.valid
        | ((write.unsent != 0) & ~slave.w.valid)
        | (master.aw.valid | master.w.valid | (lite_write.owed != 0)),
        cycles=0,
    )
    m.submodules.takes_reads = Progress(slave.ar.valid & ~slave.ar.ready, read.owed, cycles=0)
    m.submodules.takes_writes = Progress(slave.aw.valid & ~slave.aw.ready, write.owed, cycles=0)

    # How the states of the bridge and what is owed on both sides go together.
    reads, writes = (~inside.state("IDLE", fsm) for fsm in ("read", "write"))
    beat = inside.state("BEAT", "write")
    address_left, data_left = inside["address_left"], inside["data_left"]
    all_sent = inside.state("ANSWER", "write") | (beat & ~data_left & inside["last"])
    m.d.comb += [
        Assert(inside.exists("read") & inside.exists("write"), "states are known"),
        Assert(read.owed == reads, "a read is owed while one is under way"),
        Assert(~reads | (inside["left"] == read.left), "beats of a read are counted"),
        Assert(~reads | (slave.r.payload.id == read.id), "the id of a read is kept"),
        Assert(lite_read.owed == inside.state("DATA", "read"), "registers owe the data"),
        Assert(write.owed == writes, "a write is owed while one is under way"),
        Assert(~writes | (slave.b.payload.id == write.id), "the id of a write is kept"),
        Assert(write.complete == all_sent, "all data of a write are taken"),
        Assert(beat | ~(address_left | data_left), "only beats are left"),
        Assert(lite_write.owed == (beat & ~address_left), "registers have the address"),
        Assert(lite_write.complete == (beat & ~data_left), "registers have the data"),
    ]
    _happens(m, read.ended & (slave.r.payload.id == 7), "a read is answered")
    _happens(m, write.ended & (slave.b.payload.response == 3), "a write is answered by an error")
    for name, moves in (("read", slave.r), ("written", slave.w)):
        beats = Signal(5, name=f"beats_{name}")
        with m.If(moves.valid & moves.ready):
            m.d.sync += beats.eq(Mux(moves.payload.last, 0, beats + 1))
        ends = moves.valid & moves.ready & moves.payload.last
        _happens(m, ends & (beats == 3), f"a burst of four words is {name}")


def _halted(m: Module, dut) -> Value:
    """Whether the job was given up; `halt` stays, and follows a failure."""
    halted = Signal()
    m.d.sync += halted.eq(dut.halt | dut.failed)
    m.d.comb += Assume(~halted | dut.halt, "what halts or fails stays halted")
    return halted


def _reader(m: Module, dut: Reader, inside: Inside) -> None:
    m.submodules.job = Handshake(dut.job, ours=False)
    m.submodules.o = o = Handshake(dut.o, ours=True)
    m.submodules.read = read = ReadRules(dut.ar, dut.r, master=True, outstanding=16)
    m.submodules.extent = extent = Extent(dut.job, dut.ar, frame_bytes=dut.frame_bytes)
    _halted(m, dut)

    # What was asked for and is not taken has its place: in the buffer or in the register behind it.
    unread = Signal(range(dut.depth + 17))
    asks = dut.ar.valid & dut.ar.ready
    m.d.sync += unread.eq(unread + Mux(asks, dut.ar.payload.length + 1, 0) - o.moves)
    m.d.comb += [
        Assert(unread <= dut.depth + 1, "no more is asked for than there is room"),
        Assert(dut.r.ready, "what was asked for is taken at once"),
        Assert(~dut.idle | ((read.owed == 0) & ~dut.ar.valid), "idle only after the last answer"),
    ]
    m.submodules.goes_on = Progress(
        ~dut.idle, dut.ar.valid | (read.owed != 0) | dut.o.valid, cycles=20
    )
    _happens(m, read.ended & (read.owed == 2), "two bursts are read")
    _happens(m, dut.idle & extent.covered & o.waits & dut.o.payload.last, "a job is read")


def _writer(m: Module, dut: Writer, inside: Inside) -> None:
    m.submodules.job = Handshake(dut.job, ours=False)
    m.submodules.i = Handshake(dut.i, ours=False)
    m.submodules.write = write = WriteRules(dut.aw, dut.w, dut.b, master=True, outstanding=15)
    m.submodules.extent = extent = Extent(
        dut.job, dut.aw, frame_bytes=dut.number_bytes * dut.elements, w=dut.w
    )
    halted = _halted(m, dut)
    m.submodules.goes_on = goes_on = Progress(
        ~dut.idle, dut.i.ready | dut.aw.valid | dut.w.valid | (write.owed != 0), cycles=4
    )
    at_rest = (write.owed == 0) & (write.unsent == 0)
    m.d.comb += [
        Assert(~dut.idle | at_rest, "idle only after the last answer"),
        Assert((write.unsent == 0) | dut.w.valid, "data of a burst never have to be waited for"),
        Assert(~dut.done | extent.covered, "a job is done when all of it is written"),
    ]
    _happens(m, dut.done & (extent.next_word != 0), "a job is done")
    _happens(m, write.ended & (write.owed == 2), "two bursts are under way")

    aw, nb, elements = dut.aw, dut.number_bytes, dut.elements
    here, gone, row, offset = (inside[name] for name in ("here", "gone", "row", "offset"))
    room, last_frame = inside["room"], inside["last_frame"]
    full, lane, strobes = inside["full"], inside["lane"], inside["strobes"]
    sending, element, frames = inside["sending"], inside["element"], inside["frames"]
    idle, check, take, ends = map(inside.state, ("IDLE", "CHECK", "TAKE", "END"))

    # Of the buffered words, which have the places of their numbers' lowest bits, those of the
    # present burst are sent next; the job has others that are in no burst yet, buffered or not.
    buffered = (here - gone)[: len(here)]
    offered = Mux(aw.valid, aw.payload.length + 1, 0)
    sends = Mux(sending, write.left + 1, 0)
    waiting = buffered - sends
    later = extent.words - offered
    m.d.comb += [
        Assert(inside.exists(), "states are known"),
        Assert(buffered <= Mux(room, 24, 25), "the buffer is not too full"),
        Assert(sends <= buffered, "what a burst sends is buffered"),
        Assert(extent.lead + offered == sends, "what a burst sends is announced"),
        Assert((gone + extent.lead - extent.next_word)[:4] == 0, "words keep their places"),
        Assert(waiting + full <= later, "nothing is taken beyond the job"),
        Assert(sending == ((write.unsent != 0) | write.announces), "a burst is sent"),
        Assert(write.unsent + write.announces <= 1, "one burst at a time is sent"),
        Assert(inside["unanswered"] == write.complete + sending, "answers are counted"),
        Assert(~sending | (inside["end"] == (gone + write.left)[:4]), "its end is known"),
    ]
    with m.If(aw.valid):
        m.d.comb += Assert(Cat(offset, row) == extent.next_word, "an offered address stays")
    with m.If((check | take | ends) & ~(ends & ~full & (waiting == 0))):
        with m.If(aw.valid):
            m.d.comb += Assert(offset + aw.payload.length == 15, "bursts end with their row")
        with m.Else():
            m.d.comb += Assert(row == extent.next_word[4:], "the next burst is in its row")

    # Numbers, in bytes: those of frames that are missing, those of the word that is being filled,
    # and what the job's last word has beside some.
    missing = Mux(check & inside["empty"], 0, ((frames + 1) * elements - element) * nb)
    padding = (8 - extent.tail)[:3]
    unfilled = (later - waiting - full) << 3
    m.d.comb += [
        Assert(extent.tail % nb == 0, "a job ends with a number"),
        Assert(element < elements, "elements are counted"),
        Assert(~full | (lane == 0), "a full word waits for the next number"),
        Assert((lane == 0) | (strobes == (1 << lane) - 1), "a word is filled from its lowest"),
    ]
    with m.If(check | take):
        m.d.comb += Assert(missing + lane * nb + padding == unfilled, "what is missing is known")
    with m.If(take):
        m.d.comb += Assert(last_frame == (frames == 0), "the last frame is known")
    with m.If(ends):
        m.d.comb += Assert(unfilled == 0, "nothing is missing")
    with m.If(check | ends | (idle & ~halted)):
        m.d.comb += Assert((lane == 0) & (element == 0), "a job begins with a word")
    with m.If(check | (idle & ~halted)):
        empty = at_rest & ~aw.valid & (buffered == 0) & ~full
        m.d.comb += Assert(empty & (check | extent.covered), "nothing is left")

    # Each word of the buffer, and the one that is to follow.
    left = extent.words + extent.lead
    m.d.comb += Assert(
        ~full | (strobes == extent.strobes(left - 1 - buffered)[::nb]),
        "a full word has its strobes",
    )
    for place in range(32):
        ahead = (place - gone)[: len(gone) - 1]
        kept = inside.peek("words", Const(place, len(ahead))).strobes
        m.d.comb += Assert(
            (ahead >= buffered) | (kept == extent.strobes(left - 1 - ahead)[::nb]),
            f"strobes are kept in place {place}",
        )

    # The way through a job, on which no state lasts.
    steps = Mux(full, 1, Mux(inside["ended"] | inside["rest_here"], 3, 2))
    m.d.comb += [
        Assert(room | ~(take | ends) | (buffered >= 23), "there is room but for a reason"),
        Assert(
            idle | aw.valid | (goes_on.idle <= Mux(ends, steps, take)), "steps follow each other"
        ),
    ]


def _converter(m: Module, dut: WidthConverter, inside: Inside) -> None:
    i_lanes, o_lanes = dut.i.payload.shape().length, dut.o.payload.shape().length
    width = dut.i.payload.shape().elem_shape
    capacity = len(inside["ring"]) // width
    m.submodules.i = Handshake(dut.i, ours=False)
    m.submodules.o = Handshake(dut.o, ours=True)
    m.submodules.carried = carried = Carried(dut.i, dut.o, elements=dut.elements, limit=capacity)

    # Where the ring's rows begin, and which element of its vector each input row begins with.
    unit = gcd(i_lanes, o_lanes)
    vector = -(-dut.elements // o_lanes) * o_lanes
    firsts = [*range(0, dut.elements, i_lanes)]
    rows = [start + first for start in range(0, capacity, vector) for first in firsts]
    begins = Array(rows)[inside["row"]]
    ends = inside["o_row"] * o_lanes
    kept = inside["ring"].word_select((ends + carried.place) % capacity, width)
    m.d.comb += [
        Assert(inside["row"] < len(rows), "input rows exist"),
        Assert(ends < capacity, "output rows exist"),
        Assert(carried.inside <= capacity, "the ring has room"),
        Assert(carried.inside == inside["beyond"] * unit + o_lanes, "what is inside is counted"),
        Assert(inside["free"] * unit == capacity - i_lanes - carried.inside, "so is what is free"),
        Assert(carried.first == begins % vector, "input rows are in step"),
        Assert((ends + carried.inside - begins) % capacity == 0, "input follows output"),
        Assert(~carried.follows | (carried.place < carried.inside), "what is followed is inside"),
        Assert(~carried.follows | (kept == carried.value), "the ring keeps it"),
    ]
    wraps = Signal()
    with m.If(dut.i.valid & dut.i.ready & (inside["row"] == len(rows) - 1)):
        m.d.sync += wraps.eq(1)
    _happens(m, wraps & carried.follows & dut.o.valid & (carried.place == 1), "the ring is reused")
    _happens(m, carried.inside == capacity, "the ring is full")


CASES = {
    "registers": Case(lambda: RegisterFile(_IDENTITY), _register_file, 2, 10, always=True),
    "bridge": Case(ProcessorBridge, _bridge, 2, 20, always=True),
    "converter": Case(
        lambda: WidthConverter(width=2, elements=7, i_lanes=3, o_lanes=2),
        _converter,
        2,
        20,
        always=True,
    ),
    "reader": Case(lambda: Reader(frame_bytes=12, depth=32), _reader, 30, 40),
    "writer": Case(lambda: Writer(number_bytes=2, elements=2), _writer, 2, 40, always=True),
}


_HEADING = ("case", "holds", "properties", "happens", "seconds", "verdict")


def _row(name: str, case: Case, proof: Proof) -> tuple:
    """A line of the table."""
    happens = f"by {proof.cover}"
    return name, case.mode, proof.properties, happens, f"{proof.seconds:.0f}", "proven"


def main(argv: list[str] | None = None) -> int:
    """Proves cases; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hw.formal", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"{', '.join(CASES)}; else all")
    parser.add_argument(
        "--output", type=Path, default=Path("build/formal"), metavar="FOLDER", help="for traces"
    )
    args = parser.parse_args(argv)
    rows, errors = [_HEADING], []
    try:
        for name in args.cases:
            if name not in CASES:
                raise unknown("case", name, CASES)
        chosen = args.cases or list(CASES)
        with bar("formal") as advance:
            for number, name in enumerate(chosen):
                advance(number, len(chosen))
                try:
                    rows.append(
                        _row(name, CASES[name], prove(name, CASES[name], args.output / name))
                    )
                except MissingTool:
                    raise
                except PopstreamError as error:
                    rows.append((name, CASES[name].mode, "", "", "", "FAILED"))
                    errors.append(error)
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    for row in rows:
        say("{:<12}{:<30}{:>12}{:>9}{:>10}  {}".format(*row))
    for error in errors:
        sys.stderr.write(f"error: {error}\n")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
