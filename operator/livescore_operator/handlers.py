"""Kopf's event handlers: each one updates the cache and puts the affected LiveScores in the queue.

All of them are `on.event` handlers. Kopf adds no finalizers and annotations for these, and writes nothing itself.
"""

import os
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
import kopf

from livescore_operator.cache import Cache
from livescore_operator.cluster import label_selector
from livescore_operator.kinds import WATCHED, Kind
from livescore_operator.queue import Queue
from livescore_operator.resource import GROUP, PLURAL, VERSION, Manifest

# Seconds after which the API server ends a watch.
WATCH_SECONDS = 600

# Seconds without any event or bookmark after which a watch is opened again; bookmarks come every minute.
IDLE_SECONDS = 70

CONNECT_SECONDS = 10
WORKER_LIMIT = 20

Handler = Callable[..., Coroutine[None, None, None]]


def register(registry: kopf.OperatorRegistry, queue: Queue, cache: Cache) -> None:
    """Register a handler for each watched kind."""

    async def livescore_changed(namespace: str | None, name: str, **_: Any) -> None:
        queue.add((str(namespace), name))

    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        return _login(lambda path: _note_list(path, queue, cache), **kwargs)

    kopf.on.login(registry=registry)(login)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(livescore_changed)
    for kind in WATCHED:
        handler = _secret_changed(queue, cache) if kind.name == "Secret" else _owned_changed(kind, queue, cache)
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry)(handler)


def _owned_changed(kind: Kind, queue: Queue, cache: Cache) -> Handler:
    """Return the handler of a kind with one LiveScore per object."""

    async def owned_changed(event: kopf.RawEvent, namespace: str | None, **_: Any) -> None:
        manifest: Manifest = dict(event["object"])
        # An object without an instance label belongs to no LiveScore, even if it is labelled as managed by us.
        for instance in cache.feed(kind.name, event["type"], manifest):
            queue.add((str(namespace), instance))

    return owned_changed


def _secret_changed(queue: Queue, cache: Cache) -> Handler:
    """Return the handler of Secrets, which any LiveScore of the namespace may refer to."""

    async def secret_changed(event: kopf.RawEvent, namespace: str | None, **_: Any) -> None:
        cache.feed("Secret", event["type"], dict(event["object"]))
        queue.add_namespace(str(namespace))

    return secret_changed


class Connection(kopf.ConnectionInfo):
    """Connection that accepts the certificates that kubectl accepts.

    Python 3.13 and newer reject the certificates of many running clusters as malformed.
    """

    def as_ssl_context(self) -> ssl.SSLContext:
        """Return a context that verifies certificate and host name, but not every rule of RFC 5280."""
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


def _login(on_list: Callable[[str], None], **kwargs: Any) -> kopf.AiohttpSession | None:
    """Log in like :func:`livescore_operator.cluster.connect`: by `KUBECONFIG`, or else as the pod's service account.

    Args:
        on_list: Called with the path of every list request that succeeded.
        kwargs: Arguments of Kopf.
    """
    account = None if "KUBECONFIG" in os.environ else kopf.login_with_service_account(**kwargs)
    found = account or kopf.login_with_kubeconfig(**kwargs)
    if found is None:
        return None
    connection = Connection(**vars(found))
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=connection.as_ssl_context()),
        headers=connection.as_http_headers(),
        proxy=connection.proxy_url,
        trust_env=connection.trust_env,
        trace_configs=[_list_trace(on_list)],
    )
    return kopf.AiohttpSession(
        aiohttp_session=session, server=connection.server, default_namespace=connection.default_namespace
    )


def _list_trace(on_list: Callable[[str], None]) -> aiohttp.TraceConfig:
    """Return a trace that reports list requests.

    Kopf has no hook for them. A watch that cannot continue lists all objects again, and Kopf does not report the
    objects that were deleted in between.
    """

    async def on_request_end(_: object, __: object, params: aiohttp.TraceRequestEndParams) -> None:
        if params.method == "GET" and params.response.status == 200 and "watch" not in params.url.query:
            on_list(params.url.path)

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(on_request_end)
    return trace


def _note_list(path: str, queue: Queue, cache: Cache) -> None:
    for kind in WATCHED:
        if path.endswith(f"/{kind.plural}"):
            cache.restart(kind.name)
            queue.add_all()


def configure(settings: kopf.OperatorSettings) -> None:
    """Configure Kopf: watches that recover, no peering, since a Lease decides, no scanning of kinds, no Events."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.queueing.worker_limit = WORKER_LIMIT
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 60
    settings.watching.connect_timeout = CONNECT_SECONDS
    settings.watching.inactivity_timeout = IDLE_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    settings.networking.request_timeout = CONNECT_SECONDS * 3
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    for kind in WATCHED:
        # The API server sends objects with these labels only.
        selector = label_selector(kind.watched or {})
        settings.watching.label_selectors[kind.group, kind.version, kind.plural] = selector
