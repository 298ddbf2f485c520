"""The interface of a feed: numbered events in order, and the subscribers that receive them."""

import enum
from abc import ABC, abstractmethod
from typing import Protocol

from livescore.live.fan_out import Audience, FanOut
from livescore.live.queued_subscriber import QueuedSubscriber
from livescore.scores.feed import Event

# Seconds that a feed without subscribers is kept, so that clients that reconnect find its last events in memory.
LINGER_SECONDS = 5.0


class FeedState(enum.Enum):
    """Life of a feed in this process."""

    OPENING = enum.auto()
    """Subscribed to the Redis channel; the last event in PostgreSQL is being read. Nothing is delivered yet."""
    LIVE = enum.auto()
    """Delivers events to subscribers."""
    LINGERING = enum.auto()
    """Follows the events without subscribers, for those that come back soon."""
    CLOSED = enum.auto()
    """Released, or not opened yet; knows nothing of the events."""


class FeedSocket(Protocol):
    """A WebSocket as feeds use it."""

    @property
    def open(self) -> bool:
        """Return True while messages reach the client."""

    def write(self, data: bytes) -> None:
        """Write ready frames."""

    def send(self, message: bytes) -> None:
        """Send one JSON message."""

    def close(self, code: int) -> None:
        """Close the connection with a close code."""


class Feed(ABC):
    """Numbered events in order, and the subscribers that receive them.

    Each kind of feed has its own numbers, and only the feed itself changes them. An event is delivered when its number
    is the next one: nothing is delivered twice, and a missing number is noticed.
    """

    __slots__ = ("_audience", "_fan_out", "_queues")

    def __init__(self, fan_out: FanOut) -> None:
        self._fan_out = fan_out
        self._audience = Audience[FeedSocket]()
        self._queues: set[QueuedSubscriber] = set()

    @abstractmethod
    def accept(self, event: Event) -> bool:
        """Deliver an event if it is the next one; report a gap if it is a later one.

        Returns:
            True if the event was delivered.
        """

    def join(self, socket: FeedSocket) -> None:
        """Add a socket; it receives the events that are delivered from now on."""
        self._audience.join(socket)

    def leave(self, socket: FeedSocket) -> None:
        """Remove a socket; it receives nothing more, not even frames that wait for the next write."""
        self._audience.leave(socket)

    def flush(self, socket: FeedSocket) -> None:
        """Write to a member what waits for the next write, so that the caller can send something after it."""
        self._audience.flush(socket)

    def add_queue(self, queue: QueuedSubscriber) -> None:
        """Add a stream or long poll; it receives the events that are delivered from now on."""
        self._queues.add(queue)

    def remove_queue(self, queue: QueuedSubscriber) -> None:
        """Remove a stream or long poll. Idempotent."""
        self._queues.discard(queue)

    @property
    def socket_count(self) -> int:
        """Number of subscribed sockets."""
        return len(self._audience)

    @property
    def _has_subscribers(self) -> bool:
        return bool(self._queues or len(self._audience))

    def _members(self) -> list[FeedSocket]:
        """Return the subscribed sockets."""
        return list(self._audience)

    def _deliver(self, event: Event) -> None:
        for queue in self._queues:
            queue.put(event)
        self._fan_out.send(self._audience, event.message)
