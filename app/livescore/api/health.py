"""``/health`` for people and monitors, ``/health/ready`` and ``/health/live`` for those who run this."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import psycopg
import structlog
from starlette.requests import Request
from starlette.responses import Response

from livescore import __version__
from livescore.api.context import Services, services_of
from livescore.api.routing import Route
from livescore.api.schemas import OMITTED, Answer, Timestamp
from livescore.scores.database import AWAY, SILENT, DatabaseAway
from livescore.scores.sessions import one_line

log = structlog.get_logger(__name__)

# Probe timeout in seconds; a timeout counts as unhealthy.
CHECK_SECONDS = 2.0

State = Literal["healthy", "unhealthy"]


class Parts(Answer):
    """The services of the service."""

    api: State
    redis: State
    database: State


class Health(Answer):
    """Whether everything works; ``reason`` says why the database does not."""

    status: Literal["healthy", "degraded"]
    timestamp: Timestamp
    version: str
    environment: str
    services: Parts
    reason: str = OMITTED


class Ready(Answer):
    """This process may be sent requests; ``connections`` are its open WebSockets."""

    ready: Literal[True]
    instance: str
    connections: int
    streams: int
    long_polls: int


class NotReady(Answer):
    """This process should not be sent requests, and why."""

    ready: Literal[False]
    reason: str
    instance: str
    connections: int
    streams: int
    long_polls: int


class Alive(Answer):
    """This process answers."""

    live: Literal[True]


async def health(request: Request) -> Response:
    """Every part of the service; 503 and `degraded` when one fails."""
    services = services_of(request)
    fault = await _database_fault(services)
    database = fault is None
    whole = database and services.live.redis_up
    states = {"api": "healthy", "redis": _state(services.live.redis_up), "database": _state(database)}
    return _answer(
        {
            "status": "healthy" if whole else "degraded",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "version": __version__,
            "environment": services.settings.environment,
            "services": states,
            **({"reason": fault} if fault else {}),
        },
        200 if whole else 503,
    )


def _state(up: bool) -> State:
    return "healthy" if up else "unhealthy"


async def ready(request: Request) -> Response:
    """Whether this process should be sent requests. Redis away is no reason against it: the feed carries on."""
    services = services_of(request)
    reason = await _objection(services)
    load = {
        "instance": services.settings.instance,
        "connections": services.live.connections,
        "streams": services.live.http_subscribers["streams"],
        "longPolls": services.live.http_subscribers["long_polls"],
    }
    if reason:
        return _answer({"ready": False, "reason": reason, **load}, 503)
    return _answer({"ready": True, **load})


async def _objection(services: Services) -> str | None:
    if services.live.draining:
        return "draining"
    return await _database_fault(services) or services.keyring.problem


async def _database_fault(services: Services) -> str | None:
    """Ask the database whether it can be read and written. Returns why not."""
    database = services.store.database
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await database.check()
    except DatabaseAway as error:
        return _plain(str(error))
    except TimeoutError:
        return _plain(database.fault or AWAY)
    except psycopg.Error as error:
        log.warning("the database refuses what readiness asks", error=one_line(error))
        return "the database refuses queries: see the log"
    return None


def _plain(reason: str) -> str:
    return "database away" if reason in (AWAY, SILENT) else reason


async def live(_: Request) -> Response:
    """Whether this process answers at all."""
    return _answer({"live": True})


def _answer(content: dict[str, Any], status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


_TAGS = ["health"]
_DEGRADED = {503: {"model": Health, "description": "A part of the service fails"}}
_NOT_READY = {
    503: {
        "model": NotReady,
        "description": "Draining, database away or read-only, schema too old or no API key where reads need one",
    }
}

# Of the public port and of the management port.
probes = [
    Route("GET", "/health", health, tags=_TAGS, response_model=Health, responses=_DEGRADED),
    Route("GET", "/health/ready", ready, tags=_TAGS, response_model=Ready, responses=_NOT_READY),
    Route("GET", "/health/live", live, tags=_TAGS, response_model=Alive),
]
routes = probes
