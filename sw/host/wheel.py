"""Packs the host library for a board: a wheel with nothing in it that needs more than numpy.

Python imports from the file as it is; `pip install` takes it too. Format: PEP 427.
"""

import base64
import hashlib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sw.errors import PopstreamError

__all__ = ["write_wheel"]

_SW = Path(__file__).parents[1]
_NAME = "popstream_host"
_METADATA = """\
Metadata-Version: 2.1
Name: popstream-host
Version: {version}
Summary: Runs networks that Popstream built for an FPGA: the host's side
License: BSD-3-Clause
Requires-Python: >=3.10
Requires-Dist: numpy>=1.22
Provides-Extra: serial
Requires-Dist: pyserial>=3.5; extra == "serial"
Provides-Extra: image
Requires-Dist: pillow>=9; extra == "image"
"""
_WHEEL = """\
Wheel-Version: 1.0
Generator: popstream
Root-Is-Purelib: true
Tag: py3-none-any
"""
_SCRIPTS = """\
[console_scripts]
popstream = sw.host.__main__:main
"""
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can say


def _version() -> str:
    for name in ("popstream", "popstream-host"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise PopstreamError(
        "popstream is not installed, so its version is not known: pip install -e ."
    )


def write_wheel(folder) -> Path:
    """Writes the wheel; equal sources give equal bytes.

    Parameters
    ----------
    folder : path
        Where to; it exists.

    Returns
    -------
    Path
        ``popstream_host-VERSION-py3-none-any.whl`` in there.

    Raises
    ------
    PopstreamError
        It cannot be written.
    """
    release = _version()
    info = f"{_NAME}-{release}.dist-info"
    sources = [_SW / "__init__.py", _SW / "errors.py", *sorted((_SW / "host").glob("*.py"))]
    files = {f"sw/{path.relative_to(_SW).as_posix()}": path.read_bytes() for path in sources}
    files[f"{info}/METADATA"] = _METADATA.format(version=release).encode()
    files[f"{info}/WHEEL"] = _WHEEL.encode()
    files[f"{info}/entry_points.txt"] = _SCRIPTS.encode()
    record = "".join(f"{name},{_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    path = Path(folder) / f"{_NAME}-{release}-py3-none-any.whl"
    try:
        with zipfile.ZipFile(path, "w") as wheel:
            for name, data in files.items():
                wheel.writestr(_entry(name), data)
    except OSError as error:
        raise PopstreamError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _digest(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"


def _entry(name: str) -> zipfile.ZipInfo:
    """Stored, not compressed: zlib's versions differ in what they make of equal bytes."""
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system = 3  # Unix, wherever it is written
    entry.external_attr = 0o100644 << 16
    return entry
