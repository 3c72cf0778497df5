"""Jobs: what to read, where to write, and how many frames; and the queue in which they wait."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sw.host.registers import QUEUE, register

__all__ = ["FRAMES_WIDTH", "JOB", "JobQueue"]

FRAMES_WIDTH = register("FRAMES").field("frames").width
# What a reader or a writer is told; the address is a multiple of 8.
JOB = data.StructLayout({"address": 32, "frames": FRAMES_WIDTH})


class JobQueue(wiring.Component):
    """Jobs in their order, for a reader and a writer that each take them when they can.

    Two LUT RAMs of `QUEUE` jobs: about 85 LUT6.

    Members
    -------
    i : In(stream of source, destination and frames)
        Ready while both queues have room.
    reads, writes : Out(stream.Signature(JOB))
        The jobs as the reader and the writer get them.
    level : Out(range(QUEUE + 1))
        Jobs that the writer has not taken.
    """

    def __init__(self):
        job = data.StructLayout({"source": 32, "destination": 32, "frames": FRAMES_WIDTH})
        super().__init__(
            {
                "i": In(stream.Signature(job)),
                "reads": Out(stream.Signature(JOB)),
                "writes": Out(stream.Signature(JOB)),
                "level": Out(range(QUEUE + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # Counts of jobs that came and that left, with one bit more than a place has.
        put = Signal(range(2 * QUEUE))
        job = self.i.payload
        room = []
        for name, o, address in (
            ("reads", self.reads, job.source),
            ("writes", self.writes, job.destination),
        ):
            m.submodules[name] = jobs = Memory(shape=JOB, depth=QUEUE, init=[])
            taken = Signal.like(put, name=f"{name}_taken")
            into, out = jobs.write_port(), jobs.read_port(domain="comb")
            m.d.comb += [
                into.addr.eq(put),
                into.data.address.eq(address),
                into.data.frames.eq(job.frames),
                into.en.eq(self.i.valid & self.i.ready),
                out.addr.eq(taken),
                o.payload.eq(out.data),
                o.valid.eq(put != taken),
            ]
            m.d.sync += taken.eq(taken + (o.valid & o.ready))
            room.append(put ^ taken != QUEUE)
        m.d.sync += put.eq(put + (self.i.valid & self.i.ready))
        m.d.comb += [self.level.eq(put - taken), self.i.ready.eq(room[0] & room[1])]

        return m
