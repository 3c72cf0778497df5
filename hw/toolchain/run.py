"""Runs one stage of a build plan: its tools, their log, and what they leave behind."""

import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hw.toolchain.flows import flow_variables
from hw.toolchain.plan import Prepared
from hw.toolchain.reports import read_synthesis
from hw.toolchain.tools import require_tool
from sw.errors import MissingTool, PopstreamError

__all__ = ["StageResult", "missing", "run_stage"]

_TAIL_LINES = 12

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
    """What a stage did.

    Attributes
    ----------
    stage : str
        One of ``STAGES``.
    seconds : float
        Wall time.
    log : Path
        What its tools said.
    outputs : tuple of Path
        The files it made.
    """

    stage: str
    seconds: float
    log: Path
    outputs: tuple[Path, ...]


def missing(prepared: Prepared, stage: str) -> MissingTool | None:
    """The error that a stage would end in for want of a tool or a database, or None."""
    try:
        _resolve(prepared, stage, luts=0)
    except MissingTool as error:
        return error
    return None


def run_stage(
    prepared: Prepared,
    stage: str,
    root: Path,
    *,
    progress: Callable[[str], None] | None = None,
) -> StageResult:
    """Runs one stage in a build folder that holds the plan's files and the earlier stages' outputs.

    The tools work in a folder of their own; their outputs are moved into the build folder once all
    of them have succeeded, so a failed or interrupted stage leaves only its log. On any exception,
    Ctrl-C included, the running tool is ended with everything that it started.

    Parameters
    ----------
    prepared : Prepared
    stage : str
        One of ``STAGES``.
    root : Path
        The build folder.
    progress : callable or None
        Called with a short line whenever a tool starts something new.

    Raises
    ------
    MissingTool
        A tool or database is not on this machine.
    PopstreamError
        A tool failed (the message has the last lines of its log), an earlier stage has not been
        run, or a file cannot be written.
    """
    this = prepared.stage(stage)
    report = root / f"{prepared.name}_stat.json"
    luts = 0
    if stage == "place and route" and report.exists():
        luts = read_synthesis(prepared, root).total.luts
    commands = _resolve(prepared, stage, luts=luts)
    log = root / this.log
    started = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix=f".{this.log}.", dir=root) as scratch,
            log.open("w", encoding="utf-8", errors="replace") as sink,
        ):
            work = Path(scratch)
            _gather(prepared, stage, root, work)
            for command in commands:
                _execute(command, work, sink, progress or _ignore, log)
            outputs = _deliver(this.outputs, this.extras, work, root, log)
    except OSError as error:
        raise PopstreamError(f"cannot {stage} in {root}: {error.strerror or error}") from error
    return StageResult(stage, time.monotonic() - started, log, outputs)


def _resolve(prepared: Prepared, stage: str, *, luts: int) -> list[list[str]]:
    """A stage's commands with the tools' paths and the variables' values."""
    need = f"{'synthesis' if stage == 'synthesise' else stage} for {prepared.board.name}"
    resolved = []
    for tool, *words in prepared.stage(stage).commands:
        path = require_tool(tool, need=need)
        values = {**os.environ, **flow_variables(prepared.board, tool, luts=luts)}
        expanded = (_expand(word, values) for word in words)
        resolved.append([str(path), *(word for word in expanded if word)])
    return resolved


def _expand(word: str, values: Mapping[str, str]) -> str:
    """A word with `$X`, `${X}` and `${X:+word}` replaced, as a POSIX shell does."""

    def value(match: re.Match) -> str:
        name, alternative = match["plain"] or match["braced"], match["alternative"]
        if alternative is None:
            return values.get(name, "")
        return _expand(alternative, values) if values.get(name) else ""

    pattern = r"\$(?:(?P<plain>\w+)|\{(?P<braced>\w+)(?::\+(?P<alternative>[^}]*))?\})"
    return re.sub(pattern, value, word)


def _gather(prepared: Prepared, stage: str, root: Path, work: Path) -> None:
    """Links the plan's files and what earlier stages made into the stage's own folder."""
    earlier = prepared.stages[: prepared.stages.index(prepared.stage(stage))]
    made = [output for before in earlier for output in (*before.outputs, *before.extras)]
    for filename in (*prepared.files, *made):
        source, target = root / filename, work / filename
        if not source.exists():
            if any(filename in before.extras for before in earlier):
                continue
            raise PopstreamError(f"cannot {stage}: {source} is missing; run the stage before it")
        try:
            target.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, target)


def _execute(
    command: Sequence[str], work: Path, sink, progress: Callable[[str], None], log: Path
) -> None:
    """Runs one command to its end, line by line into the log."""
    _logger.debug("%s", " ".join(command))
    sink.write(f"$ {' '.join(command)}\n")
    tail: list[str] = []
    # A process group of its own, so that the tool's children end with it.
    with subprocess.Popen(
        command,
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            for line in process.stdout:
                sink.write(line)
                tail = [*tail[1 - _TAIL_LINES :], line.rstrip()]
                if news := _headline(line):
                    progress(news)
            status = process.wait()
        except BaseException:
            _end(process)
            raise
    sink.flush()
    if status:
        tool = Path(command[0]).name
        what = f"was ended by signal {-status}" if status < 0 else f"failed with status {status}"
        last = "\n".join(line for line in tail if line)
        raise PopstreamError(f"{tool} {what}; its log, {log}, ends:\n{last}")


def _end(process: subprocess.Popen) -> None:
    """Ends a process group, first politely: tools remove their own temporary files then."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(2)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _deliver(
    outputs: Sequence[str], extras: Sequence[str], work: Path, root: Path, log: Path
) -> tuple[Path, ...]:
    """Moves the finished outputs under their final names."""
    for output in outputs:
        if not (work / output).is_file():
            raise PopstreamError(f"the tools made no {output}; see their log, {log}")
    made = [*outputs, *(extra for extra in extras if (work / extra).is_file())]
    return tuple((work / output).replace(root / output) for output in made)


def _headline(line: str) -> str | None:
    """What a user wants to see go by: the start of a pass of yosys or a phase of nextpnr."""
    if match := re.match(r"\d+(?:\.\d+)?\. Executing (.*?)\.?$", line):
        return match[1]
    if match := re.match(
        r"Info: ((?:Packing|Placing|Routing|Running|Promoting|Creating|Setting up|Max freq).*)",
        line,
    ):
        return match[1].rstrip(" .")
    return None


def _ignore(line: str) -> None:
    """No progress wanted."""
