"""Errors that know their HTTP response, and the only writer of the error envelope.

Code that refuses a request raises a member of this tree, wherever it is: the response follows from the error alone.
Members that belong to one module are defined there. ::

    HttpError                      500
    ├── BadRequest                 400  details name the faults
    │   └── Invalid                     livescore.scores.rules
    ├── AccessDenied               401  livescore.security.keys
    │   ├── MissingKey
    │   ├── NoKeyExists
    │   ├── InvalidKey
    │   ├── InsufficientScope      403
    │   └── KeysUnknown            503
    ├── Forbidden                  403
    ├── NotFound                   404
    ├── Conflict                   409
    │   ├── StillRunning                livescore.scores.store
    │   └── ExternalIdTaken
    ├── PreconditionFailed         412
    ├── PayloadTooLarge            413
    ├── KeyReused                  422  livescore.scores.store
    ├── TooManyRequests            429
    ├── TooManyConnections         429, 503  livescore.security.connection_caps
    ├── NoHandover                 501  livescore.api.sockets
    └── ServiceUnavailable         503
        └── DatabaseAway                livescore.scores.database
            └── DatabaseReadOnly

"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

# Value of Retry-After in seconds: long enough for the first attempt of a fail-over, short enough that a client that
# retries once is served.
RETRY_AFTER: Mapping[str, str] = {"Retry-After": "1"}

# Caps on reported faults: the response to a body full of faults must not be many times larger than the body.
MAX_DETAILS = 20
MAX_KEY_LENGTH = 100  # characters of a client's own key in the path of a fault

INVALID_BODY = "Invalid request body"


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault of a request: its location and a description."""

    path: tuple[str | int, ...]
    message: str


class HttpError(Exception):
    """An error with its HTTP response.

    Attributes:
        status: HTTP status code.
        message: The envelope's ``error``.
        headers: Response headers besides those that describe the body.
        details: The envelope's ``details``, without the member if there are none.
        reason: The envelope's ``reason``, without the member if it is empty.
    """

    status = 500
    message = "Internal server error"
    headers: Mapping[str, str] = {}
    details: Sequence[Issue] = ()
    reason = ""

    def __init__(self, message: str = "") -> None:
        if message:
            self.message = message
        super().__init__(self.message)

    def body(self) -> bytes:
        """Return the response body."""
        return envelope(self.message, self.details, self.reason)

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return ``headers`` as ASGI wants them."""
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]


class BadRequest(HttpError):
    """The request itself is wrong; ``details`` name the faults."""

    status = 400

    def __init__(self, message: str, *details: Issue) -> None:
        super().__init__(message)
        self.details = details


class Forbidden(HttpError):
    """The sender may not send this request."""

    status = 403


class NotFound(HttpError):
    """No object has this id or path."""

    status = 404
    message = "Not found"


class Conflict(HttpError):
    """The state of the match does not allow the change."""

    status = 409


class PreconditionFailed(HttpError):
    """The state is not the one that the request expects."""

    status = 412


class PayloadTooLarge(HttpError):
    """The body exceeds the configured size. The connection is closed, as the rest of the body is not read."""

    status = 413
    message = "Payload too large"
    headers: Mapping[str, str] = {"Connection": "close"}


class TooManyRequests(HttpError):
    """The client address exceeds a rate limit; try again after ``retry_after`` seconds."""

    status = 429
    message = "Too many requests"

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(retry_after)}


class ServiceUnavailable(HttpError):
    """A server that the request needs cannot be used now; ``reason`` names it."""

    status = 503
    message = "Service unavailable"
    headers = RETRY_AFTER


def envelope(message: str, details: Iterable[Issue] = (), reason: str = "") -> bytes:
    """Return the JSON body of an error response."""
    content: dict[str, Any] = {"error": message}
    if details:
        content["details"] = [{"path": _shortened(issue.path), "message": issue.message} for issue in details]
    if reason:
        content["reason"] = reason
    return orjson.dumps(content)


def _shortened(path: Iterable[str | int]) -> list[str | int]:
    return [key[:MAX_KEY_LENGTH] if isinstance(key, str) else key for key in path]


def body_headers(body: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers that describe a JSON body."""
    return [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
