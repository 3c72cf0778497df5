"""Scores: from sums side by side to a stream of one after the other, a frame's together."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores.matrix_unit import LUT_RAM
from hw.engine.plan import EnginePlan

__all__ = ["Scores"]


class Scores(wiring.Component):
    """Reads a group's sums of each pixel one by one and yields them in the order of the network.

    Groups come for all frames of a batch before the next group does, so a batch's scores are
    gathered in a memory. They leave while the next batch is computed; a batch that comes too soon
    waits.

    Parameters
    ----------
    plan : EnginePlan
    family : str

    Members
    -------
    score : In(1)
        Read a group. Held until `done`.
    pixels, chunk_ends, batch_ends
        As `hw.engine.sequencer.Sequencer` has them.
    done : Out(1)
        The last sum is being asked for.
    pixel : Out(range(depth))
        Of which the sums are wanted.
    sums : In(ArrayLayout(sum_width, pe))
        Of the pixel, a cycle later.
    o : Out(stream.Signature(ArrayLayout(score_width, 1)))
    """

    def __init__(self, *, plan: EnginePlan, family: str = "generic"):
        self._plan, self._family = plan, family
        pixel = range(max(2, plan.depth))
        super().__init__(
            {
                **{"score": In(1), "pixels": In(pixel), "chunk_ends": In(1), "batch_ends": In(1)},
                **{"done": Out(1), "pixel": Out(pixel)},
                "sums": In(data.ArrayLayout(plan.sum_width, plan.pe)),
                "o": Out(stream.Signature(data.ArrayLayout(plan.score_width, 1))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        plan = self._plan
        work, groups = plan.steps[-1].work, plan.steps[-1].groups
        neurons, total = work.outputs[2], plan.batch * plan.scores

        # The sum that is asked for: its pixel, its neuron in the group, its place in the batch.
        full, reads = Signal(), Signal()
        lane = Signal(range(max(2, plan.pe)))
        lanes = Mux(self.chunk_ends, neurons - (groups - 1) * plan.pe - 1, plan.pe - 1)
        place = Signal(range(max(2, total)))
        first_place, group_place = (
            Signal(range(total + plan.pe + 1), name=name) for name in ("first_place", "group_place")
        )
        next_place, last_lane = Signal.like(first_place), lane == lanes
        m.d.comb += [
            reads.eq(self.score & ~full),
            self.done.eq(reads & last_lane & (self.pixel == self.pixels)),
            place.eq(first_place + lane),
            next_place.eq(first_place + neurons),
        ]
        with m.If(reads):
            m.d.sync += lane.eq(lane + 1)
            with m.If(last_lane):
                m.d.sync += [lane.eq(0), self.pixel.eq(self.pixel + 1), first_place.eq(next_place)]
        with m.If(self.done):
            m.d.sync += self.pixel.eq(0)
            with m.If(self.batch_ends):
                m.d.sync += [first_place.eq(0), group_place.eq(0)]
            with m.Elif(self.chunk_ends):
                chunk = next_place - (groups - 1) * plan.pe
                m.d.sync += [first_place.eq(chunk), group_place.eq(chunk)]
            with m.Else():
                group = group_place + plan.pe
                m.d.sync += [first_place.eq(group), group_place.eq(group)]

        # The sum, and a cycle later the score.
        asked, lane_1, place_1 = Signal(), Signal.like(lane), Signal.like(place)
        write, place_2, last = Signal(), Signal.like(place), Signal(2)
        score = Signal(plan.score_width)
        m.d.sync += [
            asked.eq(reads),
            lane_1.eq(lane),
            place_1.eq(place),
            last[0].eq(self.done & self.batch_ends),
            write.eq(asked),
            score.eq(self.sums.as_value().word_select(lane_1, plan.sum_width)),
            place_2.eq(place_1),
            last[1].eq(last[0]),
        ]

        small = total <= LUT_RAM.get(self._family, 0)
        attrs = {"ram_style": "distributed" if small else "block"}
        m.submodules.memory = memory = Memory(
            shape=plan.score_width, depth=max(2, total), init=[], attrs=attrs
        )
        port, read = memory.write_port(), memory.read_port()
        m.d.comb += [port.en.eq(write), port.addr.eq(place_2), port.data.eq(score)]

        # All of a batch leave.
        leaving = Signal(range(total + 1))
        moves = ~self.o.valid | self.o.ready
        m.d.comb += [
            read.en.eq(moves),
            read.addr.eq(leaving),
            self.o.payload[0].eq(read.data),
        ]
        with m.If(last[1]):
            m.d.sync += full.eq(1)
        with m.If(moves):
            m.d.sync += self.o.valid.eq(full & (leaving != total))
            with m.If(full):
                m.d.sync += leaving.eq(leaving + 1)
                with m.If(leaving == total):
                    m.d.sync += [leaving.eq(0), full.eq(0)]
        return m
