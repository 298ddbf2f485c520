"""What JSON Schema cannot say about a request, told to Schemathesis (``SCHEMATHESIS_HOOKS``)."""

import re
from typing import Any
from uuid import uuid4

import schemathesis

from livescore.api.schemas import INSTANT_PATTERN
from livescore.api.writes import IDEMPOTENCY_KEY_PATTERN

EARLIEST, LATEST = "0001-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"
IDEMPOTENCY_KEY = "Idempotency-Key"


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: schemathesis.Case[Any], __: dict[str, Any]) -> None:
    """A match ends after it started, and a key that was used before asks for something else than a new one."""
    if case.path.startswith("/matches") and isinstance(case.body, dict):
        case.body = _in_order(case.body, partner=case.method == "PATCH")
    headers: Any = case.headers or {}
    if re.fullmatch(IDEMPOTENCY_KEY_PATTERN, str(headers.get(IDEMPOTENCY_KEY, ""))):
        headers[IDEMPOTENCY_KEY] = str(uuid4())


def _in_order(body: dict[str, Any], *, partner: bool) -> dict[str, Any]:
    """Valid times in the right order; ``partner`` adds the other one where the match's own is not known."""
    times = {name: body[name] for name in ("startTime", "endTime") if name in body}
    if len(times) < (1 if partner else 2) or not all(map(_is_instant, times.values())):
        return body
    start, end = sorted((times.get("startTime", EARLIEST), times.get("endTime", LATEST)))
    # Sorting text is not sorting times within the same minute.
    return {**body, "startTime": start if start[:16] < end[:16] else EARLIEST, "endTime": end}


def _is_instant(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(INSTANT_PATTERN, value) is not None
