"""A read-only memory with one read port, in LUTs or block RAM, made for the target's LUT.

In LUTs a column, one bit of all words, is a truth table over the address. Synthesis finds some
logic for a table of random bits, but not the wide multiplexers that the fabric has for it: on
7-series a column of 64 words takes it 4.3 LUTs instead of one. So the LUTs are instantiated.

Sources: Xilinx UG474 (LUT6, MUXF7, MUXF8) and UG473 (a RAMB36E1 reads 72 bits a cycle), Lattice
FPGA-TN-02205 (LUT4, PFUMX, L6MUX21; a DP16KD reads 36 bits).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.cores.register import Register

__all__ = ["LATENCY", "Rom", "rom_luts"]

# Cycles from an address to its word: a register behind the address, one behind the word.
LATENCY = 2

# A RAMB36E1 as a simple dual port memory, of which only the read port is used.
_RAMB36_WIDTH, _RAMB36_DEPTH = 72, 512
_RAMB36_OUTPUTS = ("DOADO", "DOBDO", "DOPADOP", "DOPBDOP")
_RAMB36_UNUSED = {
    **{"CLKBWRCLK": 1, "ENBWREN": 1, "ADDRBWRADDR": 16, "WEA": 4, "WEBWE": 8},
    **{"DIADI": 32, "DIBDI": 32, "DIPADIP": 4, "DIPBDIP": 4, "REGCEAREGCE": 1, "REGCEB": 1},
    **{"RSTRAMARSTRAM": 1, "RSTRAMB": 1, "RSTREGARSTREG": 1, "RSTREGB": 1},
}

# How many LUTs hang on one copy of the address register.
_LOADS = 128


@dataclass(frozen=True)
class _Fabric:
    """What a family makes truth tables of.

    Attributes
    ----------
    inputs : int
        Inputs of a LUT.
    muxes : tuple of (str, str, str, str, str)
        Dedicated 2:1 multiplexers, each of two of the ones before: cell, inputs for 0 and for 1,
        select, output.
    """

    inputs: int
    muxes: tuple[tuple[str, str, str, str, str], ...] = ()

    @property
    def span(self) -> int:
        """Address bits that one LUT a leaf and the dedicated multiplexers read."""
        return self.inputs + len(self.muxes)


_FABRICS = {
    "xc7": _Fabric(6, (("MUXF7", "I0", "I1", "S", "O"), ("MUXF8", "I0", "I1", "S", "O"))),
    "ecp5": _Fabric(
        4,
        (
            ("PFUMX", "BLUT", "ALUT", "C0", "Z"),
            ("L6MUX21", "D0", "D1", "SD", "Z"),
            ("L6MUX21", "D0", "D1", "SD", "Z"),
        ),
    ),
    "ice40": _Fabric(4),
}


def _cell(family: str, table: int, inputs: Sequence[Value], output: Value) -> Instance:
    """A LUT whose output is bit `inputs` of the table."""
    match family:
        case "xc7":
            ports = {f"i_I{pin}": value for pin, value in enumerate(inputs)}
            init = Const(table, 1 << len(inputs))
            return Instance(f"LUT{len(inputs)}", p_INIT=init, **ports, o_O=output)
        case "ecp5":
            ports = {f"i_{pin}": value for pin, value in zip("ABCD", _four(inputs), strict=True)}
            return Instance("LUT4", p_INIT=Const(table, 16), **ports, o_Z=output)
        case _:
            ports = {f"i_I{pin}": value for pin, value in enumerate(_four(inputs))}
            return Instance("SB_LUT4", p_LUT_INIT=Const(table, 16), **ports, o_O=output)


def _four(inputs: Sequence[Value]) -> list[Value]:
    return [*inputs, *[Const(0, 1)] * (4 - len(inputs))]


def _table(inputs: int, function) -> int:
    """The truth table of a function of `inputs` bits, the first of weight 1 in its index."""
    return sum(
        bool(function(*(index >> k & 1 for k in range(inputs)))) << index
        for index in range(1 << inputs)
    )


# What multiplexes where there is no dedicated multiplexer. Two LUT4 choose one of four: while the
# upper select is 1 the first passes the lower select on.
_MUX2 = _table(3, lambda s, a, b: b if s else a)
_MUX4 = _table(6, lambda s, t, a, b, c, d: ((a, b), (c, d))[t][s])
_MUX4_LOW = _table(4, lambda s, t, a, b: s if t else (a, b)[s])
_MUX4_HIGH = _table(4, lambda t, low, c, d: (c, d)[low] if t else low)


def _column_luts(depth: int, family: str) -> int:
    """LUTs of one column, unless it or a part of it is constant."""
    if depth <= 1:
        return 0
    fabric = _FABRICS[family]
    bits = ceil_log2(depth)
    if bits <= fabric.span:
        return 1 << max(0, bits - fabric.inputs)
    step = min(2, bits - fabric.span)
    part = 1 << (bits - step)
    whole, rest = divmod(depth, part)
    muxes = 2 if step == 2 and fabric.inputs == 4 else 1
    return muxes + whole * _column_luts(part, family) + _column_luts(rest, family)


def rom_luts(depth: int, width: int, family: str) -> int:
    """LUTs of a ROM that is all in LUTs: what it takes at most, and with random bits exactly.

    A column that is constant takes none, and equal ones may share theirs.

    Parameters
    ----------
    depth : int
        Words, at least 1.
    width : int
        Bits a word.
    family : str
        "xc7" (LUT6), "ecp5" or "ice40" (LUT4).
    """
    return width * _column_luts(depth, family)


class _Columns(wiring.Component):
    """Some columns in LUTs, behind their own copy of the address register.

    Parameters
    ----------
    words : ndarray of 0 and 1, shape (depth, columns)
    family : str

    Members
    -------
    address : In(range(depth))
    data : Out(columns)
        The word, `LATENCY` cycles later.
    """

    def __init__(self, words: np.ndarray, family: str):
        self._words, self._family = words, family
        depth, columns = words.shape
        super().__init__({"address": In(range(depth)), "data": Out(columns)})

    def elaborate(self, platform):
        m = Module()

        m.submodules.row = register = Register(width=len(self.address), family=self._family)
        m.d.comb += register.i.eq(self.address)
        row = register.o

        # Equal columns share a LUT and a register, constant ones have neither.
        tables = [
            int.from_bytes(packed.tobytes(), "little")
            for packed in np.packbits(self._words, axis=0, bitorder="little").T
        ]
        depth = len(self._words)
        read = {table: self._read(m, table, row, depth) for table in dict.fromkeys(tables)}
        varying = [table for table, value in read.items() if not isinstance(value, Const)]
        word = Signal(len(varying), reset_less=True)
        m.d.sync += word.eq(Cat(read[table] for table in varying))
        read.update(zip(varying, word, strict=True))
        m.d.comb += self.data.eq(Cat(read[table] for table in tables))
        return m

    def _read(self, m: Module, table: int, row: Value, depth: int) -> Value:
        """Bit `row` of a table of `depth` bits; any bit where `row` is not below the depth."""
        if table in (0, (1 << depth) - 1):
            return Const(table & 1, 1)
        return self._tree(m, table, row, depth)

    def _tree(self, m, table, row, depth):
        fabric = _FABRICS[self._family]
        bits = ceil_log2(depth)
        if bits > fabric.span:
            return self._multiplexed(m, table, row, depth, min(2, bits - fabric.span))
        if bits <= fabric.inputs:
            return self._lut(m, table, [row[k] for k in range(max(1, bits))])

        # Both sides of a dedicated multiplexer are full trees: it is reached from no other place.
        cell, low, high, select, output = fabric.muxes[bits - fabric.inputs - 1]
        half = 1 << (bits - 1)
        value = Signal()
        m.submodules += Instance(
            cell,
            **{f"i_{low}": self._full(m, table & (1 << half) - 1, row, bits - 1)},
            **{f"i_{high}": self._full(m, table >> half, row, bits - 1)},
            **{f"i_{select}": row[bits - 1], f"o_{output}": value},
        )
        return value

    def _full(self, m, table, row, bits):
        return self._tree(m, table, row, 1 << bits)

    def _multiplexed(self, m, table, row, depth, step):
        """Two or four parts, each read on its own, and a multiplexer of LUTs."""
        low = ceil_log2(depth) - step
        parts = []
        for start in range(0, 1 << (low + step), 1 << low):
            rest = min(depth - start, 1 << low)
            part = table >> start & (1 << max(0, rest)) - 1
            parts.append(self._read(m, part, row, rest) if rest > 0 else Const(0, 1))
        select = [row[low + k] for k in range(step)]
        if step == 1:
            return self._lut(m, _MUX2, [*select, *parts])
        if _FABRICS[self._family].inputs == 6:
            return self._lut(m, _MUX4, [*select, *parts])
        chosen = self._lut(m, _MUX4_LOW, [*select, *parts[:2]])
        return self._lut(m, _MUX4_HIGH, [select[1], chosen, *parts[2:]])

    def _lut(self, m, table, inputs):
        value = Signal()
        m.submodules += _cell(self._family, table, inputs, value)
        return value


class Rom(wiring.Component):
    """A read-only memory: every cycle an address, two cycles later its word.

    The ROM has its own address register, in as many copies as it takes, and its word comes from a
    register, both in LUTs and in block RAM. There is no enable and no reset.

    In LUTs a column of 64 words takes one LUT6, or four LUT4 on ECP5 and six on iCE40: `rom_luts`.
    On 7-series a RAMB36E1 of up to 512 words gives 72 bits a cycle; what does not fill one, and
    block RAM of other families, is left to synthesis (ECP5: 36 bits of a DP16KD).

    Parameters
    ----------
    words : sequence of int
        At least one, each in 0..2**width-1; bit 0 of a word is bit 0 of `data`.
    width : int
        Bits of a word, at least 1.
    storage : str
        "logic" (LUTs) or "block" (block RAM).
    logic_bits : int
        With "block": how many bits of a word, the lowest, are in LUTs all the same; in 0..width.
    family : str
        Whose LUTs: "xc7", "ecp5" or "ice40"; "generic" leaves them to synthesis. Elaborated without
        a platform it is generic too.

    Members
    -------
    address : In(range(max(2, depth)))
    data : Out(width)
        Word `address` of `LATENCY` cycles before; where there is no such word, anything.

    Raises
    ------
    ValueError
        Naming the parameter, its range and the value.
    """

    def __init__(
        self,
        *,
        words: Sequence[int],
        width: int,
        storage: str = "logic",
        logic_bits: int = 0,
        family: str = "generic",
    ):
        if width < 1 or not words:
            raise ValueError(f"Width and words must be at least 1, not {width} and {len(words)}")
        for number, word in enumerate(words):
            if not 0 <= word < 1 << width:
                raise ValueError(f"Words must have {width} bits, not {word:#x} (word {number})")
        if storage not in ("logic", "block"):
            raise ValueError(f"Storage must be logic or block, not {storage!r}")
        if not 0 <= logic_bits <= width:
            raise ValueError(f"logic_bits must be in 0..{width}, not {logic_bits}")
        if family not in ("generic", *_FABRICS):
            families = ", ".join(("generic", *_FABRICS))
            raise ValueError(f"Family must be one of {families}, not {family!r}")
        self._words, self._width, self._family = list(words), width, family
        self._logic_bits = width if storage == "logic" else logic_bits
        super().__init__({"address": In(range(max(2, len(words)))), "data": Out(width)})

    @property
    def depth(self) -> int:
        """How many words."""
        return len(self._words)

    @property
    def width(self) -> int:
        """Bits of a word."""
        return self._width

    def elaborate(self, platform):
        m = Module()

        if self.depth == 1:
            m.d.comb += self.data.eq(self._words[0])
        elif platform is None or self._family == "generic":
            m.d.comb += self.data.eq(self._memory(m, 0, self._width, "plain"))
        else:
            logic, width = self._logic_bits, self._width
            read = self._columns(m, logic)

            # Whole RAMB36E1s are instantiated: yosys takes seconds to infer each of them.
            if self._family == "xc7" and self.depth <= _RAMB36_DEPTH:
                while width - logic >= _RAMB36_WIDTH:
                    read.append(self._ramb36(m, logic))
                    logic += _RAMB36_WIDTH
            if logic < width:
                attrs = {"rom_style": "block"}
                read.append(self._memory(m, logic, width, "block", attrs=attrs))
            m.d.comb += self.data.eq(Cat(read))

        return m

    def _memory(self, m, low, high, name, attrs=None) -> Value:
        """Bits `low`..`high` of the words as a memory, and its output register."""
        memory = Memory(
            shape=high - low,
            depth=self.depth,
            init=[word >> low & (1 << high - low) - 1 for word in self._words],
            attrs=attrs,
        )
        m.submodules[name] = memory
        port = memory.read_port()
        word = Signal(high - low, name=f"{name}_word", reset_less=True)
        m.d.comb += port.addr.eq(self.address)
        m.d.sync += word.eq(port.data)
        return word

    def _ramb36(self, m, low) -> Value:
        """72 bits of the words in a RAMB36E1, and a register behind it.

        Of a word the lower 64 bits are data and the upper 8 parity, INIT_xx holds the data of four
        words and INITP_xx the parity of 32, the first word lowest (UG473, "Block RAM Attributes").
        The highest address bit is 1 where no two are cascaded.
        """
        bits = len(self.address)
        data, parity = 0, 0
        for row, word in enumerate(self._words):
            data |= (word >> low & (1 << 64) - 1) << 64 * row
            parity |= (word >> low + 64 & 0xFF) << 8 * row
        inits = {f"p_INIT_{k:02X}": Const(data >> 256 * k, 256) for k in range(128)}
        inits |= {f"p_INITP_{k:02X}": Const(parity >> 256 * k, 256) for k in range(16)}
        read = [Signal(32), Signal(32), Signal(4), Signal(4)]
        m.submodules[f"block_{low}"] = Instance(
            "RAMB36E1",
            p_RAM_MODE="SDP",
            p_READ_WIDTH_A=_RAMB36_WIDTH,
            p_DOA_REG=0,
            p_DOB_REG=0,
            **inits,
            i_CLKARDCLK=ClockSignal(),
            i_ENARDEN=Const(1, 1),
            i_ADDRARDADDR=Cat(Const(0, 6), self.address, Const(0, 9 - bits), Const(1, 1)),
            **{f"o_{port}": part for port, part in zip(_RAMB36_OUTPUTS, read, strict=True)},
            **{f"i_{port}": Const(0, size) for port, size in _RAMB36_UNUSED.items()},
        )
        word = Signal(_RAMB36_WIDTH, reset_less=True)
        m.d.sync += word.eq(Cat(read))
        return word

    def _columns(self, m, columns) -> list[Value]:
        """The lowest bits of the words in LUTs, so many columns an address register."""
        count = -(-self._width // 8)
        packed = np.frombuffer(
            b"".join(word.to_bytes(count, "little") for word in self._words), dtype=np.uint8
        )
        bits = np.unpackbits(packed.reshape(self.depth, count), axis=1, bitorder="little")
        step = max(1, _LOADS // _column_luts(self.depth, self._family))
        read = []
        for start in range(0, columns, step):
            part = _Columns(bits[:, start : min(start + step, columns)], self._family)
            m.submodules[f"columns_{start}"] = part
            m.d.comb += part.address.eq(self.address)
            read.append(part.data)
        return read
