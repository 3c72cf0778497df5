"""Proves that the shell keeps the rules of its ports: `python -m hw.formal [case ...]`.

Each case puts the rules of `hw.shell.protocol` around a design, whose inputs do whatever the rules
let them; doc/formal.md says what that comes to. Where a property is proven by induction, a case has
besides what the design's registers have to do with what is owed at its ports.
"""

import argparse
import sys
from math import gcd
from pathlib import Path

from amaranth.hdl import Array, Assert, Cover, Module, Mux, Signal, Value

from hw.cores.width_converter import WidthConverter
from hw.progress import bar, say
from hw.shell.bridge import ProcessorBridge
from hw.shell.identity import Identity
from hw.shell.protocol import Carried, Handshake, Progress, ReadRules, WriteRules
from hw.shell.registers import RegisterFile
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
