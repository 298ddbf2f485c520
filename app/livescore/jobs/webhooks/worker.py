"""The loops of webhooks in a worker: dispatch, claim, listen for hints, observe the backlog.

A publication on Redis says that an event was committed, and starts a dispatch within milliseconds. Nothing depends on
it: the loop also dispatches and claims at an interval, so the tables alone decide what is delivered.
"""

import asyncio
import time

import psycopg
import structlog

from livescore import outages
from livescore.broker import Broker, BrokerAway
from livescore.deployment import Deployment
from livescore.jobs.webhooks.deliveries import Deliveries
from livescore.jobs.webhooks.dispatcher import Dispatcher
from livescore.jobs.webhooks.sender import Sender
from livescore.scores import feed
from livescore.scores import webhook_statements as sql
from livescore.scores.database import Database, DatabaseAway
from livescore.scores.statements import ORIGIN
from livescore.security.destinations import Destinations
from livescore.settings import Settings
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# Seconds between two turns without a hint.
POLL_SECONDS = 1.0

# Shortest time between two turns: events of one moment are dispatched together.
BATCH_SECONDS = 0.02

# Seconds between two readings of the oldest undelivered event.
OBSERVE_SECONDS = 10.0

# Seconds between two attempts to subscribe.
RECONNECT_SECONDS = 0.25

# Seconds after which a subscription is opened again, since a restored database may have another deployment.
SUBSCRIPTION_SECONDS = 60.0


class WebhookWorker:
    """Delivers webhooks in this process. Any number of processes may do so at once."""

    def __init__(self, settings: Settings, database: Database, broker: Broker) -> None:
        self._settings = settings
        self._database = database
        self._broker = broker
        destinations = Destinations(settings.webhook_allowed_networks)
        self._sender = Sender(destinations, settings.webhook_timeout_seconds)
        self._dispatcher = Dispatcher(database)
        self._wake = asyncio.Event()
        self._hinted = False
        self._deliveries = Deliveries(
            database,
            self._sender,
            timeout=settings.webhook_timeout_seconds,
            retry_hours=settings.webhook_retry_hours,
            on_free=self._wake.set,
        )
        metrics.WEBHOOKS_IN_FLIGHT.set_function(lambda: self._deliveries.in_flight)

    def hint(self) -> None:
        """Dispatch and claim soon: an event was committed, or a job asks for it."""
        self._hinted = True
        self._wake.set()

    async def run(self) -> None:
        """Dispatch and claim until cancelled."""
        polled_at = float("-inf")
        while True:
            started = time.monotonic()
            is_poll = started - polled_at >= self._poll_seconds
            if is_poll:
                polled_at = started
            self._wake.clear()
            await self._turn(dispatch=is_poll or self._hinted)
            await asyncio.sleep(BATCH_SECONDS)
            await self._wait(polled_at + self._poll_seconds - time.monotonic())

    async def listen(self) -> None:
        """Receive hints until cancelled."""
        while True:
            if self._dispatcher.has_webhooks:
                try:
                    async with asyncio.timeout(SUBSCRIPTION_SECONDS):
                        await self._receive_hints()
                except (TimeoutError, BrokerAway, DatabaseAway, psycopg.Error) as error:
                    log.debug("subscription to hints ended", error=str(error))
            await asyncio.sleep(RECONNECT_SECONDS)

    async def observe(self) -> None:
        """Measure the backlog and close idle connections until cancelled."""
        while True:
            try:
                if self._dispatcher.has_webhooks:
                    row = await self._database.row(sql.OLDEST_UNDELIVERED)
                    metrics.WEBHOOK_OLDEST_SECONDS.set(row[0] if row and row[0] is not None else 0.0)
            except (DatabaseAway, psycopg.Error) as error:
                log.debug("webhooks not observed", error=str(error))
            await self._sender.release_idle()
            await asyncio.sleep(OBSERVE_SECONDS)

    async def drain(self, seconds: float) -> None:
        """Start no further delivery, wait for those in flight for at most so many seconds, and hand back the rest."""
        await self._deliveries.drain(seconds)
        await self._sender.close()

    @property
    def _poll_seconds(self) -> float:
        return POLL_SECONDS if outages.REDIS.up else min(POLL_SECONDS, self._settings.poll_interval_seconds)

    async def _wait(self, seconds: float) -> None:
        """Wait for a reason to turn, or for the next poll."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _turn(self, *, dispatch: bool) -> None:
        try:
            if dispatch:
                self._hinted = False
                await self._dispatcher.dispatch()
            if self._dispatcher.has_webhooks:
                await self._deliveries.claim()
        except DatabaseAway as error:
            log.debug("webhooks wait for PostgreSQL", error=str(error))
        except psycopg.Error:
            log.exception("webhooks could not be dispatched")

    async def _receive_hints(self) -> None:
        """Subscribe to all events, and use each as a hint."""
        ((deployment_id, _),) = await self._database.rows(ORIGIN)
        channel = Deployment(self._settings.redis_prefix, deployment_id).name(feed.EVERYTHING)
        async with self._broker.subscription() as subscription:
            await subscription.connect([channel])
            self.hint()  # events may have been published in between
            async for _ in subscription:
                self.hint()
