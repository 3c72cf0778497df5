"""Runs a network on a board: python -m sw.host --device pynq selftest."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sw.errors import PopstreamError
from sw.host.accelerator import TIMEOUT_SECONDS, Accelerator
from sw.host.devices import names
from sw.host.image import load_frames, white_of
from sw.host.registers import BATCH_COUNTERS, COUNTERS

__all__ = ["main", "parser"]

INTERRUPTED = 130  # as a shell has it for Ctrl-C


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m sw.host",
        description="Runs a network on an FPGA board. Exit status: 0; 1 where something is wrong.",
    )
    p.add_argument(
        "--device",
        required=True,
        metavar="DEVICE",
        help="pynq (the board that this runs on), serial:/dev/ttyUSB1, or what is installed: "
        f"{', '.join(names())}",
    )
    p.add_argument(
        "--model", metavar="FILE", help="the model file (default: the one in this folder)"
    )
    p.add_argument(
        "--weights",
        metavar="FILE",
        help="what the fabric reads as weights, where it does (default: weights.bin beside the "
        "model file)",
    )
    p.add_argument(
        "--bitstream", metavar="FILE", help="what a PYNQ is loaded with (default: likewise)"
    )
    p.add_argument("--baud", type=int, help="bits a second of a serial line")
    p.add_argument(
        "--timeout",
        type=float,
        default=TIMEOUT_SECONDS,
        metavar="S",
        help="seconds in which the board must answer a frame (default: %(default)g)",
    )
    p.add_argument(
        "--batch", type=int, metavar="N", help="frames that go to the board at a time, 1..65535"
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")

    c = commands.add_parser("classify", help="what the network makes of pictures")
    c.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a picture, or .npy")
    c.add_argument("--scores", action="store_true", help="also print each class's score")
    c.add_argument("--resize", action="store_true", help="stretch pictures to the frame's size")
    c.add_argument("--invert", action="store_true", help="swap black and white")
    c.add_argument("--white", type=int, metavar="N", help="the value that white becomes")

    c = commands.add_parser("benchmark", help="images a second, latency, where the time goes")
    c.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="how long (default: %(default)g)"
    )

    commands.add_parser("selftest", help="the model file's own images, and the golden answers")
    commands.add_parser("identify", help="what the board computes")
    commands.add_parser("counters", help="what the board has counted since it was opened")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = parser().parse_args(arguments)
    of_device = {} if options.baud is None else {"baud": options.baud}
    try:
        with Accelerator.open(
            options.device,
            model=options.model,
            weights=options.weights,
            bitstream=options.bitstream,
            timeout=options.timeout,
            batch=options.batch,
            **of_device,
        ) as accelerator:
            status = _COMMANDS[options.command](accelerator, options)
        sys.stdout.flush()
        return status
    except PopstreamError as error:
        _say(f"error: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("interrupted", sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read has had enough; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _say(text: str, stream=None) -> None:
    """A line of text, whatever the terminal's encoding lacks."""
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


class _Progress:
    """One line on a terminal, rewritten as it goes: how far, and how long still."""

    def __init__(self, what: str, stream=None):
        self._what, self._stream = what, stream or sys.stderr
        self._shown = self._stream.isatty()
        self._began = time.monotonic()
        self._length = 0

    def __call__(self, done: float, total: float) -> None:
        if not self._shown:
            return
        passed = time.monotonic() - self._began
        left = f", {passed * (total - done) / done:.0f} s left" if done else ""
        self._write(f"{done:,.0f} of {total:,.0f} {self._what}{left}")

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._length:
            self._write("")
            self._stream.write("\r")
            self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._length))
        self._stream.flush()
        self._length = len(text)


def _name(accelerator: Accelerator, label: int) -> str:
    classes = accelerator.model.classes
    return classes[label] if classes else str(label)


def _classify(accelerator: Accelerator, options) -> int:
    model = accelerator.model
    pictures = any(path.suffix != ".npy" for path in options.images)
    if pictures and options.white is None and model.bits < 8:
        _say(
            f"white is {white_of(model)}, the largest value in the model's samples; "
            "--white N for another",
            sys.stderr,
        )
    frames, names_of = [], []
    for path in options.images:
        some = load_frames(
            path, model, resize=options.resize, invert=options.invert, white=options.white
        )
        frames.append(some)
        single = len(some) == 1
        names_of += [str(path) if single else f"{path}[{n}]" for n in range(len(some))]
    with _Progress("images") as progress:
        numbers = accelerator.infer(
            np.concatenate(frames), scores=options.scores, progress=progress
        )
    for name, number in zip(names_of, numbers, strict=True):
        label = int(np.argmax(number)) if options.scores else int(number)
        line = f"{name}: {_name(accelerator, label)}"
        if options.scores:
            each = (f"{_name(accelerator, n)} {score}" for n, score in enumerate(number))
            line += f" ({', '.join(each)})"
        _say(line)
    return 0


def _benchmark(accelerator: Accelerator, options) -> int:
    with _Progress("s") as progress:
        measured = accelerator.benchmark(seconds=options.seconds, progress=progress)
    _say(str(measured))
    return 0


def _selftest(accelerator: Accelerator, options) -> int:
    samples = accelerator.model.samples
    if samples.answers is None:
        raise PopstreamError(
            "the model file is of an early version, without answers to compare with: load it with "
            "sw.artefact and save it again"
        )
    if not len(samples.inputs):
        raise PopstreamError("the model file has no samples")
    # A fabric that answers with scores may be asked for a network's index, and the reverse.
    scores = samples.answers.shape[1] > 1
    expected = samples.answers if scores else samples.answers[:, 0]
    if scores and not accelerator.identity.scores:
        scores, expected = False, expected.argmax(axis=1)
    with _Progress("images") as progress:
        found = accelerator.infer(samples.inputs, scores=scores, progress=progress)
    differing = (found != expected).reshape(len(expected), -1).any(axis=1)
    labels = found.argmax(axis=1) if scores else found
    right = np.mean(labels == samples.labels)
    if differing.any():
        at = int(differing.argmax())
        _say(
            f"FAILED: {np.count_nonzero(differing)} of {len(expected)} images are answered "
            f"otherwise than by the golden model, the first is {at}: {found[at]}, not "
            f"{expected[at]}"
        )
        return 1
    _say(f"passed: {len(expected)} images as the golden model answers them, {right:.1%} right")
    return 0


def _identify(accelerator: Accelerator, options) -> int:
    identity, model = accelerator.identity, accelerator.model
    takes = "a bit" if identity.frame_bits == 1 else f"{identity.frame_bits} bits"
    yields = f"{identity.result_elements} scores" if identity.scores else "a class index"
    planned = accelerator.clock_hz / identity.frame_cycles
    latency = identity.latency_cycles / accelerator.clock_hz
    rows = {
        "model": f"{model.name}, digest {identity.digest}",
        "frame": f"{identity.frame_elements:,} elements of {takes}, {identity.frame_bytes:,} B",
        "result": f"{yields}, {identity.result_bytes:,} B",
        "clock": f"{accelerator.clock_hz / 1e6:g} MHz, built for {identity.clock_hz / 1e6:g} MHz",
        "planned": f"{identity.frame_cycles:,} cycles a frame, {planned:,.0f} images/s, "
        f"latency {1e6 * latency:.2f} us",
    }
    if identity.batch_frames:
        rows["batch"] = (
            f"{identity.batch_frames:,} frames, {identity.weight_bytes:,} B of weights are read "
            "for each"
        )
    for name, text in rows.items():
        _say(f"{name:<8}{text}")
    return 0


def _counters(accelerator: Accelerator, options) -> int:
    totals = accelerator.counters
    for register in (*COUNTERS, *BATCH_COUNTERS):
        if register.name in totals:
            _say(f"{register.name:<15}{totals[register.name]:>17,}   {register.text}")
    return 0


_COMMANDS = {
    "classify": _classify,
    "benchmark": _benchmark,
    "selftest": _selftest,
    "identify": _identify,
    "counters": _counters,
}

if __name__ == "__main__":
    sys.exit(main())
