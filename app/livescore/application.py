"""Wires one API process: settings in, the ASGI application and its lifespan out."""

import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from livescore import broker
from livescore.api import (
    asyncapi,
    commentary,
    competitions,
    docs,
    errors,
    events,
    health,
    imports,
    matches,
    root,
    sockets,
    webhooks,
)
from livescore.api.context import Services
from livescore.api.middleware.api_prefix import StripApiPrefix
from livescore.api.middleware.body_limit import BodyLimit
from livescore.api.middleware.cors import Cors
from livescore.api.middleware.rate_limit import RateLimit
from livescore.api.middleware.request_telemetry import RequestTelemetry
from livescore.api.middleware.retry_stream import RetryInsteadOfError
from livescore.api.middleware.revoked_keys import EndRevokedResponses
from livescore.api.middleware.websocket_origin import WebSocketOrigin
from livescore.clock import Clock
from livescore.imports.records import ImportRecords
from livescore.jobs.schedule import Schedule
from livescore.live.connection import Connection
from livescore.live.drain import Drain
from livescore.live.realtime_server import RealtimeServer
from livescore.scores.competitions import Competitions
from livescore.scores.database import Database
from livescore.scores.store import Store
from livescore.security.client_address import ClientAddress
from livescore.security.connection_caps import ConnectionCaps
from livescore.security.keyring import Keyring
from livescore.security.keys import ApiKey
from livescore.security.limiter import Limiter
from livescore.security.origins import OriginPolicy
from livescore.settings import Settings
from livescore.supervisor import Supervisor
from livescore.telemetry import metrics

# Seconds within which a revoked key stops working and its connections are closed.
KEY_REFRESH_SECONDS = 5.0

# Seconds between attempts until the keys are loaded; requests that need a key are refused until then. PostgreSQL may
# start a moment later than this process.
KEY_RETRY_SECONDS = 0.25


def assemble(settings: Settings) -> Services:
    """Create the services of one process without starting them."""
    database = Database(
        settings.database_url.get_secret_value(),
        size=settings.database_pool_size,
        timeout=settings.database_timeout_seconds,
        prepared=settings.database_prepared_statements,
    )
    store, caps = Store(database), ConnectionCaps(settings)
    keyring = Keyring(settings, lambda: _keys(store))

    def on_close(connection: Connection) -> None:
        caps.release(connection.state.address)
        if connection.state.watch is not None:
            keyring.unwatch(connection.state.watch)

    clock = Clock()
    supervisor = Supervisor(clock, metrics.loop_failed)
    live = RealtimeServer(settings, store, broker.create(settings), supervisor, on_close, clock)
    return Services(
        settings=settings,
        store=store,
        imports=ImportRecords(database),
        competitions=Competitions(database),
        live=live,
        supervisor=supervisor,
        drain=Drain(live),
        schedule=Schedule(settings, lambda: live.deployment),
        keyring=keyring,
        limiter=Limiter(settings, lambda: live.deployment),
        caps=caps,
        origins=OriginPolicy(settings),
        address=ClientAddress(settings.trusted_proxies),
    )


async def _keys(store: Store) -> list[ApiKey]:
    return [
        ApiKey(id_, name, digest, tuple(scopes), revoked)
        for id_, name, digest, scopes, revoked in await store.api_keys()
    ]


ROUTES = [
    # In the order of their frequency, since the router tries one after the other.
    *matches.routes,
    *commentary.routes,
    *events.routes,
    *imports.routes,
    *competitions.routes,
    *health.routes,
    *root.routes,
    *docs.routes,
    *asyncapi.routes,
    *webhooks.routes,
    *sockets.routes,
]


def create(services: Services) -> Starlette:
    """Return the application that clients reach."""
    application = Starlette(
        routes=ROUTES,
        middleware=_middleware(services),
        exception_handlers=errors.handlers,
        lifespan=_lifespan,
    )
    application.router.redirect_slashes = False
    application.state.services = services
    return application


def served(services: Services) -> ASGIApp:
    """Return the application within the middleware that also sees its unhandled errors.

    Such an error then counts as a response, and a page of an allowed origin can read it.
    """
    return RequestTelemetry(Cors(create(services), policy=services.origins))


def _middleware(services: Services) -> list[Middleware]:
    """Return the other middleware, outermost first."""
    settings = services.settings
    middleware = [
        Middleware(RetryInsteadOfError, spread_seconds=settings.reconnect_spread_seconds),
        Middleware(RateLimit, settings=settings, limiter=services.limiter, on_limited=metrics.rate_limited),
        Middleware(WebSocketOrigin, policy=services.origins),
        Middleware(BodyLimit, max_bytes=settings.max_body_bytes, larger={imports.PATH: imports.MAX_BODY_BYTES}),
        Middleware(StripApiPrefix),
    ]
    if settings.read_keys_required:
        middleware.append(Middleware(EndRevokedResponses, keyring=services.keyring))
    return middleware


@asynccontextmanager
async def _lifespan(application: Starlette) -> AsyncIterator[None]:
    services: Services = application.state.services
    async with AsyncExitStack() as stack:
        stack.push_async_callback(services.store.database.close)
        stack.push_async_callback(services.live.broker.close)
        stack.push_async_callback(services.supervisor.stop)
        await services.live.start()
        stack.push_async_callback(services.live.stop)
        await services.schedule.start()
        stack.push_async_callback(services.schedule.stop)
        stack.push_async_callback(services.limiter.close)
        services.supervisor.run("key refresh", partial(_refresh_keys, services.keyring, services.live.clock))
        _freeze_gc()
        yield


async def _refresh_keys(keyring: Keyring, clock: Clock) -> None:
    """Refresh the keys at once and then regularly; until the first success, requests that need a key get 503."""
    while True:
        await keyring.refresh()
        await clock.sleep(KEY_REFRESH_SECONDS if keyring.complete else KEY_RETRY_SECONDS)


def _freeze_gc() -> None:
    """Exclude the objects of the start-up, which live as long as the process, from garbage collection."""
    gc.collect()
    gc.freeze()
