"""Verdicts on answers of endpoints, and the times of retries."""

import pytest

from livescore.jobs.webhooks import outcomes
from livescore.jobs.webhooks.outcomes import Attempt, Verdict, pause, retry_delay

THREE_DAYS = 3 * 86_400


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *[(status, Verdict.DELIVERED) for status in (200, 202, 204, 299)],
        *[(status, Verdict.TEMPORARY) for status in (None, 301, 308, 408, 409, 425, 429, 500, 502, 503, 504)],
        *[(status, Verdict.REFUSED) for status in (400, 401, 403, 404, 413, 422)],
        (410, Verdict.GONE),
    ],
)
def test_verdict_by_status(status: int | None, verdict: Verdict) -> None:
    assert Attempt(status).verdict is verdict


def delays(attempt: Attempt, *, live: bool, until: float) -> list[float]:
    """Return the delays between the attempts of ``until`` seconds, without jitter."""
    found: list[float] = []
    while sum(found) < until:
        found.append(retry_delay(attempt, len(found) + 1, live=live, chance=0.5))
    return found


def test_delays_double_up_to_six_hours_over_three_days() -> None:
    found = delays(Attempt(500), live=False, until=THREE_DAYS)
    assert found[:4] == [1, 2, 4, 8]
    assert found[-1] == outcomes.LONGEST_DELAY
    assert 20 <= len(found) <= 30


def test_delays_are_at_most_a_minute_while_the_match_is_live() -> None:
    assert max(delays(Attempt(None), live=True, until=3600)) == 60


@pytest.mark.parametrize("status", [429, 502, 504])
def test_overloaded_endpoints_are_asked_more_slowly(status: int) -> None:
    assert retry_delay(Attempt(status), 1, live=False, chance=0.5) > retry_delay(Attempt(500), 1, live=False, chance=1)


@pytest.mark.parametrize("live", [False, True])
def test_retry_after_is_a_lower_bound_and_bounded_by_a_day(*, live: bool) -> None:
    assert retry_delay(Attempt(503, retry_after=600), 1, live=live) == 600
    assert retry_delay(Attempt(503, retry_after=10_000_000), 1, live=live) == 86_400
    assert retry_delay(Attempt(500, retry_after=0), 5, live=False, chance=0.5) == 16


def test_jitter_spreads_retries() -> None:
    assert len({retry_delay(Attempt(500), 5, live=False) for _ in range(20)}) > 1
    assert retry_delay(Attempt(500), 5, live=False, chance=0) == pytest.approx(16 * 0.8)
    assert retry_delay(Attempt(500), 5, live=False, chance=1) == pytest.approx(16 * 1.2)


def test_refused_event_blocks_its_match_for_minutes_only() -> None:
    tried = [retry_delay(Attempt(400), number, live=True, chance=1) for number in range(1, outcomes.REFUSAL_ATTEMPTS)]
    assert sum(tried) < 5 * 60
    tried = [retry_delay(Attempt(400), number, live=False, chance=1) for number in range(1, outcomes.REFUSAL_ATTEMPTS)]
    assert sum(tried) < 11 * 60


def test_only_429_and_503_with_retry_after_pause_the_whole_endpoint() -> None:
    assert pause(Attempt(429, retry_after=30)) == 30
    assert pause(Attempt(503, retry_after=30)) == 30
    assert pause(Attempt(500, retry_after=30)) is None
    assert pause(Attempt(503)) is None
