"""The way to PostgreSQL: one pool per process, every use bounded in time, one error when it cannot be used.

While PostgreSQL is away one task looks for it and requests wait for that task. They do not wait when the server answers
that it is a standby or read-only, or when it has been away for longer than a request may take.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from psycopg import AsyncConnection, Error, errors

from livescore.http_errors import ServiceUnavailable
from livescore.outages import POSTGRESQL, POSTGRESQL_READS, POSTGRESQL_WRITES, OutageTracker, ServerAway
from livescore.scores import schema, sessions
from livescore.scores.pool import NotConnected, Pool, Session
from livescore.scores.sessions import Prepared, Profile, UnusableDatabase

T = TypeVar("T")
Connection = AsyncConnection[tuple[Any, ...]]
Parameters = Mapping[str, Any]
Row = tuple[Any, ...]
Work = Callable[[Connection], Awaitable[T]]

# Seconds between two attempts to reach a server that is away: a restart takes some 200 ms. Doubled up to the longest.
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.25

# A read may lose this many connections before it fails: one that was broken unnoticed, and one more.
READ_ATTEMPTS = 3


class DatabaseAway(ServerAway, ServiceUnavailable):
    """PostgreSQL cannot be reached, did not answer in time or cannot be used; ``reason`` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DatabaseReadOnly(DatabaseAway):
    """PostgreSQL answers and takes no writes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why PostgreSQL cannot be used.

    Attributes:
        reason: the answer to clients.
        since: when the outage began, by :func:`time.monotonic`.
        waits: whether requests wait for the end.
        reads: whether reads go on.
    """

    reason: str
    since: float
    waits: bool = True
    reads: bool = False

    def error(self) -> DatabaseAway:
        """The exception for those that need what is missing."""
        return (DatabaseReadOnly if self.reads else DatabaseAway)(self.reason)


AWAY = "PostgreSQL is away"
SILENT = "PostgreSQL did not answer in time"
READ_ONLY = "PostgreSQL is read-only"


def readiness_reason(error: DatabaseAway | Error) -> str:
    """Return what a probe says about an error: nothing that names hosts, files or roles."""
    if not isinstance(error, DatabaseAway):
        return "the database refuses queries: see the log"
    return "database away" if error.reason in (AWAY, SILENT) else error.reason


# Errors after which a session is of no use, although the connection may still look open.
_SESSION_ENDED = (
    errors.AdminShutdown,
    errors.CannotConnectNow,
    errors.CrashShutdown,
    errors.DatabaseDropped,
    errors.IdleInTransactionSessionTimeout,
    errors.IdleSessionTimeout,
    errors.ObjectNotInPrerequisiteState,  # a pooler has led the session to a standby
    errors.TransactionTimeout,
)


class _ConnectionLost(Exception):
    """The connection broke during a statement; whether the statement was executed is unknown."""


class Database:
    """A pool of connections to one PostgreSQL.

    Args:
        url: ``postgresql://…``
        size: the most connections it holds.
        timeout: seconds that one use may take, the wait for a connection included.
        prepared: see :class:`livescore.scores.sessions.Profile`.
    """

    def __init__(self, url: str, *, size: int, timeout: float, prepared: Prepared = "auto") -> None:
        self.timeout = timeout
        self._url = url
        self._profile = Profile(timeout, prepared)
        self._pool = Pool(self._connect, size)
        self._fault: Fault | None = None
        self._inability = ""
        self._news = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._answered = float("-inf")
        self._late: set[asyncio.Future[Any]] = set()

    async def close(self) -> None:
        """Close all connections and stop looking for a server that is away."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
        await self._pool.close()

    @property
    def fault(self) -> str | None:
        """Why PostgreSQL cannot be used, or takes no writes; None when it can as far as is known."""
        return self._fault.reason if self._fault else None

    @property
    def inability(self) -> str:
        """Why PostgreSQL has failed to execute statements recently, such as a full disk; empty if it has not."""
        is_failing = POSTGRESQL_WRITES.is_failing() or POSTGRESQL_READS.is_failing()
        return self._inability if is_failing else ""

    # Use

    async def use(self, work: Work[T], timeout: float | None = None) -> T:
        """Run ``work``, which may write, on a connection.

        Args:
            work: what to do with the connection.
            timeout: seconds, in place of the database's own.

        Raises:
            DatabaseAway: when PostgreSQL is away or ``work`` took longer than the time-out. Whether a write was
                committed is then unknown.
            DatabaseReadOnly: when PostgreSQL takes no writes.
        """
        return await self._bounded(lambda running: self._write(work, running), timeout)

    async def read(self, work: Work[T]) -> T:
        """Run ``work``, which only reads, on a connection; again if the connection turns out to be broken.

        Raises:
            DatabaseAway: when PostgreSQL is away or ``work`` took longer than the time-out.
        """
        return await self._bounded(lambda running: self._read(work, running))

    async def rows(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """All rows of a read."""
        return await self.read(lambda connection: fetch(connection, statement, parameters))

    async def row(self, statement: str, parameters: Parameters | None = None) -> Row | None:
        """The first row of a read, if any."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run one write in its own transaction; how many rows it touched."""
        return await self.use(lambda connection: _count(connection, statement, parameters))

    async def check(self) -> None:
        """Ask PostgreSQL whether it takes writes and has a schema that this version can work with.

        Raises:
            DatabaseAway, DatabaseReadOnly: if not.
        """
        if objection := schema.objection(await self.read(sessions.revision)):
            await self._pool.discard()
            self._begin_outage(objection, monotonic(), waits=False)
        row = await self.row("SELECT current_setting('transaction_read_only') = 'on'")
        if row and row[0]:
            self._begin_outage(READ_ONLY, monotonic(), waits=False, reads=True)
        if self._fault is not None:
            raise self._fault.error()

    # One use

    async def _bounded(self, run: Callable[[list[float]], Awaitable[T]], timeout: float | None = None) -> T:
        """Bound a use in time. ``run`` notes in its argument when it began to use a connection."""
        running: list[float] = []
        task = asyncio.ensure_future(run(running))
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout or self.timeout)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if done:
            return task.result()
        self._abandon(task)
        if self._fault is not None and not self._fault.reads:
            raise self._fault.error()
        if running and running[-1] > self._answered:  # else it answered others meanwhile: only this statement is slow
            self._begin_outage(SILENT, running[-1])
        raise DatabaseAway(SILENT)

    def _abandon(self, task: asyncio.Future[Any]) -> None:
        """Cancel a use without waiting: cancelling a statement of a server that hangs takes long itself."""
        self._late.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()

    async def _read(self, work: Work[T], running: list[float]) -> T:
        for _ in range(READ_ATTEMPTS - 1):
            with suppress(_ConnectionLost):
                return await self._run(work, running, write=False)
        return await self._last_run(work, running, write=False)

    async def _write(self, work: Work[T], running: list[float]) -> T:
        return await self._last_run(work, running, write=True)

    async def _last_run(self, work: Work[T], running: list[float], *, write: bool) -> T:
        try:
            return await self._run(work, running, write=write)
        except _ConnectionLost as error:
            raise DatabaseAway(AWAY) from error.__cause__

    async def _run(self, work: Work[T], running: list[float], *, write: bool) -> T:
        while True:
            await self._available(write=write)
            started = monotonic()
            try:
                async with self._pool.session() as session:
                    running.append(monotonic())
                    return await self._perform(session, work, write=write)
            except NotConnected as error:
                await self._not_connected(error.__cause__ or error, started)

    async def _available(self, *, write: bool) -> None:
        """Wait while PostgreSQL is away.

        Raises:
            DatabaseAway: when it makes no sense to wait.
        """
        while fault := self._fault:
            if fault.reads and not write:
                return
            if not fault.waits or monotonic() - fault.since > self.timeout:
                raise fault.error()
            await self._news.wait()

    async def _not_connected(self, error: BaseException, started: float) -> None:
        """Begin an outage, unless other connections work: then PostgreSQL may only have no more to give."""
        if self._pool.in_use and not isinstance(error, UnusableDatabase):
            await asyncio.sleep(FIRST_PAUSE)
        else:
            self._begin_outage_by(error, started)

    async def _perform(self, session: Session, work: Work[T], *, write: bool) -> T:
        connection, started = session.connection, monotonic()
        try:
            if write and session.facts.pooled:
                async with connection.transaction():
                    await sessions.apply_locally(connection, self._profile)
                    result = await work(connection)
            else:
                result = await work(connection)
        except Error as error:
            await self._failed(session, error, started, write=write)
            raise
        self._answer(started)
        _statements(write=write).answered(started)
        return result

    async def _failed(self, session: Session, error: Error, started: float, *, write: bool) -> None:
        """Translate an error that does not come from the statement itself."""
        if session.connection.closed or isinstance(error, _SESSION_ENDED) or _class(error) == "08":
            await session.connection.close()
            await self._pool.discard()
            raise _ConnectionLost from error
        self._answer(started)
        if sessions.has_read_only_fault(error):
            self._begin_outage(READ_ONLY, started, waits=False, reads=True)
            await session.connection.close()
            raise DatabaseReadOnly(READ_ONLY) from error
        if inability := sessions.inability(error):
            self._inability = inability
            _statements(write=write).failed(error, started)
            raise DatabaseAway(inability) from error
        if isinstance(error, errors.QueryCanceled | errors.LockNotAvailable):
            raise DatabaseAway(SILENT) from error
        if sessions.is_away(error):
            raise DatabaseAway(AWAY) from error

    def _answer(self, started: float) -> None:
        """Note that PostgreSQL has answered now, to an attempt that began at ``started``."""
        self._answered = monotonic()
        if self._fault is None:
            POSTGRESQL.answered(started)

    # Outages

    async def _connect(self) -> Session:
        """Open a connection for the pool.

        Raises:
            psycopg.Error: when PostgreSQL is away or cannot be used.
        """
        started = monotonic()
        connection, facts = await sessions.connect(self._url, self._profile)
        if facts.read_only:
            self._begin_outage(READ_ONLY, started, waits=False, reads=True)
        else:
            self._answer(started)
        return Session(connection, facts)

    def _begin_outage_by(self, error: BaseException, started: float) -> None:
        if isinstance(error, UnusableDatabase):
            self._begin_outage(str(error), started, waits=False)
        else:
            self._begin_outage(AWAY, started, detail=error)

    def _begin_outage(
        self,
        reason: str,
        started: float,
        *,
        waits: bool = True,
        reads: bool = False,
        detail: BaseException | str = "",
    ) -> None:
        """Note why PostgreSQL cannot be used, and look for one that can."""
        since = self._fault.since if self._fault else monotonic()
        self._fault = Fault(reason, since, waits, reads)
        POSTGRESQL.failed(detail or reason, started)
        self._tell_waiting()
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look(), name="database", context=Context())

    def _tell_waiting(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _look(self) -> None:
        """Try to connect until PostgreSQL can be used; connections made before are then discarded."""
        pause = FIRST_PAUSE
        while self._fault is not None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._look_once()

    async def _look_once(self) -> None:
        started = monotonic()
        try:
            connection, facts = await sessions.connect(self._url, self._profile)
        except Exception as error:
            self._begin_outage_by(error, started)
            return
        if facts.read_only:
            await connection.close()
            self._begin_outage(READ_ONLY, started, waits=False, reads=True)
            return
        await self._pool.discard()
        await self._pool.admit(Session(connection, facts))
        self._fault = None
        self._answer(started)
        self._tell_waiting()


def _statements(*, write: bool) -> OutageTracker:
    return POSTGRESQL_WRITES if write else POSTGRESQL_READS


def _class(error: Error) -> str:
    """The class of an SQLSTATE: 08 is that of connections, in which poolers report what goes wrong behind them."""
    return (error.sqlstate or "")[:2]


async def fetch(connection: Connection, statement: str, parameters: Parameters | None = None) -> list[Row]:
    """All rows of one statement on this connection, for work inside :meth:`Database.use`."""
    return await (await connection.execute(statement, parameters, binary=True)).fetchall()


async def _count(connection: Connection, statement: str, parameters: Parameters | None) -> int:
    return (await connection.execute(statement, parameters)).rowcount
