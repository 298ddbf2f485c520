"""Rates such as ``50 per 10 seconds``."""

import re
from dataclasses import dataclass

_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}

_PATTERN = re.compile(
    r"(?P<amount>[0-9]{1,12}) *(?:/|per\b) *(?:(?P<units>[0-9]{1,12}) *)?(?P<unit>second|minute|hour|day)s?",
    re.ASCII | re.IGNORECASE,
)

MOST_HITS = 100_000
"""Redis stores the time of each hit in the window, some 20 bytes per hit and client address."""

LONGEST_SECONDS = 86_400
"""A day. Longer windows would keep the addresses of all clients in Redis."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of hits in a moving window."""

    amount: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Parse a rate.

        Raises:
            ValueError: The text is not a rate. The message gives the reason and does not contain the text.
        """
        if any(separator in text for separator in ",;|"):
            raise ValueError("must be a single limit like `50 per 10 seconds`, not several")
        found = _PATTERN.fullmatch(text.strip())
        if found is None:
            raise ValueError("must be like `50 per 10 seconds`, in seconds, minutes, hours or days")
        rate = cls(int(found["amount"]), int(found["units"] or 1) * _SECONDS[found["unit"].lower()])
        if not 1 <= rate.amount <= MOST_HITS:
            raise ValueError(f"must allow from 1 to {MOST_HITS} in its time")
        if not 1 <= rate.seconds <= LONGEST_SECONDS:
            raise ValueError("must have a time from 1 second to 1 day")
        return rate
