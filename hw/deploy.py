"""The folder that goes to the board: everything a user runs there, and nothing else.

A bitstream where there is one, the model file, the host library as a wheel that Python imports as
it is, a notebook, a script and a README. `deploy` copies it over ssh and runs the self-test there.
"""

import json
import shlex
import subprocess
from pathlib import Path

from boards.catalogue import Board
from hw.toolchain.tools import require_tool
from sw.artefact import Model, save, write_file
from sw.errors import PopstreamError
from sw.host.wheel import write_wheel

__all__ = ["deploy", "write_deployment"]

_README = """\
{title}
{rule}

Made by Popstream: {model}, {accuracy:.2%} of {images:,} test images, on {board}
({part}) at {mhz:g} MHz.

{steps}

What is here

  {bitstream:<20} {bitstream_is}
  model.safetensors    the network, 50 test images and their answers
{weights}  run.sh               runs the host library, without installing anything
  popstream.ipynb      the same in a notebook
  {wheel}
                       the host library, which needs Python 3.10 and numpy

Every command ends with one line that says what is wrong, if something is; Popstream's doc/host.md
has them all.
"""

_STEPS_ZYNQ = """\
On the board, where PYNQ's image runs (this folder copied to it, e.g. by scp -r):

  bash run.sh selftest         {bitstream} is loaded, stored images go through it, answers compared
  bash run.sh classify IMAGE   a picture's class
  bash run.sh benchmark        images a second, latency, and where the time goes

In Python, as root, since /dev/mem is the way to the registers:

  from sw.host import Accelerator
  with Accelerator.open("pynq") as accelerator:
      labels = accelerator.infer(images)"""

_STEPS_SERIAL = """\
On the machine that the board is plugged into, once the board is loaded
(openFPGALoader {loader} {bitstream}):

  bash run.sh selftest         stored images go through the board, answers compared
  bash run.sh classify IMAGE   a picture's class
  bash run.sh benchmark        images a second and latency

run.sh takes the port from DEVICE, default {device}. It is reached through
{where}, {baud:,} baud.

  from sw.host import Accelerator
  with Accelerator.open("{device}") as accelerator:
      labels = accelerator.infer(images)"""

_RUN = """\
#!/bin/bash
# Runs the host library in this folder: bash run.sh selftest, classify IMAGE, benchmark.
cd "$(dirname "$0")" || exit
{root}PYTHONPATH="{wheel}" exec python3 -m sw.host --device "{device}" {options}"$@"
"""

# PYNQ's Python lives in an environment of its own, and only root may touch the registers.
_ROOT = """\
[ "$(id -u)" = 0 ] || exec sudo bash "$PWD/run.sh" "$@"
for file in /etc/profile.d/pynq_venv.sh /etc/profile.d/xrt_setup.sh; do
    [ ! -r "$file" ] || . "$file"
done
"""

_SERIAL_DEVICE = "serial:/dev/ttyUSB0"


def _device(board: Board) -> str:
    return "pynq" if board.shell.name == "zynq" else _SERIAL_DEVICE


_WEIGHTS = """\
  weights.bin          the weights that the FPGA reads from memory
"""


def write_deployment(
    folder: Path,
    board: Board,
    model: Model,
    *,
    name: str,
    clock_hz: int,
    bitstream: Path | None,
    weights: bytes = b"",
) -> Path:
    """Writes the folder; equal inputs give equal bytes.

    Parameters
    ----------
    folder : Path
        Made if need be.
    board : Board
    model : Model
    name : str
        What the user calls the model.
    clock_hz : int
        The pipeline's clock.
    bitstream : Path or None
        The bitstream, where it was made.
    weights : bytes
        What the pipeline reads as weights; empty where it has them.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    PopstreamError
        It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob("*.whl"), *folder.glob("*.bi[tn]")):  # weights.bin, too
            old.unlink()
        wheel = write_wheel(folder)
        made = f"top{board.bitstream_suffix}"
        if bitstream:
            write_file(folder / made, bitstream.read_bytes())
        if weights:
            write_file(folder / "weights.bin", weights)
    except OSError as error:
        raise PopstreamError(f"cannot write {folder}: {error.strerror or error}") from error
    save(folder / "model.safetensors", model.network, model.card, model.samples)
    device = _device(board)
    zynq = board.shell.name == "zynq"
    title = f"{name} on {board.title}"
    steps = (_STEPS_ZYNQ if zynq else _STEPS_SERIAL).format(
        bitstream=made,
        loader=" ".join(board.loader_options),
        where=board.shell.where,
        baud=board.baud,
        device=device,
    )
    readme = _README.format(
        title=title,
        rule="=" * len(title),
        model=name,
        accuracy=model.card.integer_accuracy,
        images=model.card.test_images,
        board=board.title,
        part=board.part,
        mhz=clock_hz / 1e6,
        steps=steps,
        bitstream=made,
        weights=_WEIGHTS if weights else "",
        bitstream_is="what the FPGA is loaded with" if bitstream else "not made yet: put it here",
        wheel=wheel.name,
    )
    run = _RUN.format(
        root=_ROOT if zynq else "",
        wheel=wheel.name,
        device=device if zynq else f"${{DEVICE:-{device}}}",
        options="" if zynq else f"--baud {board.baud} ",
    )
    write_file(folder / "README.txt", readme.encode())
    write_file(folder / "run.sh", run.encode())
    write_file(folder / "popstream.ipynb", _notebook(board, wheel.name, device).encode())
    return folder


def _notebook(board: Board, wheel: str, device: str) -> str:
    """A notebook that opens the board, classifies the stored images and benchmarks."""
    cells = [
        ("markdown", f"# Popstream on {board.title}\n\nRun it in the folder it came in."),
        ("code", f'import sys\n\nsys.path.insert(0, "{wheel}")'),
        (
            "code",
            "from sw.host import Accelerator\nfrom sw.host.model import load\n\n"
            f'model = load("model.safetensors")\naccelerator = Accelerator.open("{device}")\n'
            "accelerator.identity",
        ),
        (
            "code",
            "labels = accelerator.infer(model.samples.inputs)\n"
            "(labels == model.samples.answers.reshape(-1)).all(), "
            "(labels == model.samples.labels).mean()",
        ),
        (
            "code",
            "import matplotlib.pyplot as plt\n\n"
            "figure, axes = plt.subplots(2, 5)\n"
            "for axis, image, label in zip(axes.flat, model.samples.inputs, labels):\n"
            '    axis.imshow(image, cmap="gray")\n'
            "    axis.set_title(model.classes[label])\n"
            '    axis.axis("off")',
        ),
        ("code", "accelerator.benchmark()"),
        ("code", "accelerator.close()"),
    ]
    book = {
        "cells": [
            {
                "cell_type": kind,
                "id": f"cell-{number}",
                "metadata": {},
                "source": text.splitlines(keepends=True),
                **({"execution_count": None, "outputs": []} if kind == "code" else {}),
            }
            for number, (kind, text) in enumerate(cells)
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(book, indent=1) + "\n"


def deploy(folder: Path, host: str) -> None:
    """Copies a deployment to a board over ssh and runs the self-test there.

    Parameters
    ----------
    folder : Path
        What `write_deployment` made, a bitstream in it.
    host : str
        As ssh takes it: ``xilinx@pynq`` or ``xilinx@192.168.2.99``. It becomes the folder
        ``popstream/NAME`` there, NAME being the name of the folder's own folder.

    Raises
    ------
    MissingTool
        There is no ssh or scp.
    PopstreamError
        There is no bitstream to deploy, the board is not reached, or its self-test fails.
    """
    if not any(folder.glob("*.bit")):
        raise PopstreamError(f"nothing to deploy to {host}: there is no bitstream in {folder}")
    if host.startswith("-") or not host.strip():
        raise PopstreamError(f"--deploy wants user@host, not {host!r}")
    ssh = require_tool("ssh", need=f"way to {host}")
    scp = require_tool("scp", need=f"way to {host}")
    there = f"popstream/{folder.resolve().parent.name}"
    quoted = shlex.quote(there)
    files = sorted(str(path) for path in folder.iterdir())
    for command, what in (
        ([ssh, host, f"mkdir -p {quoted}"], "make a folder on"),
        ([scp, "-q", *files, f"{host}:{there}/"], "copy to"),
        ([ssh, "-t", host, f"bash {quoted}/run.sh selftest"], "pass the self-test on"),
    ):
        # ssh may ask for a password: it has the terminal.
        status = subprocess.run(command).returncode
        if status:
            said = "see above" if status != 255 else "ssh did not get there, see above"
            raise PopstreamError(f"could not {what} {host}: status {status}, {said}")
