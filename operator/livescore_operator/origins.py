"""Validation of ``api.allowedOrigins`` by the rules of the service, which does not start with an invalid origin."""

import re
from collections.abc import Iterable, Iterator

from pydantic_core import Url, ValidationError

from livescore_operator.errors import Terminal

# `*` admits every origin, `null` local files and sandboxed frames.
SPECIAL = frozenset({"*", "null"})

_FORM = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/\\?#@]+)/?", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s,]+")


def require_valid(origins: Iterable[str]) -> None:
    """Check the origins of a spec.

    Raises:
        Terminal: Raised if browsers send no such origin. The message names every invalid entry.
    """
    problems = list(_problems(origins))
    if problems:
        message = f"{'; '.join(problems)}: write each origin as https://app.example.com, with its port if it has one"
        raise Terminal("Invalid", message)


def _problems(origins: Iterable[str]) -> Iterator[str]:
    for index, entry in enumerate(origins):
        # The service splits its setting in the same way.
        for origin in filter(None, _SEPARATORS.split(entry)):
            if origin not in SPECIAL and not _is_origin(origin):
                yield f"api.allowedOrigins[{index}]: {origin!r} is not a web origin"


def _is_origin(text: str) -> bool:
    form = _FORM.fullmatch(text)
    if form is None or form[1].lower() in ("ws", "wss") or "*" in form[2]:
        return False
    try:
        Url(f"{form[1].lower()}://{form[2]}")
    except ValidationError:
        return False
    return True
