"""What a user sees while waiting: lines, and bars with the time left."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hw.plan import Plan

__all__ = ["bar", "expected_seconds", "say", "spinner"]

_console = Console(highlight=False, soft_wrap=True)

# Seconds to start a stage, and seconds a thousand estimated LUTs, on a two-core machine.
_PACE = {
    ("synthesise", "xc7"): (15, 6.0),
    ("synthesise", "ecp5"): (12, 4.0),
    ("synthesise", "ice40"): (8, 6.0),
    ("netlist", "xc7"): (12, 5.0),
    ("netlist", "ecp5"): (12, 4.0),
    ("netlist", "ice40"): (12, 4.0),
    ("place-and-route", "xc7"): (60, 10.0),
    ("place-and-route", "ecp5"): (10, 7.0),
    ("place-and-route", "ice40"): (4, 8.0),
}


def say(line: str) -> None:
    """A line for the user."""
    _console.print(line, markup=False)


def expected_seconds(stage: str, plan: Plan) -> float:
    """A guess of how long a tool will take, for the bar only."""
    start, pace = _PACE.get((stage, plan.board.family), (5, 0.2))
    return start + pace * plan.resources.luts / 1000


@contextmanager
def bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that is told how many of how many are done; before that, it says it compiles."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=_console, transient=True, disable=not _console.is_terminal
    ) as progress:
        task = progress.add_task(f"{name}: compiling", total=None)
        yield lambda done, total: progress.update(
            task, description=name, completed=done, total=total
        )


@contextmanager
def spinner(name: str, seconds: float) -> Iterator[Callable[[str], None]]:
    """A bar that fills with the expected time, and shows what the tool says it does."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("of about {task.fields[expected]}"),
        TextColumn("{task.fields[doing]}"),
    )
    over = threading.Event()
    with Progress(
        *columns, console=_console, transient=True, disable=not _console.is_terminal
    ) as progress:
        expected = f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
        task = progress.add_task(name, total=seconds, expected=expected, doing="")

        def fill() -> None:
            while not over.wait(0.5):
                elapsed = progress.tasks[0].elapsed or 0.0
                progress.update(task, completed=min(elapsed, 0.99 * seconds))

        thread = threading.Thread(target=fill, daemon=True)
        thread.start()
        try:
            yield lambda line: progress.update(task, doing=line[:60])
        finally:
            over.set()
            thread.join()
