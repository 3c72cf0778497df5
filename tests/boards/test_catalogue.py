"""boards.catalogue: what plans and builds read about each board."""

import re
import subprocess
import sys

import pytest

from boards.catalogue import BOARDS, board
from sw.errors import PopstreamError


def test_budgets_are_the_parts():
    pynq = board("pynq")
    assert (pynq.luts, pynq.lut_inputs, pynq.ffs, pynq.brams) == (53_200, 6, 106_400, 140)
    assert pynq.bram_bits == 36 * 1024
    assert (board("ulx3s").luts, board("ulx3s").brams) == (83_640, 208)
    assert board("ulx3s").bram_bits == 18 * 1024
    assert (board("icebreaker").luts, board("icebreaker").brams) == (5_280, 30)
    assert board("icebreaker").bram_bits == 4 * 1024


def test_unknown_board_suggests_the_nearest():
    with pytest.raises(PopstreamError, match=r"unknown board 'pinq'.*did you mean 'pynq'\?"):
        board("pinq")


@pytest.mark.parametrize(
    ("name", "shell"), [(name, shell.name) for name in BOARDS for shell in board(name).shells]
)
def test_default_and_suggested_clocks_can_be_made(name, shell):
    this = board(name).through(shell)
    assert this.shell.name == shell
    assert {each.name for each in this.shells} == {each.name for each in board(name).shells}
    assert this.clock().hz == this.clock_hz
    assert this.clock_hz in this.shell.suggested_clocks_hz
    for hz in this.shell.suggested_clocks_hz:
        assert this.clock(hz).hz == hz


def test_impossible_clock_names_the_nearest():
    message = "pynq cannot make 100 MHz from 125 MHz; nearest: 62.5 MHz or 125 MHz"
    with pytest.raises(PopstreamError, match=re.escape(message)):
        board("pynq").through("serial").clock(100_000_000)
    message = "pynq cannot make 101 MHz from 1000 MHz; nearest: 100 MHz or 125 MHz"
    with pytest.raises(PopstreamError, match=re.escape(message)):
        board("pynq").clock(101_000_000)


def test_shells():
    assert board("pynq").shell.name == "zynq"
    assert board("pynq").through(None) is BOARDS["pynq"]
    assert board("pynq").through("serial").baud == 1_000_000
    with pytest.raises(PopstreamError, match="unknown shell for ulx3s 'zynq'; known: serial"):
        board("ulx3s").through("zynq")


def test_catalogue_needs_no_hardware_library():
    """--help reads the catalogue, and has to answer at once."""
    code = "import sys, boards.catalogue; sys.exit('amaranth' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
