"""Resuming with the last ``seq``: every later event exactly once, or ``recovered: false`` with a snapshot."""

import asyncio
import json
from typing import Any

import psycopg
import pytest

from tests.support.clients import Listener, Message, announced_match, feed_of
from tests.support.service import Service, Start

EVENTS = 12


@pytest.fixture
async def match_id(service: Service) -> int:
    """A match with a feed of :data:`EVENTS` events."""
    made: int = (await announced_match(service))["id"]
    async with service.client() as http:
        for minute in range(EVENTS - 1):
            body = {"minute": minute, "message": "a chance"}
            (await http.post(f"/matches/{made}/commentary", json=body)).raise_for_status()
    return made


async def _resumed(listener: Listener, match_id: int, since: int, **fields: Any) -> list[Message]:
    """Return the acknowledgement and everything sent up to the next response."""
    start = len(listener.log)
    await listener.subscribe(match_id, since=since, **fields)
    await listener.ask({"type": "ping"}, "pong")
    return [message for message in listener.log[start:] if message.get("matchId") == match_id]


@pytest.mark.parametrize("since", range(EVENTS + 1))
async def test_resuming_returns_every_later_event(service: Service, match_id: int, since: int) -> None:
    feed = await feed_of(service.base_url, match_id)
    async with Listener(service.ws_url) as listener:
        subscribed, *events = await _resumed(listener, match_id, since)
        assert (subscribed["seq"], subscribed["recovered"]) == (EVENTS, True)
        assert events == feed[since:]
        await service.comment(match_id)
        await listener.until_seq(match_id, EVENTS + 1)
        assert listener.events(match_id) == (await feed_of(service.base_url, match_id))[since:]


async def test_resuming_at_every_seq_on_one_socket(service: Service, match_id: int) -> None:
    feed = await feed_of(service.base_url, match_id)
    async with Listener(service.ws_url) as listener:
        await listener.until(lambda log: log)
        for since in range(EVENTS + 1):
            events = await _resumed(listener, match_id, since)
            assert events[1:] == feed[since:]
            await asyncio.sleep(0.2)  # two messages each: within the token bucket


async def test_resuming_a_followed_match_does_not_duplicate_events(service: Service, match_id: int) -> None:
    async with Listener(service.ws_url) as listener:
        await listener.subscribe(match_id)
        assert len(await _resumed(listener, match_id, EVENTS - 2)) == 3
        await service.comment(match_id)
        await listener.until_seq(match_id, EVENTS + 1)
        await listener.ask({"type": "ping"}, "pong")
        assert [event["seq"] for event in listener.events(match_id)] == [EVENTS - 1, EVENTS, EVENTS + 1]


async def test_without_since_only_new_events_arrive(service: Service, match_id: int) -> None:
    async with Listener(service.ws_url) as listener:
        subscribed = await listener.subscribe(match_id)
        assert subscribed["seq"] == EVENTS
        assert "recovered" not in subscribed
        await service.comment(match_id)
        await listener.until_seq(match_id, EVENTS + 1)
        assert [event["seq"] for event in listener.events(match_id)] == [EVENTS + 1]


async def test_since_ahead_of_the_feed_gives_a_snapshot(service: Service, match_id: int) -> None:
    async with Listener(service.ws_url) as listener:
        subscribed, snapshot = await _resumed(listener, match_id, EVENTS + 1)
        assert (subscribed["seq"], subscribed["recovered"]) == (EVENTS, False)
        await _is_snapshot(service, snapshot, match_id)


async def test_another_epoch_gives_a_snapshot(service: Service, match_id: int) -> None:
    """The feed was restored from an older backup, so its seqs denote other events."""
    async with Listener(service.ws_url) as listener:
        epoch = (await listener.subscribe(match_id))["epoch"]
        subscribed, snapshot = await _resumed(listener, match_id, 3, epoch="0123456789ab")
        assert (subscribed["seq"], subscribed["recovered"], subscribed["epoch"]) == (EVENTS, False, epoch)
        await _is_snapshot(service, snapshot, match_id)
        assert (await _resumed(listener, match_id, 3, epoch=epoch))[0]["recovered"] is True


async def test_since_of_an_unknown_match_is_not_recovered(service: Service) -> None:
    async with Listener(service.ws_url) as listener:
        assert (await listener.subscribe(2_000_000_000, since=5))["recovered"] is False
        assert not listener.of_type("snapshot")


async def test_resume_before_the_pruning_horizon_gets_a_snapshot_only(service: Service, match_id: int) -> None:
    with psycopg.connect(service.environment["DATABASE_URL"]) as database:
        database.execute("UPDATE match SET pruned_seq = 5 WHERE id = %s", [match_id])
        database.execute("DELETE FROM event WHERE match_id = %s AND seq <= 5", [match_id])
    for since in (0, 4):
        async with Listener(service.ws_url) as listener:
            subscribed, snapshot, *rest = await _resumed(listener, match_id, since)
            assert (subscribed["recovered"], rest) == (False, [])
            await _is_snapshot(service, snapshot, match_id)
    async with Listener(service.ws_url) as listener:
        subscribed, *events = await _resumed(listener, match_id, 5)
        assert subscribed["recovered"] is True
        assert [event["seq"] for event in events] == list(range(6, EVENTS + 1))


async def test_fully_pruned_feed_gives_a_snapshot_and_continues(start: Start, database_url: str) -> None:
    api = await start("api")
    match_id = (await announced_match(api))["id"]
    for _ in range(3):
        await api.comment(match_id)
    with psycopg.connect(database_url) as database:
        database.execute("UPDATE match SET pruned_seq = seq WHERE id = %s", [match_id])
        database.execute("DELETE FROM event WHERE match_id = %s", [match_id])
    async with Listener(api.ws_url) as listener:
        subscribed, snapshot = await _resumed(listener, match_id, 1)
        assert (subscribed["recovered"], snapshot["seq"]) == (False, 4)
        await api.comment(match_id)
        await listener.until_seq(match_id, 5)


async def _is_snapshot(service: Service, message: Message, match_id: int) -> None:
    """Assert that the message is the state of the match as returned by REST, newest commentary first."""
    assert list(message) == ["type", "seq", "matchId", "data"]
    assert (message["type"], message["seq"], message["matchId"]) == ("snapshot", EVENTS, match_id)
    async with service.client() as http:
        assert message["data"]["match"] == (await http.get(f"/matches/{match_id}")).json()["data"]
        commentary = (await http.get(f"/matches/{match_id}/commentary")).json()["data"]
    assert message["data"]["commentary"] == commentary


async def test_events_written_during_a_resume_arrive_once_and_in_order(start: Start) -> None:
    here, there = await asyncio.gather(start("api"), start("api"))
    match_id = (await here.create_match())["id"]
    writing = asyncio.create_task(_write(here, match_id, 150))
    async with Listener(there.ws_url, here.ws_url, reconnect=True) as listener:
        await listener.follow(match_id)
        while not writing.done():
            if listener.connection is not None:
                await listener.connection.close()
            await asyncio.sleep(0.15)
        await writing
        await listener.until_seq(match_id, 151)
        assert len(listener.closes) > 1
        assert [event["seq"] for event in listener.of_type("commentary")] == list(range(2, 152))


async def _write(api: Service, match_id: int, count: int) -> None:
    async with api.client() as http:
        for minute in range(count):
            body = {"minute": minute, "message": json.dumps("x" * 50)}
            (await http.post(f"/matches/{match_id}/commentary", json=body)).raise_for_status()
