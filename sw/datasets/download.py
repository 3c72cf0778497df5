"""Fetches one published file: checked by SHA-256, renamed into place only when whole."""

import hashlib
import http.client
import logging
import os
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from sw.errors import PopstreamError

__all__ = ["download"]

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 16
_TIMEOUT_SECONDS = 20


def download(urls: Sequence[str], path: Path, *, sha256: str) -> None:
    """Writes the file at the first of ``urls`` that serves it to ``path``.

    The bytes go to a temporary file beside ``path``, which is renamed once its digest is right;
    nothing half-written is ever left under the final name.

    Parameters
    ----------
    urls : sequence of str
        Mirrors of the same file, tried in order.
    path : Path
        Where to put it; missing folders are made.
    sha256 : str
        The published file's digest, hexadecimal.

    Raises
    ------
    PopstreamError
        The folder cannot be written, or no mirror served the right bytes; names each and why.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise PopstreamError(f"cannot write to {path.parent}: {error.strerror}") from error
    os.close(handle)
    partial = Path(name)
    refusals = []
    try:
        for url in urls:
            try:
                found = _fetch(url, partial)
            except (OSError, ValueError, http.client.HTTPException) as error:
                refusals.append(f"{url}: {getattr(error, 'reason', None) or error}")
                continue
            if found == sha256:
                partial.chmod(0o644)  # mkstemp's files are private; a data directory is shared
                partial.replace(path)
                return
            refusals.append(f"{url}: SHA-256 is {found[:12]}..., not {sha256[:12]}...")
    finally:
        partial.unlink(missing_ok=True)
    raise PopstreamError("; ".join(refusals))


def _fetch(url: str, path: Path) -> str:
    """Writes what ``url`` serves to ``path``; the SHA-256 of it."""
    logger.info("downloading %s", url)
    digest = hashlib.sha256()
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
        path.open("wb") as file,
        progress,
    ):
        size = response.headers.get("Content-Length", "")
        task = progress.add_task(
            url.rsplit("/", 1)[-1], total=int(size) if size.isdecimal() else None
        )
        while chunk := response.read(_CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            progress.advance(task, len(chunk))
    return digest.hexdigest()
