"""Logging: one format for every source, and no secrets in any record."""

import asyncio
import io
import json
import logging
import time
from typing import Any
from urllib.parse import quote

import pytest
import structlog

from livescore import settings as configuration
from livescore.telemetry import logs

PASSWORD = "correct/horse@battery"


def _settings(**overrides: Any) -> configuration.Settings:
    defaults = {"database_url": "postgresql://u:tr0ub4dor%263@db/x", "redis_url": "redis://localhost"}
    return configuration.load(**{**defaults, **overrides})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Any:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stream() -> io.StringIO:
    output = io.StringIO()
    logs.configure(_settings(instance="node-1", environment="test"), output)
    return output


def test_an_event_is_one_json_line_with_time_level_and_origin(stream: io.StringIO) -> None:
    structlog.get_logger("livescore.live").info("drained", sockets=3)
    [line] = _lines(stream)
    assert line["event"] == "drained"
    assert line["sockets"] == 3
    assert line["level"] == "info"
    assert line["logger"] == "livescore.live"
    assert line["instance"] == "node-1"
    assert line["environment"] == "test"
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("name", ["uvicorn.error", "alembic.runtime.migration", "rq.worker", "anything"])
def test_standard_library_records_use_the_same_format(stream: io.StringIO, name: str) -> None:
    logging.getLogger(name).warning("moved %s by %d", "x", 2)
    [line] = _lines(stream)
    assert line["event"] == "moved x by 2"
    assert line["logger"] == name
    assert line["level"] == "warning"


def test_alembic_plugins_are_not_logged(stream: io.StringIO) -> None:
    logging.getLogger("alembic.runtime.plugins").info("setup plugin %s", "x")
    assert not _lines(stream)


def test_requests_are_not_logged_by_uvicorn(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info("GET / 200")
    assert stream.getvalue() == ""


def test_request_id_appears_only_in_records_of_its_task(stream: io.StringIO) -> None:
    async def handle(request_id: str) -> None:
        logs.bind_request_id(request_id)
        await asyncio.sleep(0)
        logging.getLogger("x").warning(request_id)

    async def both() -> None:
        await asyncio.gather(handle("one"), handle("two"))
        logging.getLogger("x").warning("outside")

    asyncio.run(both())
    assert [(line["event"], line.get("request_id")) for line in _lines(stream)] == [
        ("one", "one"),
        ("two", "two"),
        ("outside", None),
    ]


def test_records_below_the_level_are_not_processed() -> None:
    output = io.StringIO()
    logs.configure(_settings(log_level="WARNING"), output)
    structlog.get_logger("a").info("hidden")
    logging.getLogger("b").info("hidden")
    assert output.getvalue() == ""


def test_a_terminal_gets_readable_lines_and_a_pipe_json() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    logs.configure(_settings(), terminal)
    structlog.get_logger("a").info("hello", count=1)
    logs.configure(_settings(), pipe)
    structlog.get_logger("a").info("hello", count=1)
    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert _lines(pipe)[0]["count"] == 1


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_are_kept_and_redacted(log_format: str) -> None:
    output = io.StringIO()
    logs.configure(_settings(log_format=log_format), output)
    try:
        raise ConnectionError(f"could not reach postgresql://livescore:{PASSWORD}@db:5432/livescore")
    except ConnectionError:
        logging.getLogger("x").exception("failed")
        structlog.get_logger("y").exception("failed too")
    text = output.getvalue()
    assert text.count("Traceback") == 2
    assert "ConnectionError" in text
    assert "battery" not in text
    assert "horse" not in text


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://user:{PASSWORD}@host/db",
        f"redis://:{PASSWORD}@host:6379/0 is away",
        f"https://{'correct-horse-battery'}@example.com/x",
        "key lsk_0a1b2c_correct-horse_battery was used",
        "Authorization: Bearer correct.horse-battery",
        "authorization=Basic correcthorsebattery==",
        "{'Authorization': 'Bearer correct-horse-battery'}",
        "host=db password=correct-horse-battery user=x",
        "password='correct horse battery' user=x",
        '{"api_key": "correct horse battery", "user": "x"}',
        "GET /x?token=correct-horse-battery&user=x",
        "X-API-Key: correct-horse-battery",
        *(
            f"postgresql://user:{password}@host/db"
            for password in (
                "correct@horse/battery",
                "correct:horse:battery",
                "correct%40horse%2Fbattery",
                "correct'horse'battery",
                'correct"horse"battery',
                "correct?horse#battery",
                "correct<horse>battery",
                "correct,horse;battery&",
                "@correct/horse@battery@",
            )
        ),
        "could not connect to 'redis://:correct/horse@battery@host:6379/0': refused",
        "['redis+sentinel://u:correct@a,b:26379/x','rediss://:horse/battery@c']",
        "postgresql://host/db?user=u&password=correct-horse-battery",
        r"host=db password='correct\'horse battery' user=x",
        r'{"password": "correct \"horse\" battery"}',
        r"{\"password\": \"correct-horse-battery\"}",
        'password="correct-horse-battery',
        "PGPASSWORD=correct-horse-battery psql",
        "password=correct'horse\"battery",
        "db_password_1 = correct-horse-battery",
    ],
)
def test_secrets_in_text_are_hidden(text: str) -> None:
    redacted = logs.redact(text)
    assert "correct" not in redacted
    assert "horse" not in redacted
    assert "battery" not in redacted
    assert logs.HIDDEN in redacted


@pytest.mark.parametrize(
    "password",
    ["one@two/three", "one:two", "one/two@three", "it's", 'say "two"', "100%", "one%40two", "a#b?c", "one two"],
)
def test_configured_passwords_are_hidden_in_every_spelling(password: str) -> None:
    """Percent-encoded, decoded, quoted as Python does, or truncated by a parser at a delimiter."""
    secret = f"{password}-tr0ub4dor"
    encoded = quote(secret, safe="")
    for written in {secret, encoded} - ({secret} if " " in secret or "%" in secret else set()):
        output = io.StringIO()
        try:
            logs.configure(_settings(database_url=f"postgresql://u:{written}@db/x"), output)
        except configuration.SettingsError:
            continue  # the process refuses to start with a password that must be percent-encoded
        tail = secret.rpartition("@")[2].rpartition("/")[2]
        for form in (secret, encoded, repr(secret), written, tail if written == secret else encoded):
            logging.getLogger("x").warning("cannot resolve host name <%s>", form)
            structlog.get_logger("x").warning("away", error=ConnectionError(form), args=[form], nested={"a": form})
        assert "tr0ub4dor" not in output.getvalue()


HOSTILE = [
    *("a://", "a://b:", "a://b:c@", "://", "://@", "@", ":", "x", "-", "_", " ", "\\", '"', "'"),
    *(
        "password",
        "password=",
        'password="',
        "password='",
        'password="\\',
        "password ",
        "password=' ",
        "api_key",
        "secret-",
    ),
    *("bearer", "bearer ", "authorization", "authorization: ", "authorization: basic ", "lsk_", "lsk_a ", "cookie: '"),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_redaction_takes_linear_time(piece: str) -> None:
    """A pattern that is not linear takes minutes or hours for 200 kB, linear ones some tens of milliseconds."""
    spaces = " " * 200_000
    for text in (
        piece * (200_000 // len(piece)),
        piece + spaces,
        piece + spaces + "=",
        spaces + piece,
        piece * 20_000 + "!",
    ):
        began = time.process_time()
        logs.redact(text)
        assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text",
    ["match 7 is live", "http://localhost:8000/matches?limit=5", "see https://example.com/a", "12:30 a@b.example", ""],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert logs.redact(text) == text


@pytest.mark.parametrize(
    "name", ["password", "db_password", "token", "Authorization", "api_key", "X-API-Key", "client_secret", "cookie"]
)
def test_fields_named_like_secrets_are_always_hidden(name: str) -> None:
    assert logs.redact({name: {"deep": ["hunter2"]}}) == {name: logs.HIDDEN}


def test_secrets_are_hidden_in_nested_values_bytes_and_objects() -> None:
    class Client:
        def __repr__(self) -> str:
            return "Client(redis://:hunter2@host)"

    value = {"a": [("lsk_1_hunter2", b"Bearer hunter2")], "b": {"c": {"password": "hunter2"}}, "d": Client(), "n": 1}
    redacted = logs.redact(value)
    assert "hunter2" not in repr(redacted)
    assert redacted["n"] == 1


def test_recursive_values_are_logged_as_text() -> None:
    value: list[Any] = ["lsk_1_hunter2"]
    for _ in range(100):
        value = [value]
    assert "hunter2" not in repr(logs.redact(value))


def test_configured_secrets_are_hidden_in_any_field() -> None:
    output = io.StringIO()
    logs.configure(_settings(dev_api_key="a key of my own"), output)
    logging.getLogger("x").warning("odd place: <a key of my own>, tr0ub4dor&3, tr0ub4dor%263")
    assert "of my own" not in output.getvalue()
    assert "tr0ub" not in output.getvalue()


def test_values_that_are_not_json_do_not_lose_the_record(stream: io.StringIO) -> None:
    structlog.get_logger("x").warning("odd", value={1: object()}, text="\ud800", big=2**70)
    logging.getLogger("x").warning("after")
    assert [line["event"] for line in _lines(stream)] == ["odd", "after"]
