"""Match day: raise the number of pods before kick-off instead of after it. Pure.

**The floor.** A match counts if it is live, or if it starts within ``leadMinutes`` and its planned end has not passed.
The expected connections of a match are those of the first matching entry of ``expectations``, else those learnt from
its sport, else ``expectedConnections``. An entry matches by sport, by team (home or away) or by both, ignoring case.
The floor is the sum of all expected connections divided by ``targetConnectionsPerPod``, rounded up, at least one pod
and at most ``maxReplicas``. Without a counted match there is no floor, and the number of pods falls by the ordinary,
slow rule.

**Learning.** While all live matches are of one sport, the open connections divided by the number of these matches are a
sample of that sport. This includes connections that are unrelated to any match: pods are needed for them as well.

- A sample above the learnt value replaces it at any time: the peak counts.
- The value is lowered only in the last quarter of all live matches, or after their planned end, when the audience has
  arrived: a value above one and a half times the sample falls to that. An extraordinary match is forgotten with the
  next ordinary one, while intervals and fluctuations have no effect.
- Values are rounded up to two significant digits (9011 becomes 9100), so that the status changes only if it matters.

Both rules are idempotent: repeating a sample changes nothing. Zero connections do not count as a sample, because an
unreachable service is more likely than a match without an audience.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pydantic import AwareDatetime

from livescore_operator.resource import (
    Autoscaling,
    Expectation,
    Floor,
    Learnt,
    MatchDay,
    Model,
    Scaling,
    timestamp,
)

# Bounds the size of the status: the service accepts any name of a sport.
MAX_SPORTS = 50

# Part of its planned time after which the audience of a match has arrived.
RIPE = 0.75

# Highest learnt value in multiples of a late sample. Audiences at the end are rarely below two thirds of the peak, so
# the peak of the same match is kept.
MEMORY = 1.5

# Significant digits of a learnt value.
DIGITS = 2

# Expectations listed in a message, which `kubectl` shows in a table.
MAX_NAMED = 3

# Delay after the moment at which a match starts or ceases to count: the service has updated its status by then.
MOMENT_SECONDS = 0.5


@dataclass(frozen=True)
class Fixture:
    """One match, as reported by the service. Times have a time zone."""

    id: int
    sport: str
    home_team: str
    away_team: str
    live: bool
    start: datetime
    end: datetime


class _FixtureBody(Model):
    id: int
    sport: str
    home_team: str
    away_team: str
    status: str
    start_time: AwareDatetime
    end_time: AwareDatetime


class _FixturesBody(Model):
    fixtures: list[_FixtureBody]


def parse(payload: object) -> list[Fixture]:
    """Parse the response of ``GET /fixtures``. Unknown keys and matches neither live nor scheduled are skipped.

    Raises:
        ValueError: The payload is not such a response.
    """
    bodies = _FixturesBody.model_validate(payload).fixtures
    return [
        Fixture(
            id=body.id,
            sport=body.sport,
            home_team=body.home_team,
            away_team=body.away_team,
            live=body.status == "live",
            start=body.start_time,
            end=body.end_time,
        )
        for body in bodies
        if body.status in ("live", "scheduled")
    ]


class MatchDayForecast(NamedTuple):
    """The effect of the matches on scaling.

    Attributes:
        floor: Pods that the matches need; None without a counted match.
        learnt: The new ``status.scaling.learnt``.
        changes_in: Seconds until the floor may change without another event; None if it cannot.
    """

    floor: Floor | None = None
    learnt: Sequence[Learnt] = ()
    changes_in: float | None = None

    @property
    def floor_replicas(self) -> int:
        """The floor as a number of pods; 0 without a floor."""
        return self.floor.replicas if self.floor else 0


def forecast(
    autoscaling: Autoscaling,
    fixtures: Sequence[Fixture] | None,
    previous: Scaling | None,
    connections: int | None,
    now: datetime,
) -> MatchDayForecast:
    """Return the floor and the learnt values of this round.

    Args:
        autoscaling: Settings of the spec.
        fixtures: The latest fixtures; None if no pod reported them. The last floor is then kept until its matches
            should have ended.
        previous: ``status.scaling``.
        connections: Open connections of all pods; None if a reading is missing.
        now: The current time, with a time zone.
    """
    learnt: Sequence[Learnt] = previous.learnt if previous else ()
    if fixtures is None:
        kept = _unexpired(previous.floor if previous else None, now)
        return MatchDayForecast(kept, learnt, _seconds_until(kept.until, now) if kept else None)
    if connections is not None:
        learnt = learn(learnt, fixtures, connections, now)
    change = next_change(autoscaling.match_day, fixtures, now)
    changes_in = None if change is None else change + MOMENT_SECONDS
    return MatchDayForecast(floor(autoscaling, fixtures, learnt, now), learnt, changes_in)


def _unexpired(floor: Floor | None, now: datetime) -> Floor | None:
    """Return the floor unless its matches should have ended. Without a planned end it does not expire."""
    if floor is None or floor.until is None or datetime.fromisoformat(floor.until) > now:
        return floor
    return None


def _seconds_until(moment: str | None, now: datetime) -> float | None:
    """Return the seconds until just after a moment of the status; None if it is missing or has passed."""
    if moment is None:
        return None
    seconds = (datetime.fromisoformat(moment) - now).total_seconds()
    return seconds + MOMENT_SECONDS if seconds >= 0 else None


# The floor


class _Demand(NamedTuple):
    """The expected connections of a match, and the source of that number."""

    connections: int
    source: str


def floor(
    autoscaling: Autoscaling, fixtures: Iterable[Fixture], learnt: Sequence[Learnt], now: datetime
) -> Floor | None:
    """Return the pods that the matches need.

    Args:
        autoscaling: Settings of the spec.
        fixtures: The latest fixtures of the service, at least those that start within ``leadMinutes``.
        learnt: ``status.scaling.learnt``.
        now: The current time, with a time zone.

    Returns:
        The floor, with a message such as ``4 pods until 17:00 UTC: 2 matches, 18000 connections expected (football
        learnt 9000)``; its ``until`` is the latest planned end, or None if that has passed. None if match days are
        disabled or no match counts.
    """
    match_day = autoscaling.match_day
    counted = [fixture for fixture in fixtures if _counts(fixture, match_day, now)]
    if not match_day.enabled or not counted:
        return None
    demands = [_demand(fixture, match_day, learnt) for fixture in counted]
    connections = sum(demand.connections for demand in demands)
    required = max(1, math.ceil(connections / autoscaling.target_connections_per_pod))
    replicas = min(required, autoscaling.max_replicas)
    end = max(fixture.end for fixture in counted).astimezone(UTC)
    pods = _count(replicas, "pod")
    if required > replicas:
        pods += f" of {required} needed (maxReplicas)"
    return Floor(
        replicas=replicas,
        until=timestamp(end) if end > now else None,
        message=f"{pods} until {_moment(end, now)}: {_summary(demands)}",
    )


def next_change(match_day: MatchDay, fixtures: Iterable[Fixture], now: datetime) -> float | None:
    """Return the seconds until the next match starts or ceases to count; None if there is no such moment.

    The moments are start − lead and end. A live match counts until the service reports its end.
    """
    lead = timedelta(minutes=match_day.lead_minutes)
    moments = [moment for fixture in fixtures for moment in (fixture.start - lead, fixture.end)]
    return min(((moment - now).total_seconds() for moment in moments if moment > now), default=None)


def _counts(fixture: Fixture, match_day: MatchDay, now: datetime) -> bool:
    """Return True if a match is live or about to be. A match that never started counts until its planned end."""
    lead = timedelta(minutes=match_day.lead_minutes)
    return fixture.live or fixture.start - lead <= now < fixture.end


def _demand(fixture: Fixture, match_day: MatchDay, learnt: Sequence[Learnt]) -> _Demand:
    for expectation in match_day.expectations:
        if _matches(expectation, fixture):
            given = expectation.connections
            return _Demand(given, f"{expectation.team or expectation.sport} given {given}")
    for entry in learnt:
        if _same(entry.sport, fixture.sport):
            return _Demand(entry.connections, f"{fixture.sport} learnt {entry.connections}")
    default = match_day.expected_connections
    return _Demand(default, f"{fixture.sport} by default {default}")


def _matches(expectation: Expectation, fixture: Fixture) -> bool:
    sport, team = expectation.sport, expectation.team
    plays = team is None or _same(team, fixture.home_team) or _same(team, fixture.away_team)
    return plays and (sport is None or _same(sport, fixture.sport))


def _same(left: str, right: str) -> bool:
    return left.casefold() == right.casefold()


def _summary(demands: Sequence[_Demand]) -> str:
    matches = _count(len(demands), "match", "matches")
    connections = _count(sum(demand.connections for demand in demands), "connection")
    sources = list(dict.fromkeys(demand.source for demand in demands))
    listed = sources[:MAX_NAMED]
    if len(sources) > MAX_NAMED:
        listed.append(f"{len(sources) - MAX_NAMED} more")
    return f"{matches}, {connections} expected ({', '.join(listed)})"


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def _moment(end: datetime, now: datetime) -> str:
    if end <= now:
        return "the final whistle"
    today = end.date() == now.astimezone(UTC).date()
    return end.strftime("%H:%M UTC" if today else "%Y-%m-%d %H:%M UTC")


# Learning


def learn(learnt: Sequence[Learnt], fixtures: Iterable[Fixture], connections: int, now: datetime) -> tuple[Learnt, ...]:
    """Return the learnt values, updated by one sample.

    Args:
        learnt: ``status.scaling.learnt``.
        fixtures: The latest fixtures of the service.
        connections: Open connections of all pods, with no reading missing.
        now: The current time, with a time zone.

    Returns:
        The values by sport in alphabetical order, at most ``MAX_SPORTS``: a new sport replaces the one with the fewest
        connections.
    """
    live = [fixture for fixture in fixtures if fixture.live]
    sports = {fixture.sport.casefold() for fixture in live}
    if len(sports) != 1 or connections <= 0:
        return tuple(learnt)
    sport = live[0].sport
    before = next((entry for entry in learnt if _same(entry.sport, sport)), Learnt(sport=sport, connections=0))
    value = _updated(before.connections, connections / len(live), live, now)
    if value == before.connections:
        return tuple(learnt)
    return _replaced(learnt, before.model_copy(update={"connections": value}))


def _updated(learnt: int, sample: float, live: Iterable[Fixture], now: datetime) -> int:
    if all(_is_ripe(fixture, now) for fixture in live):
        learnt = min(learnt, _rounded(MEMORY * sample))
    return max(learnt, _rounded(sample))


def _is_ripe(fixture: Fixture, now: datetime) -> bool:
    return now >= fixture.start + RIPE * (fixture.end - fixture.start)


def _rounded(value: float) -> int:
    """Round up to ``DIGITS`` significant digits."""
    whole = math.ceil(value)
    step: int = 10 ** max(0, len(str(whole)) - DIGITS)
    return -(-whole // step) * step


def _replaced(learnt: Sequence[Learnt], new: Learnt) -> tuple[Learnt, ...]:
    others = [entry for entry in learnt if not _same(entry.sport, new.sport)]
    others.sort(key=lambda entry: (-entry.connections, entry.sport))
    kept = [*others[: MAX_SPORTS - 1], new]
    return tuple(sorted(kept, key=lambda entry: entry.sport))
