"""Which file is meant where none is named."""

from pathlib import Path

from sw.errors import PopstreamError

__all__ = ["only_file"]


def only_file(folder: Path, pattern: str, *, what: str, option: str) -> Path:
    """The one file in a folder whose name is of this pattern.

    Parameters
    ----------
    folder : Path
    pattern : str
        E.g. ``"*.bit"``.
    what : str
        What the file is, e.g. ``"model file"``.
    option : str
        The option that names it, e.g. ``"model"``.

    Raises
    ------
    PopstreamError
        There is none, or more than one.
    """
    found = sorted(file for file in folder.glob(pattern) if file.is_file())
    if len(found) == 1:
        return found[0]
    names = ", ".join(file.name for file in found)
    said = f"which {what}? {folder.absolute()} has {names}"
    if not found:
        said = f"no {what}: {folder.absolute()} has no {pattern}"
    raise PopstreamError(f"{said}; name it with --{option}, in Python {option}=")
