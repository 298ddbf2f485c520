"""Pods before kick-off: which matches count, their expected connections, and learning from past matches."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore_operator.resource import Autoscaling, Expectation, Floor, Learnt, MatchDay
from livescore_operator.scaling.forecast import MAX_SPORTS, Fixture, floor, learn, next_change, parse

NOW = datetime(2026, 6, 11, 15, tzinfo=UTC)
MATCH = timedelta(hours=2)


def match(
    sport: str = "football",
    home: str = "Ajax",
    away: str = "Benfica",
    *,
    live: bool = False,
    minutes: float = 0,
) -> Fixture:
    """Return a match of two hours that starts in this many minutes."""
    start = NOW + timedelta(minutes=minutes)
    return Fixture(1, sport, home, away, live, start, start + MATCH)


def autoscaling(target: int = 5000, most: int = 10, **match_day: Any) -> Autoscaling:
    return Autoscaling(
        target_connections_per_pod=target,
        max_replicas=most,
        match_day=MatchDay(**{"enabled": True, "expected_connections": 1000, **match_day}),
    )


def learnt(**sports: int) -> list[Learnt]:
    return [Learnt(sport=sport, connections=connections) for sport, connections in sports.items()]


@pytest.mark.parametrize(
    ("matches", "seconds"),
    [
        ([], None),
        ([match(minutes=30)], 20 * 60),
        ([match(minutes=5)], 125 * 60),
        ([match(minutes=-119.5, live=True)], 30),
        ([match(minutes=-121, live=True)], None),
        ([match(minutes=60), match(minutes=10.5)], 30),
    ],
)
def test_floor_changes_at_the_lead_time_and_the_end_of_each_match(
    matches: list[Fixture], seconds: float | None
) -> None:
    assert next_change(MatchDay(lead_minutes=10), matches, NOW) == seconds


# Fixtures of the service


EVENT_CONDITIONS = {
    "id": 7,
    "sport": "football",
    "homeTeam": "Ajax",
    "awayTeam": "Benfica",
    "status": "scheduled",
    "startTime": "2026-06-11T15:00:00.000Z",
    "endTime": "2026-06-11T17:00:00.000Z",
}


def test_fixtures_are_read() -> None:
    live = {**EVENT_CONDITIONS, "id": 8, "status": "live", "score": {"home": 1}}
    first, second = parse({"fixtures": [EVENT_CONDITIONS, live], "more": True})
    assert first == Fixture(7, "football", "Ajax", "Benfica", live=False, start=NOW, end=NOW + MATCH)
    assert (second.id, second.live) == (8, True)


def test_finished_matches_are_skipped() -> None:
    assert parse({"fixtures": [{**EVENT_CONDITIONS, "status": "finished"}]}) == []


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "fixtures",
        {},
        {"fixtures": None},
        {"fixtures": [7]},
        {"fixtures": [{}]},
        {"fixtures": [{**EVENT_CONDITIONS, "startTime": "soon"}]},
        {"fixtures": [{**EVENT_CONDITIONS, "startTime": "2026-06-11T15:00:00"}]},
        {"fixtures": [{**EVENT_CONDITIONS, "sport": None}]},
    ],
)
def test_invalid_fixtures_are_refused(payload: object) -> None:
    with pytest.raises(ValueError, match="validation error"):
        parse(payload)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_invalid_fixtures_raise_only_validation_errors(garbage: object) -> None:
    for payload in (garbage, {"fixtures": garbage}, {"fixtures": [{**EVENT_CONDITIONS, "endTime": garbage}]}):
        try:
            parse(payload)
        except ValueError:
            continue


# The floor


def test_floor_has_pods_end_and_reason() -> None:
    found = floor(autoscaling(), [match(live=True), match(home="Celtic")], learnt(football=9000), NOW)
    assert found == Floor(
        replicas=4,
        until="2026-06-11T17:00:00Z",
        message="4 pods until 17:00 UTC: 2 matches, 18000 connections expected (football learnt 9000)",
    )


@pytest.mark.parametrize(
    ("fixture", "counts"),
    [
        (match(live=True), True),
        (match(live=True, minutes=-500), True),
        (match(minutes=10), True),
        (match(minutes=10.1), False),
        (match(minutes=-5), True),
        (match(minutes=-120), False),
    ],
    ids=["live", "extra time", "within the lead", "too early", "about to be live", "never begun"],
)
def test_live_and_upcoming_matches_count(fixture: Fixture, counts: bool) -> None:
    assert (floor(autoscaling(), [fixture], [], NOW) is not None) is counts


def test_no_floor_without_match_days_or_matches() -> None:
    assert floor(autoscaling(enabled=False), [match(live=True)], [], NOW) is None
    assert floor(autoscaling(), [], [], NOW) is None


EXPECTATIONS = [
    Expectation(sport="football", team="Ajax", connections=1),
    Expectation(team="Benfica", connections=2),
    Expectation(sport="Tennis", connections=3),
    Expectation(sport="tennis", connections=4),
]


@pytest.mark.parametrize(
    ("fixture", "connections", "why"),
    [
        (match("football", "Ajax", "Benfica"), 1, "Ajax given 1"),
        (match("FOOTBALL", "Porto", "ajax"), 1, "Ajax given 1"),
        (match("hockey", "Ajax", "Benfica"), 2, "Benfica given 2"),
        (match("hockey", "BENFICA", "Porto"), 2, "Benfica given 2"),
        (match("tennis", "Ajax", "Porto"), 3, "Tennis given 3"),
        (match("football", "Porto", "Lyon"), 700, "football learnt 700"),
        (match("Football", "Porto", "Lyon"), 700, "Football learnt 700"),
        (match("hockey", "Ajax", "Porto"), 1000, "hockey by default 1000"),
    ],
)
def test_expected_connections_of_a_match(fixture: Fixture, connections: int, why: str) -> None:
    wanted = autoscaling(target=1, most=1000, expectations=EXPECTATIONS)
    found = floor(wanted, [fixture], learnt(football=700, cricket=5), NOW)
    assert found is not None
    assert found.replicas == connections
    assert found.message.endswith(f"expected ({why})")


@pytest.mark.parametrize(
    ("fixtures", "wanted", "message"),
    [
        (
            [match()],
            autoscaling(expected_connections=1),
            "1 pod until 17:00 UTC: 1 match, 1 connection expected (football by default 1)",
        ),
        (
            [match(live=True, minutes=-130)],
            autoscaling(),
            "1 pod until the final whistle: 1 match, 1000 connections expected (football by default 1000)",
        ),
        (
            [match(live=True, minutes=470)],
            autoscaling(),
            "1 pod until 2026-06-12 00:50 UTC: 1 match, 1000 connections expected (football by default 1000)",
        ),
        (
            [match(sport) for sport in ("a", "b", "c", "d", "e")],
            autoscaling(target=10, most=3),
            (
                "3 pods of 500 needed (maxReplicas) until 17:00 UTC: 5 matches, 5000 connections expected "
                "(a by default 1000, b by default 1000, c by default 1000, 2 more)"
            ),
        ),
    ],
    ids=["one of each", "extra time", "after midnight", "too many"],
)
def test_floor_messages(fixtures: list[Fixture], wanted: Autoscaling, message: str) -> None:
    found = floor(wanted, fixtures, [], NOW)
    assert found is not None
    assert found.message == message
    assert (found.until is None) is ("whistle" in message)


FIXTURES = st.builds(
    match,
    st.sampled_from(["football", "tennis", "Hockey"]),
    st.sampled_from(["Ajax", "Porto"]),
    live=st.booleans(),
    minutes=st.integers(-200, 200),
)


@given(st.lists(FIXTURES, max_size=10), FIXTURES, st.integers(0, 10**6), st.integers(1, 10**5))
def test_additional_match_never_lowers_the_floor(
    fixtures: list[Fixture], more: Fixture, peak: int, target: int
) -> None:
    wanted = autoscaling(target, most=50, expectations=EXPECTATIONS)
    fewer = floor(wanted, fixtures, learnt(football=peak), NOW)
    found = floor(wanted, [*fixtures, more], learnt(football=peak), NOW)
    assert (fewer.replicas if fewer else 0) <= (found.replicas if found else 0) <= 50
    assert found is None or found.replicas >= 1


# Learning


def test_peak_is_learnt_at_once_and_rounded_up() -> None:
    assert learn([], [match(live=True)], 9011, NOW) == tuple(learnt(football=9100))
    assert learn(learnt(football=8000), [match(live=True), match(live=True)], 18_000, NOW) == tuple(
        learnt(football=9000)
    )


@pytest.mark.parametrize(
    ("fixtures", "connections"),
    [
        ([], 50_000),
        ([match()], 50_000),
        ([match(live=True), match("tennis", live=True)], 50_000),
        ([match(live=True)], 0),
        ([match(live=True)], 9000),
        ([match(live=True)], 10),
        ([match(live=True, minutes=-89)], 10),
        ([match(live=True, minutes=-100), match(live=True)], 10),
        ([match(live=True, minutes=-100)], 6000),
    ],
    ids=[
        "no match",
        "not begun",
        "two sports",
        "no connections",
        "the same",
        "before the audience came",
        "in the third quarter",
        "one of them has just begun",
        "nearly as many",
    ],
)
def test_unsuitable_samples_are_not_learnt(fixtures: list[Fixture], connections: int) -> None:
    before = learnt(football=9000, tennis=100)
    assert learn(before, fixtures, connections, NOW) == tuple(before)


@pytest.mark.parametrize("minutes", [-90, -119, -150])
def test_far_higher_peak_decays_at_the_end_of_a_match(minutes: int) -> None:
    over = [match(live=True, minutes=minutes)]
    once = learn(learnt(football=100_000), over, 9000, NOW)
    assert once == tuple(learnt(football=14_000))
    assert learn(once, over, 9000, NOW) == once, "repeated samples change nothing"


def test_sports_are_case_insensitive() -> None:
    assert learn(learnt(football=10), [match("Football", live=True), match("FOOTBALL", live=True)], 40, NOW) == tuple(
        learnt(football=20)
    )


def test_sport_with_the_lowest_peak_is_evicted() -> None:
    before = [Learnt(sport=f"sport-{number:02}", connections=1000 + number) for number in range(MAX_SPORTS)]
    after = learn(before, [match("curling", live=True)], 5, NOW)
    assert after == (Learnt(sport="curling", connections=5), *before[1:])


SAMPLES = st.lists(st.tuples(st.integers(1, 10**7), st.integers(-150, 0)), min_size=1, max_size=20)


@given(SAMPLES, st.integers(0, 10**7))
def test_learnt_peak_is_bounded_by_samples(samples: list[tuple[int, int]], before: int) -> None:
    found = tuple(learnt(football=before))
    for connections, minutes in samples:
        fixtures = [match(live=True, minutes=minutes)]
        found = learn(found, fixtures, connections, NOW)
        assert found == learn(found, fixtures, connections, NOW), "the same sample changes nothing more"
        assert connections <= found[0].connections
    assert found[0].connections <= max(before, 1.1 * max(connections for connections, _ in samples) + 1)


@given(st.lists(st.tuples(st.text(min_size=1, max_size=3), st.integers(1, 10**6)), max_size=120))
def test_number_of_learnt_sports_is_bounded(samples: list[tuple[str, int]]) -> None:
    found: tuple[Learnt, ...] = ()
    for sport, connections in samples:
        found = learn(found, [match(sport, live=True)], connections, NOW)
    assert len(found) <= MAX_SPORTS
    assert len({one.sport.casefold() for one in found}) == len(found)
