"""Successful responses: the data envelope, ETags, ``Location`` and 304."""

import orjson
from starlette.responses import Response

from livescore.api import conditions
from livescore.api.context import Services
from livescore.api.routing import Call
from livescore.scores.store import WriteResult

Header = tuple[bytes, bytes]


class ReadyResponse(Response):
    """A response with an encoded body and encoded headers."""

    def __init__(self, status: int, headers: list[Header], body: bytes = b"") -> None:
        self.status_code = status
        self.raw_headers = headers
        self.body = body
        self.background = None


def data_response(json: str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return ``{"data": …}`` around JSON text as PostgreSQL built it."""
    return Response(b'{"data":%b}' % json.encode(), status, headers, media_type="application/json")


def created(call: Call, written: WriteResult) -> Response:
    """Return 201 with the new object, its location and its ETag, and mark the repetition of a first response."""
    new = orjson.loads(written.body)
    headers = {
        "Location": f"{call.request.scope['path']}/{new['id']}",
        **_etag(call.services, call.match_id or new["id"], new["seq"]),
    }
    if written.replayed:
        headers["Idempotency-Replayed"] = "true"
    return data_response(written.body, 201, headers)


def changed(call: Call, written: WriteResult) -> Response:
    """Return 200 with the current state of the object and its ETag."""
    seq = orjson.loads(written.body)["seq"]
    return data_response(written.body, headers=_etag(call.services, call.match_id, seq))


def _etag(services: Services, match_id: int, seq: int) -> dict[str, str]:
    tag = conditions.entity_tag(services.live.epoch, match_id, seq)
    return {"ETag": tag} if tag else {}


def conditional(call: Call, tag: str, headers: list[Header], body: bytes | None) -> Response:
    """Return a representation, or 304 if the client has it.

    Args:
        call: The request with its ``If-Match`` and ``If-None-Match``.
        tag: The ETag of the representation; empty if it is not known.
        headers: Further headers of both responses.
        body: The representation; None is allowed only if the client has it.

    Raises:
        BadRequest: ``If-Match`` is malformed.
        PreconditionFailed: ``If-Match`` names another representation.
    """
    conditions.check_readable(call.request, tag)
    if tag:
        headers = [(b"etag", tag.encode("latin-1")), *headers]
        if conditions.is_known(call.request, tag):
            return ReadyResponse(304, headers)
    content = body or b""
    length = (b"content-length", b"%d" % len(content))
    return ReadyResponse(200, [*headers, length, _JSON], content)


_JSON = (b"content-type", b"application/json")
