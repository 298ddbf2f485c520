"""Matches, commentary and their feed in PostgreSQL. Every SQL statement is in :mod:`livescore.scores.statements`."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from psycopg.errors import CheckViolation, NumericValueOutOfRange
from psycopg.types.json import Json

from livescore.http_errors import RETRY_AFTER, Conflict, HttpError, NotFound
from livescore.scores import rules
from livescore.scores import statements as sql
from livescore.scores.database import Connection, Database, Row, fetch
from livescore.scores.feed import Event
from livescore.scores.horizon import Horizon

# Rows that one query brings at most: bounds memory while a long outage is healed.
BATCH = 5_000

# Commentary that a snapshot carries, like the default page of GET /matches/{id}/commentary.
SNAPSHOT_COMMENTARY = 100

# Longest that one pass over all matches may take after a restore; a million take some ten seconds.
SETTLE_SECONDS = 300.0

EPOCH_ZERO = datetime(1970, 1, 1, tzinfo=UTC)


class KeyReused(HttpError):
    """The Idempotency-Key was used for another request."""

    status = 422
    message = "This Idempotency-Key was used for another request"


class StillRunning(Conflict):
    """The first request with this Idempotency-Key has not ended."""

    message = "The first request with this Idempotency-Key is still running"
    headers = RETRY_AFTER


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """An Idempotency-Key. ``fingerprint`` is a digest of the request body, ``scope`` who asks for what."""

    scope: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a write did: the JSON of its object, the events to publish, and whether it is a first answer again."""

    body: str
    events: list[Event]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One page of matches as the members of a JSON array, and the cursor of the next one."""

    items: str
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """Where a match's feed stands: its last event, and the last one that was pruned."""

    seq: int
    pruned: int


@dataclass(frozen=True, slots=True)
class MatchSnapshot:
    """The state of a match as JSON. ``late``: with events that a horizon does not show."""

    match_id: int
    seq: int
    data: str
    late: bool


Write = Callable[[Connection], Awaitable[WriteResult]]

Condition = Callable[[str, Collection[int]], None]
"""What a writer expects: called with the epoch and the seqs that name the present state, under the lock of the match.
It raises :class:`PreconditionFailed`. A match is named by its last event, an entry by that or by its own last event."""


def _events(rows: Iterable[Row]) -> list[Event]:
    return sorted((Event.from_row(*row[:6]) for row in rows), key=lambda event: event.seq)


class Store:
    """What the service does with its database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # Writes

    async def create_match(
        self, values: Mapping[str, Any], request_id: str, key: IdempotencyKey | None = None
    ) -> WriteResult:
        """Append a match. ``values``: sport, home_team, away_team, start, end, home_score, away_score."""

        async def write(connection: Connection) -> WriteResult:
            rows = await fetch(connection, sql.CREATE_MATCH, {**values, "request_id": request_id})
            events = _events(rows)
            return WriteResult(events[0].data, events)

        return await self._write(write, key)

    async def create_commentary(
        self,
        match_id: int,
        values: Mapping[str, Any],
        request_id: str,
        key: IdempotencyKey | None = None,
        condition: Condition | None = None,
    ) -> WriteResult:
        """Append commentary, and move the score when it is a goal.

        Raises:
            NotFound: when there is no such match.
            PreconditionFailed: when the match is not as ``condition`` expects it.
            Conflict: when the score would exceed what an integer holds.
        """
        delta = rules.score_delta(values["event_type"], values["metadata"])
        parameters = {**_commentary(values), **_delta(delta), "match_id": match_id, "request_id": request_id}

        async def write(connection: Connection) -> WriteResult:
            events = _events(await fetch(connection, sql.CREATE_COMMENTARY, parameters))
            if not events:
                raise NotFound("Match not found")
            return WriteResult(events[0].data, events)

        async def write_if(connection: Connection) -> WriteResult:
            async with connection.transaction():
                _, _, seq = await _locked_match(connection, match_id)
                await _check(connection, condition, seq)
                return await write(connection)

        return await self._write(write if condition is None else write_if, key)

    async def update_commentary(
        self,
        match_id: int,
        commentary_id: int,
        values: Mapping[str, Any],
        request_id: str,
        condition: Condition | None = None,
    ) -> WriteResult:
        """Correct commentary; ``values`` has only what changes. The score follows the difference."""
        names = ("minute", "sequence", "period", "event_type", "actor", "team", "message", "metadata", "tags")
        given = {name: values.get(name) for name in names}

        async def write(connection: Connection) -> WriteResult:
            async with connection.transaction():
                event_type, metadata, *seqs = await _locked_commentary(connection, match_id, commentary_id)
                await _check(connection, condition, *seqs)
                before = rules.score_delta(event_type, metadata)
                changed = {name: value for name, value in given.items() if value is not None}
                after = rules.score_delta(changed.get("event_type", event_type), changed.get("metadata", metadata))
                parameters = {**_commentary(given), **_delta(after - before)}
                return await _revised(
                    connection, sql.UPDATE_COMMENTARY, match_id, commentary_id, request_id, parameters
                )

        return await self._write(write)

    async def delete_commentary(
        self, match_id: int, commentary_id: int, request_id: str, condition: Condition | None = None
    ) -> WriteResult:
        """Take commentary back, and its goal with it."""

        async def write(connection: Connection) -> WriteResult:
            async with connection.transaction():
                event_type, metadata, *seqs = await _locked_commentary(connection, match_id, commentary_id)
                await _check(connection, condition, *seqs)
                parameters = _delta(rules.NO_SCORE - rules.score_delta(event_type, metadata))
                return await _revised(
                    connection, sql.DELETE_COMMENTARY, match_id, commentary_id, request_id, parameters
                )

        return await self._write(write)

    async def revise_match(
        self,
        match_id: int,
        revise: Callable[[rules.MatchState, datetime], rules.Revision],
        request_id: str,
        condition: Condition | None = None,
    ) -> WriteResult:
        """Change a match by a pure function of its state and the database's time."""

        async def write(connection: Connection) -> WriteResult:
            async with connection.transaction():
                before, now, seq = await _locked_match(connection, match_id)
                await _check(connection, condition, seq)
                revision = revise(before, now)
                events: list[Event] = []
                if revision.events or revision.state != before:
                    parameters = _revision(match_id, before, revision, request_id)
                    events = _events(await fetch(connection, sql.REVISE_MATCH, parameters))
                body = (await fetch(connection, sql.MATCH, {"match_id": match_id}))[0][0]
                return WriteResult(body, events)

        return await self._write(write)

    async def _write(self, write: Write, key: IdempotencyKey | None = None) -> WriteResult:
        try:
            return await self.database.use(
                write if key is None else lambda connection: _idempotent(connection, write, key)
            )
        except (NumericValueOutOfRange, CheckViolation) as error:
            raise Conflict(f"The score would leave the range 0 to {rules.INT4_MAX}") from error

    # Reads

    async def match(self, match_id: int) -> tuple[str, int] | None:
        """The match as JSON and its seq."""
        row = await self.database.row(sql.MATCH, {"match_id": match_id})
        return (row[0], row[1]) if row else None

    async def matches(self, limit: int, filters: Mapping[str, Any], cursor: tuple[int, int] | None = None) -> Page:
        """A page of matches, newest first. ``filters`` by the names in :data:`statements.FILTERS`."""
        parameters: dict[str, Any] = {**filters, "limit": limit}
        conditions = [sql.FILTERS[name] for name in filters]
        if cursor is not None:
            conditions.append(sql.FILTERS["cursor"])
            parameters["cursor_time"] = EPOCH_ZERO + timedelta(milliseconds=cursor[0])
            parameters["cursor_id"] = cursor[1]
        row = await self.database.row(sql.list_matches(conditions), parameters)
        return Page(*row) if row else Page("", None)

    async def fixtures(self, within: int, limit: int) -> str:
        """The matches that are live or start within so many seconds, the earliest first, as members of a JSON array."""
        row = await self.database.row(sql.FIXTURES, {"within": within, "limit": limit})
        return str(row[0]) if row else ""

    async def commentary(self, match_id: int, limit: int) -> str:
        """The newest commentary, as the members of a JSON array; empty for an unknown match."""
        row = await self.database.row(sql.COMMENTARY, {"match_id": match_id, "limit": limit})
        return str(row[0]) if row else ""

    async def commentary_entry(self, match_id: int, commentary_id: int) -> tuple[str, int]:
        """Return one entry as JSON, and its seq.

        Raises:
            NotFound: if the match has no such entry.
        """
        row = await self.database.row(sql.COMMENTARY_ENTRY, {"match_id": match_id, "commentary_id": commentary_id})
        if row is None:
            raise NotFound("Commentary not found")
        return row[0], row[1]

    async def snapshot(self, match_id: int) -> tuple[str, int] | None:
        """``{"match": …, "commentary": […]}`` and the seq it stands for."""
        row = await self.database.row(sql.SNAPSHOT, {"match_id": match_id, "commentary": SNAPSHOT_COMMENTARY})
        return (row[0], row[1]) if row else None

    async def snapshots(self, horizon: Horizon, before: int, limit: int) -> list["MatchSnapshot"]:
        """Return the states of the matches with ids below ``before``, newest first; ``late`` refers to the horizon."""
        parameters = {
            "horizon": str(horizon),
            "before": before,
            "limit": limit,
            "commentary": SNAPSHOT_COMMENTARY,
        }
        return [MatchSnapshot(*row) for row in await self.database.rows(sql.SNAPSHOTS, parameters)]

    # The feed

    async def origin(self) -> tuple[str, str]:
        """Return the id of the deployment and the epoch, see :data:`statements.ORIGIN`; the feed is settled then.

        The first process that meets a restored feed settles it, so that transaction ids of another cluster are not
        compared with those of this one.
        """
        row = await self.database.row(sql.ORIGIN)
        if row is None:
            return "", ""
        settled = await self.database.row(sql.SETTLED)
        if settled and not settled[0]:
            await self.database.use(_settle, timeout=SETTLE_SECONDS)
        return str(row[0]), str(row[1])

    async def epoch(self) -> str:
        """Return the fingerprint of this feed; see :data:`statements.ORIGIN`."""
        return (await self.origin())[1]

    async def renew_epoch(self, epoch: str) -> str:
        """Change the epoch unless another process has done so meanwhile. Returns the new epoch."""
        await self.database.execute(sql.RENEW_EPOCH, {"epoch": epoch})
        return await self.epoch()

    async def head(self, match_id: int) -> Head | None:
        """Where a match's feed stands."""
        row = await self.database.row(sql.HEAD, {"match_id": match_id})
        return Head(*row) if row else None

    async def events(self, match_id: int, since: int, limit: int = BATCH) -> list[Event]:
        """The events after ``since``, oldest first."""
        rows = await self.database.rows(sql.EVENTS, {"match_id": match_id, "since": since, "limit": limit})
        return [Event.from_row(*row) for row in rows]

    async def missed(self, served: Mapping[int, int]) -> list[Event]:
        """What the feed has beyond the given seq of each match, by match and seq, at most :data:`BATCH` events."""
        parameters = {"matches": list(served), "seqs": list(served.values()), "limit": BATCH}
        return [Event.from_row(*row) for row in await self.database.rows(sql.MISSED, parameters)] if served else []

    async def lacks(self, delivered: Mapping[int, int]) -> bool:
        """Whether the feed ends before the given seq of a match, as only an older copy of it does."""
        parameters = {"matches": list(delivered), "seqs": list(delivered.values())}
        row = await self.database.row(sql.LACKS, parameters) if delivered else None
        return row is not None and bool(row[0])

    async def heads(self, matches: Iterable[int] | None = None) -> dict[int, int]:
        """The last seq of the given matches, or of all."""
        if matches is None:
            return dict(await self.database.rows(sql.ALL_HEADS))
        return dict(await self.database.rows(sql.HEADS, {"matches": list(matches)}))

    async def horizon(self) -> Horizon:
        """Draw a horizon: it shows every transaction that has ended."""
        return Horizon.parse((await self.database.rows(sql.HORIZON))[0][0])

    async def changed(self, horizon: Horizon) -> dict[int, int]:
        """Return the last seq of every match with events that the horizon does not show."""
        return dict(await self.database.rows(sql.CHANGED, {"horizon": str(horizon)}))

    async def since_horizon(self, horizon: Horizon) -> list[Event]:
        """Return every event that the horizon does not show, by match and seq."""
        events: list[Event] = []
        parameters = {"horizon": str(horizon), "limit": BATCH, "match_id": 0, "seq": 0}
        while rows := await self.database.rows(sql.SINCE_HORIZON, parameters):
            events += [Event.from_row(*row) for row in rows]
            parameters |= {"match_id": events[-1].match_id, "seq": events[-1].seq}
            if len(rows) < BATCH:
                break
        return events

    async def between_horizons(
        self, horizon: Horizon, target: Horizon, place: tuple[int, int], limit: int
    ) -> list[Event]:
        """Return a page of the events that only ``target`` shows, by match and seq, after the given match and seq."""
        parameters = {
            "horizon": str(horizon),
            "target": str(target),
            "match_id": place[0],
            "seq": place[1],
            "limit": limit,
        }
        return [Event.from_row(*row) for row in await self.database.rows(sql.BETWEEN_HORIZONS, parameters)]

    async def pruned_since(self, horizon: Horizon, limit: int) -> dict[int, int]:
        """Return match id → last pruned seq, for matches whose pruned events the horizon does not show."""
        return dict(await self.database.rows(sql.PRUNED_SINCE, {"horizon": str(horizon), "limit": limit}))

    async def resumable(self, horizon: Horizon, last: Mapping[int, int]) -> bool:
        """Return whether a reader that has come so far is not ahead of this feed."""
        parameters = {"horizon": str(horizon), "matches": list(last), "seqs": list(last.values())}
        row = await self.database.row(sql.RESUMABLE, parameters)
        return row is not None and bool(row[0])

    async def created(self, last_match_id: int) -> list[Event]:
        """``match_created`` of the matches after this one, in order."""
        rows = await self.database.rows(sql.CREATED, {"last": last_match_id, "limit": BATCH})
        return [Event.from_row(*row) for row in rows]

    async def last_match(self) -> int:
        """The id of the newest match; 0 without one."""
        row = await self.database.row(sql.LAST_MATCH)
        return int(row[0]) if row else 0

    # Keys

    async def api_keys(self) -> list[Row]:
        """Rows of id, name, digest, scopes and whether it is revoked."""
        return await self.database.rows(sql.API_KEYS)


async def _settle(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SET LOCAL lock_timeout = 0")
        await connection.execute(sql.SETTLE)


async def _idempotent(connection: Connection, write: Write, key: IdempotencyKey) -> WriteResult:
    """Effect and answer commit together, so that a key is either unused or has its answer."""
    place = {"scope": key.scope, "key": key.key}
    async with connection.transaction():
        if not (await fetch(connection, sql.LOCK_KEY, place))[0][0]:
            raise StillRunning
        for fingerprint, _, body in await fetch(connection, sql.FIND_KEY, place):
            if bytes(fingerprint) != key.fingerprint:
                raise KeyReused
            return WriteResult(bytes(body).decode(), [], replayed=True)
        written = await write(connection)
        kept = {**place, "fingerprint": key.fingerprint, "status": 201, "body": written.body.encode()}
        await connection.execute(sql.KEEP_KEY, kept)
        return written


def _commentary(values: Mapping[str, Any]) -> dict[str, Any]:
    metadata = values["metadata"]
    return {**values, "metadata": None if metadata is None else Json(metadata, orjson.dumps)}


def _delta(delta: rules.Score) -> dict[str, Any]:
    return {"home": delta.home, "away": delta.away, "scores": delta != rules.NO_SCORE}


async def _check(connection: Connection, condition: Condition | None, *seqs: int) -> None:
    if condition is not None:
        _, epoch = (await fetch(connection, sql.ORIGIN))[0]
        condition(epoch, seqs)


async def _locked_commentary(connection: Connection, match_id: int, commentary_id: int) -> tuple[str, Any, int, int]:
    """Lock an entry and its match. Returns its event type, its metadata, the match's last event and its own."""
    place = {"match_id": match_id, "commentary_id": commentary_id}
    for event_type, metadata, seq, own_seq in await fetch(connection, sql.LOCK_COMMENTARY, place):
        return event_type, metadata, seq, own_seq
    raise NotFound("Commentary not found")


async def _revised(
    connection: Connection,
    statement: str,
    match_id: int,
    commentary_id: int,
    request_id: str,
    parameters: Mapping[str, Any],
) -> WriteResult:
    place = {"match_id": match_id, "commentary_id": commentary_id, "request_id": request_id}
    events = _events(await fetch(connection, statement, {**parameters, **place}))
    return WriteResult(events[0].data, events)


async def _locked_match(connection: Connection, match_id: int) -> tuple[rules.MatchState, datetime, int]:
    """Lock a match. Returns its state, the database's time and its last event."""
    for row in await fetch(connection, sql.LOCK_MATCH, {"match_id": match_id}):
        sport, home_team, away_team, status, start, end, home, away, pinned, now, seq = row
        score = rules.Score(home, away)
        return rules.MatchState(sport, home_team, away_team, status, start, end, score, pinned), now, seq
    raise NotFound("Match not found")


def _revision(match_id: int, before: rules.MatchState, revision: rules.Revision, request_id: str) -> dict[str, Any]:
    after = revision.state
    return {
        "match_id": match_id,
        "types": revision.events,
        "sport": after.sport,
        "home_team": after.home_team,
        "away_team": after.away_team,
        "status": after.status,
        "start": after.start_time,
        "end": after.end_time,
        "home_score": after.score.home,
        "away_score": after.score.away,
        "pinned": after.pinned,
        "old_status": before.status,
        "request_id": request_id,
    }
