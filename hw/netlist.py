"""The synthesised netlist as Verilog that a simulator reads.

Synthesis leaves the accelerator's netlist behind, cut from the very design that goes on to place
and route. Here yosys puts its own models of a family's cells (LUTs, carry chains, LUT RAM, flip-
flops) in the place of the cells; it has none of the 7-series' and ECP5's block RAMs, which become
instances of the modules in ``block_ram.v``. What comes out has the ports of the accelerator's
Verilog and takes its place in the same simulation.
"""

import re
from importlib.resources import files

from hw.toolchain.yosys import run_yosys
from sw.errors import PopstreamError

__all__ = ["netlist"]

# Where yosys has its models, and block RAMs that it has no model of.
_MODELS = {
    "xc7": ("xilinx/cells_sim.v", ("RAMB36E1", "RAMB18E1")),
    "ecp5": ("ecp5/cells_sim.v", ("DP16KD",)),
    "ice40": ("ice40/cells_sim.v", ()),
}
# LUTs by family: name, inputs from the lowest, output, and the parameter with the truth table. As
# yosys's own LUT cell they compile in half the time of its models, which are trees of multiplexers.
_LUTS = {
    "xc7": [(f"LUT{n}", [f"I{k}" for k in range(n)], "O", "INIT") for n in range(1, 7)],
    "ecp5": [("LUT4", list("ABCD"), "Z", "INIT")],
    "ice40": [("SB_LUT4", ["I0", "I1", "I2", "I3"], "O", "LUT_INIT")],
}


def netlist(rtlil: str, family: str, module: str) -> str:
    """Verilog of a synthesised netlist, its top named `accelerator`.

    Parameters
    ----------
    rtlil : str
        The netlist: a module and those below it.
    family : str
        ``"xc7"``, ``"ecp5"`` or ``"ice40"``.
    module : str
        Name of the top. Clock and reset may have a domain's name before them, and streams a number
        after them; in the Verilog they are called `clk`, `rst`, `i__valid` and so on.

    Raises
    ------
    PopstreamError
        There is no such module, a cell has no model, or yosys fails otherwise.
    """
    models, block_rams = _MODELS[family]
    used = [name for name in block_rams if f"\n  cell \\{name} " in rtlil]
    shell = _shell(rtlil, module)
    # What is deferred is not there to become a black box; iCE40's big RAMs take minutes otherwise.
    defer = "" if block_rams else "-defer"
    script = "; ".join(
        [
            "read_rtlil netlist.il",
            f"read_verilog {defer} -overwrite +/{models}",
            f"read_verilog {defer} -icells -overwrite luts.v",
            *(f"blackbox {name}" for name in used),
            f"hierarchy -check -top {module}",
            "setattr -mod -unset keep_hierarchy",
            "proc; flatten -noscopeinfo; opt_clean",
            f"rename {module} netlist",
            "write_verilog -noattr netlist.v",
        ]
    )
    luts = "\n".join(_lut(*lut) for lut in _LUTS[family])
    text = run_yosys(
        {"netlist.il": rtlil, "luts.v": luts}, script, "netlist.v", need="a netlist to simulate"
    )
    rams = files("hw").joinpath("block_ram.v").read_text() if used else ""
    return f"{shell}\n{text}\n{rams}"


def _lut(name: str, inputs: list[str], output: str, table: str) -> str:
    """A family's LUT as Verilog around yosys's own."""
    width, pins = len(inputs), ", ".join(inputs)
    return (
        f"module {name} (output {output}, input {pins});\n"
        f"    parameter [{(1 << width) - 1}:0] {table} = 0;\n"
        f"    \\$lut #(.WIDTH({width}), .LUT({table})) lut"
        f" (.A({{{', '.join(reversed(inputs))}}}), .Y({output}));\nendmodule\n"
    )


def _shell(rtlil: str, module: str) -> str:
    """The module `accelerator` around the netlist, whose ports Amaranth numbered to be unique."""
    start = rtlil.find(f"module \\{module}\n")
    if start < 0:
        raise PopstreamError(f"the netlist has no module {module!r}")
    body = rtlil[start : rtlil.index("\nend\n", start)]
    ports, pins = [], []
    pattern = r"^  wire (?:width (\d+) )?(?:upto )?(input|output) \d+ (?:signed )?\\(\S+)$"
    for width, direction, name in re.findall(pattern, body, re.MULTILINE):
        plain = re.sub(r"^\w+_(?=(clk|rst)$)|\$\d+$", "", name)
        ports.append(f"{direction} [{int(width or 1) - 1}:0] {plain}")
        pins.append(f".\\{name} ({plain})")
    return (
        f"module accelerator (\n    {', '.join(ports)}\n);\n"
        f"    netlist netlist ({', '.join(pins)});\nendmodule\n"
    )
