"""Moving windows in memory, with a clock set by the test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.rate import LONGEST_SECONDS, MOST_HITS, Rate
from livescore.security.windows import LocalWindows

RATE = Rate(10, 60)


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_exactly_the_rate_is_allowed() -> None:
    windows = LocalWindows(10, Clock())
    assert [windows.hit("a", RATE, 1).allowed for _ in range(12)] == [True] * 10 + [False] * 2


@given(pauses=st.lists(st.floats(0, 200), max_size=60))
def test_client_that_respects_retry_after_is_admitted_within_a_window(pauses: list[float]) -> None:
    clock = Clock()
    windows = LocalWindows(10, clock)
    for pause in pauses:
        clock.now += pause
        verdict = windows.hit("a", RATE, 1)
        assert 0 <= verdict.reset_seconds <= RATE.seconds
        assert 0 <= verdict.remaining < RATE.amount
        if not verdict.allowed:
            clock.now += verdict.reset_seconds + 0.001
            assert windows.hit("a", RATE, 1).allowed


def test_oldest_windows_are_dropped() -> None:
    windows = LocalWindows(2, Clock())
    for key in ("a", "b", "c"):
        windows.hit(key, RATE, 10)
    assert windows.hit("a", RATE, 1).allowed
    assert not windows.hit("c", RATE, 1).allowed


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50 per 10 seconds", Rate(50, 10)),
        ("5/second", Rate(5, 1)),
        ("1000 per minute", Rate(1_000, 60)),
        (" 7 PER 2 Hours ", Rate(7, 7_200)),
        ("5/2minutes", Rate(5, 120)),
        (f"{MOST_HITS} per day", Rate(MOST_HITS, LONGEST_SECONDS)),
    ],
)
def test_rates_accept_common_notations(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("50 per 10 seconds, 100 per minute", "single limit"),
        ("50/second;100/minute", "single limit"),
        ("50/second|100/minute", "single limit"),
        ("50 per 10 seconds 100 per minute", "must be like"),
        ("many", "must be like"),
        ("", "must be like"),
        ("50", "must be like"),
        ("50 per 10 parsecs", "must be like"),
        ("50 per month", "must be like"),
        ("-1 per second", "must be like"),
        ("1.5 per second", "must be like"),
        ("nan per second", "must be like"),
        ("١ per second", "must be like"),
        ("50 per 10 seconds\n5", "must be like"),
        ("0 per second", "must allow"),
        (f"{MOST_HITS + 1} per second", "must allow"),
        ("99999999999999999999 per second", "must be like"),
        ("5 per 0 seconds", "must have a time"),
        ("5 per 2 days", "must have a time"),
    ],
)
def test_invalid_rate_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Rate.parse(text)
