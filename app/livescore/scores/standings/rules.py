"""The parts of a rule set: data without computation."""

from dataclasses import dataclass
from typing import Literal

Measure = Literal[
    "points",
    "goal_difference",
    "goals_for",
    "goal_average",
    "away_goals",
    "conduct",
    "ranking",
    "lots",
    "play_off",
]
"""A number by which teams are compared, more is better; or the name of an order that is decided outside of the table.

``conduct`` is a negative number, by the weights of :class:`Conduct`. ``goal_average`` is goals for divided by goals
against.
"""

EXTERNAL: frozenset[Measure] = frozenset({"ranking", "lots", "play_off"})
"""Measures that results do not give. Their order is entered with the competition's season."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One step of the comparison of teams that are level on all steps before it.

    Attributes:
        mutual: Whether only matches between the level teams count. Consecutive mutual criteria form one block, in which
            the set of level teams is that at the start of the block.
        after_mutual: Whether the criterion applies only if all matches between the level teams have been played.
            Mutual criteria always do.
    """

    measure: Measure
    mutual: bool = False
    after_mutual: bool = False

    @property
    def name(self) -> str:
        """The name in ``decidedBy`` of a row."""
        return f"head_to_head_{self.measure}" if self.mutual else self.measure


Reapply = Literal["never", "after_block", "at_once"]
"""When the mutual criteria start again for the teams that are still level.

``after_block`` starts again once all mutual criteria have been applied, ``at_once`` as soon as one of them has
separated any team from the others.
"""


@dataclass(frozen=True, slots=True)
class Points:
    """Points for a result."""

    win: int = 3
    draw: int = 1
    loss: int = 0


@dataclass(frozen=True, slots=True)
class Conduct:
    """Points that cards cost; all numbers are positive.

    Attributes:
        second_yellow: Cost of a dismissal after two yellow cards, in place of those two cards.
        red: Cost of a direct red card. A yellow card of the same player before it counts too.
    """

    yellow: int = 1
    second_yellow: int = 3
    red: int = 4


@dataclass(frozen=True, slots=True)
class Across:
    """A ranking of the teams that finished their groups in the same position.

    Attributes:
        position: Position in the group.
        advancing: Number of teams that advance.
    """

    position: int
    advancing: int
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules by which a competition ranks its teams.

    Attributes:
        id: Name of the rule set.
        article: The article of the regulations.
        source: The edition of the regulations, and where the order of the criteria was checked.
        criteria: The comparison, in order.
        tables: Which matches form a table: those of each ``group``, those of each ``stage``, or no matches at all.
            ``auto`` stands for ``group`` if any match of the season has a group, otherwise for ``stage``.
        meetings: Number of matches between two teams of a table; it tells whether all mutual matches have been played.
        shared_positions: Whether teams that no criterion separates have the same position.
        conduct: Weights of cards. Without them ``conduct`` compares only totals that were entered with the season.
        across: The ranking across groups, if the competition has one.
    """

    id: str
    article: str
    source: str
    criteria: tuple[Criterion, ...]
    tables: Literal["auto", "group", "stage", "none"] = "auto"
    points: Points = Points()
    reapply: Reapply = "never"
    meetings: int = 1
    shared_positions: bool = True
    conduct: Conduct | None = None
    across: Across | None = None
