"""``/matches/{id}/commentary``: list, append, read, correct, delete."""

from starlette.responses import Response

from livescore.api import conditions, responses
from livescore.api.caching import LIST_MAX_AGE, cache_control, cache_control_header
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.commentary import (
    CommentariesAnswer,
    CommentaryAnswer,
    CommentaryPatch,
    CommentaryQuery,
    DeletedAnswer,
    NewCommentary,
)

PATH = "/matches/{id}/commentary"
ENTRY_PATH = f"{PATH}/{{commentaryId}}"


@endpoint("GET", PATH, query=CommentaryQuery, answer=CommentariesAnswer, access="read", tag="commentary")
async def list_commentary(call: Call, query: CommentaryQuery) -> Response:
    """Return the newest commentary of a match; an empty list for a match that does not exist."""
    members = await call.services.store.commentary(call.match_id, query.limit)
    caching = cache_control(LIST_MAX_AGE, private=call.services.settings.read_keys_required)
    return responses.data_response(f"[{members}]", headers={"Cache-Control": caching})


@endpoint("GET", ENTRY_PATH, answer=CommentaryAnswer, access="read", not_found=True, conditional=True, tag="commentary")
async def get_commentary(call: Call) -> Response:
    """Return one entry. The `Location` header of its creation names this path."""
    services = call.services
    # Before the row: if the epoch changes meanwhile, the old row must not get the tag of the new feed.
    epoch = services.live.epoch
    entry, seq = await services.store.commentary_entry(call.match_id, call.commentary_id)
    caching = cache_control_header(LIST_MAX_AGE, private=services.settings.read_keys_required)
    tag = conditions.entity_tag(epoch, call.match_id, seq)
    return responses.conditional(call, tag, [caching], b'{"data":%b}' % entry.encode())


@endpoint(
    "POST",
    PATH,
    body=NewCommentary,
    answer=CommentaryAnswer,
    status=201,
    access="write",
    not_found=True,
    conditional=True,
    idempotent=True,
    tag="commentary",
)
async def create_commentary(call: Call, new: NewCommentary) -> Response:
    """Append commentary. Entries that have a meaning in the match's sport also change the state of the match."""
    written = await call.services.store.create_commentary(
        call.match_id, new.values(), call.request_id, call.idempotency_key, call.condition
    )
    call.services.publish(written.events)
    return responses.created(call, written)


@endpoint(
    "PATCH",
    ENTRY_PATH,
    body=CommentaryPatch,
    answer=CommentaryAnswer,
    access="write",
    not_found=True,
    conditional=True,
    tag="commentary",
)
async def change_commentary(call: Call, change: CommentaryPatch) -> Response:
    """Correct commentary. If the entry affects the state of the match, the state is computed again."""
    written = await call.services.store.update_commentary(
        call.match_id, call.commentary_id, change.given(), call.request_id, call.condition
    )
    call.services.publish(written.events)
    return responses.changed(call, written)


@endpoint(
    "DELETE", ENTRY_PATH, answer=DeletedAnswer, access="write", not_found=True, conditional=True, tag="commentary"
)
async def delete_commentary(call: Call) -> Response:
    """Delete commentary. If the entry affected the state of the match, the state is computed again."""
    written = await call.services.store.delete_commentary(
        call.match_id, call.commentary_id, call.request_id, call.condition
    )
    call.services.publish(written.events)
    return responses.data_response(written.body)


# In the order of their frequency, since the router tries one after the other.
routes = [create_commentary, list_commentary, get_commentary, change_commentary, delete_commentary]
