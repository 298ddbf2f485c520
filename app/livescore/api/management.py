"""The management port: metrics, probes, connections, drain, fixtures. Neither clients nor web pages may use it."""

from http import HTTPStatus
from typing import Annotated, Literal

import orjson
from pydantic import BeforeValidator, Field, Strict
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from livescore.api import errors, health, parse
from livescore.api.context import Services, services_of
from livescore.api.middleware.cross_site import RefuseWebPages
from livescore.api.schemas import OMITTED, Query, canonical
from livescore.scores.rules import INT4_MAX
from livescore.security.cross_site import ManagementGuard
from livescore.telemetry import metrics

# Matches that the forecast of a day gets to see: some 250 bytes each, and more than any day has.
FIXTURES_LIMIT = 1_000

# Seconds ahead that one may ask for: whoever prepares for a match does so on its day.
FIXTURES_HORIZON = 86_400


_Whole = Annotated[int, Strict(), BeforeValidator(canonical)]
_Some = Annotated[_Whole, Field(ge=1, le=INT4_MAX)]


class DrainQuery(Query):
    """To drain, or to stop doing so."""

    cancel: Literal["true", "false"] = "false"


class ShedQuery(Query):
    """How many sockets, and how many of them in a second; without that, as fast as a drain."""

    count: _Some
    per_second: _Some = Field(OMITTED, alias="perSecond")


class FixturesQuery(Query):
    """How many seconds ahead."""

    within: Annotated[_Whole, Field(alias="withinSeconds", ge=0, le=FIXTURES_HORIZON)] = 3_600


def _json(status: HTTPStatus, content: dict[str, object]) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def get_metrics(_: Request) -> Response:
    """Prometheus' text format."""
    content, media_type = metrics.render()
    return Response(content, media_type=media_type)


def _connections(services: Services) -> dict[str, object]:
    live = services.live
    return {
        "instance": services.settings.instance,
        "connections": live.connections,
        "streams": live.http_subscribers["streams"],
        "longPolls": live.http_subscribers["long_polls"],
        "subscriptions": live.match_feeds.subscriptions,
        "draining": live.draining,
    }


async def get_connections(request: Request) -> Response:
    """Return the open WebSockets, streams and long polls, the sockets' single-match subscriptions and the drain state.

    ``connections`` are WebSockets only: the operator scales on them.
    """
    return _json(HTTPStatus.OK, _connections(services_of(request)))


async def post_drain(request: Request) -> Response:
    """Begin to drain; with ``?cancel=true`` go back to work. Answers at once; ``/connections`` tells how far it is."""
    services = services_of(request)
    if parse.query(request, DrainQuery).cancel == "true":
        services.drain.cancel()
    else:
        services.drain.start()
    return _json(HTTPStatus.ACCEPTED, _connections(services))


async def post_shed(request: Request) -> Response:
    """Ask ``count`` clients that can resume to reconnect elsewhere; how many are on their way out."""
    query = parse.query(request, ShedQuery)
    return _json(HTTPStatus.ACCEPTED, {"shedding": services_of(request).drain.shed(query.count, query.per_second)})


async def get_fixtures(request: Request) -> Response:
    """What is live and what starts within ``withinSeconds``, the earliest first."""
    query = parse.query(request, FixturesQuery)
    members = await services_of(request).store.fixtures(query.within, FIXTURES_LIMIT)
    return Response(f'{{"fixtures":[{members}]}}', media_type="application/json")


def create(services: Services) -> Starlette:
    """Return the application behind the management port."""
    application = Starlette(
        routes=[
            Route("/metrics", get_metrics),
            Route("/connections", get_connections),
            Route("/drain", post_drain, methods=["POST"]),
            Route("/shed", post_shed, methods=["POST"]),
            Route("/fixtures", get_fixtures),
            *health.probes,
        ],
        exception_handlers=errors.handlers,
        middleware=[Middleware(RefuseWebPages, guard=ManagementGuard(services.settings))],
    )
    application.state.services = services
    return application
