"""What a WebSocket is to the rest of the program, whichever server carries it."""

from collections import deque
from time import monotonic
from typing import Protocol

from livescore.live.hub import Group
from livescore.security.keyring import Watch

# The close codes that we send, by RFC 6455 and its registry.
GOING_AWAY = 1001
INVALID_DATA = 1007
POLICY_VIOLATION = 1008
TOO_BIG = 1009
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013


class Connection(Protocol):
    """One open WebSocket."""

    state: "State"

    @property
    def open(self) -> bool:
        """Whether messages still reach the client."""

    def send(self, message: bytes) -> None:
        """Send one JSON message; nothing happens once it is closed."""

    def close(self, code: int) -> None:
        """Close with this code; nothing happens the second time."""

    def join(self, group: Group) -> None:
        """Hear the events of a group from now on."""

    def leave(self, group: Group) -> None:
        """Hear them no more, not even those that wait for the next write."""

    def flush(self, group: Group) -> None:
        """Send now what a group has been told and waits for the next write."""

    async def drained(self) -> None:
        """Wait until the client has taken most of what was sent."""


class State:
    """What the conversation on one socket has come to. Empty members are None: thousands of sockets are idle."""

    __slots__ = ("address", "announced", "follows_all", "inbox", "matches", "stamp", "tokens", "watch")

    def __init__(self, address: str, burst: int) -> None:
        self.address = address
        self.follows_all = False
        self.matches: set[int] | None = None
        # Messages, each with the last match that everybody had been told of when it came; then that of the current one.
        self.inbox: deque[tuple[bytes, int | None]] | None = None
        self.announced: int | None = None
        # Of the key that opened the socket, where one was needed.
        self.watch: Watch | None = None
        self.tokens = float(burst)
        self.stamp = monotonic()

    def take_token(self, burst: int, per_second: float) -> bool:
        """Take one token of the inbound bucket, if there is one."""
        now = monotonic()
        self.tokens = min(burst, self.tokens + (now - self.stamp) * per_second)
        self.stamp = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def charge(self, tokens: float, burst: int) -> None:
        """Take tokens for work that was larger than its message; the debt is at most one full bucket."""
        self.tokens = max(self.tokens - tokens, -float(burst))
