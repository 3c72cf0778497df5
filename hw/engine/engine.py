"""The engine: all layers of a network one after the other on one matrix unit."""

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out, connect, flipped

from hw.cores.argmax import Argmax
from hw.cores.popcount import Popcount
from hw.cores.register import Register
from hw.engine.bank import Bank, Writer
from hw.engine.image import rom_rows
from hw.engine.plan import PORT_BITS, START_BITS, EnginePlan
from hw.engine.scores import Scores
from hw.engine.sequencer import Sequencer, padding_words
from hw.engine.table import Table
from hw.engine.weights import RowLoader
from sw.network import Argmax as ArgmaxNode
from sw.network import Network

__all__ = ["Engine"]

# Neurons that one copy of a control signal serves.
_REACH = 8


class Engine(wiring.Component):
    """Does batches of frames: `plan.batch` images of bits in, their scores or classes out.

    The images of a batch are in block RAM: the input in a bank of its own, which is filled while
    the last batch is computed, and what passes yield in two banks in turn. The weights of a tile
    are in registers. Sums, and what a pool has ORed, are in a block RAM that is as wide as they
    all are together. `hw.engine.plan` has the words and the exact cycles.

    The pipeline of a word, from the cycle in which it is issued, with s = `plan.stages`:
    1 addresses are registers; 2 the word is there, or padding; 3 it and the tile are registers;
    3+s it is counted, and the sum so far is there; 4+s the new sum is a register; 5+s the bits of
    a last sum are.

    Parameters
    ----------
    network : Network
        On bits, as `hw.engine.passes.tail` yields it.
    plan : EnginePlan
        Of that network.
    family : str
        Whose LUTs it is made for: "xc7", "ecp5", "ice40" or "generic".

    Members
    -------
    i : In(stream.Signature(ArrayLayout(1, lanes)))
        Images: ceil(channels / simd) beats a pixel, `lanes` = min(channels, simd). Padding lanes
        of a pixel's last beat are ignored.
    weights : In(stream.Signature(64))
        The words of `hw.engine.image.weights_image`, for every batch from the first to the last.
        Only where some layer is not resident.
    o : Out(stream.Signature(ArrayLayout(score_width, 1) or range(classes)))
        Scores one a beat, or where the network has an argmax an index a frame.
    """

    def __init__(self, *, network: Network, plan: EnginePlan, family: str = "generic"):
        self._network, self._plan, self._family = network, plan, family
        self._argmax = isinstance(network.output, ArgmaxNode)
        scores = data.ArrayLayout(plan.score_width, 1)
        result = range(plan.scores) if self._argmax else scores
        members = {
            "i": In(stream.Signature(data.ArrayLayout(1, self._lanes))),
            "o": Out(stream.Signature(result)),
        }
        if plan.stream_words:
            members["weights"] = In(stream.Signature(PORT_BITS))
        super().__init__(members)

    @property
    def plan(self) -> EnginePlan:
        return self._plan

    @property
    def _lanes(self) -> int:
        return min(self._plan.simd, self._plan.steps[0].work.image[2])

    def elaborate(self, platform):
        m = Module()
        plan, family, s = self._plan, self._family, self._plan.stages
        simd, pe, columns = plan.simd, plan.pe, plan.columns

        m.submodules.sequencer = sequencer = Sequencer(plan=plan, classes=self._classes())
        late = [sequencer.o]  # what was issued, cycle by cycle

        def later(cycles):
            while len(late) < cycles:
                late.append(Signal.like(sequencer.o, name=f"issued_{len(late) + 1}"))
                m.d.sync += late[-1].eq(late[-2])
            return late[cycles - 1]

        # 1: the banks are read. What comes from padding has a table.
        depths = plan.bank_words
        banks = [Bank(width=simd, depth=depth, columns=columns) for depth in depths]
        m.submodules.input, m.submodules.even, m.submodules.odd = banks
        for bank in banks:
            m.d.comb += bank.address.eq(later(1).address)
        self._fill(m, banks[0], sequencer)
        fill = Signal(simd, reset_less=True)
        m.d.sync += fill.eq(self._padding(m, later(1).fill))

        # 2: the word.
        x = Signal(simd)
        words = Array([banks[0].word, banks[1].word, banks[2].word])
        m.d.comb += x.eq(Mux(sequencer.padding, fill, words[later(2).source]))

        # 3 to 3 + s: it meets the tile.
        m.submodules.popcount = popcount = Popcount(width=simd, words=pe, stages=s, family=family)
        tile, starts = self._load(m, sequencer, later(1).swap, later(2 + s).starts)
        m.d.comb += [popcount.i.eq(x), popcount.w.eq(tile)]
        pooled = x
        for stage in range(s + 1):
            register = Signal(simd, name=f"pooled_{stage}", reset_less=True)
            m.d.sync += register.eq(pooled)
            pooled = register

        # 3 + s: the sums so far. They are read once more where they are scores.
        m.submodules.scores = scores = Scores(plan=plan, family=family)
        row = data.ArrayLayout(plan.sum_width, pe)
        m.submodules.sums = memory = Memory(
            shape=row, depth=max(2, plan.depth), init=[], attrs={"ram_style": "block"}
        )
        write, read = memory.write_port(), memory.read_port()
        m.d.comb += read.addr.eq(Mux(sequencer.score, scores.pixel, later(2 + s).pixel))
        sums = Signal(row, reset_less=True)
        for first in range(0, pe, _REACH):
            m.submodules[f"first_{first}"] = copy = Register(width=1, family=family)
            m.d.comb += copy.i.eq(later(2 + s).first)
            for neuron in range(first, min(first + _REACH, pe)):
                before = Mux(copy.o, starts[neuron], read.data[neuron])
                m.d.sync += sums[neuron].eq(before + popcount.o[neuron])
        ored = Signal(simd, reset_less=True)
        at = later(3 + s)
        m.d.sync += ored.eq(pooled | Mux(at.first, 0, read.data.as_value()[:simd]))

        # 4 + s: the sums are written; the highest bit of the last ones is the result.
        at = later(4 + s)
        m.d.comb += [
            write.en.eq(at.valid),
            write.addr.eq(at.pixel),
            write.data.eq(Mux(at.pool, Cat(ored, sums.as_value()[simd:]), sums)),
        ]
        bits = Cat(sums[neuron][-1] for neuron in range(pe))
        m.submodules.writer = writer = Writer(width=simd, depth=max(depths[1:]), columns=columns)
        m.d.comb += [
            writer.address.eq(at.to),
            writer.count.eq(Mux(at.valid & at.last, at.count, 0)),
            writer.words.eq(Cat(Mux(at.pool, ored, bits[:simd]), bits[simd:])),
        ]

        # 5 + s: they are written.
        written, target = Signal.like(writer.o), Signal()
        m.d.sync += [written.eq(writer.o), target.eq(at.target)]
        for number, bank in enumerate(banks[1:]):
            m.d.comb += bank.w.en.eq(written.en & (target == number).replicate(columns))
            for column in range(columns):
                m.d.comb += [
                    bank.w.row[column].eq(written.row[column]),
                    bank.w.word[column].eq(written.word[column]),
                ]

        # Scores.
        m.d.comb += [
            scores.score.eq(sequencer.score),
            scores.pixels.eq(sequencer.pixels),
            scores.chunk_ends.eq(sequencer.chunk_ends),
            scores.batch_ends.eq(sequencer.batch_ends),
            scores.sums.eq(read.data),
            sequencer.scored.eq(scores.done),
        ]
        if self._argmax:
            m.submodules.argmax = argmax = Argmax(
                width=plan.score_width, elements=plan.scores, lanes=1
            )
            connect(m, scores.o, argmax.i)
            connect(m, argmax.o, flipped(self.o))
        else:
            connect(m, scores.o, flipped(self.o))
        return m

    def _classes(self):
        """Of each pass the classes of its rows, times the number of column classes, and columns."""
        classes = []
        for step in self._plan.steps:
            work = step.work
            rows, columns = np.zeros(work.outputs[0], int), np.zeros(work.outputs[1], int)
            if work.classes != (1, 1):
                node = next(node for node in self._network.nodes if node.name == work.name)
                rows, columns = node.classes(*work.image[:2])
            classes.append((rows * work.classes[1], columns))
        return classes

    def _fill(self, m, bank, sequencer):
        """The input goes to its bank when the last batch's was read."""
        channels = self._plan.steps[0].work.image[2]
        words, columns = self._plan.steps[0].words, self._plan.columns
        total, bits = self._plan.bank_words[0], (columns - 1).bit_length()
        address, filled = Signal(range(max(2, total))), Signal()
        arriving = Signal(self._plan.simd)
        m.d.comb += arriving.eq(self.i.payload.as_value())
        if words > 1 and channels % self._lanes:
            word = Signal(range(words))
            with m.If(word == words - 1):
                m.d.comb += arriving[channels % self._lanes :].eq(0)
        moves = self.i.valid & self.i.ready
        m.d.comb += [self.i.ready.eq(~filled), sequencer.filled.eq(filled)]
        with m.If(sequencer.release):
            m.d.sync += filled.eq(0)
        with m.If(moves):
            last = address == total - 1
            m.d.sync += [address.eq(Mux(last, 0, address + 1)), filled.eq(last)]
            if words > 1 and channels % self._lanes:
                m.d.sync += word.eq(Mux(word == words - 1, 0, word + 1))
        for column in range(columns):
            m.d.comb += [
                bank.w.en[column].eq(moves & (address[:bits] == column)),
                bank.w.row[column].eq(address[bits:]),
                bank.w.word[column].eq(arriving),
            ]

    def _padding(self, m, place):
        """The word that stands for padding."""
        padded = padding_words(self._plan)
        if not padded:
            return Const(0)
        simd, rows = self._plan.simd, []
        for number, word in padded:
            work = self._plan.steps[number].work
            node = next(node for node in self._network.nodes if node.name == work.name)
            channels = np.broadcast_to(node.fill, work.image[2])[word * simd : (word + 1) * simd]
            rows.append({"padding": sum(int(bit) << lane for lane, bit in enumerate(channels))})
        return Table(rows).look(m, place)["padding"]

    def _load(self, m, sequencer, swap_next, at_starts):
        """The tile, which is the next one two cycles after `swap_next`, and what sums start from, a
        cycle after `at_starts` says which.

        The next tile is loaded into other registers meanwhile.
        """
        plan, family = self._plan, self._family
        row = plan.row_words * PORT_BITS
        m.submodules.loader = loader = RowLoader(
            plan=plan, rom=rom_rows(self._network, plan), family=family
        )
        if plan.stream_words:
            connect(m, flipped(self.weights), loader.words)
        loaded, swap = Signal(), Signal()
        m.d.sync += swap.eq(swap_next)
        moves = loader.o.valid & loader.o.ready
        m.d.comb += [loader.o.ready.eq(~loaded | swap), sequencer.loaded.eq(loaded)]
        with m.If(swap):
            m.d.sync += loaded.eq(0)
        with m.If(moves & loader.o.payload.last):
            m.d.sync += loaded.eq(1)

        width = plan.simd * plan.pe
        coming, tile = Signal(width, reset_less=True), Signal(width, reset_less=True)
        for number in range(plan.tile_rows):
            part = coming[number * row : (number + 1) * row]
            with m.If(moves & ~loader.o.payload.start & (loader.o.payload.slice == number)):
                m.d.sync += part.eq(loader.o.payload.row)
            # Each row has a swap of its own, which has loads enough.
            m.submodules[f"swap_{number}"] = copy = Register(width=1, family=family)
            m.d.comb += copy.i.eq(swap_next)
            with m.If(copy.o):
                m.d.sync += tile[number * row : (number + 1) * row].eq(part)

        # Starts: a memory for each of a group's rows.
        starts = []
        each = row // START_BITS
        for number in range(plan.start_slices):
            neurons = min(each, plan.pe - number * each)
            memory = Memory(
                shape=data.ArrayLayout(plan.sum_width, neurons),
                depth=max(2, 3 * plan.classes),
                init=[],
                attrs={"ram_style": "distributed"},
            )
            m.submodules[f"starts_{number}"] = memory
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(moves & loader.o.payload.start & (loader.o.payload.slice == number)),
                write.addr.eq(loader.o.payload.slot),
                read.addr.eq(at_starts),
            ]
            for neuron in range(neurons):
                m.d.comb += write.data[neuron].eq(
                    loader.o.payload.row.word_select(neuron, START_BITS)
                )
                starts.append(read.data[neuron])
        return tile, starts
