"""``/health`` for people and monitors, ``/health/ready`` and ``/health/live`` for those who run this."""

import asyncio
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response

from livescore import __version__
from livescore.api.context import Services, services
from livescore.api.routing import Route
from livescore.api.schemas import Answer, Timestamp
from livescore.scores import migrations
from livescore.scores.database import DatabaseAway

# Seconds. A probe wants an answer within a second or two; "it did not answer" is one.
CHECK_SECONDS = 2.0

State = Literal["healthy", "unhealthy"]


class Parts(Answer):
    """The parts of the service."""

    api: State
    redis: State
    database: State


class Health(Answer):
    """Whether everything works."""

    status: Literal["healthy", "degraded"]
    timestamp: Timestamp
    version: str
    environment: str
    services: Parts


class Ready(Answer):
    """This process may be sent requests; ``connections`` are its open WebSockets."""

    ready: Literal[True]
    instance: str
    connections: int


class NotReady(Answer):
    """This process should not be sent requests, and why."""

    ready: Literal[False]
    reason: str
    instance: str
    connections: int


class Alive(Answer):
    """This process answers."""

    live: Literal[True]


async def health(request: Request) -> Response:
    """Every part of the service; 503 and `degraded` when one fails."""
    parts = services(request)
    database = await _schema_version(parts) is not None
    whole = database and parts.live.redis_up
    states = {"api": "healthy", "redis": _state(parts.live.redis_up), "database": _state(database)}
    return _answer(
        {
            "status": "healthy" if whole else "degraded",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "version": __version__,
            "environment": parts.settings.environment,
            "services": states,
        },
        200 if whole else 503,
    )


def _state(up: bool) -> State:
    return "healthy" if up else "unhealthy"


async def ready(request: Request) -> Response:
    """Whether this process should be sent requests. Redis away is no reason against it: the feed carries on."""
    parts = services(request)
    reason = await _objection(parts)
    load = {"instance": parts.settings.instance, "connections": parts.live.connections}
    if reason:
        return _answer({"ready": False, "reason": reason, **load}, 503)
    return _answer({"ready": True, **load})


async def _objection(parts: Services) -> str | None:
    if parts.live.draining:
        return "draining"
    version = await _schema_version(parts)
    if version is None:
        return "database away"
    if version != migrations.HEAD:
        return f"unknown schema: {version or 'none'}"
    return parts.keyring.problem


async def _schema_version(parts: Services) -> str | None:
    """The schema that the database is on; None when it does not answer."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await parts.store.schema_version()
    except (DatabaseAway, TimeoutError):
        return None


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
        "description": "Draining, database away, schema unknown or no API key where reads need one",
    }
}

# Of the public port and of the management port.
probes = [
    Route("GET", "/health", health, tags=_TAGS, response_model=Health, responses=_DEGRADED),
    Route("GET", "/health/ready", ready, tags=_TAGS, response_model=Ready, responses=_NOT_READY),
    Route("GET", "/health/live", live, tags=_TAGS, response_model=Alive),
]
routes = probes
