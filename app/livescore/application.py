"""Wiring only: settings in, the FastAPI application and its lifespan out."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp

from livescore import __version__, broker
from livescore.api import asyncapi, commentary, docs, errors, events, health, matches, openapi, root, sockets
from livescore.api.context import Services
from livescore.api.middleware.body_limit import BodyLimit
from livescore.api.middleware.cors import Cors
from livescore.api.middleware.rate_limit import RateLimit
from livescore.api.middleware.request_telemetry import RequestTelemetry
from livescore.api.middleware.retry_stream import RetryInsteadOfError
from livescore.api.middleware.revoked_keys import EndRevokedResponses
from livescore.api.middleware.websocket_origin import WebSocketOrigin
from livescore.jobs.schedule import Schedule
from livescore.live.connection import Connection
from livescore.live.drain import Drain
from livescore.live.realtime_server import RealtimeServer
from livescore.live.socket import Heartbeat
from livescore.scores.database import Database
from livescore.scores.store import Store
from livescore.security.client_address import ClientAddress
from livescore.security.connection_caps import ConnectionCaps
from livescore.security.keys import ApiKey, Keyring
from livescore.security.limiter import Limiter
from livescore.security.origins import OriginPolicy
from livescore.settings import Settings
from livescore.telemetry import metrics

log = structlog.get_logger(__name__)

# A revoked key stops working, and what it opened is closed, within this time.
KEY_REFRESH_SECONDS = 5.0

# Until the keys are read, requests that need one are refused; PostgreSQL may start a moment later than this process.
KEY_RETRY_SECONDS = 0.25


def assemble(settings: Settings) -> Services:
    """Make the services of one process; nothing is started yet."""
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

    live = RealtimeServer(settings, store, broker.create(settings), on_close)
    return Services(
        settings=settings,
        store=store,
        live=live,
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


def create(services: Services) -> FastAPI:
    """The application that clients reach."""
    application = FastAPI(
        title="LiveScore",
        version=__version__,
        description="Live scores: REST, WebSocket and server-sent events.",
        lifespan=_lifespan,
        exception_handlers=errors.handlers,
        docs_url=None,  # loads scripts of third parties; ours is livescore.api.docs
        redoc_url=None,
        redirect_slashes=False,
        # Ours are in livescore.telemetry; asking whether FastAPI's are wanted is 5 % of a small request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    application.state.services = services
    rooms = (matches, commentary, events, health, root, docs, asyncapi, sockets)
    # Before FastAPI's own, which are asked for once in a while.
    application.router.routes[:0] = [route for room in rooms for route in room.routes]
    application.openapi = partial(openapi.document, application)  # type: ignore[method-assign]  # FastAPI's own way
    _add_middleware(application, services)
    return application


def served(services: Services) -> ASGIApp:
    """Return the application with what wraps it, so that even an unhandled error is counted and readable for pages."""
    return RequestTelemetry(Cors(create(services), policy=services.origins))


def _add_middleware(application: FastAPI, services: Services) -> None:
    """Middleware, innermost first."""
    settings = services.settings
    if settings.read_keys_required:
        application.add_middleware(EndRevokedResponses, keyring=services.keyring)
    application.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    application.add_middleware(WebSocketOrigin, policy=services.origins)
    application.add_middleware(RateLimit, settings=settings, limiter=services.limiter, on_limited=metrics.rate_limited)
    application.add_middleware(RetryInsteadOfError, spread_seconds=settings.reconnect_spread_seconds)


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    services: Services = application.state.services
    async with AsyncExitStack() as stack:
        stack.push_async_callback(services.store.database.close)
        stack.push_async_callback(services.live.broker.close)
        await services.live.start()
        stack.push_async_callback(services.live.stop)
        await services.schedule.start()
        stack.push_async_callback(services.schedule.stop)
        stack.push_async_callback(services.limiter.close)
        services.live.spawn(_refresh_keys(services.keyring))
        services.live.spawn(Heartbeat(services.live, services.settings.ping_interval_seconds).run())
        _freeze_gc()
        yield


async def _refresh_keys(keyring: Keyring) -> None:
    """Refresh the keys at once and then regularly; until the first success, requests that need a key get 503."""
    while True:
        try:
            await keyring.refresh()
        except Exception:  # a fault in one turn must not keep revoked keys valid for ever
            log.exception("API keys could not be refreshed")
        await asyncio.sleep(KEY_REFRESH_SECONDS if keyring.complete else KEY_RETRY_SECONDS)


def _freeze_gc() -> None:
    """What start-up made stays for good: the collector need not look at it again."""
    gc.collect()
    gc.freeze()
