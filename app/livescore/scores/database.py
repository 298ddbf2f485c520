"""Access to PostgreSQL: one pool per process, a time-out for every use, and one error if it cannot be used.

While PostgreSQL is away, a single task tries to connect and requests wait for it. They fail at once if the server is a
standby or read-only, or if it has been away for longer than a request may take.
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

# Seconds between two attempts to reach a server that is away, doubled after each. A restart takes some 200 ms.
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.25

# A read is attempted as often if its connection breaks: it may get one that broke while idle, and one more.
READ_ATTEMPTS = 3


class DatabaseAway(ServerAway, ServiceUnavailable):
    """PostgreSQL cannot be reached, did not answer in time or cannot be used; ``reason`` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DatabaseReadOnly(DatabaseAway):
    """PostgreSQL answers but accepts no writes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An outage of PostgreSQL.

    Attributes:
        reason: Text for clients.
        since: Start of the outage, by :func:`time.monotonic`.
        waits: True if requests wait for its end.
        reads: True if reads still work.
    """

    reason: str
    since: float
    waits: bool = True
    reads: bool = False

    def error(self) -> DatabaseAway:
        """Return the exception for requests that cannot be served."""
        return DatabaseReadOnly(self.reason) if self.reads else DatabaseAway(self.reason)


AWAY = "PostgreSQL is away"
SILENT = "PostgreSQL did not answer in time"
READ_ONLY = "PostgreSQL is read-only"


def readiness_reason(error: DatabaseAway | Error) -> str:
    """Return the text of a probe for an error, without names of hosts, files or roles."""
    if not isinstance(error, DatabaseAway):
        return "the database refuses queries: see the log"
    return "database away" if error.reason in (AWAY, SILENT) else error.reason


# Errors after which a session is unusable although its connection may look open.
_SESSION_ENDED = (
    errors.AdminShutdown,
    errors.CannotConnectNow,
    errors.CrashShutdown,
    errors.DatabaseDropped,
    errors.IdleInTransactionSessionTimeout,
    errors.IdleSessionTimeout,
    errors.ObjectNotInPrerequisiteState,  # a pooler has routed the session to a standby
    errors.TransactionTimeout,
)


class _ConnectionLost(Exception):
    """The connection broke during a statement, which may or may not have been executed."""


class Database:
    """A pool of connections to one PostgreSQL.

    Args:
        url: ``postgresql://…``
        size: Most connections.
        timeout: Seconds for one use, including the wait for a connection.
        prepared: See :class:`livescore.scores.sessions.Profile`.

    Attributes:
        on_server_change: Called when a connection is opened to another server than before, for example after the
            promotion of a standby.
    """

    def __init__(self, url: str, *, size: int, timeout: float, prepared: Prepared = "auto") -> None:
        self.timeout = timeout
        self.on_server_change: Callable[[], None] = lambda: None
        self._url = url
        self._profile = Profile(timeout, prepared)
        self._pool = Pool(self._connect, size)
        self._server = ""
        self._fault: Fault | None = None
        # Text for clients about statements that PostgreSQL could not execute.
        self._inability = ""
        # Set, and replaced, whenever the fault changes.
        self._fault_changed = asyncio.Event()
        self._probe: asyncio.Task[None] | None = None
        self._last_answer = float("-inf")
        # Uses that were cancelled and have not ended yet.
        self._abandoned: set[asyncio.Future[Any]] = set()

    async def close(self) -> None:
        """Close all connections and stop probing."""
        if self._probe is not None:
            self._probe.cancel()
            with suppress(asyncio.CancelledError):
                await self._probe
        await self._pool.close()

    @property
    def fault(self) -> str | None:
        """Return why PostgreSQL cannot be used or accepts no writes; None if no fault is known."""
        return self._fault.reason if self._fault else None

    @property
    def inability(self) -> str:
        """Return why PostgreSQL has recently failed to execute statements, such as a full disk; empty if it has not."""
        is_failing = POSTGRESQL_WRITES.is_failing() or POSTGRESQL_READS.is_failing()
        return self._inability if is_failing else ""

    # Use

    async def use(self, work: Work[T], timeout: float | None = None) -> T:
        """Run ``work``, which may write, on a connection. It is never repeated.

        Args:
            work: Called with the connection.
            timeout: Seconds, instead of the time-out of this database.

        Raises:
            DatabaseAway: PostgreSQL is away, or ``work`` exceeded the time-out. A write may have been committed.
            DatabaseReadOnly: PostgreSQL accepts no writes.
        """
        return await self._bounded(work, write=True, timeout=timeout or self.timeout)

    async def read(self, work: Work[T]) -> T:
        """Run ``work``, which only reads, on a connection; repeat it on another one if the connection breaks.

        Raises:
            DatabaseAway: PostgreSQL is away, or ``work`` exceeded the time-out.
        """
        return await self._bounded(work, write=False, timeout=self.timeout)

    async def rows(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """Return all rows of a read."""
        return await self.read(lambda connection: fetch(connection, statement, parameters))

    async def row(self, statement: str, parameters: Parameters | None = None) -> Row | None:
        """Return the first row of a read, None if there is none."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run one write in its own transaction. Return the number of rows it changed."""
        return await self.use(lambda connection: _count(connection, statement, parameters))

    async def check(self) -> None:
        """Check that PostgreSQL accepts writes and has a schema that this version supports.

        Raises:
            DatabaseAway, DatabaseReadOnly: It cannot be used.
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

    async def _bounded(self, work: Work[T], *, write: bool, timeout: float) -> T:
        """Run a use with a time-out."""
        # When each attempt started to use a connection, by monotonic().
        started: list[float] = []
        task = asyncio.ensure_future(self._run(work, started, write=write))
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if done:
            return task.result()
        self._abandon(task)
        if self._fault is not None and not self._fault.reads:
            raise self._fault.error()
        # If other statements were answered meanwhile, only this one is slow.
        if started and started[-1] > self._last_answer:
            self._begin_outage(SILENT, started[-1])
        raise DatabaseAway(SILENT)

    def _abandon(self, task: asyncio.Future[Any]) -> None:
        """Cancel a use without waiting for its end, which a server that hangs would delay."""
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Future[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # so that asyncio does not log it as never retrieved

    async def _run(self, work: Work[T], started: list[float], *, write: bool) -> T:
        attempts = 1 if write else READ_ATTEMPTS
        while True:
            attempts -= 1
            try:
                return await self._attempt(work, started, write=write)
            except _ConnectionLost as error:
                if not attempts:
                    raise DatabaseAway(AWAY) from error.__cause__

    async def _attempt(self, work: Work[T], started: list[float], *, write: bool) -> T:
        while True:
            await self._wait_until_available(write=write)
            connecting = monotonic()
            try:
                async with self._pool.session() as session:
                    started.append(monotonic())
                    return await self._perform(session, work, write=write)
            except NotConnected as error:
                await self._handle_connection_failure(error.__cause__ or error, connecting)

    async def _wait_until_available(self, *, write: bool) -> None:
        """Wait while PostgreSQL is away.

        Raises:
            DatabaseAway: Waiting is pointless, or the outage has exceeded the time-out.
        """
        while fault := self._fault:
            if fault.reads and not write:
                return
            if not fault.waits or monotonic() - fault.since > self.timeout:
                raise fault.error()
            await self._fault_changed.wait()

    async def _handle_connection_failure(self, error: BaseException, started: float) -> None:
        """Begin an outage, unless other connections work: then PostgreSQL may have reached ``max_connections``."""
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
            await self._translate(session, error, started, write=write)
            raise
        self._note_answer(started)
        _statements(write=write).answered(started)
        return result

    async def _translate(self, session: Session, error: Error, started: float, *, write: bool) -> None:
        """Raise another exception for an error that is not caused by the statement itself; return if it is."""
        if session.connection.closed or isinstance(error, _SESSION_ENDED) or _class(error) == "08":
            await session.connection.close()
            await self._pool.discard()
            raise _ConnectionLost from error
        self._note_answer(started)
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

    def _note_answer(self, started: float) -> None:
        """Record an answer of PostgreSQL to an attempt that began at ``started``."""
        self._last_answer = monotonic()
        if self._fault is None:
            POSTGRESQL.answered(started)

    # Outages

    async def _connect(self) -> Session:
        """Open a connection for the pool.

        Raises:
            psycopg.Error: PostgreSQL is away or cannot be used.
        """
        started = monotonic()
        connection, facts = await sessions.connect(self._url, self._profile)
        if facts.read_only:
            self._begin_outage(READ_ONLY, started, waits=False, reads=True)
        else:
            self._note_answer(started)
        self._note_server(facts.server)
        return Session(connection, facts)

    def _note_server(self, server: str) -> None:
        is_other = self._server not in ("", server)
        self._server = server
        if is_other:
            self.on_server_change()

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
        """Record why PostgreSQL cannot be used, and start to probe it."""
        since = self._fault.since if self._fault else monotonic()
        self._fault = Fault(reason, since, waits, reads)
        POSTGRESQL.failed(detail or reason, started)
        self._wake_waiting()
        if self._probe is None or self._probe.done():
            # An empty context, so that its log records do not carry the id of the request that failed first.
            self._probe = asyncio.create_task(self._probe_until_usable(), name="database", context=Context())

    def _wake_waiting(self) -> None:
        self._fault_changed.set()
        self._fault_changed = asyncio.Event()

    async def _probe_until_usable(self) -> None:
        """Try to connect until PostgreSQL can be used. Older connections are then discarded."""
        pause = FIRST_PAUSE
        while self._fault is not None:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            await self._probe_once()

    async def _probe_once(self) -> None:
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
        self._note_answer(started)
        self._note_server(facts.server)
        self._wake_waiting()


def _statements(*, write: bool) -> OutageTracker:
    return POSTGRESQL_WRITES if write else POSTGRESQL_READS


def _class(error: Error) -> str:
    """Return the class of an SQLSTATE. Class 08 is that of connections; poolers use it for errors of their servers."""
    return (error.sqlstate or "")[:2]


async def fetch(connection: Connection, statement: str, parameters: Parameters | None = None) -> list[Row]:
    """Return all rows of one statement, for work inside :meth:`Database.use` and :meth:`Database.read`."""
    return await (await connection.execute(statement, parameters, binary=True)).fetchall()


async def _count(connection: Connection, statement: str, parameters: Parameters | None) -> int:
    return (await connection.execute(statement, parameters)).rowcount
