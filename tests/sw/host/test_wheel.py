"""sw.host.wheel: what is in it, that it is what pip takes, and that it needs nothing else."""

import base64
import hashlib
import os
import subprocess
import sys
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from sw.errors import PopstreamError
from sw.host import wheel as host_wheel
from sw.host.wheel import write_wheel

RELEASE = version("popstream")
INFO = f"popstream_host-{RELEASE}.dist-info"
SW = Path(host_wheel.__file__).parents[1]


@pytest.fixture
def wheel(tmp_path):
    return write_wheel(tmp_path)


def python(*arguments, executable=sys.executable, **environment):
    """Runs Python away from this repository; what it printed."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [executable, *map(str, arguments)],
        env=inherited | environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_holds_the_host_and_nothing_else(wheel):
    assert wheel.name == f"popstream_host-{RELEASE}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        assert file.testzip() is None
        names = set(file.namelist())
        assert {each.date_time for each in file.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {each.external_attr >> 16 for each in file.infolist()} == {0o100644}
        in_order = [name for name in file.namelist() if name.startswith("sw/host/")]
        assert in_order == sorted(in_order)
        sources = {name for name in names if not name.startswith(INFO)}
        hosts = {f"sw/host/{path.name}" for path in (SW / "host").glob("*.py")}
        assert sources == {"sw/__init__.py", "sw/errors.py"} | hosts
        for name in sources:
            assert file.read(name) == (SW.parent / name).read_bytes()
        metadata = file.read(f"{INFO}/METADATA").decode()
    described = {f"{INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}
    assert names - sources == described
    assert "Requires-Python: >=3.10\n" in metadata
    assert "Requires-Dist: numpy>=1.22\n" in metadata


def test_record_is_right(wheel):
    with zipfile.ZipFile(wheel) as file:
        record = file.read(f"{INFO}/RECORD").decode()
        assert record.endswith("\n")
        rows = [row.split(",") for row in record.splitlines()]
        assert [name for name, *_ in rows] == file.namelist()
        for name, digest, size in rows[:-1]:
            data = file.read(name)
            value = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, size) == (f"sha256={value}", str(len(data)))
    assert rows[-1] == [f"{INFO}/RECORD", "", ""]


def test_equal_sources_give_equal_bytes(wheel, tmp_path, monkeypatch):
    (tmp_path / "again").mkdir()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert write_wheel(tmp_path / "again").read_bytes() == wheel.read_bytes()


def test_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(PopstreamError, match=r"cannot write .*none/popstream_host-.*whl: No such"):
        write_wheel(tmp_path / "none")


def test_version_that_nobody_knows(tmp_path, monkeypatch):
    def unknown(name):
        raise host_wheel.PackageNotFoundError(name)

    monkeypatch.setattr(host_wheel, "version", unknown)
    with pytest.raises(PopstreamError, match="popstream is not installed"):
        write_wheel(tmp_path)


def test_python_imports_from_the_file(wheel):
    """As on a board: nothing but numpy is imported, and it is the wheel's code that runs."""
    code = (
        "import sys, sw.host, sw.host.model\n"
        "assert sw.host.__file__.startswith(sys.argv[1]), sw.host.__file__\n"
        "from sw.host import Accelerator\n"
        "import sw.host.__main__, sw.host.image, sw.host.pynq, sw.host.wheel\n"
        "ours = {'sw', 'numpy'} | set(sys.stdlib_module_names)\n"
        "others = {name.split('.')[0] for name in sys.modules} - ours\n"
        "print(sorted(name for name in others if not name.startswith('_')))"
    )
    assert python("-c", code, wheel, PYTHONPATH=str(wheel)) == "[]\n"
    assert "selftest" in python("-m", "sw.host", "--help", PYTHONPATH=str(wheel))


def test_pip_installs_it(wheel, tmp_path):
    """Into an environment of its own, which sees this one's numpy and none of its sw."""
    venv.create(tmp_path / "venv", symlinks=True, with_pip=False)
    inside = tmp_path / "venv" / "bin" / "python"
    install = ("-m", "pip", "--python", inside, "install", "--no-deps", "--no-index", wheel)
    python(*install, PYTHONWARNINGS="ignore")  # of older pips themselves
    import numpy

    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for name in ("numpy", "numpy.libs"):
        found = Path(numpy.__file__).parents[1] / name
        if found.exists():
            (site / name).symlink_to(found)
    assert "selftest" in python("-m", "sw.host", "--help", executable=inside)
    script = tmp_path / "venv" / "bin" / "popstream"
    assert "selftest" in python(script, "--help", executable=inside)
    where = python("-c", "import sw.host; print(sw.host.__file__)", executable=inside)
    assert where.startswith(str(site))
