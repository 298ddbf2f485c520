"""The meaning of an endpoint's answer, and the time of the next attempt. Pure."""

import random
from dataclasses import dataclass
from enum import Enum

# Seconds. Delays double from the first: 1 s, 2 s, 4 s … up to six hours, some 25 attempts in three days.
FIRST_DELAY = 1.0
LONGEST_DELAY = 21_600.0
# Seconds before the first retry of an endpoint that says that it is overloaded.
SLOW_FIRST_DELAY = 15.0
# Seconds between attempts while the match is live: news that are an hour old are worth little.
LONGEST_LIVE_DELAY = 60.0
# Seconds that an endpoint may ask for with Retry-After.
LONGEST_RETRY_AFTER = 86_400.0
# Delays vary by up to this part, so that the retries of many matches do not come at once.
JITTER = 0.2

# Attempts at an event that the endpoint refuses; the last one is some four minutes after the first while the match is
# live, nine minutes otherwise.
REFUSAL_ATTEMPTS = 10

# Statuses by which a client error asks for a repetition.
_TEMPORARY = frozenset({408, 409, 425, 429})
_OVERLOADED = frozenset({429, 502, 504})
_GONE = 410


class Verdict(Enum):
    """The meaning of one attempt."""

    DELIVERED = "delivered"
    TEMPORARY = "temporary"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of one request.

    Attributes:
        status: HTTP status; None without an answer.
        error: Reason of the failure, for administrators; empty if the endpoint took the event.
        retry_after: Seconds that the endpoint asks to wait; None if it does not.
        seconds: Duration.
    """

    status: int | None
    error: str = ""
    retry_after: float | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """Return the meaning of the outcome. A redirect counts as a temporary failure: it is never followed."""
        status = self.status
        if status is None:
            return Verdict.TEMPORARY
        if 200 <= status < 300:
            return Verdict.DELIVERED
        if status == _GONE:
            return Verdict.GONE
        if 400 <= status < 500 and status not in _TEMPORARY:
            return Verdict.REFUSED
        return Verdict.TEMPORARY


def retry_delay(attempt: Attempt, number: int, *, live: bool, chance: float | None = None) -> float:
    """Return the seconds until the next attempt at an event.

    Args:
        attempt: The failed attempt.
        number: Number of failed attempts at this event, including this one.
        live: Whether the match is live.
        chance: Random number from 0 to 1, for tests.
    """
    first = SLOW_FIRST_DELAY if attempt.status in _OVERLOADED else FIRST_DELAY
    longest = LONGEST_LIVE_DELAY if live else LONGEST_DELAY
    delay = min(longest, first * 2.0 ** min(number - 1, 30))
    delay *= 1 + JITTER * (2 * (random.random() if chance is None else chance) - 1)
    if attempt.retry_after is not None:
        delay = max(delay, min(attempt.retry_after, LONGEST_RETRY_AFTER))
    return delay


def pause(attempt: Attempt) -> float | None:
    """Return the seconds for which the endpoint wants no request at all; None if it did not ask for a pause."""
    if attempt.retry_after is None or attempt.status not in {429, 503}:
        return None
    return min(attempt.retry_after, LONGEST_RETRY_AFTER)
