"""Validation of the JSON of clients: what :func:`parse` returns can be hashed, stored and sent again."""

from collections.abc import Iterator
from typing import Any

import orjson

# Levels of objects and arrays. PostgreSQL, orjson's encoder (254) and the readers of the feed have their own limits;
# this one is below them all.
MAX_NESTING = 33

Path = tuple[str | int, ...]


class JsonError(ValueError):
    """A text is not valid JSON, or not accepted by this service.

    Attributes:
        path: Path to the error; empty if it is unknown.
    """

    def __init__(self, message: str, path: Path = ()) -> None:
        self.path = path
        super().__init__(message)


class NestingError(JsonError):
    """A JSON text is nested too deeply."""


def parse(text: bytes) -> Any:
    """Return the value of a JSON text.

    orjson rejects what JSON does not allow (NaN, lone surrogates, invalid UTF-8) and numbers outside the range of a
    double. As in JavaScript, an integer beyond 64 bits becomes a double, and the last of repeated members counts.

    Raises:
        JsonError: The text is malformed.
        NestingError: It is nested more than :data:`MAX_NESTING` levels deep.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise JsonError(f"Malformed JSON: {error}") from None
    # The number of brackets is an upper bound of the depth, and counting is much cheaper than traversing the value.
    if text.count(b"{") + text.count(b"[") > MAX_NESTING:
        _check_nesting(value)
    return value


def _check_nesting(root: Any) -> None:
    containers: list[tuple[Path, Any]] = [((), root)]
    while containers:
        path, container = containers.pop()
        if len(path) >= MAX_NESTING:
            raise NestingError(f"Objects and arrays may be nested at most {MAX_NESTING} levels deep", path)
        for key, value in _members(container):
            if isinstance(value, dict | list):
                containers.append(((*path, key), value))


def _members(container: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(container, dict):
        yield from container.items()
    elif isinstance(container, list):
        yield from enumerate(container)
