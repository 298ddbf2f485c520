"""``/health`` for people and monitors, ``/health/ready`` and ``/health/live`` for those who run this."""

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
from livescore.scores.database import AWAY, SILENT, DatabaseAway
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


_DEGRADED: openapi.Responses = {503: {"model": Health, "description": "A part of the service fails"}}
_NOT_READY: openapi.Responses = {
    503: {
        "model": NotReady,
        "description": "Draining, database away or read-only, schema too old or no API key where reads need one",
    }
}


@endpoint("GET", "/health", answer=Health, responses=_DEGRADED, tag="health")
async def health(call: Call) -> Response:
    """Every part of the service; 503 and `degraded` when one fails."""
    services = call.services
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


@endpoint("GET", "/health/ready", answer=Ready, responses=_NOT_READY, tag="health")
async def ready(call: Call) -> Response:
    """Whether this process should be sent requests. Redis away is no reason against it: the feed carries on."""
    services = call.services
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


@endpoint("GET", "/health/live", answer=Alive, tag="health")
async def live(_: Call) -> Response:
    """Whether this process answers at all."""
    return _answer({"live": True})


def _answer(content: dict[str, Any], status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


# Both the public port and the management port have these.
routes = [health, ready, live]
