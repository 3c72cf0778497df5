"""The Verilog around a design under test: one driver, one sink, one monitor for each stream.

The design's own Verilog is instantiated untouched; taps are reached by hierarchical names. Input
comes from a file and every transferred beat goes to a file, so that Python need not wake in every
clock cycle: cocotb starts the clock, sets the stalls, and looks in from time to time (`sim.bench`).
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


def beats_file(index: int) -> str:
    """The file in the simulation's folder that the monitor of stream `index` writes."""
    return f"{index}.beats"


def _name(*parts: str) -> str:
    """A hierarchical name; whatever is no plain identifier is escaped."""
    return ".".join(part if _IDENTIFIER.fullmatch(part) else f"\\{part} " for part in parts)


def _ports(verilog: str, top: str) -> set[str]:
    """The ports of a module, from its header in Verilog as Amaranth writes it."""
    header = re.search(
        rf"^\s*module\s+\\?{re.escape(top)}\s*(?:#\(.*?\)\s*)?\((.*?)\);", verilog, re.M | re.S
    )
    if header is None:
        raise PopstreamError(f"the Verilog to simulate has no module {top!r}")
    return set(re.findall(r"\w+(?=\s*(?:,|$))", header[1].strip()))


def _monitor(index: int, stream: Stream, signals: list[str]) -> str:
    valid, ready, payload = signals
    return f"""
    // {stream.name}: {stream.elements} elements of {stream.width} bits in {stream.beats} beats
    popstream_monitor #(.WIDTH({stream.bits}), .WORDS({record_words(stream)}), .FILE("{beats_file(index)}"))
    monitor_{index} (.clk(clk), .reset(reset), .flush(flush), .cycle(cycle),
        .valid({valid}), .ready({ready}), .payload({payload}),
        .beats(beats[{index} * 32 +: 32]), .broken_beat(broken_beat[{index} * 32 +: 32]),
        .withdrawn(withdrawn[{index}]), .changed(changed[{index}]));
    assign valids[{index}] = {valid};
    assign readies[{index}] = {ready};
    initial if ($bits({payload}) != {stream.bits}) begin
        $display("%m: {stream.name} has a payload of %0d bits, expected {stream.bits}", $bits({payload}));
        $fatal;
    end
"""


def render(job: Job) -> str:
    """The bench's Verilog for a job: depends on its top and streams alone, not on frames, seed or stalls.

    Raises
    ------
    PopstreamError
        The Verilog has no such top, or the top lacks a port of a stream.
    """
    ports = _ports(job.verilog, job.top)
    i, o = job.input.port, job.output.port
    for name in (
        f"{port}__{signal}" for port in (i, o) for signal in ("payload", "valid", "ready")
    ):
        if name not in ports:
            raise PopstreamError(f"the Verilog's module {job.top!r} has no port {name!r}")
    clock = "".join(f".{a}({b}), " for a, b in (("clk", "clk"), ("rst", "reset")) if a in ports)
    signals = [["i_valid", "i_ready", "i_payload"]]
    for tap in job.taps:
        path = [part for part in tap.path.split(".") if part]
        signals.append(
            [_name("dut", *path, f"{tap.port}__{s}") for s in ("valid", "ready", "payload")]
        )
    signals.append(["o_valid", "o_ready", "o_payload"])
    monitors = "".join(
        _monitor(k, s, names) for k, (s, names) in enumerate(zip(job.streams, signals, strict=True))
    )
    count = len(job.streams)
    public = "/*verilator public_flat_rw*/"
    return f"""{_PARTS.read_text()}
module {TOP} (
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
    output reg [31:0] cycle    {public},
    output [{32 * count - 1}:0] beats       {public},
    output [{32 * count - 1}:0] broken_beat {public},
    output [{count - 1}:0] withdrawn        {public},
    output [{count - 1}:0] changed          {public},
    output [{count - 1}:0] valids           {public},
    output [{count - 1}:0] readies          {public}
);
    wire i_valid, i_ready, i_stall, o_valid, o_stall;
    wire o_ready = !o_stall;
    wire [{job.input.bits - 1}:0] i_payload;
    wire [{job.output.bits - 1}:0] o_payload;

    always @(posedge clk) cycle <= reset ? 0 : cycle + 1;

    popstream_stall i_side (.clk(clk), .reset(reset), .seed(i_seed), .chance(i_chance),
        .burst_chance(i_bursts), .burst_mask(burst_mask), .stall(i_stall));
    popstream_stall o_side (.clk(clk), .reset(reset), .seed(o_seed), .chance(o_chance),
        .burst_chance(o_bursts), .burst_mask(burst_mask), .stall(o_stall));

    popstream_driver #(.WIDTH({job.input.bits}), .BYTES({-(-job.input.bits // 8)}), .FILE("input.beats"))
    driver (.clk(clk), .reset(reset), .stall(i_stall), .limit(limit),
        .valid(i_valid), .ready(i_ready), .payload(i_payload));

    {_name(job.top)} dut ({clock}
        .{i}__valid(i_valid), .{i}__ready(i_ready), .{i}__payload(i_payload),
        .{o}__valid(o_valid), .{o}__ready(o_ready), .{o}__payload(o_payload));
{monitors}
endmodule
"""
