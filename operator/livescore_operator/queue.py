"""Work queue of LiveScores to reconcile: merges causes, and retries failures with back-off."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from livescore_operator.errors import NotLeading, ReconcileError
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)

Key = tuple[str, str]
"""Namespace and name of a LiveScore."""

Reconcile = Callable[[Key], Awaitable[float | None]]
"""Reconciles one LiveScore; returns the requeue delay in seconds, None to wait for an event."""

# Seconds in which causes merge: one change leads to a burst of events, such as several status updates.
MERGE_SECONDS = 0.1

# Bounds of the back-off in seconds.
FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 120.0


class Queue:
    """Level-triggered work queue: an entry means that something happened, not what."""

    def __init__(self) -> None:
        self._due: dict[Key, asyncio.TimerHandle] = {}
        self._ready: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._working: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self.known: set[Key] = set()

    def add(self, key: Key, after: float = MERGE_SECONDS) -> None:
        """Reconcile a LiveScore after a delay in seconds, or earlier if that was requested before."""
        self.known.add(key)
        loop = asyncio.get_running_loop()
        planned = self._due.get(key)
        if planned is not None:
            if planned.when() <= loop.time() + after:
                return
            planned.cancel()
        self._due[key] = loop.call_later(after, self._enqueue, key)

    def add_all(self) -> None:
        """Reconcile every known LiveScore."""
        for key in self.known:
            self.add(key)

    def add_namespace(self, namespace: str) -> None:
        """Reconcile every known LiveScore of a namespace."""
        for key in self.known:
            if key[0] == namespace:
                self.add(key)

    def stuck(self, seconds: float) -> list[str]:
        """Return the LiveScores with a reconcile that takes longer, as ``namespace/name``."""
        now = time.monotonic()
        return ["/".join(key) for key, started in self._working.items() if now - started > seconds]

    def forget(self, key: Key) -> None:
        """Forget a LiveScore that was deleted. A reconcile that is due already still takes place."""
        self.known.discard(key)
        self._failures.pop(key, None)

    def _enqueue(self, key: Key) -> None:
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put_nowait(key)
        metrics.QUEUED.set(len(self._waiting))

    async def work(self, reconcile: Reconcile, allowed: Callable[[], Awaitable[None]]) -> None:
        """Reconcile LiveScores one after another until cancelled. Several workers may run concurrently.

        Args:
            reconcile: Function that reconciles one LiveScore.
            allowed: Returns when this process may reconcile.
        """
        while True:
            key = await self._ready.get()
            await allowed()
            self._waiting.discard(key)
            metrics.QUEUED.set(len(self._waiting))
            self._working[key] = time.monotonic()
            try:
                await self._try(reconcile, key)
            finally:
                self._working.pop(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _try(self, reconcile: Reconcile, key: Key) -> None:
        with structlog.contextvars.bound_contextvars(namespace=key[0], name=key[1]):
            try:
                after = await reconcile(key)
            except NotLeading:
                # Kept in the queue: this process may lead again before any other one does.
                log.info("reconcile stopped, not the leader")
                self.add(key)
            except ReconcileError as error:
                self._retry(key)
                log.warning("reconcile failed, will retry", reason=error.reason, message=error.message)
            except Exception:
                self._retry(key)
                log.exception("reconcile failed unexpectedly, will retry")
            else:
                self._failures.pop(key, None)
                if after is not None and key in self.known:
                    self.add(key, after)

    def _retry(self, key: Key) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        bound = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16))
        self.add(key, random.uniform(bound / 2, bound))
