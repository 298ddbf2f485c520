"""Horizons: the events that a reader of all matches has seen, as a PostgreSQL snapshot.

The events of all matches have no total order, and transactions do not end in the order of their ids. A snapshot
contains exactly the transactions that had ended when it was taken, so it is right even if an old transaction is still
open.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

# PostgreSQL assigns its 64-bit transaction ids one by one, so that none comes near this bound.
MAX_TRANSACTION_ID = 2**63 - 1

_FORM = re.compile(r"([0-9]{1,19}):([0-9]{1,19}):((?:[0-9]{1,19}(?:,[0-9]{1,19})*)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Horizon:
    """A ``pg_snapshot``: it shows all transactions below ``xmax`` except those that were ``running``."""

    xmin: int
    xmax: int
    running: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse PostgreSQL's text format, ``xmin:xmax:running,…``.

        Raises:
            ValueError: PostgreSQL could not have written this.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("not a snapshot")
        xmin = int(match[1])
        xmax = int(match[2])
        running = tuple(int(number) for number in match[3].split(",")) if match[3] else ()
        are_bounds_valid = 0 < xmin <= xmax <= MAX_TRANSACTION_ID
        are_ids_inside = all(xmin <= number < xmax for number in running)
        are_ids_ascending = all(low < high for low, high in pairwise(running))
        if not (are_bounds_valid and are_ids_inside and are_ids_ascending):
            raise ValueError("not a snapshot")
        return cls(xmin, xmax, running)

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.running))}"

    def includes(self, other: "Horizon") -> bool:
        """Return True if this horizon was taken at the same time as another one of this database, or later."""
        return (self.xmax, -len(self.running)) >= (other.xmax, -len(other.running))


# Earlier than every transaction.
NOTHING = Horizon(1, 1)
