"""Recognises the format of a file and reads its matches."""

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from livescore.imports import openfootball, own_format
from livescore.imports.entries import Record, record
from livescore.imports.openfootball import FormatError, Match, Problem, Tournament
from livescore.imports.rows import DocumentError, ImportDocument, ImportOptions, ImportRow, SeasonData
from livescore.scores import json_text

JSON_TYPE = "application/json"
CSV_TYPE = "text/csv"

# Recorded duration of a football match: two halves with their break, and thirty minutes more with extra time.
REGULAR_TIME = timedelta(hours=2)
WITH_EXTRA_TIME = timedelta(hours=2, minutes=30)


def read(body: bytes, media_type: str, options: ImportOptions) -> ImportDocument:
    """Read a file.

    Args:
        body: The file.
        media_type: :data:`JSON_TYPE` or :data:`CSV_TYPE`.
        options: What the client says about the file.

    Raises:
        DocumentError: The file is of no known format.
    """
    # PostgreSQL's text cannot hold U+0000, which JSON may also write as an escape.
    if b"\x00" in body or b"\\u0000" in body:
        raise DocumentError("the file contains U+0000, which cannot be stored")
    if media_type == CSV_TYPE:
        return own_format.read_csv(body, options)
    try:
        document = json_text.parse(body.removeprefix(b"\xef\xbb\xbf"))
    except json_text.JsonError as error:
        raise DocumentError(str(error)) from None
    if not isinstance(document, dict):
        raise DocumentError('expected a JSON object with "matches"')
    return read_openfootball(document, options) if _is_openfootball(document) else own_format.read(document, options)


def _is_openfootball(document: dict[str, Any]) -> bool:
    if "rounds" in document:
        return True
    matches = document.get("matches")
    return isinstance(matches, list) and any(isinstance(match, dict) and "team1" in match for match in matches)


def read_openfootball(document: dict[str, Any], options: ImportOptions) -> ImportDocument:
    """Read a tournament or the season of a league of the openfootball project.

    Raises:
        DocumentError: The document has another structure.
    """
    try:
        tournament, problems = openfootball.parse(document, options.competition or "openfootball")
    except FormatError as error:
        raise DocumentError(str(error)) from None
    season = season_data(tournament, options)
    rows = tuple(_openfootball_rows(tournament, season))
    now = datetime.now(UTC)
    warnings = [Problem(0, text.partition(" repeats ")[0], "", text) for text in tournament.warnings]
    for row in rows:
        warnings += (Problem(row.number, row.label, "", text) for text in row.record.warnings)
        if row.record.status == "postponed" and row.values["end"] <= now:
            warnings.append(Problem(row.number, row.label, "score", "no result: the match counts as postponed"))
    failed = {problem.row for problem in problems}
    return ImportDocument("openfootball", len(rows) + len(failed), rows, tuple(problems), tuple(warnings), season)


def season_data(tournament: Tournament, options: ImportOptions) -> SeasonData:
    """Return the competition and the season of a tournament."""
    season = options.season or tournament.season
    return SeasonData(
        competition=options.competition or slug(tournament.competition),
        season=None if season is None else season.replace("/", "-"),
        name=tournament.competition,
        rule_set=options.rule_set,
    )


def _openfootball_rows(tournament: Tournament, season: SeasonData) -> Iterator[ImportRow]:
    used: set[str] = set()
    for match in tournament.matches:
        external_id = _external_id(match, season)
        if external_id in used:
            external_id = f"{external_id}/{match.kick_off:%Y-%m-%d}"
        used.add(external_id)
        yield ImportRow(match.row, match.title, external_id, _values(match, season, external_id), _record(match))


def _external_id(match: Match, season: SeasonData) -> str:
    """Return the same id for a match in every edition of its file, also after it was moved to another day."""
    teams = f"{slug(match.home)}-{slug(match.away)}"
    place = match.round or match.stage or f"{match.kick_off:%Y-%m-%d}"
    parts = [str(match.number)] if match.number is not None else [slug(place), teams]
    return "/".join([slug(season.competition), slug(season.season or "-"), *parts])


def _values(match: Match, season: SeasonData, external_id: str) -> dict[str, Any]:
    return {
        "sport": "football",
        "home_team": match.home,
        "away_team": match.away,
        "start": match.kick_off,
        "end": match.kick_off + (WITH_EXTRA_TIME if match.score.extra_time else REGULAR_TIME),
        "external_id": external_id,
        **fixture(match, season),
    }


def fixture(match: Match, season: SeasonData) -> dict[str, Any]:
    """Return what a match is part of, by the names of columns."""
    return {
        "competition": season.competition,
        "season": season.season,
        "stage": match.stage,
        "group": match.group,
        "round": match.round,
        "match_number": match.number,
        "venue": match.ground,
        "start_time_confirmed": match.has_time,
    }


def _record(match: Match) -> Record:
    """Return what the file says. A past match without a result is postponed: the clock would finish it at 0-0."""
    if match.outcome == "unplayed" and match.kick_off + REGULAR_TIME <= datetime.now(UTC):
        return Record(status="postponed")
    return record(match)


def slug(text: str) -> str:
    """Return a text in lower case without accents, with hyphens for everything else than letters and digits."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(char))
    return re.sub(r"[\W_]+", "-", plain).strip("-") or "-"
