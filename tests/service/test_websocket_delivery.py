"""Delivery of events: to which clients, on which instance, and how often (docs/api.md; faults 1 and 2)."""

import asyncio
import re
from typing import Any

from tests.support.clients import Listener, all_reach, feed_of
from tests.support.service import Service, Start, match_body

MATCH_KEYS = [
    "id",
    "sport",
    "homeTeam",
    "awayTeam",
    "status",
    "startTime",
    "endTime",
    "homeScore",
    "awayScore",
    "createdAt",
]
COMMENTARY_KEYS = [
    "id",
    "matchId",
    "minute",
    "sequence",
    "period",
    "eventType",
    "actor",
    "team",
    "message",
    "metadata",
    "tags",
    "createdAt",
]


async def _two(start: Start) -> tuple[Service, Service]:
    first, second = await asyncio.gather(start("api"), start("api"))
    return first, second


async def _settle(*listeners: Listener) -> None:
    """Wait for an answer on each listener after the instance's audit, so that any duplicates would have arrived."""
    for listener in listeners:
        await listener.ask({"type": "ping"}, "pong")


async def test_fault_1_match_created_reaches_every_client_of_every_instance_once(start: Start) -> None:
    """Fault 1: ``match_created`` never crossed instances."""
    here, there = await _two(start)
    async with Listener(here.ws_url) as local, Listener(there.ws_url) as remote, Listener(there.ws_url) as other:
        made = [await here.create_match(), await there.create_match(), await here.create_match()]
        listeners = (local, remote, other)
        await asyncio.gather(*(listener.until_seq(made[-1]["id"], 1) for listener in listeners))
        await asyncio.sleep(2.5)  # until the audit of AUDIT_INTERVAL_SECONDS, which must not deliver the event again
        await _settle(*listeners)
        for listener in listeners:
            created = listener.of_type("match_created")
            assert [message["data"] for message in created] == made
            assert [(message["seq"], message["matchId"]) for message in created] == [(1, m["id"]) for m in made]


async def test_fault_2_commentary_is_delivered_once_where_it_was_posted(start: Start) -> None:
    """Fault 2: commentary was delivered twice on the instance it was posted to."""
    here, there = await _two(start)
    match_id = (await here.create_match())["id"]
    query = f"?matchId={match_id}&since=0"
    async with Listener(here.ws_url + query) as local, Listener(there.ws_url + query) as remote:
        await asyncio.gather(local.next("subscribed"), remote.next("subscribed"))
        posted = [await here.comment(match_id, minute=minute) for minute in range(5)]
        await all_reach([local, remote], match_id, 6)
        await asyncio.sleep(2.5)
        await _settle(local, remote)
        for listener in (local, remote):
            assert [message["data"] for message in listener.of_type("commentary")] == posted
            assert [message["seq"] for message in listener.events(match_id)] == [1, 2, 3, 4, 5, 6]


async def test_events_carry_type_seq_match_and_data_in_the_shape_of_the_original(service: Service) -> None:
    async with Listener(service.ws_url) as listener:
        match_id = (await service.create_match())["id"]
        created = await listener.next("match_created")
        while created["matchId"] != match_id:  # skip matches of other tests
            created = await listener.next("match_created", listener.log.index(created) + 1)
        await listener.subscribe(match_id)
        await service.comment(match_id, minute=7)
        commentary = await listener.next("commentary")
    assert list(created) == list(commentary) == ["type", "seq", "matchId", "data"]
    assert list(created["data"])[: len(MATCH_KEYS)] == MATCH_KEYS
    assert list(commentary["data"])[: len(COMMENTARY_KEYS)] == COMMENTARY_KEYS


async def test_status_change_is_delivered(service: Service) -> None:
    match_id = (await service.create_match())["id"]
    async with Listener(service.ws_url) as listener, service.client() as http:
        await listener.subscribe(match_id)
        (await http.patch(f"/matches/{match_id}", json={"status": "finished"})).raise_for_status()
        message = await listener.next("match_status_changed")
        data = message["data"]
        assert list(data)[:4] == ["matchId", "oldStatus", "newStatus", "timestamp"]
        assert (data["matchId"], data["oldStatus"], data["newStatus"]) == (match_id, "live", "finished")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", data["timestamp"])


async def test_every_kind_of_change_is_an_event_in_order(service: Service) -> None:
    match_id = (await service.create_match())["id"]
    async with Listener(service.ws_url) as listener, service.client() as http:
        await listener.follow(match_id)
        path = f"/matches/{match_id}"
        commentary = await service.comment(match_id)
        changes: list[tuple[str, str, dict[str, Any] | None]] = [
            ("PATCH", f"{path}/commentary/{commentary['id']}", {"message": "a better chance"}),
            ("DELETE", f"{path}/commentary/{commentary['id']}", None),
            ("PATCH", f"{path}/score", {"homeScore": 1, "awayScore": 0}),
            ("PATCH", path, {"homeTeam": "Hosts"}),
            ("PATCH", f"{path}/end", None),
        ]
        for method, place, body in changes:
            (await http.request(method, place, json=body)).raise_for_status()
        await listener.next("match_status_changed")
        feed = await feed_of(service.base_url, match_id)
        await listener.until_seq(match_id, feed[-1]["seq"])
        assert listener.events(match_id) == feed
        kinds = ["match_created", "commentary", "commentary_updated", "commentary_deleted", "score_update"]
        assert [event["type"] for event in feed][:5] == kinds
        assert {event["type"] for event in feed[5:]} == {"match_updated", "match_status_changed"}


async def test_events_of_other_matches_are_not_delivered(service: Service) -> None:
    mine, other = [(await service.create_match())["id"] for _ in range(2)]
    async with Listener(service.ws_url) as listener:
        await listener.subscribe(mine)
        await service.comment(other)
        await service.comment(mine)
        await listener.until_seq(mine, 2)
        assert [event["matchId"] for event in listener.of_type("commentary")] == [mine]


async def test_concurrent_writers_on_two_instances_produce_one_order(start: Start) -> None:
    here, there = await _two(start)
    match_id = (await here.create_match())["id"]
    async with (
        Listener(here.ws_url) as one,
        Listener(there.ws_url) as two,
        Listener(f"{here.ws_url}?all=1") as three,
        Listener(f"{there.ws_url}?all=1") as four,
    ):
        listeners = (one, two, three, four)
        await asyncio.gather(*(listener.next("subscribedAll") for listener in (three, four)))
        await asyncio.gather(*(listener.subscribe(match_id) for listener in (one, two)))
        async with asyncio.TaskGroup() as group:
            for writer in range(6):
                group.create_task(_write(here if writer % 2 else there, match_id, 10))
        await all_reach(listeners, match_id, 61)
        await _settle(*listeners)
        feed = await feed_of(here.base_url, match_id)
        for listener in listeners:
            received = [event for event in listener.events(match_id) if event["seq"] > 1]
            assert received == feed[1:]


async def _write(api: Service, match_id: int, count: int) -> None:
    async with api.client() as http:
        for minute in range(count):
            body = {"minute": minute, "message": "a chance"}
            (await http.post(f"/matches/{match_id}/commentary", json=body)).raise_for_status()


async def test_resuming_from_the_start_does_not_repeat_the_announcement(start: Start) -> None:
    """A client that reads a new match from the start before the broadcast receives ``match_created`` once."""
    here, there = await _two(start)
    async with here.client() as http, Listener(there.ws_url) as witness:
        for _ in range(10):
            answer = await http.post("/matches", json=match_body())
            match_id = answer.json()["data"]["id"]
            async with Listener(f"{there.ws_url}?matchId={match_id}&since=0") as listener:
                await listener.next("subscribed")
                await witness.until_seq(match_id, 1)
                await _settle(listener)
                assert [event["seq"] for event in listener.events(match_id)] == [1]
