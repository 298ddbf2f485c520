"""Requests to the healer. Feeds, publisher and listener write them; the healer serves them."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from livescore.clock import Clock


@dataclass
class Requests:
    """Everything that was requested since the healer last looked.

    Attributes:
        gaps: Matches with missing events.
        is_audit: True to compare all feeds with PostgreSQL.
        is_catch_up: True to deliver everything that is committed now.
        waiters: Futures of callers that wait until these requests are served.
    """

    gaps: set[int] = field(default_factory=set)
    is_audit: bool = False
    is_catch_up: bool = False
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    def served(self) -> None:
        """Wake the callers that wait for these requests."""
        for waiter in self._unfinished():
            waiter.set_result(None)

    def failed(self, error: BaseException) -> None:
        """Raise ``error`` in the callers that wait for these requests."""
        for waiter in self._unfinished():
            if isinstance(error, asyncio.CancelledError):
                waiter.cancel()
            else:
                waiter.set_exception(error)

    def _unfinished(self) -> Iterable[asyncio.Future[None]]:
        return (waiter for waiter in self.waiters if not waiter.done())


class HealRequests:
    """Mailbox of the healer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._requests = Requests()
        self._pending = asyncio.Event()
        self._awaited = asyncio.Event()

    def report_gap(self, match_id: int) -> None:
        """Request the missing events of a match."""
        self._requests.gaps.add(match_id)
        self._pending.set()

    def request_audit(self) -> None:
        """Request the comparison of all feeds with PostgreSQL."""
        self._requests.is_audit = True
        self._pending.set()

    async def audit(self) -> None:
        """Request an audit and wait for its end.

        Raises:
            DatabaseAway: If the feeds cannot be read.
        """
        self.request_audit()
        await self._served()

    async def catch_up(self) -> None:
        """Wait until every event that is committed now was delivered to the subscribers of all matches.

        Raises:
            DatabaseAway: If the feeds cannot be read.
        """
        self._requests.is_catch_up = True
        await self._served()

    async def _served(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._requests.waiters.append(waiter)
        self._pending.set()
        self._awaited.set()
        await waiter

    async def wait(self, seconds: float) -> None:
        """Wait for a request, for at most ``seconds``."""
        await self._clock.wait(self._pending, seconds)

    async def wait_for_waiter(self, seconds: float) -> None:
        """Wait for a request whose caller waits for the result, for at most ``seconds``."""
        await self._clock.wait(self._awaited, seconds)

    def take(self) -> Requests:
        """Return all requests made so far and forget them."""
        requests, self._requests = self._requests, Requests()
        self._pending.clear()
        self._awaited.clear()
        return requests
