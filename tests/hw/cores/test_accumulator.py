# amaranth: UnusedElaboratable=no
import random
import subprocess

import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.cores.accumulator import Accumulator
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
    command = [require_tool("yosys", need="a test"), "-q", "-l", "log", "-p", "; ".join(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    log = (tmp_path / "log").read_text()
    assert not done.returncode, log[-3000:]
    assert "Induction step proven: SUCCESS!" in log


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
