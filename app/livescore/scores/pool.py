"""A pool of connections that are opened by the requests that need them.

psycopg_pool opens connections in the background and retries with a back-off that starts at one second and cannot be
configured: after a restart of PostgreSQL, requests wait for it without learning the reason. Here a request that finds
no usable connection opens a new one and gets the error if that fails.
"""

import asyncio
import select
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from livescore.scores.sessions import Facts

# Seconds without use after which a connection is closed.
IDLE_SECONDS = 600.0

# Seconds after which a connection is replaced: server processes grow with the plans that they cache, and the host name
# may resolve to another server by then.
LIFETIME_SECONDS = 3600.0


class NotConnected(Exception):
    """No connection could be opened, so nothing was executed. The cause is the reason."""


@dataclass(slots=True, eq=False)
class Session:
    """An open connection of the pool."""

    connection: AsyncConnection[tuple[Any, ...]]
    facts: Facts
    generation: int = 0
    opened: float = field(default_factory=monotonic)
    used: float = 0.0

    @property
    def broken(self) -> bool:
        """Return True if the server has closed the connection: an idle connection has no data to read otherwise."""
        if self.connection.closed:
            return True
        readable = select.poll()  # select() does not support descriptors above 1023, and an instance has thousands
        readable.register(self.connection.pgconn.socket, select.POLLIN)
        return bool(readable.poll(0))


class Pool:
    """At most ``size`` connections. The one that was used last is used next.

    Attributes:
        in_use: Number of connections in use.

    Args:
        connect: Opens a connection.
        size: Connections in use at the same time. Further requests wait in order.
    """

    def __init__(self, connect: Callable[[], Awaitable[Session]], size: int) -> None:
        self._connect = connect
        self._places = asyncio.Semaphore(size)
        self._idle: deque[Session] = deque()
        self._generation = 0
        self._closed = False
        self.in_use = 0

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Lend an open connection for the duration of a block.

        Raises:
            NotConnected: No connection is idle and none can be opened.
        """
        async with self._places:
            session = await self._take_idle() or await self._open()
            self.in_use += 1
            try:
                yield session
            finally:
                self.in_use -= 1
                await self._give_back(session)

    async def admit(self, session: Session) -> None:
        """Add a connection that was opened elsewhere."""
        session.generation = self._generation
        await self._give_back(session)

    async def _take_idle(self) -> Session | None:
        """Return an idle connection that works, if there is one.

        If the server has closed one connection, the other idle ones are discarded too: they are probably as old.
        """
        if not self._idle:
            return None
        session = self._idle.pop()
        if not session.broken:
            return session
        await session.connection.close()
        await self.discard()
        return None

    async def _give_back(self, session: Session) -> None:
        """Keep a connection for the next request unless it is unusable, too old, or was discarded in the meantime."""
        now = monotonic()
        session.used = now
        is_usable = session.connection.pgconn.transaction_status == TransactionStatus.IDLE
        is_current = session.generation == self._generation
        is_young = now - session.opened < LIFETIME_SECONDS
        if is_usable and is_current and is_young and not self._closed:
            self._idle.append(session)
        else:
            await session.connection.close()
        while self._idle and now - self._idle[0].used > IDLE_SECONDS:
            await self._idle.popleft().connection.close()

    async def discard(self) -> None:
        """Close all idle connections now, and those in use when they are returned."""
        self._generation += 1
        idle, self._idle = self._idle, deque()
        for session in idle:
            await session.connection.close()

    async def close(self) -> None:
        """Close all connections, those in use when they are returned."""
        self._closed = True
        await self.discard()

    async def _open(self) -> Session:
        generation = self._generation
        try:
            session = await self._connect()
        except Exception as error:
            raise NotConnected from error
        session.generation = generation
        return session
