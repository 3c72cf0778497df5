"""Talks to a board over its serial link: sends frames, receives class indices.

    python -m sw.host.serial /dev/ttyUSB1 --model mnist-sfc.safetensors

sends a model's stored test images to a board that runs it and compares its answers with the golden
model. `sw.host.link` describes the protocol. Needs pyserial.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from sw.errors import MissingTool, PopstreamError
from sw.host.link import FRAMES_IN_FLIGHT, TIMEOUT_SECONDS, encode

__all__ = ["SerialClient", "open_port"]


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
        return serial.Serial(path, baud)
    except (OSError, ValueError) as error:
        raise PopstreamError(f"cannot open the serial port {path}: {error}") from error


class SerialClient:
    """The host's end of a serial link.

    Parameters
    ----------
    port : serial.Serial
        Open; or anything with its `write`, `read`, `timeout` and `reset_input_buffer`.
    width : int
        Bits of an element, in 1..8.
    classes : int
        Number of classes, in 1..256.
    frames_in_flight : int
        Frames sent ahead of their answers, at least 1.
    patience : float
        Seconds to wait for one answer.
    sleep : callable
        Waits so many seconds.
    """

    def __init__(
        self,
        port,
        *,
        width: int,
        classes: int,
        frames_in_flight: int = FRAMES_IN_FLIGHT,
        patience: float = 2.0,
        sleep: Callable[[float], None] = time.sleep,
    ):
        if frames_in_flight < 1:
            raise ValueError(f"Frames in flight must be at least 1, not {frames_in_flight}")
        self._port, self._width, self._classes = port, width, classes
        self._frames_in_flight, self._sleep = frames_in_flight, sleep
        self._patience = port.timeout = patience
        self.restart()

    def restart(self) -> None:
        """Makes both ends forget all unanswered frames, by keeping silent for long enough."""
        self._sleep(2 * TIMEOUT_SECONDS)
        self._port.reset_input_buffer()

    def classify(
        self, inputs: np.ndarray, *, progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Has the board classify frames.

        Parameters
        ----------
        inputs : array of uint8, shape (frames, ...)
            Elements in 0..2**width-1.
        progress : callable or None
            Called with the number of answers so far.

        Returns
        -------
        array of int64, shape (frames,)
            The class index of each frame.

        Raises
        ------
        PopstreamError
            An answer is missing or impossible, or the port is gone. The link has started over and
            may be used again.
        """
        frames = encode(inputs, self._width)
        labels = np.zeros(len(frames), dtype=np.int64)
        try:
            for number in range(len(frames) + self._frames_in_flight):
                if 0 <= (due := number - self._frames_in_flight) < len(frames):
                    labels[due] = self._answer(due)
                    if progress:
                        progress(due + 1)
                if number < len(frames):
                    self._port.write(frames[number])
        except OSError as error:
            raise PopstreamError(f"the serial port is gone: {error}") from error
        except PopstreamError:
            self.restart()
            raise
        return labels

    def _answer(self, frame: int) -> int:
        answer = self._port.read(1)
        if not answer:
            raise PopstreamError(
                f"no answer to frame {frame} within {self._patience:g} s: check that the board "
                "runs this model, the baud rate, and that transmit meets receive"
            )
        if answer[0] >= self._classes:
            raise PopstreamError(
                f"the board answered frame {frame} with class {answer[0]}, but there are "
                f"{self._classes}: check that it runs this model, and the baud rate"
            )
        return answer[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    from rich.console import Console

    from sw.artefact import load
    from sw.golden import predict, trace

    parser = argparse.ArgumentParser(prog="python -m sw.host.serial", description=__doc__)
    parser.add_argument("port", help="the board's serial port, such as /dev/ttyUSB1")
    parser.add_argument("--model", required=True, help="the model file that the board runs")
    parser.add_argument("--baud", type=int, default=1_000_000, help="bits per second")
    parser.add_argument(
        "--bits", action="store_true", help="the board takes bits: binarise the pixels here"
    )
    options = parser.parse_args(arguments)
    try:
        model = load(options.model)
        network, inputs = model.network, model.samples.inputs
        sent, width = inputs, network.input.bits
        if options.bits:
            sent, width = trace(network, inputs)[network.nodes[1].name].astype(np.uint8), 1
        client = SerialClient(
            open_port(options.port, options.baud),
            width=width,
            classes=len(network.classes) or 256,
        )
        labels = client.classify(sent)
    except PopstreamError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    equal = int(np.sum(labels == predict(network, inputs)))
    right = int(np.sum(labels == model.samples.labels))
    said = f"{len(labels)} frames: {equal} as the golden model, {right} as labelled"
    Console(highlight=False).print(said)
    return 0 if equal == len(labels) else 1


if __name__ == "__main__":
    sys.exit(main())
