"""The store on PostgreSQL: heads, gap fill, horizons, epochs, ids, retention."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest

from livescore.http_errors import Conflict
from livescore.scores import statements as sql
from livescore.scores import store as store_module
from livescore.scores.database import Database, DatabaseAway
from livescore.scores.match_state import MatchState
from livescore.scores.rules import Revision, end, set_score
from livescore.scores.state import Score
from livescore.scores.store import IdempotencyKey, Store
from tests.support.databases import opened
from tests.support.servers import OwnPostgres
from tests.support.stopwatch import Stopwatch

GOAL: dict[str, Any] = {"event_type": "goal", "metadata": {"scoreDelta": {"home": 1}}}


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A store on the test's own database."""
    async with opened(database_url, size=10, timeout=30) as database:
        yield Store(database)


async def create(store: Store) -> int:
    """Create a live match and return its id."""
    now = datetime.now(UTC).replace(microsecond=0)
    times = {"start": now - timedelta(hours=1), "end": now + timedelta(hours=1)}
    teams = {"sport": "football", "home_team": "Home", "away_team": "Away", "home_score": 0, "away_score": 0}
    return (await store.create_match({**teams, **times}, "test")).events[0].match_id


def commentary(**fields: Any) -> dict[str, Any]:
    """Return the values of a commentary."""
    plain = {"minute": 1, "sequence": 0, "period": 1, "event_type": "commentary", "message": "a chance"}
    absent = dict.fromkeys(("actor", "team", "metadata", "tags", "side", "period_code", "stoppage"))
    return {**plain, **absent, **fields}


async def comment(store: Store, match_id: int, count: int = 1, **fields: Any) -> None:
    for _ in range(count):
        await store.create_commentary(match_id, commentary(**fields), "test")


async def seqs(store: Store, match_id: int, since: int = 0) -> list[int]:
    return [event.seq for event in await store.events(match_id, since)]


async def test_match_ids_have_no_gap_despite_concurrency_and_failures(store: Store) -> None:
    async def fail() -> None:
        with pytest.raises(psycopg.Error):
            await store.create_match({"sport": "football", "home_team": None, "away_team": None, **_broken()}, "test")

    await asyncio.gather(*(fail() if number % 3 == 0 else create(store) for number in range(30)))
    assert sorted(await store.heads()) == list(range(1, 21))
    assert await store.last_match() == 20
    assert [event.match_id for event in await store.created(5)] == list(range(6, 21))


def _broken() -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"start": now, "end": now + timedelta(hours=1), "home_score": 0, "away_score": 0}


async def test_missed_returns_later_events_of_all_matches_in_one_query(store: Store) -> None:
    first, second, third = [await create(store) for _ in range(3)]
    for match_id in (first, second, third):
        await comment(store, match_id, 3)
    missed = await store.missed({first: 4, second: 2, third: 0, 999: 7})
    expected = [(second, 3), (second, 4), (third, 1), (third, 2), (third, 3), (third, 4)]
    assert [(event.match_id, event.seq) for event in missed] == expected
    assert await store.missed({}) == []


async def test_feed_lacks_events_only_if_it_ends_before_the_delivered_seq(store: Store) -> None:
    match_id = await create(store)
    await comment(store, match_id)
    assert not await store.lacks({})
    assert not await store.lacks({match_id: 2})
    assert not await store.lacks({match_id: 0, 999: 0})
    assert await store.lacks({match_id: 3})
    assert await store.lacks({999: 1})


async def test_epoch_is_renewed_once_by_concurrent_instances(store: Store) -> None:
    before = await store.epoch()
    renewed = await asyncio.gather(*(store.renew_epoch(before) for _ in range(5)))
    assert len(set(renewed)) == 1
    assert renewed[0] == await store.epoch() != before


async def test_events_since_a_horizon_include_those_of_transactions_open_then(store: Store, database_url: str) -> None:
    early, late = await create(store), await create(store)
    async with await psycopg.AsyncConnection.connect(database_url) as open_one:
        parameters = {"match_id": early, "request_id": "open", "home": 0, "away": 0, "scores": False}
        await open_one.execute(sql.CREATE_COMMENTARY, {**commentary(), **parameters})
        await comment(store, late)
        horizon = await store.horizon()
        await open_one.commit()
    await comment(store, late)
    returned = [(event.match_id, event.seq) for event in await store.since_horizon(horizon)]
    assert (early, 2) in returned
    assert (late, 3) in returned
    assert set((await store.changed(horizon)).items()) >= {(early, 2), (late, 3)}


async def test_events_beyond_one_batch_are_all_returned(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "BATCH", 4)
    horizon = await store.horizon()
    for match_id in [await create(store) for _ in range(3)]:
        await comment(store, match_id, 5)
    returned = [(event.match_id, event.seq) for event in await store.since_horizon(horizon)]
    assert returned == [(match_id, seq) for match_id in (1, 2, 3) for seq in range(1, 7)]


async def test_concurrently_corrected_goal_counts_in_its_final_form(store: Store) -> None:
    match_id = await create(store)
    await comment(store, match_id, **GOAL)
    goal = int((await _first_commentary(store, match_id))["id"])
    deltas = [{"scoreDelta": {"home": home, "away": away}} for home in range(4) for away in range(4)]
    await asyncio.gather(*(store.update_commentary(match_id, goal, {"metadata": delta}, "test") for delta in deltas))
    final = (await _first_commentary(store, match_id))["metadata"]["scoreDelta"]
    assert await score(store, match_id) == (final["home"], final["away"])
    head = await store.head(match_id)
    assert head is not None
    assert await seqs(store, match_id) == list(range(1, head.seq + 1))


async def _first_commentary(store: Store, match_id: int) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(f"[{await store.commentary(match_id, 1)}]")[0]
    return found


async def score(store: Store, match_id: int) -> tuple[int, int]:
    row = await store.database.row("SELECT home_score, away_score FROM match WHERE id = %(id)s", {"id": match_id})
    assert row is not None
    return row[0], row[1]


async def test_refused_write_leaves_no_gap(store: Store) -> None:
    match_id = await create(store)

    async def overflow() -> None:
        with pytest.raises(Conflict):
            await comment(store, match_id, event_type="goal", metadata={"scoreDelta": {"home": 2**31}})

    await asyncio.gather(*(overflow() if number % 2 else comment(store, match_id) for number in range(20)))
    assert await seqs(store, match_id) == list(range(1, 12))


async def test_concurrent_use_of_a_key_writes_once(store: Store) -> None:
    match_id = await create(store)
    key = IdempotencyKey("POST /matches/1/commentary", "key", b"same")

    async def write() -> bool:
        try:
            return not (await store.create_commentary(match_id, commentary(), "test", key)).replayed
        except store_module.StillRunning:
            return False

    assert sum(await asyncio.gather(*(write() for _ in range(10)))) == 1
    assert await seqs(store, match_id) == [1, 2]


async def test_only_events_of_matches_finished_long_ago_are_pruned(store: Store) -> None:
    finished, live = await create(store), await create(store)
    for match_id in (finished, live):
        await comment(store, match_id, 2)
    await store.revise_match(finished, end, "test")
    assert await prune(store, age=3600) == 0
    assert await prune(store, age=0) == 4
    assert await seqs(store, finished) == []
    assert await seqs(store, live) == [1, 2, 3]
    assert await store.head(finished) == store_module.Head(4, 4)
    assert await prune(store, age=0) == 0


async def test_pruned_match_continues_its_seq(store: Store) -> None:
    match_id = await create(store)
    await store.revise_match(match_id, end, "test")
    await prune(store, age=0)
    await comment(store, match_id)
    assert await seqs(store, match_id) == [3]
    assert await store.head(match_id) == store_module.Head(3, 2)
    taken = await store.snapshot(match_id)
    assert taken is not None
    assert taken[1] == 3


async def prune(store: Store, age: float) -> int:
    return await store.database.execute(sql.PRUNE, {"age": age, "limit": 10})


async def test_score_can_be_set_only_while_live(store: Store) -> None:
    match_id = await create(store)

    def set_to_two(before: MatchState, now: datetime) -> Revision:
        return set_score(before, Score(2, 1), now)

    written = await store.revise_match(match_id, set_to_two, "test")
    assert [event.type for event in written.events] == ["score_update"]
    await store.revise_match(match_id, end, "test")
    with pytest.raises(Conflict):
        await store.revise_match(match_id, set_to_two, "test")
    assert await seqs(store, match_id) == [1, 2, 3]


async def test_hanging_database_counts_as_away_within_the_timeout_and_recovers(
    own_postgres: OwnPostgres,
) -> None:
    async with opened(own_postgres.url, size=2, timeout=1) as database:
        store = Store(database)
        match_id = await create(store)
        own_postgres.pause()
        watch = Stopwatch()
        with pytest.raises(DatabaseAway):
            await comment(store, match_id)
        assert watch.seconds() < 2
        own_postgres.resume()
        await wait_until_answering(database)
        await comment(store, match_id)
        found = await seqs(store, match_id)
        assert found == list(range(1, len(found) + 1))


async def wait_until_answering(database: Database, timeout: float = 30.0) -> None:
    """Wait until a read succeeds."""
    async with asyncio.timeout(timeout):
        while True:
            try:
                await database.rows("SELECT 1")
                return
            except DatabaseAway:
                await asyncio.sleep(0.05)
