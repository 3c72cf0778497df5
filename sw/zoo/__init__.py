"""Pretrained model files, each with its card: README.md lists them."""

from pathlib import Path

from sw.errors import unknown

__all__ = ["names", "path"]

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """The models' names, in alphabetical order, e.g. ``mnist-sfc``."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.safetensors")))


def path(name: str) -> Path:
    """The model file of this name, for `sw.artefact.load`.

    Raises
    ------
    PopstreamError
        There is no such model; the message lists those there are.
    """
    if name not in names():
        raise unknown("model", name, names())
    return _FOLDER / f"{name}.safetensors"
