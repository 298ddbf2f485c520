"""One operator process: Kopf's watches, the queue, the Lease, the resync, and a port for probes and metrics."""

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

# A loop that did not come round for so long will not come round any more.
STUCK_SECONDS = 60.0

# Between two signs of life of the event loop.
PULSE_SECONDS = 1.0


class Operator:
    """The parts of a process, wired."""

    def __init__(self, connected: cluster.Cluster, settings: Settings) -> None:
        self._settings = settings
        self.queue = Queue()
        self.leadership = Leadership(
            connected,
            settings.pod_namespace,
            settings.lease_name,
            settings.pod_name,
            settings.lease_seconds,
            on_gain=self.queue.add_all,
        )
        connected.may_write = lambda: self.leadership.leading
        self.reconciler = Reconciler(
            connected,
            settings.pod_namespace,
            settings.pod_name,
            on_gone=self.queue.forget,
            lease_name=settings.lease_name,
            lease_seconds=settings.lease_seconds,
        )
        self.adapter = self._metrics_adapter(connected) if settings.metrics_adapter else None
        self.preflight = Preflight(connected, settings.namespaces, settings.pod_namespace, settings.lease_name)
        self.watching = asyncio.Event()
        self._pulse = time.monotonic()

    def _metrics_adapter(self, connected: cluster.Cluster) -> "MetricsAdapter":
        # Only here, since its cryptography holds 9 MB that nobody else needs.
        from livescore_operator.metrics_api.server import MetricsAdapter

        return MetricsAdapter(connected, self._settings, self.leadership)

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, then give the Lease back."""
        stop = asyncio.Event()
        _heed(stop)
        async with self._served(), self.adapter.listener() if self.adapter else nullcontext():
            lead, *others = (asyncio.ensure_future(part) for part in (self.leadership.run(), *self._parts(stop)))
            done, _ = await asyncio.wait([lead, *others], return_when=asyncio.FIRST_COMPLETED)
            stop.set()
            # The Lease last: Kopf cancels what it did not begin, a request that gives it back, too.
            await _end(others)
            await _end([lead])
            for task in done:
                task.result()

    def _parts(self, stop: asyncio.Event) -> list[Awaitable[object]]:
        return [
            self._told(stop),
            self._watch(stop),
            self._resync(),
            self._count(),
            self._beat(),
            *([self.adapter.registration.run()] if self.adapter else []),
            *(self.queue.work(self._reconcile, self.leadership.wait) for _ in range(self._settings.workers)),
        ]

    async def _told(self, stop: asyncio.Event) -> None:
        """Wait for a signal. Kopf replaces the handlers as it starts, and would wait 5 s for tasks of others."""
        stopped, watching = (asyncio.ensure_future(event.wait()) for event in (stop, self.watching))
        await asyncio.wait([stopped, watching], return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        _heed(stop)
        await stopped

    async def _watch(self, stop: asyncio.Event) -> None:
        await self.preflight.run()
        registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
        handlers.register(registry, self.queue)
        handlers.configure(settings)
        await kopf.operator(
            registry=registry,
            settings=settings,
            # Of the same name as in the Lease; Kopf would ask for the user's, whom an image need not know.
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
        """Look at everything now and then, whatever was or was not heard of it."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            self.queue.add_all()

    async def _count(self) -> None:
        """Reconcile those whose number of connections moved; the pods are asked, not the API server."""
        while True:
            # Not in step with other operators, nor with whatever else looks every so often.
            await asyncio.sleep(self._settings.connections_seconds * random.uniform(0.9, 1.1))
            for key in await self.reconciler.autoscaler.pod_client.changed():
                self.queue.add(key)

    async def _beat(self) -> None:
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
        """Return why this process is not ready; nothing of it comes back once it was resolved."""
        found = []
        if self.preflight.problem:
            found.append(self.preflight.problem)
        elif not self.watching.is_set():
            found.append("the watches have not started yet")
        if self.leadership.problem:
            lease = f"{self._settings.pod_namespace}/{self._settings.lease_name}"
            found.append(f"Lease {lease} was not read: {self.leadership.problem}")
        if self.adapter is not None and not self.adapter.tls.is_ready:
            found.append(f"the metrics adapter cannot serve yet: {self.adapter.registration.problem}")
        return found

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def _end(tasks: Collection[asyncio.Future[object]]) -> None:
    """Cancel those that still run, and wait until all have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _heed(stop: asyncio.Event) -> None:
    """Let SIGTERM and SIGINT set ``stop``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def run(settings: Settings) -> None:
    """Run one operator process until it is told to stop.

    Raises:
        AddressError: when a port cannot be used.
        NoCluster: when there is no API server to talk to.
    """
    async with cluster.connect(settings.request_timeout_seconds) as connected:
        await Operator(connected, settings).run()
