"""``/matches/{id}/commentary``: read, append, correct, take back."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from livescore.api import access, conditions, openapi, parse, writes
from livescore.api.caching import LIST_MAX_AGE, cache_control
from livescore.api.context import services_of
from livescore.api.errors import request_id
from livescore.api.routing import both
from livescore.api.schemas import (
    CommentariesAnswer,
    CommentaryAnswer,
    CommentaryPatch,
    CommentaryQuery,
    DeletedAnswer,
    NewCommentary,
)

PATH = "/matches/{id}/commentary"


async def list_commentary(request: Request) -> Response:
    """The newest commentary of a match; none for a match that does not exist."""
    access.require_read(request)
    match_id = parse.path_id(request)
    query = parse.query(request, CommentaryQuery)
    services = services_of(request)
    members = await services.store.commentary(match_id, query.limit)
    caching = cache_control(LIST_MAX_AGE, private=services.settings.read_keys_required)
    return writes.data_response(f"[{members}]", headers={"Cache-Control": caching})


async def get_commentary(request: Request) -> Response:
    """One entry, as the `Location` of its creation names it."""
    access.require_read(request)
    match_id, commentary_id = _ids(request)
    services = services_of(request)
    epoch = services.live.epoch  # before the row: one that changes meanwhile must not get the new feed's tag
    body, seq = await services.store.commentary_entry(match_id, commentary_id)
    tag = conditions.entity_tag(epoch, match_id, seq) if epoch else ""
    caching = cache_control(LIST_MAX_AGE, private=services.settings.read_keys_required)
    headers = {"Cache-Control": caching, **({"ETag": tag} if tag else {})}
    conditions.check_readable(request, tag)
    if tag and conditions.is_known(request, tag):
        return Response(status_code=304, headers=headers)
    return writes.data_response(body, headers=headers)


async def create_commentary(request: Request) -> Response:
    """Append commentary; a goal with `metadata.scoreDelta` moves the score with it."""
    caller = access.require_write(request)
    match_id = parse.path_id(request)
    new = await parse.body(request, NewCommentary)
    key = await writes.idempotency_key(request, f"POST /matches/{match_id}/commentary", caller)
    written = await services_of(request).store.create_commentary(
        match_id, new.values(), request_id(request), key, conditions.of_match(request, match_id)
    )
    writes.announce(request, written)
    return writes.created(request, match_id, written)


async def change_commentary(request: Request) -> Response:
    """Correct commentary; the score follows the difference."""
    access.require_write(request)
    match_id, commentary_id = _ids(request)
    change = (await parse.body(request, CommentaryPatch)).given()
    written = await services_of(request).store.update_commentary(
        match_id, commentary_id, change, request_id(request), conditions.of_match(request, match_id)
    )
    writes.announce(request, written)
    return writes.changed(request, match_id, written)


async def delete_commentary(request: Request) -> Response:
    """Take commentary back, and its goal with it."""
    access.require_write(request)
    match_id, commentary_id = _ids(request)
    written = await services_of(request).store.delete_commentary(
        match_id, commentary_id, request_id(request), conditions.of_match(request, match_id)
    )
    writes.announce(request, written)
    return writes.data_response(written.body)


def _ids(request: Request) -> tuple[int, int]:
    return parse.path_id(request), parse.path_id(request, "commentaryId", "commentary")


_ID, _COMMENTARY_ID = openapi.path_parameter("id"), openapi.path_parameter("commentaryId")
_WRITING: dict[str, Any] = {"security": openapi.WRITE_SECURITY}
_TAGS = ["commentary"]

# The busiest first: they are tried in this order.
routes = [
    *both(
        "POST",
        PATH,
        create_commentary,
        tags=_TAGS,
        status_code=201,
        response_model=CommentaryAnswer,
        responses=openapi.creation(422, *openapi.EVERY_WRITE),
        openapi_extra={
            **_WRITING,
            "parameters": [_ID, openapi.IDEMPOTENCY_KEY, *openapi.CONDITIONS],
            "requestBody": openapi.request_body(NewCommentary),
        },
    ),
    *both(
        "GET",
        PATH,
        list_commentary,
        tags=_TAGS,
        response_model=CommentariesAnswer,
        responses=openapi.problems(*openapi.EVERY_READ),
        openapi_extra={"parameters": [_ID, *openapi.query_parameters(CommentaryQuery)]},
    ),
    *both(
        "GET",
        PATH + "/{commentaryId}",
        get_commentary,
        tags=_TAGS,
        response_model=CommentaryAnswer,
        responses=openapi.problems(304, 404, 412, *openapi.EVERY_READ),
        openapi_extra={"parameters": [_ID, _COMMENTARY_ID, *openapi.CONDITIONS]},
    ),
    *both(
        "PATCH",
        PATH + "/{commentaryId}",
        change_commentary,
        tags=_TAGS,
        response_model=CommentaryAnswer,
        responses=openapi.problems(*openapi.EVERY_WRITE),
        openapi_extra={
            **_WRITING,
            "parameters": [_ID, _COMMENTARY_ID, *openapi.CONDITIONS],
            "requestBody": openapi.request_body(CommentaryPatch),
        },
    ),
    *both(
        "DELETE",
        PATH + "/{commentaryId}",
        delete_commentary,
        tags=_TAGS,
        response_model=DeletedAnswer,
        responses=openapi.problems(*openapi.EVERY_WRITE),
        openapi_extra={**_WRITING, "parameters": [_ID, _COMMENTARY_ID, *openapi.CONDITIONS]},
    ),
]
