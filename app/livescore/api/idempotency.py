"""``Idempotency-Key``: repeating a request with the same key and body returns the first response again."""

import hashlib
import re
from typing import Any

import orjson
from starlette.requests import Request

from livescore.api import parse
from livescore.http_errors import BadRequest, Issue
from livescore.scores.store import IdempotencyKey

# Visible ASCII, as in every draft of the header's standard.
KEY_PATTERN = "^[!-~]{1,255}$"
_KEY = re.compile(KEY_PATTERN[1:-1])


async def key(request: Request, scope: str, caller: str) -> IdempotencyKey | None:
    """Return the request's ``Idempotency-Key``, or None.

    Args:
        request: The request. Its body is part of the key's fingerprint.
        scope: Method and path. Keys are unique per scope and caller.
        caller: Id of the API key that sends the request.

    Raises:
        BadRequest: The header is malformed.
    """
    values = request.headers.getlist("idempotency-key")
    if not values:
        return None
    if len(values) != 1 or not _KEY.fullmatch(values[0]):
        issue = Issue(("Idempotency-Key",), "Input should be 1 to 255 visible ASCII characters, given once")
        raise BadRequest("Invalid Idempotency-Key", issue)
    return IdempotencyKey(f"{scope} {caller}", values[0], _fingerprint(await parse.json_body(request)))


def _fingerprint(value: Any) -> bytes:
    """Return a digest of parsed JSON, which does not depend on how its text was formatted."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()
