"""Webhooks from end to end: a real API, a real worker, and a receiver that verifies what it gets."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import httpx
import psycopg
import pytest
from standardwebhooks import Webhook

from livescore.jobs.context import JobContext
from livescore.jobs.webhooks import job
from livescore.jobs.webhooks.dispatcher import Dispatcher
from livescore.jobs.webhooks.worker import WebhookWorker
from livescore.scores.database import Database
from tests.support.databases import opened
from tests.support.receivers import LOOPBACK, Receiver, Reply, Request
from tests.support.service import Json, Kind, Service, Start, eventually, instant

TIMEOUT_SECONDS = 5.0


@dataclass
class Stack:
    """An API, a worker and a receiver."""

    api: Service
    worker: Service
    receiver: Receiver

    async def create(self, path: str = "/", **fields: Any) -> Json:
        """Create a webhook to a path of the receiver."""
        async with self.api.client() as http:
            answer = await http.post("/webhooks", json={"url": self.receiver.url(path), **fields})
        answer.raise_for_status()
        data: Json = answer.json()["data"]
        return data

    async def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """Return the data of a response with the expected status."""
        async with self.api.client() as http:
            answer = await http.request(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json().get("data")

    async def deliveries(self, webhook: Json, **query: Any) -> list[Json]:
        data: list[Json] = await self.call("GET", f"/webhooks/{webhook['id']}/deliveries", params=query)
        return data


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def stack(start: Start, receiver: Receiver) -> Stack:
    settings = {**LOOPBACK, "WEBHOOK_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS)}
    kinds: tuple[Kind, ...] = ("api", "worker")
    api, worker = await asyncio.gather(*(start(kind, ready=True, **settings) for kind in kinds))
    return Stack(api, worker, receiver)


def verify(request: Request, *secrets: str) -> None:
    for secret in secrets:
        Webhook(secret).verify(request.body, request.headers)


async def test_event_is_delivered_signed_within_a_second(stack: Stack) -> None:
    webhook = await stack.create()
    match = await stack.api.create_match(homeTeam="Curaçao", awayTeam="Türkiye")
    await stack.receiver.receives("/", 1)
    posted = monotonic()
    await stack.api.comment(match["id"], message="Çok güzel ⚽")
    created, comment = await stack.receiver.receives("/", 2)
    assert comment.at - posted < 1.0
    for request in (created, comment):
        verify(request, webhook["secret"])
        assert request.headers["content-type"] == "application/json"
    assert comment.event["type"] == "commentary"
    assert (comment.event["matchId"], comment.event["seq"]) == (match["id"], 2)
    assert comment.event["data"]["message"] == "Çok güzel ⚽"
    assert len({created.id, comment.id}) == 2


async def test_only_events_after_the_creation_are_delivered_and_only_those_of_the_filter(
    stack: Stack, database_url: str
) -> None:
    match = await stack.api.create_match()
    await stack.api.comment(match["id"])
    await stack.create("/scores", eventTypes=["score_update"])
    await stack.create("/match", matchId=match["id"])
    other = await stack.api.create_match()
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE match SET competition = 'world-cup-2026' WHERE id = %s", [other["id"]])
    await stack.create("/competition", competition="world-cup-2026")
    goal = {"eventType": "goal", "metadata": {"scoreDelta": {"home": 1}}}
    for one in (match, other):
        await stack.api.comment(one["id"], **goal)
    await stack.receiver.receives("/scores", 2)
    await stack.receiver.receives("/match", 2)
    await stack.receiver.receives("/competition", 2)
    assert {request.event["type"] for request in stack.receiver.requests["/scores"]} == {"score_update"}
    assert stack.receiver.seqs("/match", match["id"]) == [3, 4]
    assert stack.receiver.seqs("/competition", other["id"]) == [2, 3]


async def test_failures_are_retried_in_order_and_logged(stack: Stack) -> None:
    webhook = await stack.create()
    stack.receiver.behave("/", lambda request, number: Reply(500 if number <= 2 else 204))
    match = await stack.api.create_match()
    for _ in range(3):
        await stack.api.comment(match["id"])
    await stack.receiver.receives("/", 4)
    assert stack.receiver.all_seqs("/", match["id"]) == [1, 2, 3, 4]
    first, second, third, *_ = stack.receiver.requests["/"]
    assert first.id == second.id == third.id
    log = await stack.deliveries(webhook)
    assert [(entry["seq"], entry["attempt"], entry["outcome"], entry["status"]) for entry in reversed(log)] == [
        (1, 1, "retrying", 500),
        (1, 2, "retrying", 500),
        (1, 3, "delivered", 204),
        (2, 1, "delivered", 204),
        (3, 1, "delivered", 204),
        (4, 1, "delivered", 204),
    ]
    page = await stack.deliveries(webhook, outcome="retrying", limit=1)
    assert [entry["attempt"] for entry in page] == [2]
    assert (await stack.call("GET", f"/webhooks/{webhook['id']}"))["failingSince"] is None


async def test_secrets_are_shown_once_and_rotate_with_an_overlap(stack: Stack) -> None:
    webhook = await stack.create()
    old = webhook["secret"]
    place = f"/webhooks/{webhook['id']}"
    new = (await stack.call("POST", f"{place}/rotate", json={}))["secret"]
    assert old != new
    match = await stack.api.create_match()
    (both,) = await stack.receiver.receives("/", 1)
    verify(both, old, new)
    assert len(both.headers["webhook-signature"].split(" ")) == 2
    assert [secret["expiresAt"] is None for secret in (await stack.call("GET", place))["secrets"]] == [True, False]
    last = (await stack.call("POST", f"{place}/rotate", json={"expiresIn": 0}))["secret"]
    await stack.api.comment(match["id"])
    _, only = await stack.receiver.receives("/", 2)
    verify(only, last)
    assert len(only.headers["webhook-signature"].split(" ")) == 1
    for answer in (await stack.call("GET", place), *await stack.call("GET", "/webhooks")):
        assert "secret" not in answer
    for service in (stack.api, stack.worker):
        assert "whsec_" not in service.log


async def test_410_disables_and_enabling_continues_from_the_cursor(stack: Stack) -> None:
    webhook = await stack.create()
    stack.receiver.behave("/", lambda request, number: Reply(410))
    match = await stack.api.create_match()
    place = f"/webhooks/{webhook['id']}"
    await stack.receiver.is_asked("/", 1)
    async with asyncio.timeout(20):
        while (disabled := await stack.call("GET", place))["enabled"]:
            await asyncio.sleep(0.05)
    assert disabled["disabledReason"] == "the endpoint answered 410 Gone"
    await stack.api.comment(match["id"])
    other = await stack.api.create_match()
    stack.receiver.heal("/")
    await stack.call("PATCH", place, json={"enabled": True})
    await stack.receiver.receives("/", 3)
    assert stack.receiver.all_seqs("/", match["id"]) == [1, 2]
    assert stack.receiver.all_seqs("/", other["id"]) == [1]
    assert (await stack.call("GET", place))["disabledReason"] is None


async def test_redelivery_repeats_events_with_the_same_ids(stack: Stack) -> None:
    webhook = await stack.create()
    since = instant(-60)
    match = await stack.api.create_match()
    await stack.api.comment(match["id"])
    first = list(await stack.receiver.receives("/", 2))
    result = await stack.call("POST", f"/webhooks/{webhook['id']}/redeliver", 202, json={"since": since})
    assert result == {"matches": 1}
    again = (await stack.receiver.receives("/", 4))[2:]
    assert [request.id for request in again] == [request.id for request in first]
    assert [request.body for request in again] == [request.body for request in first]


async def test_test_event_is_sent_once_also_to_a_disabled_webhook(stack: Stack) -> None:
    webhook = await stack.create(enabled=False)
    stack.receiver.behave("/", lambda request, number: Reply(403))
    message_id = (await stack.call("POST", f"/webhooks/{webhook['id']}/test", 202))["messageId"]
    (request,) = await stack.receiver.is_asked("/", 1)
    verify(request, webhook["secret"])
    assert request.id == message_id
    async with asyncio.timeout(20):
        while not (log := await stack.deliveries(webhook)):
            await asyncio.sleep(0.05)
    assert [(entry["matchId"], entry["type"], entry["outcome"], entry["status"]) for entry in log] == [
        (None, "test", "failed", 403)
    ]


async def test_deleted_webhook_receives_nothing_more(stack: Stack) -> None:
    webhook = await stack.create()
    match = await stack.api.create_match()
    await stack.receiver.receives("/", 1)
    assert await stack.call("DELETE", f"/webhooks/{webhook['id']}") == {"id": webhook["id"]}
    await stack.create("/next")
    await stack.api.comment(match["id"])
    await stack.receiver.receives("/next", 1)
    assert len(stack.receiver.requests["/"]) == 1
    await stack.call("GET", f"/webhooks/{webhook['id']}", 404)


async def test_requests_of_a_match_are_sent_one_by_one_and_connections_are_reused(stack: Stack) -> None:
    await stack.create()
    stack.receiver.behave("/", lambda request, number: Reply(delay=0.02))
    matches = [await stack.api.create_match() for _ in range(2)]
    await asyncio.gather(*(stack.api.comment(match["id"]) for match in matches for _ in range(5)))
    await stack.receiver.receives("/", 12)
    assert set(stack.receiver.most_open.values()) == {1}
    assert stack.receiver.connections <= 2


async def test_metrics_show_attempts_and_the_backlog(stack: Stack) -> None:
    await stack.create()
    await stack.api.create_match()
    await stack.receiver.receives("/", 1)

    def metrics() -> str:
        return httpx.get(f"{stack.worker.management_url}/metrics").text

    await eventually(lambda: 'livescore_webhook_attempts_total{outcome="delivered"} 1.0' in metrics())
    assert "livescore_webhook_oldest_undelivered_seconds" in metrics()


async def test_overdue_deliveries_are_jobs_until_a_worker_takes_them(stack: Stack, database_url: str) -> None:
    """The lease of a worker that has vanished blocks nothing once it has ended, and calls for a job."""
    webhook = await stack.create(enabled=False)
    match = await stack.api.create_match()
    stack.worker.pause()
    async with opened(database_url, size=1, timeout=5) as database:
        context = _context(database)
        await Dispatcher(database).dispatch()
        assert await job.due(context) == []  # disabled
        await stack.call("PATCH", f"/webhooks/{webhook['id']}", json={"enabled": True})
        await database.execute("UPDATE webhook_cursor SET next_attempt_at = now() - interval '3 seconds'", {})
        assert [(call.name, call.arguments, call.id) for call in await job.due(context)] == [
            (job.NAME, (webhook["id"],), f"webhook-{webhook['id']}")
        ]
        stack.worker.resume()
        await job.deliver(context, webhook["id"])
        assert await job.due(context) == []
    await stack.receiver.receives("/", 1)
    assert stack.receiver.all_seqs("/", match["id"]) == [1]


def _context(database: Database) -> JobContext:
    """Return the part of a context that the job uses; the running worker finds the work in the table."""
    worker = cast(WebhookWorker, SimpleNamespace(hint=lambda: None))
    return cast(JobContext, SimpleNamespace(database=database, webhooks=worker))
