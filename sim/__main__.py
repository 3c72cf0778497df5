"""Images through a whole simulated board, as a user of the real one sends them.

    python -m sim build/pynq-mnist-sfc-0123456789ab --frames all

opens the build as ``sim:FOLDER`` with the host's own library, compares every label with the golden
model's, and tells the cycles that the gateware counted.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

from sw.errors import PopstreamError

__all__ = ["main"]

TIMEOUT_SECONDS = 600.0  # without an answer; a simulation is slow, but not that slow


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m sim", description=__doc__.splitlines()[0])
    p.add_argument("folder", type=Path, help="a build folder of hw.build")
    p.add_argument(
        "--frames",
        metavar="N",
        help="test images, or 'all' (default: those in the model file)",
    )
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="where data sets are")
    return p


def _images(model, frames: str | None, data_dir: Path | None):
    """Images and labels, as `hw.build --frames` takes them."""
    from sw.datasets import load_test

    samples = model.samples
    if frames is None:
        return samples.inputs, samples.labels
    if frames != "all" and not (frames.isdecimal() and int(frames)):
        raise PopstreamError(f"--frames must be at least 1, or 'all', not {frames!r}")
    count = None if frames == "all" else int(frames)
    if count is not None and count <= len(samples.inputs):
        return samples.inputs[:count], samples.labels[:count]
    inputs, labels = load_test(model.card.dataset, data_dir)
    return inputs[:count], labels[:count]


def run(args: argparse.Namespace) -> bool:
    """Send the images and say what came of it; returns whether all labels are right."""
    from hw.progress import bar, say
    from sw.artefact import load
    from sw.golden import predict
    from sw.host import Accelerator

    model = load(args.folder / "model.safetensors")
    serial = json.loads((args.folder / "shell.json").read_text())["shell"] == "serial"
    images, labels = _images(model, args.frames, args.data_dir)
    expected = predict(model.network, images)
    if expected.ndim > 1:
        expected = expected.argmax(axis=1)
    with Accelerator.open(f"sim:{args.folder}", timeout=TIMEOUT_SECONDS) as accelerator:
        before = accelerator.counters
        began = time.monotonic()
        with bar("simulate") as progress:
            found = accelerator.infer(images, progress=progress)
        seconds = time.monotonic() - began
        counted = {name: value - before[name] for name, value in accelerator.counters.items()}
        identity = accelerator.identity
    equal = int(np.sum(found == expected))
    cycles = counted["CYCLES_BUSY"]
    say(
        f"{len(images):,} images: {equal:,} labels as the golden model's, "
        f"{np.mean(found == labels):.2%} right"
    )
    waited = (
        f"waited {counted['STALLS_IN']:,} cycles for input, {counted['STALLS_OUT']:,} for output"
    )
    if identity.weight_bytes:
        read = 8 * counted["WORDS_READ"]
        waited += f", {counted['STALLS_WEIGHTS']:,} for {read:,} bytes of weights"
    if serial:
        say(f"busy for {cycles:,} cycles, from a frame's last byte to its answer's; {waited}")
    else:
        say(
            f"{cycles:,} cycles, {cycles / len(images):.2f} a frame; the pipeline's plan is "
            f"{identity.frame_cycles:,}, {identity.frame_bytes} bytes take the port "
            f"{identity.frame_bytes / 8:g}; {waited}"
        )
    say(f"simulated in {seconds:.1f} s")
    return equal == len(images)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parser().parse_args(argv)
    try:
        return 0 if run(args) else 1
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
