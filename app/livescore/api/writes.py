"""What every write has in common: the key of its first answer, and the announcement of what it did."""

import hashlib
import re
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from livescore.api import conditions, parse
from livescore.api.context import services_of
from livescore.http_errors import BadRequest, Issue
from livescore.scores.store import IdempotencyKey, WriteResult

# Visible ASCII, as in every draft of the header's standard.
IDEMPOTENCY_KEY_PATTERN = "^[!-~]{1,255}$"
_IDEMPOTENCY_KEY = re.compile(IDEMPOTENCY_KEY_PATTERN[1:-1])


async def idempotency_key(request: Request, target: str, caller: str) -> IdempotencyKey | None:
    """The request's ``Idempotency-Key``, if it has one: unique per ``target`` (method and path) and ``caller``."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) != 1 or not _IDEMPOTENCY_KEY.fullmatch(keys[0]):
        issue = Issue(("Idempotency-Key",), "Input should be 1 to 255 visible ASCII characters, given once")
        raise BadRequest("Invalid Idempotency-Key", issue)
    return IdempotencyKey(f"{target} {caller}", keys[0], _fingerprint(await parse.json_body(request)))


def _fingerprint(value: Any) -> bytes:
    """Return a digest of parsed JSON, which does not depend on how its text was formatted."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()


def announce(request: Request, written: WriteResult) -> None:
    """Tell the listeners what was committed."""
    services_of(request).live.publish(written.events)


def created(request: Request, match_id: int | None, written: WriteResult) -> Response:
    """Return 201 with the new object, its place and its ETag; ``match_id`` is the match of an entry.

    A first answer that is given again says so.
    """
    made = orjson.loads(written.body)
    headers = {
        "Location": f"{request.scope['path']}/{made['id']}",
        **_etag(request, match_id or made["id"], made["seq"]),
    }
    if written.replayed:
        headers["Idempotency-Replayed"] = "true"
    return data_response(written.body, 201, headers)


def changed(request: Request, match_id: int, written: WriteResult) -> Response:
    """Return 200 with the object as it is now, and its ETag."""
    return data_response(written.body, headers=_etag(request, match_id, orjson.loads(written.body)["seq"]))


def _etag(request: Request, match_id: int, seq: int) -> dict[str, str]:
    epoch = services_of(request).live.epoch
    return {"ETag": conditions.entity_tag(epoch, match_id, seq)} if epoch else {}


def data_response(json: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``{"data": …}`` around JSON text as PostgreSQL built it."""
    return Response(b'{"data":%b}' % json.encode(), status, headers, media_type="application/json")
