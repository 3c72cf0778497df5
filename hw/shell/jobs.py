"""Jobs: what to read, where to write, and how many frames; and the queue in which they wait."""

from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from sw.host.registers import QUEUE, register

__all__ = ["FRAMES_WIDTH", "JOB", "JobQueue"]

FRAMES_WIDTH = register("FRAMES").field("frames").width
# What a reader or a writer is told; the address is a multiple of 8.
JOB = data.StructLayout({"address": 32, "frames": FRAMES_WIDTH})


class JobQueue(wiring.Component):
    """Jobs in their order, for a reader and a writer that each take them when they can.

    Two LUT RAMs of `QUEUE` jobs. The reader has to take each job no later than the writer does: a
    pipeline cannot answer what has not been read.

    Members
    -------
    i : In(stream of source, destination and frames)
        Ready while the writer's queue has room.
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

        m.submodules.reads = reads = SyncFIFO(width=JOB.size, depth=QUEUE)
        m.submodules.writes = writes = SyncFIFO(width=JOB.size, depth=QUEUE)
        for fifo, o, address in (
            (reads, self.reads, self.i.payload.source),
            (writes, self.writes, self.i.payload.destination),
        ):
            into = data.View(JOB, fifo.w_data)
            m.d.comb += [
                into.address.eq(address),
                into.frames.eq(self.i.payload.frames),
                fifo.w_en.eq(self.i.valid & writes.w_rdy),
                o.payload.as_value().eq(fifo.r_data),
                o.valid.eq(fifo.r_rdy),
                fifo.r_en.eq(o.ready),
            ]
        m.d.comb += [self.i.ready.eq(writes.w_rdy), self.level.eq(writes.level)]

        return m
