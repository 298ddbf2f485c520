"""``/``: the name of the service and its endpoints."""

import orjson
from starlette.responses import Response

from livescore import __version__
from livescore.api import openapi
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.base import Answer

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
    "competitions": "/competitions",
    "competition": "/competitions/{competitionId}",
    "competitionMatches": "/competitions/{competitionId}/matches",
    "standings": "/competitions/{competitionId}/standings",
    "matchStream": "/matches/{id}/events/stream",
    "stream": "/events/stream",
    "imports": "/imports",
    "import": "/imports/{id}",
    "webhooks": "/webhooks",
    "webhook": "/webhooks/{id}",
    "webhookRotation": "/webhooks/{id}/rotate",
    "webhookDeliveries": "/webhooks/{id}/deliveries",
    "webhookRedelivery": "/webhooks/{id}/redeliver",
    "webhookTest": "/webhooks/{id}/test",
    "websocket": "/ws",
    "documentation": "/docs",
    "openapi": "/openapi.json",
    "asyncapi": "/asyncapi.json",
}
"""Name → path of every route; a test compares them with the application."""
FEATURES = ["REST", "WebSocket", "server-sent events", "long poll", "resume by sequence number"]


class About(Answer):
    """The service and its endpoints."""

    name: str
    version: str
    environment: str
    features: list[str]
    documentation: str
    websocket: str
    endpoints: dict[str, str]


@endpoint("GET", "/", answer=About, responses=openapi.problems(429), tag="health")
async def about(call: Call) -> Response:
    """Return the name, the version and the endpoints of the service."""
    described = About(
        name="Live Score API",
        version=__version__,
        environment=call.services.settings.environment,
        features=FEATURES,
        documentation="/docs",
        websocket="/ws",
        endpoints=ENDPOINTS,
    )
    return Response(orjson.dumps(described.model_dump(by_alias=True)), media_type="application/json")


routes = [about]
