"""One WebSocket as the rest of the program sees it, and the state of its conversation."""

from collections import deque
from time import monotonic
from typing import Protocol

from livescore.live.feed import FeedSocket
from livescore.security.keyring import Watch

# Close codes that the server sends, from RFC 6455 and its registry.
GOING_AWAY = 1001
ABNORMAL_CLOSURE = 1006  # never sent: a connection that ended without a close frame
INVALID_DATA = 1007
POLICY_VIOLATION = 1008
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013


class Connection(FeedSocket, Protocol):
    """One open WebSocket."""

    state: "ConnectionState"

    async def drained(self) -> None:
        """Wait until most of what was sent has left the process."""

    def beat(self) -> None:
        """Send a ping, or drop the peer if it has not answered the last one."""


class ConnectionState:
    """State of the conversation on one socket.

    Thousands of sockets are idle, so members that an idle socket does not need are None.

    Attributes:
        address: Address of the client.
        matches: Matches with a single subscription.
        follows_all: True if the socket is subscribed to all matches.
        inbox: Messages that wait for an answer, the current one first. Each is paired with the id of the last match
            that had been announced when it arrived.
        announced: That id, for the current message.
        watch: The API key that opened the socket, if one was needed.
    """

    __slots__ = ("_stamp", "_tokens", "address", "announced", "follows_all", "inbox", "matches", "watch")

    def __init__(self, address: str, burst: int) -> None:
        self.address = address
        self.follows_all = False
        self.matches: set[int] | None = None
        self.inbox: deque[tuple[bytes, int | None]] | None = None
        self.announced: int | None = None
        self.watch: Watch | None = None
        # Token bucket of inbound messages.
        self._tokens = float(burst)
        self._stamp = monotonic()

    def take_token(self, burst: int, per_second: float) -> bool:
        """Take one token from the bucket of inbound messages. Returns False if it is empty."""
        now = monotonic()
        self._tokens = min(burst, self._tokens + (now - self._stamp) * per_second)
        self._stamp = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def charge(self, tokens: float, burst: int) -> None:
        """Take tokens for work that was larger than its message. The debt is at most one full bucket."""
        self._tokens = max(self._tokens - tokens, -float(burst))
