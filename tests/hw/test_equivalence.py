# amaranth: UnusedElaboratable=no
"""A few of the proofs; `python -m hw.equivalence`, which nox calls formal, makes all of them."""

import re
from dataclasses import replace

import pytest

from hw.equivalence import main, popcounts, prove
from sw.errors import PopstreamError


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("family, width", [("xc7", 3), ("xc7", 24), ("ecp5", 25), ("ice40", 7)])
def test_popcounts_count(family, width):
    for case in popcounts(family, [width]).values():
        prove(case)


def test_cells_are_proven_too():
    (cells,) = (
        case
        for case in popcounts("xc7", [12]).values()
        if case.name == "popcount of 12 lanes for xc7 as cells"
    )
    assert "cell \\LUT6 " in cells.design
    table = re.search(r"(?<=parameter \\INIT 64')[01]+", cells.design)
    flipped = table[0][:40] + "10"[int(table[0][40])] + table[0][41:]
    wrong = cells.design[: table.start()] + flipped + cells.design[table.end() :]
    with pytest.raises(
        PopstreamError,
        match=r"^popcount of 12 lanes for xc7 as cells: not what is specified, for example where "
        r"i = 12'b[01]{12}, w = 12'b[01]{12}$",
    ):
        prove(replace(cells, design=wrong))


def test_an_example_is_found_where_abc_gives_up():
    case = popcounts("xc7", [24])["popcount of 24 lanes for xc7 as plain logic"]
    wrong = case.specification.replace("+: 5] = count", "+: 5] = count ^ ^(i & w)")
    assert wrong != case.specification
    with pytest.raises(PopstreamError, match=r"not what is specified, .* w = 24'b[01]{24}$"):
        prove(replace(case, specification=wrong))


def test_what_is_not_legal_may_differ():
    case = popcounts("xc7", [2])["popcount of 2 lanes with one of 3 known words for xc7 as cells"]
    prove(case)
    with pytest.raises(PopstreamError, match=r"not what is specified, .* select = 2'b11$"):
        prove(replace(case, legal="1"))


def test_an_output_that_nothing_drives_is_not_proven():
    case = next(iter(popcounts("ice40", [2]).values()))
    undriven = r"""
        module \design
            wire input 0 \clk
            wire input 1 \rst
            wire width 2 input 2 \i
            wire width 6 input 3 \w
            wire width 6 output 4 \o
        end
    """
    zero = re.sub(r"count = count \+ .*", "count = 0;", case.specification)
    assert zero != case.specification
    with pytest.raises(PopstreamError, match="not what is specified"):
        prove(replace(case, design=undriven, specification=zero))


def test_a_failure_of_yosys_is_no_proof():
    case = next(iter(popcounts("ice40", [2]).values()))
    with pytest.raises(
        PopstreamError, match=r"^popcount of 2 .*: yosys failed: .*ERROR: syntax error"
    ):
        prove(replace(case, specification="nonsense"))


def test_command_line(capsys):
    assert main(["--family", "ecp5", "--widths", "1", "2"]) == 0
    assert "ecp5: " in (said := capsys.readouterr().out) and "of 1 to 2 lanes proven" in said
    assert main(["--family", "xc6"]) == 1
    assert "unknown family 'xc6'" in capsys.readouterr().err
    assert main(["--widths", "3", "2"]) == 1
    assert "widths must be ascending from 1, not 3 2" in capsys.readouterr().err
