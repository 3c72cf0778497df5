"""A network on an FPGA, as a function of numpy arrays.

As in

    with Accelerator.open("pynq") as accelerator:
        labels = accelerator.infer(images)
"""

import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np

from sw.errors import PopstreamError
from sw.host import devices
from sw.host.benchmark import Benchmark
from sw.host.files import only_file
from sw.host.frames import decode, encode
from sw.host.identity import Identity
from sw.host.line import SerialLink
from sw.host.memory import MemoryLink
from sw.host.model import Model, load

__all__ = ["Accelerator"]

TIMEOUT_SECONDS = 10.0
WEIGHTS = "weights.bin"  # beside the model file


class Accelerator:
    """A board that computes a network; made by `open`. For one thread at a time.

    Use it in a ``with`` statement, or call `close`. Whatever goes wrong is a
    `sw.errors.PopstreamError`; the board has been reset by then and can be used again. No call
    lasts for ever.
    """

    def __init__(
        self, link, model: Model, *, weights: Path | None = None, batch: int | None = None
    ):
        self._link, self._model = link, model
        self._identity = identity = Identity.read(link.identify())
        identity.check_model(model)
        image = _weights(weights, identity) if identity.weight_bytes else b""
        self._clock_hz = link.prepare(identity.clock_hz)
        if identity.batch_frames:
            link.take_batches(identity.batch_frames, image)
        frame, result = identity.frame_bytes, identity.result_bytes
        self._batch = link.batch(frame, result) if batch is None else batch

    @classmethod
    def open(
        cls,
        device,
        *,
        model=None,
        weights=None,
        bitstream=None,
        timeout: float = TIMEOUT_SECONDS,
        batch: int | None = None,
        **options,
    ) -> "Accelerator":
        """Opens a board, loads its bitstream where the device can, and checks what is on it.

        Parameters
        ----------
        device : str or device
            ``"pynq"``: the board that this runs on. ``"serial:/dev/ttyUSB1"``: a board behind a
            serial port. Other packages may have more, such as ``"sim:FOLDER"``. Or a device that is
            open already.
        model : path or None
            The model file that the board computes. None: the one in the folder that the device
            names, or else in the current folder.
        weights : path or None
            What the fabric reads as weights, where it does. None: ``weights.bin`` beside the model
            file.
        bitstream : path or None
            What a PYNQ board is loaded with. None: the one in the current folder.
        timeout : float
            Seconds within which the board must answer a frame.
        batch : int or None
            Frames that go to the board at a time, 1..65535. None: as many as pay. Where the fabric
            takes batches of its own, whole ones are best.
        **options
            Of the device, such as ``baud=`` of ``serial``.

        Raises
        ------
        MissingTool
            The device needs a package that is not there.
        PopstreamError
            A file is missing, the board cannot be opened, or computes something else.
        """
        if not timeout > 0:
            raise PopstreamError(f"timeout must be over 0 s, not {timeout}")
        if batch is not None and not 1 <= batch <= 0xFFFF:
            raise PopstreamError(f"batch must be in 1..65535, not {batch}")
        path = Path(model) if model is not None else _model_path(device)
        described = load(path)
        if isinstance(device, str):
            if bitstream is not None:
                options["bitstream"] = bitstream
            device = devices.open_device(device, path, options)
        try:
            device = _link(device, timeout)
            weights = path.with_name(WEIGHTS) if weights is None else Path(weights)
            return cls(device, described, weights=weights, batch=batch)
        except BaseException:
            with suppress(PopstreamError):
                device.close()
            raise

    @property
    def model(self) -> Model:
        """The model file."""
        return self._model

    @property
    def identity(self) -> Identity:
        """What the board says of itself."""
        return self._identity

    @property
    def clock_hz(self) -> int:
        """The clock that the board runs at, which may be slower than what it was built for."""
        return self._clock_hz

    @property
    def counters(self) -> dict:
        """The board's counters by name, see doc/registers.md, summed up since it was opened.

        They do not wrap as long as somebody looks at them, or infers, every 20 seconds.
        """
        return self._open_link().counters()

    def infer(
        self,
        images,
        *,
        scores: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """What the network makes of images.

        Parameters
        ----------
        images : array of integers, (n, *shape) or (*shape)
            Frames as the model takes them, or one of them.
        scores : bool
            Return the score of each class.
        progress : callable or None
            Called with how many images are done, and of how many.

        Returns
        -------
        array of int64, (n,) or (n, classes)
            Labels: indices of ``model.classes``, and of equal scores the lowest. Or scores. One
            frame counts as n = 1.

        Raises
        ------
        PopstreamError
            The images are not what the model takes, the board does not compute scores, or it does
            not answer as it should.
        """
        link, identity = self._open_link(), self._identity
        if scores and not identity.scores:
            raise PopstreamError(
                "this accelerator answers with labels only: build it with --results scores"
            )
        frames = self._frames(images)
        numbers = np.empty((len(frames), identity.result_elements), np.int64)
        done = 0
        batches = (self._encode(batch) for batch in _split(frames, self._batch))
        with closing(link.run(batches, identity.result_bytes)) as answers:
            for answer in answers:
                with self._timed("decode"):
                    some = decode(answer, identity.result_elements, identity.number_bytes)
                    numbers[done : done + len(some)] = some
                done += len(some)
                if progress:
                    progress(done, len(frames))
        return numbers if scores else self._labels(numbers)

    def benchmark(
        self,
        images=None,
        *,
        seconds: float = 2.0,
        progress: Callable[[float, float], None] | None = None,
    ) -> Benchmark:
        """Measures throughput and latency.

        Parameters
        ----------
        images : array or None
            As `infer` takes them; repeated as often as need be. None: the model file's samples.
        seconds : float
            How long to measure; somewhat more passes in all.
        progress : callable or None
            Called with the seconds that have passed, and of how many.

        Raises
        ------
        PopstreamError
            As `infer` does, or there are no images.
        """
        link, identity = self._open_link(), self._identity
        frames = self._frames(self._model.samples.inputs if images is None else images)
        if not len(frames):
            raise PopstreamError("a benchmark needs at least one image")
        if not 0 < seconds < np.inf:
            raise PopstreamError(f"a benchmark lasts over 0 s, not {seconds}")
        latency = self._latency(frames[:1], seconds / 10)
        batch = self._enough(frames, seconds / 10)

        spent, before = dict(link.spent), link.counters()
        done, passed = 0, 0.0
        began = time.perf_counter()

        def batches() -> Iterator:
            yield self._encode(batch)
            while time.perf_counter() - began < seconds:
                yield self._encode(batch)

        with closing(link.run(batches(), identity.result_bytes)) as answers:
            for answer in answers:
                with self._timed("decode"):
                    done += len(decode(answer, identity.result_elements, identity.number_bytes))
                passed = time.perf_counter() - began
                if progress:
                    progress(min(passed, seconds), seconds)
        after = link.counters()
        return Benchmark(
            images=done,
            seconds=passed,
            batch=len(batch),
            latency_seconds=latency,
            clock_hz=self._clock_hz,
            frame_cycles=identity.frame_cycles,
            frame_bytes=identity.frame_bytes,
            result_bytes=identity.result_bytes,
            counters={name: after[name] - before[name] for name in after},
            spent={name: link.spent[name] - spent[name] for name in spent},
        )

    def reset(self) -> None:
        """Has the board forget what it does; needed by nobody, as it is reset after each error."""
        self._open_link().reset()

    def close(self) -> None:
        """Lets go of the board; a second time does nothing."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def __enter__(self) -> "Accelerator":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            self.close()
        except PopstreamError:
            if error is None:  # what happened first says more
                raise

    def __repr__(self) -> str:
        state = "closed" if self._link is None else self._link.name
        return f"<Accelerator {self._model.name} on {state}>"

    def _open_link(self):
        if self._link is None:
            raise PopstreamError("the accelerator is closed")
        return self._link

    def _frames(self, images) -> np.ndarray:
        """The images as uint8 (int8 where the model's frames are signed), (n, *shape), checked."""
        images, model = _array(images), self._model
        if images.shape == model.shape:
            images = images[None]
        if images.shape[1:] != model.shape:
            raise PopstreamError(
                f"{model.name} takes frames of shape {model.shape}, or several: "
                f"(n, {', '.join(map(str, model.shape))}), not {images.shape}"
            )
        low, high = model.low, model.high
        dtype = np.dtype(np.int8 if model.signed else np.uint8)
        if images.dtype == bool and not model.signed:
            return images.view(np.uint8)
        if images.dtype == dtype and model.bits == 8:
            return images
        if not np.issubdtype(images.dtype, np.integer):
            raise PopstreamError(
                f"frames must be integers in {low}..{high}, not {images.dtype}: scale them, then "
                f"images.astype(numpy.{dtype})"
            )
        if images.size and (images.min() < low or images.max() > high):
            wrong = ((images < low) | (images > high)).reshape(len(images), -1).any(axis=1)
            at = int(wrong.argmax())
            worst = images[at].max() if images[at].max() > high else images[at].min()
            raise PopstreamError(f"frame {at} must be in {low}..{high}, but has {worst}")
        return images.astype(dtype, copy=False)

    def _encode(self, frames: np.ndarray) -> np.ndarray:
        """Frames as the fabric takes them: bytes, (n, frame_bytes)."""
        with self._timed("encode"):
            bits = self._identity.frame_bits
            if bits == 1 and self._model.bits > 1:
                # A threshold may be one more than the largest element: 16 bits hold it.
                frames = frames >= self._model.thresholds.astype(np.int16)
            frames = frames.view(np.uint8)
            if self._model.signed:  # two's complement
                frames = frames & np.uint8((1 << bits) - 1)
            return encode(frames, bits)

    def _labels(self, numbers: np.ndarray) -> np.ndarray:
        if self._identity.scores:
            return numbers.argmax(axis=1)  # the first of equals
        labels, classes = numbers[:, 0], len(self._model.classes)
        if classes and labels.size and labels.max() >= classes:
            at = int(labels.argmax())
            raise PopstreamError(
                f"the accelerator answered frame {at} with class {labels[at]}, but there are "
                f"{classes}: what it computes is not what it says"
            )
        return labels

    def _latency(self, frame: np.ndarray, seconds: float) -> float:
        """Median of the time from a frame to its label, over at least one and about so long."""
        self.infer(frame)  # allocates the buffers
        times, end = [], time.perf_counter() + seconds
        while not times or (len(times) < 1000 and time.perf_counter() < end):
            began = time.perf_counter()
            self.infer(frame)
            times.append(time.perf_counter() - began)
        return float(np.median(times))

    def _enough(self, frames: np.ndarray, seconds: float) -> np.ndarray:
        """Frames, repeated to a whole batch, or to as many as take so long."""
        count = min(self._batch, max(1, self._identity.batch_frames))
        while True:
            batch = frames[np.arange(count) % len(frames)]
            began = time.perf_counter()
            self.infer(batch)
            if count == self._batch or time.perf_counter() - began > seconds:
                return batch
            count = min(2 * count, self._batch)

    @contextmanager
    def _timed(self, activity: str) -> Iterator:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._link.spent[activity] += time.perf_counter() - began


def _array(images) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy before 1.24 only warns of lists that differ
            return np.asarray(images)
    except (ValueError, TypeError, Warning) as error:
        raise PopstreamError(f"the images are no array of numbers: {error}") from error


def _split(frames: np.ndarray, size: int) -> Iterable:
    return (frames[start : start + size] for start in range(0, len(frames), size))


def _model_path(device) -> Path:
    """The model file where none is named."""
    folder = Path(device.partition(":")[2]) if isinstance(device, str) else Path()
    # A device's argument may be anything; a folder with a model in it is meant as such.
    if not (folder.is_dir() and any(folder.glob("*.safetensors"))):
        folder = Path()
    return only_file(folder, "*.safetensors", what="model file", option="model")


def _weights(path: Path, identity: Identity) -> bytes:
    """The weights that this fabric was built for."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PopstreamError(
            f"cannot read the weights {path}: {error.strerror or error}; name the file that came "
            "with the bitstream with --weights, in Python weights="
        ) from error
    if (len(data), zlib.crc32(data)) != (identity.weight_bytes, identity.weight_crc):
        raise PopstreamError(
            f"{path} has other weights than the accelerator was built for: {len(data):,} bytes of "
            f"CRC-32 {zlib.crc32(data):08x}, not {identity.weight_bytes:,} of "
            f"{identity.weight_crc:08x}"
        )
    return data


def _link(device, timeout: float):
    """What talks to the device: its kind shows in whether it shares memory."""
    if hasattr(device, "allocate"):
        return MemoryLink(device, timeout=timeout)
    return SerialLink(device, timeout=timeout)
