"""Planned stops: readiness first, then hints, then sockets in paced batches."""

import asyncio
import random
from collections.abc import Iterable

import structlog

from livescore.live.connections import SERVICE_RESTART, Connection
from livescore.live.messages import Reconnect
from livescore.live.node import Node

log = structlog.get_logger(__name__)

# Between two batches of closed sockets.
TICK_SECONDS = 0.05

# Sockets per second that are closed at least: a few need not wait for the whole time of a drain.
LEAST_PER_SECOND = 100


class Drain:
    """Empties one node without dropping anybody: who is closed was told before when to come back."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._running: asyncio.Task[None] | None = None
        # Load balancers have had their time to forget this node: newcomers are sent elsewhere.
        self.refusing = False

    def start(self) -> asyncio.Task[None]:
        """Begin to drain; once begun, the same task is given again."""
        self._node.draining = True
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="drain")
        return self._running

    def cancel(self) -> None:
        """The load came back: stay, and be ready again. Who was already closed stays closed."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
        self._node.draining = self.refusing = False

    def shed(self, count: int) -> int:
        """Begin to close ``count`` sockets that can resume; how many there are."""
        able = [socket for socket in self._node.sockets if socket.state.matches]
        chosen = random.sample(able, min(count, len(able)))
        self._node.spawn(self._close(chosen))
        return len(chosen)

    async def _run(self) -> None:
        node, settings = self._node, self._node.settings
        log.info("draining", connections=node.connections)
        if not self.refusing:
            await asyncio.sleep(settings.drain_grace_seconds)
        self.refusing = True
        while node.sockets:
            await self._close(list(node.sockets))
        for follower in list(node.followers):
            follower.close()
        log.info("drained")

    async def _close(self, sockets: list[Connection]) -> None:
        """Tell all, then close them over the drain time."""
        settings = self._node.settings
        random.shuffle(sockets)
        for socket in sockets:
            socket.send(
                Reconnect(retry_after_ms=int(random.uniform(0, settings.reconnect_spread_seconds) * 1000)).encode()
            )
        per_second = max(LEAST_PER_SECOND, len(sockets) / max(settings.drain_seconds, TICK_SECONDS))
        for batch in _batches(sockets, max(1, round(per_second * TICK_SECONDS))):
            for socket in batch:
                socket.close(SERVICE_RESTART)
            await asyncio.sleep(TICK_SECONDS)


def _batches(sockets: list[Connection], size: int) -> Iterable[list[Connection]]:
    return (sockets[at : at + size] for at in range(0, len(sockets), size))
