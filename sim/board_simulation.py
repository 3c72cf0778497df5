"""A board's gateware in a simulator of its own, which does what it is asked for.

The simulator is another process (`sim.board_process`, `sim.board_bench`), told over a socket what
to do. In between it stands still.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from sim.board_process import TOP
from sim.compile import compile_design, log_end
from sim.tools import find_simulator
from sw.errors import PopstreamError

__all__ = ["MEMORY", "SimulatedBoard"]

MEMORY = 0x1000_0000, 64 << 20  # start and size of the simulated memory
SHELLS = ("zynq", "serial")
START_SECONDS = 60.0
END_SECONDS = 5.0


class SimulatedBoard:
    """The gateware of a build, simulated in a process of its own.

    The simulation advances only while a request needs it. The simulator's log is in a folder of its
    own in the build's folder ``simulated``, until the board is closed; where the simulator failed,
    it is kept. Compiled models are there too, or in the folder ``models`` beside the build if there
    is one.

    Parameters
    ----------
    folder : Path
        A build's: it has ``shell.v``, with a module ``shell``, and ``shell.json``.
    stall : float
        Probability that a channel of an AXI port is held back in a cycle, in 0..0.9.
    seed : int
        Of every random choice.
    patience : float
        Seconds of the board's time for which a serial line may be silent before the rest of a
        timeout is left out. Longer than whatever the gateware does in silence.
    limit : float
        Real seconds that one request may take.
    waves : bool
        Record every signal to a file beside the log, and keep both. Slow.

    Members
    -------
    shell : str
        ``zynq`` or ``serial``.
    clock_hz, baud : int
        As in ``shell.json``; the baud rate of a serial line only.
    weights : bool
        The gateware reads weights through a port of their own.
    pid : int
        The simulator's process.
    log : Path
        What the simulator says.

    Raises
    ------
    MissingTool
        There is no simulator.
    PopstreamError
        The folder lacks what it should have, an option is out of its range, or the simulator fails;
        then the message has the end of its log.
    """

    def __init__(
        self,
        folder: Path,
        *,
        stall: float = 0.0,
        seed: int = 1,
        patience: float = 0.1,
        limit: float = 600.0,
        waves: bool = False,
    ) -> None:
        if not 0 <= stall <= 0.9:
            raise PopstreamError(f"stall must be in 0..0.9, not {stall}")
        self._limit = limit
        try:
            verilog, described = _described(folder)
            self.shell, self.clock_hz = described["shell"], described["clock_hz"]
            self.baud = described.get("baud")
            simulator, simulated = find_simulator(), folder / "simulated"
            simulated.mkdir(exist_ok=True)
            self.weights = "hp2_arvalid" in verilog
            bench = Path(__file__).with_name(f"board_{self.shell}.v").read_text()
            shared = folder.absolute().parent / "models"  # hw.build's own, beside its builds
            model = compile_design(
                verilog,
                "`define WEIGHTS\n" + bench if self.weights else bench,
                TOP,
                simulator,
                shared if shared.is_dir() else simulated / "models",
                name=f"{folder}/shell.v",
                waves=waves,
            )
            run = Path(tempfile.mkdtemp(prefix="board-", dir=simulated))
            config = {
                **described,
                "simulator": simulator.name,
                "waves": waves,
                "memory": MEMORY,
                "weights": self.weights,
                "stall": stall,
                "seed": seed,
                "patience_cycles": round(patience * self.clock_hz),
            }
            self._start(model, run, config)
        except OSError as error:
            where = error.filename or folder
            raise PopstreamError(
                f"cannot simulate a board: {where}: {error.strerror or error}"
            ) from error

    def _start(self, model: Path, run: Path, config: dict) -> None:
        """Starts the simulator and waits for its call."""
        self.log = run / "simulation.log"
        with (
            tempfile.TemporaryDirectory(prefix="popstream-") as private,
            socket.socket(socket.AF_UNIX) as server,
            self.log.open("wb") as log,
        ):
            server.bind(f"{private}/board")
            server.listen(1)
            config["socket"] = server.getsockname()
            (run / "board.json").write_text(json.dumps(config))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sim.board_process", model.absolute(), run.absolute()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                start_new_session=True,  # an interrupt from the keyboard is for the user's program
            )
            try:
                self._connection = _called(server, self._process)
            except BaseException:
                _kill(self._process)
                raise
        if self._connection is None:
            self._fail("does not start")
        # Also at the end of a program that did not close it.
        unwanted = None if config["waves"] else run
        self._end = weakref.finalize(self, _end, self._process, self._connection, unwanted)
        self.pid = self._answer()

    def request(self, name: str, *arguments):
        """Has the bench do something.

        Parameters
        ----------
        name : str
            A method of the board's class in `sim.board_bench`.
        *arguments
            Its arguments.

        Returns
        -------
        object
            What it returns.

        Raises
        ------
        PopstreamError
            The board does not do that, or it is gone.
        """
        if not self._end.alive:
            raise PopstreamError("the simulated board is closed")
        try:
            with suppress(ConnectionError):  # what is wrong shows when there is no answer
                self._connection.send((name, *arguments))
            return self._answer()
        except KeyboardInterrupt:
            self.close()  # whatever is asked next would get this answer
            raise

    def _answer(self):
        try:
            if not self._connection.poll(self._limit):
                self._fail(f"does not answer within {self._limit:g} s")
            kind, value = self._connection.recv()
        except (EOFError, ConnectionError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)  # its last words
            self._fail("has ended without an answer")
        if kind == "error":
            raise PopstreamError(f"the simulated board: {value}")
        return value

    def _fail(self, what: str) -> None:
        """Ends the simulation, but keeps its log."""
        if self._connection is not None:
            self._end.detach()
            self._connection.close()
        _kill(self._process)
        raise PopstreamError(
            f"the simulated board {what}; its log {self.log} ends:\n{log_end(self.log)}"
        )

    def close(self) -> None:
        """Ends the simulation. Happens at the latest when the program ends."""
        self._end()


def _described(folder: Path) -> tuple[str, dict]:
    """A build's Verilog, and what it says of it."""
    path = folder / "shell.json"
    pipeline = folder / "accelerator.v"  # where the shell's Verilog is not the whole
    verilog = (folder / "shell.v").read_text()
    verilog += pipeline.read_text() if pipeline.exists() else ""
    try:
        described = json.loads(path.read_text())
        known = described["shell"] in SHELLS and described["clock_hz"] > 0
    except (ValueError, TypeError, KeyError) as error:
        raise PopstreamError(f"cannot simulate a board: {path}: {error!r}") from error
    if not known:
        raise PopstreamError(f"cannot simulate a board: {path}: there is no shell like {described}")
    return verilog, described


def _called(server: socket.socket, process: subprocess.Popen) -> Connection | None:
    """The connection, once the simulator calls; None where it does not."""
    server.settimeout(0.1)
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(TimeoutError):
            return Connection(server.accept()[0].detach())
    return None


def _end(process: subprocess.Popen, connection: Connection, unwanted: Path | None) -> None:
    """Hangs up, upon which the simulator ends; removes a folder."""
    connection.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    _kill(process)
    if unwanted is not None:
        shutil.rmtree(unwanted, ignore_errors=True)


def _kill(process: subprocess.Popen) -> None:
    """Has the simulator gone, whatever it does."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
