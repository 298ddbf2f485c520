"""``/competitions``: list, read, matches, standings."""

from hashlib import blake2b
from typing import Any

import orjson
from starlette.responses import Response

from livescore.api import matches, responses
from livescore.api.caching import LIST_MAX_AGE, cache_control_header
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.competitions import (
    CompetitionAnswer,
    CompetitionsAnswer,
    CompetitionsQuery,
    StandingsAnswer,
    StandingsQuery,
)
from livescore.api.schemas.matches import CompetitionMatchesQuery, MatchesAnswer
from livescore.scores.standings.rules import RuleSet

PATH = "/competitions/{competitionId}"

# Bytes of the digest in an ETag.
_TAG_BYTES = 12


@endpoint(
    "GET",
    "/competitions",
    query=CompetitionsQuery,
    answer=CompetitionsAnswer,
    access="read",
    conditional=True,
    tag="competitions",
)
async def list_competitions(call: Call, query: CompetitionsQuery) -> Response:
    """Return a page of competitions, by id. A competition exists from its first match on."""
    page = await call.services.competitions.page(query.limit + 1, query.cursor or "")
    data = [{"id": id_, "name": name, "seasons": seasons} for id_, name, seasons in page[: query.limit]]
    next_cursor = data[-1]["id"] if len(page) > query.limit else None
    return _response(call, orjson.dumps({"data": data, "nextCursor": next_cursor}))


@endpoint(
    "GET",
    PATH,
    answer=CompetitionAnswer,
    access="read",
    not_found=True,
    conditional=True,
    tag="competitions",
)
async def get_competition(call: Call) -> Response:
    """Return a competition with its seasons and their rules."""
    competitions = call.services.competitions
    name = await competitions.name(call.competition)
    seasons = [
        {
            "season": season.name,
            "ruleSet": _rule_set(season.rules),
            "adjustments": [
                {"team": each.team, "points": each.points, "reason": each.reason}
                for each in season.decisions.adjustments
            ],
        }
        for season in await competitions.seasons(call.competition)
    ]
    return _response(call, orjson.dumps({"data": {"id": call.competition, "name": name, "seasons": seasons}}))


@endpoint(
    "GET",
    f"{PATH}/matches",
    query=CompetitionMatchesQuery,
    answer=MatchesAnswer,
    access="read",
    not_found=True,
    tag="competitions",
)
async def list_competition_matches(call: Call, query: CompetitionMatchesQuery) -> Response:
    """Return a page of the matches of a competition, newest first."""
    await call.services.competitions.name(call.competition)
    return await matches.page_of_matches(call, query, {"competition": [call.competition]})


@endpoint(
    "GET",
    f"{PATH}/standings",
    query=StandingsQuery,
    answer=StandingsAnswer,
    access="read",
    not_found=True,
    conditional=True,
    tag="competitions",
)
async def get_standings(call: Call, query: StandingsQuery) -> Response:
    """Return the tables of a season. They follow within two seconds of a change of a match."""
    live = bool(query.live)
    standings = await call.services.competitions.standings(
        call.competition, query.season, live=live, stage=query.stage, group=query.group
    )
    season = standings.season
    head = {
        "competition": call.competition,
        "season": season.name,
        "live": live,
        "ruleSet": _rule_set(season.rules),
    }
    body = b'{"data":%b,"tables":[%b]}}' % (orjson.dumps(head)[:-1], standings.tables.encode())
    return _response(call, body)


def _rule_set(rules: RuleSet) -> dict[str, Any]:
    """Return the member ``ruleSet``."""
    return {
        "id": rules.id,
        "article": rules.article,
        "source": rules.source,
        "points": {"win": rules.points.win, "draw": rules.points.draw, "loss": rules.points.loss},
        "criteria": [criterion.name for criterion in rules.criteria],
    }


def _response(call: Call, body: bytes) -> Response:
    """Return a body with a digest of it as its ETag, or 304 if the client has it."""
    tag = f'"{blake2b(body, digest_size=_TAG_BYTES).hexdigest()}"'
    caching = cache_control_header(LIST_MAX_AGE, private=call.services.settings.read_keys_required)
    return responses.conditional(call, tag, [caching], body)


routes = [get_standings, list_competition_matches, get_competition, list_competitions]
