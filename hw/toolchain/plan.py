"""Build plans: the files and commands that make a bitstream of a design."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boards.catalogue import Board
from hw.toolchain.flows import choose_flow
from sw.errors import PopstreamError

__all__ = ["STAGES", "Prepared", "Stage", "after", "before", "cells", "plain_names", "prepare"]

STAGES = ("synthesise", "place and route", "bitstream")

# Cells of our own by family, as Verilog that is their black box before synthesis and what becomes
# of them after it.
_CELLS = {"xc7": ("xc7_cells.v",), "ecp5": ("ecp5_cells.v",), "ice40": ()}

# What place and route wants to see and nobody else: carry chains whose last carry goes nowhere.
_ENDS = {
    "ecp5": ("chtype -set POPSTREAM_CCU2C_LAST a:popstream_last=1", "techmap -map ecp5_cells.v"),
}


@dataclass(frozen=True)
class Stage:
    """One step from gateware to bitstream.

    Attributes
    ----------
    name : str
        One of ``STAGES``.
    commands : tuple of tuple of str
        What is executed in order; the first word names a tool, other words may hold ``$VARIABLE``,
        ``${VARIABLE}`` or ``${VARIABLE:+words}`` as in a shell.
    outputs : tuple of str
        Names of the files it has to leave behind.
    extras : tuple of str
        Names of files that are kept where it leaves them behind.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    outputs: tuple[str, ...]
    extras: tuple[str, ...] = ()

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools it runs, by their own names."""
        return tuple(command[0] for command in self.commands)

    @property
    def log(self) -> str:
        """The name of its log file."""
        return f"{self.name.replace(' ', '_')}.log"


@dataclass(frozen=True)
class Prepared:
    """A design that is ready for the tools.

    Attributes
    ----------
    board : Board
    name : str
        Name of the design; the files' names start with it.
    clock_hz : int
        The pipeline's frequency, which place and route is asked to reach.
    flow : str
        One of the board's flows.
    parts : tuple of str
        Modules whose size is reported on their own, as paths below the top.
    files : mapping of str to (str or bytes)
        The plan's files.
    stages : tuple of Stage
        In order.
    """

    board: Board
    name: str
    clock_hz: int
    flow: str
    parts: tuple[str, ...]
    files: Mapping[str, str | bytes]
    stages: tuple[Stage, ...]

    @property
    def tools(self) -> tuple[str, ...]:
        """Every tool of every stage."""
        return tuple(dict.fromkeys(tool for stage in self.stages for tool in stage.tools))

    @property
    def bitstream(self) -> str:
        """The name of the file that the board is loaded with."""
        return self.name + self.board.bitstream_suffix

    def stage(self, name: str) -> Stage:
        """The stage of this name."""
        return self.stages[STAGES.index(name)]

    def digest(self) -> str:
        """A hash of every file of the plan, in hexadecimal; tool versions are not in it."""
        hasher = hashlib.blake2b(digest_size=16)
        for filename in sorted(self.files):
            content = self.files[filename]
            content = content if isinstance(content, bytes) else content.encode()
            hasher.update(f"{filename}\0{len(content)}\0".encode() + content)
        return hasher.hexdigest()

    def extract(self, root: Path) -> None:
        """Writes the plan's files into a folder, which is made if need be.

        Raises
        ------
        PopstreamError
            The folder or a file cannot be written.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            for filename, content in self.files.items():
                content = content if isinstance(content, bytes) else content.encode()
                (root / filename).write_bytes(content)
        except OSError as error:
            raise PopstreamError(f"cannot write in {root}: {error.strerror or error}") from error


def prepare(
    board: Board,
    top,
    *,
    clock_hz: int,
    name: str = "top",
    parts: Sequence[str] = (),
    simulated: str | None = None,
    flow: str | None = None,
) -> Prepared:
    """Generates a design's gateware and the plan that builds it.

    Parameters
    ----------
    board : Board
    top : amaranth Elaboratable
        The whole design; it requests its pins from the platform.
    clock_hz : int
        The pipeline's frequency.
    name : str
        Letters, digits and underscores.
    parts : sequence of str
        Submodules, as paths such as ``"accelerator.layer0"``, that synthesis keeps apart, so that
        their sizes can be told; nothing is optimised across their borders. Place and route sees
        one flat design.
    simulated : str or None
        Submodule whose netlist synthesis leaves behind, its parts as modules of their own, in
        ``{name}_netlist.il``: what `hw.netlist` makes Verilog of. It is kept apart like a part.
    flow : str or None
        One of the board's flows; None takes the first that this machine has the tools for.

    Raises
    ------
    PopstreamError
        The flow is not known.
    ValueError
        A name of a design or a part that is none.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ValueError(f"A design's name is letters, digits and underscores, not {name!r}")
    flow = choose_flow(board, flow)
    if board.family == "xc7":
        platform = board.platform(flow=flow)
        platform.pipeline_hz = clock_hz
    else:
        platform = board.platform()

    options = _options(board, clock_hz, name, parts, simulated)
    plan = platform.prepare(top, name, **options)

    rtlil = plan.files[f"{name}.il"] = plain_names(plan.files[f"{name}.il"])
    for part in (*parts, *([simulated] if simulated else ())):
        if f"\nmodule \\{name}.{part}\n" not in rtlil:
            raise ValueError(f"No module {part!r} below {name!r}")

    commands = json.loads(plan.files[f"build_{name}.json"])["commands"]
    return Prepared(
        board=board,
        name=name,
        clock_hz=clock_hz,
        flow=flow,
        parts=tuple(parts),
        files={**plan.files, **cells(board.family)},
        stages=_stages(board, flow, name, commands, simulated),
    )


def cells(family: str) -> dict[str, str]:
    """The files that `before` and `after` read, by name."""
    return {name: (Path(__file__).parent / name).read_text() for name in _CELLS[family]}


def before(family: str, parts: Sequence[str] = ()) -> str:
    """The yosys commands between reading a design and synthesis; `parts` are kept apart."""
    commands = [f"read_verilog -lib {name}" for name in _CELLS[family]]
    commands += [f"setattr -mod -set keep_hierarchy 1 {' '.join(parts)}"] if parts else []
    return "; ".join(commands)


def after(family: str) -> str:
    """The yosys commands that follow synthesis."""
    return "; ".join(
        [*(f"techmap -map {name}" for name in _CELLS[family]), "opt_clean", "check -assert"]
    )


def plain_names(rtlil: str) -> str:
    """RTLIL or Verilog without names like ``x[0]``, which become ``x.0``.

    Amaranth so names the elements of an array that a signal holds. Inside abc9 yosys calls bit 0 of
    a wire ``x`` just the same; it then stops at an assertion, or joins the two and drops logic.
    """
    bracketed = re.compile(r"(\\[^\s\[]+)\[(\d+)\]")
    while bracketed.search(rtlil):
        rtlil = bracketed.sub(r"\1.\2", rtlil)
    return rtlil


def _options(
    board: Board, clock_hz: int, name: str, parts: Sequence[str], simulated: str | None
) -> dict:
    """Amaranth's overrides: what every family adds to its own templates."""
    kept, netlist = [f"{name}.{part}" for part in parts], []
    if simulated:
        whole = f"{name}.{simulated}"
        kept.append(whole)
        netlist = [
            f"select {whole} {whole}.*",
            f"write_rtlil -selected {name}_netlist.il",
            "select -clear",
        ]
    return {
        "emit_src": False,  # line numbers would make equal designs differ
        "verbose": True,
        "script_after_read": before(board.family, kept),
        "synth_opts": {
            "xc7": "-flatten -abc9 -nosrl",
            "ecp5": "",
            "ice40": "-device u",
        }[board.family],
        "script_after_synth": "\n".join(
            [
                after(board.family),  # its check: a wire without a driver is logic that got lost
                f"tee -q -o {name}_stat.json stat -json",
                *netlist,
                "setattr -mod -unset keep_hierarchy",
                "flatten -noscopeinfo",
                "delete t:$scopeinfo",  # older place and route knows no such cell
                "opt_clean",
                *_ENDS.get(board.family, ()),
            ]
        ),
        "nextpnr_opts": f"--freq {clock_hz / 1e6} --timing-allow-fail --seed 1"
        f" --report {name}_report.json",
    }


def _stages(
    board: Board,
    flow: str,
    name: str,
    commands: Sequence[Sequence[str]],
    simulated: str | None,
):
    synthesise, place, *pack = (tuple(command) for command in commands)
    routed = {"ecp5": "config", "ice40": "asc", "xc7": "dcp" if flow == "vivado" else "fasm"}
    # nextpnr-xilinx forked before nextpnr could report; its log is read instead.
    reports = () if flow == "openxc7" else (f"{name}_report.json",)
    return (
        Stage(
            "synthesise",
            (synthesise,),
            (
                *(f"{name}.json", f"{name}_stat.json"),
                *([f"{name}_netlist.il"] if simulated else ()),
            ),
            extras=(f"{name}.v",),
        ),
        Stage(
            "place and route",
            (place,),
            (f"{name}.{routed[board.family]}", *reports),
            extras=(f"{name}_utilization.rpt", f"{name}_timing.rpt"),
        ),
        Stage("bitstream", tuple(pack), (name + board.bitstream_suffix,), extras=(f"{name}.svf",)),
    )
