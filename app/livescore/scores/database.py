"""The way to PostgreSQL: one pool per process, every use bounded in time, one error when it is away."""

import asyncio
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from psycopg import AsyncConnection, InterfaceError, OperationalError
from psycopg_pool import AsyncConnectionPool, PoolTimeout

T = TypeVar("T")
Connection = AsyncConnection[tuple[Any, ...]]
Parameters = Mapping[str, Any]
Row = tuple[Any, ...]

# With reconnect_timeout this short the pool gives a broken place up at once and the next user asks for a new one;
# its own back-off doubles without bound and would find a restarted server minutes late.
RECONNECT_SECONDS = 0.5

# A read may meet this many connections that a restart of the server has broken before it says that it is away.
READ_ATTEMPTS = 3


class DatabaseAway(Exception):
    """PostgreSQL cannot be reached or did not answer in time (503)."""


async def _check(connection: Connection) -> None:
    """Refuse a pooled connection that the server has closed: an idle one has nothing to read."""
    readable = select.poll()  # select() refuses descriptors above 1023, and a node has thousands
    readable.register(connection.pgconn.socket, select.POLLIN)
    if readable.poll(0):
        await connection.close()  # libpq has not read the end yet, and the pool keeps what libpq believes in
        raise OperationalError("the server closed this connection")


class Database:
    """A pool of connections to one PostgreSQL.

    Args:
        url: ``postgresql://…``
        size: the most connections it holds.
        timeout: seconds that one use may take, the wait for a connection included.
    """

    def __init__(self, url: str, *, size: int, timeout: float) -> None:
        self.timeout = timeout
        self._late: set[asyncio.Task[Any]] = set()
        milliseconds = int(timeout * 1000)
        limits = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds} -c timezone=UTC"
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=size,
            timeout=timeout,
            reconnect_timeout=RECONNECT_SECONDS,
            check=_check,
            open=False,
            kwargs={
                "autocommit": True,
                "prepare_threshold": 1,
                "connect_timeout": max(2, int(timeout)),
                "options": limits,
                "application_name": "livescore",
            },
        )

    async def open(self) -> None:
        """Start the pool; PostgreSQL may still be away."""
        await self._pool.open()

    async def close(self) -> None:
        """Give all connections back."""
        await self._pool.close(timeout=2)

    async def use(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run ``work`` on a connection.

        Raises:
            DatabaseAway: when PostgreSQL is away or ``work`` took longer than the time-out. Whether a write was
                committed is then unknown.
        """
        task = asyncio.ensure_future(self._run(work))
        try:
            done, _ = await asyncio.wait({task}, timeout=self.timeout)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if not done:
            self._abandon(task)
            raise DatabaseAway("PostgreSQL did not answer in time")
        try:
            return task.result()
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            raise DatabaseAway("PostgreSQL is away") from error

    async def _run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            return await work(connection)

    def _abandon(self, task: asyncio.Task[Any]) -> None:
        """Cancelling a statement of a server that hangs takes long itself; nobody waits for it."""
        self._late.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()

    async def rows(self, statement: str, parameters: Parameters | None = None) -> list[Row]:
        """All rows of a read; repeated when the connection turns out to be broken."""
        for attempt in range(READ_ATTEMPTS):
            try:
                return await self.use(lambda connection: _rows(connection, statement, parameters))
            except DatabaseAway as error:
                broken = isinstance(error.__cause__, OperationalError) and not isinstance(error.__cause__, PoolTimeout)
                if not broken or attempt == READ_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def row(self, statement: str, parameters: Parameters | None = None) -> Row | None:
        """The first row of a read, if any."""
        rows = await self.rows(statement, parameters)
        return rows[0] if rows else None

    async def execute(self, statement: str, parameters: Parameters | None = None) -> int:
        """Run one write in its own transaction; how many rows it touched."""
        return await self.use(lambda connection: _count(connection, statement, parameters))


async def _rows(connection: Connection, statement: str, parameters: Parameters | None) -> list[Row]:
    return await (await connection.execute(statement, parameters)).fetchall()


async def _count(connection: Connection, statement: str, parameters: Parameters | None) -> int:
    return (await connection.execute(statement, parameters)).rowcount


async def fetch(connection: Connection, statement: str, parameters: Parameters | None = None) -> list[Row]:
    """All rows of one statement on this connection, for work inside :meth:`Database.use`."""
    return await _rows(connection, statement, parameters)


@asynccontextmanager
async def opened(url: str, *, size: int, timeout: float) -> AsyncIterator[Database]:
    """A database for the length of a block."""
    database = Database(url, size=size, timeout=timeout)
    await database.open()
    try:
        yield database
    finally:
        await database.close()
