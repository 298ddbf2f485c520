"""Pods are queried in parallel: a slow, broken or lost pod delays no other and is missing from the sum."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from livescore_operator import pod_client
from livescore_operator.pod_client import PodClient, read
from livescore_operator.scaling.pod import Reading
from tests.support.kubernetes.stopping import stop
from tests.support.stopwatch import Stopwatch

DEMO, OTHER = ("sport", "demo"), ("sport", "other")
ONE, TWO, THREE, SIXTH = "127.0.0.1", "127.0.0.2", "127.0.0.3", "::1"

TIMEOUT = 0.5
"""Timeout in seconds that replaces the production value, to keep the tests short."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pods:
    """Pods on loopback that share a port, as pods of one LiveScore do. A pod without an answer is lost."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []
        self._runners: list[web.AppRunner] = []

    async def start(self, address: str, answer: Any) -> None:
        """Serve a pod; ``answer`` is a handler, or the JSON to respond with."""

        async def connections(request: web.Request) -> web.StreamResponse:
            self.asked.append(address)
            return await answer(request) if callable(answer) else web.json_response(answer)

        application = web.Application()
        application.router.add_get("/connections", connections)
        application.router.add_get("/fixtures", connections)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, address, self.port)
        await site.start()
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        await asyncio.gather(*(stop(runner) for runner in self._runners))


@pytest.fixture
async def pods(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pods]:
    monkeypatch.setattr(pod_client, "TIMEOUT_SECONDS", TIMEOUT)
    found = Pods()
    yield found
    await found.stop()


async def slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(TIMEOUT * 10)
    return web.json_response({"connections": 1000})


async def slow_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"connections": ')
    await asyncio.sleep(TIMEOUT * 10)
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.close()
    return web.Response()


async def failing(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text="no")


async def html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<p>5</p>", content_type="text/html")


async def broken_json(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"connections": \xff', content_type="application/json")


BROKEN = [slow, slow_body, cut, failing, html, broken_json, [1, 2], 5, None, {}, {"connections": None},
          {"connections": "5"}, {"connections": 1.5}, {"connections": True},
          {"connections": -1}, {"count": 5}]  # fmt: skip


async def test_connections_of_pods_are_read(pods: Pods) -> None:
    await pods.start(ONE, {"connections": 5, "more": "fields"})
    await pods.start(TWO, {"connections": 0})

    assert await read([ONE, TWO], pods.port) == {ONE: Reading(5), TWO: Reading(0)}


async def test_no_request_is_sent_without_pods() -> None:
    assert await read([]) == {}


async def test_pod_may_have_an_ipv6_address(pods: Pods) -> None:
    await pods.start(SIXTH, {"connections": 5})

    assert await read([SIXTH], pods.port) == {SIXTH: Reading(5)}


@pytest.mark.parametrize("answer", BROKEN)
async def test_unresponsive_pod_is_missing_and_delays_no_other(pods: Pods, answer: Any) -> None:
    await pods.start(ONE, answer)
    await pods.start(TWO, {"connections": 5})
    watch = Stopwatch()

    assert await read([ONE, TWO, THREE], pods.port) == {TWO: Reading(5)}
    assert watch.seconds() < TIMEOUT * 5


async def test_first_response_with_fixtures_is_sufficient(pods: Pods) -> None:
    await pods.start(ONE, failing)
    await pods.start(TWO, {"matches": []})
    await pods.start(THREE, {"matches": [1]})

    assert await PodClient(pods.port).fixtures([ONE, TWO, THREE], 60) == {"matches": []}
    assert pods.asked == [ONE, TWO]


async def test_only_a_few_pods_are_queried_for_fixtures(pods: Pods) -> None:
    addresses = [f"127.0.0.{number}" for number in range(1, pod_client.TRIES + 2)]
    for address in addresses:
        await pods.start(address, failing)

    assert await PodClient(pods.port).fixtures(addresses, 60) is None
    assert pods.asked == addresses[: pod_client.TRIES]


@pytest.mark.usefixtures("pods")
async def test_lost_pods_time_out_in_parallel() -> None:
    """Connections to their addresses get no response, not even a refusal, as after the loss of a node."""
    with silent(ONE) as port, silent(TWO, port), silent(THREE, port):
        started, watch = time.monotonic(), Stopwatch()
        assert await read([ONE, TWO, THREE] * 3, port) == {}
        assert time.monotonic() - started >= TIMEOUT
        assert watch.seconds() < TIMEOUT * 5


class silent:  # noqa: N801 - used like a function
    """A pod that accepts connections but never responds."""

    def __init__(self, address: str, port: int = 0) -> None:
        self._socket = socket.create_server((address, port))

    def __enter__(self) -> int:
        return int(self._socket.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._socket.close()


# Groups of pods


async def test_reading_contains_the_responses_of_all_pods(pods: Pods) -> None:
    await pods.start(ONE, {"connections": 5})
    await pods.start(TWO, {"connections": 7, "draining": True})
    found = {ONE: Reading(5), TWO: Reading(7, draining=True)}

    assert await PodClient(pods.port).read(DEMO, (ONE, TWO)) == found
    assert await PodClient(pods.port).read(DEMO, (ONE, TWO, THREE)) == found, "a lost pod is missing"


async def test_only_changed_readings_are_reported(pods: Pods) -> None:
    counts = {"connections": 5}

    async def moving(_: web.Request) -> web.StreamResponse:
        return web.json_response(counts)

    await pods.start(ONE, moving)
    await pods.start(TWO, {"connections": 1})
    client = PodClient(pods.port)
    await client.read(DEMO, (ONE,))
    await client.read(OTHER, (TWO,))

    assert await client.changed() == []
    counts["connections"] = 6
    assert await client.changed() == [DEMO]
    assert await client.changed() == [DEMO], "until the change is counted"
    await client.read(DEMO, (ONE,))
    assert await client.changed() == []


async def test_silent_pods_do_not_count_as_changed(pods: Pods) -> None:
    answers: list[Any] = [web.json_response({"connections": 5})]

    async def once(request: web.Request) -> web.StreamResponse:
        return answers.pop() if answers else await failing(request)

    await pods.start(ONE, once)
    client = PodClient(pods.port)

    assert await client.read(DEMO, (ONE,)) == {ONE: Reading(5)}
    assert await client.changed() == []


async def test_lost_pods_of_one_livescore_delay_no_other(pods: Pods) -> None:
    await pods.start(ONE, slow)
    await pods.start(TWO, {"connections": 1})
    client = PodClient(pods.port)
    keys = [("lost", str(number)) for number in range(10)]
    await asyncio.gather(*(client.read(key, (ONE,)) for key in keys))
    client._addresses[OTHER] = (TWO,)
    watch = Stopwatch()

    assert await client.changed() == [OTHER]
    assert watch.seconds() < TIMEOUT * 5


async def test_forgotten_livescore_is_no_longer_queried(pods: Pods) -> None:
    await pods.start(ONE, {"connections": 5})
    client = PodClient(pods.port)
    await client.read(DEMO, (ONE,))
    client.forget(DEMO)
    client.forget(OTHER)
    pods.asked.clear()

    assert await client.changed() == []
    assert pods.asked == []


async def test_livescore_forgotten_during_a_query_is_not_reported(pods: Pods) -> None:
    client = PodClient()

    async def forgetting(_: web.Request) -> web.StreamResponse:
        client.forget(DEMO)
        return web.json_response({"connections": 5})

    await pods.start(ONE, forgetting)
    client = PodClient(pods.port)
    client._addresses[DEMO] = (ONE,)

    assert await client.changed() == []
    assert pods.asked == [ONE]
