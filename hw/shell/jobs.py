"""Jobs: what to read, where to write, and how many frames; and the queue in which they wait."""

from functools import reduce
from operator import and_

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

    LUT RAMs of `QUEUE` jobs: about 85 LUT6, half as many more with weights.

    Parameters
    ----------
    weights : bool
        Jobs have weights, for a reader of their own.

    Members
    -------
    i : In(stream of source, destination, frames and, if there are any, weights)
        Ready while all queues have room.
    reads, writes, weights : Out(stream.Signature(JOB))
        The jobs as the readers and the writer get them; `weights` if there are any.
    level : Out(range(QUEUE + 1))
        Jobs that the writer has not taken.
    """

    def __init__(self, *, weights: bool = False):
        self._outputs = {"reads": "source", "writes": "destination"}
        if weights:
            self._outputs["weights"] = "weights"
        addresses = dict.fromkeys(self._outputs.values(), 32)
        job = data.StructLayout({**addresses, "frames": FRAMES_WIDTH})
        super().__init__(
            {
                "i": In(stream.Signature(job)),
                **{name: Out(stream.Signature(JOB)) for name in self._outputs},
                "level": Out(range(QUEUE + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # Counts of jobs that came and that left, with one bit more than a place has.
        put = Signal(range(2 * QUEUE))
        job = self.i.payload
        gone, room = {}, {}
        for name, address in self._outputs.items():
            o = getattr(self, name)
            m.submodules[name] = jobs = Memory(shape=JOB, depth=QUEUE, init=[])
            gone[name] = taken = Signal.like(put, name=f"{name}_taken")
            into, out = jobs.write_port(), jobs.read_port(domain="comb")
            m.d.comb += [
                into.addr.eq(put),
                into.data.address.eq(job[address]),
                into.data.frames.eq(job.frames),
                into.en.eq(self.i.valid & self.i.ready),
                out.addr.eq(taken),
                o.payload.eq(out.data),
                o.valid.eq(put != taken),
            ]
            m.d.sync += taken.eq(taken + (o.valid & o.ready))
            room[name] = put ^ taken != QUEUE
        m.d.sync += put.eq(put + (self.i.valid & self.i.ready))
        m.d.comb += [
            self.level.eq(put - gone["writes"]),
            self.i.ready.eq(reduce(and_, room.values())),
        ]

        return m
