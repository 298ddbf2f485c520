"""Structured logs, including those of Kopf: JSON in production, plain text in a terminal."""

import logging
import sys

import structlog
from structlog.typing import Processor

from livescore_operator.settings import Settings


def configure(settings: Settings) -> None:
    """Write all log records to standard error, one line each."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    readable = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: Processor = _console() if readable else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    finish: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=finish))
    logging.basicConfig(handlers=[handler], level=settings.log_level, force=True)
    # Kopf logs every watch that it opens; only its warnings matter.
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _console() -> Processor:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
