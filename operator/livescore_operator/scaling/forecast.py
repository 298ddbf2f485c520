"""Match day: pods before kick-off instead of after it. Pure.

**The floor.** The matches that count are those that are live, and those that start within ``leadMinutes`` and are not
past their end. Each brings the connections of the first of ``expectations`` that fits it; else what matches of its
sport brought before, as far as that was learnt; else ``expectedConnections``. An expectation fits by sport, by team
(home or away) or by both, in small or capital letters. The floor is the sum divided by ``targetConnectionsPerPod``,
rounded up: at least one pod and at most ``maxReplicas``. When the last match is neither live nor about to start, there
is no floor, and the number of pods goes down by its ordinary, slow rule.

**What is learnt.** While all live matches are of one sport, the open connections divided by the number of these matches
are a sample of that sport. Connections that are there without any match count as well: pods are needed for them too.

- A sample above what is remembered replaces it, at any time: the peak counts.
- What is remembered is forgotten only in the last quarter of all these matches, or after their planned end, when the
  audience has come: if it is more than one and a half times the sample, it falls to that. So an extraordinary match is
  forgotten with the next ordinary one, while intervals and ups and downs of a match do not matter.
- Values are rounded up to two digits (9011 is 9100), so that the status is written when something changed.

Both rules give the same result however often and at whatever intervals they are applied to the same sample. Nobody
connected is no sample: more likely the service is down than the match is of no interest.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from pydantic import AwareDatetime

from livescore_operator.resource import Autoscaling, Expectation, Floor, Learnt, MatchDay, Model, timestamp

# The status holds them; a service that makes up sports must not fill it.
MAX_SPORTS = 50

# Part of its planned time after which a match has its audience.
RIPE = 0.75

# As many times the sample of a ripe match as may be remembered. Audiences at the end are seldom below two thirds of the
# peak, so a peak of the same match is not forgotten.
MEMORY = 1.5

# Digits that are kept of a learnt number.
DIGITS = 2

# Kinds of matches that a message names; people read it in a table.
MAX_NAMED = 3


@dataclass(frozen=True)
class Fixture:
    """One match as the service tells of it; times have a time zone."""

    id: int
    sport: str
    home_team: str
    away_team: str
    live: bool
    start: datetime
    end: datetime


class _Told(Model):
    id: int
    sport: str
    home_team: str
    away_team: str
    status: str
    start_time: AwareDatetime
    end_time: AwareDatetime


class _Answer(Model):
    fixtures: list[_Told]


def parse(payload: object) -> list[Fixture]:
    """Read the answer of ``GET /fixtures``. Unknown keys, and matches neither live nor scheduled, are passed over.

    Raises:
        ValueError: where it is not such an answer.
    """
    told = _Answer.model_validate(payload).fixtures
    return [
        Fixture(one.id, one.sport, one.home_team, one.away_team, one.status == "live", one.start_time, one.end_time)
        for one in told
        if one.status in ("live", "scheduled")
    ]


# The floor


class _Demand(NamedTuple):
    """What a match brings, and whence that is known."""

    connections: int
    why: str


def floor(
    autoscaling: Autoscaling, fixtures: Iterable[Fixture], learnt: Sequence[Learnt], now: datetime
) -> Floor | None:
    """The least number of pods because of matches.

    Args:
        autoscaling: what the spec says.
        fixtures: as the service told them last, at least those that start within ``leadMinutes``.
        learnt: ``status.scaling.learnt``.
        now: with a time zone.

    Returns:
        The floor, with a message such as ``4 pods until 17:00 UTC: 2 matches, 18000 connections expected (football
        learnt 9000)``; its ``until`` is the latest planned end, None where that has passed. None where match days are
        disabled, or no match counts.
    """
    match_day = autoscaling.match_day
    counted = [one for one in fixtures if _counts(one, match_day, now)]
    if not match_day.enabled or not counted:
        return None
    demands = [_demand(one, match_day, learnt) for one in counted]
    needed = max(1, math.ceil(sum(one.connections for one in demands) / autoscaling.target_connections_per_pod))
    replicas, end = min(needed, autoscaling.max_replicas), max(one.end for one in counted).astimezone(UTC)
    pods = _count(replicas, "pod") + (f" of {needed} needed (maxReplicas)" if needed > replicas else "")
    return Floor(
        replicas=replicas,
        until=timestamp(end) if end > now else None,
        message=f"{pods} until {_moment(end, now)}: {_summary(demands)}",
    )


def next_change(match_day: MatchDay, fixtures: Iterable[Fixture], now: datetime) -> float | None:
    """Return the seconds until the next moment at which a match begins or ceases to count; None if there is none.

    The moments are start − lead and end. A live match counts until the service says that it has ended.
    """
    lead = timedelta(minutes=match_day.lead_minutes)
    moments = (moment for one in fixtures for moment in (one.start - lead, one.end))
    return min(((moment - now).total_seconds() for moment in moments if moment > now), default=None)


def _counts(fixture: Fixture, match_day: MatchDay, now: datetime) -> bool:
    """Whether it is live, or should be soon; one that was never begun ends when it should have."""
    return fixture.live or (fixture.start <= now + timedelta(minutes=match_day.lead_minutes) and now < fixture.end)


def _demand(fixture: Fixture, match_day: MatchDay, learnt: Sequence[Learnt]) -> _Demand:
    given = next((one for one in match_day.expectations if _fits(one, fixture)), None)
    if given is not None:
        return _Demand(given.connections, f"{given.team or given.sport} given {given.connections}")
    known = next((one for one in learnt if _same(one.sport, fixture.sport)), None)
    if known is not None:
        return _Demand(known.connections, f"{fixture.sport} learnt {known.connections}")
    return _Demand(match_day.expected_connections, f"{fixture.sport} by default {match_day.expected_connections}")


def _fits(expectation: Expectation, fixture: Fixture) -> bool:
    sport, team = expectation.sport, expectation.team
    plays = team is None or _same(team, fixture.home_team) or _same(team, fixture.away_team)
    return plays and (sport is None or _same(sport, fixture.sport))


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


def _summary(demands: Sequence[_Demand]) -> str:
    total = sum(one.connections for one in demands)
    reasons = list(dict.fromkeys(one.why for one in demands))
    more = [f"{len(reasons) - MAX_NAMED} more"] if len(reasons) > MAX_NAMED else []
    why = ", ".join([*reasons[:MAX_NAMED], *more])
    return f"{_count(len(demands), 'match', 'matches')}, {_count(total, 'connection')} expected ({why})"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _moment(end: datetime, now: datetime) -> str:
    if end <= now:
        return "the final whistle"
    today = end.date() == now.astimezone(UTC).date()
    return end.strftime("%H:%M UTC" if today else "%Y-%m-%d %H:%M UTC")


# What is learnt


def learn(learnt: Sequence[Learnt], fixtures: Iterable[Fixture], connections: int, now: datetime) -> tuple[Learnt, ...]:
    """What matches brought so far, this moment included.

    Args:
        learnt: ``status.scaling.learnt``.
        fixtures: as the service told them last.
        connections: open connections of all pods, from a reading that misses none.
        now: with a time zone.

    Returns:
        The same, or with another value for one sport: ordered by sport, at most ``MAX_SPORTS``. One sport more
        replaces the one that brought least.
    """
    live = [one for one in fixtures if one.live]
    sports = {one.sport.casefold() for one in live}
    if len(sports) != 1 or connections <= 0:
        return tuple(learnt)
    sport = live[0].sport
    before = next((one for one in learnt if _same(one.sport, sport)), Learnt(sport=sport, connections=0))
    after = before.model_copy(update={"connections": _learnt(before.connections, connections / len(live), live, now)})
    return tuple(learnt) if after == before else _replaced(learnt, after)


def _learnt(remembered: int, sample: float, live: Iterable[Fixture], now: datetime) -> int:
    bound = _rounded(MEMORY * sample) if all(_is_ripe(one, now) for one in live) else remembered
    return max(_rounded(sample), min(remembered, bound))


def _is_ripe(fixture: Fixture, now: datetime) -> bool:
    return now >= fixture.start + RIPE * (fixture.end - fixture.start)


def _rounded(value: float) -> int:
    """Up to so many digits."""
    whole = math.ceil(value)
    step: int = 10 ** max(0, len(str(whole)) - DIGITS)
    return -(-whole // step) * step


def _replaced(learnt: Sequence[Learnt], new: Learnt) -> tuple[Learnt, ...]:
    others = [one for one in learnt if not _same(one.sport, new.sport)]
    kept = sorted(others, key=lambda one: (-one.connections, one.sport))[: MAX_SPORTS - 1]
    return tuple(sorted([*kept, new], key=lambda one: one.sport))
