"""Matches, commentary and their feed in PostgreSQL. All SQL is in :mod:`livescore.scores.statements`."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.errors import CheckViolation, NumericValueOutOfRange, UniqueViolation

from livescore.http_errors import RETRY_AFTER, Conflict, HttpError, Issue, NotFound
from livescore.scores import folding, rules, sports
from livescore.scores import statements as sql
from livescore.scores.database import Connection, Database, Row, fetch
from livescore.scores.feed import Event
from livescore.scores.fold import reversal
from livescore.scores.horizon import Horizon
from livescore.scores.match_state import MatchState
from livescore.scores.state import Entry

# Rows that a query returns at most, which bounds memory while the gaps of a long outage are filled.
BATCH = 5_000

# Commentary entries in a snapshot, as many as the default page of GET /matches/{id}/commentary.
SNAPSHOT_COMMENTARY = 100

# Seconds for a pass over all matches after a restore; a million take some ten seconds.
RECORD_CLUSTER_SECONDS = 300.0

_EPOCH_OF_CURSORS = datetime(1970, 1, 1, tzinfo=UTC)


class KeyReused(HttpError):
    """The Idempotency-Key was used for another request."""

    status = 422
    message = "This Idempotency-Key was used for another request"


class ExternalIdTaken(Conflict):
    """Another match has the ``externalId`` of the request."""

    message = "Another match has this externalId"
    details = (Issue(("externalId",), message),)


class StillRunning(Conflict):
    """The first request with this Idempotency-Key has not ended yet."""

    message = "The first request with this Idempotency-Key is still running"
    headers = RETRY_AFTER


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The ``Idempotency-Key`` of a request.

    Attributes:
        scope: Method, path and caller: the same key means another request elsewhere.
        key: Value of the header.
        fingerprint: Digest of the request body.
    """

    scope: str
    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class WriteResult:
    """The outcome of a write.

    Attributes:
        body: JSON of the object that was written.
        events: Committed events, to be published.
        replayed: True if the body is the stored answer to an earlier request with the same Idempotency-Key.
    """

    body: str
    events: list[Event]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """One page of matches as the members of a JSON array, and the cursor of the next page."""

    items: str
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Head:
    """Seqs of a match's last event and of its last pruned event."""

    seq: int
    pruned: int


@dataclass(frozen=True, slots=True)
class MatchSnapshot:
    """The state of a match as JSON.

    Attributes:
        late: True if the state contains events that the requested horizon does not show.
    """

    match_id: int
    seq: int
    data: str
    late: bool


Write = Callable[[Connection], Awaitable[WriteResult]]

Condition = Callable[[str, Collection[int]], None]
"""A precondition of a write, called while the match is locked; raises ``PreconditionFailed``.

Its arguments are the epoch and the seqs by which clients may name the current state: the seq of a match, or those of a
commentary and its match.
"""


class Store:
    """Reads and writes of the service.

    Reads return what is committed and lock nothing. Writes lock the row of their match, as documented at their
    statements. Every method raises :class:`livescore.scores.database.DatabaseAway` if PostgreSQL cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # Writes

    async def create_match(
        self, values: Mapping[str, Any], request_id: str, key: IdempotencyKey | None = None
    ) -> WriteResult:
        """Create a match.

        Args:
            values: ``sport``, ``home_team``, ``away_team``, ``start``, ``end``, ``home_score`` and ``away_score``;
                optionally ``rules`` and the columns :data:`livescore.scores.match_state.FIXTURE`.
            request_id: Id of the request, stored with the event.
            key: The request's Idempotency-Key.

        Raises:
            ExternalIdTaken: Another match has this ``external_id``.
            KeyReused, StillRunning: See :class:`IdempotencyKey`.
        """
        parameters = {
            **values,
            **folding.fixture_parameters(values),
            "rules": folding.json_parameter(values.get("rules")),
            "fold": folding.initial_state(values).to_json(),
            "request_id": request_id,
        }

        async def write(connection: Connection) -> WriteResult:
            events = _events(await fetch(connection, sql.CREATE_MATCH, parameters))
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
        """Append commentary. The state of the match follows, if the entry can move it.

        Raises:
            NotFound: There is no such match.
            PreconditionFailed: The match does not meet ``condition``.
            Conflict: A score would leave the range of the column.
            KeyReused, StillRunning: See :class:`IdempotencyKey`.
        """
        parameters = {
            **_commentary_parameters(values),
            "match_id": match_id,
            "request_id": request_id,
        }

        async def append(connection: Connection) -> WriteResult:
            events = _events(await fetch(connection, sql.CREATE_COMMENTARY, parameters))
            if not events:
                raise NotFound("Match not found")
            return WriteResult(events[0].data, events)

        async def move(connection: Connection) -> WriteResult:
            # Usually no other write comes between these two statements, which then need neither lock nor transaction.
            events = await _append_entry(connection, sql.READ_STATE, match_id, values, parameters)
            return WriteResult(events[0].data, events) if events else await lock_and_move(connection)

        async def lock_and_move(connection: Connection) -> WriteResult:
            async with connection.transaction():
                events = await _append_entry(connection, sql.LOCK_STATE, match_id, values, parameters, condition)
                return WriteResult(events[0].data, events)

        async def check_and_append(connection: Connection) -> WriteResult:
            async with connection.transaction():
                _, _, seq = await _lock_match(connection, match_id)
                await _check(connection, condition, seq)
                return await append(connection)

        if values["event_type"] in sports.moving():
            return await self._write(move if condition is None else lock_and_move, key)
        return await self._write(append if condition is None else check_and_append, key)

    async def update_commentary(
        self,
        match_id: int,
        commentary_id: int,
        values: Mapping[str, Any],
        request_id: str,
        condition: Condition | None = None,
    ) -> WriteResult:
        """Correct commentary. The state of the match becomes the fold of its corrected entries.

        Args:
            match_id: Id of the match.
            commentary_id: Id of the commentary.
            values: Fields that change.
            request_id: Id of the request, stored with the events.
            condition: Precondition, checked under the lock.

        Raises:
            NotFound: The match has no such commentary.
            PreconditionFailed: The commentary does not meet ``condition``.
            Conflict: A score would leave the range of the column.
        """
        parameters = {
            **_commentary_parameters({**_NO_VALUES, **values}),
            "match_id": match_id,
            "commentary_id": commentary_id,
            "request_id": request_id,
            "warnings": None,
        }

        async def write(connection: Connection) -> WriteResult:
            async with connection.transaction():
                locked = await _lock_commentary(connection, match_id, commentary_id)
                await _check(connection, condition, locked.match_seq, locked.seq)
                entry = locked.corrected(values)
                if sports.moving().isdisjoint((locked.entry.type, entry.type)):
                    events = _events(await fetch(connection, sql.UPDATE_COMMENTARY, parameters))
                    return WriteResult(events[0].data, events)
                settled = (await folding.settle(connection, match_id, locked.match, locked.now)).replaced(entry)
                after = locked.match.with_state(settled.fold(), locked.now)
                warnings = folding.warnings_of(
                    locked.match,
                    settled.state_before(entry.id),
                    entry,
                    is_side_derived="team" in values and "side" not in values,
                )
                changed = folding.state_parameters(locked.match, after, locked.now, "commentary_updated")
                rows = await fetch(
                    connection, sql.CORRECT_ENTRY, {**parameters, **changed, "warnings": warnings or None}
                )
                events = _events(rows)
                return WriteResult(events[0].data, events)

        return await self._write(write)

    async def delete_commentary(
        self, match_id: int, commentary_id: int, request_id: str, condition: Condition | None = None
    ) -> WriteResult:
        """Delete an entry. The state of the match becomes the fold of the entries that are left.

        Raises:
            NotFound: The match has no such commentary.
            PreconditionFailed: The commentary does not meet ``condition``.
        """
        parameters = {"match_id": match_id, "commentary_id": commentary_id, "request_id": request_id}

        async def write(connection: Connection) -> WriteResult:
            async with connection.transaction():
                locked = await _lock_commentary(connection, match_id, commentary_id)
                await _check(connection, condition, locked.match_seq, locked.seq)
                if locked.entry.type not in sports.moving():
                    events = _events(await fetch(connection, sql.DELETE_COMMENTARY, parameters))
                    return WriteResult(events[0].data, events)
                settled = await folding.settle(connection, match_id, locked.match, locked.now)
                after = locked.match.with_state(settled.without(commentary_id).fold(), locked.now)
                changed = folding.state_parameters(locked.match, after, locked.now, "commentary_deleted")
                events = _events(await fetch(connection, sql.DELETE_ENTRY, {**parameters, **changed}))
                return WriteResult(events[0].data, events)

        return await self._write(write)

    async def revise_match(
        self,
        match_id: int,
        revise: Callable[[MatchState, datetime], rules.Revision],
        request_id: str,
        condition: Condition | None = None,
    ) -> WriteResult:
        """Change a match by a pure function of its state and the database's time.

        A new score and a new status take their place among the entries of the match, as overrides.

        Raises:
            NotFound: There is no such match.
            PreconditionFailed: The match does not meet ``condition``.
            ExternalIdTaken: Another match has the new ``external_id``.
            Conflict, rules.Invalid: ``revise`` refuses the change.
        """

        async def write(connection: Connection) -> WriteResult:
            async with connection.transaction():
                before, now, seq = await _lock_match(connection, match_id)
                await _check(connection, condition, seq)
                after = await _revised(connection, match_id, before, revise(before, now), now)
                events: list[Event] = []
                if after != before:
                    parameters = {
                        **folding.match_parameters(after),
                        **folding.state_parameters(before, after, now),
                        "match_id": match_id,
                        "request_id": request_id,
                    }
                    events = _events(await fetch(connection, sql.REVISE_MATCH, parameters))
                ((body, _),) = await fetch(connection, sql.MATCH, {"match_id": match_id})
                return WriteResult(body, events)

        return await self._write(write)

    async def _write(self, write: Write, key: IdempotencyKey | None = None) -> WriteResult:
        """Run a write in its own use of the database; with a key, at most once for all requests with this key."""

        async def write_once(connection: Connection) -> WriteResult:
            return await write(connection) if key is None else await _write_idempotently(connection, write, key)

        try:
            return await self.database.use(write_once)
        except UniqueViolation as error:
            if error.diag.constraint_name != sql.EXTERNAL_ID_INDEX:
                raise
            raise ExternalIdTaken from error
        except (NumericValueOutOfRange, CheckViolation) as error:
            raise Conflict(f"The score would leave the range 0 to {rules.INT4_MAX}") from error

    # Matches and commentary

    async def match(self, match_id: int) -> tuple[str, int] | None:
        """Return a match as JSON and its seq; None if there is no such match."""
        row = await self.database.row(sql.MATCH, {"match_id": match_id})
        return (row[0], row[1]) if row else None

    async def matches(self, limit: int, filters: Mapping[str, Any], cursor: tuple[int, int] | None = None) -> Page:
        """Return a page of matches, newest first.

        Args:
            limit: Most matches of the page.
            filters: Values by the names in :data:`statements.FILTERS`.
            cursor: Time of creation in milliseconds since 1970, and id, of the last match of the page before.
        """
        parameters: dict[str, Any] = {**filters, "limit": limit}
        conditions = [sql.FILTERS[name] for name in filters]
        if cursor is not None:
            milliseconds, match_id = cursor
            conditions.append(sql.FILTERS["cursor"])
            parameters["cursor_time"] = _EPOCH_OF_CURSORS + timedelta(milliseconds=milliseconds)
            parameters["cursor_id"] = match_id
        row = await self.database.row(sql.list_matches(conditions), parameters)
        return Page(*row) if row else Page("", None)

    async def fixtures(self, within: int, limit: int) -> str:
        """Return the members of a JSON array: the matches that are live or start within so many seconds."""
        row = await self.database.row(sql.FIXTURES, {"within": within, "limit": limit})
        return str(row[0]) if row else ""

    async def commentary(self, match_id: int, limit: int) -> str:
        """Return the members of a JSON array: the newest commentary. It is empty if there is no such match."""
        row = await self.database.row(sql.COMMENTARY, {"match_id": match_id, "limit": limit})
        return str(row[0]) if row else ""

    async def commentary_entry(self, match_id: int, commentary_id: int) -> tuple[str, int]:
        """Return one commentary as JSON, and its seq.

        Raises:
            NotFound: The match has no such commentary.
        """
        row = await self.database.row(sql.COMMENTARY_ENTRY, {"match_id": match_id, "commentary_id": commentary_id})
        if row is None:
            raise NotFound("Commentary not found")
        return row[0], row[1]

    async def snapshot(self, match_id: int) -> tuple[str, int] | None:
        """Return ``{"match": …, "commentary": […]}`` and its seq; None if there is no such match."""
        row = await self.database.row(sql.SNAPSHOT, {"match_id": match_id, "commentary": SNAPSHOT_COMMENTARY})
        return (row[0], row[1]) if row else None

    async def snapshots(self, horizon: Horizon, before: int, limit: int) -> list[MatchSnapshot]:
        """Return snapshots of the matches with ids below ``before``, newest first."""
        parameters = {
            "horizon": str(horizon),
            "before": before,
            "limit": limit,
            "commentary": SNAPSHOT_COMMENTARY,
        }
        rows = await self.database.rows(sql.SNAPSHOTS, parameters)
        return [MatchSnapshot(*row) for row in rows]

    # Identity

    async def origin(self) -> tuple[str, str]:
        """Return the id of the deployment and the epoch.

        The first process that reads a restored database records its cluster, so that no transaction id of another
        cluster is compared with those of this one. This locks all match rows.
        """
        row = await self.database.row(sql.ORIGIN)
        if row is None:
            return "", ""
        recorded = await self.database.row(sql.CLUSTER_IS_RECORDED)
        if recorded and not recorded[0]:
            await self.database.use(_record_cluster, timeout=RECORD_CLUSTER_SECONDS)
        deployment_id, epoch = row
        return str(deployment_id), str(epoch)

    async def epoch(self) -> str:
        """Return the fingerprint of the database."""
        _, epoch = await self.origin()
        return epoch

    async def renew_epoch(self, epoch: str) -> str:
        """Change the epoch unless another process has changed it already. Return the new epoch."""
        await self.database.execute(sql.RENEW_EPOCH, {"epoch": epoch})
        return await self.epoch()

    # The feed of one match

    async def head(self, match_id: int) -> Head | None:
        """Return the seqs at the end of a match's feed; None if there is no such match."""
        row = await self.database.row(sql.HEAD, {"match_id": match_id})
        return Head(*row) if row else None

    async def heads(self, matches: Iterable[int] | None = None) -> dict[int, int]:
        """Return the last seq by match id, of the given matches or of all."""
        if matches is None:
            return dict(await self.database.rows(sql.ALL_HEADS))
        return dict(await self.database.rows(sql.HEADS, {"matches": list(matches)}))

    async def events(self, match_id: int, since: int, limit: int = BATCH) -> list[Event]:
        """Return the events after ``since``, oldest first."""
        rows = await self.database.rows(sql.EVENTS, {"match_id": match_id, "since": since, "limit": limit})
        return [Event.from_row(*row) for row in rows]

    async def missed(self, served: Mapping[int, int]) -> list[Event]:
        """Return the events after the given seq of each match, by match and seq, at most :data:`BATCH`."""
        if not served:
            return []
        parameters = {"matches": list(served), "seqs": list(served.values()), "limit": BATCH}
        rows = await self.database.rows(sql.MISSED, parameters)
        return [Event.from_row(*row) for row in rows]

    async def lacks(self, delivered: Mapping[int, int]) -> bool:
        """Return True if the feed of any match ends before its delivered seq, as only that of an older copy does."""
        if not delivered:
            return False
        parameters = {"matches": list(delivered), "seqs": list(delivered.values())}
        row = await self.database.row(sql.LACKS, parameters)
        return row is not None and bool(row[0])

    # The feed of all matches

    async def last_match(self) -> int:
        """Return the id of the newest match; 0 if there is none."""
        row = await self.database.row(sql.LAST_MATCH)
        return int(row[0]) if row else 0

    async def created(self, last_match_id: int) -> list[Event]:
        """Return the ``match_created`` events of later matches, by match, at most :data:`BATCH`."""
        rows = await self.database.rows(sql.CREATED, {"last": last_match_id, "limit": BATCH})
        return [Event.from_row(*row) for row in rows]

    async def horizon(self) -> Horizon:
        """Return the current horizon. It shows every transaction that has ended."""
        ((text,),) = await self.database.rows(sql.HORIZON)
        return Horizon.parse(text)

    async def changed(self, horizon: Horizon) -> dict[int, int]:
        """Return the last seq by match id, of the matches with events that the horizon does not show."""
        return dict(await self.database.rows(sql.CHANGED, {"horizon": str(horizon)}))

    async def since_horizon(self, horizon: Horizon) -> list[Event]:
        """Return all events that the horizon does not show, by match and seq."""
        events: list[Event] = []
        parameters = {"horizon": str(horizon), "limit": BATCH, "match_id": 0, "seq": 0}
        while rows := await self.database.rows(sql.SINCE_HORIZON, parameters):
            events += [Event.from_row(*row) for row in rows]
            if len(rows) < BATCH:
                break
            parameters |= {"match_id": events[-1].match_id, "seq": events[-1].seq}
        return events

    async def between_horizons(
        self, horizon: Horizon, target: Horizon, place: tuple[int, int], limit: int
    ) -> list[Event]:
        """Return the events that ``target`` shows and ``horizon`` does not, by match and seq.

        Args:
            horizon: The earlier horizon.
            target: The later horizon.
            place: Match id and seq; only events after it are returned.
            limit: Most events of the page.
        """
        match_id, seq = place
        parameters = {
            "horizon": str(horizon),
            "target": str(target),
            "match_id": match_id,
            "seq": seq,
            "limit": limit,
        }
        rows = await self.database.rows(sql.BETWEEN_HORIZONS, parameters)
        return [Event.from_row(*row) for row in rows]

    async def pruned_since(self, horizon: Horizon, limit: int) -> dict[int, int]:
        """Return the last pruned seq by match id, of the matches whose pruned events the horizon does not show."""
        return dict(await self.database.rows(sql.PRUNED_SINCE, {"horizon": str(horizon), "limit": limit}))

    async def resumable(self, horizon: Horizon, last: Mapping[int, int]) -> bool:
        """Return True if a reader with this horizon and these last seqs is not ahead of the feed."""
        parameters = {"horizon": str(horizon), "matches": list(last), "seqs": list(last.values())}
        row = await self.database.row(sql.RESUMABLE, parameters)
        return row is not None and bool(row[0])

    # Keys

    async def api_keys(self) -> list[Row]:
        """Return id, name, digest and scopes of each API key, and True if it was revoked."""
        return await self.database.rows(sql.API_KEYS)


@dataclass(frozen=True, slots=True)
class _LockedCommentary:
    """A commentary whose row and match are locked."""

    match: MatchState
    now: datetime
    match_seq: int
    seq: int
    entry: Entry

    def corrected(self, values: Mapping[str, Any]) -> Entry:
        """Return the entry with new values. A new team is that of another side, unless the side is given too."""
        entry = self.entry
        return Entry(
            entry.id,
            values.get("event_type", entry.type),
            entry.at,
            values.get("side") or self.match.side_of(values.get("team")) or entry.side,
            values.get("period_code", entry.period),
            values.get("minute", entry.minute),
            values.get("stoppage", entry.stoppage),
            values.get("actor", entry.actor),
            values.get("metadata", entry.metadata),
        )


async def _lock_commentary(connection: Connection, match_id: int, commentary_id: int) -> _LockedCommentary:
    """Lock a commentary and its match until the transaction ends.

    Raises:
        NotFound: The match has no such commentary.
    """
    rows = await fetch(connection, sql.LOCK_COMMENTARY, {"match_id": match_id, "commentary_id": commentary_id})
    if not rows:
        raise NotFound("Commentary not found")
    now, match_seq, seq, at, type_, side, period, minute, stoppage, actor, metadata, *match = rows[0]
    entry = Entry(commentary_id, type_, at, side, period, minute, stoppage, actor, metadata or {})
    return _LockedCommentary(MatchState.of(tuple(match)), now, match_seq, seq, entry)


async def _lock_match(connection: Connection, match_id: int) -> tuple[MatchState, datetime, int]:
    """Lock a match until the transaction ends. Return its state, the database's time and its seq.

    Raises:
        NotFound: There is no such match.
    """
    rows = await fetch(connection, sql.LOCK_MATCH, {"match_id": match_id})
    if not rows:
        raise NotFound("Match not found")
    now, seq, *match = rows[0]
    return MatchState.of(tuple(match)), now, seq


async def _append_entry(
    connection: Connection,
    read: str,
    match_id: int,
    values: Mapping[str, Any],
    parameters: Mapping[str, Any],
    condition: Condition | None = None,
) -> list[Event]:
    """Append an entry that may move the state of its match.

    Args:
        connection: A connection; in a transaction if ``read`` locks.
        read: ``READ_STATE`` or ``LOCK_STATE``.
        match_id: Id of the match.
        values: Fields of the entry.
        parameters: Those of the statement that do not depend on the match.
        condition: Precondition; only with a lock.

    Returns:
        The events. Without a lock, none if the fold needs more than the last state, or if the match has changed
        meanwhile.

    Raises:
        NotFound: There is no such match.
        PreconditionFailed: The match does not meet ``condition``.
    """
    rows = await fetch(connection, read, {"match_id": match_id})
    if not rows:
        raise NotFound("Match not found")
    now, seq, version, entry_id, *row = rows[0]
    await _check(connection, condition, seq)
    match = MatchState.of(tuple(row))
    side = values.get("side") or match.side_of(values.get("team"))
    entry = folding.entry_of(entry_id, now, {**_NO_VALUES, **values, "side": side})
    if match.state is not None and not match.has_drifted and reversal(entry) is None:
        before = match.state
        state = match.folder.apply(before, entry)
    elif read == sql.READ_STATE:
        return []
    else:
        settled = await folding.settle(connection, match_id, match, now)
        # An override that settled the match comes before the entry.
        ((entry_id,),) = await fetch(connection, sql.NEXT_STEP)
        entry = replace(entry, id=entry_id)
        before = settled.fold()
        state = settled.replaced(entry).fold()
    warnings = folding.warnings_of(match, before, entry, is_side_derived=values.get("side") is None)
    appended = {
        **parameters,
        **folding.state_parameters(match, match.with_state(state, now), now, "commentary"),
        "commentary_id": entry.id,
        "version": version,
        "side": side,
        "warnings": warnings or None,
    }
    return _events(await fetch(connection, sql.APPEND_ENTRY, appended))


async def _revised(
    connection: Connection, match_id: int, before: MatchState, revision: rules.Revision, now: datetime
) -> MatchState:
    """Return a match after a change by hand, and store its override."""
    after = revision.match
    if revision.override is None and (before.state is None or not revision.refolds(before)):
        return after
    settled = await folding.settle(connection, match_id, before, now)
    steps = settled.steps
    if revision.override is not None:
        steps = [*steps, await folding.add_override(connection, match_id, revision.override)]
    return after.with_state(after.folder.fold(steps), now)


async def _check(connection: Connection, condition: Condition | None, *seqs: int) -> None:
    """Evaluate a precondition; the epoch is read only if there is one.

    Raises:
        PreconditionFailed: It is not met.
    """
    if condition is not None:
        ((_, epoch),) = await fetch(connection, sql.ORIGIN)
        condition(epoch, seqs)


async def _write_idempotently(connection: Connection, write: Write, key: IdempotencyKey) -> WriteResult:
    """Run a write unless a request with this key has been answered; then return the stored answer.

    The write and its answer commit together, so a key is either unused or has an answer. The advisory lock of the key
    is held until the transaction ends.

    Raises:
        StillRunning: Another request with this key holds its lock.
        KeyReused: The key belongs to another request.
    """
    place = {"scope": key.scope, "key": key.key}
    async with connection.transaction():
        ((is_locked,),) = await fetch(connection, sql.LOCK_KEY, place)
        if not is_locked:
            raise StillRunning
        answers = await fetch(connection, sql.FIND_KEY, place)
        if answers:
            fingerprint, _, body = answers[0]
            if bytes(fingerprint) != key.fingerprint:
                raise KeyReused
            return WriteResult(bytes(body).decode(), [], replayed=True)
        result = await write(connection)
        answer = {"fingerprint": key.fingerprint, "status": 201, "body": result.body.encode()}
        await connection.execute(sql.KEEP_KEY, {**place, **answer})
        return result


async def _record_cluster(connection: Connection) -> None:
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SET LOCAL lock_timeout = 0")
        await connection.execute(sql.RECORD_CLUSTER)


def _events(rows: Iterable[Row]) -> list[Event]:
    """Return the events of a write in the order of their seqs; a statement returns them in any order."""
    return sorted((Event.from_row(*row) for row in rows), key=lambda event: event.seq)


_NO_VALUES: Mapping[str, Any] = dict.fromkeys(
    (
        "minute",
        "sequence",
        "period",
        "event_type",
        "actor",
        "team",
        "message",
        "metadata",
        "tags",
        "side",
        "period_code",
        "stoppage",
    )
)


def _commentary_parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    return {**_NO_VALUES, **values, "metadata": folding.json_parameter(values.get("metadata"))}
