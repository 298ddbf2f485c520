"""The management port: metrics, probes, connections, drain and fixtures. Neither clients nor web pages may use it."""

from typing import Annotated, Literal

import orjson
from pydantic import BeforeValidator, Field, Strict
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response

from livescore.api import errors, health
from livescore.api.context import Services
from livescore.api.middleware.cross_site import RefuseWebPages
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.base import OMITTED, Query
from livescore.api.schemas.fields import parse_query_integer
from livescore.scores.rules import INT4_MAX
from livescore.security.cross_site import ManagementGuard
from livescore.telemetry import metrics

# Matches in one response, some 250 bytes each. No day has as many.
MAX_FIXTURES = 1_000

# Seconds. Scaling prepares for a match on its day.
MAX_FIXTURES_SECONDS = 86_400


_Integer = Annotated[int, Strict(), BeforeValidator(parse_query_integer)]
_Positive = Annotated[_Integer, Field(ge=1, le=INT4_MAX)]


class DrainQuery(Query):
    """``cancel=true`` stops a drain."""

    cancel: Literal["true", "false"] = "false"


class ShedQuery(Query):
    """The number of sockets, and how many of them per second; as fast as a drain by default."""

    count: _Positive
    per_second: _Positive = Field(OMITTED, alias="perSecond")


class FixturesQuery(Query):
    """The time to look ahead, in seconds."""

    within: Annotated[_Integer, Field(alias="withinSeconds", ge=0, le=MAX_FIXTURES_SECONDS)] = 3_600


@endpoint("GET", "/metrics", documented=False)
async def get_metrics(_: Call) -> Response:
    """Return the metrics in the text format of Prometheus."""
    content, media_type = metrics.render()
    return Response(content, media_type=media_type)


@endpoint("GET", "/connections", documented=False)
async def get_connections(call: Call) -> Response:
    """Return the open WebSockets, streams and long polls, the sockets' single-match subscriptions and the drain state.

    ``connections`` counts WebSockets only: the operator scales on them.
    """
    return _json_response(200, _connections(call.services))


@endpoint("POST", "/drain", query=DrainQuery, documented=False)
async def post_drain(call: Call, query: DrainQuery) -> Response:
    """Start a drain, or abort it with ``cancel=true``. Returns immediately; poll ``/connections`` for progress."""
    drain = call.services.drain
    if query.cancel == "true":
        drain.cancel()
    else:
        drain.start()
    return _json_response(202, _connections(call.services))


@endpoint("POST", "/shed", query=ShedQuery, documented=False)
async def post_shed(call: Call, query: ShedQuery) -> Response:
    """Ask ``count`` clients that can resume to reconnect elsewhere. Returns the number of departing sockets.

    The request is idempotent: sockets that are already departing count.
    """
    return _json_response(202, {"shedding": call.services.drain.shed(query.count, query.per_second)})


@endpoint("GET", "/fixtures", query=FixturesQuery, documented=False)
async def get_fixtures(call: Call, query: FixturesQuery) -> Response:
    """Return the matches that are live or start within ``withinSeconds``, earliest first."""
    members = await call.services.store.fixtures(query.within, MAX_FIXTURES)
    return Response(f'{{"fixtures":[{members}]}}', media_type="application/json")


def _connections(services: Services) -> dict[str, object]:
    live = services.live
    return {
        "instance": services.settings.instance,
        "connections": live.connections,
        "streams": live.http_subscribers["streams"],
        "longPolls": live.http_subscribers["long_polls"],
        "subscriptions": live.feeds.matches.subscriptions,
        "draining": not services.drain.is_ready,
    }


def _json_response(status: int, content: dict[str, object]) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def create(services: Services) -> Starlette:
    """Return the application behind the management port."""
    application = Starlette(
        routes=[get_metrics, get_connections, post_drain, post_shed, get_fixtures, *health.routes],
        exception_handlers=errors.handlers,
        middleware=[Middleware(RefuseWebPages, guard=ManagementGuard(services.settings))],
    )
    application.state.services = services
    return application
