"""Publishing of transitions, apart from making them: a slow Redis must not delay the next transition."""

import asyncio

from livescore import outages
from livescore.broker import Broker, BrokerAway
from livescore.deployment import Origin
from livescore.jobs.attempts import Attempts
from livescore.scores import feed
from livescore.scores.feed import Event

# Batches that wait while Redis is slow. The instances find dropped events in the feed.
CAPACITY = 100


class Publisher:
    """Publishes batches of events in the order of :meth:`put`. What Redis does not accept is dropped."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._attempts = Attempts(outages.REDIS)
        self._batches: asyncio.Queue[tuple[list[Event], Origin]] = asyncio.Queue()

    def put(self, events: list[Event], origin: Origin) -> None:
        """Queue events for publication. Never waits."""
        if self._batches.qsize() < CAPACITY:
            self._batches.put_nowait((events, origin))

    async def run(self) -> None:
        """Publish queued batches until cancelled."""
        while True:
            await self.send(*await self._batches.get())

    async def send(self, events: list[Event], origin: Origin) -> None:
        """Publish events now, or drop them while Redis is away."""
        self._attempts.start()
        try:
            await self._broker.publish(feed.publications(events, origin))
        except BrokerAway as error:
            self._attempts.failed(error)
        else:
            self._attempts.succeeded()
