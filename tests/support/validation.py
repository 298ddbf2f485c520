"""Validation of everything the service sends: responses against OpenAPI, messages against AsyncAPI.

All clients of ``tests/support`` validate what they receive, so every test that uses them also tests the documents.
"""

import json
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

import httpx
import jsonschema_rs

from livescore import application
from livescore.api import asyncapi
from livescore.api import openapi as openapi_document

Json = dict[str, Any]

STREAM = "text/event-stream"

PROTOCOL_ERRORS = {400, 404, 405, 408, 413, 417, 426, 431, 501, 505}
"""Statuses allowed for any request, because they precede routing or concern unknown routes."""

UNDESCRIBED = re.compile(r"/(docs.*|openapi\.json|asyncapi\.json|metrics|connections|drain|shed)")
"""The documents themselves, and routes of the management port."""

ELSEWHERE = re.compile("^/api(?=/(matches|events)(/|$))")
"""The alternative prefix of the same routes."""


class Undocumented(AssertionError):
    """The service sent something that its documents do not describe."""


# Messages


@cache
def message_types(channel: str = "socket", *, sent: bool = True) -> frozenset[str]:
    """Return the message types of an AsyncAPI channel that the service sends, or those it receives."""
    found: set[str] = set()
    for operation in asyncapi.document()["operations"].values():
        sending, reply = operation["action"] == "send", operation.get("reply", {})
        if operation["channel"]["$ref"] == f"#/channels/{channel}":
            found |= _names(operation["messages"] if sending == sent else reply.get("messages", []) if sent else [])
    return frozenset(found)


def _names(references: Iterable[Json]) -> set[str]:
    return {reference["$ref"].rpartition("/")[2] for reference in references}


@lru_cache(maxsize=4_096)
def message_faults(text: str, channel: str = "socket", *, sent: bool = True) -> tuple[str, ...]:
    """Return what is wrong with a message. Cached, because hundreds of listeners receive the same text."""
    try:
        message = json.loads(text)
    except ValueError:
        return (f"not JSON: {text:.200}",)
    kind = message.get("type") if isinstance(message, dict) else None
    if kind not in message_types(channel, sent=sent):
        return (f"no message of this type is documented for {channel}: {text:.200}",)
    return tuple(f"{fault} in {text:.500}" for fault in _faults(_message_validator(kind), message))


def check_message(text: str, channel: str = "socket") -> None:
    """Validate a message of the service against the AsyncAPI document.

    Raises:
        Undocumented: the message is not described, or differs from its description.
    """
    if faults := message_faults(text, channel):
        raise Undocumented("; ".join(faults))


@cache
def _message_validator(kind: str) -> jsonschema_rs.Validator:
    document = asyncapi.document()
    return _validator(document["components"]["messages"][kind]["payload"], document)


# Responses


async def check_answer(response: httpx.Response) -> None:
    """Validate a response against the OpenAPI document; used as a ``response`` hook of httpx.

    Raises:
        Undocumented: the status, media type or body is not described.
    """
    if not response.headers.get("content-type", "").startswith(STREAM):
        await response.aread()
    if faults := answer_faults(response):
        request = response.request
        raise Undocumented(f"{request.method} {request.url}: {'; '.join(faults)}")


def answer_faults(response: httpx.Response) -> list[str]:
    """Return what is wrong with a response; its body must have been read unless it is a stream."""
    path = ELSEWHERE.sub("", response.request.url.path)
    if UNDESCRIBED.fullmatch(path):
        return []
    content = _documented(response.request.method, path, response.status_code)
    if content is None:
        return [f"{response.status_code} is not documented: {response.text:.500}"]
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if not content or response.request.method == "HEAD":
        return [] if not response.content else ["the body is not documented"]
    if media_type not in content:
        return [f"{media_type or 'no media type'} is not documented, only {', '.join(content)}"]
    return [] if media_type == STREAM else _body_faults(content[media_type]["schema"], response)


def _body_faults(schema: Json, response: httpx.Response) -> list[str]:
    body = response.json()
    faults = [f"{fault} in {response.text:.500}" for fault in _faults(_answer_validator(json.dumps(schema)), body)]
    events = body.get("data") if response.request.url.path.endswith("/events") else None
    for event in events or []:  # OpenAPI leaves the data of events to AsyncAPI
        faults += message_faults(json.dumps(event))
    return faults


def _documented(method: str, path: str, status: int) -> Json | None:
    """Return the ``content`` of a response; None if the response is not described."""
    responses = _responses("GET" if method == "HEAD" else method, path)
    if str(status) in responses:
        content: Json = responses[str(status)].get("content", {})
        return content
    known = status in PROTOCOL_ERRORS and not (responses and status == 404)
    return {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}} if known else None


def _responses(method: str, path: str) -> Json:
    for template, operations in openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            responses: Json = operations.get(method.lower(), {}).get("responses", {})
            return responses
    return {}


@cache
def openapi() -> Json:
    """Return the OpenAPI document."""
    return openapi_document.document(application.ROUTES)


@cache
def _answer_validator(schema: str) -> jsonschema_rs.Validator:
    return _validator(json.loads(schema), openapi())


# Both


def _validator(schema: Json, document: Json) -> jsonschema_rs.Validator:
    """Return a validator that resolves references in ``document`` and rejects undescribed members."""
    return jsonschema_rs.validator_for(
        _closed({**schema, "components": {"schemas": document["components"]["schemas"]}})
    )


def _closed(schema: Any) -> Any:
    """Forbid additional members: clients must ignore them, but this version must not send any."""
    if isinstance(schema, list):
        return [_closed(member) for member in schema]
    if not isinstance(schema, dict):
        return schema
    closing = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {}
    return {**closing, **{name: _closed(member) for name, member in schema.items()}}


def _faults(validator: jsonschema_rs.Validator, instance: Any) -> list[str]:
    if validator.is_valid(instance):
        return []
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(instance)]
