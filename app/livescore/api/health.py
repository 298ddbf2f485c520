"""Probes: ``/health`` for people and monitoring, ``/health/ready`` and ``/health/live`` for load balancers."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import psycopg
import structlog
from starlette.responses import Response

from livescore import __version__
from livescore.api import openapi
from livescore.api.context import Services
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.base import OMITTED, Answer
from livescore.api.schemas.fields import Timestamp
from livescore.scores.database import AWAY, DatabaseAway, readiness_reason
from livescore.scores.sessions import one_line

log = structlog.get_logger(__name__)

# Probe timeout in seconds; a timeout counts as unhealthy.
CHECK_SECONDS = 2.0

State = Literal["healthy", "unhealthy"]


class Parts(Answer):
    """The parts of the service."""

    api: State
    redis: State
    database: State


class Health(Answer):
    """The health of the service; ``reason`` says why the database is unhealthy."""

    status: Literal["healthy", "degraded"]
    timestamp: Timestamp
    version: str
    environment: str
    services: Parts
    reason: str = OMITTED


class Ready(Answer):
    """This process accepts requests; ``connections`` is the number of its open WebSockets."""

    ready: Literal[True]
    instance: str
    connections: int
    streams: int
    long_polls: int


class NotReady(Answer):
    """This process should not receive requests, for the given ``reason``."""

    ready: Literal[False]
    reason: str
    instance: str
    connections: int
    streams: int
    long_polls: int


class Alive(Answer):
    """This process responds."""

    live: Literal[True]


_DEGRADED: openapi.Responses = {503: {"model": Health, "description": "A part of the service fails"}}
_NOT_READY: openapi.Responses = {
    503: {
        "model": NotReady,
        "description": "Draining, database away or read-only, schema too old or no API key where reads need one",
    }
}


@endpoint("GET", "/health", answer=Health, responses=_DEGRADED, tag="health")
async def health(call: Call) -> Response:
    """Return the state of every part of the service; 503 and `degraded` if one fails."""
    services = call.services
    reason = await _database_fault(services) or services.store.database.inability
    redis_up = services.live.redis_up
    is_healthy = redis_up and not reason
    content: dict[str, Any] = {
        "status": "healthy" if is_healthy else "degraded",
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
        "version": __version__,
        "environment": services.settings.environment,
        "services": {"api": "healthy", "redis": _state(redis_up), "database": _state(not reason)},
    }
    if reason:
        content["reason"] = reason
    return _uncached(200 if is_healthy else 503, content)


def _state(is_up: bool) -> State:
    return "healthy" if is_up else "unhealthy"


@endpoint("GET", "/health/ready", answer=Ready, responses=_NOT_READY, tag="health")
async def ready(call: Call) -> Response:
    """Return 200 if this process should receive requests.

    Without Redis it is ready, since the feed does not depend on Redis. It also is while PostgreSQL fails some
    statements, for example because its disk is full: sockets, streams and most reads go on, and no other instance could
    do better.
    """
    services = call.services
    reason = await _unreadiness(services)
    load = {
        "instance": services.settings.instance,
        "connections": services.live.connections,
        "streams": services.live.http_subscribers["streams"],
        "longPolls": services.live.http_subscribers["long_polls"],
    }
    if reason:
        return _uncached(503, {"ready": False, "reason": reason, **load})
    return _uncached(200, {"ready": True, **load})


async def _unreadiness(services: Services) -> str | None:
    """Return the reason why this process should not receive requests, or None."""
    if not services.drain.is_ready:
        return "draining"
    return await _database_fault(services) or services.keyring.problem


async def _database_fault(services: Services) -> str | None:
    """Check that the database can be read and accepts writes. Returns the reason if not."""
    database = services.store.database
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await database.check()
    except DatabaseAway as error:
        return readiness_reason(error)
    except TimeoutError:
        return readiness_reason(DatabaseAway(database.fault or AWAY))
    except psycopg.Error as error:
        log.warning("PostgreSQL refused the queries of a probe", error=one_line(error))
        return readiness_reason(error)
    return None


@endpoint("GET", "/health/live", answer=Alive, tag="health")
async def live(_: Call) -> Response:
    """Return 200 as long as this process responds at all."""
    return _uncached(200, {"live": True})


def _uncached(status: int, content: dict[str, Any]) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


# Both the public port and the management port have these.
routes = [health, ready, live]
