"""The management port: metrics, probes, connections, drain. No client reaches it."""

from http import HTTPStatus

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livescore.api import health
from livescore.api.context import Services, services
from livescore.telemetry import metrics


def _json(status: HTTPStatus, content: dict[str, object]) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def get_metrics(_: Request) -> Response:
    """Prometheus' text format."""
    content, media_type = metrics.render()
    return Response(content, media_type=media_type)


def _connections(parts: Services) -> dict[str, object]:
    live = parts.live
    return {
        "instance": parts.settings.instance,
        "connections": live.connections,
        "subscriptions": live.channels.subscriptions,
        "draining": live.draining,
    }


async def get_connections(request: Request) -> Response:
    """Open sockets, subscriptions and whether this process drains."""
    return _json(HTTPStatus.OK, _connections(services(request)))


async def post_drain(request: Request) -> Response:
    """Begin to drain; with ``?cancel=true`` go back to work. Answers at once; ``/connections`` tells how far it is."""
    parts = services(request)
    if request.query_params.get("cancel") == "true":
        parts.drain.cancel()
    else:
        parts.drain.start()
    return _json(HTTPStatus.ACCEPTED, _connections(parts))


async def post_shed(request: Request) -> Response:
    """Ask ``count`` clients that can resume to reconnect elsewhere."""
    parts, text = services(request), request.query_params.get("count", "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return _json(HTTPStatus.BAD_REQUEST, {"error": "count must be a positive integer"})
    return _json(HTTPStatus.ACCEPTED, {"shedding": parts.drain.shed(int(text))})


def create(parts: Services) -> Starlette:
    """The application behind the management port."""
    application = Starlette(
        routes=[
            Route("/metrics", get_metrics),
            Route("/connections", get_connections),
            Route("/drain", post_drain, methods=["POST"]),
            Route("/shed", post_shed, methods=["POST"]),
            *health.probes,
        ]
    )
    application.state.services = parts
    return application
