"""``/matches``: list, create, read, change."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from livescore.api import access, caching, conditions, openapi, parse, writes
from livescore.api.context import services_of
from livescore.api.errors import request_id
from livescore.api.routing import Handler, Route, both
from livescore.api.schemas import (
    Body,
    MatchAnswer,
    MatchesAnswer,
    MatchesQuery,
    MatchPatch,
    NewMatch,
    ScoreBody,
    cursor_text,
)
from livescore.http_errors import NotFound
from livescore.scores import rules
from livescore.scores.store import Page, WriteResult


async def list_matches(request: Request) -> Response:
    """Matches, newest first, page by page."""
    access.require_read(request)
    query = parse.query(request, MatchesQuery)
    page = await services_of(request).store.matches(query.limit, query.filters(), query.cursor)
    body = f'{{"data":[{page.items}],"nextCursor":{_next_cursor(page)}}}'
    return _cacheable(request, body.encode(), caching.LIST_MAX_AGE)


def _next_cursor(page: Page) -> str:
    if page.next_cursor is None:
        return "null"
    milliseconds, _, match_id = page.next_cursor.partition(".")
    return f'"{cursor_text(int(milliseconds), int(match_id))}"'


def _cacheable(request: Request, body: bytes, max_age: int) -> Response:
    private = services_of(request).settings.read_keys_required
    headers = {"Cache-Control": caching.cache_control(max_age, private=private)}
    return Response(body, headers=headers, media_type="application/json")


async def create_match(request: Request) -> Response:
    """Create a match. Its status follows from its times."""
    caller = access.require_write(request)
    new = await parse.body(request, NewMatch)
    key = await writes.idempotency_key(request, "POST /matches", caller)
    if (preconditions := conditions.Preconditions.of(request)) is not None:
        preconditions.check(())  # of the list, which has no ETag
    written = await services_of(request).store.create_match(new.values(), request_id(request), key)
    _announce(request, written)
    return writes.created(request, None, written)


async def get_match(request: Request) -> Response:
    """One match. What is known to be unchanged is answered without PostgreSQL."""
    access.require_read(request)
    match_id = parse.path_id(request)
    known = _known(request, match_id)
    if known is not None and known.body is None and not conditions.is_known(request, _tag(match_id, known)):
        known = None
    return _representation(request, match_id, known or await _read(request, match_id))


def _known(request: Request, match_id: int) -> caching.Representation | None:
    services = services_of(request)
    services.live.match_feeds.watch(match_id)
    if "no-cache" in request.headers.get("cache-control", ""):  # the client insists on the origin, PostgreSQL
        return None
    return services.match_cache.current(match_id, services.live.epoch, services.live.match_feeds.head(match_id))


async def _read(request: Request, match_id: int) -> caching.Representation:
    services = services_of(request)
    epoch = services.live.epoch  # before the row: one that changes meanwhile must not get the new feed's tag
    found = await services.store.match(match_id)
    if found is None:
        raise NotFound("Match not found")
    representation = caching.represent(epoch, found[1], found[0])
    services.match_cache.keep(match_id, representation)
    return representation


def _representation(request: Request, match_id: int, known: caching.Representation) -> Response:
    headers = {"ETag": _tag(match_id, known)} if known.epoch else {}
    if known.max_age is not None:
        private = services_of(request).settings.read_keys_required
        headers["Cache-Control"] = caching.cache_control(known.max_age, private=private)
    conditions.check_readable(request, headers.get("ETag", ""))
    if "ETag" in headers and conditions.is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(known.body, headers=headers, media_type="application/json")


def _tag(match_id: int, known: caching.Representation) -> str:
    return conditions.entity_tag(known.epoch, match_id, known.seq)


async def change_match(request: Request) -> Response:
    """Correct a match, or postpone, cancel or finish it."""
    access.require_write(request)
    match_id = parse.path_id(request)
    change = (await parse.body(request, MatchPatch)).given()
    return await _revise(request, match_id, lambda before, now: rules.revise(before, change, now))


async def set_score(request: Request) -> Response:
    """Set the score of a live match."""
    access.require_write(request)
    match_id = parse.path_id(request)
    body = await parse.body(request, ScoreBody)
    score = rules.Score(body.home_score, body.away_score)
    return await _revise(request, match_id, lambda before, _: rules.set_score(before, score))


async def end_match(request: Request) -> Response:
    """Finish a live match now."""
    access.require_write(request)
    return await _revise(request, parse.path_id(request), lambda before, _: rules.end(before))


async def _revise(
    request: Request, match_id: int, revise: Callable[[rules.MatchState, datetime], rules.Revision]
) -> Response:
    condition = conditions.of_match(request, match_id)
    written = await services_of(request).store.revise_match(match_id, revise, request_id(request), condition)
    _announce(request, written)
    return writes.changed(request, match_id, written)


def _announce(request: Request, written: WriteResult) -> None:
    """Tell the listeners, and the scheduler when the match is to start and to end now."""
    writes.announce(request, written)
    if written.events:
        match = orjson.loads(written.body)
        start, end = datetime.fromisoformat(match["startTime"]), datetime.fromisoformat(match["endTime"])
        services_of(request).schedule.plan(match["id"], match["status"], start, end)


_ID = openapi.path_parameter("id")
_TAGS = ["matches"]


def _change(path: str, handler: Handler, body: type[Body] | None = None) -> list[Route]:
    extra: dict[str, Any] = {"security": openapi.WRITE_SECURITY, "parameters": [_ID, *openapi.CONDITIONS]}
    if body is not None:
        extra["requestBody"] = openapi.request_body(body)
    answers: dict[str, Any] = {"response_model": MatchAnswer, "responses": openapi.problems(*openapi.EVERY_WRITE)}
    return both("PATCH", path, handler, tags=_TAGS, openapi_extra=extra, **answers)


# The busiest first: they are tried in this order.
routes = [
    *both(
        "GET",
        "/matches/{id}",
        get_match,
        tags=_TAGS,
        response_model=MatchAnswer,
        responses=openapi.problems(304, 404, 412, *openapi.EVERY_READ),
        openapi_extra={"parameters": [_ID, *openapi.CONDITIONS]},
    ),
    *both(
        "GET",
        "/matches",
        list_matches,
        tags=_TAGS,
        response_model=MatchesAnswer,
        responses=openapi.problems(*openapi.EVERY_READ),
        openapi_extra={"parameters": openapi.query_parameters(MatchesQuery)},
    ),
    *both(
        "POST",
        "/matches",
        create_match,
        tags=_TAGS,
        status_code=201,
        response_model=MatchAnswer,
        responses=openapi.creation(400, 401, 403, 408, 409, 412, 413, 422, 429, 503),
        openapi_extra={
            "security": openapi.WRITE_SECURITY,
            "parameters": [openapi.IDEMPOTENCY_KEY, *openapi.CONDITIONS],
            "requestBody": openapi.request_body(NewMatch),
        },
    ),
    *_change("/matches/{id}", change_match, MatchPatch),
    *_change("/matches/{id}/score", set_score, ScoreBody),
    *_change("/matches/{id}/end", end_match),
]
