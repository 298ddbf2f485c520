"""Simulated days. Times are minutes of the day."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from livescore_operator.resource import Autoscaling, Expectation, MatchDay, Rebalance
from livescore_operator.scaling.forecast import Fixture
from tools.simulation.rules import MIDNIGHT

Audience = Callable[[float], float]
"""Number of clients that want to be connected at a minute of the day."""

MATCH_MINUTES = 110
"""Two halves, the interval and stoppage time."""

PROFILE = (
    *((-30, 0.0), (-10, 0.15), (-3, 0.45), (0, 0.75), (3, 0.95), (10, 1.0), (45, 1.0), (48, 0.72), (59, 0.75)),
    *((62, 0.97), (100, 1.0), (MATCH_MINUTES, 0.95), (MATCH_MINUTES + 4, 0.45), (MATCH_MINUTES + 12, 0.12)),
    (MATCH_MINUTES + 30, 0.0),
)
"""Audience of a match by minutes from kick-off, relative to its maximum."""

GOAL_SECONDS = 20.0
"""Time over which clients arrive after a goal."""

GOAL_STAY_MINUTES = 6.0
"""Time over which they leave again."""


@dataclass(frozen=True)
class Scenario:
    """One day.

    Attributes:
        name: short name, also of the plot.
        text: description.
        spec: settings of the operator; the HPA uses the same target and bounds.
        minutes: duration.
        audience: clients over time.
        fixtures: matches reported by the service, if match days are enabled.
        session_minutes: mean session length.
        roll_out: minute of a rollout.
        node_loss: minute in which a node dies, and its fraction of the pods.
        silent: fraction of unreadable pods, by minute.
    """

    name: str
    text: str
    spec: Autoscaling
    minutes: int
    audience: Audience
    fixtures: tuple[Fixture, ...] = ()
    session_minutes: float = 45.0
    roll_out: float | None = None
    node_loss: tuple[float, float] | None = None
    silent: Audience = lambda minute: 0.0


def line(*points: tuple[float, float]) -> Audience:
    """Return the linear interpolation of points (minute, value), constant before the first and after the last."""
    times = [minute for minute, _ in points]

    def value(minute: float) -> float:
        place = bisect_right(times, minute)
        if place in (0, len(points)):
            return points[max(0, place - 1)][1]
        (start, low), (end, high) = points[place - 1], points[place]
        return low + (high - low) * (minute - start) / (end - start)

    return value


def match(kick_off: float, clients: float) -> Audience:
    """Return the audience of a match."""
    return line(*((kick_off + minute, part * clients) for minute, part in PROFILE))


def goal(minute: float, clients: float) -> Audience:
    """Return the additional audience of a goal."""
    peak = minute + GOAL_SECONDS / 60
    return line((minute, 0.0), (peak, clients), (peak + 1, clients), (peak + GOAL_STAY_MINUTES, 0.0))


def together(*parts: Audience) -> Audience:
    """Return the sum of audiences."""
    return lambda minute: sum(part(minute) for part in parts)


def waves(mean: float, part: float, minutes: float) -> Audience:
    """Return a sine wave around a mean."""
    return lambda minute: mean * (1 + part * math.sin(2 * math.pi * minute / minutes))


def fixture(number: int, kick_off: float, sport: str = "football") -> Fixture:
    """Return a match as the service reports it."""
    start = MIDNIGHT + timedelta(minutes=kick_off)
    return Fixture(
        number, sport, f"home {number}", f"away {number}", False, start, start + timedelta(minutes=MATCH_MINUTES)
    )


def autoscaling(target: int, low: int, high: int, per_second: int, **expected: int) -> Autoscaling:
    """Return a spec with defaults for the rest; match days are enabled if expected connections are given by sport."""
    expectations = [Expectation(sport=sport, connections=connections) for sport, connections in expected.items()]
    return Autoscaling(
        mode="connections",
        min_replicas=low,
        max_replicas=high,
        target_connections_per_pod=target,
        rebalance=Rebalance(per_second=per_second),
        match_day=MatchDay(enabled=bool(expected), expectations=expectations),
    )


def overlapping(*kick_offs: float) -> tuple[Fixture, ...]:
    """Return fixtures with these kick-offs, in minutes."""
    return tuple(fixture(number, kick_off) for number, kick_off in enumerate(kick_offs, 1))


def scenarios() -> Sequence[Scenario]:
    """Return all days, in the order of the report."""
    evening = together(line((0, 2_000)), match(60, 40_000), goal(85, 6_000), goal(130, 8_000))
    return [
        Scenario(
            "league-evening",
            "one match, 40 000 clients, as many expected",
            autoscaling(2_000, 2, 40, 100, football=40_000),
            240,
            evening,
            overlapping(60),
        ),
        Scenario(
            "world-cup-final",
            "1 000 000 clients on 500 pods; 900 000 expected; two goals, 60 000 more each",
            autoscaling(2_000, 10, 600, 2_000, football=900_000),
            270,
            together(line((0, 20_000)), match(75, 980_000), goal(100, 60_000), goal(160, 60_000)),
            overlapping(75),
        ),
        Scenario(
            "goal-storm",
            "20 000 clients, and four unpredicted goals bring 15 000 each within 20 seconds",
            autoscaling(2_000, 2, 60, 100),
            150,
            together(line((0, 20_000)), *(goal(minute, 15_000) for minute in (30, 45, 60, 64))),
        ),
        Scenario(
            "node-loss",
            "30 000 clients; a node dies with a quarter of the pods, and all its clients return within 10 seconds",
            autoscaling(2_000, 2, 40, 100),
            60,
            line((0, 30_000)),
            node_loss=(20, 0.25),
        ),
        Scenario(
            "overlapping-matches",
            "five matches within three hours: 10 000 expected for each, 2 000 to 20 000 come",
            autoscaling(2_000, 2, 60, 100, football=10_000),
            360,
            together(
                line((0, 1_000)),
                *(match(*one) for one in ((60, 12_000), (90, 20_000), (90, 2_000), (150, 9_000), (165, 16_000))),
            ),
            overlapping(60, 90, 90, 150, 165),
        ),
        Scenario(
            "quiet-day",
            "no match; a slow morning, then between 2 000 and 4 000 clients, up and down every 40 minutes",
            autoscaling(1_000, 2, 20, 20),
            720,
            lambda minute: min(waves(3_000, 0.33, 40)(minute), minute * 20),
        ),
        Scenario(
            "roll-out",
            "a league evening, and a new image a minute before kick-off",
            autoscaling(2_000, 2, 40, 100, football=40_000),
            240,
            evening,
            overlapping(60),
            roll_out=59,
        ),
        Scenario(
            "flaky-readings",
            "a league evening; 2 % of all pods cannot be read, a third in the first half, all of them after the end",
            autoscaling(2_000, 2, 40, 100, football=40_000),
            240,
            evening,
            overlapping(60),
            silent=lambda minute: 0.33 if 70 <= minute < 85 else 1.0 if 172 <= minute < 176 else 0.02,
        ),
    ]
