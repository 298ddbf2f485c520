"""Lines over seconds as an SVG, one panel above the other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 130, 50, 50, 38
"""Pixels of a panel, and around it."""

GREEN, RED = "#0b7a4b", "#d1462f"

MARKS = 5
"""Most parts of a vertical axis."""


@dataclass(frozen=True)
class Line:
    """Points as seconds and values, its colour, and how it is dashed, if it is."""

    points: Sequence[tuple[float, float]]
    colour: str
    dash: str = "none"


def document(title: str, panels: Sequence[str]) -> str:
    """A whole SVG of panels that :func:`panel` made."""
    size = f"{LEFT + WIDTH + 20} {TOP + len(panels) * (HEIGHT + GAP)}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" font-family="sans-serif" font-size="11">'
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    heading = f'<text x="{LEFT}" y="18" font-size="14">{escape(title)}</text>'
    return "\n".join([head, paper, heading, *panels, "</svg>\n"])


def panel(place: int, title: str, lines: Sequence[Line], seconds: float) -> str:
    """The panel at a place from above, with lines from second 0 to ``seconds``."""
    bottom = TOP + place * (HEIGHT + GAP) + HEIGHT
    step = math.ceil(max(value for line in lines for _, value in line.points) / MARKS) or 1
    heading = f'<text x="{LEFT}" y="{bottom - HEIGHT - 6}">{escape(title)}</text>'
    marks = [_mark(step * part, bottom - HEIGHT * part / MARKS) for part in range(MARKS + 1)]
    times = [_time(at, LEFT + WIDTH * at / seconds, bottom + 14) for at in range(0, int(seconds) + 1, 30)]
    drawn = [_drawn(line, WIDTH / seconds, HEIGHT / (step * MARKS), bottom) for line in lines]
    return "\n".join([heading, *marks, *times, *drawn])


def _mark(value: int, y: float) -> str:
    rule = f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>'
    return f'{rule}<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value}</text>'


def _time(seconds: int, x: float, y: float) -> str:
    return f'<text x="{x:.0f}" y="{y}" text-anchor="middle">{seconds}</text>'


def _drawn(line: Line, across: float, up: float, bottom: float) -> str:
    points = " ".join(f"{LEFT + at * across:.1f},{bottom - value * up:.1f}" for at, value in line.points)
    style = f'fill="none" stroke-width="1.5" stroke="{line.colour}" stroke-dasharray="{line.dash}"'
    return f'<polyline {style} points="{points}"/>'
