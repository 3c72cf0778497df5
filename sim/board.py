"""Boards in simulation, as devices of `sw.host`: the host's own driver on Verilator's gateware.

    Accelerator.open("sim:FOLDER")

simulates what `hw.build` left in a folder. A Zynq is driven by `sw.host.pynq`, on a stand-in of the
`pynq` package; a board with a serial line by `sw.host.serial`, on a stand-in of its port.
"""

from pathlib import Path

from sim.board_simulation import SimulatedBoard
from sim.fake_pynq import FakePynq
from sw.host.pynq import PynqDevice

__all__ = ["SimulatedPort", "SimulatedPynq", "open_device"]

WAIT_SECONDS = 0.01  # of the board's clock: so much is simulated before the driver looks again
INTERRUPT_SECONDS = 10.0  # real ones; far more than an interrupt takes to get through
FOREVER = 1 << 62  # cycles


class SimulatedPynq(PynqDevice):
    """A simulated Zynq.

    Parameters
    ----------
    board : SimulatedBoard
    bitstream : Path
        Stands for one: the file that is simulated.
    """

    name = "sim"

    def __init__(self, board: SimulatedBoard, bitstream: Path):
        self.board, self._fake = board, FakePynq(board)
        super().__init__(pynq=self._fake, bitstream=bitstream)

    def wait(self, timeout: float) -> bool:
        """As on the board, but the seconds are those of its own clock, and at most a hundredth."""
        cycles = round(min(timeout, WAIT_SECONDS) * 1e6 * self._fake.Clocks.fclk0_mhz)
        # What was seen before it was cleared may still wait in the file.
        return self.board.request("wait", cycles) and super().wait(INTERRUPT_SECONDS)

    def close(self) -> None:
        """Ends the simulation."""
        super().close()
        self.board.close()


class SimulatedPort:
    """The host's end of a simulated serial line, as pyserial's Serial.

    What is written goes over the line, and time passes, while something is read.

    Parameters
    ----------
    board : SimulatedBoard
        With a serial shell.

    Members
    -------
    timeout : float or None
        Seconds of the board's clock that a read may take.
    """

    name = "sim"

    def __init__(self, board: SimulatedBoard):
        self.board, self.timeout = board, None

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""
        return self.board.request("waiting")

    def write(self, data: bytes) -> int:
        """Sends bytes; returns how many."""
        self.board.request("send", bytes(data))
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Receives bytes, fewer where the time is over or nothing will come any more."""
        cycles = FOREVER if self.timeout is None else round(self.timeout * self.board.clock_hz)
        return self.board.request("receive", size, cycles)

    def reset_input_buffer(self) -> None:
        """Forgets what has come."""
        self.board.request("forget")

    def close(self) -> None:
        """Ends the simulation."""
        self.board.close()


def open_device(
    argument: str | None,
    model_path: Path,
    *,
    stall: float = 0.0,
    seed: int = 1,
    patience: float = 0.1,
    limit: float = 600.0,
    waves: bool = False,
) -> SimulatedPynq | SimulatedPort:
    """The simulated board of a build.

    Parameters
    ----------
    argument : str or None
        The build's folder; None is the current one.
    model_path : Path
        Not used: the gateware says what it computes.
    stall, seed, patience, limit, waves
        As of `SimulatedBoard`.

    Raises
    ------
    MissingTool, PopstreamError
        As `SimulatedBoard` does.
    """
    folder = Path(argument or ".")
    board = SimulatedBoard(
        folder, stall=stall, seed=seed, patience=patience, limit=limit, waves=waves
    )
    if board.shell == "serial":
        return SimulatedPort(board)
    try:
        return SimulatedPynq(board, folder / "shell.v")
    except BaseException:
        board.close()
        raise
