"""The matrix unit: XNOR, popcount and threshold, some synapses of some neurons a cycle."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores import rom
from hw.cores.accumulator import SUM_WIDTH, Accumulator
from hw.cores.popcount import Popcount, levels
from hw.cores.register import Register
from hw.cores.results import keep_results
from hw.cores.threshold import at_least

__all__ = ["ACCUMULATORS", "LUT_RAM", "STORAGE", "TABLE", "MatrixUnit"]

STORAGE = ("table", "logic", "block")
ACCUMULATORS = ("logic", "dsp")

# The widest element of an input.
_MOST_BITS = 8

# The deepest table: four of a LUT6's inputs select the weight.
TABLE = 16

# Words of an input buffer up to which it is LUT RAM, by family; above, and elsewhere, block RAM.
LUT_RAM = {"xc7": 256, "ecp5": 64}

# Neurons that one copy of a control signal serves.
_REACH = 32


class MatrixUnit(wiring.Component):
    """Multiplies a vector of signs or small integers by a matrix of signs: one binary dense layer.

    Bit 1 is +1, bit 0 is -1. For each neuron `m = popcount(xnor(x, w))` over all synapses; the
    output is the bit `m >= threshold`, or `m` itself where there are no thresholds. An element of
    `bits` bits, an integer x in 0..top with `top = 2**bits - 1`, counts x where its weight is 1 and
    top - x, its complement, where that is 0. That is the same count plane by plane,
    `m = sum over b of 2**b * popcount(xnor(bit b of x, w))`, in 0..synapses * top.

    A cycle does `inputs_per_beat` synapses of `neurons_per_beat` neurons and `planes` of the bit
    planes; a vector passes `passes = bits / planes` times, the lowest planes first. So it takes
    `fold = beats_per_vector * passes * groups` cycles, with `beats_per_vector = ceil(synapses /
    inputs_per_beat)` and `groups = ceil(neurons / neurons_per_beat)`, and vectors follow each other
    without a gap. The input is held in two banks: the next vector arrives while this one is
    computed. Where all planes of all neurons are done at once nothing is held and each beat is
    computed as it comes.

    Latency, with no stalls: the first output beat is valid `cycles_per_group + depth` cycles after
    the last input beat's transfer (`depth` where nothing is held), and the others
    `cycles_per_group = beats_per_vector * passes` cycles apart. The depth is `stages + 3`, and
    `ceil(log2(planes))` more for the sum of the planes, and one more with accumulators in DSPs.

    Parameters
    ----------
    weights : array of 0 and 1, shape (neurons, synapses)
    thresholds : sequence of int or None
        One a neuron, in 0..most+1 of `most = synapses * top`: 0 is always on, most+1 never. None
        yields scores.
    inputs_per_beat : int
        Synapses a cycle, SIMD in FINN, in 1..synapses.
    neurons_per_beat : int
        Neurons a cycle, PE in FINN, in 1..neurons.
    bits : int
        Bits of an input element, in 1..8.
    planes : int
        Bit planes a cycle, a divisor of `bits`; 0 is all of them.
    stages : int
        Register levels inside the popcount, from none to one behind each of its levels.
    storage : str
        Where weights are kept: "table" (they become part of the truth tables of the popcount's
        first level, where there are at most 16 beats of all groups), "logic" (LUT ROM) or "block"
        (block RAM). Where there is one they are constants of the first level in any case.
    logic_bits : int
        With "block": how many of the weights of a cycle are kept in LUT ROM all the same, in
        0..inputs_per_beat * neurons_per_beat.
    accumulators : str
        What adds up the counts of a neuron: "logic" (LUTs) or "dsp" (a DSP48E1 for four neurons a
        cycle, where the family is "xc7" or "generic"). A DSP adds 12 bits, so m may be up to 2047,
        or 4095 where there are no thresholds; and it does not shift, so all planes are done at
        once. A unit with nothing to add, which counts all synapses at once and has constant
        thresholds or none, cannot have it in DSPs.
    family : str
        Whose LUTs the unit is made for: "xc7", "ecp5", "ice40" or "generic".

    Members
    -------
    i : In(stream.Signature(ArrayLayout(bits, inputs_per_beat)))
        Padding lanes of the last beat are ignored.
    o : Out(stream.Signature(ArrayLayout(1 or range(most + 1), neurons_per_beat)))
        Padding lanes of the last beat carry anything.

    Raises
    ------
    ValueError
        Naming the parameter, its range and the value.
    """

    def __init__(
        self,
        *,
        weights: np.ndarray,
        thresholds: np.ndarray | None,
        inputs_per_beat: int,
        neurons_per_beat: int,
        bits: int = 1,
        planes: int = 0,
        stages: int = 0,
        storage: str = "logic",
        logic_bits: int = 0,
        accumulators: str = "logic",
        family: str = "generic",
    ):
        weights = np.asarray(weights)
        if weights.ndim != 2 or 0 in weights.shape:
            raise ValueError(f"Weights must have shape (neurons, synapses), not {weights.shape}")
        neurons, synapses = weights.shape
        if not np.isin(weights, (0, 1)).all():
            raise ValueError("Weights must be 0 or 1")
        if not 1 <= inputs_per_beat <= synapses:
            raise ValueError(f"inputs_per_beat must be in 1..{synapses}, not {inputs_per_beat}")
        if not 1 <= neurons_per_beat <= neurons:
            raise ValueError(f"neurons_per_beat must be in 1..{neurons}, not {neurons_per_beat}")
        if not 1 <= bits <= _MOST_BITS:
            raise ValueError(f"bits must be in 1..{_MOST_BITS}, not {bits}")
        if not 0 <= planes <= bits or bits % (planes or bits):
            raise ValueError(f"planes must divide the {bits} bits, or be 0, not {planes}")
        planes = planes or bits
        most = synapses * ((1 << bits) - 1)
        if storage not in STORAGE:
            raise ValueError(f"Storage must be one of {', '.join(STORAGE)}, not {storage!r}")
        words = -(-synapses // inputs_per_beat) * -(-neurons // neurons_per_beat)
        if storage == "table" and words > TABLE:
            raise ValueError(f"A table has at most {TABLE} words, not the {words} of this fold")
        if not 0 <= logic_bits <= inputs_per_beat * neurons_per_beat:
            raise ValueError(
                f"logic_bits must be in 0..{inputs_per_beat * neurons_per_beat}, not {logic_bits}"
            )
        if accumulators not in ACCUMULATORS:
            raise ValueError(
                f"Accumulators must be one of {', '.join(ACCUMULATORS)}, not {accumulators!r}"
            )
        if accumulators == "dsp":
            if family not in ("xc7", "generic"):
                raise ValueError(f"Accumulators in DSPs are for xc7, not {family!r}")
            if planes < bits:
                raise ValueError(
                    f"Accumulators in DSPs take all planes at once, not {planes} of {bits}"
                )
            if inputs_per_beat == synapses and (words == 1 or thresholds is None):
                raise ValueError("A unit that counts all synapses at once has no accumulators")
            width = most.bit_length() + (thresholds is not None)
            if width > SUM_WIDTH:
                of_bits = f" of {bits} bits" if bits > 1 else ""
                raise ValueError(
                    f"Accumulators in DSPs have at most {SUM_WIDTH} bits, "
                    f"not the {width} that {synapses} synapses{of_bits} take"
                )
        table = words if storage == "table" or words == 1 else 0
        deepest = levels(inputs_per_beat, family, table)
        if not 0 <= stages <= deepest:
            raise ValueError(f"stages must be in 0..{deepest}, not {stages}")
        if thresholds is not None:
            thresholds = [int(threshold) for threshold in thresholds]
            if len(thresholds) != neurons:
                raise ValueError(f"There must be {neurons} thresholds, not {len(thresholds)}")
            for neuron, threshold in enumerate(thresholds):
                if not 0 <= threshold <= most + 1:
                    raise ValueError(
                        f"Thresholds must be in 0..{most + 1}, not {threshold} (neuron {neuron})"
                    )
        self._weights, self._thresholds = weights.astype(np.uint8), thresholds
        self._inputs_per_beat, self._neurons_per_beat = inputs_per_beat, neurons_per_beat
        self._bits, self._planes, self._most = bits, planes, most
        self._stages, self._storage, self._logic_bits = stages, storage, logic_bits
        self._accumulators = accumulators
        self._family, self._tabled = family, bool(table)
        result = range(most + 1) if thresholds is None else 1
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(bits, inputs_per_beat))),
                "o": Out(stream.Signature(data.ArrayLayout(result, neurons_per_beat))),
            }
        )

    @property
    def neurons(self) -> int:
        return self._weights.shape[0]

    @property
    def synapses(self) -> int:
        return self._weights.shape[1]

    @property
    def bits(self) -> int:
        return self._bits

    @property
    def planes(self) -> int:
        """Bit planes a cycle."""
        return self._planes

    @property
    def passes(self) -> int:
        """How often a group of neurons takes all beats of a vector, some planes each time."""
        return self._bits // self._planes

    @property
    def beats_per_vector(self) -> int:
        """Input beats of a vector."""
        return -(-self.synapses // self._inputs_per_beat)

    @property
    def groups(self) -> int:
        """Groups of neurons, and output beats of a vector."""
        return -(-self.neurons // self._neurons_per_beat)

    @property
    def cycles_per_group(self) -> int:
        """Cycles of a group of neurons."""
        return self.beats_per_vector * self.passes

    @property
    def fold(self) -> int:
        """Cycles of a vector."""
        return self.cycles_per_group * self.groups

    def _words(self) -> np.ndarray:
        """The weights of each beat of each group, (depth, neurons_per_beat, inputs_per_beat).

        Padding synapses meet inputs that are 0; their weight is 1, so that they never match.
        """
        simd, pe = self._inputs_per_beat, self._neurons_per_beat
        padded = np.ones((self.groups * pe, self.beats_per_vector * simd), dtype=np.uint8)
        padded[: self.neurons, : self.synapses] = self._weights
        words = padded.reshape(self.groups, pe, self.beats_per_vector, simd).transpose(0, 2, 1, 3)
        return words.reshape(-1, pe, simd)

    def elaborate(self, platform):
        m = Module()
        beats, groups, pe = self.beats_per_vector, self.groups, self._neurons_per_beat
        passes = self.passes

        # The pipeline: issue | read | XNOR, popcount | sum of planes | accumulate. Nothing in it
        # waits: a beat that completes a result is issued only when there is room reserved for that.
        # A DSP has a register behind its sum, so a result is there a cycle after it has its last
        # count.
        beat = Signal(range(max(2, beats)))
        group = Signal(range(max(2, groups)))
        address = Signal(range(max(2, beats * groups)))
        issue, room = Signal(), Signal()
        first_beat, last_beat, last_group = beat == 0, beat == beats - 1, group == groups - 1
        last = last_beat
        if passes > 1:
            passed = Signal(range(passes))  # passes of this group that are done
            last_pass = passed == passes - 1
            last = last_beat & last_pass
        with m.If(issue):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
            following = address + 1
            if passes > 1:
                following = Mux(last_beat & ~last_pass, address - (beats - 1), following)
                with m.If(last_beat):
                    m.d.sync += passed.eq(Mux(last_pass, 0, passed + 1))
            m.d.sync += address.eq(Mux(last & last_group, 0, following))
            with m.If(last):
                m.d.sync += group.eq(Mux(last_group, 0, group + 1))

        inputs = self._buffer(m, issue, beat, last & last_group, ~last | room)
        if passes > 1:
            inputs = self._choose(m, inputs, passed)
        counts = self._count(m, inputs, address)

        # What travels beside the data, one register for each stage above.
        depth = rom.LATENCY + self._stages + _sum_levels(self._planes)
        flags = Cat(issue, first_beat, last)
        if passes > 1:
            flags = Cat(flags, passed == 0)
        for stage in range(1, depth):
            register = Signal(len(flags), name=f"flags_{stage}")
            m.d.sync += register.eq(flags)
            flags = register
        starts = self._starts(m, group)

        finished, answers = Signal(), []
        m.d.sync += finished.eq(flags[0] & flags[2])
        for lane in range(0, pe, _REACH):
            wanted = flags[:2] if passes == 1 else Cat(flags[:2], flags[3], flags[2])
            m.submodules[f"flags_{lane}"] = copy = Register(width=len(wanted), family=self._family)
            m.d.comb += copy.i.eq(wanted)
            neurons = range(lane, min(lane + _REACH, pe))
            if self._accumulators == "dsp":
                answers += self._sum(m, neurons, counts, starts, *copy.o)
            else:
                accumulate = self._accumulate if passes == 1 else self._accumulate_passes
                answers += [
                    accumulate(m, neuron, counts[neuron], starts, *copy.o) for neuron in neurons
                ]
        if self._accumulators == "dsp":
            summed = Signal()
            m.d.sync += summed.eq(finished)
            finished = summed

        keep_results(
            m,
            self.o,
            answer=Cat(answers),
            finished=finished,
            reserve=issue & last,
            room=room,
            depth=self._results,
        )
        return m

    @property
    def _results(self) -> int:
        """Results under way, at most, when one leaves every `cycles_per_group` cycles."""
        cycles = rom.LATENCY + self._stages + 2 + (self._accumulators == "dsp")
        return -(-(cycles + _sum_levels(self._planes)) // self.cycles_per_group)

    def _buffer(self, m, issue, beat, vector_done, may):
        """Inputs of the beat issued a cycle ago; issues one where there is one and it may."""
        beats, simd, bits = self.beats_per_vector, self._inputs_per_beat, self._bits
        i_beat = Signal.like(beat)
        i_last = i_beat == beats - 1
        arriving = Signal(simd * bits)
        m.d.comb += arriving.eq(self.i.payload.as_value())
        used = self.synapses - (beats - 1) * simd  # lanes of the last beat
        if used < simd:
            with m.If(i_last):
                m.d.comb += arriving[used * bits :].eq(0)

        if self.groups * self.passes == 1:
            inputs = Signal(simd * bits, reset_less=True)
            m.d.comb += [issue.eq(self.i.valid & may), self.i.ready.eq(may), i_beat.eq(beat)]
            m.d.sync += inputs.eq(arriving)
            return inputs

        # Two banks, one filled while the other is computed.
        full = Signal(2)
        i_bank, bank = Signal(), Signal()
        row = max(1, (beats - 1).bit_length())
        depth = 2 << row if beats > 1 else 2
        attrs = {}
        if self._family in LUT_RAM:  # so that it is where the plan expects it
            small = depth <= LUT_RAM[self._family]
            attrs["ram_style"] = "distributed" if small else "block"
        m.submodules.banks = banks = Memory(shape=simd * bits, depth=depth, init=[], attrs=attrs)
        write, read = banks.write_port(), banks.read_port()
        m.d.comb += [
            self.i.ready.eq(~full.bit_select(i_bank, 1)),
            issue.eq(full.bit_select(bank, 1) & may),
            write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(Cat(i_beat[:row], i_bank) if beats > 1 else i_bank),
            write.data.eq(arriving),
            read.addr.eq(Cat(beat[:row], bank) if beats > 1 else bank),
        ]
        with m.If(issue & vector_done):
            m.d.sync += [full.bit_select(bank, 1).eq(0), bank.eq(~bank)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += i_beat.eq(Mux(i_last, 0, i_beat + 1))
            with m.If(i_last):
                m.d.sync += [full.bit_select(i_bank, 1).eq(1), i_bank.eq(~i_bank)]
        return read.data

    def _choose(self, m, elements, passed):
        """The planes that a pass takes of the elements of the beat issued a cycle ago."""
        bits, planes = self._bits, self._planes
        chosen = Signal(self._inputs_per_beat * planes)
        turn = Signal.like(passed)
        m.d.sync += turn.eq(passed)
        with m.Switch(turn):
            for number in range(self.passes):
                lanes = range(number * planes, len(elements), bits)
                with m.Case(number):
                    m.d.comb += chosen.eq(Cat(elements[at : at + planes] for at in lanes))
        return chosen

    def _count(self, m, inputs, address):
        """Matches of a beat, `rom.LATENCY + stages` cycles after it was issued; the weighted sum of
        those of several planes some cycles later.
        """
        words, planes = self._words(), self._planes
        popcounts = []
        for plane in range(planes):
            popcount = Popcount(
                width=self._inputs_per_beat,
                words=self._neurons_per_beat,
                stages=self._stages,
                family=self._family,
                table=words if self._tabled else None,
            )
            m.submodules["popcount" if planes == 1 else f"popcount_{plane}"] = popcount
            m.d.comb += popcount.i.eq(inputs[plane::planes])
            popcounts.append(popcount)
        if not self._tabled:
            # Bit-sliced, as the popcount wants them.
            sliced = words.transpose(0, 2, 1).reshape(len(words), -1)
            packed = np.packbits(sliced, axis=1, bitorder="little")
            m.submodules.weights = weights = rom.Rom(
                words=[int.from_bytes(word.tobytes(), "little") for word in packed],
                width=sliced.shape[1],
                storage=self._storage,
                logic_bits=self._logic_bits,
                family=self._family,
            )
            m.d.comb += weights.address.eq(address)
            m.d.comb += [popcount.w.eq(weights.data) for popcount in popcounts]
        elif len(words) > 1:
            late = Signal.like(address)
            m.d.sync += late.eq(address)
            m.d.comb += [popcount.select.eq(late) for popcount in popcounts]
        return [
            self._weighted(m, neuron, [popcount.o[neuron] for popcount in popcounts])
            for neuron in range(self._neurons_per_beat)
        ]

    def _weighted(self, m, neuron, counts):
        """A neuron's counts, the lowest plane's first, as one; `_sum_levels` cycles later."""
        span = 1  # planes that went into each count
        while len(counts) > 1:
            sums = []
            for pair in range(0, len(counts), 2):
                planes = min(2 * span, self._planes - pair * span)
                most = self._inputs_per_beat * ((1 << planes) - 1)
                total = Signal(
                    range(most + 1), name=f"planes_{neuron}_{len(sums)}_{span}", reset_less=True
                )
                low, *high = counts[pair : pair + 2]
                m.d.sync += total.eq(low + (high[0] << span) if high else low)
                sums.append(total)
            counts, span = sums, 2 * span
        return counts[0]

    def _starts(self, m, group):
        """What each neuron of a group counts from, when its first count is there; None where it
        counts from 0.

        That is so far below a power of two as the threshold is above 0, so that the highest bit of
        the total tells whether the threshold is reached. In several passes it is, in the lowest
        `bits` bits, what the threshold lacks to a multiple of 2**bits, and above them the multiple.
        """
        if self._thresholds is None:
            return None
        pe, width = self._neurons_per_beat, self._total.width
        padded = self._thresholds + [self._most + 1] * (self.groups * pe - self.neurons)
        if self.passes == 1:
            values = [(1 << width - 1) - threshold for threshold in padded]
        else:
            lacks = [-threshold & (1 << self._bits) - 1 for threshold in padded]
            values = [t + lack | lack for t, lack in zip(padded, lacks, strict=True)]
        if self.groups == 1:
            return [Const(value, width) for value in values]
        for stage in range(self._stages + _sum_levels(self._planes)):
            later = Signal.like(group, name=f"group_{stage}")
            m.d.sync += later.eq(group)
            group = later
        m.submodules.thresholds = starts = rom.Rom(
            words=[
                sum(value << k * width for k, value in enumerate(values[at : at + pe]))
                for at in range(0, len(values), pe)
            ],
            width=pe * width,
            family=self._family,
        )
        m.d.comb += starts.address.eq(group)
        return [starts.data.word_select(k, width) for k in range(pe)]

    @property
    def _total(self) -> Shape:
        """What holds a count, or a count and what it starts from."""
        width = self._most.bit_length()
        return unsigned(width if self._thresholds is None else width + 1)

    def _accumulate(self, m, neuron, count, starts, valid, first):
        """One neuron's result, when its last count is there."""
        start = 0 if starts is None else starts[neuron]
        total = Signal(self._total, name=f"total_{neuron}")
        if self.beats_per_vector > 1:
            accumulator = Signal(self._total, name=f"accumulator_{neuron}", reset_less=True)
            m.d.comb += total.eq(count + Mux(first, start, accumulator))
            with m.If(valid):
                m.d.sync += accumulator.eq(total)
        elif self.groups == 1 and starts is not None:
            return at_least(count, self._thresholds[neuron])
        else:
            m.d.comb += total.eq(count + start)
        return total if starts is None else total[-1]

    def _accumulate_passes(self, m, neuron, count, starts, valid, first, fresh, last):
        """One neuron's result, when its last count of the last pass is there.

        What was counted before weighs less by the planes of a pass, so it is shifted; what leaves
        by that can be no carry any more, and is only kept where it is part of a score. Counting
        begins at what the threshold lacks to a multiple of 2**bits; so in the end, when all lower
        bits have left, it is the multiple that has to be reached.
        """
        bits, planes = self._bits, self._planes
        top = (1 << bits) - 1
        most = self._most >> bits - planes  # in the last pass
        if starts is not None:
            start, multiple = starts[neuron][:bits], starts[neuron][bits:]
            in_first = top + self.synapses * ((1 << planes) - 1)
            most = max(in_first, self._most + top >> bits - planes)
        total = Signal(range(most + 1), name=f"total_{neuron}")
        accumulator = Signal.like(
            total, name=f"accumulator_{neuron}", reset_less=starts is not None
        )
        before = accumulator[planes:]
        if starts is not None:
            before = Mux(fresh, start, before)
        if self.beats_per_vector > 1:
            before = Mux(first, before, accumulator)
        m.d.comb += total.eq(count + before)
        with m.If(valid):
            m.d.sync += accumulator.eq(total)

        if starts is not None:
            higher = total[planes:][: (self._most + top >> bits).bit_length()]
            if self.groups == 1:
                return at_least(higher, self._thresholds[neuron] + top >> bits)
            return higher >= multiple

        # A score begins at 0, which a flip-flop's reset makes without a LUT.
        with m.If(valid & last):
            m.d.sync += accumulator.eq(0)
        lower = Signal(bits - planes, name=f"lower_{neuron}", reset_less=True)
        shifted = Cat(lower, accumulator[:planes])[planes:]
        if self.beats_per_vector > 1:
            with m.If(valid & first):
                m.d.sync += lower.eq(shifted)
            return Cat(lower, total)
        with m.If(valid):
            m.d.sync += lower.eq(shifted)
        return Cat(shifted, total)

    def _sum(self, m, neurons, counts, starts, valid, first):
        """The results of some neurons from DSPs, a cycle after their last counts are there."""
        m.submodules[f"sums_{neurons[0]}"] = sums = Accumulator(
            width=self._total.width, lanes=len(neurons), family=self._family
        )
        m.d.comb += [sums.valid.eq(valid), sums.first.eq(first)]
        for lane, neuron in enumerate(neurons):
            m.d.comb += sums.term[lane].eq(counts[neuron])
            m.d.comb += sums.start[lane].eq(0 if starts is None else starts[neuron])
        totals = [sums.total[lane] for lane in range(len(neurons))]
        return totals if starts is None else [total[-1] for total in totals]


def _sum_levels(planes: int) -> int:
    """Levels of additions that make one count of those of so many planes."""
    return (planes - 1).bit_length()
