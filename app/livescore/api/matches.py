"""``/matches``: list, create, read, change."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

import orjson
from starlette.responses import Response

from livescore.api import conditions, responses
from livescore.api.caching import LIST_MAX_AGE, CachedMatch, cache_control, cache_control_header
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.matches import (
    CompetitionMatchesQuery,
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
from livescore.scores.match_state import MatchState
from livescore.scores.state import Score
from livescore.scores.store import Page, WriteResult

PATH = "/matches/{id}"


@endpoint("GET", "/matches", query=MatchesQuery, answer=MatchesAnswer, access="read", tag="matches")
async def list_matches(call: Call, query: MatchesQuery) -> Response:
    """Return a page of matches, newest first."""
    return await page_of_matches(call, query)


async def page_of_matches(
    call: Call, query: CompetitionMatchesQuery, further: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> Response:
    """Return a page of matches.

    Args:
        call: The request.
        query: Its filters.
        further: Filters that the query does not have.
    """
    page = await call.services.store.matches(query.limit, {**query.filters(), **further}, query.cursor)
    body = f'{{"data":[{page.items}],"nextCursor":{_next_cursor(page)}}}'
    caching = cache_control(LIST_MAX_AGE, private=call.services.settings.read_keys_required)
    return Response(body, headers={"Cache-Control": caching}, media_type="application/json")


def _next_cursor(page: Page) -> str:
    """Return the cursor of the next page as JSON."""
    if page.next_cursor is None:
        return "null"
    milliseconds, _, match_id = page.next_cursor.partition(".")
    return f'"{cursor_text(int(milliseconds), int(match_id))}"'


@endpoint(
    "POST",
    "/matches",
    body=NewMatch,
    answer=MatchAnswer,
    status=201,
    access="write",
    conditional=True,
    idempotent=True,
    tag="matches",
)
async def create_match(call: Call, new: NewMatch) -> Response:
    """Create a match. Its status follows from its times."""
    values = {**new.values(), "rules": rules.merged_rules(new.sport, new.rules)}
    written = await call.services.store.create_match(values, call.request_id, call.idempotency_key)
    _publish(call, written)
    return responses.created(call, written)


@endpoint("GET", PATH, answer=MatchAnswer, access="read", not_found=True, conditional=True, tag="matches")
async def get_match(call: Call) -> Response:
    """Return a match. Responses that are known to be current do not need PostgreSQL."""
    match = _cached(call)
    if match is None or (match.body is None and not conditions.is_known(call.request, _tag(call, match))):
        match = await _read(call)
    headers = []
    if match.max_age is not None:
        private = call.services.settings.read_keys_required
        headers.append(cache_control_header(match.max_age, private=private))
    return responses.conditional(call, _tag(call, match), headers, match.body)


def _cached(call: Call) -> CachedMatch | None:
    """Return what this process knows of the match, and follow its feed from now on."""
    live = call.services.live
    live.watch(call.match_id)
    if conditions.asks_for_origin(call.request):
        return None
    return call.services.match_cache.current(call.match_id, live.epoch, live.known_seq(call.match_id))


async def _read(call: Call) -> CachedMatch:
    services = call.services
    # Before the row: if the epoch changes meanwhile, the old row must not get the tag of the new feed.
    epoch = services.live.epoch
    row = await services.store.match(call.match_id)
    if row is None:
        raise NotFound("Match not found")
    match = CachedMatch.of(epoch, row[1], row[0])
    services.match_cache.keep(call.match_id, match)
    return match


def _tag(call: Call, match: CachedMatch) -> str:
    return conditions.entity_tag(match.epoch, call.match_id, match.seq)


@endpoint(
    "PATCH",
    PATH,
    body=MatchPatch,
    answer=MatchAnswer,
    access="write",
    not_found=True,
    conditional=True,
    tag="matches",
)
async def change_match(call: Call, change: MatchPatch) -> Response:
    """Correct a match, or set its score or status by hand."""
    return await _revise(call, lambda before, now: rules.revise(before, change.given(), now))


@endpoint(
    "PATCH",
    f"{PATH}/score",
    body=ScoreBody,
    answer=MatchAnswer,
    access="write",
    not_found=True,
    conditional=True,
    tag="matches",
)
async def set_score(call: Call, new: ScoreBody) -> Response:
    """Set the score of a live match."""
    score = Score(new.home_score, new.away_score)
    return await _revise(call, lambda before, now: rules.set_score(before, score, now))


@endpoint("PATCH", f"{PATH}/end", answer=MatchAnswer, access="write", not_found=True, conditional=True, tag="matches")
async def end_match(call: Call) -> Response:
    """Finish a live match now."""
    return await _revise(call, rules.end)


async def _revise(call: Call, revise: Callable[[MatchState, datetime], rules.Revision]) -> Response:
    written = await call.services.store.revise_match(call.match_id, revise, call.request_id, call.condition)
    _publish(call, written)
    return responses.changed(call, written)


def _publish(call: Call, written: WriteResult) -> None:
    """Publish the events of a write, and schedule the match's transitions by its new times."""
    services = call.services
    services.publish(written.events)
    if written.events:
        match = orjson.loads(written.body)
        start, end = datetime.fromisoformat(match["startTime"]), datetime.fromisoformat(match["endTime"])
        services.schedule.plan(match["id"], match["status"], start, end)


# In the order of their frequency, since the router tries one after the other.
routes = [get_match, list_matches, create_match, change_match, set_score, end_match]
