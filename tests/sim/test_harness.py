from dataclasses import replace

import pytest

from sim.harness import render
from sim.job import Stream
from sw.errors import PopstreamError


def test_bench_does_not_depend_on_the_run(job):
    changed = replace(job, seed=9, cycles_per_frame=None, latency_cycles=7, reset=False)
    assert render(job) == render(changed)
    assert render(job) != render(replace(job, taps=()))


def test_taps_are_hierarchical_names(job):
    tap = Stream("deep", lanes=1, width=1, elements=1, path="a.U$0.b-c", port="o_x")
    bench = render(replace(job, taps=(tap,)))
    assert ".valid(dut.a.U$0.\\b-c .o_x__valid)" in bench


def test_top_without_state_has_no_clock(job):
    for verilog, clocked in ((job.verilog, True), (_without_clock(job.verilog), False)):
        assert ("dut (.clk(clk), .rst(reset)," in render(replace(job, verilog=verilog))) == clocked


def _without_clock(verilog):
    start = verilog.index("module pipeline(")
    header = verilog[start : verilog.index(");", start)]
    ports = [port.strip() for port in header.partition("(")[2].split(",")]
    kept = ", ".join(port for port in ports if port not in ("clk", "rst"))
    return verilog.replace(header, f"module pipeline({kept}")


def test_no_such_top(job):
    with pytest.raises(PopstreamError, match="the Verilog to simulate has no module 'other'"):
        render(replace(job, top="other"))


def test_no_such_port(job):
    with pytest.raises(PopstreamError, match="module 'pipeline' has no port 'x__valid'"):
        render(replace(job, output=replace(job.output, port="x")))
