"""Planned stops: not ready first, then hints, then paced closes; no socket is closed without a hint (fault 9)."""

import asyncio
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.clients import Listener, feed_of
from tests.support.raw_websocket import handshake, refused
from tests.support.service import Service, Start
from tests.support.stopwatch import Stopwatch

CLIENTS = 30

NONE_OPEN = {"connections": 0, "streams": 0, "longPolls": 0, "subscriptions": 0}


async def _listeners(stack: AsyncExitStack, api: Service, count: int, query: str = "") -> list[Listener]:
    return [await stack.enter_async_context(Listener(api.ws_url + query)) for _ in range(count)]


async def _manage(api: Service, method: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=api.management_url, timeout=5, verify=False) as http:
        return await http.request(method, path)


async def _connections(api: Service) -> dict[str, Any]:
    answer: dict[str, Any] = (await _manage(api, "GET", "/connections")).json()
    return answer


async def _until_connections(api: Service, count: int) -> None:
    async with asyncio.timeout(30):
        while (await _connections(api))["connections"] != count:
            await asyncio.sleep(0.02)


def _assert_hinted(listener: Listener, spread_ms: int) -> None:
    """Assert that the listener got a hint within the spread, then a close with 1012, and nothing in between."""
    assert listener.closes == [1012]
    assert listener.log[-1]["type"] == "reconnect"
    assert set(listener.log[-1]) == {"type", "retryAfterMs"}
    assert 0 <= listener.log[-1]["retryAfterMs"] <= spread_ms
    assert len(listener.of_type("reconnect")) == 1


async def test_fault_9_sigterm_leaves_no_socket_open(start: Start) -> None:
    """Fault 9: shutdown left sockets open. Each gets a hint, then 1012, and the process exits with 0."""
    api = await start("api", RECONNECT_SPREAD_SECONDS="4")
    async with AsyncExitStack() as stack:
        listeners = await _listeners(stack, api, CLIENTS)
        assert await api.terminate() == 0
        await asyncio.gather(*(listener.until_closed() for listener in listeners))
        for listener in listeners:
            _assert_hinted(listener, 4_000)
        assert len({listener.log[-1]["retryAfterMs"] for listener in listeners}) > CLIENTS // 2, "drawn at random"
    assert "Traceback" not in api.log


async def test_clients_following_hints_lose_no_event_on_a_rolling_restart(start: Start) -> None:
    here, there = await asyncio.gather(start("api"), start("api"))
    match_id = (await here.create_match())["id"]
    async with AsyncExitStack() as stack:
        listeners = [
            await stack.enter_async_context(Listener(here.ws_url, there.ws_url, reconnect=True)) for _ in range(10)
        ]
        await listeners[0].until(lambda log: log)
        for listener in listeners:
            await listener.follow(match_id)
        writing = asyncio.create_task(_write(there, match_id, 60))
        assert await here.terminate() == 0
        await writing
        await asyncio.gather(*(listener.until_seq(match_id, 61) for listener in listeners))
        feed = await feed_of(there.base_url, match_id)
        for listener in listeners:
            assert [event for event in listener.events(match_id) if event["seq"] > 1] == feed[1:]


async def _write(api: Service, match_id: int, count: int) -> None:
    async with api.client() as http:
        for minute in range(count):
            body = {"minute": minute, "message": "a chance"}
            (await http.post(f"/matches/{match_id}/commentary", json=body)).raise_for_status()
            await asyncio.sleep(0.01)


async def test_post_drain_closes_all_sockets_and_keeps_the_process_running(start: Start) -> None:
    api = await start("api")
    async with AsyncExitStack() as stack:
        listeners = await _listeners(stack, api, CLIENTS)
        answer = await _manage(api, "POST", "/drain")
        assert answer.status_code == 202
        assert answer.json()["draining"] is True
        await asyncio.gather(*(listener.until_closed() for listener in listeners))
        for listener in listeners:
            _assert_hinted(listener, 200)
    assert await _connections(api) == {"instance": api.name, **NONE_OPEN, "draining": True}
    async with api.client() as http:
        assert (await http.get("/matches")).status_code == 200
    assert (await _manage(api, "POST", "/drain")).status_code == 202


async def test_readiness_reports_draining_before_any_close(start: Start) -> None:
    api = await start("api", DRAIN_GRACE_SECONDS="2")
    async with Listener(api.ws_url) as listener:
        await _manage(api, "POST", "/drain")
        for answer in (await _manage(api, "GET", "/health/ready"), await _get(api, "/health/ready")):
            assert answer.status_code == 503
            assert answer.json() == {
                "ready": False,
                "reason": "draining",
                "instance": api.name,
                "connections": 1,
                "streams": 0,
                "longPolls": 0,
            }
        assert not listener.of_type("reconnect")
        async with Listener(api.ws_url) as late:  # load balancers still route clients here
            await asyncio.gather(listener.until_closed(), late.until_closed())
            _assert_hinted(listener, 200)
            _assert_hinted(late, 200)


async def _get(api: Service, path: str) -> httpx.Response:
    async with api.client() as http:
        return await http.get(path)


async def test_handshakes_and_streams_are_refused_after_the_grace(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    await _manage(api, "POST", "/drain")
    status, headers, body = await refused(api.port)
    assert status == 503
    assert headers["retry-after"] == "1"
    assert b'"error"' in body
    for path in (f"/matches/{match_id}/events/stream", "/events/stream"):
        answer = await _get(api, path)
        assert (answer.status_code, "error" in answer.json()) == (503, True)


async def test_a_drain_can_be_cancelled(start: Start) -> None:
    api = await start("api", DRAIN_GRACE_SECONDS="3")
    async with Listener(api.ws_url) as listener:
        await _manage(api, "POST", "/drain")
        assert (await _connections(api))["draining"] is True
        answer = await _manage(api, "POST", "/drain?cancel=true")
        assert (answer.status_code, answer.json()["draining"]) == (202, False)
        assert (await _manage(api, "GET", "/health/ready")).status_code == 200
        await listener.ask({"type": "ping"}, "pong")
        assert not listener.of_type("reconnect")


async def test_cancelled_drain_accepts_connections_again(start: Start) -> None:
    api = await start("api")
    await _manage(api, "POST", "/drain")
    assert (await refused(api.port))[0] == 503
    await _manage(api, "POST", "/drain?cancel=true")
    async with Listener(api.ws_url) as listener:
        await listener.ask({"type": "ping"}, "pong")


async def test_a_drain_ends_within_its_time(start: Start) -> None:
    """The pacing of the closes is tested in tests/unit/test_drain_pace.py."""
    api = await start("api", DRAIN_SECONDS="2")
    async with AsyncExitStack() as stack:
        listeners = await _listeners(stack, api, 60)
        started, watch = monotonic(), Stopwatch()
        moments: list[float] = []

        async def closed(listener: Listener) -> None:
            await listener.until_closed()
            moments.append(monotonic() - started)

        await _manage(api, "POST", "/drain")
        await asyncio.gather(*(closed(listener) for listener in listeners))
        assert max(moments) < 2.5 + watch.waited()
        for listener in listeners:
            _assert_hinted(listener, 200)


async def test_sigterm_during_a_drain_stops_the_process(start: Start) -> None:
    api = await start("api", DRAIN_GRACE_SECONDS="0.5")
    async with Listener(api.ws_url) as listener:
        await _manage(api, "POST", "/drain")
        watch = Stopwatch()
        assert await api.terminate() == 0
        assert watch.seconds() < 10
        assert await listener.until_closed() == 1012


async def test_a_drain_cannot_be_cancelled_after_sigterm(start: Start) -> None:
    """Sockets without a hint would be cut when the process ends."""
    api = await start("api", DRAIN_GRACE_SECONDS="2")
    async with Listener(api.ws_url) as listener:
        stopping = asyncio.create_task(api.terminate())
        await api.logged("draining")
        answer = await _manage(api, "POST", "/drain?cancel=true")
        assert (answer.status_code, answer.json()["draining"]) == (202, True)
        assert await stopping == 0
        await listener.until_closed()
        _assert_hinted(listener, 200)


async def test_connections_during_the_grace_do_not_prolong_the_drain(start: Start) -> None:
    api = await start("api", DRAIN_GRACE_SECONDS="0.5")
    async with AsyncExitStack() as stack:
        listeners = await _listeners(stack, api, 3)
        await _manage(api, "POST", "/drain")
        with suppress(InvalidStatus):  # refused after the grace period
            while True:
                listeners += await _listeners(stack, api, 1)
        await asyncio.gather(*(listener.until_closed() for listener in listeners))
        for listener in listeners:
            _assert_hinted(listener, 200)
        await api.logged("drained")
        assert (await _connections(api))["connections"] == 0


async def test_a_drain_ends_streams_and_long_polls(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with api.client() as http, http.stream("GET", f"/matches/{match_id}/events/stream") as stream:
        polling = asyncio.create_task(_poll(api, match_id))
        lines = stream.aiter_lines()
        while not (await anext(lines)).startswith("data:"):
            pass
        await asyncio.sleep(0.3)
        assert not polling.done()
        watch = Stopwatch()
        await _manage(api, "POST", "/drain")
        assert [line async for line in lines if line.startswith("data:")] == []
        assert (await polling)["data"] == []
        assert watch.seconds() < 5


async def test_draining_process_answers_long_polls_at_once(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    await _manage(api, "POST", "/drain")
    async with asyncio.timeout(15):
        assert (await _poll(api, match_id))["data"] == []


async def _poll(api: Service, match_id: int) -> dict[str, Any]:
    async with api.client() as http:
        answer = await http.get(f"/matches/{match_id}/events?since=1&wait=20", timeout=30)
    content: dict[str, Any] = answer.json()
    return content


async def test_sigterm_with_open_stream_and_long_poll_is_quick(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with api.client() as http, http.stream("GET", "/events/stream") as stream:
        polling = asyncio.create_task(_poll(api, match_id))
        lines = stream.aiter_lines()
        while not (await anext(lines)).startswith("data:"):
            pass
        await asyncio.sleep(0.3)
        watch = Stopwatch()
        assert await api.terminate() == 0
        assert watch.seconds() < 5
        assert (await polling)["data"] == []
        assert [line async for line in lines if "commentary" in line] == []


async def test_client_that_reads_nothing_does_not_delay_the_drain(start: Start) -> None:
    api = await start("api")
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(handshake(api.port))
    await reader.readuntil(b"\r\n\r\n")
    watch = Stopwatch()
    assert await api.terminate() == 0
    assert watch.seconds() < 8
    writer.close()


# Shedding


async def test_shed_closes_the_requested_number_of_resumable_sockets(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    async with AsyncExitStack() as stack:
        able = await _listeners(stack, api, 10, f"?matchId={match_id}")
        await asyncio.gather(*(listener.next("subscribed") for listener in able))
        unable = await _listeners(stack, api, 3)
        everything = await _listeners(stack, api, 1, "?all=1")
        await everything[0].next("subscribedAll")
        unable += everything
        answer = await _manage(api, "POST", "/shed?count=4")
        assert (answer.status_code, answer.json()) == (202, {"shedding": 4})
        await _until_connections(api, 10)
        closed = [listener for listener in able if listener.closes]
        for listener in closed:
            _assert_hinted(listener, 200)
        assert len(closed) <= 4
        assert (await _manage(api, "POST", "/shed?count=100&perSecond=50")).json() == {"shedding": 6}
        await _until_connections(api, 4)
        assert (await _manage(api, "POST", "/shed?count=5")).json() == {"shedding": 0}
        for listener in unable:
            await listener.ask({"type": "ping"}, "pong")
        assert (await _connections(api))["draining"] is False


async def test_no_socket_is_shed_during_a_drain(start: Start) -> None:
    api = await start("api", DRAIN_GRACE_SECONDS="1")
    match_id = (await api.create_match())["id"]
    async with Listener(f"{api.ws_url}?matchId={match_id}") as listener:
        await listener.next("subscribed")
        await _manage(api, "POST", "/drain")
        answer = await _manage(api, "POST", "/shed?count=1")
        assert (answer.status_code, answer.json()) == (202, {"shedding": 0})
        await listener.until_closed()
        _assert_hinted(listener, 200)


WRONG = ["", "0", "-1", "x", "1.5", "99999999999", "%C2%B2", "07", "1_0", "+1", "1&{name}=2"]


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize(("query", "name"), [("count=", "count"), ("count=1&perSecond=", "perSecond")])
async def test_invalid_number_is_refused_with_its_name(service: Service, query: str, name: str, value: str) -> None:
    answer = await _manage(service, "POST", f"/shed?{query}{value.format(name=name)}")
    assert (answer.status_code, _faulty(answer)) == (400, [[name]])


@pytest.mark.parametrize(("path", "name"), [("/shed", "count"), ("/drain?cancel=yes", "cancel")])
async def test_unknown_command_does_nothing(service: Service, path: str, name: str) -> None:
    answer = await _manage(service, "POST", path)
    assert (answer.status_code, _faulty(answer)) == (400, [[name]])
    assert (await _connections(service))["draining"] is False


def _faulty(answer: httpx.Response) -> list[list[str]]:
    return [detail["path"] for detail in answer.json()["details"]]


async def test_connections_reports_sockets_and_subscriptions(start: Start) -> None:
    api = await start("api")
    empty = {"instance": api.name, **NONE_OPEN, "draining": False}
    assert await _connections(api) == empty
    async with AsyncExitStack() as stack:
        two = await _listeners(stack, api, 2, "?matchId=1&matchId=2")
        await asyncio.gather(
            *(listener.until(lambda log: log[-1].get("matchId") == 2 and len(log) == 3) for listener in two)
        )
        assert await _connections(api) == {**empty, "connections": 2, "subscriptions": 4}
        await two[0].unsubscribe(1)
        assert await _connections(api) == {**empty, "connections": 2, "subscriptions": 3}
        ready = (await _get(api, "/health/ready")).json()
        assert ready == {"ready": True, "instance": api.name, "connections": 2, "streams": 0, "longPolls": 0}
        async with api.client() as http, http.stream("GET", "/events/stream") as stream:
            await anext(stream.aiter_lines())
            assert (await _connections(api))["connections"] == 2, "streams are not sockets"
    await _until_connections(api, 0)
    assert await _connections(api) == empty


async def test_management_routes_are_not_public(service: Service) -> None:
    async with service.client() as http:
        for method, path in (
            ("POST", "/drain"),
            ("POST", "/shed?count=1"),
            ("GET", "/connections"),
            ("GET", "/fixtures"),
            ("GET", "/metrics"),
        ):
            assert (await http.request(method, path)).status_code == 404
