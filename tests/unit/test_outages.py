"""The outage tracker of a server: which reports start and end an outage, and what is logged."""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import psycopg
import pytest
import redis
import structlog

from livescore import outages
from livescore.outages import OutageTracker, ServerAway
from livescore.settings import load
from livescore.telemetry import logs


@pytest.fixture
def tracker() -> OutageTracker:
    return OutageTracker("a server")


class Clock:
    """Replaces the clock and the timers of the module under test; time passes only by :meth:`advance`."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._timers: list[FakeTimer] = []

    def monotonic(self) -> float:
        return self.now

    def timer(self, seconds: float, function: Callable[[], None]) -> "FakeTimer":
        return FakeTimer(self.now + seconds, function, self._timers)

    def advance(self, seconds: float) -> None:
        """Let time pass, and call the timers that are due meanwhile."""
        end = self.now + seconds
        while due := [timer for timer in self._timers if timer.at <= end]:
            timer = min(due, key=lambda timer: timer.at)
            self._timers.remove(timer)
            self.now = timer.at
            timer.function()
        self.now = end


@dataclass
class FakeTimer:
    """A timer of :class:`Clock`."""

    at: float
    function: Callable[[], None]
    started: list["FakeTimer"] = field(repr=False)
    daemon: bool = False

    def start(self) -> None:
        self.started.append(self)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outages, "monotonic", clock.monotonic)
    monkeypatch.setattr(outages, "Timer", clock.timer)
    return clock


def logged(*reports: object) -> list[str]:
    """Return what is logged while these calls are made."""
    with structlog.testing.capture_logs() as captured:
        for report in reports:
            assert callable(report)
            report()
    return [entry["event"] for entry in captured]


def test_server_is_not_up_before_its_first_response(tracker: OutageTracker) -> None:
    assert not tracker.up
    tracker.answered(monotonic())
    assert tracker.up


def test_repeated_reports_of_an_outage_are_logged_once(tracker: OutageTracker) -> None:
    lines = logged(
        *(lambda: tracker.failed("refused", monotonic()) for _ in range(5)),
        *(lambda: tracker.answered(monotonic()) for _ in range(5)),
    )
    assert lines == ["server is away", "server is back"]
    assert tracker.up


def test_intermittent_failures_are_one_outage(clock: Clock) -> None:
    tracker = OutageTracker("a server", quiet=3)
    attempts = (
        lambda: tracker.failed("no memory", clock.now),
        lambda: tracker.answered(clock.now),
        lambda: clock.advance(1),
    )
    assert logged(*attempts * 20) == ["server is away"]
    assert tracker.up
    assert logged(lambda: clock.advance(1.9)) == []
    assert logged(lambda: clock.advance(0.2)) == ["server is back"]
    assert logged(*attempts, lambda: clock.advance(3)) == ["server is away", "server is back"]


def test_a_server_is_not_back_while_its_last_attempt_failed(clock: Clock) -> None:
    tracker = OutageTracker("a server", quiet=3)
    tracker.failed("no memory", clock.now)
    tracker.answered(clock.now)
    tracker.failed("no memory", clock.now)
    assert logged(lambda: clock.advance(60)) == []
    assert not tracker.up
    assert logged(lambda: tracker.answered(clock.now)) == ["server is back"]


def test_a_failure_without_another_attempt_counts_for_a_while(
    tracker: OutageTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not tracker.is_failing()
    tracker.failed("no disk space", monotonic())
    assert tracker.is_failing()
    later = monotonic() + outages.MEMORY_SECONDS + 1
    monkeypatch.setattr(outages, "monotonic", lambda: later)
    assert not tracker.is_failing()
    tracker.failed("no disk space", later)
    assert tracker.is_failing()
    tracker.answered(later + 1)
    assert not tracker.is_failing()


def test_late_failure_does_not_start_another_outage(tracker: OutageTracker) -> None:
    before = monotonic()
    tracker.answered(monotonic())
    assert logged(lambda: tracker.failed("broken connection", before)) == []
    assert tracker.up


def test_response_from_before_the_outage_does_not_end_it(tracker: OutageTracker) -> None:
    before = monotonic()
    tracker.failed("refused", monotonic())
    assert logged(lambda: tracker.answered(before)) == []
    assert not tracker.up


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("connection failed:\n\tIs the server running?"),
        psycopg.errors.AdminShutdown("terminating connection"),
        psycopg.InterfaceError("the connection is closed"),
        redis.exceptions.ConnectionError("Error 111 connecting"),
        redis.exceptions.BusyLoadingError("loading"),
        redis.exceptions.TimeoutError("Timeout reading"),
        ServerAway("refused"),
    ],
)
def test_traceback_of_an_unavailable_server_is_not_logged(error: Exception) -> None:
    stream = _configured()
    for log in (structlog.get_logger("livescore.x").exception, logging.getLogger("uvicorn.error").exception):
        try:
            raise error
        except Exception:
            log("failed")
    assert stream.getvalue().count("\n") == 2
    assert "Traceback" not in stream.getvalue()
    assert str(error).split()[0] in stream.getvalue()


def test_traceback_of_other_errors_is_logged() -> None:
    stream = _configured()
    try:
        raise LookupError("a defect")
    except LookupError:
        structlog.get_logger("livescore.x").exception("failed")
    assert "Traceback" in stream.getvalue()


def test_log_records_of_libraries_about_outages_are_suppressed() -> None:
    stream = _configured()
    for name in ("psycopg", "psycopg.pool", "redis", "redis.asyncio.cluster", "redis.sentinel"):
        logging.getLogger(name).error("cannot connect")
    for error in (
        "redis.exceptions.ConnectionError: Error 111",
        "redis.exceptions.ReadOnlyError: You can't write against a read only replica.",
        "redis.exceptions.OutOfMemoryError: command not allowed when used memory > 'maxmemory'.",
        "rq.exceptions.InvalidJobOperation: Failed to retrieve status for job: livescore-1-match-2-end",
    ):
        logging.getLogger("rq.worker").error("Traceback …\n%s", error)
    assert stream.getvalue() == ""
    logging.getLogger("rq.worker").error("job failed: LookupError")
    assert "job failed" in stream.getvalue()


def _configured() -> io.StringIO:
    stream = io.StringIO()
    settings = load(database_url="postgresql://localhost/x", redis_url="redis://localhost", log_format="json")
    logs.configure(settings, stream)
    return stream
