"""Which events a reader of all matches has seen, in PostgreSQL's own terms.

There is no total order over the events of all matches, and transactions do not end in the order of their numbers. A
snapshot names exactly the transactions that had ended when it was drawn, so it also fits when an old one runs on.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

# Transaction ids are unsigned 64-bit numbers that PostgreSQL hands out one by one; none comes near to this.
MAX_TRANSACTION_ID = 2**63 - 1

_FORM = re.compile(r"([0-9]{1,19}):([0-9]{1,19}):((?:[0-9]{1,19}(?:,[0-9]{1,19})*)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Horizon:
    """A ``pg_snapshot``: it shows every transaction below ``xmax`` except those that were ``running``."""

    xmin: int
    xmax: int
    running: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read PostgreSQL's text form, ``xmin:xmax:running,…``.

        Raises:
            ValueError: if PostgreSQL could not have written it.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("not a snapshot")
        xmin, xmax = int(match[1]), int(match[2])
        running = tuple(map(int, match[3].split(","))) if match[3] else ()
        ordered = all(low < high for low, high in pairwise(running))
        inside = all(xmin <= number < xmax for number in running)
        if not (0 < xmin <= xmax <= MAX_TRANSACTION_ID and ordered and inside):
            raise ValueError("not a snapshot")
        return cls(xmin, xmax, running)

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.running))}"

    def includes(self, other: "Horizon") -> bool:
        """Return whether this one was drawn from the same database at the same time or later."""
        return (self.xmax, -len(self.running)) >= (other.xmax, -len(other.running))


# Before every transaction.
NOTHING = Horizon(1, 1)
