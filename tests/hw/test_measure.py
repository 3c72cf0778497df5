# amaranth: UnusedElaboratable=no
"""Figures of hand-made netlists, and of small components that yosys synthesised."""

import json

import pytest
from amaranth.hdl import Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.measure import FAMILIES, Netlist, measure, measure_rtlil
from sw.errors import PopstreamError

OUTPUTS = {"O", "CO", "Q", "S0", "S1", "COUT", "DOA", "DOB", "DOC", "DOD", "DO", "Z", "P"}


def netlist(cells, inputs=(), outputs=()):
    """A netlist of `name: (type, {port: bits})`; nets are numbers."""
    ports = {f"i{bit}": {"direction": "input", "bits": [bit]} for bit in inputs}
    ports |= {f"o{bit}": {"direction": "output", "bits": [bit]} for bit in outputs}
    return Netlist(
        {
            "modules": {
                "top": {
                    "attributes": {"top": "1"},
                    "ports": ports,
                    "cells": {
                        name: {
                            "type": kind,
                            "port_directions": {
                                port: "output" if port in OUTPUTS else "input" for port in pins
                            },
                            "connections": {
                                port: bits if isinstance(bits, list) else [bits]
                                for port, bits in pins.items()
                            },
                        }
                        for name, (kind, pins) in cells.items()
                    },
                }
            }
        }
    )


def ff(d, q):
    return "FDRE", {"C": 1, "CE": "1", "R": "0", "D": d, "Q": q}


def lut(output, *inputs):
    return f"LUT{len(inputs)}", {"O": output} | {f"I{n}": bit for n, bit in enumerate(inputs)}


def carry4(s, di, *, ci="0", cyinit="0", o=(), co=()):
    spare = 9000 + 8 * sum(bit for bit in (*o, *co) if isinstance(bit, int))
    o = [*o, *(spare + n for n in range(4 - len(o)))]
    co = [*co, *(spare + 4 + n for n in range(4 - len(co)))]
    return "CARRY4", {"CI": ci, "CYINIT": cyinit, "S": s, "DI": di, "O": o, "CO": co}


def test_levels_between_registers():
    cells = {
        "from": ff(50, 10),
        "a": lut(11, 10, 2),
        "b": lut(12, 11, 2),
        "c": lut(13, 12, 12),
        "to": ff(12, 14),
    }
    size = netlist(cells, inputs=[1, 2, 50], outputs=[13]).measured()
    assert (size.luts, size.ffs) == (3, 2)
    assert size.between_registers.levels == 2
    assert size.between_registers.path == ("from", "a", "b", "to")
    assert size.paths.levels == 3
    assert size.paths.path == ("from", "a", "b", "c", "o13")
    assert size.paths.carry_chains == 0


def test_ports_are_no_registers():
    size = netlist({"a": lut(10, 2), "to": ff(10, 11)}, inputs=[1, 2], outputs=[11]).measured()
    assert size.between_registers.levels == 0 and size.between_registers.path == ()
    assert size.paths.levels == 1 and size.paths.path == ("i2", "a", "to")


def counter(bits):
    """A counter: S is the register itself in position 0, then a LUT; DI is constant."""
    cells = {}
    for start in range(0, bits, 4):
        chain = start // 4
        positions = range(start, start + 4)
        cells[f"carry{chain}"] = carry4(
            [200 + n for n in positions],
            [100 + n for n in positions],
            ci=400 + start - 1 if start else "0",
            cyinit="0" if start else "1",
            o=[300 + n for n in positions],
            co=[400 + n for n in positions],
        )
        for n in positions:
            cells[f"lut{n}"] = lut(200 + n, 100 + n)
            cells[f"ff{n}"] = ff(300 + n, 100 + n)
    return netlist(cells, inputs=[1])


def test_a_counter_is_one_lut_a_bit_and_one_chain():
    size = counter(8).measured()
    assert (size.luts, size.ffs) == (8, 8)
    depth = size.between_registers
    assert (depth.levels, depth.carry_chains) == (1, 1)
    assert depth.path[1:-1] in (("lut0", "carry0", "carry1"), ("lut0", "carry0"))


def test_a_chain_that_goes_on_elsewhere_is_another_chain():
    """Out of the third CO, or into CYINIT, there is no dedicated wire."""
    first = carry4([11, 11, 11, 11], ["0"] * 4, cyinit=10, co=[21, 22, 23, 24])
    for source, input, chains in (
        (24, "ci", 1),
        (23, "ci", 2),
        (24, "cyinit", 2),
    ):
        cells = {
            "from": ff("0", 10),
            "first": first,
            "second": carry4([11] * 4, ["0"] * 4, **{input: source}, o=[31]),
            "to": ff(31, 40),
        }
        assert netlist(cells).measured().between_registers.carry_chains == chains


def site(s_inputs, di_inputs, *, more=(), s=20, used=1):
    """One CARRY4 of which position 0 has a LUT on S and one on DI; registers drive both."""
    cells = {f"from{n}": ff("0", n) for n in {*s_inputs, *di_inputs}}
    cells["s"] = lut(20, *s_inputs)
    cells["di"] = lut(21, *di_inputs)
    cells["carry"] = carry4(
        [s, "0", "0", "0"], [21, "0", "0", "0"], o=[500 + n for n in range(used)]
    )
    cells |= dict(more)
    return netlist(cells, outputs=[500 + n for n in range(used)]).measured()


def test_two_luts_share_a_site_with_five_inputs():
    assert site([2, 3, 4, 5, 6], [2, 3, 4, 5, 6]).luts == 1
    assert site([2, 3, 4], [5, 6]).luts == 1
    assert site([2, 3, 4], [5, 6, 7]).luts == 2
    assert site([2, 3, 4, 5, 6, 7], [2]).luts == 2


def test_a_lut_that_also_drives_something_else_shares_no_site():
    elsewhere = {"else": ff(21, 60)}.items()
    assert site([2, 3], [2, 3], more=elsewhere).luts == 2
    read_out = netlist(
        {
            "from": ff("0", 2),
            "s": lut(20, 2),
            "di": lut(21, 2),
            "carry": carry4([20, "0", "0", "0"], [21, "0", "0", "0"], o=[30]),
        },
        outputs=[30, 21],
    )
    assert read_out.measured().luts == 2


def test_what_no_lut_drives_passes_through_one():
    alone = site([2, 3], [2, 3], s=2)  # the register itself drives S
    assert alone.luts == 3
    assert alone.paths.levels == 1


def test_one_lut_sits_at_one_position():
    cells = {
        "from": ff("0", 2),
        "s": lut(20, 2),
        "one": carry4([20, 20, "0", "0"], ["0"] * 4, o=[30, 31]),
        "two": carry4([20, "0", "0", "0"], ["0"] * 4, o=[32]),
    }
    size = netlist(cells, outputs=[30, 31, 32]).measured()
    assert size.luts == 3
    assert size.paths.levels == 2  # a LUT, and one to pass its output through


def test_positions_that_nothing_reads_cost_nothing():
    assert site([2], [2], used=1).luts == 1
    assert site([2], [2], used=3).luts == 3


def test_wide_multiplexers_are_on_the_path_but_no_level():
    cells = {
        "from": ff("0", 2),
        "a": lut(10, 2),
        "b": lut(11, 2),
        "mux": ("MUXF7", {"I0": 10, "I1": 11, "S": 2, "O": 12}),
        "to": ff(12, 13),
    }
    size = netlist(cells).measured()
    assert size.luts == 2
    assert size.between_registers.levels == 1
    assert size.between_registers.path == ("from", "a", "mux", "to")


def test_lut_memory():
    """Reading is a level, from the address or from what it holds; writing ends a path."""
    address = [2, 2, 2, 2, 2]
    ram = {"ADDRA": address, "ADDRD": address, "DIA": [10, 10], "DOA": [20, 21], "WCLK": 1, "WE": 2}
    cells = {
        "from": ff("0", 2),
        "a": lut(10, 2),
        "ram": ("RAM32M", ram),
        "after": lut(30, 20),
        "to": ff(30, 31),
    }
    size = netlist(cells, inputs=[1]).measured()
    assert (size.luts, size.lutram) == (6, 4)
    assert size.between_registers.levels == 2
    assert size.between_registers.path == ("from", "ram", "after", "to")
    size = netlist({name: cells[name] for name in ("from", "a", "ram")}, inputs=[1]).measured()
    assert size.between_registers.path == ("from", "a", "ram")  # what is written
    constant = {**ram, "ADDRA": ["0"] * 5, "ADDRD": ["0"] * 5}
    size = netlist(cells | {"ram": ("RAM32M", constant)}, inputs=[1]).measured()
    assert size.between_registers.path == ("ram", "after", "to")


def test_block_ram_and_dsp_end_and_start_paths():
    cells = {
        "ram": ("RAMB36E1", {"ADDR": [40], "DO": [2]}),
        "half": ("RAMB18E1", {"ADDR": [40], "DO": [3]}),
        "a": lut(10, 2, 3),
        "dsp": ("DSP48E1", {"A": [10], "P": [40]}),
    }
    size = netlist(cells).measured()
    assert (size.luts, size.brams, size.dsps) == (1, 1.5, 1)
    assert size.between_registers.path == ("ram", "a", "dsp")


def ccu2c(a, *, cin="0", cout):
    pins = {f"{p}{n}": "0" for p in "BCD" for n in "01"} | {"A0": a, "A1": a, "CIN": cin}
    return "CCU2C", pins | {"S0": cout + 1, "S1": cout + 2, "COUT": cout}


def test_ecp5_carry_chains():
    cells = {
        "from": ("TRELLIS_FF", {"DI": 62, "Q": 2}),
        "one": ccu2c(2, cout=50),
        "two": ccu2c(2, cin=50, cout=60),
    }
    size = netlist(cells).measured()
    assert size.luts == 4
    assert (size.between_registers.levels, size.between_registers.carry_chains) == (1, 1)
    assert size.between_registers.path in (("from", "one", "two", "from"), ("from", "two", "from"))


def test_ice40_carries_join_a_lut():
    """A carry without the LUT of its sum takes a logic cell of its own."""
    add = {"I0": "0", "I1": 2, "I2": 3, "I3": 10}
    cells = {
        "from": ("SB_DFF", {"D": 30, "Q": 2}),
        "first": ("SB_CARRY", {"I0": 2, "I1": 3, "CI": "1", "CO": 10}),
        "carry": ("SB_CARRY", {"I0": 2, "I1": 3, "CI": 10, "CO": 11}),
        "lut": ("SB_LUT4", {**add, "O": 30}),
    }
    size = netlist(cells, inputs=[3]).measured()
    assert size.luts == 2
    assert (size.between_registers.levels, size.between_registers.carry_chains) == (1, 1)
    twice = cells | {"again": ("SB_CARRY", {"I0": 2, "I1": 3, "CI": 10, "CO": 12})}
    assert netlist(twice, inputs=[3]).measured().luts == 3
    first = cells | {"sum": ("SB_LUT4", {**add, "I3": "1", "O": 31})}  # a constant is no carry
    assert netlist(first, inputs=[3]).measured().luts == 3
    cells["lut"] = ("SB_LUT4", {**add, "I2": "0", "O": 30})
    assert netlist(cells, inputs=[3]).measured().luts == 3


def test_a_loop_is_told():
    with pytest.raises(PopstreamError, match=r"combinational loop through [ab]$"):
        netlist({"a": lut(10, 11), "b": lut(11, 10)}).measured()


def test_files_that_are_no_netlist(tmp_path):
    (tmp_path / "n.json").write_text("{]")
    with pytest.raises(PopstreamError, match=r"cannot read the netlist .*n\.json"):
        Netlist.read(tmp_path / "n.json")
    (tmp_path / "n.json").write_text(json.dumps({"modules": {}}))
    with pytest.raises(PopstreamError, match="no module 'unit'"):
        Netlist.read(tmp_path / "n.json", "unit")


def test_a_netlist_with_modules_left():
    cell = {"type": "inner", "port_directions": {}, "connections": {}}
    inner = {"attributes": {}, "ports": {}, "cells": {"a": cell | {"type": "LUT1"}}}
    data = {"modules": {"top": {**inner, "cells": {"sub": cell}}, "inner": inner}}
    with pytest.raises(PopstreamError, match="not flat: sub is a inner"):
        Netlist(data, "top")
    data["modules"]["inner"]["attributes"]["whitebox"] = "1"  # a family's own cell
    assert [cell.kind for cell in Netlist(data, "top").cells] == ["inner"]


def test_luts_of_parts():
    """By names as flattening leaves them; sites shared or passed through count where they are."""
    cells = {
        "from": ff("0", 2),
        "$flatten\\unit.\\one.$abc$1": lut(20, 2),
        "unit.one.di": lut(21, 2),
        "unit.one.carry": carry4([20, 2, "0", "0"], [21, "0", "0", "0"], o=[30, 31]),
        "unit.one1": lut(22, 2),
    }
    found = netlist(cells, outputs=[30, 31])
    assert found.luts_within(["unit.one", "unit.two"]) == {"unit.one": 2, "unit.two": 0}
    assert found.measured().luts == 3


class Counter(wiring.Component):
    """Eight bits, plain logic."""

    def __init__(self):
        super().__init__({"o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.o + 1)
        return m


class Primitives(wiring.Component):
    """Two LUT5s at each position of a CARRY4, and a LUT6 one input of which does nothing."""

    def __init__(self):
        super().__init__({"i": In(9), "o": Out(1), "other": Out(1)})

    def elaborate(self, platform):
        m = Module()
        s, di, carry = Signal(4), Signal(4), Signal(4)
        for n in range(4):
            inputs = {f"i_I{k}": self.i[n + k] for k in range(5)}
            m.submodules += Instance("LUT5", p_INIT=0x96696996, **inputs, o_O=s[n])
            m.submodules += Instance("LUT5", p_INIT=0xFEE8E880, **inputs, o_O=di[n])
        m.submodules += Instance("CARRY4", i_CI=0, i_CYINIT=self.i[8], i_S=s, i_DI=di, o_CO=carry)
        m.submodules += Instance(
            *("LUT6",), p_INIT=0x8000000080000000, **inputs, i_I5=self.i[8], o_O=self.other
        )
        m.d.sync += self.o.eq(carry[3])
        return m


@pytest.mark.parametrize("family", FAMILIES)
def test_a_synthesised_counter(family):
    size = measure(Counter(), family)
    assert size.ffs == 8
    assert 7 <= size.luts <= 10  # ECP5 may take whole CCU2Cs; iCE40 the first carry's cell
    depth = size.between_registers
    assert 1 <= depth.levels <= 2 and depth.carry_chains <= 1


def test_instantiated_primitives_stay():
    size = measure(Primitives(), "xc7")
    assert size.cells["CARRY4"] == 1
    assert size.cells["LUT5"] == 9  # the LUT6 lost an input
    assert size.luts == 5
    assert (size.paths.levels, size.paths.carry_chains) == (1, 1)
    assert size.between_registers.levels == 0


def test_what_yosys_refuses_is_told():
    with pytest.raises(PopstreamError, match=r"yosys failed: .*ERROR"):
        measure_rtlil("module \\top\n  what\nend\n", "xc7", "top")
    with pytest.raises(PopstreamError, match="unknown family 'xc8'"):
        measure_rtlil("", "xc8", "top")
    with pytest.raises(PopstreamError, match="unknown family 'xc8'"):
        measure(Counter(), "xc8")
