"""Every figure that is claimed for the gateware, measured again: `python -m hw.bench`.

Units and whole networks are synthesised and counted in their netlists (`hw.measure`); networks for
boards whose place and route installs with pip are built to the bitstream. A row says what was to be
reached, and whether it was. Names of rows choose among them; `--json FILE` keeps what is measured,
row by row, beside what the file already has.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.catalogue import BOARDS
from hw.accelerator import Accelerator
from hw.cores.matrix_unit import MatrixUnit
from hw.cores.popcount import Popcount, levels
from hw.measure import Measured, measure
from hw.plan import Plan, choose, fastest
from hw.resources import Resources, budgets
from hw.shell.identity import Identity
from hw.shell.memory import MemoryShell
from sw import zoo
from sw.artefact import load, write_file
from sw.errors import PopstreamError, unknown

__all__ = ["ROWS", "Row", "main"]

# The clock that images a second are stated at on 7-series; boards with place and route have theirs.
CLOCK_HZ = 100_000_000
_ZYNQ = BOARDS["pynq"]


@dataclass(frozen=True)
class Row:
    """What was measured; fields that do not apply are None.

    Parameters
    ----------
    name, family : str
    lanes : int
        XNORs a cycle.
    lut, ff : int
        LUT sites and flip-flops, as `hw.measure` counts them.
    bram36 : float
        Block RAMs of the family; on 7-series RAMB36.
    lut_per_lane : float
    cycles : int
        Of a frame.
    images_per_second : float
        At `CLOCK_HZ` on 7-series, at the board's clock elsewhere.
    fmax_mhz : float
        Routed; None where place and route is not installed with pip.
    levels : int
        LUTs on the longest path between registers.
    target : str
        What was to be reached.
    met : bool
    """

    name: str
    family: str
    lanes: int | None = None
    lut: int | None = None
    ff: int | None = None
    bram36: float | None = None
    lut_per_lane: float | None = None
    cycles: int | None = None
    images_per_second: float | None = None
    fmax_mhz: float | None = None
    levels: int | None = None
    target: str | None = None
    met: bool | None = None


def _counted(name: str, measured: Measured, lanes: int, family: str = "xc7") -> Row:
    return Row(
        name=name,
        family=family,
        lanes=lanes,
        lut=measured.luts,
        ff=measured.ffs,
        bram36=measured.brams,
        lut_per_lane=round(measured.luts / lanes, 3),
        levels=measured.between_registers.levels,
    )


def _popcount(name: str, lanes: int, most: float) -> Row:
    unit = Popcount(width=lanes, stages=levels(lanes, "xc7"), family="xc7")
    row = _counted(name, measure(unit, "xc7"), lanes)
    return replace(row, target=f"at most {most:g} LUT", met=row.lut <= most)


def _unit(simd: int, pe: int, beats: int, groups: int, storage: str) -> Measured:
    """A unit of random weights, with thresholds near the middle and its stream interfaces.

    With weights in block RAM what is left in LUTs is what streamed weights would leave. With one
    group all neurons are done at once; with several the unit holds its input in two banks and has
    a ROM of thresholds.
    """
    rng = np.random.default_rng(0)
    neurons, synapses = pe * groups, simd * beats
    weights = rng.integers(0, 2, (neurons, synapses))
    thresholds = synapses // 2 + rng.integers(-synapses // 10, synapses // 10 + 1, neurons)
    unit = MatrixUnit(
        weights=weights,
        thresholds=thresholds,
        inputs_per_beat=simd,
        neurons_per_beat=pe,
        stages=levels(simd, "xc7", beats * groups if storage == "table" else 0),
        storage=storage,
        family="xc7",
    )
    return measure(unit, "xc7")


def _lanes(name: str, shape: tuple[int, int, int, int], storage: str, most: float | None) -> Row:
    """A unit of SIMD, PE, beats of a vector and groups of neurons."""
    row = _counted(name, _unit(*shape, storage), shape[0] * shape[1])
    if most is None:
        return row
    return replace(row, target=f"at most {most:g} LUT a lane", met=row.lut_per_lane <= most)


def _constant(name: str) -> Row:
    small, large = (_counted(name, _unit(64, pe, 4, 1, "block"), 64 * pe) for pe in (4, 64))
    ratio = small.lut_per_lane / large.lut_per_lane
    return replace(
        large,
        target=f"LUT a lane within 10 % of that of 256 lanes, {small.lut_per_lane:g}",
        met=1 / 1.1 <= ratio <= 1.1,
    )


def _path(name: str) -> Row:
    measured = _unit(64, 16, 4, 4, "block")
    depth = measured.between_registers
    return replace(
        _counted(name, measured, 1024),
        target="at most 3 LUTs and 1 carry chain between registers",
        met=depth.levels <= 3 and depth.carry_chains <= 1,
    )


def _network(name: str, model: str, plan: Callable[..., Plan], target: str, met) -> Row:
    network = load(zoo.path(model)).network
    made = plan(network)
    measured = measure(Accelerator(network, made.lanes, "xc7"), "xc7")
    lanes = sum(f.inputs_per_beat * f.neurons_per_beat for f in made.lanes.layers.values())
    row = replace(
        _counted(name, measured, lanes),
        cycles=made.cycles.per_frame,
        images_per_second=CLOCK_HZ / made.cycles.per_frame,
        target=target,
    )
    return replace(row, met=met(row))


def _cycles(name: str, model: str, cycles: int, share: float) -> Row:
    return _network(
        name,
        model,
        lambda network: choose(network, _ZYNQ, CLOCK_HZ, cycles),
        f"at most {cycles} cycles within {share:.0%} of {_ZYNQ.luts:,} LUTs and 140 RAMB36",
        lambda row: (
            row.cycles <= cycles and row.lut <= share * _ZYNQ.luts and row.bram36 <= _ZYNQ.brams
        ),
    )


def _fastest(name: str, model: str, share: float, least: float) -> Row:
    whole = budgets(_ZYNQ)
    # A little less than may be taken, since the plan's figures are estimates; and the shell's.
    limit = Resources(**{**asdict(whole), "luts": 0.97 * share * whole.luts})
    return _network(
        name,
        model,
        lambda network: fastest(network, _ZYNQ, CLOCK_HZ, limit),
        f"at least {least:,.0f} images/s within {share:.0%} of {_ZYNQ.luts:,} LUTs and 140 RAMB36",
        lambda row: (
            row.images_per_second >= least
            and row.lut <= share * _ZYNQ.luts
            and row.bram36 <= _ZYNQ.brams
        ),
    )


def _routed(name: str, board: str, model: str, least_mhz: float) -> Row:
    """Built to the bitstream by `hw.build`, whose report has the figures."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        command = [sys.executable, "-m", "hw.build", "--board", board, "--model", model]
        command += ["--until", "bitstream", "--output", folder]
        ran = subprocess.run(command, capture_output=True, text=True)
        reports = list(Path(folder).glob("*/report.json"))
        if ran.returncode or len(reports) != 1:
            raise PopstreamError(f"hw.build failed: {ran.stderr.strip() or ran.stdout.strip()}")
        report = json.loads(reports[0].read_text())
    return _read(name, board, report, least_mhz)


class _Parity(wiring.Component):
    """As little of a pipeline as a shell can hold: the parity of a frame of 13 beats."""

    BEATS = 13

    i: In(stream.Signature(data.ArrayLayout(1, 64)))
    o: Out(stream.Signature(1))

    def elaborate(self, platform):
        m = Module()
        beat = Signal(range(self.BEATS))
        moves = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(moves)
        with m.If(moves):
            m.d.sync += self.o.valid.eq(self.i.valid & (beat == self.BEATS - 1))
            with m.If(self.i.valid):
                m.d.sync += [
                    self.o.payload.eq(self.o.payload ^ self.i.payload.as_value().xor()),
                    beat.eq(Mux(beat == self.BEATS - 1, 0, beat + 1)),
                ]
        return m


def _shell(name: str, most: int) -> Row:
    """The Zynq's shell around next to nothing, less that: MNIST's frames as 98 bytes of bits."""
    identity = Identity(
        digest="5a" * 32,
        frame_elements=784,
        frame_bits=1,
        result_elements=1,
        result_width=1,
        scores=False,
        clock_hz=CLOCK_HZ,
        frame_cycles=_Parity.BEATS,
        latency_cycles=1,
    )
    whole, less = measure(MemoryShell(_Parity(), identity), "xc7"), measure(_Parity(), "xc7")
    row = Row(
        name=name,
        family="xc7",
        lut=whole.luts - less.luts,
        ff=whole.ffs - less.ffs,
        bram36=whole.brams,
        levels=whole.between_registers.levels,
    )
    return replace(row, target=f"at most {most:,} LUT", met=row.lut <= most)


def _read(name: str, board: str, report: dict, least_mhz: float) -> Row:
    used, reached = report["placement"]["used"], report["placement"]["fmax_mhz"]
    return Row(
        name=name,
        family=BOARDS[board].family,
        lut=used["luts"],
        ff=used["ffs"],
        bram36=used["brams"],
        cycles=report["cycles_per_frame"],
        images_per_second=report["images_per_second"],
        fmax_mhz=round(reached, 1),
        target=f"routed at {least_mhz:g} MHz or more",
        met=reached >= least_mhz,
    )


# What is measured, in this order, and about how many seconds it takes on two idle cores.
ROWS: dict[str, tuple[float, Callable[[str], Row]]] = {
    "xnor_popcount_64": (4, lambda name: _popcount(name, 64, 64)),
    "xnor_popcount_128": (4, lambda name: _popcount(name, 128, 125)),
    "xnor_popcount_256": (5, lambda name: _popcount(name, 256, 256)),
    "unit_64x16": (11, lambda name: _lanes(name, (64, 16, 4, 4), "block", 1.45)),
    "unit_128x8": (11, lambda name: _lanes(name, (128, 8, 4, 4), "block", 1.25)),
    "unit_256": (7, lambda name: _lanes(name, (64, 4, 4, 1), "block", None)),
    "unit_1024": (11, lambda name: _lanes(name, (64, 16, 4, 1), "block", None)),
    "unit_4096": (45, _constant),
    "unit_path": (11, _path),
    "table_depth1": (12, lambda name: _lanes(name, (64, 16, 1, 1), "table", None)),
    "table_depth4": (12, lambda name: _lanes(name, (64, 16, 4, 1), "table", None)),
    "table_depth8": (12, lambda name: _lanes(name, (64, 16, 4, 2), "table", 1.7)),
    "table_depth16": (16, lambda name: _lanes(name, (64, 16, 4, 4), "table", 2.2)),
    "sfc_32_cycles": (120, lambda name: _cycles(name, "mnist-sfc", 32, 0.6)),
    "sfc_16_cycles": (200, lambda name: _cycles(name, "mnist-sfc", 16, 1.0)),
    "sfc_8_cycles": (240, lambda name: _cycles(name, "mnist-sfc", 8, 1.0)),
    "lfc_fastest": (400, lambda name: _fastest(name, "mnist-lfc", 0.75, 300_000)),
    "zynq_shell": (20, lambda name: _shell(name, 1500)),
    "icebreaker_digits": (40, lambda name: _routed(name, "icebreaker", "digits-tiny", 12)),
    "ulx3s_sfc": (300, lambda name: _routed(name, "ulx3s", "mnist-sfc", 100)),
}


def _kept(path: Path) -> dict[str, dict]:
    """Rows that a file has, by name."""
    if not path.exists():
        return {}
    try:
        return {row["name"]: row for row in json.loads(path.read_text())}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PopstreamError(f"{path} has no rows of hw.bench ({error}); move it away") from error


def _table(rows: list[Row]):
    from rich.table import Table

    def shown(value) -> str:
        match value:
            case None:
                return ""
            case bool():
                return "yes" if value else "NO"
            case float():
                return f"{value:,.0f}" if value >= 1000 else f"{value:g}"
            case int():
                return f"{value:,}"
        return str(value)

    titles = ("lanes", "LUT", "FF", "RAM", "LUT/lane", "cycles", "images/s", "Fmax", "levels")
    table = Table(box=None, header_style="dim")
    for title in ("row", "family"):
        table.add_column(title)
    for title in titles:
        table.add_column(title, justify="right")
    for title in ("target", "met"):
        table.add_column(title)
    for row in rows:
        table.add_row(*(shown(value) for value in asdict(row).values()))
    return table


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit status, 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m hw.bench", description=__doc__)
    parser.add_argument("row", nargs="*", help=f"which rows (default: all): {', '.join(ROWS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the rows in this file")
    args = parser.parse_args(argv)
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, stderr=True)
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = 200
    rows: list[Row] = []
    try:
        for name in args.row:
            if name not in ROWS:
                raise unknown("row", name, ROWS)
        names = args.row or list(ROWS)
        kept = _kept(args.json) if args.json else {}
        for number, name in enumerate(names):
            left = sum(ROWS[later][0] for later in names[number:])
            console.print(f"{name} ({number + 1} of {len(names)}, about {left / 60:.0f} min left)")
            started = time.monotonic()
            rows.append(ROWS[name][1](name))
            console.print(f"  {time.monotonic() - started:.0f} s")
            if args.json:
                kept[name] = asdict(rows[-1])
                listed = [kept[name] for name in ROWS if name in kept]
                write_file(args.json, (json.dumps(listed, indent=1) + "\n").encode())
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        kept = f"; what was measured is in {args.json}" if args.json and rows else ""
        sys.stderr.write(f"interrupted{kept}\n")
        return 130
    out.print(_table(rows))
    if any(row.family == "xc7" for row in rows):
        out.print("\n7-series: synthesis counts; without place and route there is no Fmax.")
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
