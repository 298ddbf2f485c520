"""Standings: rule sets applied to real results, and to made-up ones where no real season shows a rule.

The groups below are those of World Cups in which the order depends on the rules; the other results of each group are
facts of public record. Whole league seasons are read from https://github.com/openfootball/football.json (public
domain) if ``OPENFOOTBALL_DATA`` is set; see :mod:`tests.support.openfootball`.
"""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.scores.standings.rule_sets import RULE_SETS, choose
from livescore.scores.standings.rules import Criterion, RuleSet
from livescore.scores.standings.table import NO_DECISIONS, Adjustment, Fixture, Row, Season, Table, tables
from livescore.scores.state import Cards, Score
from tests.support import openfootball

_LINE = re.compile(r"(?P<home>.+) (?P<home_score>\d+)-(?P<away_score>\d+) (?P<away>.+)|(?P<first>.+) v (?P<second>.+)")


def fixtures(text: str, group: str | None = None) -> list[Fixture]:
    """Return the matches of a text: ``Home 2-1 Away``, or ``Home v Away`` to be played, separated by semicolons."""
    result = []
    for line in text.split(";"):
        match = _LINE.fullmatch(line.strip())
        assert match, line
        if match["first"]:
            result.append(Fixture(match["first"], match["second"], played=False, group=group))
        else:
            score = Score(int(match["home_score"]), int(match["away_score"]))
            result.append(Fixture(match["home"], match["away"], score, group=group))
    return result


def only_table(matches: list[Fixture], rules: RuleSet, season: Season = NO_DECISIONS) -> tuple[Row, ...]:
    """Return the rows of a season's single table."""
    (table,) = (table for table in tables(matches, rules, season) if table.kind != "across")
    return table.rows


def summary(row: Row) -> tuple[str, int, int, int, str | None]:
    """Return team, goals, points and criterion of a row."""
    return row.team, row.goals_for, row.goals_against, row.points, row.decided_by


class Group(NamedTuple):
    """A group of a World Cup and its published table.

    Attributes:
        table: Team, goals for and against, and points, in the published order.
        decided: Criterion that separated the team in this place from the next one.
        mutual_first: Whether the order differs if mutual matches come before the goal difference.
    """

    year: int
    name: str
    results: str
    table: tuple[tuple[str, int, int, int], ...]
    decided: tuple[int, str]
    mutual_first: bool = True


GROUPS = (
    Group(
        1970,
        "Group 2",
        "Uruguay 2-0 Israel; Italy 1-0 Sweden; Uruguay 0-0 Italy; Sweden 1-1 Israel; Sweden 1-0 Uruguay; "
        "Italy 0-0 Israel",
        (("Italy", 1, 0, 4), ("Uruguay", 2, 1, 3), ("Sweden", 2, 2, 3), ("Israel", 1, 3, 2)),
        (2, "goal_difference"),
    ),
    Group(
        1974,
        "Group 2",
        "Brazil 0-0 Yugoslavia; Zaire 0-2 Scotland; Yugoslavia 9-0 Zaire; Scotland 0-0 Brazil; "
        "Scotland 1-1 Yugoslavia; Zaire 0-3 Brazil",
        (("Yugoslavia", 10, 1, 4), ("Brazil", 3, 0, 4), ("Scotland", 3, 1, 4), ("Zaire", 0, 14, 0)),
        (2, "goal_difference"),
    ),
    Group(
        1978,
        "Group 3",
        "Austria 2-1 Spain; Brazil 1-1 Sweden; Austria 1-0 Sweden; Brazil 0-0 Spain; Spain 1-0 Sweden; "
        "Brazil 1-0 Austria",
        (("Austria", 3, 2, 4), ("Brazil", 2, 1, 4), ("Spain", 2, 2, 3), ("Sweden", 1, 3, 1)),
        (1, "goals_for"),
    ),
    Group(
        1978,
        "Group 4",
        "Peru 3-1 Scotland; Netherlands 3-0 Iran; Scotland 1-1 Iran; Netherlands 0-0 Peru; Peru 4-1 Iran; "
        "Scotland 3-2 Netherlands",
        (("Peru", 7, 2, 5), ("Netherlands", 5, 3, 3), ("Scotland", 5, 6, 3), ("Iran", 2, 8, 1)),
        (2, "goal_difference"),
    ),
    Group(
        1978,
        "Group A",
        "Italy 0-0 West Germany; Austria 1-5 Netherlands; Italy 1-0 Austria; Netherlands 2-2 West Germany; "
        "Italy 1-2 Netherlands; Austria 3-2 West Germany",
        (("Netherlands", 9, 4, 5), ("Italy", 2, 2, 3), ("West Germany", 4, 5, 2), ("Austria", 4, 8, 2)),
        (3, "goal_difference"),
    ),
    Group(
        1982,
        "Group 2",
        "West Germany 1-2 Algeria; Chile 0-1 Austria; West Germany 4-1 Chile; Algeria 0-2 Austria; "
        "Algeria 3-2 Chile; West Germany 1-0 Austria",
        (("West Germany", 6, 3, 4), ("Austria", 3, 1, 4), ("Algeria", 5, 5, 4), ("Chile", 3, 8, 0)),
        (1, "goal_difference"),
    ),
    Group(
        1994,
        "Group E",
        "Italy 0-1 Ireland; Norway 1-0 Mexico; Italy 1-0 Norway; Mexico 2-1 Ireland; Ireland 0-0 Norway; "
        "Italy 1-1 Mexico",
        (("Mexico", 3, 3, 4), ("Ireland", 2, 2, 4), ("Italy", 2, 2, 4), ("Norway", 1, 1, 4)),
        (2, "head_to_head_points"),
        mutual_first=False,
    ),
    Group(
        1994,
        "Group D",
        "Argentina 4-0 Greece; Nigeria 3-0 Bulgaria; Argentina 2-1 Nigeria; Greece 0-4 Bulgaria; Greece 0-2 Nigeria; "
        "Argentina 0-2 Bulgaria",
        (("Nigeria", 6, 2, 6), ("Bulgaria", 6, 3, 6), ("Argentina", 6, 3, 6), ("Greece", 0, 10, 0)),
        (2, "head_to_head_points"),
        mutual_first=False,
    ),
    Group(
        2002,
        "Group G",
        "Croatia 0-1 Mexico; Italy 2-0 Ecuador; Italy 1-2 Croatia; Mexico 2-1 Ecuador; Mexico 1-1 Italy; "
        "Ecuador 1-0 Croatia",
        (("Mexico", 4, 2, 7), ("Italy", 4, 3, 4), ("Croatia", 2, 3, 3), ("Ecuador", 2, 4, 3)),
        (3, "goal_difference"),
    ),
    Group(
        2006,
        "Group C",
        "Argentina 2-1 Ivory Coast; Serbia and Montenegro 0-1 Netherlands; Argentina 6-0 Serbia and Montenegro; "
        "Netherlands 2-1 Ivory Coast; Netherlands 0-0 Argentina; Ivory Coast 3-2 Serbia and Montenegro",
        (
            ("Argentina", 8, 1, 7),
            ("Netherlands", 3, 1, 7),
            ("Ivory Coast", 5, 6, 3),
            ("Serbia and Montenegro", 2, 10, 0),
        ),
        (1, "goal_difference"),
        mutual_first=False,
    ),
    Group(
        2022,
        "Group C",
        "Argentina 1-2 Saudi Arabia; Mexico 0-0 Poland; Poland 2-0 Saudi Arabia; Argentina 2-0 Mexico; "
        "Poland 0-2 Argentina; Saudi Arabia 1-2 Mexico",
        (("Argentina", 5, 2, 6), ("Poland", 2, 2, 4), ("Mexico", 2, 3, 4), ("Saudi Arabia", 3, 5, 3)),
        (2, "goal_difference"),
        mutual_first=False,
    ),
)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: f"{group.year} {group.name}")
def test_a_group_of_a_world_cup_has_its_published_table(group: Group) -> None:
    rows = only_table(fixtures(group.results, group.name), choose("world-cup", str(group.year)))
    assert [(row.team, row.goals_for, row.goals_against, row.points) for row in rows] == list(group.table)
    assert [row.position for row in rows] == [1, 2, 3, 4]
    place, criterion = group.decided
    assert rows[place - 1].decided_by == criterion
    assert not any(row.tied for row in rows)


@pytest.mark.parametrize(
    "group", [group for group in GROUPS if group.mutual_first], ids=lambda group: f"{group.year} {group.name}"
)
def test_a_rule_set_that_compares_mutual_matches_first_gives_another_order(group: Group) -> None:
    mutual_first = replace(RULE_SETS["world-cup-2026"], points=RULE_SETS["world-cup-1974"].points, across=None)
    rows = only_table(fixtures(group.results, group.name), mutual_first)
    assert [row.team for row in rows] != [team for team, *_ in group.table]


def test_lots_separate_ireland_and_the_netherlands_in_1990() -> None:
    matches = fixtures(
        "England 1-1 Ireland; Netherlands 1-1 Egypt; England 0-0 Netherlands; Ireland 0-0 Egypt; England 1-0 Egypt; "
        "Ireland 1-1 Netherlands",
        "Group F",
    )
    rules = choose("world-cup", "1990")
    rows = only_table(matches, rules)
    assert [(row.position, row.team, row.tied) for row in rows] == [
        (1, "England", False),
        (2, "Ireland", True),
        (2, "Netherlands", True),
        (4, "Egypt", False),
    ]
    assert rows[1].decided_by is None
    rows = only_table(matches, rules, Season(orders={"lots": ["Ireland", "Netherlands"]}))
    assert [(row.position, row.team, row.tied) for row in rows][1:3] == [
        (2, "Ireland", False),
        (3, "Netherlands", False),
    ]
    assert rows[1].decided_by == "lots"


_GROUP_H = fixtures(
    "Colombia 1-2 Japan; Poland 1-2 Senegal; Japan 2-2 Senegal; Poland 0-3 Colombia; Japan 0-1 Poland; "
    "Senegal 0-1 Colombia",
    "Group H",
)


def test_cards_separate_japan_and_senegal_in_2018() -> None:
    rules = choose("world-cup", "2018")
    rows = only_table(_GROUP_H, rules)
    assert [row.team for row in rows if row.tied] == ["Japan", "Senegal"]
    rows = only_table(_GROUP_H, rules, Season(conduct={"Japan": -4, "Senegal": -6}))
    assert [row.team for row in rows] == ["Colombia", "Japan", "Senegal", "Poland"]
    assert rows[1].decided_by == "conduct"


def test_cards_of_the_matches_give_the_conduct_points() -> None:
    """A player's second yellow card costs three points in place of two for both; a direct red one costs four."""
    cards = {
        ("Colombia", "Japan"): Cards(yellow=Score(0, 1)),
        ("Poland", "Senegal"): Cards(yellow=Score(0, 1), red=Score(0, 1)),
        ("Japan", "Senegal"): Cards(yellow=Score(2, 2), red=Score(1, 0), second_yellow=Score(1, 0)),
        ("Japan", "Poland"): Cards(yellow=Score(2, 0)),
        ("Senegal", "Colombia"): Cards(),
    }
    known = [replace(match, cards=cards.get((match.home, match.away), Cards())) for match in _GROUP_H]
    # Japan: 1 + 3 + 2 = 6. Senegal: 1 + 4 + 2 = 7.
    rows = only_table(known, choose("world-cup", "2018"))
    assert [row.team for row in rows] == ["Colombia", "Japan", "Senegal", "Poland"]
    assert rows[1].decided_by == "conduct"


class Club(NamedTuple):
    """A club's published totals: matches won, drawn and lost, goals for and against, points."""

    name: str
    won: int
    drawn: int
    lost: int
    goals_for: int
    goals_against: int
    points: int


class Tie(NamedTuple):
    """Clubs that ended a league season level on points, in the published order, and their mutual matches."""

    league: str
    season: str
    clubs: tuple[Club, ...]
    mutual: str
    decided: tuple[str, ...]


TIES = (
    Tie(
        "es.1",
        "2014-15",
        (Club("Espanyol", 13, 10, 15, 47, 51, 49), Club("Rayo Vallecano", 15, 4, 19, 46, 68, 49)),
        "Rayo Vallecano 1-3 Espanyol; Espanyol 1-1 Rayo Vallecano",
        ("head_to_head_points",),
    ),
    Tie(
        "es.1",
        "2014-15",
        (
            Club("Deportivo", 7, 14, 17, 35, 60, 35),
            Club("Granada", 7, 14, 17, 29, 64, 35),
            Club("Eibar", 9, 8, 21, 34, 55, 35),
        ),
        "Granada 2-1 Deportivo; Eibar 0-1 Deportivo; Eibar 1-1 Granada; Deportivo 2-2 Granada; Deportivo 2-0 Eibar; "
        "Granada 0-0 Eibar",
        ("head_to_head_points", "head_to_head_points"),
    ),
    Tie(
        "es.1",
        "2018-19",
        (
            Club("Real Sociedad", 13, 11, 14, 45, 46, 50),
            Club("Betis", 14, 8, 16, 44, 52, 50),
            Club("Alavés", 13, 11, 14, 39, 50, 50),
        ),
        "Alavés 0-0 Betis; Betis 1-0 Real Sociedad; Real Sociedad 0-1 Alavés; Betis 1-1 Alavés; "
        "Real Sociedad 2-1 Betis; Alavés 0-1 Real Sociedad",
        ("head_to_head_points", "goal_difference"),
    ),
    Tie(
        "es.1",
        "2018-19",
        (Club("Getafe", 15, 14, 9, 48, 35, 59), Club("Sevilla", 17, 8, 13, 62, 47, 59)),
        "Sevilla 0-2 Getafe; Getafe 3-0 Sevilla",
        ("head_to_head_points",),
    ),
    Tie(
        "it.1",
        "2017-18",
        (Club("Inter", 20, 12, 6, 66, 30, 72), Club("Lazio", 21, 9, 8, 89, 49, 72)),
        "Inter 0-0 Lazio; Lazio 2-3 Inter",
        ("head_to_head_points",),
    ),
    Tie(
        "it.1",
        "2017-18",
        (Club("Torino", 13, 15, 10, 54, 46, 54), Club("Sampdoria", 16, 6, 16, 56, 60, 54)),
        "Torino 2-2 Sampdoria; Sampdoria 1-1 Torino",
        ("goal_difference",),
    ),
    Tie(
        "en.1",
        "2017-18",
        (
            Club("Newcastle", 12, 8, 18, 39, 47, 44),
            Club("Crystal Palace", 11, 11, 16, 45, 55, 44),
            Club("Bournemouth", 11, 11, 16, 45, 61, 44),
        ),
        "Newcastle 0-1 Bournemouth; Bournemouth 2-2 Newcastle; Newcastle 1-0 Crystal Palace; "
        "Crystal Palace 1-1 Newcastle; Crystal Palace 2-2 Bournemouth; Bournemouth 2-2 Crystal Palace",
        ("goal_difference", "goal_difference"),
    ),
    Tie(
        "de.1",
        "2017-18",
        (
            Club("Hoffenheim", 15, 10, 9, 66, 48, 55),
            Club("Dortmund", 15, 10, 9, 64, 47, 55),
            Club("Leverkusen", 15, 10, 9, 58, 44, 55),
        ),
        "Dortmund 2-1 Hoffenheim; Hoffenheim 3-1 Dortmund; Leverkusen 1-1 Dortmund; Dortmund 4-0 Leverkusen; "
        "Hoffenheim 1-4 Leverkusen; Leverkusen 2-2 Hoffenheim",
        ("goal_difference", "goal_difference"),
    ),
)


def _other_matches(club: Club, mutual: list[Fixture]) -> list[Fixture]:
    """Return made-up matches against other clubs by which a club reaches its published totals."""
    (own,) = (row for row in only_table(mutual, RULE_SETS["premier-league"]) if row.team == club.name)
    wins, draws, losses = club.won - own.won, club.drawn - own.drawn, club.lost - own.lost
    scored, conceded = club.goals_for - own.goals_for, club.goals_against - own.goals_against
    scores = [
        Score(1 + scored - wins, 0),
        *[Score(1, 0)] * (wins - 1),
        *[Score(0, 0)] * draws,
        *[Score(0, 1)] * (losses - 1),
        Score(0, 1 + conceded - losses),
    ]
    return [Fixture(club.name, f"{club.name}'s opponent {number}", score) for number, score in enumerate(scores)]


@pytest.mark.parametrize("tie", TIES, ids=lambda tie: f"{tie.league} {tie.season} {tie.clubs[0].name}")
def test_clubs_of_a_league_that_are_level_on_points_have_their_published_order(tie: Tie) -> None:
    mutual = fixtures(tie.mutual)
    others = [match for club in tie.clubs for match in _other_matches(club, mutual)]
    names = [club.name for club in tie.clubs]
    rows = [row for row in only_table([*mutual, *others], choose(tie.league, tie.season)) if row.team in names]
    published = [
        (club.name, club.won, club.drawn, club.lost, club.goals_for, club.goals_against, club.points)
        for club in tie.clubs
    ]
    assert [
        (row.team, row.won, row.drawn, row.lost, row.goals_for, row.goals_against, row.points) for row in rows
    ] == published
    assert tuple(row.decided_by for row in rows[:-1]) == tie.decided


FINAL_TABLES = {
    ("2014-15", "es.1"): (
        "FC Barcelona 94, Real Madrid 92, Atlético Madrid 78, Valencia CF 77, Sevilla FC 76, Villarreal CF 60, "
        "Athletic Club 55, RC Celta 51, Málaga CF 50, Espanyol Barcelona 49, Rayo Vallecano 49, Real Sociedad 46, "
        "Elche CF 41, Levante UD 37, Getafe CF 37, Deportivo La Coruña 35, Granada CF 35, SD Eibar 35, UD Almería 32, "
        "Córdoba CF 20"
    ),
    ("2018-19", "es.1"): (
        "FC Barcelona 87, Atlético Madrid 76, Real Madrid 68, Valencia CF 61, Getafe CF 59, Sevilla FC 59, "
        "Espanyol Barcelona 53, Athletic Club 53, Real Sociedad 50, Real Betis 50, CD Alavés 50, SD Eibar 47, "
        "CD Leganés 45, Villarreal CF 44, Levante UD 44, Real Valladolid 41, RC Celta 41, Girona FC 37, SD Huesca 33, "
        "Rayo Vallecano 32"
    ),
    ("2017-18", "it.1"): (
        "Juventus 95, SSC Napoli 91, AS Roma 77, Inter 72, Lazio Roma 72, AC Milan 64, Atalanta 60, ACF Fiorentina 57, "
        "Torino FC 54, Sampdoria 54, Sassuolo Calcio 43, Genoa CFC 41, Chievo Verona 40, Udinese Calcio 40, "
        "Bologna FC 39, Cagliari Calcio 39, SPAL 2013 Ferrara 38, FC Crotone 35, Hellas Verona 25, Benevento Calcio 21"
    ),
    ("2017-18", "en.1"): (
        "Manchester City 100, Manchester United 81, Tottenham Hotspur 77, Liverpool FC 75, Chelsea FC 70, "
        "Arsenal FC 63, Burnley FC 54, Everton FC 49, Leicester City 47, Newcastle United 44, Crystal Palace 44, "
        "AFC Bournemouth 44, West Ham United 42, Watford FC 41, Brighton & Hove Albion 40, "
        "Huddersfield Town 37, Southampton FC 36, Swansea City 33, Stoke City 33, West Bromwich Albion 31"
    ),
    ("2017-18", "de.1"): (
        "Bayern München 84, FC Schalke 04 63, 1899 Hoffenheim 55, Borussia Dortmund 55, Bayer Leverkusen 55, "
        "RB Leipzig 53, VfB Stuttgart 51, Eintracht Frankfurt 49, Bor. Mönchengladbach 47, Hertha BSC 43, "
        "Werder Bremen 42, FC Augsburg 41, Hannover 96 39, 1. FSV Mainz 05 36, SC Freiburg 36, VfL Wolfsburg 33, "
        "Hamburger SV 31, 1. FC Köln 22"
    ),
}
"""Published final tables, by season and league, in the spelling of openfootball."""


def _read(file: Path) -> list[Fixture]:
    """Return the matches of a file of openfootball."""
    matches = json.loads(file.read_text())["matches"]
    return [
        Fixture(match["team1"], match["team2"], Score(*match["score"]["ft"]), group=match.get("group"))
        for match in matches
        if "ft" in match.get("score", {})
    ]


@pytest.mark.parametrize(("season", "league"), FINAL_TABLES, ids="-".join)
def test_a_league_season_has_its_published_final_table(season: str, league: str) -> None:
    rows = only_table(_read(openfootball.league(season, league)), choose(league, season))
    assert ", ".join(f"{row.team} {row.points}" for row in rows) == FINAL_TABLES[season, league]
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))


THIRDS = {
    1986: "Belgium, Poland, Bulgaria, Uruguay, Hungary, Northern Ireland",
    1994: "Argentina, Belgium, USA, Italy, Russia, South Korea",
}


@pytest.mark.parametrize("year", THIRDS)
def test_thirds_of_a_world_cup_have_their_published_order(year: int) -> None:
    across = tables(_read(openfootball.world_cup(year)), choose("world-cup", str(year)))[-1]
    assert (across.kind, ", ".join(row.team for row in across.rows)) == ("across", THIRDS[year])
    assert [row.advances for row in across.rows] == [True] * 4 + [False] * 2


# The first two of each group, in the order of the groups.
ADVANCED = {
    1994: "Romania, Switzerland, Brazil, Sweden, Germany, Spain, Nigeria, Bulgaria, Mexico, Ireland, "
    "Netherlands, Saudi Arabia",
    2006: "Germany, Ecuador, England, Sweden, Argentina, Netherlands, Portugal, Mexico, Italy, Ghana, Brazil, "
    "Australia, Switzerland, France, Spain, Ukraine",
    2022: "Netherlands, Senegal, England, USA, Argentina, Poland, France, Australia, Japan, Spain, Morocco, Croatia, "
    "Brazil, Switzerland, Portugal, South Korea",
}


@pytest.mark.parametrize("year", ADVANCED)
def test_the_first_two_of_each_group_are_those_that_advanced(year: int) -> None:
    groups = [
        table
        for table in tables(_read(openfootball.world_cup(year)), choose("world-cup", str(year)))
        if table.kind == "group"
    ]
    assert ", ".join(row.team for table in groups for row in table.rows[:2]) == ADVANCED[year]
    assert all(row.played == 3 for table in groups for row in table.rows)


# Rules that no season above shows


def test_thirds_are_ranked_over_the_matches_of_their_groups() -> None:
    first = fixtures("A1 1-0 A2; A1 1-0 A3; A2 3-0 A3", "Group A")
    second = fixtures("B1 1-0 B2; B1 2-1 B3; B2 1-0 B3", "Group B")
    third = fixtures("C1 v C2; C1 v C3; C2 v C3", "Group C")
    *_, across = tables([*first, *second, *third], RULE_SETS["world-cup-2026"])
    assert across.kind == "across"
    assert [(row.position, row.team, row.group) for row in across.rows] == [
        (1, "C3", "Group C"),
        (2, "B3", "Group B"),
        (3, "A3", "Group A"),
    ]
    assert [row.decided_by for row in across.rows] == ["goal_difference", "goal_difference", None]


def test_mutual_criteria_are_skipped_until_all_mutual_matches_are_played() -> None:
    level = "A 1-0 B; C 0-1 B; A 0-2 C"
    rules = RULE_SETS["la-liga"]
    rows = only_table(fixtures(f"{level}; B v A; B v C; C v A"), rules)
    assert [summary(row) for row in rows] == [
        ("C", 2, 1, 3, "goal_difference"),
        ("B", 1, 1, 3, "goal_difference"),
        ("A", 1, 2, 3, None),
    ]
    # B won more of the two mutual matches, although A has the better goal difference.
    rows = only_table(fixtures("A 1-0 B; B 3-0 A; A 5-0 C; C 1-0 A; B 0-1 C; C 0-1 B"), rules)
    assert [row.team for row in rows][:2] == ["B", "A"]
    assert rows[0].decided_by == "head_to_head_goal_difference"


def test_without_a_list_of_matches_to_come_the_meetings_tell_whether_mutual_matches_are_played() -> None:
    """A league of two rounds, of which the clients create the matches as they are played."""
    rows = only_table(fixtures("A 1-0 B; B 4-0 C; C 1-2 A; C 0-5 B; A 0-3 C"), RULE_SETS["la-liga"])
    assert [summary(row)[0::3] for row in rows] == [("B", 6), ("A", 6), ("C", 3)]
    assert rows[0].decided_by == "goal_difference"


def test_a_running_season_of_the_bundesliga_shares_positions() -> None:
    """Until both mutual matches are played only goal difference and goals count, not away goals."""
    rules = RULE_SETS["bundesliga"]
    rows = only_table(fixtures("A 1-1 B; C 2-1 A; B 2-1 C; B v A; A v C; C v B"), rules)
    assert [(row.position, row.team, row.tied) for row in rows] == [(1, "B", False), (2, "C", False), (3, "A", False)]
    rows = only_table(fixtures("A 1-0 C; D 0-1 B; A v B; B v A"), rules)
    assert [(row.position, row.team, row.tied) for row in rows] == [
        (1, "A", True),
        (1, "B", True),
        (3, "C", True),
        (3, "D", True),
    ]


_THREE_LEVEL = "A 1-0 B; B 1-0 C; C 2-1 A; A 1-0 D; B 1-0 D; C 1-0 D"


def test_mutual_criteria_are_reapplied_to_the_teams_that_remain_level() -> None:
    """C leads the mutual table by its goals; A and B remain, and A won their match."""
    match_goals = (Criterion("points"), Criterion("goals_for", mutual=True), Criterion("points", mutual=True))
    never = RuleSet("never", "", "", (*match_goals, Criterion("lots")))
    # Goals in mutual matches: C 2, A 2, B 1. Then points: C, A and B have three each.
    once = only_table(fixtures(_THREE_LEVEL), never, Season(orders={"lots": ["C", "A", "B", "D"]}))
    assert [summary(row)[0::4] for row in once] == [
        ("C", "lots"),
        ("A", "head_to_head_goals_for"),
        ("B", "points"),
        ("D", None),
    ]
    again = only_table(
        fixtures(_THREE_LEVEL), replace(never, reapply="after_block"), Season(orders={"lots": ["A", "C", "B", "D"]})
    )
    assert [row.team for row in again] == ["C", "A", "B", "D"]
    assert again[0].decided_by == "head_to_head_goals_for"


def test_points_are_adjusted_with_a_note() -> None:
    season = Season(adjustments=(Adjustment("A", -3, "fielded an ineligible player"), Adjustment("A", -1)))
    rows = only_table(fixtures("A 2-0 B; A 1-0 B"), RULE_SETS["default"], season)
    assert [(row.team, row.points, row.adjustment, row.note) for row in rows] == [
        ("A", 2, -4, "3 points deducted: fielded an ineligible player; 1 point deducted"),
        ("B", 0, 0, None),
    ]


def test_an_adjustment_does_not_count_in_mutual_matches() -> None:
    season = Season(adjustments=(Adjustment("A", -3),))
    rows = only_table(fixtures("A 1-0 B; B 1-1 A"), RULE_SETS["la-liga"], season)
    assert [(row.team, row.points) for row in rows] == [("A", 1), ("B", 1)]
    assert rows[0].decided_by == "head_to_head_points"


def test_form_has_the_last_five_results_oldest_first() -> None:
    rows = only_table(fixtures("A 1-0 B; B 2-0 A; A 1-1 B; A 2-0 B; A 3-0 B; A 0-0 B; A v B"), RULE_SETS["default"])
    assert {row.team: row.form for row in rows} == {"A": "LDWWD", "B": "WDLLD"}


def test_an_awarded_match_counts_for_its_winner_whatever_the_score() -> None:
    match = Fixture("A", "B", Score(2, 1), winner="away", decided_by="awarded")
    rows = only_table([match], RULE_SETS["default"])
    assert [(row.team, row.won, row.points) for row in rows] == [("B", 1, 3), ("A", 0, 0)]
    after_penalties = Fixture("A", "B", Score(1, 1), winner="away", decided_by="penalties")
    assert [row.drawn for row in only_table([after_penalties], RULE_SETS["default"])] == [1, 1]


def test_knock_out_matches_are_in_no_table() -> None:
    matches = [*fixtures("A 1-0 B", "Group A"), *fixtures("A 5-0 C")]
    assert [[row.team for row in table.rows] for table in tables(matches, RULE_SETS["default"])] == [["A", "B"]]
    assert tables(matches, RULE_SETS["knockout"]) == []


def test_each_stage_has_its_own_tables() -> None:
    matches = [replace(match, stage="first") for match in fixtures("A 1-0 B", "A")]
    matches += [replace(match, stage="second") for match in fixtures("A 0-1 C", "A")]
    result: list[Table] = tables(matches, RULE_SETS["default"])
    assert [(table.stage, table.group, table.rows[0].team) for table in result] == [
        ("first", "A", "A"),
        ("second", "A", "C"),
    ]


@pytest.mark.parametrize(
    ("competition", "season", "rules"),
    [
        ("world-cup", "2022", "world-cup-2018"),
        ("World Cup 2026", None, "world-cup-2026"),
        ("fifa_world_cup", "1978", "world-cup-1974"),
        ("wc", None, "world-cup-2026"),
        ("euro", "2024", "euro-2024"),
        ("euro", "2020", "default"),
        ("en.1", "2017-18", "premier-league"),
        ("premier-league", "2024/25", "premier-league-2019"),
        ("es.1", "2018-19", "la-liga"),
        ("La Liga", "2018", "la-liga"),
        ("it.1", "2017-18", "serie-a"),
        ("serie-a", "2023", "serie-a-2022"),
        ("de.1", "2017-18", "bundesliga"),
        ("my-league", "2024", "default"),
    ],
)
def test_competition_and_season_choose_the_rule_set(competition: str, season: str | None, rules: str) -> None:
    assert choose(competition, season).id == rules


_TEAMS = ("A", "B", "C", "D")
_SCORES = st.builds(Score, st.integers(0, 2), st.integers(0, 2))
_RESULTS = st.lists(
    st.tuples(st.permutations(_TEAMS), _SCORES).map(lambda drawn: Fixture(drawn[0][0], drawn[0][1], drawn[1])),
    max_size=12,
)


@given(_RESULTS, st.sampled_from(sorted(RULE_SETS)), st.randoms())
def test_tables_add_up_and_do_not_depend_on_the_order_of_play(
    results: list[Fixture], rule_set: str, shuffler: Random
) -> None:
    rules = replace(RULE_SETS[rule_set], tables="stage", across=None)
    for rows in (table.rows for table in tables(results, rules)):
        assert sum(row.goals_for - row.goals_against for row in rows) == 0
        assert sum(row.won for row in rows) == sum(row.lost for row in rows)
        assert [row.points for row in rows] == sorted((row.points for row in rows), reverse=True)
        for above, below in pairwise(rows):
            assert (above.decided_by is None) == (above.position == below.position)
            assert above.decided_by is not None or (above.tied and below.tied)
        shuffled = shuffler.sample(results, len(results))
        again = tables(shuffled, rules)[0].rows
        assert [replace(row, form="") for row in again] == [replace(row, form="") for row in rows]


def test_every_rule_set_cites_its_article_and_source() -> None:
    for rules in RULE_SETS.values():
        assert rules.article
        assert rules.source
        assert rules.criteria[0] == Criterion("points")
