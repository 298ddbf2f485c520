"""Metrics and probes of worker and scheduler.

A thread of its own serves them, so that the liveness probe is answered while the event loop hangs, and importing the
API's HTTP server does not double the time that a killed worker needs to be back.
"""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import cast

import structlog

from livescore import addresses
from livescore.http_errors import Forbidden, HttpError, NotFound
from livescore.jobs.backlog import Backlog
from livescore.security.cross_site import ManagementGuard
from livescore.settings import Settings
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

Check = Callable[[], str | None]
"""Returns what is wrong, or None."""

Answer = tuple[int, str, bytes]
"""Status, media type and body."""


class _Handler(BaseHTTPRequestHandler):
    """Serves GET requests from the routes of its server."""

    timeout = 5  # seconds that a client may be silent

    def do_GET(self) -> None:
        """Answer one request."""
        server = cast(_Server, self.server)
        reason = server.guard.refusal(self.command, self.headers.items())
        if reason is None:
            route = server.routes.get(self.path.partition("?")[0], _not_found)
            status, media_type, body = route()
        else:
            status, media_type, body = _error(Forbidden(reason))
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name of the base class
        """Do not log: probes come every few seconds."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, bound: socket.socket, routes: dict[str, Callable[[], Answer]], guard: ManagementGuard) -> None:
        self.routes = routes
        self.guard = guard
        super().__init__(bound.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.server_activate()


def _not_found() -> Answer:
    return _error(NotFound())


def _error(error: HttpError) -> Answer:
    return error.status, "application/json", error.body()


def _metrics(backlog: Backlog) -> Answer:
    backlog.update_metrics()
    body, media_type = metrics.render()
    return 200, media_type, body


def _jobs(backlog: Backlog) -> Answer:
    try:
        return 200, "application/json", backlog.body()
    except HttpError as error:
        return _error(error)


def _probe(name: str, check: Check) -> Callable[[], Answer]:
    def answer() -> Answer:
        fault = check()
        body: dict[str, object] = {name: True} if fault is None else {name: False, "reason": fault}
        return 200 if fault is None else 503, "application/json", json.dumps(body).encode()

    return answer


@contextmanager
def serve(settings: Settings, backlog: Backlog, *, live: Check, ready: Check) -> Iterator[None]:
    """Serve ``/metrics``, ``/jobs``, ``/health/live`` and ``/health/ready`` for the length of a block.

    A port that is taken is logged and does not stop the process: transitions matter more than their metrics.
    """
    host, port = settings.management_host, settings.management_port
    routes: dict[str, Callable[[], Answer]] = {
        "/metrics": partial(_metrics, backlog),
        "/jobs": partial(_jobs, backlog),
        "/health/live": _probe("live", live),
        "/health/ready": _probe("ready", ready),
    }
    try:
        sockets = addresses.bind(host, port)
        servers = [_Server(bound, routes, ManagementGuard(settings)) for bound in sockets]
    except OSError as error:
        log.error("the management port cannot be used", host=host, port=port, error=str(error))
        yield
        return
    for server in servers:
        Thread(target=server.serve_forever, args=(0.1,), name="management", daemon=True).start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
