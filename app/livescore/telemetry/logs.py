"""Logging: one line per event, JSON in production, readable in a terminal, and no secret in either.

Every record of this process, whether it comes from structlog or from the standard library (uvicorn, Alembic, RQ),
passes the same formatter, and the last step before rendering is :func:`redact`: tracebacks are searched too.
Requests are counted by :mod:`livescore.telemetry.metrics` and not logged.
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
# Shorter secrets would blank ordinary words ("live"), and the patterns below find them in the usual places anyway.
_SHORTEST_LITERAL = 8
# A part of a password is a secret only where its URL is wrong: shorter ones are hidden too.
_SHORTEST_PART = 4
# Structures nested deeper than this are logged as text; nothing of ours is.
_DEEPEST = 6
# Libraries that bring handlers or levels of their own; ours is the root's.
_FOREIGN = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "alembic", "rq", "rq.worker", "rq_scheduler", "sqlalchemy")
# Loggers that say on every start which parts of their library they have set up.
_VERBOSE = ("alembic.runtime.plugins",)
# Libraries that raise whatever they log.
_RAISING = ("psycopg", "redis")
# Raised when a server is away, by the drivers and by this service.
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, RedisConnectionError, RedisTimeoutError, ServerAway)
# RQ formats tracebacks itself. A job has no status when Redis was flushed while it ran.
_RQ_OUTAGES = ("redis.exceptions.", "InvalidJobOperation: Failed to retrieve status for job")

_SECRET_NAME = re.compile(
    r"(?i)pass(word|wd|phrase)|secret|token|authorization|cookie|credential|api[_-]?key|private[_-]?key"
)

# Text may come from clients, so every pattern is linear in its length: quantifiers are possessive (`*+`) or bounded,
# and what follows one cannot match what it matches.
#
# What looks like the user information of a URL: from `://` to the last @ before a space. A password may hold unescaped
# "/", ":", "@", "%" and quotes; of a URL without password, what has an @ in its query is hidden too.
_WORD = re.compile(r"\S++")
_USER_ONLY = re.compile(r"""[^\s/@:"'<>]++@""")
# A name that ends like a secret's, then its value: in quotes, which may be escaped or missing at the end, or a word.
# The part of a word after the keyword is bounded: it is a suffix such as "_1" or "Text".
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
    """Route every log record of this process to ``stream`` (standard error by default).

    Calling it again replaces the former configuration.
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
    """Name ``request_id`` in every record of the current task and of the tasks it starts."""
    structlog.contextvars.bind_contextvars(request_id=request_id)


def redact(value: Any, literals: tuple[str, ...] = ()) -> Any:
    """A copy of ``value`` (text, bytes, mappings, sequences, anything printable) without secrets.

    ``literals`` are known secrets that are blanked wherever they stand.
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
    except TypeError:  # lone surrogates and integers beyond 64 bits, which a client may have sent
        return json.dumps(event, default=str)


class _LibraryOutages(logging.Filter):
    """Drops what libraries say of an outage, which :mod:`livescore.outages` logs once."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged. RQ also reports jobs that fail for another reason."""
        library = record.name.partition(".")[0]
        if library in _RAISING:
            return False
        return library not in ("rq", "rq_scheduler") or not any(text in record.getMessage() for text in _RQ_OUTAGES)


def _brief_outage(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the traceback of a server that is away by one line."""
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
    access.propagate = False  # uvicorn then sees no handler and does not even build the line


class _Origin:
    """Adds which instance of which deployment speaks: the lines of several are read together."""

    def __init__(self, settings: Settings) -> None:
        self._fields = {"instance": settings.instance, "environment": settings.environment}

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {**self._fields, **event}


class _Redactor:
    """Removes secrets from a finished record, the ones this process was configured with first of all."""

    def __init__(self, settings: Settings) -> None:
        self._literals = _known_secrets(settings)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return cast(EventDict, _redact(event, self._literals, 0))


def _known_secrets(settings: Settings) -> tuple[str, ...]:
    """Return the secrets of the configuration in every form in which a library may write them, the longest first."""
    key = settings.dev_api_key.get_secret_value() if settings.dev_api_key else ""
    known = {key}
    for url in (settings.database_url, settings.redis_url):
        password = _password(url.get_secret_value())
        known |= {password, unquote(password), quote(unquote(password), safe=""), repr(unquote(password))[1:-1]}
    literals = {secret for secret in known if len(secret) >= _SHORTEST_LITERAL}
    for url in (settings.database_url, settings.redis_url):
        literals |= _parts(_password(url.get_secret_value()))
    return tuple(sorted(literals, key=len, reverse=True))


def _password(url: str) -> str:
    """Return the password of a URL, also of one whose reserved characters are not percent-encoded."""
    user, at, _ = url.partition("://")[2].rpartition("@")
    return user.partition(":")[2] if at else ""


def _parts(password: str) -> set[str]:
    """Return what a parser may take for the host of a URL whose password has unescaped reserved characters."""
    parts = (password[found.end() :] for found in _RESERVED.finditer(password))
    return {part for part in parts if len(part) >= _SHORTEST_PART}


def _redact(value: Any, literals: tuple[str, ...], depth: int) -> Any:
    if isinstance(value, str):
        return _redact_text(value, literals)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth < _DEEPEST and isinstance(value, dict):
        return {_redact(name, literals, depth + 1): _redact_field(name, value[name], literals, depth) for name in value}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [_redact(item, literals, depth + 1) for item in value]
    return _redact_text(value.decode(errors="replace") if isinstance(value, bytes) else str(value), literals)


def _redact_field(name: Any, value: Any, literals: tuple[str, ...], depth: int) -> Any:
    if isinstance(name, str | bytes) and value is not None and _SECRET_NAME.search(str(name)):
        return HIDDEN
    return _redact(value, literals, depth + 1)


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
    scheme, separator, rest = word[0].partition("://")
    user, at, tail = rest.rpartition("@")
    if not at or not (scheme[-1:].isalnum() and (":" in user or _USER_ONLY.match(rest))):
        return word[0]
    return f"{scheme}{separator}{HIDDEN}{at}{tail}"
