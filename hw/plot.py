"""A Pareto front, throughput against LUTs, both logarithmic: in plain characters and as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

__all__ = ["Front", "draw", "svg"]


@dataclass(frozen=True)
class Front:
    """What is plotted.

    Parameters
    ----------
    title : str
    points : sequence of (LUTs, images a second), both over 0
        Any number of plans, at least one.
    chosen : (LUTs, images a second)
        The plan that is marked.
    limit : float
        LUTs there are, drawn as a line.
    """

    title: str
    points: Sequence[tuple[float, float]]
    chosen: tuple[float, float]
    limit: float

    @property
    def x(self) -> tuple[float, float]:
        """The LUTs of the left and right edge."""
        every = [self.chosen[0], self.limit, *(luts for luts, _ in self.points)]
        return min(every) / 1.15, max(every) * 1.15

    @property
    def y(self) -> tuple[float, float]:
        """The images a second of the lower and upper edge."""
        every = [self.chosen[1], *(pace for _, pace in self.points)]
        return min(every) / 1.5, max(every) * 1.5


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between: 1, 2 and 5 of each decade, or each power of ten where it has many."""
    steps = (1,) if high / low > 1e4 else (1, 2, 5)
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    every = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in every if low <= tick <= high]


def _short(number: float) -> str:
    """1,500 as 1.5k."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number:g}"


def _at(value: float, edges: tuple[float, float], size: float) -> float:
    low, high = (log10(edge) for edge in edges)
    return (log10(value) - low) / (high - low) * size


def draw(front: Front, columns: int = 64, rows: int = 16) -> str:
    """The front in characters, `columns` by `rows` without the axes.

    `o` is a plan, `#` the chosen one, `|` the limit.
    """
    field = [[" "] * columns for _ in range(rows)]

    def put(luts, pace, mark):
        column = round(_at(luts, front.x, columns - 1))
        row = round(_at(pace, front.y, rows - 1))
        field[rows - 1 - row][column] = mark

    edge = round(_at(front.limit, front.x, columns - 1))
    for line in field:
        line[edge] = "|"
    for luts, pace in front.points:
        put(luts, pace, "o")
    put(*front.chosen, "#")

    labels = {
        rows - 1 - round(_at(tick, front.y, rows - 1)): _short(tick) for tick in _ticks(*front.y)
    }
    lines = ["images/s"]
    for row, line in enumerate(field):
        axis = "+" if row in labels else "|"
        lines.append(f"{labels.get(row, ''):>8} {axis}{''.join(line)}".rstrip())
    axis, below = ["-"] * columns, [" "] * (columns + 8)
    free = 0
    for tick in _ticks(*front.x):
        column = round(_at(tick, front.x, columns - 1))
        axis[column] = "+"
        label = _short(tick)
        start = max(0, column - len(label) // 2)
        if start >= free:
            below[start : start + len(label)] = label
            free = start + len(label) + 1
    lines.append(f"{'':>8} +{''.join(axis)}")
    lines.append(f"{'':>10}{''.join(below).rstrip()} LUTs")
    lines.append(f"{'':>10}# this plan   o others   | what may be taken")
    return "\n".join(lines)


def svg(front: Front, width: int = 640, height: int = 400) -> str:
    """The front as an SVG document."""
    left, right, top, bottom = 70, 20, 36, 50
    inner_width, inner_height = width - left - right, height - top - bottom

    def x(luts):
        return left + _at(luts, front.x, inner_width)

    def y(pace):
        return top + inner_height - _at(pace, front.y, inner_height)

    def text(at_x, at_y, words, anchor="middle"):
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}">{words}</text>'

    def line(x1, y1, x2, y2, colour, more=""):
        return (
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}"{more}/>'
        )

    floor_y, end_x = top + inner_height, left + inner_width
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#333">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        text(left, 20, _escaped(front.title), "start"),
    ]
    for tick in _ticks(*front.x):
        parts += [
            line(x(tick), top, x(tick), floor_y, "#ddd"),
            text(x(tick), floor_y + 16, _short(tick)),
        ]
    for tick in _ticks(*front.y):
        parts += [
            line(left, y(tick), end_x, y(tick), "#ddd"),
            text(left - 6, y(tick) + 4, _short(tick), "end"),
        ]
    parts += [
        line(x(front.limit), top, x(front.limit), floor_y, "#c33", ' stroke-dasharray="5 4"'),
        text(left + inner_width / 2, height - 12, "LUTs"),
        text(left - 6, top - 8, "images/s", "end"),
    ]
    ordered = sorted(front.points)
    path = " ".join(f"{x(luts):.1f},{y(pace):.1f}" for luts, pace in ordered)
    parts.append(f'<polyline points="{path}" fill="none" stroke="#36c" stroke-width="1.5"/>')
    for luts, pace in ordered:
        parts.append(
            f'<circle cx="{x(luts):.1f}" cy="{y(pace):.1f}" r="3" fill="#36c">'
            f"<title>{luts:,.0f} LUTs, {pace:,.0f} images/s</title></circle>"
        )
    luts, pace = front.chosen
    parts += [
        f'<circle cx="{x(luts):.1f}" cy="{y(pace):.1f}" r="6" fill="none" stroke="#c33" '
        f'stroke-width="2"><title>{luts:,.0f} LUTs, {pace:,.0f} images/s</title></circle>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
