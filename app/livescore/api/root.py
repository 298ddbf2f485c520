"""``/``: what this is."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from livescore import __version__
from livescore.api import openapi
from livescore.api.context import services_of
from livescore.api.routing import Route
from livescore.api.schemas import Answer

ENDPOINTS = {
    "health": "/health",
    "readiness": "/health/ready",
    "liveness": "/health/live",
    "matches": "/matches",
    "match": "/matches/{id}",
    "score": "/matches/{id}/score",
    "end": "/matches/{id}/end",
    "commentary": "/matches/{id}/commentary",
    "commentaryEntry": "/matches/{id}/commentary/{commentaryId}",
    "events": "/matches/{id}/events",
    "matchStream": "/matches/{id}/events/stream",
    "stream": "/events/stream",
    "websocket": "/ws",
    "documentation": "/docs",
    "openapi": "/openapi.json",
    "asyncapi": "/asyncapi.json",
}
"""Every route by a name; a test compares them with the application's."""
FEATURES = ["REST", "WebSocket", "server-sent events", "long poll", "resume by sequence number"]


class About(Answer):
    """What this is and where to go from here."""

    name: str
    version: str
    environment: str
    features: list[str]
    documentation: str
    websocket: str
    endpoints: dict[str, str]


async def about(request: Request) -> Response:
    """What this is and where to go from here."""
    described = About(
        name="Live Score API",
        version=__version__,
        environment=services_of(request).settings.environment,
        features=FEATURES,
        documentation="/docs",
        websocket="/ws",
        endpoints=ENDPOINTS,
    )
    return Response(orjson.dumps(described.model_dump(by_alias=True)), media_type="application/json")


routes = [Route("GET", "/", about, tags=["health"], response_model=About, responses=openapi.problems(429))]
