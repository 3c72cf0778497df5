"""The Verilog around a design under test: a driver, a sink, a monitor for each stream.

The design's own Verilog is instantiated untouched; taps are reached by hierarchical names. Input
comes from a file and every transferred beat goes to a file, so that Python need not wake in every
clock cycle: cocotb starts the clock, sets the stalls, and looks in from time to time
(`sim.bench`). The parts are in harness.v; here they are put together for the streams of a job.
"""

import re
from pathlib import Path

from sim.beats import record_words
from sim.job import Job, Stream
from sw.errors import PopstreamError

__all__ = ["TOP", "beats_file", "render"]

TOP = "popstream_bench"

_PARTS = Path(__file__).with_name("harness.v")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_SIGNALS = ("valid", "ready", "payload")

_BENCH = """
module {top} (
    input         clk          {public},
    input         reset        {public},
    input         flush        {public},
    input  [31:0] limit        {public},
    input  [31:0] i_seed       {public},
    input  [15:0] i_chance     {public},
    input  [31:0] i_bursts     {public},
    input  [31:0] o_seed       {public},
    input  [15:0] o_chance     {public},
    input  [31:0] o_bursts     {public},
    input  [31:0] burst_mask   {public},
    input  [31:0] w_seed       {public},
    input  [15:0] w_chance     {public},
    input  [31:0] w_bursts     {public},
    output [32*{count}-1:0] beats       {public},
    output [32*{count}-1:0] broken_beat {public},
    output [{count}-1:0] withdrawn      {public},
    output [{count}-1:0] changed        {public},
    output [{count}-1:0] valids         {public},
    output [{count}-1:0] readies        {public}
);
    wire i_valid, i_ready, i_stall, o_valid, o_stall;
    wire o_ready = !o_stall;
    wire [{i.bits}-1:0] i_payload;
    wire [{o.bits}-1:0] o_payload;
    reg  [31:0] cycle;

    always @(posedge clk) cycle <= reset ? 0 : cycle + 1;

    popstream_stall i_side (.clk(clk), .reset(reset), .seed(i_seed), .chance(i_chance),
        .burst_chance(i_bursts), .burst_mask(burst_mask), .stall(i_stall));
    popstream_stall o_side (.clk(clk), .reset(reset), .seed(o_seed), .chance(o_chance),
        .burst_chance(o_bursts), .burst_mask(burst_mask), .stall(o_stall));

    popstream_driver #(.WIDTH({i.bits}), .BYTES({i_bytes}), .FILE("input.beats")) driver (
        .clk(clk), .reset(reset), .stall(i_stall), .limit(limit),
        .valid(i_valid), .ready(i_ready), .payload(i_payload));

{weights}
    {design} dut ({clock} {w}
        .{i.port}__valid(i_valid), .{i.port}__ready(i_ready), .{i.port}__payload(i_payload),
        .{o.port}__valid(o_valid), .{o.port}__ready(o_ready), .{o.port}__payload(o_payload));
"""

_WEIGHTS = """
    wire w_valid, w_ready, w_stall;
    wire [63:0] w_payload;

    popstream_stall w_side (.clk(clk), .reset(reset), .seed(w_seed), .chance(w_chance),
        .burst_chance(w_bursts), .burst_mask(burst_mask), .stall(w_stall));
    popstream_driver #(.WIDTH(64), .BYTES(8), .FILE("weights.beats")) w_driver (
        .clk(clk), .reset(reset), .stall(w_stall), .limit(32'hFFFFFFFF),
        .valid(w_valid), .ready(w_ready), .payload(w_payload));
"""

_MONITOR = """
    // {stream.name}: {stream.elements} elements of {stream.width} bits in {stream.beats} beats
    assign valids[{index}] = {valid};
    assign readies[{index}] = {ready};
    popstream_monitor #(.WIDTH({stream.bits}), .WORDS({words}), .FILE("{file}")) monitor_{index} (
        .clk(clk), .reset(reset), .flush(flush), .cycle(cycle),
        .valid({valid}), .ready({ready}), .payload({payload}),
        .beats(beats[32*{index} +: 32]), .broken_beat(broken_beat[32*{index} +: 32]),
        .withdrawn(withdrawn[{index}]), .changed(changed[{index}]));
    initial if ($bits({payload}) != {stream.bits})
        $fatal(1, "{stream.name}: payload of %0d bits, not {stream.bits}", $bits({payload}));
"""


def beats_file(index: int) -> str:
    """The file in the simulation's folder that the monitor of stream `index` writes."""
    return f"{index}.beats"


def render(job: Job) -> str:
    """The bench's Verilog for a job; its top and streams decide, not seed, stalls or frames.

    Raises
    ------
    PopstreamError
        The Verilog has no such top, or the top lacks a port of a stream.
    """
    ports = _ports(job.verilog, job.top)
    driven = [job.input, job.output] + [job.weights] * (job.weights is not None)
    for stream in driven:
        for name in (f"{stream.port}__{signal}" for signal in _SIGNALS):
            if name not in ports:
                raise PopstreamError(f"the Verilog's module {job.top!r} has no port {name!r}")
    clock = {"clk": "clk", "rst": "reset"}  # neither exists without state

    bench = _BENCH.format(
        top=TOP,
        public="/*verilator public_flat_rw*/",
        count=len(job.streams),
        i=job.input,
        o=job.output,
        i_bytes=-(-job.input.bits // 8),
        design=_name(job.top),
        clock=" ".join(f".{port}({net})," for port, net in clock.items() if port in ports),
        weights="" if job.weights is None else _WEIGHTS,
        w=""
        if job.weights is None
        else " ".join(f".{job.weights.port}__{name}(w_{name})," for name in _SIGNALS),
    )
    signals = [
        [f"i_{signal}" for signal in _SIGNALS],
        *(_tapped(tap) for tap in job.taps),
        [f"o_{signal}" for signal in _SIGNALS],
    ]
    for index, (stream, names) in enumerate(zip(job.streams, signals, strict=True)):
        bench += _MONITOR.format(
            index=index,
            stream=stream,
            words=record_words(stream),
            file=beats_file(index),
            **dict(zip(_SIGNALS, names, strict=True)),
        )
    return f"{_PARTS.read_text()}{bench}endmodule\n"


def _ports(verilog: str, top: str) -> set[str]:
    """The ports of a module, from its header as Amaranth writes it."""
    header = re.search(rf"^\s*module\s+\\?{re.escape(top)}\s*\(([^)]*)\);", verilog, re.M)
    if header is None:
        raise PopstreamError(f"the Verilog to simulate has no module {top!r}")
    return {port.split()[-1] for port in header[1].split(",") if port.strip()}


def _tapped(tap: Stream) -> list[str]:
    path = [part for part in tap.path.split(".") if part]
    return [_name("dut", *path, f"{tap.port}__{signal}") for signal in _SIGNALS]


def _name(*parts: str) -> str:
    """A hierarchical name; what is no plain identifier is escaped."""
    return ".".join(part if _IDENTIFIER.fullmatch(part) else f"\\{part} " for part in parts)
