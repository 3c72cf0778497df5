"""Proves that popcounts count, for every input: `python -m hw.equivalence`.

A popcount's netlist, with yosys' models in the place of LUTs and carry chains, is compared with a
count that is written down from its definition in Verilog, and that knows nothing of trees. Both
meet in a miter, one output that is 1 where they differ, and of which abc makes a BDD: a count of
bits has a small one, whatever way it is made, where SAT alone takes minutes for 36 lanes. What is
left of the miter, nothing, goes to yosys' SAT solver, whose word it is that counts.

Registers are taken for wires: this proves what a pipeline computes, not when.
"""

import argparse
import re
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from amaranth.back import rtlil

from hw.cores.popcount import Popcount, levels
from hw.progress import bar, say
from hw.toolchain.plan import cells
from hw.toolchain.yosys import attempt_yosys, errors_in
from sw.errors import PopstreamError, unknown

__all__ = ["Case", "main", "popcounts", "prove"]

_MODELS = {"xc7": "xilinx", "ecp5": "ecp5", "ice40": "ice40"}

# Widest count that is proven, and rows of the tables that take turns from width to width.
_WIDEST = 36
_DEPTHS = (16, 1, 3, 8)

_WIRE = """\
(* techmap_celltype = "$dff" *)
module wire_for_register (CLK, D, Q);
    parameter WIDTH = 1;
    parameter CLK_POLARITY = 1;
    input CLK;
    input [WIDTH-1:0] D;
    output [WIDTH-1:0] Q;
    assign Q = D;
endmodule
"""


@dataclass(frozen=True)
class Case:
    """Something to prove.

    Attributes
    ----------
    name : str
        For the user.
    family : str
        Whose cells the design may be made of; "generic" for none.
    design : str
        RTLIL of a module `design` with a clock `clk` and a reset `rst`.
    specification : str
        Verilog of a module `specification` with the other ports of the design.
    inputs, outputs : mapping of str to int
        Widths of these ports by name.
    legal : str
        Verilog condition on the inputs; anything may come out where it is 0.
    """

    name: str
    family: str
    design: str
    specification: str
    inputs: Mapping[str, int] = field(hash=False)
    outputs: Mapping[str, int] = field(hash=False)
    legal: str = "1"


def _miter(case: Case) -> str:
    """Verilog of a module whose `differs` is 1 where design and specification differ."""
    ports = ", ".join(f"input [{bits - 1}:0] {name}" for name, bits in case.inputs.items())
    pins = ", ".join(f".{name}({name})" for name in case.inputs)
    wires, differ = [], []
    for name, bits in case.outputs.items():
        wires.append(f"wire [{bits - 1}:0] {name}_design, {name}_specified;")
        differ.append(f"{name}_design != {name}_specified")
    of_design = ", ".join(f".{name}({name}_design)" for name in case.outputs)
    specified = ", ".join(f".{name}({name}_specified)" for name in case.outputs)
    return f"""
        module miter(input clk, input rst, {ports}, output differs);
            {" ".join(wires)}
            design left(.clk(clk), .rst(rst), {pins}, {of_design});
            specification right({pins}, {specified});
            assign differs = {case.legal} && ({" || ".join(differ)});
        endmodule
    """


def prove(case: Case) -> None:
    """Proves that design and specification put out the same, whatever they get.

    Raises
    ------
    MissingTool
        There is no yosys.
    PopstreamError
        They do not, with inputs for which they differ; or yosys fails otherwise.
    """
    own = cells(case.family) if case.family in _MODELS else {}
    models = [f"+/{_MODELS[case.family]}/cells_sim.v", *own] if case.family in _MODELS else []
    script = [
        "read_rtlil design.il",
        *(f"read_verilog -overwrite -defer {name}" for name in models),
        "read_verilog -sv miter.v specification.v",
        "hierarchy -check -top miter; proc -norom; flatten; opt_clean",
        "setundef -undriven -anyseq; opt",
        "techmap -map wire.v; techmap; opt; select -assert-none t:$_*FF*_ t:$*ff",
    ]
    collapse = "abc -g AND -script collapse.abc"
    verdict = "sat -verify -show-inputs -prove differs 0"
    files = {
        "design.il": case.design,
        "specification.v": case.specification,
        "miter.v": _miter(case),
        "wire.v": _WIRE,
        "collapse.abc": "strash; collapse; strash\n",
        **own,
    }
    # A miter that is not 0 may have more cubes than abc takes; then SAT alone finds an example.
    for steps in ([*script, collapse, verdict], [*script, verdict]):
        log, done = attempt_yosys(files, "; ".join(steps), need="a proof")
        if "SAT proof finished" in log or "ABC" not in log:
            break
    if "SAT proof finished - model found: FAIL!" in log:
        found = dict(re.findall(r"^ +\\(\w+) +\S+ +\S+ +([01]+)$", log, re.MULTILINE))
        example = ", ".join(f"{name} = {bits}'b{found[name]}" for name, bits in case.inputs.items())
        raise PopstreamError(f"{case.name}: not what is specified, for example where {example}")
    if done is None or "SAT proof finished - no model found: SUCCESS!" not in log:
        raise PopstreamError(f"{case.name}: yosys failed: {errors_in(log)}")


def _count(width: int, words: int, table: np.ndarray | None) -> str:
    """The specification of a popcount, from its definition."""
    bits = width.bit_length()
    ports = [f"input [{width - 1}:0] i", f"output reg [{bits * words - 1}:0] o"]
    rows = ""
    if table is None:
        ports.append(f"input [{words * width - 1}:0] w")
    else:
        depth = len(table)
        select = max(1, (depth - 1).bit_length())
        if depth > 1:
            ports.append(f"input [{select - 1}:0] select")
        else:
            rows = "wire select = 0;"
        # Bit k of word p at k * words + p, as `w` has it.
        lines = ["".join(str(bit) for bit in row.T.reshape(-1)[::-1]) for row in table]
        cases = " ".join(f"{k}: w = {len(line)}'b{line};" for k, line in enumerate(lines))
        rows += f" reg [{words * width - 1}:0] w; always @* case (select) {cases}"
        rows += " default: w = 0; endcase"
    return f"""
        module specification({", ".join(ports)});
            {rows}
            integer k, p;
            reg [{bits - 1}:0] count;
            always @* for (p = 0; p < {words}; p = p + 1) begin
                count = 0;
                for (k = 0; k < {width}; k = k + 1)
                    count = count + (i[k] == w[k * {words} + p]);
                o[p * {bits} +: {bits}] = count;
            end
        endmodule
    """


def _popcount(width: int, family: str, *, cells: bool, words: int = 1, depth: int = 0) -> Case:
    """A pipelined popcount, of a family's cells or as plain logic; of known words where `depth`."""
    table = None
    inputs = {"i": width}
    if depth:
        table = np.random.default_rng(width).integers(0, 2, (depth, words, width), dtype=np.uint8)
        if depth > 1:
            inputs["select"] = (depth - 1).bit_length()
    else:
        inputs["w"] = words * width
    stages = levels(width, family, depth)
    core = Popcount(width=width, words=words, stages=stages, family=family, table=table)
    form = "cells" if cells else "plain logic"
    known = f" with one of {depth} known words" if depth else ""
    return Case(
        name=f"popcount of {width} lanes{known} for {family} as {form}",
        family=family if cells else "generic",
        design=rtlil.convert(core, name="design", platform=object() if cells else None),
        specification=_count(width, words, table),
        inputs=inputs,
        outputs={"o": width.bit_length() * words},
        legal=f"select < {depth}" if depth > 1 else "1",
    )


def popcounts(family: str, widths: Iterable[int]) -> dict[str, Case]:
    """Everything to prove about a family's popcounts, by name.

    Parameters
    ----------
    family : str
        "xc7", "ecp5" or "ice40", which stands for "generic" too.
    widths : iterable of int
    """
    cases = {}
    for width in widths:
        for depth in (0, _DEPTHS[width % len(_DEPTHS)]):
            for made in (False, True):
                # The narrow ones show besides that words do not get into each other's way.
                words = 3 if width <= 5 else 1
                case = _popcount(width, family, cells=made, words=words, depth=depth)
                if case.design not in {other.design for other in cases.values()}:
                    cases[case.name] = case
    return cases


def main(argv: list[str] | None = None) -> int:
    """Proves the popcounts of all families; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m hw.equivalence", description=__doc__)
    families = tuple(_MODELS)
    parser.add_argument("--family", help=f"{', '.join(families)}; all of them without")
    parser.add_argument("--widths", nargs=2, type=int, default=(1, _WIDEST), metavar="LANES")
    args = parser.parse_args(argv)
    try:
        if args.family not in (None, *families):
            raise unknown("family", args.family, families)
        first, last = args.widths
        if not 1 <= first <= last:
            raise PopstreamError(f"widths must be ascending from 1, not {first} {last}")
        for family in [args.family] if args.family else families:
            began = time.monotonic()
            cases = popcounts(family, range(first, last + 1))
            with bar(family) as advance:
                for number, case in enumerate(cases.values()):
                    advance(number, len(cases))
                    prove(case)
            say(
                f"{family}: {len(cases)} popcounts of {first} to {last} lanes proven equal to their"
                f" definition, {time.monotonic() - began:.0f} s"
            )
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
