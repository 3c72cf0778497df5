# amaranth: UnusedElaboratable=no
import random
import subprocess

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.cores.accumulator import Accumulator
from hw.cores.matrix_unit import MatrixUnit
from hw.measure import FAMILIES
from hw.toolchain.plan import after, before, cells
from hw.toolchain.tools import require_tool


def ref_totals(steps, width, lanes):
    """The totals after each step of (valid, first, starts, terms)."""
    totals, after = [0] * lanes, []
    for valid, first, starts, terms in steps:
        if valid:
            before = starts if first else totals
            totals = [(a + b) % (1 << width) for a, b in zip(before, terms, strict=True)]
        after.append(totals)
    return after


def _yosys(folder, script):
    """Runs yosys, which sees only what is below its folder; what it says."""
    command = [require_tool("yosys", need="a test"), "-q", "-l", "log", "-p", "; ".join(script)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    log = (folder / "log").read_text()
    assert not done.returncode, log[-3000:]
    return log


@pytest.mark.parametrize("width, lanes", [(1, 1), (12, 4), (9, 5), (12, 11)])
def test_against_reference(width, lanes):
    source = random.Random(width)
    steps = [
        (
            source.random() < 0.7,
            source.random() < 0.3,
            [source.getrandbits(width) for _ in range(lanes)],
            [source.getrandbits(width) for _ in range(lanes)],
        )
        for _ in range(200)
    ]
    core = Accumulator(width=width, lanes=lanes)
    seen = []

    async def bench(ctx):
        for valid, first, starts, terms in steps:
            ctx.set(core.valid, valid)
            ctx.set(core.first, first)
            ctx.set(core.start, starts)
            ctx.set(core.term, terms)
            await ctx.tick()
            seen.append([ctx.get(core.total[lane]) for lane in range(lanes)])

    simulator = Simulator(core)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == ref_totals(steps, width, lanes)


def _check(width, lanes):
    """Verilog of a module whose `ok` is 1 while an accumulator's totals are what they should be."""
    bits = width * lanes
    return f"""
        module check(
            input clk, input valid, input first, input [{bits - 1}:0] start, term, output ok
        );
            wire [{lanes - 1}:0] right;
            wire [{bits - 1}:0] total;
            accumulator dut(.clk(clk), .rst(1'b0), .valid(valid), .first(first),
                .start(start), .term(term), .total(total));
            for (genvar k = 0; k < {lanes}; k = k + 1) begin
                reg [{width - 1}:0] sum = 0;
                always @(posedge clk)
                    if (valid)
                        sum <= term[k*{width} +: {width}]
                            + (first ? start[k*{width} +: {width}] : sum);
                assign right[k] = total[k*{width} +: {width}] === sum;
            end
            assign ok = &right;
        endmodule
    """


@pytest.mark.parametrize("width, lanes", [(12, 4), (9, 5)])
@pytest.mark.parametrize("family", ["xc7", "generic"])
def test_dsps_add_the_same(width, lanes, family, tmp_path):
    """By induction over time, so for all terms: with yosys' model of a DSP48E1."""
    core = Accumulator(width=width, lanes=lanes, family=family)
    text = rtlil.convert(core, name="accumulator", platform=object())
    assert text.count("cell \\DSP48E1 ") == (-(-lanes // 4) if family == "xc7" else 0)
    (tmp_path / "core.il").write_text(text)
    (tmp_path / "check.v").write_text(_check(width, lanes))
    script = [
        "read_rtlil core.il; read_verilog -sv check.v",
        "read_verilog -overwrite -defer +/xilinx/cells_sim.v",
        "hierarchy -check -top check; proc; flatten; opt",
        "sat -verify -tempinduct -prove ok 1 -set-def-inputs check",
    ]
    assert "Induction step proven: SUCCESS!" in _yosys(tmp_path, script)


def test_a_unit_synthesised_with_dsps_does_as_simulated(tmp_path):
    """Proven for all inputs and stalls of the first cycles, some two vectors."""

    def unit():
        weights = np.random.default_rng(1).integers(0, 2, (5, 5))
        return MatrixUnit(
            weights=weights,
            thresholds=[2, 3, 3, 4, 3],
            inputs_per_beat=3,
            neurons_per_beat=5,
            accumulators="dsp",
            family="xc7",
        )

    board, synthesis = FAMILIES["xc7"]
    text = rtlil.convert(unit(), name="netlist", platform=board.platform(), emit_src=False)
    (tmp_path / "netlist.il").write_text(text)
    (tmp_path / "unit.il").write_text(rtlil.convert(unit(), name="unit", emit_src=False))
    for name, verilog in cells("xc7").items():
        (tmp_path / name).write_text(verilog)
    script = [
        f"read_rtlil netlist.il; {before('xc7')}; {synthesis} -top netlist; {after('xc7')}",
        "flatten; opt_clean; select -assert-count 2 t:DSP48E1",
        "select netlist; write_rtlil -selected synthesised.il; design -reset",
        "read_rtlil synthesised.il; read_verilog -overwrite -defer +/xilinx/cells_sim.v",
        "read_rtlil unit.il; proc -norom; memory",
        "miter -equiv -ignore_gold_x -flatten unit netlist miter",
        "hierarchy -check -top miter; proc; memory; flatten; opt -full; async2sync",
        "sat -verify -seq 10 -set in_rst 0 -set-def-inputs -prove trigger 0 miter",
    ]
    assert "SAT proof finished - no model found: SUCCESS!" in _yosys(tmp_path, script)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"width": 0}, r"Width must be in 1\.\.12 bits in a DSP48E1, not 0"),
        ({"width": 13}, r"Width must be in 1\.\.12 bits in a DSP48E1, not 13"),
        ({"lanes": 0}, "Lanes must be at least 1, not 0"),
        ({"family": "ecp5"}, r"Accumulators in DSPs are for xc7 \(or generic\), not 'ecp5'"),
    ],
)
def test_accumulator_rejects(fields, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Accumulator(**{"width": 8, "lanes": 4, **fields})
