"""The workload for both servers: the same matches and five kinds of request, in each application's spelling."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.load.http_load import CONNECTIONS, Server, Work, ask_all, request

MATCHES = 60
"""More than one page of the list, which has 50."""

READ_MATCH = 40
"""A match that is never written to, so that its ETag stays valid."""

LIST, ONE, NOT_MODIFIED, POST, GOAL = "list of 50", "one match", "not modified (304)", "POST commentary", "POST goal"

AIMS = {LIST: 2.5, ONE: 2.5, NOT_MODIFIED: 2.5, POST: 2.0, GOAL: 1.0}
"""Target ratios to the textbook application's requests per CPU second.

A goal, which moves the state of its match, may cost twice as much as commentary. For the textbook both are the same.
"""

Body = Mapping[str, Any]

COMMENTARY: Body = {
    "minute": 23,
    "sequence": 7,
    "eventType": "shot",
    "actor": "Kylian Mbappé",
    "team": "France",
    "message": "From twenty metres, just wide of the left post.",
    "metadata": {"x": 31, "y": 12},
    "tags": ["shot", "open-play"],
}
"""A commentary of typical length."""

SCORED: Body = {**COMMENTARY, "eventType": "goal", "metadata": {"scoreDelta": {"home": 1}}}
"""An entry that moves the score."""


@dataclass(frozen=True, slots=True)
class Application:
    """The spelling of an application's body fields."""

    spell: Callable[[Body], Body]
    has_etag: bool


def _as_textbook(body: Body) -> Body:
    # SQLModel reserves the name `metadata`.
    return {"details" if key == "metadata" else _snake(key): value for key, value in body.items()}


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


LIVESCORE = Application(dict, has_etag=True)
TEXTBOOK = Application(_as_textbook, has_etag=False)


@dataclass(frozen=True, slots=True)
class Prepared:
    """The kinds of request by name, and the matches they write to."""

    works: dict[str, Work]
    written: list[int]


async def prepare(application: Application, server: Server) -> Prepared:
    """Create the matches and the five kinds of request."""
    ids = await create_matches(application, server, MATCHES)
    one = f"/matches/{ids[READ_MATCH]}"
    known = (await ask_all(server.port, [request("GET", one)], 200))[0].header("etag") or '"none"'
    written = ids[:CONNECTIONS]
    works = {
        LIST: Work([request("GET", "/matches")], 200),
        ONE: Work([request("GET", one)], 200),
        NOT_MODIFIED: Work([request("GET", one, if_none_match=known)], 304 if application.has_etag else 200),
        POST: Work([commentary(match_id, application) for match_id in written], 201),
        GOAL: Work([commentary(match_id, application, SCORED) for match_id in written], 201),
    }
    return Prepared(works, written)


async def create_matches(application: Application, server: Server, count: int) -> list[int]:
    """Create live matches.

    Returns:
        Their ids.
    """
    bodies = [application.spell(_match(number)) for number in range(count)]
    answers = await ask_all(server.port, [request("POST", "/matches", body) for body in bodies], 201)
    return [answer.json()["data"]["id"] for answer in answers]


def commentary(match_id: int, application: Application = LIVESCORE, body: Body = COMMENTARY) -> bytes:
    """Return a request that adds commentary to a match."""
    return request("POST", f"/matches/{match_id}/commentary", application.spell(body))


def _match(number: int) -> Body:
    now = datetime.now(UTC)
    return {
        "sport": "football",
        "homeTeam": f"Racing Club {number}",
        "awayTeam": f"Sporting Union {number}",
        "startTime": _instant(now - timedelta(hours=1)),
        "endTime": _instant(now + timedelta(hours=1)),
    }


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
