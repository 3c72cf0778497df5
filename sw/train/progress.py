"""What the user sees of a training: a bar with time left, and one line an epoch."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["Reporter"]


class Reporter:
    """A context manager that draws the bar on `console`; where that is no terminal, lines only."""

    def __init__(self, console: Console, *, epochs: int) -> None:
        self._console = console
        self._epochs = epochs
        self._accuracy = ""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=4,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=1.0, state="")

    def __enter__(self) -> "Reporter":
        self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        self._progress.stop()

    def begin(self, done: int) -> None:
        """Before the first step: the epochs done earlier. The time left is reckoned from here."""
        self._progress.reset(self._task, completed=done / self._epochs)

    def step(self, epoch: int, done: float, loss: float) -> None:
        """Within an epoch (counted from 0): the whole training's share done, the loss so far."""
        self._progress.update(
            self._task,
            completed=done,
            description=f"epoch {epoch + 1}/{self._epochs}",
            state=f"loss {loss:.3f}{self._accuracy}",
        )

    def epoch(self, line) -> None:
        """After an epoch: its line of the history."""
        self._accuracy = f"  accuracy {line.accuracy:.2%}"
        self._progress.update(self._task, completed=line.epoch / self._epochs)
        self._console.print(
            f"epoch {line.epoch:3}/{self._epochs}  loss {line.loss:.4f}  "
            f"training {line.train_accuracy:.2%}  accuracy {line.accuracy:.2%}  "
            f"{line.seconds:.1f} s",
        )

    def settled(self, accuracy: float) -> None:
        """At the end: the accuracy with batch norm statistics of all training images."""
        self._console.print(f"batch norm settled on all training images  accuracy {accuracy:.2%}")
