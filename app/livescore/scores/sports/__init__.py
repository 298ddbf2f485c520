"""The sports, one module each. To add one, write its module and add it to :data:`SPORTS`."""

from livescore.scores.sports.basketball import Basketball
from livescore.scores.sports.football import Football
from livescore.scores.sports.generic import Generic
from livescore.scores.sports.ice_hockey import IceHockey
from livescore.scores.sports.sport import Sport
from livescore.scores.sports.tennis import Tennis

GENERIC: Sport = Generic()

SPORTS: tuple[Sport, ...] = (Football(), Basketball(), Tennis(), IceHockey())
"""All sports with rules of their own."""


def of(name: str) -> Sport:
    """Return the sport that a match's ``sport`` names in any case, :data:`GENERIC` for all others."""
    wanted = name.strip().casefold()
    for sport in SPORTS:
        if wanted == sport.name or wanted in sport.aliases:
            return sport
    return GENERIC


def moving() -> frozenset[str]:
    """Return the ``eventType`` values that may change the state of a match of any sport."""
    return GENERIC.moving.union(*(sport.moving for sport in SPORTS))
