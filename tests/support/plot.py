"""Time series plotted as SVG, one panel above the other."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 130, 70, 50, 38
"""Size of a panel and its margins, in pixels."""

GREEN, RED, BLUE, AMBER, GREY = "#0b7a4b", "#d1462f", "#1f6fd6", "#e09a1a", "#888888"
DOTTED, DASHED = "3 3", "8 4"

STEPS = (1, 2, 5, 10)
"""Distances between the marks of an axis, times a power of ten."""

MARKS = 5
"""Maximum number of intervals on a value axis."""

_FONT = 'font-family="sans-serif" font-size="11"'


@dataclass(frozen=True)
class Line:
    """Points (time, value), a colour, and an optional dash pattern."""

    points: Sequence[tuple[float, float]]
    colour: str
    dash: str = ""

    @property
    def highest(self) -> float:
        """The highest value of the line."""
        return max(value for _, value in self.points)

    def draw(self, x: Callable[[float], float], y: Callable[[float], float]) -> str:
        """Return the line as SVG, positioned by ``x`` and ``y``."""
        points = " ".join(f"{x(time):.0f},{y(value):.1f}" for time, value in self.points)
        style = f'stroke="{self.colour}"' + (f' stroke-dasharray="{self.dash}"' if self.dash else "")
        return f'<polyline fill="none" stroke-width="1.5" {style} points="{points}"/>'


@dataclass(frozen=True)
class Panel:
    """A caption and its lines."""

    title: str
    lines: Sequence[Line]


def document(title: str, panels: Sequence[Panel], length: float, colours: Mapping[str, str] | None = None) -> str:
    """Return a whole SVG document.

    Args:
        title: title of the document.
        panels: panels from top to bottom.
        length: length of the time axis, which starts at 0, in the unit of the lines.
        colours: legend entries for colours that mean the same in every panel.
    """
    size = f"{LEFT + WIDTH + 20} {TOP + len(panels) * (HEIGHT + GAP) + 10}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {_FONT}>',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>',
            *_legend(colours or {}),
            *(_drawn(panel, place, length) for place, panel in enumerate(panels)),
            "</svg>\n",
        ]
    )


def _drawn(panel: Panel, place: int, length: float) -> str:
    bottom = TOP + place * (HEIGHT + GAP) + HEIGHT
    highest = max(line.highest for line in panel.lines)
    step = _step(highest)
    top = step * math.ceil(highest / step) or step

    def x(time: float) -> float:
        return LEFT + WIDTH * time / length

    def y(value: float) -> float:
        return bottom - HEIGHT * value / top

    heading = f'<text x="{LEFT}" y="{bottom - HEIGHT - 6}">{escape(panel.title)}</text>'
    marks = (_mark(step * number, y(step * number)) for number in range(round(top / step) + 1))
    times = (_time(time, x(time), bottom + 14) for time in _times(length))
    return "\n".join([heading, *marks, *times, *(line.draw(x, y) for line in panel.lines)])


def _mark(value: float, y: float) -> str:
    rule = f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>'
    return f'{rule}<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'


def _time(time: float, x: float, y: float) -> str:
    return f'<text x="{x:.0f}" y="{y}" text-anchor="middle">{time:.0f}</text>'


def _step(highest: float) -> float:
    """Return the distance between two marks."""
    power = 10.0 ** math.floor(math.log10(max(highest, 1.0) / MARKS))
    return next(step * power for step in STEPS if step * power * MARKS >= max(highest, 1.0))


def _times(length: float) -> Iterable[int]:
    return range(0, int(length) + 1, 30 if length <= 300 else 60)


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value == int(value) else f"{value:g}"


def _legend(colours: Mapping[str, str]) -> Iterable[str]:
    for number, (name, colour) in enumerate(colours.items()):
        x = LEFT + 250 + number * 135
        yield f'<line x1="{x}" x2="{x + 20}" y1="14" y2="14" stroke="{colour}" stroke-width="3"/>'
        yield f'<text x="{x + 26}" y="18">{escape(name)}</text>'
