"""Receives events over Redis and hands them to the feeds."""

import asyncio
from time import time

import structlog

from livescore import outages
from livescore.broker import Broker, BrokerAway, Subscription
from livescore.clock import Clock
from livescore.live.feeds import Feeds
from livescore.live.heal_requests import HealRequests
from livescore.live.identity import Identity
from livescore.scores.feed import unpack
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# Seconds between two attempts to reach Redis; short, because PostgreSQL is polled meanwhile.
RECONNECT_SECONDS = 0.25


class Listener:
    """Holds a subscription to the channels of the feeds, and opens a new one whenever it breaks.

    Args:
        foreign_audit_seconds: Shortest time between two audits caused by events of another epoch.

    Attributes:
        is_subscribed: True while a subscription holds; events arrive without being polled for.
        redis_answers: True if Redis answered last, also before there is a subscription.
    """

    def __init__(
        self,
        broker: Broker,
        identity: Identity,
        feeds: Feeds,
        requests: HealRequests,
        clock: Clock,
        foreign_audit_seconds: float,
    ) -> None:
        self.is_subscribed = False
        self.redis_answers = False
        self._broker = broker
        self._identity = identity
        self._feeds = feeds
        self._requests = requests
        self._clock = clock
        self._foreign_audit_seconds = foreign_audit_seconds
        self._foreign_audit: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._wait_for_identity()
        while True:
            started = self._clock.now()
            try:
                await self._listen()
            except BrokerAway as error:
                outages.REDIS.failed(error, self._clock.now() if self.is_subscribed else started)
            finally:
                self._set_subscribed(False)
            await self._clock.sleep(RECONNECT_SECONDS)

    async def _wait_for_identity(self) -> None:
        """Wait until PostgreSQL was read, and ask Redis meanwhile whether it answers, for the probes."""
        while self._identity.deployment is None:
            started = self._clock.now()
            self.redis_answers = await self._broker.ping()
            if self.redis_answers:
                outages.REDIS.answered(started)
            else:
                outages.REDIS.failed("no answer to PING", started)
            await self._clock.wait(self._identity.is_known, RECONNECT_SECONDS)

    async def _listen(self) -> None:
        """Listen until the connection breaks, or until the database belongs to another deployment.

        Raises:
            BrokerAway: If Redis is away.
        """
        async with self._broker.subscription() as subscription:
            deployment, started = self._identity.deployment, self._clock.now()
            try:
                await self._feeds.channels.attach(subscription)
                outages.REDIS.answered(started)
                if self._identity.deployment != deployment:
                    return  # the channels have other names since
                self._set_subscribed(True)
                await self._receive(subscription)
            finally:
                self._feeds.channels.detach()

    async def _receive(self, subscription: Subscription) -> None:
        all_matches = self._feeds.all_matches
        async for envelope in subscription:
            try:
                stamp, event = unpack(envelope)
            except ValueError:
                metrics.foreign_message("malformed")
                log.debug("dropped malformed message")
                continue
            if not self._identity.is_own(stamp):
                self._drop_foreign(stamp)
                continue
            log.debug("relayed", match_id=event.match_id, seq=event.seq, request_id=event.request_id)
            metrics.RELAY_LAG_SECONDS.observe(max(0.0, time() - event.created))
            self._feeds.accept(event)
            if all_matches.is_position_old:
                self._requests.request_audit()

    def _drop_foreign(self, stamp: bytes) -> None:
        """Count an event of another database.

        An event of another epoch of our deployment comes from a copy of the database, or one side has not noticed a
        restore yet. One audit per ``foreign_audit_seconds`` finds out.
        """
        is_own_deployment = self._identity.is_own_deployment(stamp)
        metrics.foreign_message("epoch" if is_own_deployment else "deployment")
        log.debug("dropped event of another database", same_deployment=is_own_deployment)
        loop = asyncio.get_running_loop()
        if is_own_deployment and (self._foreign_audit is None or self._foreign_audit.when() <= loop.time()):
            self._foreign_audit = loop.call_later(self._foreign_audit_seconds, self._requests.request_audit)

    def _set_subscribed(self, is_subscribed: bool) -> None:
        if is_subscribed != self.is_subscribed:
            self._requests.request_audit()  # events may have been published in between
        self.is_subscribed = self.redis_answers = is_subscribed
