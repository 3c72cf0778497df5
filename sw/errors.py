"""The one exception a command line turns into a line of text instead of a traceback."""

import difflib
from collections.abc import Iterable

__all__ = ["MissingTool", "PopstreamError", "unknown"]


class PopstreamError(Exception):
    """A user's mistake or a missing part of the machine; the message is one readable line."""


class MissingTool(PopstreamError):
    """A program or package a stage needs is not on this machine; the message names the remedy."""


def unknown(kind: str, name: str, known: Iterable[str]) -> PopstreamError:
    """The error for a name that is none of the known ones, with the nearest of them.

    Parameters
    ----------
    kind : str
        What the name should have named, e.g. ``"board"``.
    name : str
        What the user wrote.
    known : iterable of str
        Every accepted name.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return PopstreamError(f"unknown {kind} {name!r}; known: {', '.join(known)}{hint}")
