"""What the tools found out: the size of a design and of its parts, and how fast it runs."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hw.toolchain.plan import Prepared
from sw.errors import PopstreamError

__all__ = ["Placement", "Synthesis", "Utilisation", "read_placement", "read_synthesis"]

# What one cell of a type takes, in netlists and in nextpnr's reports: (type, resource, units).
# Distributed memory and shift registers are LUTs; an ECP5's CCU2C is two; PFUMX and L6MUX21 are
# free with the LUTs they join; block RAM is counted in the board's unit, so a RAMB18 is half.
_CELLS: tuple[tuple[str, str, float], ...] = (
    (r"LUT[1-6]|INV|LUT4|SB_LUT4", "luts", 1),
    (r"SRL(16E|C16E|C32E)", "luts", 1),
    (r"RAM(32|64)X1S(_1)?", "luts", 1),
    (r"RAM(32|64)X1D(_1)?|RAM128X1S(_1)?", "luts", 2),
    (r"RAM(32M|64M|128X1D|256X1S)", "luts", 4),
    (r"CCU2C", "luts", 2),
    (r"TRELLIS_DPR16X4", "luts", 6),
    (r"FD[RSCP]E(_1)?|LD[CP]E|TRELLIS_FF|SB_DFF\w*", "ffs", 1),
    (r"RAMB36E1|DP16KD|PDPW16KD|SB_RAM40_4K\w*", "brams", 1),
    (r"RAMB18E1", "brams", 0.5),
    (r"DSP48E1|MULT18X18D|SB_MAC16", "dsps", 1),
    (r"CARRY4|CCU2C|SB_CARRY", "carries", 1),
)
_PLACED: tuple[tuple[str, str, float], ...] = (
    (r"TRELLIS_COMB|ICESTORM_LC|SLICE_LUTX", "luts", 1),
    (r"TRELLIS_FF|SLICE_FFX", "ffs", 1),
    (r"DP16KD|ICESTORM_RAM|RAMB36E1\w*", "brams", 1),
    (r"RAMB18E1\w*", "brams", 0.5),
    (r"MULT18X18D|ICESTORM_DSP|DSP48E1\w*", "dsps", 1),
)


@dataclass(frozen=True)
class Utilisation:
    """How much of a part a design, or a part of it, takes.

    Attributes
    ----------
    luts : int
        Look-up tables, those used as memory or shift registers included. Of a synthesised 7-series
        design an upper bound: two LUTs of five inputs may yet share a site. Of a placed iCE40
        design the logic cells, each a LUT and a flip-flop.
    ffs : int
        Flip-flops.
    brams : float
        Block RAMs in the board's unit; a RAMB18 is half.
    dsps : int
        Multiplier blocks.
    carries : int
        Carry cells as the family has them: CARRY4, CCU2C, SB_CARRY; 0 once they are placed.
    cells : mapping of str to int
        Every cell by type.
    """

    luts: int = 0
    ffs: int = 0
    brams: float = 0
    dsps: int = 0
    carries: int = 0
    cells: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Synthesis:
    """The sizes of a synthesised design.

    Attributes
    ----------
    total : Utilisation
        The whole.
    parts : mapping of str to Utilisation
        Each part that was kept apart, and under ``"rest"`` all else; together they are the total.
    """

    total: Utilisation
    parts: Mapping[str, Utilisation]


@dataclass(frozen=True)
class Placement:
    """A placed and routed design.

    Attributes
    ----------
    target_hz : int
        The pipeline's frequency.
    fmax_hz : float
        The frequency it reaches.
    met : bool
        Whether every clock reaches what it has to. If not, the bitstream may fail on the board.
    used : Utilisation or None
        What is occupied; None where the tool does not tell.
    clocks : mapping of str to (float, float)
        Each clock's reached and wanted frequency in MHz, by its net.
    """

    target_hz: int
    fmax_hz: float
    met: bool
    used: Utilisation | None
    clocks: Mapping[str, tuple[float, float]]


def count_cells(cells: Mapping[str, int], rules=_CELLS) -> Utilisation:
    """The utilisation of a netlist given as its number of cells by type."""
    totals: dict[str, float] = {}
    for kind, number in cells.items():
        for pattern, resource, units in rules:
            if re.fullmatch(pattern, kind):
                totals[resource] = totals.get(resource, 0) + units * number
    whole = {name: total if name == "brams" else int(total) for name, total in totals.items()}
    return Utilisation(**whole, cells=dict(cells))


def read_synthesis(prepared: Prepared, root: Path) -> Synthesis:
    """The sizes that yosys counted, from a build folder in which synthesis is done."""
    modules = _json(root / f"{prepared.name}_stat.json")["modules"]
    prefixes = {f"\\{prepared.name}.{part}.": part for part in prepared.parts}
    # A module that is kept apart is a cell of the one around it.
    instances = {name.removeprefix("\\") for name in modules}
    total: dict[str, int] = {}
    parts: dict[str, dict[str, int]] = {part: {} for part in prepared.parts} | {"rest": {}}
    for name, module in modules.items():
        for kind, number in module.get("num_cells_by_type", {}).items():
            if kind not in instances and kind != "$scopeinfo":
                within = (p for prefix, p in prefixes.items() if f"{name}.".startswith(prefix))
                part = parts[next(within, "rest")]
                part[kind] = part.get(kind, 0) + number
                total[kind] = total.get(kind, 0) + number
    return Synthesis(
        total=count_cells(total),
        parts={part: count_cells(cells) for part, cells in parts.items()},
    )


def read_placement(prepared: Prepared, root: Path) -> Placement:
    """The speed and size that place and route reported, from a build folder in which it is done.

    Raises
    ------
    PopstreamError
        The tool reported no clock.
    """
    path = root / f"{prepared.name}_report.json"
    if path.exists():
        report = _json(path)
        clocks = {
            net: (clock["achieved"], clock["constraint"]) for net, clock in report["fmax"].items()
        }
        cells = {kind: count["used"] for kind, count in report["utilization"].items()}
    else:
        path = root / prepared.stage("place and route").log
        clocks, cells = _parse_log(path.read_text(encoding="utf-8"))
    if not clocks:
        raise PopstreamError(f"place and route reported no clock; see {path}")

    # A clock divided in flip-flops leaves one more behind, with hardly any logic on it.
    fmax_mhz = min(reached for reached, _ in clocks.values())
    used = count_cells({kind: n for kind, n in cells.items() if n}, _PLACED) if cells else None
    fasm = root / f"{prepared.name}.fasm"
    if used and fasm.exists():
        used = replace(used, luts=_occupied_luts(fasm))
    if used and prepared.board.family == "ice40":
        # A logic cell is counted once, whether its LUT is used or its flip-flop or both.
        used = replace(used, ffs=read_synthesis(prepared, root).total.ffs)
    return Placement(
        target_hz=prepared.clock_hz,
        fmax_hz=fmax_mhz * 1e6,
        # A period is a whole number of picoseconds, so the constraint may be off a little.
        met=all(reached >= wanted * 0.9999 for reached, wanted in clocks.values()),
        used=used,
        clocks=clocks,
    )


def _parse_log(text: str) -> tuple[dict[str, tuple[float, float]], dict[str, int]]:
    """Clocks and utilisation from nextpnr's log; of repeated lines the last one is the routed."""
    clocks = {
        match[1]: (float(match[2]), float(match[3]))
        for match in re.finditer(
            r"Max frequency for clock\s+'([^']+)': ([\d.]+) MHz \(\w+ at ([\d.]+) MHz\)", text
        )
    }
    cells = {
        match[1]: int(match[2])
        for match in re.finditer(r"^Info:\s+(\w+):\s+(\d+)/\s*\d+\s+\d+%", text, re.MULTILINE)
    }
    return clocks, cells


def _occupied_luts(fasm: Path) -> int:
    """LUT sites in use: nextpnr counts two LUTs that share a site twice, its FASM sets it once."""
    with fasm.open(encoding="utf-8") as lines:
        return sum("LUT.INIT[" in line for line in lines)


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PopstreamError(f"cannot read {path}: {error}") from error
