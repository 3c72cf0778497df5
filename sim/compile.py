"""Compiles a design and its bench once: the same text and options come from the cache."""

import hashlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from sim import harness
from sim.job import Job
from sim.tools import Simulator
from sw.errors import PopstreamError

__all__ = ["TIMESCALE", "cocotb_runner", "compile_design", "compile_model", "log_end"]

TIMESCALE = ("1ns", "1ns")
LOG = "compile.log"
LOG_LINES = 12

# cocotb makes every signal public, which hides nothing from VPI but stops most of Verilator's
# optimisations; the harness says itself which signals the bench needs. Amaranth's Verilog is not
# written to please a linter. Of the C++ options these give the least time to compile and to
# simulate some thousand frames: a dense network with 0.4 Mbit of weights becomes one file (6 s of
# processor time, 12 s in pieces), one with 2.9 Mbit is cut so that two processors share it. -O0
# saves a second and is four times slower afterwards; -O2 is a fifth faster and costs a second.
VERILATOR_ARGS = (
    "--no-public-flat-rw",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
    "--output-split",
    "60000",
    # A vector of 10,000 lanes, each beside itself, is one line of 40,000 words.
    "--preproc-token-limit",
    "1000000000",
)
MAKE_ARGS = "OPT_FAST=-O1"
INTERMEDIATE = {".a", ".cpp", ".d", ".dat", ".fast", ".gch", ".h", ".mk", ".o", ".slow"}

log = logging.getLogger(__name__)


def log_end(path: Path) -> str:
    """The last lines of a tool's log, for an error, without cocotb's table of results."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join([line for line in lines if line.strip() and "**" not in line][-LOG_LINES:])


@contextmanager
def cocotb_runner(simulator: Simulator) -> Iterator:
    """cocotb's runner, with the environment that the simulator needs for as long as it is used."""
    from cocotb_tools.runner import get_runner

    environment, path = dict(os.environ), sys.path[:]
    os.environ.update(simulator.environment)
    # Without pytest's rewriting of assertions, of which the bench has none, cocotb starts in half
    # the time. The others would change what its runner does.
    os.environ["COCOTB_REWRITE_ASSERTION_FILES"] = ""
    for name in ("PYTEST_CURRENT_TEST", "WAVES", "GUI"):
        os.environ.pop(name, None)
    sys.path[:] = (str(Path(entry).absolute()) for entry in path)  # "" would follow the simulator
    try:
        runner = get_runner(simulator.name)
        runner.log.setLevel(logging.CRITICAL)
        yield runner
    finally:
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)


def compile_model(job: Job, simulator: Simulator, cache: Path, *, waves: bool = False) -> Path:
    """The folder of a job's compiled model, from the cache or made now.

    Of the job its Verilog, top and streams decide; frames, seed and stalls do not. The parameters
    and what is raised are those of `compile_design`.
    """
    bench = harness.render(job)
    return compile_design(
        job.verilog, bench, harness.TOP, simulator, cache, name=job.top, waves=waves
    )


def compile_design(
    verilog: str,
    bench: str,
    top: str,
    simulator: Simulator,
    cache: Path,
    *,
    name: str,
    waves: bool = False,
) -> Path:
    """The folder of a compiled model, from the cache or made now.

    Parameters
    ----------
    verilog : str
        The design's.
    bench : str
        Verilog of what is around it. Signals that cocotb needs are marked as public.
    top : str
        The bench's module.
    simulator : Simulator
        What compiles it.
    cache : Path
        Folder with a folder for each compiled model.
    name : str
        What messages call the design.
    waves : bool
        The model can record waves.

    Raises
    ------
    PopstreamError
        A tool fails; the message has the end of its log.
    """
    tools = (*simulator.key, version("cocotb"), sys.prefix, VERILATOR_ARGS, MAKE_ARGS, waves)
    model = cache / _digest(verilog, bench, *tools)
    if model.exists():
        return model

    log.info("compiling %s with %s", name, simulator.name)
    cache.mkdir(parents=True, exist_ok=True)
    runtime = (
        cache / f"runtime-{_digest(*tools)}"
    )  # Verilator's own objects, alike for every design
    work = Path(tempfile.mkdtemp(prefix="popstream-"))  # make wants no blank in the path
    try:
        (work / "design.v").write_text(verilog)
        (work / "bench.v").write_text(bench)
        at_hand = sorted(path.name for path in runtime.glob("*.o"))
        for each in at_hand:
            shutil.copyfile(runtime / each, work / each)
        _build(simulator, work, top, waves=waves, runtime=at_hand)
        if not at_hand:
            _keep(work, runtime, lambda path: path.match("verilated*.o"))
        _keep(work, model, lambda path: path.suffix not in INTERMEDIATE)
    except RuntimeError:
        failed = Path(shutil.copyfile(work / LOG, cache / "failed.log"))
        raise PopstreamError(
            f"{simulator.name} does not compile {name!r}; its log {failed} ends:\n{log_end(failed)}"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return model


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _keep(work: Path, target: Path, wanted: Callable[[Path], bool]) -> None:
    """Moves files to where they are found again, all or none of them."""
    fresh = Path(tempfile.mkdtemp(prefix=f"{target.name}-", dir=target.parent))
    for path in work.iterdir():
        if path.is_file() and wanted(path):
            shutil.move(path, fresh / path.name)
    try:
        fresh.rename(target)
    except OSError:
        shutil.rmtree(fresh)
        if not target.exists():  # else another process was faster
            raise


def _build(simulator: Simulator, work: Path, top: str, *, waves: bool, runtime: list[str]) -> None:
    """Runs the tools in a folder. `runtime` names objects that are there already."""
    args, make_args = [], MAKE_ARGS
    if simulator.name == "verilator":
        args = list(VERILATOR_ARGS)
    if runtime:
        args += ["-LDFLAGS", " ".join(runtime)]
        make_args += " VK_GLOBAL_OBJS="
    with cocotb_runner(simulator) as runner:
        os.environ["MAKEFLAGS"] = f"{os.environ.get('MAKEFLAGS', '')} {make_args}"
        runner.build(
            sources=[work / "design.v", work / "bench.v"],
            hdl_toplevel=top,
            build_args=args,
            build_dir=work,
            timescale=TIMESCALE,
            waves=waves,
            log_file=work / LOG,
        )
