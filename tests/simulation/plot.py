"""A day as an SVG: clients, pods and how full they are, one above the other."""

import math
from collections.abc import Callable, Iterable, Sequence
from xml.sax.saxutils import escape

from tests.simulation.run import OVER_TARGET, Outcome, Sample

WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 130, 70, 50, 38
"""Pixels of a panel, and around it."""

COLOURS = {"ours": "#0b7a4b", "ours, match day off": "#1f6fd6", "HPA": "#d1462f", "HPA, rebalanced": "#e09a1a"}
GREY = "#888888"
FONT = 'font-family="sans-serif" font-size="11"'

STEPS = (1, 2, 5, 10)
"""Marks of an axis are these times a power of ten apart."""

Points = Iterable[tuple[float, float]]


def svg(outcomes: Sequence[Outcome]) -> str:
    """All rules on one day, as a document of its own."""
    scenario, target = outcomes[0].scenario, outcomes[0].scenario.spec.target_connections_per_pod
    clients = [_polyline(_values(outcomes[0], lambda sample: sample.clients), GREY)]
    replicas = [_polyline(_values(one, lambda sample: sample.replicas), COLOURS[one.rule]) for one in outcomes]
    fullest = [_polyline(_values(one, lambda sample: sample.fullest), COLOURS[one.rule]) for one in outcomes]
    means = [_polyline(_values(one, lambda sample: sample.mean), COLOURS[one.rule], dash="3 3") for one in outcomes]
    limit = _polyline([(0, OVER_TARGET * target), (scenario.minutes, OVER_TARGET * target)], GREY, dash="8 4")
    panels = [
        _panel(0, "clients, by minute of the day", clients, scenario.minutes),
        _panel(1, "replicas", replicas, scenario.minutes),
        _panel(
            2,
            "clients of the fullest pod; mean dotted; over target dashed",
            [*fullest, *means, limit],
            scenario.minutes,
        ),
    ]
    height = TOP + 3 * (HEIGHT + GAP) + 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {height}" {FONT}>',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            f'<text x="{LEFT}" y="18" font-size="14">{escape(scenario.name)}</text>',
            *_legend(outcomes),
            *panels,
            "</svg>\n",
        ]
    )


class _Line:
    """A line in the units of its values."""

    def __init__(self, points: Points, colour: str, dash: str) -> None:
        self.points = list(points)
        self._style = f'stroke="{colour}"' + (f' stroke-dasharray="{dash}"' if dash else "")

    def draw(self, x: Callable[[float], float], y: Callable[[float], float]) -> str:
        points = " ".join(f"{x(minute):.0f},{y(value):.1f}" for minute, value in self.points)
        return f'<polyline fill="none" stroke-width="1.5" {self._style} points="{points}"/>'


def _polyline(points: Points, colour: str, dash: str = "") -> _Line:
    return _Line(points, colour, dash)


def _values(outcome: Outcome, value: Callable[[Sample], float]) -> Points:
    return [(sample.minute, value(sample)) for sample in outcome.samples]


def _panel(place: int, title: str, lines: Sequence[_Line], minutes: float) -> str:
    bottom = TOP + place * (HEIGHT + GAP) + HEIGHT
    step = _step(max(value for line in lines for _, value in line.points))
    top = step * math.ceil(max(value for line in lines for _, value in line.points) / step)

    def x(minute: float) -> float:
        return LEFT + WIDTH * minute / minutes

    def y(value: float) -> float:
        return bottom - HEIGHT * value / top

    marks = [_mark(step * number, y(step * number)) for number in range(round(top / step) + 1)]
    times = [
        f'<text x="{x(minute):.0f}" y="{bottom + 14}" text-anchor="middle">{minute:.0f}</text>'
        for minute in _range(minutes)
    ]
    heading = f'<text x="{LEFT}" y="{bottom - HEIGHT - 6}">{escape(title)}</text>'
    return "\n".join([heading, *marks, *times, *(line.draw(x, y) for line in lines)])


def _mark(value: float, y: float) -> str:
    return (
        f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
    )


def _step(highest: float) -> float:
    """At most six marks."""
    power = 10.0 ** math.floor(math.log10(max(highest, 1.0) / 5))
    return next(step * power for step in STEPS if step * power * 5 >= max(highest, 1.0))


def _range(minutes: float) -> Iterable[float]:
    step = 30 if minutes <= 300 else 60
    return (float(minute) for minute in range(0, int(minutes) + 1, step))


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value == int(value) else f"{value:g}"


def _legend(outcomes: Sequence[Outcome]) -> Iterable[str]:
    for number, outcome in enumerate(outcomes):
        x = LEFT + 250 + number * 135
        yield f'<line x1="{x}" x2="{x + 20}" y1="14" y2="14" stroke="{COLOURS[outcome.rule]}" stroke-width="3"/>'
        yield f'<text x="{x + 26}" y="18">{escape(outcome.rule)}</text>'
