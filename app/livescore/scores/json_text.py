"""JSON as clients send it, judged once: what :func:`parse` returns can be hashed, stored and sent again."""

from collections.abc import Iterator
from typing import Any

import orjson

# Objects and arrays within each other. PostgreSQL, orjson's encoder (254) and the clients that read the feed later
# have limits of their own; this one is below all of them.
MAX_NESTING = 33

Path = tuple[str | int, ...]


class JsonError(ValueError):
    """A text is not JSON, or not JSON that this service takes; ``path`` leads to the place, as far as it is known."""

    def __init__(self, message: str, path: Path = ()) -> None:
        self.path = path
        super().__init__(message)


class NestingError(JsonError):
    """A text is JSON, but nested too deeply."""


def parse(text: bytes) -> Any:
    """Return the value of a JSON text.

    orjson refuses what JSON does not have (NaN, lone surrogates, invalid UTF-8) and numbers beyond a double. An
    integer beyond 64 bits becomes a double, and the last of repeated members counts, both as in JavaScript.

    Raises:
        JsonError: if the text is malformed.
        NestingError: if it is nested more than :data:`MAX_NESTING` levels deep.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise JsonError(f"Malformed JSON: {error}") from None
    # Brackets bound the depth from above, and counting them is much cheaper than walking through the value.
    if text.count(b"{") + text.count(b"[") > MAX_NESTING:
        _check_nesting(value)
    return value


def _check_nesting(value: Any) -> None:
    containers: list[tuple[Path, Any]] = [((), value)]
    while containers:
        path, container = containers.pop()
        if len(path) >= MAX_NESTING:
            raise NestingError(f"Objects and arrays may be nested at most {MAX_NESTING} levels deep", path)
        containers += [((*path, key), inner) for key, inner in _members(container) if isinstance(inner, dict | list)]


def _members(container: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(container, dict):
        yield from container.items()
    elif isinstance(container, list):
        yield from enumerate(container)
