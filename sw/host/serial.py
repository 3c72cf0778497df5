"""The host's end of a serial link: sends frames to a board, receives their results.

`sw.host.link` describes the packets. Needs pyserial for a real port.
"""

from collections import Counter, deque
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager

import numpy as np

from sw.errors import MissingTool, PopstreamError
from sw.host.link import (
    ANSWER,
    FRAMES_IN_FLIGHT,
    PAUSE_SECONDS,
    Kind,
    Packet,
    Parser,
    answer_lengths,
    build,
)
from sw.host.registers import COUNTERS, IDENTITY

__all__ = ["TRIES", "SerialClient", "open_port"]

TRIES = 3
_WRITE_SECONDS = 10.0  # to hand a packet to the operating system, which has buffers
_NOISE = 16  # of the longest packets: no more bytes are looked at for one answer
_DRAIN = 1 << 16  # bytes; more than any serial port holds back


def open_port(path: str, baud: int):
    """Opens a serial port, 8N1.

    Parameters
    ----------
    path : str
        Such as ``/dev/ttyUSB1`` or ``COM3``.
    baud : int
        Bits per second.

    Raises
    ------
    MissingTool
        pyserial is not installed.
    PopstreamError
        The port cannot be opened.
    """
    try:
        import serial
    except ImportError as error:
        raise MissingTool("pyserial not found: no serial link; pip install pyserial") from error
    try:
        return serial.Serial(path, baud, write_timeout=_WRITE_SECONDS)
    except (OSError, ValueError) as error:
        raise PopstreamError(f"cannot open the serial port {path}: {error}") from error


class SerialClient:
    """A board with a serial shell.

    Connecting resets the board: it forgets what an earlier client left unanswered.

    No call waits for ever, whatever the port delivers. Time is told by the port: a read that gives
    nothing has taken its timeout.

    Parameters
    ----------
    port : serial.Serial
        Open; or anything with its `write`, `read`, `timeout` and `close`. The client owns it.
    patience : float
        Seconds of silence after which an answer is missed.

    Raises
    ------
    PopstreamError
        The board does not answer, or the port is gone.
    """

    def __init__(self, port, *, patience: float = 2.0):
        self._port, self._patience = port, patience
        self._sequence = 0
        self._arrived: deque[Packet] = deque()
        self._parser = Parser(answer_lengths(result_bytes=0))
        # A pause, in which the board drops what it has of a packet, and the host all that comes.
        port.timeout = 2 * PAUSE_SECONDS
        self._read(_DRAIN)
        port.timeout = min(PAUSE_SECONDS, patience)
        self.reset()
        self._identity = self.identify()
        result_bytes = self._identity["RESULT_ELEMENTS"] * self._identity["RESULT_BYTES"]
        self._parser = Parser(answer_lengths(result_bytes))

    def identify(self) -> dict[str, int]:
        """The identity section of the board's register map, by register."""
        return _words(IDENTITY, self._ask(Kind.IDENTIFY))

    def counters(self) -> dict[str, int]:
        """The board's counters, all of one moment, by register."""
        return _words(COUNTERS, self._ask(Kind.COUNTERS))

    def reset(self) -> None:
        """Makes the board forget all frames, and its counters start from 0."""
        self._ask(Kind.RESET)

    def close(self) -> None:
        """Closes the port."""
        self._port.close()

    def infer(self, frames: np.ndarray, *, progress: Callable[[int], None] | None = None) -> bytes:
        """The results of frames, one after another.

        Parameters
        ----------
        frames : array of uint8, shape (n, frame_bytes)
            As `sw.host.frames.encode` makes them.
        progress : callable or None
            Called with the number of results so far.

        Raises
        ------
        PopstreamError
            A frame was not answered, however often it was sent, or the port is gone.
        ValueError
            The frames are no such array.
        """
        frame_bytes = self._identity["FRAME_BYTES"]
        if frames.dtype != np.uint8 or frames.ndim != 2 or frames.shape[1] != frame_bytes:
            raise ValueError(
                f"Frames must be uint8 of shape (n, {frame_bytes}), not {frames.dtype} of "
                f"{frames.shape}"
            )
        results = [b""] * len(frames)
        unanswered: dict[int, int] = {}  # sequence number -> frame, the oldest first
        tries: Counter[int] = Counter()
        sent = 0

        def send(sequence: int, number: int) -> None:
            if tries[number] == TRIES:
                raise PopstreamError(
                    f"no answer to frame {number}, sent {TRIES} times{self._why()}"
                )
            tries[number] += 1
            unanswered[sequence] = number
            self._write(Packet(Kind.INFER, sequence, frames[number].tobytes()))

        while sent < len(frames) or unanswered:
            oldest = min(unanswered.values(), default=sent)
            while sent < min(oldest + FRAMES_IN_FLIGHT, len(frames)):
                send(self._next_sequence(), sent)
                sent += 1
            answer = self._receive(Kind.INFER, unanswered)
            order = list(unanswered)
            if answer is None:
                lost = order
            else:
                # Results come in the order of their frames: what was sent before is lost.
                lost = order[: order.index(answer.sequence)]
                results[unanswered.pop(answer.sequence)] = answer.payload
                if progress:
                    progress(sent - len(unanswered))
            for sequence in lost:
                send(sequence, unanswered[sequence])
        return b"".join(results)

    def _ask(self, kind: Kind, *, tries: int = TRIES) -> bytes:
        """The payload of the answer to a request without one."""
        for _ in range(tries):
            sequence = self._next_sequence()
            self._write(Packet(kind, sequence))
            answer = self._receive(kind, (sequence,))
            if answer:
                return answer.payload
        raise PopstreamError(
            f"no answer to {kind.name}, sent {tries} times: check that the board has Popstream's "
            "serial shell, the baud rate, and that transmit meets receive"
        )

    def _why(self) -> str:
        """What the board can tell of frames that it did not answer."""
        try:
            counted = _words(COUNTERS, self._ask(Kind.COUNTERS, tries=1))
        except PopstreamError:
            return ", nor to a request for counters: is the board still there?"
        return "; it counts " + ", ".join(f"{name} {n}" for name, n in counted.items())

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) % 256
        return self._sequence

    def _receive(self, kind: Kind, sequences: Container[int]) -> Packet | None:
        """The next answer of this kind to one of these; None where there is none for too long."""
        silence, noise = 0.0, 0
        while True:
            while self._arrived:
                packet = self._arrived.popleft()
                if packet.kind == kind | ANSWER and packet.sequence in sequences:
                    return packet
            if silence >= self._patience or noise >= _NOISE * self._parser.longest:
                return None
            data = self._read(self._parser.missing)
            silence = 0.0 if data else silence + self._port.timeout
            noise += len(data)
            self._arrived.extend(self._parser.feed(data))

    def _read(self, count: int) -> bytes:
        with _port_errors():
            return self._port.read(count)

    def _write(self, packet: Packet) -> None:
        with _port_errors():
            self._port.write(build(packet))


@contextmanager
def _port_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PopstreamError(f"the serial port is gone: {error}") from error


def _words(section: tuple, payload: bytes) -> dict[str, int]:
    words = np.frombuffer(payload, dtype="<u4")
    return {register.name: int(word) for register, word in zip(section, words, strict=True)}
