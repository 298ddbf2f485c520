"""Writes the matches of a file through the operations of the service, so that events, fold and standings follow.

A row is compared with what is stored, and only the differences are written: a repeated import changes nothing. So
nothing has to be atomic: after a crash the rows since the last checkpoint are compared once more.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import structlog
from psycopg.types.json import Jsonb

from livescore.http_errors import HttpError
from livescore.imports import documents
from livescore.imports.entries import RecordedEntry
from livescore.imports.openfootball import Problem
from livescore.imports.rows import DocumentError, ImportDocument, ImportOptions, ImportRow
from livescore.scores import import_statements as sql
from livescore.scores import rules, sports
from livescore.scores.competitions import Competitions, InvalidSeason, SeasonChange
from livescore.scores.database import Connection, Database, DatabaseAway, Row, fetch
from livescore.scores.feed import Event
from livescore.scores.match_state import FIXTURE, MatchState
from livescore.scores.standings.table import Adjustment
from livescore.scores.store import Store

log = structlog.get_logger(__name__)

# Rows between two checkpoints: some 100 ms of work, which a crash repeats.
CHUNK = 20

# Seconds after a checkpoint in which no other process continues the import. A chunk takes far less.
LEASE_SECONDS = 30.0

# Errors and warnings that an import keeps, so that a file of errors does not grow without bound. All are counted.
MAX_PROBLEMS = 1_000

IMPORT_KEY = "importKey"
"""Member of the metadata of an imported entry: the key by which the next import recognises it."""

Publish = Callable[[list[Event]], None]


class ImportTaken(Exception):
    """Another process has continued this import, because the lease of this one has expired."""


@dataclass(slots=True)
class _Progress:
    """What happened since the last checkpoint."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A match with the entries of earlier imports, as :data:`livescore.scores.import_statements.MATCHES` returns it."""

    id: int
    status: str
    values: Mapping[str, Any]
    rules: Any
    has_reporter: bool
    entries: Sequence[Mapping[str, Any]]


class Importer:
    """Runs imports, one at a time: two files may contain the same match.

    Args:
        store: The operations of the service.
        competitions: Competitions and their standings.
        publish: Takes committed events.
    """

    def __init__(self, store: Store, competitions: Competitions, publish: Publish) -> None:
        self._store = store
        self._database: Database = store.database
        self._competitions = competitions
        self._publish = publish
        # Committed since the last publication: many small ones would crowd out those of other matches.
        self._events: list[Event] = []

    async def run(self, import_id: int) -> None:
        """Run an import from its last checkpoint to its end. Returns at once if it has ended or another one runs.

        Raises:
            DatabaseAway, psycopg.Error: PostgreSQL is away or refuses a statement. The import can be continued.
        """
        lease = uuid4()
        claimed = await self._database.use(lambda connection: _claim(connection, import_id, lease))
        if claimed is None:
            return
        run = _Run(self, import_id, lease)
        try:
            await run.rows(*claimed)
        except ImportTaken:
            log.warning("import continued by another process", import_id=import_id)
        except BaseException:
            # Also if the worker stops: the next one need not wait for the end of the lease.
            await self._database.execute(sql.RELEASE, {"id": import_id, "lease": lease})
            raise
        finally:
            self.publish()

    async def matches(self, rows: Sequence[ImportRow]) -> dict[str, _Stored]:
        """Return the stored matches of some rows by their external ids."""
        parameters = {"external_ids": [row.external_id for row in rows], "moving": list(sports.moving())}
        found = await self._database.rows(sql.MATCHES, parameters)
        return {row[0]: _stored(row) for row in found}

    async def write(self, row: ImportRow, stored: _Stored | None, request_id: str) -> str:
        """Write what differs between a row and the stored match.

        Returns:
            ``created``, ``updated`` or ``unchanged``.

        Raises:
            HttpError: The match cannot be written.
        """
        if stored is None:
            match_id = await self._create(row, request_id)
            await self._add(match_id, row.record.entries, request_id)
            await self._set_status(match_id, row, request_id)
            return "created"
        change = _change(row, stored)
        is_changed = bool(change) and await self._revise(stored.id, change, request_id)
        if not stored.has_reporter:
            is_changed |= await self._bring_up_to_date(stored, row.record.entries, request_id)
            if is_changed or row.record.status not in (None, stored.status):
                is_changed |= await self._set_status(stored.id, row, request_id)
        return "updated" if is_changed else "unchanged"

    async def set_season(self, document: ImportDocument) -> None:
        """Store what the file says about the season.

        Raises:
            DocumentError: It names an unknown rule set or order.
        """
        data = document.season
        if data is None:
            return
        adjustments = None
        if data.adjustments is not None:
            adjustments = [Adjustment(**each) for each in data.adjustments]
        change = SeasonChange(data.name, data.rule_set, adjustments, data.orders, data.conduct)
        try:
            await self._competitions.set_season(data.competition, data.season, change)
        except InvalidSeason as error:
            raise DocumentError(str(error)) from None

    def publish(self) -> None:
        """Publish the events of the rows that were written."""
        events, self._events = self._events, []
        if events:
            self._publish(events)

    async def save(self, parameters: Mapping[str, Any]) -> None:
        """Record a checkpoint.

        Raises:
            ImportTaken: Another process has the lease.
        """
        if not await self._database.execute(sql.SAVE, parameters):
            raise ImportTaken

    async def finish(self, import_id: int, lease: UUID, error: str | None) -> None:
        """End an import, with an error if its file could not be read."""
        await self._database.execute(sql.FINISH, {"id": import_id, "lease": lease, "error": error})
        log.info("import ended", import_id=import_id, error=error)

    async def _create(self, row: ImportRow, request_id: str) -> int:
        given = {name: value for name, value in row.values.items() if value is not None}
        values = {
            **given,
            "home_score": 0,
            "away_score": 0,
            "rules": rules.merged_rules(row.values["sport"], row.record.rules),
        }
        written = await self._store.create_match(values, request_id)
        self._events += written.events
        return int(orjson.loads(written.body)["id"])

    async def _add(self, match_id: int, entries: Sequence[RecordedEntry], request_id: str, first: int = 1) -> None:
        for place, entry in enumerate(entries, first):
            values = {**_values(entry), "sequence": place, "tags": None}
            self._events += (await self._store.create_commentary(match_id, values, request_id)).events

    async def _bring_up_to_date(self, stored: _Stored, entries: Sequence[RecordedEntry], request_id: str) -> bool:
        """Correct, delete and append entries. Returns True if anything changed.

        Entries apply in the order of their creation. From the first difference that no correction can express, such as
        a new goal before the end of its half, the stored entries are replaced.
        """
        is_changed, kept = False, 0
        for old, new in zip(stored.entries, entries, strict=False):
            correction = _correction(old, _values(new))
            if correction is None:
                break
            if correction:
                written = await self._store.update_commentary(stored.id, old["id"], correction, request_id)
                self._events += written.events
                is_changed = True
            kept += 1
        for old in reversed(stored.entries[kept:]):
            self._events += (await self._store.delete_commentary(stored.id, old["id"], request_id)).events
        await self._add(stored.id, entries[kept:], request_id, kept + 1)
        return is_changed or kept < max(len(stored.entries), len(entries))

    async def _set_status(self, match_id: int, row: ImportRow, request_id: str) -> bool:
        if row.record.status is None:
            return False
        return await self._revise(match_id, {"status": row.record.status}, request_id)

    async def _revise(self, match_id: int, change: Mapping[str, Any], request_id: str) -> bool:
        def revise(before: MatchState, now: datetime) -> rules.Revision:
            return rules.revise(before, change, now)

        written = await self._store.revise_match(match_id, revise, request_id)
        self._events += written.events
        return bool(written.events)


async def next_import(database: Database) -> int | None:
    """Return the id of the oldest import that has not ended; None if there is none or if one is running."""
    row = await database.row(sql.NEXT)
    return None if row is None else int(row[0])


class _Run:
    """One run of one import."""

    def __init__(self, importer: Importer, import_id: int, lease: UUID) -> None:
        self._importer = importer
        self._id = import_id
        self._lease = lease
        self._request_id = f"import-{import_id}"

    async def rows(self, media_type: str, options: Mapping[str, Any], body: bytes, done: int) -> None:
        """Write the rows after the last checkpoint."""
        importer = self._importer
        try:
            # In a thread: a large file takes seconds.
            document = await asyncio.to_thread(documents.read, body, media_type, ImportOptions(**options))
            await importer.set_season(document)
        except DocumentError as error:
            await importer.finish(self._id, self._lease, str(error))
            return
        if done == 0:
            failed = len({problem.row for problem in document.problems})
            faults = _Progress(failed=failed, errors=list(document.problems), warnings=list(document.warnings))
            await self._save(document, 0, faults)
        for start in range(done, len(document.rows), CHUNK):
            chunk = document.rows[start : start + CHUNK]
            progress = await self._write(chunk)
            importer.publish()
            await self._save(document, start + len(chunk), progress)
        await importer.finish(self._id, self._lease, None)

    async def _write(self, chunk: Sequence[ImportRow]) -> _Progress:
        progress = _Progress()
        stored = await self._importer.matches(chunk)
        for row in chunk:
            match = stored.get(row.external_id)
            try:
                outcome = await self._importer.write(row, match, self._request_id)
            except DatabaseAway:
                raise
            except HttpError as error:
                progress.failed += 1
                progress.errors += _problems(row, error)
            except psycopg.DataError as error:
                progress.failed += 1
                progress.errors.append(Problem(row.number, row.label, "", f"cannot be stored: {error}"))
            else:
                setattr(progress, outcome, getattr(progress, outcome) + 1)
            if match is not None and match.has_reporter:
                text = "the match has entries of a reporter: only its details were compared"
                progress.warnings.append(Problem(row.number, row.label, "entries", text))
        return progress

    async def _save(self, document: ImportDocument, done: int, progress: _Progress) -> None:
        await self._importer.save(
            {
                "id": self._id,
                "lease": self._lease,
                "seconds": LEASE_SECONDS,
                "format": document.format,
                "total": document.total,
                "done": done,
                "created": progress.created,
                "updated": progress.updated,
                "unchanged": progress.unchanged,
                "failed": progress.failed,
                "errors": _json(progress.errors),
                "warnings": _json(progress.warnings),
                "most": MAX_PROBLEMS,
            }
        )


async def _claim(connection: Connection, import_id: int, lease: UUID) -> tuple[str, dict[str, Any], bytes, int] | None:
    """Take an import. Returns its media type, options, file and checkpoint; None if it cannot be taken."""
    async with connection.transaction():
        await connection.execute(sql.LOCK_CLAIMS)
        parameters = {"id": import_id, "lease": lease, "seconds": LEASE_SECONDS}
        rows = await fetch(connection, sql.CLAIM, parameters)
    if not rows:
        return None
    media_type, options, body, done = rows[0]
    return media_type, options, bytes(body), done


def _stored(row: Row) -> _Stored:
    _, match_id, status, start, end, sport, home_team, away_team, *more = row
    *fixture, match_rules, has_reporter, entries = more
    values = {
        "start": start,
        "end": end,
        "sport": sport,
        "home_team": home_team,
        "away_team": away_team,
        **dict(zip(FIXTURE, fixture, strict=True)),
    }
    return _Stored(match_id, status, values, match_rules, has_reporter, entries or ())


def _change(row: ImportRow, stored: _Stored) -> dict[str, Any]:
    """Return the details that differ, by their names in a PATCH. What the file does not have stays."""
    names = {"start": "start_time", "end": "end_time"}
    change = {
        names.get(name, name): value
        for name, value in row.values.items()
        if value is not None and name in stored.values and stored.values[name] != value
    }
    wanted = rules.merged_rules(row.values["sport"], row.record.rules)
    return change if wanted == stored.rules else {**change, "rules": wanted}


def _values(entry: RecordedEntry) -> dict[str, Any]:
    """Return the columns of an entry, by their names in the store."""
    return {
        "event_type": entry.type,
        "message": entry.message,
        "minute": entry.minute,
        "period": entry.period,
        "period_code": entry.period_code,
        "stoppage": entry.stoppage,
        "side": entry.side,
        "team": entry.team,
        "actor": entry.actor,
        "metadata": {**entry.metadata, IMPORT_KEY: entry.key},
    }


def _correction(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the columns that change; None if a correction cannot lead from the old entry to the new one."""
    stored = {**old, "event_type": old["type"]}
    if stored["metadata"].get(IMPORT_KEY) != new["metadata"][IMPORT_KEY]:
        return None
    correction = {name: value for name, value in new.items() if stored[name] != value}
    if new["side"] is None:
        # The service derives it from the team.
        correction.pop("side", None)
    # A correction cannot remove a value.
    return None if any(value is None for value in correction.values()) else correction


def _problems(row: ImportRow, error: HttpError) -> list[Problem]:
    issues = [(".".join(str(part) for part in issue.path), issue.message) for issue in error.details]
    return [Problem(row.number, row.label, path, text) for path, text in issues or [("", error.message)]]


def _json(problems: Sequence[Problem]) -> Jsonb:
    shown = [
        {"row": problem.row, "match": problem.match, "field": problem.field, "message": problem.message}
        for problem in problems[:MAX_PROBLEMS]
    ]
    return Jsonb(shown, orjson.dumps)
