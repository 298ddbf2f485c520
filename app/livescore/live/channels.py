"""The Redis channels that this process listens to."""

from contextlib import suppress

from livescore.broker import BrokerAway, Subscription
from livescore.live.identity import Identity
from livescore.scores.feed import EVERYBODY


class Channels:
    """Channels that the feeds need, and the subscription that holds them while Redis is there.

    Without Redis the methods succeed at once: the healer polls PostgreSQL meanwhile, and the next subscription takes
    over all channels.
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._wanted: dict[str, None] = {EVERYBODY: None}
        self._subscription: Subscription | None = None

    async def subscribe(self, channel: str) -> None:
        """Subscribe to a channel and wait until Redis confirms it."""
        self._wanted[channel] = None
        await self._subscribe(channel)

    async def _subscribe(self, channel: str) -> None:
        if self._subscription is not None:
            with suppress(BrokerAway):
                await self._subscription.add(self._identity.redis_name(channel))

    async def unsubscribe(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        self._wanted.pop(channel, None)
        if self._subscription is not None:
            with suppress(BrokerAway):
                await self._subscription.remove(self._identity.redis_name(channel))
        if channel in self._wanted:  # it was requested again meanwhile
            await self._subscribe(channel)

    async def retry(self) -> None:
        """Subscribe again to channels that Redis did not confirm in time, until the first one fails."""
        for channel in list(self._wanted):
            if not self._is_confirmed(channel):
                await self._subscribe(channel)
                if not self._is_confirmed(channel):
                    return

    def _is_confirmed(self, channel: str) -> bool:
        return self._subscription is not None and self._subscription.holds(self._identity.redis_name(channel))

    async def attach(self, subscription: Subscription) -> None:
        """Subscribe to all channels over a new connection and use it from now on.

        Raises:
            BrokerAway: If Redis does not confirm in time.
        """
        await subscription.connect(self._names())
        self._subscription = subscription
        # Channels that were requested while the first ones were being confirmed.
        await subscription.connect(self._names())

    def detach(self) -> None:
        """Forget a connection that was lost."""
        self._subscription = None

    def abandon(self, reason: str) -> None:
        """End the connection, so that the listener opens another one under the present names."""
        if self._subscription is not None:
            self._subscription.leave(reason)

    def _names(self) -> list[str]:
        return [self._identity.redis_name(channel) for channel in self._wanted]
