"""Logging: one line per event, as JSON or readable in a terminal, and without secrets.

All records of this process, from structlog and from the standard library (uvicorn, Alembic, RQ), pass the same
formatter. Its last step before rendering is :func:`redact`, which covers tracebacks too. Requests are not logged, but
counted by :mod:`livescore.telemetry.metrics`.
"""

import json
import logging
import re
import sys
from typing import Any, TextIO, cast
from urllib.parse import quote, unquote

import orjson
import psycopg
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.typing import EventDict, Processor, WrappedLogger

from livescore.outages import ServerAway
from livescore.settings import Settings

HIDDEN = "***"
# Shorter secrets would hide ordinary words ("live"). The patterns below find them in the usual places.
_MIN_LITERAL_LENGTH = 8
# A part of a password appears in logs only if its URL is malformed, so shorter parts are hidden too.
_MIN_PART_LENGTH = 4
# Levels of nesting; deeper structures, which this service does not log, are converted to text.
_MAX_DEPTH = 6
# Loggers of libraries that configure handlers or levels. Only the root's handler is used.
_FOREIGN = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "alembic", "rq", "rq.worker", "rq_scheduler", "sqlalchemy")
# Loggers that report on every start which parts of their library they have set up.
_VERBOSE = ("alembic.runtime.plugins",)
# Libraries that raise everything that they log.
_RAISING = ("psycopg", "redis")
# Errors of drivers and of this service while a server is away.
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, RedisConnectionError, RedisTimeoutError, ServerAway)
# Texts in RQ's records of outages. RQ formats tracebacks itself, and a job has no status after Redis was flushed.
_RQ_OUTAGES = ("redis.exceptions.", "InvalidJobOperation: Failed to retrieve status for job")

_SECRET_NAME = re.compile(
    r"(?i)pass(word|wd|phrase)|secret|token|authorization|cookie|credential|api[_-]?key|private[_-]?key"
)

# Text may come from clients, so the time of every pattern is linear in the length of the text: quantifiers are
# possessive (`*+`) or bounded, and what follows a quantifier cannot match what it matches.
#
# The user information of a URL is everything from `://` to the last @ before a space, because a password may contain
# unescaped "/", ":", "@", "%" and quotes. In a URL without a password, this also hides a query that contains an @.
_WORD = re.compile(r"\S++")
_USER_ONLY = re.compile(r"""[^\s/@:"'<>]++@""")
# The name of a secret and its value, which is a word or in quotes. Quotes may be escaped, and the last one missing. The
# keyword may have a suffix such as "_1" or "Text".
_ASSIGNED = re.compile(
    r"""(?i)((?:password|passwd|passphrase|secret|token|credential|api[_-]?key|authorization|cookie)\w{0,32}+"""
    r"""\\?["']?\s{0,16}+[=:]\s{0,16}+)(?!bearer\b)"""
    r"""("(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\\?["'][^\s"']*+\\?["']?|[^\s,;&]++)"""
)
_RESERVED = re.compile("[/@:?#]")
_PATTERNS = (
    (re.compile(r"\blsk_[\w-]++"), f"lsk_{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer)\s{1,16}+[\w.~+/=-]++"), rf"\1 {HIDDEN}"),
    (
        re.compile(r"""(?i)\b(authorization["']?\s{0,16}+[=:]\s{0,16}+["']?(?:basic|digest))\s{1,16}+[^\s"']++"""),
        rf"\1 {HIDDEN}",
    ),
    (_ASSIGNED, rf"\1{HIDDEN}"),
)


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send all log records of this process to ``stream`` (standard error by default).

    A second call replaces the configuration.
    """
    output = stream or sys.stderr
    handler = logging.StreamHandler(output)
    handler.setFormatter(_formatter(settings, output))
    handler.addFilter(_LibraryOutages())
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    logging.captureWarnings(True)
    _adopt_foreign_loggers()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_common(settings),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def bind_request_id(request_id: str) -> None:
    """Add ``request_id`` to all records of the current task and of tasks that it starts."""
    structlog.contextvars.bind_contextvars(request_id=request_id)


def redact(value: Any, literals: tuple[str, ...] = ()) -> Any:
    """Return a copy of a value without secrets.

    Args:
        value: Text, bytes, a mapping, a sequence or anything printable.
        literals: Known secrets, which are hidden wherever they occur.
    """
    return _redact(value, literals, 0)


def _common(settings: Settings) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _Origin(settings),
    ]


def _formatter(settings: Settings, stream: TextIO) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_common(settings),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _brief_outage,
            structlog.processors.format_exc_info,
            _Redactor(settings),
            _renderer(settings, stream),
        ],
    )


def _renderer(settings: Settings, stream: TextIO) -> Processor:
    console = settings.log_format == "console" or (settings.log_format == "auto" and stream.isatty())
    if not console:
        return structlog.processors.JSONRenderer(serializer=_dumps)
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _dumps(event: EventDict, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # lone surrogates and integers beyond 64 bits, which may come from a client
        return json.dumps(event, default=str)


class _LibraryOutages(logging.Filter):
    """Drops the records of libraries about outages, which :mod:`livescore.outages` logs once."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True to log a record. RQ also reports jobs that fail for other reasons."""
        library = record.name.partition(".")[0]
        if library in _RAISING:
            return False
        if library not in ("rq", "rq_scheduler"):
            return True
        message = record.getMessage()
        return not any(text in message for text in _RQ_OUTAGES)


def _brief_outage(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the traceback of an error during an outage with one line."""
    error = event.get("exc_info")
    if error is True:
        error = sys.exc_info()
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, _AWAY):
        del event["exc_info"]
        event.setdefault("error", " ".join(str(error).split()) or type(error).__name__)
    return event


def _adopt_foreign_loggers() -> None:
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(logging.WARNING)
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()
    access.propagate = False  # without a handler, uvicorn does not format the line


class _Origin:
    """Adds instance and environment, because the records of several processes are read together."""

    def __init__(self, settings: Settings) -> None:
        self._fields = {"instance": settings.instance, "environment": settings.environment}

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {**self._fields, **event}


class _Redactor:
    """Removes secrets from a complete record, first those in this process's own settings."""

    def __init__(self, settings: Settings) -> None:
        self._literals = _known_secrets(settings)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return cast(EventDict, _redact(event, self._literals, 0))


def _known_secrets(settings: Settings) -> tuple[str, ...]:
    """Return the secrets of the settings in every form in which a library may write them, longest first."""
    secrets: set[str] = set()
    if settings.dev_api_key:
        secrets.add(settings.dev_api_key.get_secret_value())
    parts: set[str] = set()
    for url in (settings.database_url, settings.redis_url):
        encoded = _password(url.get_secret_value())
        decoded = unquote(encoded)
        secrets |= {encoded, decoded, quote(decoded, safe=""), repr(decoded)[1:-1]}
        parts |= _parts(encoded)
    literals = {secret for secret in secrets if len(secret) >= _MIN_LITERAL_LENGTH} | parts
    return tuple(sorted(literals, key=len, reverse=True))


def _password(url: str) -> str:
    """Return the password of a URL, even if its reserved characters are not percent-encoded."""
    user, at, _ = url.partition("://")[2].rpartition("@")
    return user.partition(":")[2] if at else ""


def _parts(password: str) -> set[str]:
    """Return the parts of a password that a parser may take for the host of a URL if it is not percent-encoded."""
    parts = (password[found.end() :] for found in _RESERVED.finditer(password))
    return {part for part in parts if len(part) >= _MIN_PART_LENGTH}


def _redact(value: Any, literals: tuple[str, ...], depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _MAX_DEPTH and isinstance(value, dict):
        return _redact_mapping(value, literals, depth)
    if depth < _MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_redact(item, literals, depth + 1) for item in value]
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return _redact_text(text, literals)


def _redact_mapping(value: dict[Any, Any], literals: tuple[str, ...], depth: int) -> dict[Any, Any]:
    redacted = {}
    for name, member in value.items():
        is_secret = member is not None and _is_secret_name(name)
        shown = HIDDEN if is_secret else _redact(member, literals, depth + 1)
        redacted[_redact(name, literals, depth + 1)] = shown
    return redacted


def _is_secret_name(name: Any) -> bool:
    return isinstance(name, str | bytes) and _SECRET_NAME.search(str(name)) is not None


def _redact_text(text: str, literals: tuple[str, ...]) -> str:
    for literal in literals:
        text = text.replace(literal, HIDDEN)
    if "://" in text and "@" in text:
        text = _WORD.sub(_redact_urls, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _redact_urls(word: re.Match[str]) -> str:
    """Hide the user information of the URLs in a word."""
    scheme, _, rest = word[0].partition("://")
    user, at, tail = rest.rpartition("@")
    has_scheme = scheme[-1:].isalnum()
    has_user = bool(at) and (":" in user or _USER_ONLY.match(rest) is not None)
    if not (has_scheme and has_user):
        return word[0]
    return f"{scheme}://{HIDDEN}@{tail}"
