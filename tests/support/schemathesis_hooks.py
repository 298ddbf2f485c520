"""Hooks for Schemathesis with constraints that JSON Schema cannot express (``SCHEMATHESIS_HOOKS``)."""

import re
from datetime import datetime
from typing import Any
from uuid import uuid4

import schemathesis
from pydantic import TypeAdapter, ValidationError

from livescore.api.idempotency import KEY_PATTERN
from livescore.api.schemas.base import Patch
from livescore.api.schemas.commentary import CommentaryPatch
from livescore.api.schemas.fields import Instant
from livescore.api.schemas.matches import MatchPatch
from livescore.api.schemas.webhooks import MAX_URL, WebhookPatch

EARLIEST, LATEST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"
IDEMPOTENCY_KEY = "Idempotency-Key"


INSTANTS: TypeAdapter[datetime] = TypeAdapter(Instant)


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: dict[str, Any]) -> None:
    """Make each match end after its start, and replace idempotency keys that were used for another request."""
    if case.path.startswith("/matches") and isinstance(case.body, dict):
        body: dict[str, Any] = dict(case.body)
        body = _with_known_member(body, case.path) if case.method == "PATCH" else body
        body = {**body, "metadata": _without_nul(body["metadata"])} if "metadata" in body else body
        if isinstance(body.get("rules"), dict):
            body["rules"] = {}  # the sport decides which members it has
        case.body = _in_order(body, partner=case.method == "PATCH")
    if case.path.startswith("/webhooks") and isinstance(case.body, dict):
        body = _with_known_member(dict(case.body), case.path) if case.method == "PATCH" else case.body
        case.body = _with_public_url(body)
    _fill_templates(case.path_parameters)
    headers: Any = case.headers or {}
    if re.fullmatch(KEY_PATTERN, str(headers.get(IDEMPOTENCY_KEY, ""))):
        headers[IDEMPOTENCY_KEY] = str(uuid4())
    _meet_conditions(headers)


def _fill_templates(parameters: Any) -> None:
    """Replace what is no id: Schemathesis takes the templates in ``GET /`` for links, and null members for ids."""
    for name, value in (parameters or {}).items():
        if str(value) in (f"{{{name}}}", f"%7B{name}%7D", "None"):
            parameters[name] = 1


def _meet_conditions(headers: Any) -> None:
    """Replace preconditions by ones that hold: no schema knows the current ETag. Other tests cover failing ones."""
    for name, holding in (("If-Match", "*"), ("If-None-Match", '"other"')):
        if name in headers:
            headers[name] = holding


def _with_known_member(body: dict[str, Any], path: str) -> dict[str, Any]:
    """Add a known member: a change of only unknown members is refused, but the schema only requires non-emptiness."""
    patch: type[Patch] = MatchPatch
    member = "sport"
    if "commentary" in path:
        patch, member = CommentaryPatch, "message"
    elif path.startswith("/webhooks"):
        patch, member = WebhookPatch, "description"
    known = {field.alias or name for name, field in patch.model_fields.items()}
    return body if not body or known & body.keys() else {**body, member: "x"}


def _with_public_url(body: dict[str, Any]) -> dict[str, Any]:
    """Replace a text by the URL of a public address: JSON Schema cannot describe which addresses are allowed."""
    url = body.get("url")
    is_text = isinstance(url, str) and 0 < len(url) <= MAX_URL and "\0" not in url
    return {**body, "url": "https://93.184.216.34/hooks"} if is_text else body


def _without_nul(value: Any) -> Any:
    """Return metadata without U+0000, which PostgreSQL cannot store."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(member) for member in value]
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(member) for name, member in value.items()}
    return value


def _in_order(body: dict[str, Any], *, partner: bool) -> dict[str, Any]:
    """Return valid times in the right order; ``partner`` adds the missing time if the match's own is unknown."""
    times = {name: _instant(body[name]) for name in ("startTime", "endTime") if name in body}
    known = {name: moment for name, moment in times.items() if moment is not None}
    if len(known) < (1 if partner else 2) or known.keys() != times.keys():
        return body
    if len(known) == 1:
        return {"startTime": EARLIEST, "endTime": LATEST, **body}
    return body if known["startTime"] < known["endTime"] else {**body, "startTime": EARLIEST, "endTime": LATEST}


def _instant(value: Any) -> datetime | None:
    try:
        return INSTANTS.validate_python(value)
    except ValidationError:
        return None
