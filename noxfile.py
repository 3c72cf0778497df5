"""Checks, one session each: `nox` runs lint, tests, sim and build; `nox -l` lists all."""

import os
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests", "sim", "build"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

# The CPU build; plain `torch` drags in gigabytes of CUDA where pip finds no such build.
TORCH = "torch==2.13.0"


def install(session: nox.Session, extras: str) -> None:
    session.install("-e", f".[{extras}]")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and formatting, by ruff."""
    session.install("ruff>=0.14,<1")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def tests(session: nox.Session) -> None:
    """Everything that pytest finds, warnings as errors; data sets are used where they are."""
    session.install(TORCH)
    install(session, "test,train")
    session.run(
        "pytest", "-n", "2", "--dist", "loadfile", *session.posargs, env={"PYTHONWARNINGS": "error"}
    )


@nox.session
def pynq(session: nox.Session) -> None:
    """The real pynq package against what we call of it; it wants a numpy before 2."""
    session.install("pynq==4.0.0", "pytest>=8.3,<10")
    session.run("python", "-m", "pytest", "tests/pynq")


def built(board: str, model: str) -> str:
    """The folder of the latest build of a model for a board."""
    folders = Path("build/nox").glob(f"{board}-{model}-*/shell.json")
    return str(max(folders, key=lambda file: file.stat().st_mtime).parent)


@nox.session
def sim(session: nox.Session) -> None:
    """Real images through the generated Verilog of every model that CI has time for.

    Then through whole boards, by the host's own driver: a PYNQ gets MNIST's test set where it is.
    """
    install(session, "sim,data")
    for board, model, options, frames in (
        ("icebreaker", "digits-tiny", (), "20"),
        ("pynq", "mnist-tfc", (), None),
        ("pynq", "mnist-sfc", ("--input", "bits"), "all"),
        ("ulx3s", "mnist-sfc", ("--input", "bits"), "10"),
        ("pynq", "cifar10-cnv", ("--clock", "100", "--target-fps", "15000"), None),
    ):
        session.run(
            *("python", "-m", "hw.build", "--until", "simulate", "--output", "build/nox"),
            *("--board", board, "--model", model, *options),
        )
        if frames == "all" and "POPSTREAM_DATA" not in os.environ:
            frames = "50"  # those in the model file
        if frames:
            session.run("python", "-m", "sim", built(board, model), "--frames", frames)


@nox.session
def build(session: nox.Session) -> None:
    """The default model, a board of each family: netlists simulated, and a real bitstream."""
    install(session, "sim")
    for board, until, share in (
        ("icebreaker", "bitstream", "0.35"),
        ("ulx3s", "netlist", "0.06"),
        ("pynq", "netlist", "0.06"),
    ):
        session.run(
            *("python", "-m", "hw.build", "--until", until, "--output", "build/nox"),
            *("--board", board, "--fill", share),
        )


@nox.session
def sim_long(session: nox.Session) -> None:
    """The whole MNIST test set through the RTL of sfc, and the networks that fill a device.

    And a pipeline that is faster than the memory port, on its board. Needs the data set, takes
    minutes.
    """
    install(session, "sim,data")
    for model, options in (
        ("mnist-sfc", ("--frames", "all")),
        ("mnist-sfc", ("--target-fps", "3100000")),  # 32 cycles at 100 MHz
        ("mnist-lfc", ("--target-fps", "500000")),  # 200 cycles
        ("mnist-sfc", ("--target-fps", "12500000", "--input", "bits")),  # 8 cycles
        ("cifar10-cnv", ("--clock", "100", "--target-fps", "15000", "--frames", "500")),
    ):
        session.run(
            *("python", "-m", "hw.build", "--until", "simulate", "--output", "build/nox"),
            *("--board", "pynq", "--model", model, *options),
        )
    session.run("python", "-m", "sim", built("pynq", "mnist-sfc"), "--frames", "all")
    # All layers but the first of networks that no such chip holds, at full size.
    for network in ("bvgg16", "xnor-alexnet"):
        session.run("python", "-m", "hw.engine", network, "--batch", "1", "--simulate", "1")


@nox.session
def calibrate(session: nox.Session) -> None:
    """The planner's estimate beside yosys's counts, for units of every family."""
    install(session, "sim")
    session.run("python", "-m", "hw.calibrate")


@nox.session
def formal(session: nox.Session) -> None:
    """Popcounts of up to 36 lanes, proven equal to their definition, and the shell's protocols.

    Takes some ten minutes.
    """
    install(session, "formal")
    session.run("python", "-m", "hw.equivalence")
    session.run("python", "-m", "hw.formal")


@nox.session
def bench(session: nox.Session) -> None:
    """Every claimed figure of the gateware, measured again; half an hour."""
    install(session, "sim")
    session.run("python", "-m", "hw.bench", *session.posargs)
