"""One operator process: Kopf's watches, the queue, the Lease, the resync, and the port of probes and metrics."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Collection
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import kopf
import structlog
from aiohttp import web

from livescore_operator import cluster, handlers
from livescore_operator.cache import Cache
from livescore_operator.leadership import Leadership
from livescore_operator.listener import Listener
from livescore_operator.preflight import Preflight
from livescore_operator.queue import Key, Queue
from livescore_operator.reconciler import Reconciler
from livescore_operator.settings import Settings
from livescore_operator.telemetry import metrics

if TYPE_CHECKING:
    from livescore_operator.metrics_api.server import MetricsAdapter

log = structlog.get_logger(__name__)

# Seconds without progress after which the event loop, or a reconcile, counts as stuck.
STUCK_SECONDS = 60.0

# Interval in seconds at which the event loop records that it runs.
PULSE_SECONDS = 1.0


class Operator:
    """The services of one process."""

    def __init__(self, connected: cluster.Cluster, settings: Settings) -> None:
        self._settings = settings
        self.queue = Queue()
        self._cache = Cache()
        self.leadership = Leadership(
            connected,
            settings.pod_namespace,
            settings.lease_name,
            settings.pod_name,
            settings.lease_seconds,
            on_gain=self._start_leading,
        )
        connected.may_write = lambda: self.leadership.leading
        self.reconciler = Reconciler(
            connected,
            settings.pod_namespace,
            settings.pod_name,
            on_gone=self.queue.forget,
            lease_name=settings.lease_name,
            lease_seconds=settings.lease_seconds,
            cache=self._cache,
        )
        self.adapter = self._metrics_adapter(connected) if settings.metrics_adapter else None
        self.preflight = Preflight(connected, settings.namespaces, settings.pod_namespace, settings.lease_name)
        self.watching = asyncio.Event()
        self._pulse = time.monotonic()

    def _metrics_adapter(self, connected: cluster.Cluster) -> "MetricsAdapter":
        # Imported here: cryptography takes 9 MB of memory, and only the metrics API needs it.
        from livescore_operator.metrics_api.server import MetricsAdapter

        return MetricsAdapter(connected, self._settings, self.leadership)

    def _start_leading(self) -> None:
        """Reconcile everything, and read it from the API server: another process wrote it meanwhile."""
        self.reconciler.observer.invalidate()
        self.queue.add_all()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then release the Lease."""
        stop = asyncio.Event()
        _handle_signals(stop)
        async with self._served(), self.adapter.listener() if self.adapter else nullcontext():
            lead, *others = (asyncio.ensure_future(part) for part in (self.leadership.run(), *self._parts(stop)))
            done, _ = await asyncio.wait([lead, *others], return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            # The Lease last: Kopf cancels all tasks that it did not create, and one of them might release the Lease.
            await _end(others)
            await _end([lead])
            for task in done:
                task.result()

    def _parts(self, stop: asyncio.Event) -> list[Awaitable[object]]:
        return [
            self._wait_for_signal(stop),
            self._watch(stop),
            self._resync(),
            self._follow_connections(),
            self._pulse_forever(),
            *([self.adapter.registration.run()] if self.adapter else []),
            *(self.queue.work(self._reconcile, self.leadership.wait) for _ in range(self._settings.workers)),
        ]

    async def _wait_for_signal(self, stop: asyncio.Event) -> None:
        """Wait for a signal.

        Kopf replaces our signal handlers on start, and would wait 5 s for tasks that it did not create: install ours
        again.
        """
        stopped, watching = (asyncio.ensure_future(event.wait()) for event in (stop, self.watching))
        await asyncio.wait([stopped, watching], return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        _handle_signals(stop)
        await stopped

    async def _watch(self, stop: asyncio.Event) -> None:
        await self.preflight.run()
        registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
        handlers.register(registry, self.queue, self._cache)
        handlers.configure(settings)
        await kopf.operator(
            registry=registry,
            settings=settings,
            # The name in the Lease. Kopf would derive a name from the user, which may be unknown in the image.
            identity=cast("Any", self._settings.pod_name),
            standalone=True,
            clusterwide=not self._settings.namespaces,
            namespaces=self._settings.namespaces,
            ready_flag=self.watching,
            stop_flag=stop,
        )

    async def _reconcile(self, key: Key) -> float | None:
        started = time.perf_counter()
        result = "error"
        try:
            after = await self.reconciler.reconcile(key)
            result = "ok"
        finally:
            metrics.RECONCILES.labels(result).inc()
            metrics.SECONDS.observe(time.perf_counter() - started)
        return after

    async def _resync(self) -> None:
        """Reconcile everything at intervals, in case events were missed."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            if self.leadership.leading:
                await self.reconciler.observer.refresh(self._settings.namespaces)
            self.queue.add_all()

    async def _follow_connections(self) -> None:
        """Reconcile LiveScores when their number of connections changes. Reads the pods, not the API server."""
        while True:
            # Jitter keeps several operators, and other periodic jobs, out of step.
            await asyncio.sleep(self._settings.connections_seconds * random.uniform(0.9, 1.1))
            for key in await self.reconciler.autoscaler.pod_client.changed():
                self.queue.add(key)

    async def _pulse_forever(self) -> None:
        while True:
            self._pulse = time.monotonic()
            await asyncio.sleep(PULSE_SECONDS)

    # Probes and metrics

    def _served(self) -> Listener:
        application = web.Application()
        application.router.add_get("/healthz", self._live)
        application.router.add_get("/readyz", self._ready)
        application.router.add_get("/metrics", self._metrics)
        return Listener(application, self._settings.host, self._settings.port, "probes and metrics", "PORT")

    async def _live(self, _: web.Request) -> web.Response:
        stuck = self.queue.stuck(STUCK_SECONDS)
        alive = time.monotonic() - self._pulse < STUCK_SECONDS and not stuck
        return web.json_response({"live": alive, "stuck": stuck}, status=200 if alive else 503)

    async def _ready(self, _: web.Request) -> web.Response:
        problems = self._problems()
        state = {"ready": not problems, "leader": self.leadership.leading, "livescores": len(self.queue.known)}
        body = {**state, "problems": problems} if problems else state
        return web.json_response(body, status=503 if problems else 200)

    def _problems(self) -> list[str]:
        """Return why this process is not ready. A reason does not return once it is resolved."""
        found = []
        if self.preflight.problem:
            found.append(self.preflight.problem)
        elif not self.watching.is_set():
            found.append("watches not started yet")
        if self.leadership.problem:
            lease = f"{self._settings.pod_namespace}/{self._settings.lease_name}"
            found.append(f"Lease {lease} could not be read: {self.leadership.problem}")
        if self.adapter is not None and not self.adapter.tls.is_ready:
            found.append(f"the metrics adapter cannot serve yet: {self.adapter.registration.problem}")
        return found

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _end(tasks: Collection[asyncio.Future[object]]) -> None:
    """Cancel tasks, and wait until all of them have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _handle_signals(stop: asyncio.Event) -> None:
    """Set ``stop`` on SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def run(settings: Settings) -> None:
    """Run one operator process until it receives a signal.

    Raises:
        AddressError: Raised if a port cannot be opened.
        NoCluster: Raised if no API server is configured.
    """
    async with cluster.connect(settings.request_timeout_seconds) as connected:
        await Operator(connected, settings).run()
