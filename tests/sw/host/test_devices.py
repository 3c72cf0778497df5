"""sw.host.devices: names, arguments, options, and what other packages bring."""

import sys

import pytest

from sw.errors import MissingTool, PopstreamError
from sw.host import Accelerator, devices


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Installs a package with devices of its own."""
    (tmp_path / "other-1.dist-info").mkdir()
    (tmp_path / "other-1.dist-info" / "METADATA").write_text("Name: other\nVersion: 1\n")
    (tmp_path / "other-1.dist-info" / "entry_points.txt").write_text(
        f"[{devices.GROUP}]\nfar = other_device:open_device\nbroken = no_such_module:open_device\n"
    )
    (tmp_path / "other_device.py").write_text(
        "def open_device(argument, model_path, *, speed=1, colour=None):\n"
        "    return argument, model_path, speed\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("other_device", None)


def test_names(other):
    assert {"pynq", "serial", "far", "broken"} <= set(devices.names())


@pytest.mark.parametrize(("device", "argument"), [("far", None), ("far:", ""), ("far:a:b", "a:b")])
def test_argument_is_what_follows_the_colon(other, tiny, device, argument):
    assert devices.open_device(device, tiny, {"speed": 3}) == (argument, tiny, 3)


@pytest.mark.parametrize("name", ["pynk", "pynk:1"])
def test_unknown_device_lists_the_known(other, name):
    with pytest.raises(PopstreamError, match=r"unknown device 'pynk'; known: .*far.*mean 'pynq'"):
        devices.open_device(name, None, {})


def test_device_that_cannot_be_loaded(other):
    with pytest.raises(PopstreamError, match=r"broken cannot be loaded: .*no_such_module"):
        devices.open_device("broken", None, {})


def test_unknown_options(other, tiny):
    with pytest.raises(PopstreamError, match="far has no option 'baud'; it takes colour, speed"):
        devices.open_device("far", tiny, {"baud": 9600})
    with pytest.raises(PopstreamError, match="serial has no option 'bitstream'; it takes baud"):
        Accelerator.open("serial:/dev/ttyUSB1", model=tiny, bitstream="top.bit")


def test_serial_needs_a_port(tiny):
    with pytest.raises(PopstreamError, match="needs a port, such as serial:/dev/ttyUSB1"):
        Accelerator.open("serial", model=tiny)


def test_serial_port_that_cannot_be_opened(tiny, tmp_path):
    with pytest.raises(PopstreamError, match=r"cannot open the serial port .*none"):
        Accelerator.open(f"serial:{tmp_path}/none", model=tiny, baud=115_200)


def test_serial_needs_pyserial(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingTool, match="pip install pyserial"):
        Accelerator.open("serial:/dev/null", model=tiny)


def test_model_in_the_folder_that_the_device_names(other, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(tiny.read_bytes())
    found = []
    monkeypatch.setattr(devices, "open_device", lambda *what: found.append(what) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Accelerator.open(f"far:{folder}")
    assert found == [(f"far:{folder}", folder / "model.safetensors", {})]
