"""Pictures as a model's frames."""

from pathlib import Path

import numpy as np

from sw.errors import MissingTool, PopstreamError
from sw.host.model import Model

__all__ = ["load_frames", "white_of"]


def white_of(model: Model) -> int:
    """The value that white has in a model's frames, as far as its file tells.

    Elements of 8 bits are a picture's own values. What fewer bits mean is not written anywhere: a
    model of 5 bits may have been trained on 0..16, and would not know 31. So it is the largest
    value in the test images that came with the model.
    """
    most = (1 << model.bits) - 1
    seen = model.samples.inputs
    return int(seen.max()) or most if model.bits < 8 and seen.size else most


def load_frames(
    path, model: Model, *, resize: bool = False, invert: bool = False, white: int | None = None
) -> np.ndarray:
    """Reads a picture, or frames from an ``.npy`` file.

    Parameters
    ----------
    path : path
        Of any format that Pillow reads; becomes grey, or RGB where a frame has three channels. What
        is transparent becomes white. An ``.npy`` file is taken as it is.
    model : Model
        Whose frames they are to be.
    resize : bool
        Stretch the picture to the frame's size; else another size is an error.
    invert : bool
        Swap black and white: where the model knows bright strokes, the picture has dark ones.
    white : int or None
        The value that white becomes. None: `white_of` the model.

    Returns
    -------
    array of integers, (n, *shape)
        n is 1 for a picture.

    Raises
    ------
    MissingTool
        Pillow is not installed.
    PopstreamError
        The file is missing or not readable, or does not fit.
    """
    path = Path(path)
    most = (1 << model.bits) - 1
    if white is not None and not 1 <= white <= most:
        raise PopstreamError(f"--white must be in 1..{most} for {model.name}, not {white}")
    if path.suffix == ".npy":
        if resize or invert or white is not None:
            raise PopstreamError(
                f"{path}: an .npy file is taken as it is, without --resize, --invert or --white"
            )
        return _array(path, model)
    pixels = _pixels(path, model, resize)
    if invert:
        pixels = 255 - pixels
    # To the nearest; with white 255, no change.
    white = white_of(model) if white is None else white
    scaled = (pixels.astype(np.uint32) * white * 2 + 255) // 510
    return scaled.astype(np.uint8).reshape(1, *model.shape)


def _array(path: Path, model: Model) -> np.ndarray:
    try:
        frames = np.load(path, allow_pickle=False)
    except OSError as error:
        raise PopstreamError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise PopstreamError(f"{path} is no .npy file: {error}") from error
    if not isinstance(frames, np.ndarray):
        raise PopstreamError(f"{path} holds several arrays: save one with numpy.save")
    if frames.shape == model.shape:
        frames = frames[None]
    if frames.shape[1:] != model.shape:
        raise PopstreamError(
            f"{path} holds an array of {frames.shape}, {model.name} takes frames of {model.shape}"
        )
    return frames


def _pixels(path: Path, model: Model, resize: bool) -> np.ndarray:
    """The picture in 0..255, of the frame's size."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingTool(f"Pillow not found: cannot read {path}; pip install pillow") from error
    mode = _MODES.get(model.shape[2:])
    if len(model.shape) < 2 or mode is None:
        raise PopstreamError(
            f"{model.name} takes frames of shape {model.shape}, which are no pictures: give it "
            "an .npy file"
        )
    height, width = model.shape[:2]
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise PopstreamError(
                    f"{path} has more than 8 bits a channel; which of them count is for you to say"
                )
            size = picture.size
            if size != (width, height) and not resize:
                raise PopstreamError(
                    f"{path} has {size[0]} x {size[1]} pixels, {model.name} takes {width} x "
                    f"{height}: cut it out, or stretch it with --resize"
                )
            # What is transparent hides what it shows under it: on paper that is white.
            picture = picture.convert("RGBA")
            paper = Image.new("RGBA", size, "white")
            picture = Image.alpha_composite(paper, picture).convert(mode)
            if size != (width, height):
                picture = picture.resize((width, height))
            return np.asarray(picture)
    except FileNotFoundError as error:
        raise PopstreamError(f"there is no picture {path}") from error
    except PopstreamError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise whatever its reader ran into
        raise PopstreamError(f"cannot read the picture {path}: {error}") from error


_MODES = {(): "L", (1,): "L", (3,): "RGB"}
