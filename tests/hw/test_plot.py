"""The Pareto front, drawn: where its marks are."""

from xml.etree import ElementTree

import pytest

from hw.plot import Front, draw, svg

FRONT = Front(
    title="a < b & c",
    points=((1_000, 10_000), (10_000, 1_000_000), (3_000, 100_000)),
    chosen=(10_000, 1_000_000),
    limit=20_000,
)


def marks(text, mark):
    """Columns and rows of a mark in the field, the rows counted from the top."""
    field = [line[10:] for line in text.splitlines()[1:-3]]
    return [
        (column, row)
        for row, line in enumerate(field)
        for column, found in enumerate(line)
        if found == mark
    ]


def test_marks_rise_to_the_right():
    text = draw(FRONT, columns=60, rows=12)
    others, chosen = marks(text, "o"), marks(text, "#")
    assert len(others) == 2 and len(chosen) == 1
    (left, low), (middle, between) = sorted(others)
    (right, high) = chosen[0]
    assert left < middle < right and low > between > high
    # Equal factors are equal steps: 10,000 to 100,000 to 1,000,000.
    assert abs((low - between) - (between - high)) <= 1
    edge = {column for column, _ in marks(text, "|")}
    assert len(edge) == 1 and edge.pop() > right


def test_axes_have_round_numbers():
    text = draw(FRONT)
    assert "100k +" in text and "1M +" in text
    assert text.splitlines()[-2].split() == ["1k", "2k", "5k", "10k", "20k", "LUTs"]
    assert max(len(line) for line in text.splitlines()) < 80


def test_one_plan_is_enough():
    only = Front("one", points=((500, 7),), chosen=(500, 7), limit=500)
    assert marks(draw(only), "#")
    ElementTree.fromstring(svg(only))


def test_svg():
    root = ElementTree.fromstring(svg(FRONT, width=640, height=400))
    circles = root.findall("{*}circle")
    places = [(float(c.get("cx")), float(c.get("cy"))) for c in circles]
    assert len(places) == 4 and places[3] == places[2]  # the last marks the chosen one
    assert places[0][0] < places[1][0] < places[2][0]
    assert places[0][1] > places[1][1] > places[2][1]
    assert places[0][1] - places[1][1] == pytest.approx(places[1][1] - places[2][1], abs=0.11)
    assert all(0 < x < 640 and 0 < y < 400 for x, y in places)
    assert root.find("{*}text").text == "a < b & c"
