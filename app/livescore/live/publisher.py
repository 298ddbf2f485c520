"""Publishes the events that this process commits."""

import asyncio
from collections import deque
from collections.abc import Iterable

from livescore.broker import Broker, BrokerAway
from livescore.live.heal_requests import HealRequests
from livescore.live.identity import Identity
from livescore.scores.feed import Event, publications

# Most events that wait for Redis. Instances find those that are dropped beyond it in PostgreSQL.
MAX_WAITING = 10_000


class Publisher:
    """Queue of committed events, off the path of the requests that wrote them."""

    def __init__(self, broker: Broker, identity: Identity, requests: HealRequests) -> None:
        self._broker = broker
        self._identity = identity
        self._requests = requests
        self._waiting: deque[Event] = deque(maxlen=MAX_WAITING)
        self._has_waiting = asyncio.Event()

    def publish(self, events: Iterable[Event]) -> None:
        """Queue committed events for all instances. Never waits and never fails."""
        self._waiting.extend(events)
        self._has_waiting.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._has_waiting.wait()
            await self._identity.is_known.wait()
            self._has_waiting.clear()
            await self.flush()

    async def flush(self) -> None:
        """Publish everything that waits, unless the deployment is still unknown."""
        while self._waiting and self._identity.is_known.is_set():
            batch = list(self._waiting)
            self._waiting.clear()
            try:
                await self._broker.publish(publications(batch, self._identity.origin))
            except BrokerAway:
                # Other instances poll PostgreSQL while Redis is away; this one knows already what to look for.
                for event in batch:
                    self._requests.report_gap(event.match_id)
