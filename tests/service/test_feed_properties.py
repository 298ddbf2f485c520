"""Properties of the feed under concurrent writes: its order, its scores, and every resume."""

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livescore.http_errors import Conflict, NotFound
from livescore.scores.feed import Event
from livescore.scores.match_state import MatchState
from livescore.scores.rules import Revision, revise, set_score
from livescore.scores.state import Score
from livescore.scores.store import Store, WriteResult
from tests.support.clients import Listener, Message, announced_match, feed_of
from tests.support.databases import opened
from tests.support.delivery import assert_same_events
from tests.support.service import Service

MATCHES = 2
COMMENTARY_TYPES = ("commentary", "commentary_updated", "commentary_deleted")

EXAMPLES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@dataclass(frozen=True)
class Operation:
    """One write: its match, kind and values."""

    match: int
    kind: str
    home: int
    away: int
    choice: int

    @property
    def goal(self) -> dict[str, Any]:
        """The fields of a goal."""
        delta = {"scoreDelta": {"home": self.home, "away": self.away}}
        return {"event_type": "goal", "metadata": delta}


operations = st.builds(
    Operation,
    match=st.integers(0, MATCHES - 1),
    kind=st.sampled_from(["say", "goal", "goal", "score", "correct", "correct", "delete", "rename"]),
    home=st.integers(0, 3),
    away=st.integers(0, 3),
    choice=st.integers(0, 100),
)
writers = st.lists(st.lists(operations, min_size=1, max_size=10), min_size=2, max_size=6)


@dataclass
class ConcurrentWriters:
    """Concurrent writers on the same matches, with the result of each write and the commentary available to correct."""

    store: Store
    matches: list[int] = field(default_factory=list)
    written: list[WriteResult] = field(default_factory=list)
    commentary: dict[int, list[int]] = field(default_factory=dict)

    async def open(self) -> None:
        now = datetime.now(UTC).replace(microsecond=0)
        times = {"start": now - timedelta(hours=1), "end": now + timedelta(hours=1)}
        for _ in range(MATCHES):
            teams = {"sport": "football", "home_team": "Home", "away_team": "Away", "home_score": 0, "away_score": 0}
            self.written.append(await self.store.create_match({**teams, **times}, "test"))
            self.matches.append(self.written[-1].events[0].match_id)
            self.commentary[self.matches[-1]] = []

    async def write(self, program: Iterable[Operation]) -> None:
        for operation in program:
            with suppress(NotFound, Conflict):
                self.written.append(await self._do(operation, self.matches[operation.match]))

    async def _do(self, operation: Operation, match_id: int) -> WriteResult:
        known = self.commentary[match_id]
        if operation.kind in ("correct", "delete") and known:
            return await self._amend(operation, match_id, known[operation.choice % len(known)])
        if operation.kind == "score":
            return await self.store.revise_match(match_id, lambda before, now: _set(before, operation, now), "test")
        if operation.kind == "rename":
            change = {"home_team": f"Home {operation.choice}"}
            return await self.store.revise_match(match_id, lambda before, now: revise(before, change, now), "test")
        fields = operation.goal if operation.kind == "goal" else {"event_type": "commentary", "metadata": None}
        values = {"minute": 1, "sequence": 0, "period": 1, "message": "a chance", "actor": None, "team": None}
        written = await self.store.create_commentary(match_id, {**values, "tags": None, **fields}, "test")
        known.append(orjson.loads(written.body)["id"])
        return written

    async def _amend(self, operation: Operation, match_id: int, commentary_id: int) -> WriteResult:
        if operation.kind == "delete":
            return await self.store.delete_commentary(match_id, commentary_id, "test")
        return await self.store.update_commentary(match_id, commentary_id, operation.goal, "test")


def _set(before: MatchState, operation: Operation, now: datetime) -> Revision:
    return set_score(before, Score(operation.home, operation.away), now)


class ScoreTable:
    """Computes the score from the feed alone: goals add, and a score set by hand holds from its place on."""

    def __init__(self) -> None:
        self.score = Score()
        # By place: the id of an entry, or that of the newest entry and the seq of a score set after it.
        self._goals: dict[tuple[int, int], Score] = {}
        self._set: dict[tuple[int, int], Score] = {}
        self._newest = 0
        self._due = False

    def read(self, seq: int, kind: str, data: dict[str, Any]) -> None:
        """Process the next event. A commentary that changes the score must be followed by the score event."""
        assert not self._due or kind == "score_update"
        if kind in COMMENTARY_TYPES:
            self._change(kind, data)
            score = self._fold()
            self._due, self.score = score != self.score, score
        elif kind == "score_update":
            announced = Score(data["homeScore"], data["awayScore"])
            if data["cause"] is None:
                self._set[self._newest, seq] = announced
                self.score = self._fold()
            assert announced == self.score
            self._due = False

    def _change(self, kind: str, data: dict[str, Any]) -> None:
        self._goals.pop((data["id"], 0), None)
        if kind != "commentary_deleted":
            self._newest = max(self._newest, data["id"])
            delta = (data["metadata"] or {}).get("scoreDelta", {}) if data["eventType"] == "goal" else {}
            self._goals[data["id"], 0] = Score(delta.get("home", 0), delta.get("away", 0))

    def _fold(self) -> Score:
        score = Score()
        for place in sorted([*self._goals, *self._set]):
            score = self._set[place] if place in self._set else score + self._goals[place]
        return score


async def check_feed(store: Store, match_id: int, written: list[WriteResult]) -> list[Event]:
    """Assert that seqs have no gap, that every write returned its events, and that the score follows from them."""
    feed = await store.events(match_id, 0)
    assert [event.seq for event in feed] == list(range(1, len(feed) + 1))
    returned = [event for one in written for event in one.events if event.match_id == match_id]
    assert sorted(event.message for event in returned) == sorted(event.message for event in feed)
    for one in written:
        assert [event.seq for event in one.events] == sorted(event.seq for event in one.events)
    table = ScoreTable()
    for event in feed:
        table.read(event.seq, event.type, orjson.loads(event.data))
    found = await store.match(match_id)
    assert found is not None
    match = orjson.loads(found[0])
    assert (match["homeScore"], match["awayScore"], match["seq"]) == (table.score.home, table.score.away, len(feed))
    return feed


async def check_resume(store: Store, match_id: int, feed: list[Event]) -> None:
    """Assert that the rest of the feed can be read from every position: at once, in pages, and by gap fill."""
    for since in range(len(feed) + 1):
        rest = [event.message for event in feed[since:]]
        assert [event.message for event in await store.events(match_id, since)] == rest
        assert [event.message for event in await store.events(match_id, since, 3)] == rest[:3]
        assert [event.message for event in await store.missed({match_id: since})] == rest


@settings(EXAMPLES, max_examples=60)
@given(programs=writers)
def test_concurrent_writers_produce_gap_free_feeds_with_matching_scores(
    database_url: str, programs: list[list[Operation]]
) -> None:
    async def run() -> None:
        async with opened(database_url, size=8, timeout=30) as database:
            desk = ConcurrentWriters(Store(database))
            await desk.open()
            await together(desk.write(program) for program in programs)
            for match_id in desk.matches:
                feed = await check_feed(desk.store, match_id, desk.written)
                await check_resume(desk.store, match_id, feed)

    asyncio.run(run())


async def together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


class Editor:
    """The same writes over HTTP; ``acknowledged`` has the body of every 200 and 201 response that changed something."""

    def __init__(self, http: httpx.AsyncClient, match_id: int) -> None:
        self.acknowledged: list[Message] = []
        self._http = http
        self._path = f"/matches/{match_id}"
        self._commentary: list[int] = []

    async def write(self, program: Iterable[Operation]) -> None:
        for operation in program:
            answer = await self._do(operation)
            assert answer.status_code in (200, 201, 204, 404), answer.text
            if answer.is_success and answer.content:
                self._note(operation, answer.json()["data"])

    def _note(self, operation: Operation, data: Message) -> None:
        self.acknowledged.append(data)
        if operation.kind in ("say", "goal"):
            self._commentary.append(data["id"])

    async def _do(self, operation: Operation) -> httpx.Response:
        goal = {"eventType": "goal", "metadata": operation.goal["metadata"]}
        if operation.kind in ("correct", "delete") and self._commentary:
            chosen = self._commentary[operation.choice % len(self._commentary)]
            if operation.kind == "delete":
                return await self._http.delete(f"{self._path}/commentary/{chosen}")
            return await self._http.patch(f"{self._path}/commentary/{chosen}", json=goal)
        if operation.kind == "score":
            score = {"homeScore": operation.home, "awayScore": operation.away}
            return await self._http.patch(f"{self._path}/score", json=score)
        if operation.kind == "rename":
            return await self._http.patch(self._path, json={"homeTeam": f"Home {operation.choice}"})
        more = goal if operation.kind == "goal" else {}
        return await self._http.post(f"{self._path}/commentary", json={"minute": 1, "message": "a chance", **more})


@settings(EXAMPLES, max_examples=12)
@given(before=writers, meanwhile=writers)
def test_client_resuming_during_writes_receives_exactly_the_rest(
    service: Service, before: list[list[Operation]], meanwhile: list[list[Operation]]
) -> None:
    asyncio.run(resume_everywhere(service, before, meanwhile))


async def resume_everywhere(service: Service, before: list[list[Operation]], meanwhile: list[list[Operation]]) -> None:
    match_id = (await announced_match(service))["id"]
    async with service.client() as http, AsyncExitStack() as stack:
        editor = Editor(http, match_id)
        await together(editor.write(program) for program in before)
        head = len(await feed_of(service.base_url, match_id))
        listeners = [await stack.enter_async_context(Listener(service.ws_url)) for _ in range(head + 1)]
        async with asyncio.TaskGroup() as group:
            for program in meanwhile:
                group.create_task(editor.write(program))
            answers = [group.create_task(one.subscribe(match_id, since=at)) for at, one in enumerate(listeners)]
        assert all(answer.result()["recovered"] for answer in answers)
        feed = await feed_of(service.base_url, match_id)
        check_delivered(feed, editor.acknowledged)
        for since, listener in enumerate(listeners):
            await listener.until_seq(match_id, len(feed) if since < len(feed) else 0)
            assert_same_events(listener.events(match_id), feed[since:])


def check_delivered(feed: list[Message], acknowledged: list[Message]) -> None:
    """Assert that the feed has no gap and all acknowledged writes, and that its scores follow from its events."""
    assert [event["seq"] for event in feed] == list(range(1, len(feed) + 1))
    commentary = [event["data"] for event in feed if event["type"] in ("commentary", "commentary_updated")]
    assert all(data in commentary for data in acknowledged if "minute" in data)
    table = ScoreTable()
    for event in feed:
        table.read(event["seq"], event["type"], event["data"])
