"""The rule sets, and the competitions and seasons that use them.

Each rule set cites its article. If the text of the regulations was not at hand, ``source`` says which published text
or tables confirm the order instead.
"""

import re
from dataclasses import dataclass

from livescore.scores.standings.rules import Across, Conduct, Criterion, Points, RuleSet

_POINTS = Criterion("points")
_GOAL_DIFFERENCE = Criterion("goal_difference")
_GOALS = Criterion("goals_for")
_MUTUAL_POINTS = Criterion("points", mutual=True)
_MUTUAL_DIFFERENCE = Criterion("goal_difference", mutual=True)
_MUTUAL_GOALS = Criterion("goals_for", mutual=True)
_MUTUAL = (_MUTUAL_POINTS, _MUTUAL_DIFFERENCE, _MUTUAL_GOALS)
_OVERALL = (_POINTS, _GOAL_DIFFERENCE, _GOALS)
_CONDUCT = Criterion("conduct")
_RANKING = Criterion("ranking")
_LOTS = Criterion("lots")
_PLAY_OFF = Criterion("play_off")

_TWO_FOR_A_WIN = Points(win=2)

DEFAULT = RuleSet(
    id="default",
    article="none",
    source="LiveScore: the order that most leagues share, without a last criterion",
    criteria=_OVERALL,
)

NO_TABLES = RuleSet(
    id="knockout",
    article="none",
    source="LiveScore: competitions without tables",
    criteria=(_POINTS,),
    tables="none",
)

_WORLD_CUPS = (
    RuleSet(
        id="world-cup-1930",
        article="Group matches: play-off between teams level on points",
        source=(
            "Regulations of 1930 to 1958 were not at hand. The tables of 1954 (groups 2 and 4) and 1958 (groups 1, 3 "
            "and 4) confirm the play-offs, which are entered as an external order"
        ),
        criteria=(_POINTS, _PLAY_OFF, _LOTS),
        tables="group",
        points=_TWO_FOR_A_WIN,
    ),
    RuleSet(
        id="world-cup-1962",
        article="Group matches: goal average",
        source="Regulations of 1962 and 1966 were not at hand. The table of group 4 in 1962 confirms the order",
        criteria=(_POINTS, Criterion("goal_average"), _LOTS),
        tables="group",
        points=_TWO_FOR_A_WIN,
    ),
    RuleSet(
        id="world-cup-1970",
        article="Group matches: goal difference, then lots",
        source=(
            "Regulations of 1970 were not at hand. The tables of group 2 (goal difference) and group 1 (lots, although "
            "one team had scored more) confirm the order"
        ),
        criteria=(_POINTS, _GOAL_DIFFERENCE, _LOTS),
        tables="group",
        points=_TWO_FOR_A_WIN,
    ),
    RuleSet(
        id="world-cup-1974",
        article="Group matches: goal difference, goals scored, then lots",
        source=(
            "Regulations of 1974 to 1982 were not at hand. The tables of 1974 group 2, 1978 groups 3, 4 and A and 1982 "
            "group 2 confirm the order"
        ),
        criteria=(*_OVERALL, _LOTS),
        tables="group",
        points=_TWO_FOR_A_WIN,
    ),
    RuleSet(
        id="world-cup-1986",
        article="Group matches: goal difference, goals scored, mutual matches, then lots; the best four of six thirds",
        source="Regulations of 1986 and 1990 were not at hand. The table of 1990 group F (lots) confirms the order",
        criteria=(*_OVERALL, *_MUTUAL, _LOTS),
        tables="group",
        points=_TWO_FOR_A_WIN,
        across=Across(3, 4, (*_OVERALL, _LOTS)),
    ),
    RuleSet(
        id="world-cup-1994",
        article="Group matches: goal difference, goals scored, mutual matches, then lots; the best four of six thirds",
        source=(
            "Regulations of 1994 were not at hand: the order of 1998 to 2014 with the first three points for a win. "
            "The tables of groups D and E confirm it"
        ),
        criteria=(*_OVERALL, *_MUTUAL, _LOTS),
        tables="group",
        across=Across(3, 4, (*_OVERALL, _LOTS)),
    ),
    RuleSet(
        id="world-cup-1998",
        article="Article on the ranking in groups, paragraph 5 (a) to (g)",
        source=(
            "Regulations of the 2010 FIFA World Cup South Africa, page 47. They apply to 1998 to 2014; those of 2006, "
            "article 31 (5), were changed to this order in May 2006"
        ),
        criteria=(*_OVERALL, *_MUTUAL, _LOTS),
        tables="group",
    ),
    RuleSet(
        id="world-cup-2018",
        article="Article 32 (5) (a) to (h) in 2018, article 12 in 2022",
        source="Regulations of the 2018 FIFA World Cup Russia and of the FIFA World Cup Qatar 2022",
        criteria=(*_OVERALL, *_MUTUAL, _CONDUCT, _LOTS),
        tables="group",
        conduct=Conduct(yellow=1, second_yellow=3, red=4),
    ),
    RuleSet(
        id="world-cup-2026",
        article="Article 13, steps 1 to 3; best thirds: the paragraph after them",
        source="Regulations for the FIFA World Cup 26",
        criteria=(_POINTS, *_MUTUAL, _GOAL_DIFFERENCE, _GOALS, _CONDUCT, _RANKING),
        tables="group",
        reapply="after_block",
        conduct=Conduct(yellow=1, second_yellow=3, red=4),
        across=Across(3, 8, (*_OVERALL, _CONDUCT, _RANKING)),
    ),
)

_EURO_2024 = RuleSet(
    id="euro-2024",
    article="Article 20.01 (a) to (h) and 20.02",
    source=(
        "Regulations of the UEFA European Football Championship 2022-24. The shoot-out of 20.02, between two teams "
        "with the same goals, is entered as the external order `play_off`"
    ),
    criteria=(_POINTS, *_MUTUAL, _GOAL_DIFFERENCE, _GOALS, _PLAY_OFF, _CONDUCT, _RANKING, _LOTS),
    tables="group",
    reapply="after_block",
    conduct=Conduct(yellow=1, second_yellow=3, red=3),
    across=Across(3, 4, (*_OVERALL, _CONDUCT, _RANKING, _LOTS)),
)

_LEAGUES = (
    RuleSet(
        id="premier-league",
        article="Rule C.17 and the rules before it",
        source=(
            "Premier League Handbook 2017/18: goal difference, goals scored, then a play-off where the title, "
            "relegation or qualification depends on it"
        ),
        criteria=(*_OVERALL, _PLAY_OFF),
        tables="stage",
        meetings=2,
    ),
    RuleSet(
        id="premier-league-2019",
        article="Rule C.17 as amended for 2019/20",
        source=(
            "Premier League Handbook 2019/20, as announced in July 2019: points and away goals in mutual matches "
            "before the play-off"
        ),
        criteria=(*_OVERALL, _MUTUAL_POINTS, Criterion("away_goals", mutual=True), _PLAY_OFF),
        tables="stage",
        meetings=2,
    ),
    RuleSet(
        id="la-liga",
        article="Article 201.2 for two clubs, 201.3 for more",
        source=(
            "Reglamento General of the RFEF. With two clubs, points of the mutual matches never contradict their goal "
            "difference, so that one order covers both paragraphs. The fair-play classification is entered as `conduct`"
        ),
        criteria=(_POINTS, _MUTUAL_POINTS, _MUTUAL_DIFFERENCE, _GOAL_DIFFERENCE, _GOALS, _CONDUCT, _PLAY_OFF),
        tables="stage",
        reapply="at_once",
        meetings=2,
    ),
    RuleSet(
        id="serie-a",
        article="NOIF, article 51, with the derogation of the Lega Serie A",
        source="Norme organizzative interne of the FIGC; the order of the derogation as published by Gazzetta",
        criteria=(_POINTS, _MUTUAL_POINTS, _MUTUAL_DIFFERENCE, _GOAL_DIFFERENCE, _GOALS, _LOTS),
        tables="stage",
        meetings=2,
    ),
    RuleSet(
        id="serie-a-2022",
        article="NOIF, article 51, with the derogation of the Lega Serie A",
        source="As before; from 2022/23 a play-off decides the title and the last place that avoids relegation",
        criteria=(_POINTS, _PLAY_OFF, _MUTUAL_POINTS, _MUTUAL_DIFFERENCE, _GOAL_DIFFERENCE, _GOALS, _LOTS),
        tables="stage",
        meetings=2,
    ),
    RuleSet(
        id="bundesliga",
        article="Criteria 1 to 6 for level teams, and the sentence on mutual matches that are still to be played",
        source="Spielordnung of the DFL, as published on bundesliga.com; the same order in § 46 (1.3) of the DFB's",
        criteria=(
            *_OVERALL,
            _MUTUAL_DIFFERENCE,
            Criterion("away_goals", mutual=True),
            Criterion("away_goals", after_mutual=True),
            _PLAY_OFF,
        ),
        tables="stage",
        meetings=2,
    ),
)

RULE_SETS = {rules.id: rules for rules in (DEFAULT, NO_TABLES, *_WORLD_CUPS, _EURO_2024, *_LEAGUES)}
"""Every rule set by its id."""


@dataclass(frozen=True, slots=True)
class _Use:
    """Competitions that use a rule set from a season on, until the next use of the same competitions.

    Attributes:
        competitions: Their ids, in the form of :func:`_normal`.
        since: Year in which the first season starts.
    """

    competitions: frozenset[str]
    since: int
    rules: str


_WORLD_CUP = frozenset({"worldcup", "fifaworldcup", "wc", "fifawc"})
_EURO = frozenset({"euro", "uefaeuro", "ec", "europeanchampionship"})
_PREMIER_LEAGUE = frozenset({"premierleague", "englishpremierleague", "en1", "eng1", "pl", "epl"})
_LA_LIGA = frozenset({"laliga", "primeradivision", "es1", "esp1", "pd"})
_SERIE_A = frozenset({"seriea", "it1", "ita1", "sa"})
_BUNDESLIGA = frozenset({"bundesliga", "de1", "ger1", "bl1"})

# By competition and year, ascending.
_USES = (
    _Use(_WORLD_CUP, 1930, "world-cup-1930"),
    _Use(_WORLD_CUP, 1962, "world-cup-1962"),
    _Use(_WORLD_CUP, 1970, "world-cup-1970"),
    _Use(_WORLD_CUP, 1974, "world-cup-1974"),
    _Use(_WORLD_CUP, 1986, "world-cup-1986"),
    _Use(_WORLD_CUP, 1994, "world-cup-1994"),
    _Use(_WORLD_CUP, 1998, "world-cup-1998"),
    _Use(_WORLD_CUP, 2018, "world-cup-2018"),
    _Use(_WORLD_CUP, 2026, "world-cup-2026"),
    _Use(_EURO, 2024, "euro-2024"),
    _Use(_PREMIER_LEAGUE, 1992, "premier-league"),
    _Use(_PREMIER_LEAGUE, 2019, "premier-league-2019"),
    _Use(_LA_LIGA, 1995, "la-liga"),
    _Use(_SERIE_A, 2005, "serie-a"),
    _Use(_SERIE_A, 2022, "serie-a-2022"),
    _Use(_BUNDESLIGA, 1995, "bundesliga"),
)

_YEAR = re.compile(r"(?<!\d)(1[89]\d\d|2\d\d\d)(?!\d)")


def choose(competition: str, season: str | None) -> RuleSet:
    """Return the rule set of a competition's season by its id; the default for competitions that are not known.

    Case and punctuation of the id do not matter, and a year at its end may name the season: ``world-cup`` in ``2022``
    and ``World Cup 2022`` are the same.
    """
    year = _year(season) or _year(competition)
    name = _normal(_YEAR.sub("", competition))
    chosen = DEFAULT
    for use in _USES:
        if name in use.competitions and (year is None or use.since <= year):
            chosen = RULE_SETS[use.rules]
    return chosen


def _normal(competition: str) -> str:
    return re.sub(r"[\W_]", "", competition).lower()


def _year(text: str | None) -> int | None:
    """Return the first year that a text contains: ``2017-18``, ``2017/18`` and ``2017`` are 2017."""
    found = _YEAR.search(text or "")
    return int(found[1]) if found else None
