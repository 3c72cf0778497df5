"""The matrix unit: XNOR, popcount and threshold, some synapses of some neurons a cycle."""

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.cores.popcount import Popcount, levels

__all__ = ["MatrixUnit"]

# What yosys is told for each way to store weights; "auto" leaves the choice to it.
_STORAGE = {"auto": {}, "logic": {"rom_style": "logic"}, "block": {"rom_style": "block"}}


class MatrixUnit(wiring.Component):
    """Multiplies a vector of signs by a matrix of signs: one binary dense layer.

    Bit 1 is +1, bit 0 is -1. For each neuron `m = popcount(xnor(x, w))` over all synapses; the
    output is the bit `m >= threshold`, or `m` itself where there are no thresholds.

    A cycle does `inputs_per_beat` synapses of `neurons_per_beat` neurons, so a vector takes
    `fold = ceil(synapses / inputs_per_beat) * ceil(neurons / neurons_per_beat)` cycles, and vectors
    follow each other without a gap. The input is held in two banks: the next vector arrives while
    this one is computed. Where all neurons are done at once nothing is held and each beat is
    computed as it comes.

    Latency, with no stalls: the first output beat is valid `beats_per_vector + stages + 2` cycles
    after the last input beat's transfer (`stages + 2` where all neurons are done at once), and the
    others `beats_per_vector` cycles apart.

    Parameters
    ----------
    weights : array of 0 and 1, shape (neurons, synapses)
    thresholds : sequence of int or None
        One a neuron, in 0..synapses+1: 0 is always on, synapses+1 never. None yields scores.
    inputs_per_beat : int
        Synapses a cycle, SIMD in FINN, in 1..synapses.
    neurons_per_beat : int
        Neurons a cycle, PE in FINN, in 1..neurons.
    stages : int
        Register levels inside the popcount, in 0..`levels(inputs_per_beat)`.
    storage : str
        Where weights are kept: "logic" (LUTs), "block" (block RAM) or "auto" (yosys decides).
    logic_bits : int
        With "block": how many of the weights of a cycle are kept in LUTs all the same.
    family : str
        Whose LUTs the unit is made for: "xc7", "ecp5", "ice40" or "generic".

    Members
    -------
    i : In(stream.Signature(ArrayLayout(1, inputs_per_beat)))
        Padding lanes of the last beat are ignored.
    o : Out(stream.Signature(ArrayLayout(1 or range(synapses + 1), neurons_per_beat)))
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
        stages: int = 0,
        storage: str = "auto",
        logic_bits: int = 0,
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
        if not 0 <= stages <= levels(inputs_per_beat):
            raise ValueError(f"stages must be in 0..{levels(inputs_per_beat)}, not {stages}")
        if storage not in _STORAGE:
            raise ValueError(f"Storage must be one of {', '.join(_STORAGE)}, not {storage!r}")
        if thresholds is not None:
            thresholds = [int(threshold) for threshold in thresholds]
            if len(thresholds) != neurons:
                raise ValueError(f"There must be {neurons} thresholds, not {len(thresholds)}")
            for neuron, threshold in enumerate(thresholds):
                if not 0 <= threshold <= synapses + 1:
                    raise ValueError(
                        f"Thresholds must be in 0..{synapses + 1}, "
                        f"not {threshold} (neuron {neuron})"
                    )
        self._weights, self._thresholds = weights.astype(np.uint8), thresholds
        self._inputs_per_beat, self._neurons_per_beat = inputs_per_beat, neurons_per_beat
        self._stages, self._storage, self._logic_bits = stages, storage, logic_bits
        self._family = family
        result = range(synapses + 1) if thresholds is None else 1
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(1, inputs_per_beat))),
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
    def beats_per_vector(self) -> int:
        """Input beats of a vector, and cycles of a group of neurons."""
        return -(-self.synapses // self._inputs_per_beat)

    @property
    def groups(self) -> int:
        """Groups of neurons, and output beats of a vector."""
        return -(-self.neurons // self._neurons_per_beat)

    @property
    def fold(self) -> int:
        """Cycles of a vector."""
        return self.beats_per_vector * self.groups

    def _weight_words(self) -> list[int]:
        """ROM words in the order they are used; bit-sliced as the popcount wants them.

        Padding synapses meet inputs that are 0; their weight is 1, so that they never match.
        """
        simd, pe = self._inputs_per_beat, self._neurons_per_beat
        padded = np.ones((self.groups * pe, self.beats_per_vector * simd), dtype=np.uint8)
        padded[: self.neurons, : self.synapses] = self._weights
        words = padded.reshape(self.groups, pe, self.beats_per_vector, simd).transpose(0, 2, 3, 1)
        packed = np.packbits(words.reshape(self.fold, simd * pe), axis=1, bitorder="little")
        return [int.from_bytes(word.tobytes(), "little") for word in packed]

    def elaborate(self, platform):
        m = Module()
        beats, groups = self.beats_per_vector, self.groups

        # The pipeline: issue | read weights and inputs | XNOR and popcount | accumulate, compare.
        # All of it waits only while a finished result cannot move into the output register.
        advance = Signal()
        beat = Signal(range(max(2, beats)))
        group = Signal(range(max(2, groups)))
        issue = Signal()
        first_beat, last_beat, last_group = beat == 0, beat == beats - 1, group == groups - 1
        with m.If(issue & advance):
            m.d.sync += beat.eq(Mux(last_beat, 0, beat + 1))
            with m.If(last_beat):
                m.d.sync += group.eq(Mux(last_group, 0, group + 1))

        inputs = self._buffer(m, issue, advance, beat, last_beat & last_group)
        weights = self._weight_rom(m, issue, advance, last_beat & last_group)

        m.submodules.popcount = popcount = Popcount(
            width=self._inputs_per_beat,
            words=self._neurons_per_beat,
            stages=self._stages,
            apart=self.fold > 2,
        )
        m.d.comb += [
            popcount.i.eq(inputs),
            popcount.w.eq(weights),
            popcount.en.eq(advance),
        ]

        # What travels beside the data, one register for each stage above.
        flags = Cat(issue, first_beat, last_beat, group)
        for stage in range(popcount.latency + 1):
            if stage == popcount.latency:
                group_before = flags[3:]
            register = Signal(len(flags), name=f"flags_{stage + 1}")
            with m.If(advance):
                m.d.sync += register.eq(flags)
            flags = register
        valid, first, last = flags[0], flags[1], flags[2]
        finished = valid & last

        thresholds = self._threshold_rom(m, group_before, advance)

        m.d.comb += advance.eq(~(finished & self.o.valid & ~self.o.ready))
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(finished & advance):
            m.d.sync += self.o.valid.eq(1)

        for lane in range(self._neurons_per_beat):
            count = popcount.o[lane]
            if beats > 1:
                accumulator = Signal(range(self.synapses + 1), name=f"accumulator_{lane}")
                total = Signal(range(self.synapses + 1), name=f"total_{lane}")
                m.d.comb += total.eq(Mux(first, 0, accumulator) + count)
                with m.If(valid & advance):
                    m.d.sync += accumulator.eq(total)
                count = total
            with m.If(finished & advance):
                result = count if thresholds is None else count >= thresholds[lane]
                m.d.sync += self.o.payload[lane].eq(result)

        return m

    def _buffer(self, m, issue, advance, beat, vector_done):
        """Inputs of the beat that was issued a cycle ago."""
        beats, simd = self.beats_per_vector, self._inputs_per_beat
        i_beat = Signal.like(beat)
        i_last = i_beat == beats - 1
        arriving = Signal(simd)
        m.d.comb += arriving.eq(self.i.payload.as_value())
        used = self.synapses - (beats - 1) * simd  # lanes of the last beat
        if used < simd:
            with m.If(i_last):
                m.d.comb += arriving[used:].eq(0)

        if self.groups == 1:
            inputs = Signal(simd, reset_less=True)
            m.d.comb += [issue.eq(self.i.valid), self.i.ready.eq(advance), i_beat.eq(beat)]
            with m.If(advance):
                m.d.sync += inputs.eq(arriving)
            return inputs

        # Two banks, one filled while the other is computed.
        full = Signal(2)
        i_bank, bank = Signal(), Signal()
        row = max(1, (beats - 1).bit_length())
        m.submodules.banks = banks = Memory(shape=simd, depth=2 << row if beats > 1 else 2, init=[])
        write, read = banks.write_port(), banks.read_port()
        m.d.comb += [
            self.i.ready.eq(~full.bit_select(i_bank, 1)),
            issue.eq(full.bit_select(bank, 1)),
            write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(Cat(i_beat[:row], i_bank) if beats > 1 else i_bank),
            write.data.eq(arriving),
            read.en.eq(advance),
            read.addr.eq(Cat(beat[:row], bank) if beats > 1 else bank),
        ]
        with m.If(issue & advance & vector_done):
            m.d.sync += [full.bit_select(bank, 1).eq(0), bank.eq(~bank)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += i_beat.eq(Mux(i_last, 0, i_beat + 1))
            with m.If(i_last):
                m.d.sync += [full.bit_select(i_bank, 1).eq(1), i_bank.eq(~i_bank)]
        return read.data

    def _weight_rom(self, m, issue, advance, vector_done):
        """Weights of the beat that was issued a cycle ago."""
        words, width = self._weight_words(), self._inputs_per_beat * self._neurons_per_beat
        if self.fold == 1:
            return Const(words[0], width)
        address = Signal(range(self.fold))
        with m.If(issue & advance):
            m.d.sync += address.eq(Mux(vector_done, 0, address + 1))
        read, low = [], 0
        for storage, bits in (("logic", self._logic_bits), (self._storage, width)):
            high = bits if bits < width else width
            if high > low:
                rom = Memory(
                    shape=high - low,
                    depth=self.fold,
                    init=[word >> low & (1 << high - low) - 1 for word in words],
                    attrs=_STORAGE[storage],
                )
                m.submodules[f"weights_{storage}"] = rom
                port = rom.read_port()
                m.d.comb += [port.addr.eq(address), port.en.eq(advance)]
                read.append(port.data)
                low = high
        return Cat(read)

    def _threshold_rom(self, m, group, advance):
        """Thresholds of a group of neurons, the cycle after its number is given."""
        if self._thresholds is None:
            return None
        pe = self._neurons_per_beat
        shape = data.ArrayLayout(range(self.synapses + 2), pe)
        padded = self._thresholds + [self.synapses + 1] * (self.groups * pe - self.neurons)
        if self.groups == 1:
            return padded
        m.submodules.thresholds = rom = Memory(
            shape=shape,
            depth=self.groups,
            init=[padded[start : start + pe] for start in range(0, len(padded), pe)],
        )
        read = rom.read_port()
        m.d.comb += [read.addr.eq(group), read.en.eq(advance)]
        return read.data
