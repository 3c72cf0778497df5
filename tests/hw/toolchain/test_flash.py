"""hw.toolchain.flash, with a loader that records how it was called."""

import pytest

from boards.catalogue import board
from hw.toolchain import flash
from sw.errors import MissingTool, PopstreamError


@pytest.fixture
def bitstream(tmp_path):
    path = tmp_path / "top.bit"
    path.write_text("bits")
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pynq", ["pynq_z2"]),
        ("arty_z7", ["arty_z7_20"]),
        ("ulx3s", ["ulx3s"]),
        ("icebreaker", ["ice40_generic", "--write-flash"]),
    ],
)
def test_loader_is_told_the_board(fake_tools, monkeypatch, bitstream, name, options):
    monkeypatch.setenv("OPENFPGALOADER", str(fake_tools.add("loader")))
    flash(board(name), bitstream)
    assert fake_tools.calls() == [["loader", "--board", *options, str(bitstream)]]


def test_missing_loader_is_one_line(fake_tools, monkeypatch, bitstream):
    monkeypatch.setenv("OPENFPGALOADER", "/nowhere/loader")
    with pytest.raises(MissingTool, match="'/nowhere/loader', which is no program: no loading of"):
        flash(board("ulx3s"), bitstream)


def test_missing_bitstream_is_one_line(tmp_path):
    with pytest.raises(PopstreamError, match=r"no bitstream .*none\.bit to load into ulx3s"):
        flash(board("ulx3s"), tmp_path / "none.bit")


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (
            "loader: error while loading shared libraries: libusb-1.0.so.0: cannot open",
            MissingTool,
            r"needs libusb-1\.0, which this machine lacks: pynq is not loaded; .*apt install",
        ),
        (
            "unable to open ftdi device: -3 (device not found)\nJTAG init failed",
            PopstreamError,
            "openFPGALoader could not load pynq: JTAG init failed",
        ),
    ],
)
def test_failure_is_one_line(fake_tools, monkeypatch, bitstream, said, error, message):
    body = f"print({said!r})\nsys.exit(1)"
    monkeypatch.setenv("OPENFPGALOADER", str(fake_tools.add("loader", body)))
    with pytest.raises(error, match=message):
        flash(board("pynq"), bitstream)
