"""``/webhooks``: endpoints that receive events, their secrets and the log of deliveries."""

import asyncio
from datetime import datetime
from typing import Any

import orjson
from starlette.responses import Response

from livescore.api import responses
from livescore.api.routing import Call, endpoint
from livescore.api.schemas.webhooks import (
    MAX_LOG_ID,
    DeletedWebhookAnswer,
    DeliveriesAnswer,
    DeliveriesQuery,
    NewWebhook,
    Redelivery,
    RedeliveryAnswer,
    Rotation,
    TestAnswer,
    WebhookAnswer,
    WebhookPatch,
    WebhooksAnswer,
    parse_url,
)
from livescore.http_errors import INVALID_BODY, BadRequest, Issue
from livescore.scores.state import timestamp
from livescore.scores.webhook_statements import TEST_MATCH
from livescore.scores.webhooks import LoggedAttempt, Webhook, WebhookStore, test_message_id
from livescore.security import signatures
from livescore.security.destinations import Destinations, Refused
from livescore.settings import Settings

PATH = "/webhooks/{id}"

# Seconds to resolve the name of a new endpoint. A name that does not resolve yet is accepted: deliveries check it.
RESOLVE_SECONDS = 2.0

_PORTS = {"http": 80, "https": 443}


@endpoint("GET", "/webhooks", answer=WebhooksAnswer, access="admin", tag="webhooks")
async def list_webhooks(call: Call) -> Response:
    """Return all webhooks, oldest first, without their secrets."""
    return _answer([_webhook(webhook) for webhook in await _store(call).all()])


@endpoint("POST", "/webhooks", body=NewWebhook, answer=WebhookAnswer, status=201, access="admin", tag="webhooks")
async def create_webhook(call: Call, new: NewWebhook) -> Response:
    """Create a webhook, which receives the events that follow. Only this response contains its `secret`."""
    await _check_destination(new.url, call.services.settings)
    secret = signatures.generate_secret()
    webhook = await _store(call).create(new.values(), secret)
    location = {"Location": f"{call.request.scope['path']}/{webhook.id}"}
    return _answer(_webhook(webhook) | {"secret": secret}, 201, location)


@endpoint("GET", PATH, of="webhook", answer=WebhookAnswer, access="admin", not_found=True, tag="webhooks")
async def get_webhook(call: Call) -> Response:
    """Return a webhook without its secrets."""
    return _answer(_webhook(await _store(call).read(call.object_id)))


@endpoint(
    "PATCH",
    PATH,
    of="webhook",
    body=WebhookPatch,
    answer=WebhookAnswer,
    access="admin",
    not_found=True,
    tag="webhooks",
)
async def change_webhook(call: Call, change: WebhookPatch) -> Response:
    """Change a webhook. What waits for delivery is compared with the new filter."""
    values = change.given()
    if "url" in values:
        await _check_destination(values["url"], call.services.settings)
    return _answer(_webhook(await _store(call).change(call.object_id, values)))


@endpoint("DELETE", PATH, of="webhook", answer=DeletedWebhookAnswer, access="admin", not_found=True, tag="webhooks")
async def delete_webhook(call: Call) -> Response:
    """Delete a webhook with its secrets and its log. Requests in flight are not recalled."""
    await _store(call).delete(call.object_id)
    return _answer({"id": call.object_id})


@endpoint(
    "POST",
    f"{PATH}/rotate",
    of="webhook",
    body=Rotation,
    answer=WebhookAnswer,
    access="admin",
    not_found=True,
    tag="webhooks",
)
async def rotate_webhook_secret(call: Call, rotation: Rotation) -> Response:
    """Add a secret. Until the present ones end, deliveries carry a signature for each."""
    secret = signatures.generate_secret()
    webhook = await _store(call).rotate(call.object_id, secret, rotation.expires_in)
    return _answer(_webhook(webhook) | {"secret": secret})


@endpoint(
    "GET",
    f"{PATH}/deliveries",
    of="webhook",
    query=DeliveriesQuery,
    answer=DeliveriesAnswer,
    access="admin",
    not_found=True,
    tag="webhooks",
)
async def list_deliveries(call: Call, query: DeliveriesQuery) -> Response:
    """Return the attempts of the last days, newest first."""
    before = query.cursor or MAX_LOG_ID + 1
    attempts = await _store(call).attempts(call.object_id, query.limit + 1, before, query.outcome)
    page = attempts[: query.limit]
    next_cursor = page[-1].id if len(attempts) > query.limit else None
    body = {"data": [_attempt(attempt) for attempt in page], "nextCursor": next_cursor}
    return Response(orjson.dumps(body), media_type="application/json")


@endpoint(
    "POST",
    f"{PATH}/redeliver",
    of="webhook",
    body=Redelivery,
    answer=RedeliveryAnswer,
    status=202,
    access="admin",
    not_found=True,
    tag="webhooks",
)
async def redeliver_events(call: Call, wanted: Redelivery) -> Response:
    """Deliver all events since a time once more, in order per match and with the ids of the first delivery."""
    matches = await _store(call).redeliver(call.object_id, wanted.since, wanted.match_id)
    return _answer({"matches": matches}, 202)


@endpoint(
    "POST",
    f"{PATH}/test",
    of="webhook",
    answer=TestAnswer,
    status=202,
    access="admin",
    not_found=True,
    tag="webhooks",
)
async def test_webhook(call: Call) -> Response:
    """Send an event of type `test` once, also to a disabled webhook. `/deliveries` shows the outcome."""
    number = await _store(call).test(call.object_id)
    return _answer({"messageId": test_message_id(call.object_id, number)}, 202)


def _store(call: Call) -> WebhookStore:
    return WebhookStore(call.services.store.database)


async def _check_destination(url: str, settings: Settings) -> None:
    """Check that deliveries to a URL will be allowed.

    Raises:
        BadRequest: They will not.
    """
    parts = parse_url(url)
    if parts.scheme == "http" and not settings.webhook_allow_http:
        raise _bad_url("URL should start with https://: http:// is allowed only if WEBHOOK_ALLOW_HTTP is set")
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            port = parts.port or _PORTS[parts.scheme]
            await Destinations(settings.webhook_allowed_networks).addresses(parts.hostname or "", port)
    except Refused as error:
        raise _bad_url(str(error)) from None
    except (OSError, TimeoutError):
        return


def _bad_url(message: str) -> BadRequest:
    return BadRequest(INVALID_BODY, Issue(("url",), message))


def _answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return responses.data_response(orjson.dumps(data).decode(), status, headers)


def _webhook(webhook: Webhook) -> dict[str, Any]:
    """Return the members of a webhook for clients."""
    return {
        "id": webhook.id,
        "url": webhook.url,
        "eventTypes": webhook.event_types,
        "competition": webhook.competition,
        "matchId": webhook.match_id,
        "description": webhook.description,
        "enabled": webhook.enabled,
        "disabledReason": webhook.disabled_reason,
        "failingSince": _time(webhook.failing_since),
        "lastSuccessAt": _time(webhook.last_success_at),
        "pausedUntil": _time(webhook.paused_until),
        "createdAt": _time(webhook.created_at),
        "updatedAt": _time(webhook.updated_at),
        "secrets": [
            {"createdAt": _time(secret.created_at), "expiresAt": _time(secret.expires_at)} for secret in webhook.secrets
        ],
        "pending": webhook.pending,
    }


def _attempt(attempt: LoggedAttempt) -> dict[str, Any]:
    """Return the members of an attempt for clients."""
    return {
        "id": attempt.id,
        "messageId": attempt.message_id,
        "matchId": None if attempt.match_id == TEST_MATCH else attempt.match_id,
        "seq": attempt.seq,
        "type": attempt.type,
        "attempt": attempt.attempt,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "error": attempt.error,
        "durationMs": round(attempt.seconds * 1000),
        "createdAt": _time(attempt.created_at),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


routes = [
    list_webhooks,
    create_webhook,
    get_webhook,
    change_webhook,
    delete_webhook,
    rotate_webhook_secret,
    list_deliveries,
    redeliver_events,
    test_webhook,
]
