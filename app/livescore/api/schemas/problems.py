"""Error responses."""

from livescore.api.schemas.base import OMITTED, Answer


class Detail(Answer):
    """One fault of a request."""

    path: list[str | int]
    message: str


class Problem(Answer):
    """The body of every error: ``details`` for bad input, ``reason`` if a part of the service is unavailable."""

    error: str
    details: list[Detail] = OMITTED
    reason: str = OMITTED
