"""Tournament files of every edition are read alike, and errors name the match and the field."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.imports.openfootball import FormatError, Goal, Match, Pair, Score, parse, read

DATA = Path(__file__).parent.parent / "data"
PLAIN = {"team1": "Juist", "team2": "Borkum", "date": "2021-06-11"}


def write(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def read_match(directory: Path, **fields: Any) -> Match:
    file = write(directory / "file.json", {"name": "Cup", "matches": [{**PLAIN, **fields}]})
    return read(file).matches[0]


def test_current_file_format_is_read() -> None:
    tournament = read(DATA / "tournament-today.json")

    assert tournament.name == "Island Cup 2031"
    assert tournament.matches[0] == Match(
        home="Norderney",
        away="Spiekeroog",
        kick_off=datetime(2021, 6, 11, 19, tzinfo=UTC),
        score=Score(half_time=Pair(1, 0), full_time=Pair(2, 1)),
        goals=(
            Goal("home", "Ada Holm", 45, 2, penalty=True),
            Goal("home", "Ben Kray", 90, 3, own_goal=True),
            Goal("away", "Cleo Diaz", 46),
        ),
        stage="Group stage",
        round="Matchday 1",
        group="Group A",
        day=date(2021, 6, 11),
        ground="Dune Park",
        outcome="played",
    )


def test_extra_time_and_penalties_are_read() -> None:
    final = read(DATA / "tournament-today.json").matches[2]

    assert final.score == Score(Pair(2, 0), Pair(2, 2), Pair(3, 3), Pair(4, 2))
    assert final.score.final == Pair(3, 3)


def test_older_format_with_rounds_is_read() -> None:
    semi, other, cancelled, final = read(DATA / "tournament-rounds.json").matches

    assert (semi.home, semi.away, semi.stage, semi.ground) == ("Emden", "Leer", "Semi-finals", "Quay Ground")
    assert semi.score == Score(half_time=Pair(1, 1), full_time=Pair(3, 1))
    assert [goal.minute for goal in semi.goals] == [None, None, 70, 12]
    assert (other.away, other.score.final) == ("WIL", Pair(2, 1))
    assert cancelled.outcome == "cancelled"
    assert (final.score.final, final.goals) == (Pair(0, 1), (Goal("away", "Kim Stahl", 5),))


def test_matches_are_ordered_by_kick_off() -> None:
    kick_offs = [match.kick_off for match in read(DATA / "tournament-rounds.json").matches]

    assert kick_offs == sorted(kick_offs)


@pytest.mark.parametrize(
    ("fields", "hour", "minute"),
    [
        ({}, 12, 0),
        ({"time": None}, 12, 0),
        ({"time": "19:00"}, 19, 0),
        ({"time": "13:00 UTC-6"}, 19, 0),
        ({"time": "13:30 UTC+5:30"}, 8, 0),
        ({"time": "19:45 UTC\u00b10"}, 19, 45),
        ({"time": "20:45 CEST"}, 18, 45),
        ({"time": "18:00", "timezone": "UTC+3"}, 15, 0),
        ({"time": "18:00", "timezone": "?"}, 18, 0),
    ],
)
def test_kick_off_is_utc(tmp_path: Path, fields: dict[str, Any], hour: int, minute: int) -> None:
    assert read_match(tmp_path, **fields).kick_off == datetime(2021, 6, 11, hour, minute, tzinfo=UTC)


def test_kick_off_may_fall_on_the_next_day_in_utc(tmp_path: Path) -> None:
    assert read_match(tmp_path, time="20:00 UTC-6").kick_off == datetime(2021, 6, 12, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "minute", "stoppage"),
    [
        ({"minute": 16}, 16, 0),
        ({"minute": "16"}, 16, 0),
        ({"minute": "90+3"}, 90, 3),
        ({"minute": "45'+2'"}, 45, 2),
        ({"minute": 90, "offset": 13}, 90, 13),
        ({"minute": None}, None, 0),
        ({"minute": ""}, None, 0),
        ({}, None, 0),
    ],
)
def test_minutes_are_read_in_every_notation(
    tmp_path: Path, fields: dict[str, Any], minute: int | None, stoppage: int
) -> None:
    goal = read_match(tmp_path, goals1=[{"name": "Ada Holm", **fields}]).goals[0]

    assert (goal.minute, goal.stoppage) == (minute, stoppage)


@pytest.mark.parametrize("score", [None, {}, {"ft": []}, {"ft": [None, None]}, {"ht": [1, 0]}])
def test_a_match_without_a_final_score_is_not_played(tmp_path: Path, score: Any) -> None:
    assert read_match(tmp_path, score=score).outcome == "unplayed"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (None, "played"),
        ("", "played"),
        ("FT", "played"),
        ("POSTPONED", "postponed"),
        ("Postponed", "postponed"),
        ("CANCELED", "cancelled"),
        ("cancelled", "cancelled"),
        ("ANNULLED", "cancelled"),
        ("ABANDONED", "abandoned"),
        ("suspended", "abandoned"),
        ("AWARDED", "awarded"),
        (" W/O ", "awarded"),
    ],
)
def test_status_in_the_file_decides_the_outcome(tmp_path: Path, status: str | None, outcome: str) -> None:
    assert read_match(tmp_path, status=status, score={"ft": [1, 0]}).outcome == outcome


@pytest.mark.parametrize(
    ("fields", "stage", "round_", "group"),
    [
        ({"round": "Matchday 12", "group": "Group H"}, "Group stage", "Matchday 12", "Group H"),
        ({"round": "Matchday 12"}, None, "Matchday 12", None),
        ({"round": "Semi-finals"}, "Semi-finals", "Semi-finals", None),
        ({"round": "Group 2 Play-off"}, "Group 2 Play-off", "Group 2 Play-off", None),
        ({"round": "Group A"}, "Group stage", None, "Group A"),
        ({"round": "League, Matchday 3"}, "League", "League, Matchday 3", None),
        ({"round": "5. Round"}, None, "5. Round", None),
        ({"round": "Matchday 1", "stage": "Playoffs"}, "Playoffs", "Matchday 1", None),
        ({}, None, None, None),
    ],
)
def test_stage_follows_from_round_and_group(
    tmp_path: Path, fields: dict[str, Any], stage: str | None, round_: str | None, group: str | None
) -> None:
    match = read_match(tmp_path, **fields)

    assert (match.stage, match.round, match.group) == (stage, round_, group)


@pytest.mark.parametrize(
    ("name", "competition", "season"),
    [
        ("World Cup 2022", "World Cup", "2022"),
        ("English Premier League 2017/18", "English Premier League", "2017/18"),
        ("World Cup 2026 Qualifying", "World Cup Qualifying", "2026"),
        ("Island Cup", "Island Cup", None),
        ("1994", "1994", "1994"),
    ],
)
def test_name_contains_competition_and_season(tmp_path: Path, name: str, competition: str, season: str | None) -> None:
    tournament = read(write(tmp_path / "file.json", {"name": name, "matches": []}))

    assert (tournament.competition, tournament.season) == (competition, season)


def test_matches_without_errors_are_parsed_and_the_errors_name_row_and_field() -> None:
    tournament, problems = parse({"matches": [{**PLAIN, "date": "yesterday"}, PLAIN]}, "Cup")

    assert [match.home for match in tournament.matches] == ["Juist"]
    assert [(problem.row, problem.field) for problem in problems] == [(1, "date")]


def test_file_name_replaces_a_missing_name(tmp_path: Path) -> None:
    assert read(write(tmp_path / "cup-1921.json", {"matches": []})).name == "cup-1921"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"team1": None}, "field team1"),
        ({"team2": {"continent": "Europe"}}, "field team2"),
        ({"team2": "  "}, "field team2"),
        ({"date": "11 June"}, "field date"),
        ({"date": 20210611}, "field date"),
        ({"date": "0001-01-01"}, "field date"),
        ({"time": "noon"}, "field time"),
        ({"time": "25:00"}, "field time"),
        ({"time": "13:00 XYZ"}, "field time: unknown time zone 'XYZ'"),
        ({"timezone": "UTC+99"}, "field timezone"),
        ({"score": {"ft": [1]}}, "field score.ft.1"),
        ({"score": {"et": [1, "two"]}}, "field score.et.1"),
        ({"score": {"ft": [-1, 0]}}, "field score.ft.0"),
        ({"score": 3}, "field score"),
        ({"score1": "3"}, "field score1"),
        ({"goals1": {"name": "Ada Holm"}}, "field goals1"),
        ({"goals2": [{"minute": "soon"}]}, "field goals2.0.minute"),
        ({"goals2": [{"minute": True}]}, "field goals2.0.minute"),
        ({"goals2": [{"minute": 3, "offset": "x"}]}, "field goals2.0.offset"),
        ({"goals": [{"minute": 3, "team": "Langeoog"}]}, "goals.0.team must be Juist or Borkum"),
    ],
)
def test_error_names_the_match_and_field(tmp_path: Path, fields: dict[str, Any], named: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_match(tmp_path, **fields)

    assert "file.json" in str(caught.value)
    assert "match 1 (" in str(caught.value)
    assert named in str(caught.value)


def test_errors_are_reported_together_up_to_a_bound(tmp_path: Path) -> None:
    file = write(tmp_path / "file.json", {"matches": [{"team1": "Juist"} for _ in range(9)]})

    with pytest.raises(FormatError) as caught:
        read(file)

    lines = str(caught.value).splitlines()
    assert "match 5 (" in lines[10]
    assert lines[-1] == "  and 8 more"


def test_a_repeated_match_is_skipped_with_a_warning_and_the_result_is_kept(tmp_path: Path) -> None:
    played = {**PLAIN, "score": {"ft": [1, 0]}}

    tournament = read(write(tmp_path / "file.json", {"matches": [PLAIN, played, PLAIN]}))

    assert [match.score.final for match in tournament.matches] == [Pair(1, 0)]
    assert [warning.split(" (")[0] for warning in tournament.warnings] == ["match 2", "match 3"]
    assert "Juist" in tournament.warnings[0]


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ("{", "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        ([], 'expected an object with "matches" or "rounds"'),
        ({}, 'field "matches" must be a list'),
        ({"matches": {}}, 'field "matches" must be a list'),
        ({"rounds": [{"name": "Final"}]}, 'round 1: field "matches" must be a list'),
        ({"rounds": ["Final"]}, "round 1: expected an object"),
        ({"matches": ["Juist"]}, "match 1: field (the match itself)"),
    ],
)
def test_invalid_tournament_is_refused(tmp_path: Path, document: Any, named: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(write(tmp_path / "file.json", document))

    assert named in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"cup\.json cannot be opened: No such file"):
        read(tmp_path / "cup.json")


def test_non_text_bytes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cup.json").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(FormatError, match="is not a JSON file"):
        read(tmp_path / "cup.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
fields = (
    "team1",
    "team2",
    "date",
    "time",
    "timezone",
    "score",
    "goals1",
    "goals",
    "score1",
    "round",
    "ground",
    "status",
)


@given(st.dictionaries(st.sampled_from(fields), json_values, max_size=4))
def test_any_field_value_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]) -> None:
    file = write(tmp_path_factory.getbasetemp() / "any.json", {"matches": [PLAIN | changed]})

    try:
        tournament = read(file)
    except FormatError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert len(tournament.matches) == 1

    assert not refusal or "match 1" in refusal
