"""A day plotted as SVG: clients, pods, and sockets of the fullest pod."""

from collections.abc import Callable, Sequence

from tests.support.plot import AMBER, BLUE, DASHED, DOTTED, GREEN, GREY, RED, Line, Panel, document
from tools.simulation.run import OVER_TARGET, Outcome, Sample

COLOURS = {"ours": GREEN, "ours, match day off": BLUE, "HPA": RED, "HPA, rebalanced": AMBER}


def svg(outcomes: Sequence[Outcome]) -> str:
    """Plot all rules of one day as one document."""
    scenario = outcomes[0].scenario
    panels = [
        Panel("clients, by minute of the day", [_line(outcomes[0], lambda sample: sample.clients, colour=GREY)]),
        Panel("replicas", [_line(one, lambda sample: sample.replicas) for one in outcomes]),
        Panel("clients of the fullest pod; mean dotted; over target dashed", _fullness(outcomes)),
    ]
    colours = {one.rule: COLOURS[one.rule] for one in outcomes}
    return document(scenario.name, panels, scenario.minutes, colours)


def _fullness(outcomes: Sequence[Outcome]) -> list[Line]:
    scenario = outcomes[0].scenario
    over = OVER_TARGET * scenario.spec.target_connections_per_pod
    return [
        *(_line(one, lambda sample: sample.fullest) for one in outcomes),
        *(_line(one, lambda sample: sample.mean, DOTTED) for one in outcomes),
        Line([(0, over), (scenario.minutes, over)], GREY, DASHED),
    ]


def _line(outcome: Outcome, value: Callable[[Sample], float], dash: str = "", colour: str = "") -> Line:
    points = [(sample.minute, value(sample)) for sample in outcome.samples]
    return Line(points, colour or COLOURS[outcome.rule], dash)
