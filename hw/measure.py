"""A netlist's own figures: what a component takes of a family, and how deep its logic is.

`measure` synthesises a component by yosys as a build does; everything else is read off the netlist
that comes out, in plain Python. A 7-series LUT is an occupied LUT6 site: the LUT on a CARRY4's S
and the one on its DI share a site if they have at most five distinct inputs together; an S that no
LUT of its own drives, be it constant, takes a site to pass through. Depth is counted in LUT levels
and carry chains of the longest path, which no placement changes.

Sources: Xilinx UG474 (CARRY4, O5 and O6 of a LUT6), Lattice FPGA-TN-02204 (CCU2C), Lattice
FPGA-DS-02008 (the iCE40's logic cell).
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from boards.catalogue import BOARDS
from hw.toolchain.plan import after, before, cells, plain_names
from hw.toolchain.reports import count_cells
from hw.toolchain.yosys import run_yosys
from sw.errors import PopstreamError, unknown

__all__ = ["FAMILIES", "Depth", "Measured", "Netlist", "measure", "measure_rtlil", "synthesise"]

FAMILIES = {
    "xc7": (BOARDS["pynq"], "synth_xilinx -noiopad -noclkbuf -nosrl -flatten -abc9"),
    "ecp5": (BOARDS["ulx3s"], "synth_ecp5 -noiopad"),
    "ice40": (BOARDS["icebreaker"], "synth_ice40 -device u"),
}

_REGISTERS = re.compile(
    r"FD[RSCP]E(_1)?|LD[CP]E|TRELLIS_FF|SB_DFF\w*|RAMB(18|36)E1|DP16KD|PDPW16KD|SB_RAM40_4K\w*|"
    r"DSP48E1|MULT18X18D|ALU54B|SB_MAC16|SB_SPRAM256KA"
)
_LUTS = re.compile(r"LUT[1-6]|INV|SB_LUT4")
_WIDE = re.compile(r"MUXF[5-9]|PFUMX|L6MUX21")
_CARRIES = re.compile(r"CARRY4|CCU2C|SB_CARRY")
_LUT_MEMORIES = re.compile(r"RAM(32|64|128|256)(M|X1[SD](_1)?)|SRL(16E|C16E|C32E)|TRELLIS_DPR16X4")
# Inputs of a LUT memory that choose what is read; all others are for writing.
_READ_ADDRESS = re.compile(r"ADDR[A-D]|A|A\d|DPRA|DPRA\d|RAD")
# What marks a module as a family's cell.
_LIBRARY = {"blackbox", "whitebox"}
_SHARED_INPUTS = 5  # of two LUTs at one site


@dataclass(frozen=True)
class Depth:
    """The longest combinational paths.

    Attributes
    ----------
    levels : int
        LUTs on a path, at most. A read of LUT memory is one, as is the LUT that an S of a CARRY4
        is passed through, and those within a CCU2C; wide multiplexers (MUXF7, PFUMX) are none.
    carry_chains : int
        Carry chains on a path, at most; that path may be another one.
    path : tuple of str
        Cells and ports of the path with the most of both together, in order.
    """

    levels: int
    carry_chains: int
    path: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """What a synthesised netlist takes.

    Attributes
    ----------
    luts : int
        7-series: occupied LUT6 sites. ECP5: LUT4 sites, of which a CCU2C takes two. iCE40: LUT4,
        and carries that no LUT can join, for they take a logic cell. LUT memory is among them.
    lutram : int
        Those that are memory or shift registers.
    ffs : int
        Flip-flops.
    brams : float
        Block RAMs: RAMB36 (a RAMB18 is half), DP16KD, SB_RAM40.
    dsps : int
        Multiplier blocks.
    between_registers : Depth
        Of the paths from a register, RAM or DSP to a register, RAM or DSP.
    paths : Depth
        Of all paths, those from and to ports among them.
    cells : mapping of str to int
        Every cell by type.
    """

    luts: int
    lutram: int
    ffs: int
    brams: float
    dsps: int
    between_registers: Depth
    paths: Depth
    cells: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class _Cell:
    name: str
    kind: str
    inputs: Mapping[str, Sequence]  # by port: net numbers, or "0", "1", "x"
    outputs: Mapping[str, Sequence]

    def nets(self) -> Iterator[int]:
        """The nets of all inputs, without constants."""
        return (bit for bits in self.inputs.values() for bit in bits if isinstance(bit, int))


# An arc into an output: the net it comes from (or a start), LUT levels, carry chains.
_Arc = tuple[object, int, int]


class Netlist:
    """A flat netlist as yosys's `write_json` writes it.

    Parameters
    ----------
    data : mapping
        The file's content.
    top : str or None
        The module; None takes the one that is marked as the top.

    Raises
    ------
    PopstreamError
        There is no such module, or it is not flat.
    """

    def __init__(self, data: Mapping, top: str | None = None):
        modules = data["modules"]
        if top is None:
            marked = [name for name, module in modules.items() if "top" in module["attributes"]]
            top = next(iter(marked), "top")
        if top not in modules:
            raise PopstreamError(f"the netlist has no module {top!r}")
        self.top, module = top, modules[top]
        self.ports = {
            name: (port["direction"], port["bits"]) for name, port in module["ports"].items()
        }
        self.cells: list[_Cell] = []
        for name, cell in module["cells"].items():
            kind, directions = cell["type"], cell["port_directions"]
            if kind == "$scopeinfo":
                continue
            if kind in modules and not _LIBRARY & modules[kind]["attributes"].keys():
                raise PopstreamError(f"the netlist is not flat: {name} is a {kind}")
            inputs, outputs = {}, {}
            for port, bits in cell["connections"].items():
                if directions[port] == "input":
                    inputs[port] = bits
                elif "x" not in bits:  # else the output is open
                    outputs[port] = bits
            self.cells.append(_Cell(name, kind, inputs, outputs))

    @classmethod
    def read(cls, path: Path, top: str | None = None) -> "Netlist":
        """The netlist in a file, such as a build folder's `top.json`.

        Raises
        ------
        PopstreamError
            It cannot be read.
        """
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")), top)
        except (OSError, ValueError, KeyError) as error:
            raise PopstreamError(f"cannot read the netlist {path}: {error}") from error

    @cached_property
    def drivers(self) -> dict[int, _Cell]:
        """The cell that drives each net."""
        return {bit: c for c in self.cells for bits in c.outputs.values() for bit in bits}

    @cached_property
    def _fanout(self) -> Counter:
        """How many pins and output ports each net reaches."""
        fanout = Counter(bit for cell in self.cells for bit in cell.nets())
        for direction, bits in self.ports.values():
            if direction != "input":
                fanout.update(bit for bit in bits if isinstance(bit, int))
        return fanout

    def _is_lut(self, bit) -> bool:
        return isinstance(bit, int) and bit in self.drivers and _is(_LUTS, self.drivers[bit])

    # Size

    def measured(self) -> Measured:
        """All its figures."""
        cells = Counter(cell.kind for cell in self.cells)
        counts = count_cells(cells)
        memory = count_cells({k: n for k, n in cells.items() if _LUT_MEMORIES.fullmatch(k)})
        depths = self._depths()
        return Measured(
            luts=sum(self.lut_costs.values()),
            lutram=memory.luts,
            ffs=counts.ffs,
            brams=counts.brams,
            dsps=counts.dsps,
            between_registers=depths[0],
            paths=depths[1],
            cells=dict(cells),
        )

    @cached_property
    def lut_costs(self) -> dict[str, int]:
        """The LUTs of each cell that takes some: together those of the netlist."""
        kinds = {kind: count_cells({kind: 1}).luts for kind in {cell.kind for cell in self.cells}}
        costs = Counter({cell.name: kinds[cell.kind] for cell in self.cells if kinds[cell.kind]})
        costs.update(name for name, _ in self.pass_through)
        costs.update(self.lone_carries)
        costs.subtract(self.shared_sites)
        return costs

    def luts_within(self, parts: Iterable[str]) -> dict[str, int]:
        """The LUTs of parts of the design, such as ``accelerator.hidden0``, by cells' names."""
        parts = tuple(parts)
        within = dict.fromkeys(parts, 0)
        for name, luts in self.lut_costs.items():
            path = name.removeprefix("$flatten").replace("\\", "")
            for part in parts:
                if path.startswith(f"{part}."):
                    within[part] += luts
        return within

    def _used_positions(self, cell: _Cell) -> int:
        """How many of a CARRY4's positions do something: up to the last whose output is read."""
        used = 0
        for port in ("O", "CO"):
            for position, bit in enumerate(cell.outputs.get(port, ())):
                if self._fanout[bit]:
                    used = max(used, position + 1)
        return used

    @cached_property
    def _carry_sites(self) -> tuple[set[tuple[str, int]], set[str]]:
        """Positions whose S is passed through a LUT, and LUTs that share another's site."""
        passed: set[tuple[str, int]] = set()
        taken: set[int] = set()  # nets of LUTs that sit at some position
        shared: set[str] = set()
        for cell in self.cells:
            if cell.kind != "CARRY4":
                continue
            for position in range(self._used_positions(cell)):
                s, di = _pin(cell, "S", position), _pin(cell, "DI", position)
                if not self._is_lut(s) or s in taken:
                    passed.add((cell.name, position))
                    continue
                taken.add(s)
                if self._is_lut(di) and di not in taken and self._fanout[di] == 1:
                    distinct = {*self.drivers[s].nets(), *self.drivers[di].nets()}
                    if len(distinct) <= _SHARED_INPUTS:
                        taken.add(di)
                        shared.add(self.drivers[di].name)
        return passed, shared

    @property
    def pass_through(self) -> set[tuple[str, int]]:
        """Used positions of CARRY4s, as (cell, position), whose S no LUT of its own drives."""
        return self._carry_sites[0]

    @property
    def shared_sites(self) -> set[str]:
        """LUTs on a DI that share the site of the LUT on the same position's S."""
        return self._carry_sites[1]

    @cached_property
    def lone_carries(self) -> set[str]:
        """SB_CARRYs without a LUT that adds the same two bits to the same carry."""
        sums = Counter()
        for cell in self.cells:
            if cell.kind == "SB_LUT4":
                sums[tuple(_pin(cell, port) for port in ("I1", "I2", "I3"))] += 1
        lone = set()
        for cell in self.cells:
            if cell.kind == "SB_CARRY":
                key = tuple(_pin(cell, port) for port in ("I0", "I1", "CI"))
                if isinstance(key[2], int) and sums[key]:
                    sums[key] -= 1
                else:
                    lone.add(cell.name)
        return lone

    # Depth

    def _arcs(self, cell: _Cell) -> Iterator[tuple[object, list[_Arc]]]:
        """The outputs of a combinational cell, each with the arcs that lead to it."""
        if cell.kind == "CARRY4":
            yield from self._carry4(cell)
        elif cell.kind == "CCU2C":
            carry = self._chain(_pin(cell, "CIN"), ("CCU2C",))
            for half in "01":
                lut = [(_pin(cell, f"{port}{half}"), 1, 1) for port in "ABCD"]
                yield _pin(cell, f"S{half}"), [*lut, carry]
                between = (cell.name, half)
                yield between, [*lut, carry]
                carry = (between, 0, 0)
            yield _pin(cell, "COUT"), [carry]
        elif cell.kind == "SB_CARRY":
            operands = [(_pin(cell, port), 0, 1) for port in ("I0", "I1")]
            carry = self._chain(_pin(cell, "CI"), ("SB_CARRY",))
            yield _pin(cell, "CO"), [*operands, carry]
        else:
            level = 0 if _is(_WIDE, cell) else 1
            arcs: list[_Arc]
            if _is(_LUT_MEMORIES, cell):  # what it holds comes out too
                reads = (b for p, bits in cell.inputs.items() if _read(p) for b in bits)
                arcs = [(bit, 1, 0) for bit in reads] + [(cell, 1, 0)]
            else:
                arcs = [(bit, level, 0) for bit in cell.nets()]
            for bits in cell.outputs.values():
                for bit in bits:
                    yield bit, arcs

    def _chain(self, bit, kinds: Iterable[str]) -> _Arc:
        """The arc into a carry input: no new chain where another carry's output comes in."""
        driver = self.drivers.get(bit)
        continued = driver is not None and driver.kind in kinds
        if continued and driver.kind == "CARRY4":
            continued = bit == _pin(driver, "CO", 3)
        return bit, 0, 0 if continued else 1

    def _carry4(self, cell: _Cell):
        carry = [self._chain(_pin(cell, "CI"), ("CARRY4",)), (_pin(cell, "CYINIT"), 0, 1)]
        for position in range(self._used_positions(cell)):
            passed = (cell.name, position) in self.pass_through
            s = (_pin(cell, "S", position), 1 if passed else 0, 1)
            di = (_pin(cell, "DI", position), 0, 1)
            yield _pin(cell, "O", position), [s, *carry]
            out = _pin(cell, "CO", position) or (cell.name, position)
            yield out, [s, di, *carry]
            carry = [(out, 0, 0)]

    def _depths(self) -> tuple[Depth, Depth]:
        """Of the paths between registers, and of all paths."""
        into: dict[object, list[_Arc]] = {}
        owner: dict[object, str] = {}
        registers: dict[object, str] = {}  # where paths between registers start, with names
        ends: list[tuple[object, str]] = []
        ports: dict[object, str] = {}
        port_ends: list[tuple[object, str]] = []
        for cell in self.cells:
            memory = _is(_LUT_MEMORIES, cell)
            if memory or _is(_LUTS, cell) or _is(_WIDE, cell) or _is(_CARRIES, cell):
                for net, arcs in self._arcs(cell):
                    if net is not None:
                        into[net] = arcs
                        owner[net] = cell.name
                if memory:
                    registers[cell] = cell.name
                    writes = (b for p, bits in cell.inputs.items() if not _read(p) for b in bits)
                    ends += [(bit, cell.name) for bit in writes]
            else:
                register = _is(_REGISTERS, cell)
                starts = registers if register else ports
                starts.update((b, cell.name) for bits in cell.outputs.values() for b in bits)
                (ends if register else port_ends).extend((bit, cell.name) for bit in cell.nets())
        for name, (direction, bits) in self.ports.items():
            if direction != "output":
                ports.update((bit, name) for bit in bits)
            if direction != "input":
                port_ends += [(bit, name) for bit in bits]
        order = _sorted(into, owner)
        return (
            _longest(order, into, owner, registers, ends),
            _longest(order, into, owner, registers | ports, ends + port_ends),
        )


def _pin(cell: _Cell, port: str, position: int = 0):
    """What is at one bit of a port, None where nothing is."""
    bits = cell.inputs.get(port) or cell.outputs.get(port) or ()
    return bits[position] if position < len(bits) else None


def _is(pattern: re.Pattern, cell: _Cell) -> bool:
    return pattern.fullmatch(cell.kind) is not None


def _read(port: str) -> bool:
    return _READ_ADDRESS.fullmatch(port) is not None


def _sorted(into: Mapping[object, list[_Arc]], owner: Mapping[object, str]) -> list:
    """The nets of combinational outputs, each after those it depends on."""
    waits = {net: sum(source in into for source, _, _ in arcs) for net, arcs in into.items()}
    follow: dict[object, list] = {}
    for net, arcs in into.items():
        for source, _, _ in arcs:
            if source in into:
                follow.setdefault(source, []).append(net)
    order = [net for net, count in waits.items() if not count]
    for net in order:
        for next_net in follow.get(net, ()):
            waits[next_net] -= 1
            if not waits[next_net]:
                order.append(next_net)
    if len(order) < len(into):
        looped = next(net for net, count in waits.items() if count)
        raise PopstreamError(f"the netlist has a combinational loop through {owner[looped]}")
    return order


def _longest(order, into, owner, starts: Mapping[object, str], ends) -> Depth:
    """The most LUT levels, the most carry chains, and the path with the most of both."""
    most = {net: (0, 0, 0) for net in starts}
    before: dict[object, object] = {}
    for net in order:
        levels = chains = both = -1
        for source, level, chain in into[net]:
            if source in most:
                reached = most[source]
                levels = max(levels, reached[0] + level)
                chains = max(chains, reached[1] + chain)
                if reached[2] + level + chain > both:
                    both = reached[2] + level + chain
                    before[net] = source
        if both >= 0:
            most[net] = (levels, chains, both)
    reached = [(most[net], net, name) for net, name in ends if net in most]
    if not reached:
        return Depth(0, 0, ())
    _, net, last = max(reached, key=lambda end: end[0][2])
    path = [last]
    while True:
        name = owner.get(net) or starts[net]
        if path[-1] != name:
            path.append(name)
        if net not in before:
            break
        net = before[net]
    return Depth(
        levels=max(values[0] for values, _, _ in reached),
        carry_chains=max(values[1] for values, _, _ in reached),
        path=tuple(reversed(path)),
    )


def synthesise(text: str, family: str, top: str) -> Netlist:
    """The netlist of a module in RTLIL text, by yosys.

    Raises
    ------
    MissingTool
        yosys is not on this machine.
    PopstreamError
        The family is unknown, or yosys fails or finds a wire without a driver.
    """
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    script = (
        f"read_rtlil design.il; {before(family)}; {FAMILIES[family][1]} -top {top}; "
        f"{after(family)}; setattr -mod -unset keep_hierarchy; flatten -noscopeinfo; opt_clean; "
        f"select {top}; write_json -selected netlist.json"
    )
    files = {**cells(family), "design.il": plain_names(text)}
    netlist = run_yosys(files, script, "netlist.json", need="the synthesis of a unit")
    return Netlist(json.loads(netlist), top)


def measure_rtlil(text: str, family: str, top: str) -> Measured:
    """The figures of a module in RTLIL text, synthesised for a family. Raises as `synthesise`."""
    return synthesise(text, family, top).measured()


def measure(component, family: str, *, clock_hz: int | None = None) -> Measured:
    """The figures of a component, synthesised for a family with the family's own primitives.

    Parameters
    ----------
    component : amaranth.lib.wiring.Component
    family : str
        One of ``FAMILIES``.
    clock_hz : int or None
        What the platform says the pipeline's clock is, for components that ask.

    Raises
    ------
    MissingTool, PopstreamError
        As `synthesise`.
    """
    from amaranth.back import rtlil

    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    platform = FAMILIES[family][0].platform()
    if clock_hz is not None:
        platform.pipeline_hz = clock_hz
    text = rtlil.convert(component, name="unit", platform=platform, emit_src=False)
    return measure_rtlil(text, family, "unit")
