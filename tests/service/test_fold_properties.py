"""A match always has the state of the fold of what is left of its entries, whatever was written at the same time."""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livescore.http_errors import Conflict, NotFound
from livescore.scores import sports
from livescore.scores import statements as sql
from livescore.scores.database import Database, fetch
from livescore.scores.fold import Step
from livescore.scores.match_state import MatchState
from livescore.scores.rules import end, revise, set_score
from livescore.scores.state import STATUSES, Entry, Override, Score
from livescore.scores.store import Store
from tests.support.databases import opened

# `make fold` sets it.
EXAMPLES = int(os.environ.get("FOLD_EXAMPLES", "40"))

SPORTS = sorted({"curling", "football", "basketball", "tennis", "ice hockey", *(sport.name for sport in sports.SPORTS)})
TYPES = ["commentary", *sorted(sports.moving())]
PERIODS = ["1H", "HT", "2H", "ET1", "ET2", "PEN", "FT", "Q1", "Q4", "OT1", "S1", "S2", "P1", "P3", "SO", "REG", "any"]
MATCHES = 2

metadata = st.fixed_dictionaries(
    {},
    optional={
        "scoreDelta": st.fixed_dictionaries({}, optional={"home": st.integers(0, 3), "away": st.integers(0, 3)}),
        "points": st.integers(0, 3),
        "seconds": st.one_of(st.integers(0, 7200), st.just(12.5)),
        "minutes": st.integers(0, 9),
        "outcome": st.sampled_from(["overturned", "confirmed"]),
        "score": st.fixed_dictionaries({"home": st.integers(0, 3), "away": st.integers(0, 3)}),
    },
)
entries = st.fixed_dictionaries(
    {"event_type": st.sampled_from(TYPES), "metadata": st.none() | metadata},
    optional={
        "side": st.sampled_from(["home", "away"]),
        "team": st.sampled_from(["Home", "Away", "Referee"]),
        "period_code": st.sampled_from(PERIODS),
        "minute": st.integers(0, 130),
    },
)


@dataclass(frozen=True)
class Operation:
    """One write.

    Attributes:
        match: Index of the match.
        choice: Index of the entry to correct or to delete, and of the one to which metadata refer.
    """

    match: int
    kind: str
    choice: int
    entry: dict[str, Any]
    score: Score
    change: dict[str, Any]


operations = st.builds(
    Operation,
    st.integers(0, MATCHES - 1),
    st.sampled_from(["append", "append", "append", "append", "correct", "delete", "score", "change", "end"]),
    st.integers(0, 20),
    entries,
    st.builds(Score, st.integers(0, 4), st.integers(0, 4)),
    st.one_of(
        st.builds(
            lambda status: {"status": status}, st.sampled_from([each for each in STATUSES if each != "scheduled"])
        ),
        st.builds(lambda sport: {"sport": sport}, st.sampled_from(SPORTS)),
    ),
)
programs = st.lists(st.lists(operations, min_size=1, max_size=6), min_size=1, max_size=3)


@dataclass
class Reporters:
    """Reporters that write to the same matches at the same time."""

    store: Store
    matches: list[int] = field(default_factory=list)
    entries: list[list[int]] = field(default_factory=list)

    async def open(self, sport: str) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        times = {"start": now - timedelta(hours=1), "end": now + timedelta(hours=1)}
        for index in range(MATCHES):
            teams = {"sport": sport, "home_team": "Home", "away_team": "Away", "home_score": index, "away_score": 0}
            written = await self.store.create_match({**teams, **times}, "test")
            self.matches.append(written.events[0].match_id)
            self.entries.append([])

    async def write(self, program: Iterable[Operation]) -> None:
        for operation in program:
            with suppress(Conflict, NotFound):
                await self._do(operation)

    async def _do(self, operation: Operation) -> None:
        match_id, known = self.matches[operation.match], self.entries[operation.match]
        chosen = known[operation.choice % len(known)] if known else 1
        values = dict(operation.entry)
        if values["metadata"] is None:
            del values["metadata"]
        else:
            values["metadata"] = {**values["metadata"], "commentaryId": chosen}
        match operation.kind:
            case "append":
                plain = {"minute": 1, "sequence": 0, "period": 1, "message": "m"}
                written = await self.store.create_commentary(match_id, {**plain, **values}, "test")
                known.append(orjson.loads(written.body)["id"])
            case "correct":
                await self.store.update_commentary(match_id, chosen, values, "test")
            case "delete":
                await self.store.delete_commentary(match_id, chosen, "test")
            case "score":
                await self.store.revise_match(
                    match_id, lambda before, now: set_score(before, operation.score, now), "test"
                )
            case "change":
                await self.store.revise_match(
                    match_id, lambda before, now: revise(before, operation.change, now), "test"
                )
            case "end":
                await self.store.revise_match(match_id, end, "test")


async def check_match(store: Store, match_id: int) -> None:
    """Assert that the stored state is the fold of the stored steps, and that the feed has announced it."""
    match, steps = await store.database.read(lambda connection: _stored(connection, match_id))
    expected = match.folder.fold(steps)
    assert match.state is not None
    assert orjson.loads(match.state.to_json()) == orjson.loads(expected.to_json())
    assert match.score == expected.score
    assert match.pinned == (expected.status is not None)
    assert not match.pinned or match.status == expected.status
    await check_feed(store, match_id)


async def _stored(connection: Any, match_id: int) -> tuple[MatchState, list[Step]]:
    ((_, _, *row),) = await fetch(connection, sql.LOCK_MATCH, {"match_id": match_id})
    rows = await fetch(connection, sql.STEPS, {"match_id": match_id, "moving": list(sports.moving())})
    steps: list[Step] = []
    for id_, at, type_, side, period, minute, stoppage, actor, details, override in rows:
        if override is None:
            steps.append(Entry(id_, type_, at, side, period, minute, stoppage, actor, details or {}))
        else:
            steps.append(Override.from_json(id_, at, override))
    return MatchState.of(tuple(row)), steps


async def check_feed(store: Store, match_id: int) -> None:
    """Assert that a client that applies every event of the feed has what GET returns."""
    feed = await store.events(match_id, 0)
    assert [event.seq for event in feed] == list(range(1, len(feed) + 1))
    known: dict[str, Any] = {}
    for event in feed:
        data = orjson.loads(event.data)
        match event.type:
            case "match_created" | "match_updated":
                known |= data
            case "score_update":
                known |= {name: data[name] for name in ("homeScore", "awayScore", "shootout", "state")}
            case "period_changed":
                known |= {"period": data["period"], "clock": data["clock"]}
            case "match_status_changed":
                known["status"] = data["newStatus"]
    found = await store.match(match_id)
    assert found is not None
    shown = orjson.loads(found[0])
    # A period without points appears in `scores` without an event of its own, and a result may follow from the status.
    for name in ("sport", "status", "homeScore", "awayScore", "period", "clock", "shootout", "cards", "state"):
        assert known[name] == shown[name], name


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sport=st.sampled_from(SPORTS), work=programs)
def _check_examples(runner: asyncio.Runner, database: Database, sport: str, work: list[list[Operation]]) -> None:
    async def example() -> None:
        reporters = Reporters(Store(database))
        await reporters.open(sport)
        async with asyncio.TaskGroup() as group:
            for program in work:
                group.create_task(reporters.write(program))
        for match_id in reporters.matches:
            await check_match(reporters.store, match_id)

    runner.run(example())


def test_concurrent_writes_end_in_the_fold_of_what_is_left(database_url: str) -> None:
    with asyncio.Runner() as runner:
        opening = opened(database_url, size=4, timeout=30)
        database = runner.run(opening.__aenter__())
        try:
            _check_examples(runner, database)
        finally:
            runner.run(opening.__aexit__(None, None, None))
