"""The outage tracker of a server: which reports start and end an outage, and what is logged."""

import io
import logging
from time import monotonic, sleep

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


def test_intermittent_failures_are_one_outage() -> None:
    tracker = OutageTracker("a server", quiet=0.2)
    attempts = (lambda: tracker.failed("no memory", monotonic()), lambda: tracker.answered(monotonic()))
    assert logged(*attempts * 20) == ["server is away"]
    assert tracker.up
    assert logged(lambda: sleep(0.5)) == ["server is back"]
    assert logged(*attempts, lambda: sleep(0.5)) == ["server is away", "server is back"]


def test_a_server_is_not_back_while_its_last_attempt_failed() -> None:
    tracker = OutageTracker("a server", quiet=0.1)
    tracker.failed("no memory", monotonic())
    tracker.answered(monotonic())
    tracker.failed("no memory", monotonic())
    assert logged(lambda: sleep(0.3)) == []
    assert not tracker.up
    assert logged(lambda: tracker.answered(monotonic()), lambda: sleep(0.3)) == ["server is back"]


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
