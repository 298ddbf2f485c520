"""Soak test: 200 subscribers receive a tournament while Valkey is killed twice and an API once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

import httpx
from rich.console import Console

from livescore_dev.replay import Summary, replay
from tests.support.clients import Listener, feed_of
from tests.support.delivery import assert_same_events
from tests.support.servers import Valkey
from tests.support.service import Service, Start

TOURNAMENT = Path(__file__).parents[1] / "data" / "tournament-storm.json"
MATCHES = (1, 2, 3, 4)
"""Match ids are assigned in order, so they are known before a fresh database has any matches."""

SUBSCRIBERS = 200
SPEED = 600.0
"""A match of two hours takes about twelve seconds."""

TOGETHER = 20
"""Clients that connect at once; more would only wait for each other on two cores."""


@asynccontextmanager
async def subscribers(*services: Service) -> AsyncIterator[list[Listener]]:
    """Connect listeners, half to each instance, that follow all matches and reconnect to the same instance."""
    async with AsyncExitStack() as stack:
        slots = asyncio.Semaphore(TOGETHER)

        async def subscribe(number: int) -> Listener:
            async with slots:
                url = services[number % len(services)].ws_url
                listener = await stack.enter_async_context(Listener(url, reconnect=True))
                for match_id in MATCHES:
                    await listener.follow(match_id, timeout=20)
                return listener

        yield await asyncio.gather(*(subscribe(number) for number in range(SUBSCRIBERS)))


async def event_count(service: Service) -> int:
    """Return the total number of events in the feeds; 0 while the instance is away."""
    async with service.client() as http:
        try:
            return sum([await _head(http, match_id) for match_id in MATCHES])
        except httpx.HTTPError:
            return 0


async def _head(http: httpx.AsyncClient, match_id: int) -> int:
    answer = await http.get(f"/matches/{match_id}/events", params={"limit": 1})
    return int(answer.json()["seq"]) if answer.status_code == 200 else 0


async def wait_for_events(service: Service, events: int, timeout: float = 30.0) -> None:
    """Wait until the feeds have this many events in total."""
    async with asyncio.timeout(timeout):
        while await event_count(service) < events:
            await asyncio.sleep(0.1)


async def kill_servers(valkey: Valkey, stays: Service, falls: Service) -> None:
    """Kill Valkey, an API, and Valkey again while the tournament is played."""
    await wait_for_events(stays, 16)
    await valkey.kill()
    await wait_for_events(stays, 36)
    await valkey.start()
    await wait_for_events(stays, 46)
    await falls.kill()
    await wait_for_events(stays, 60)
    await falls.start()
    await wait_for_events(stays, 70)
    await valkey.kill()
    await wait_for_events(stays, 90)
    await valkey.start()


async def replay_tournament(service: Service) -> Summary:
    """Replay the tournament through one instance."""
    return await replay(
        TOURNAMENT, speed=SPEED, base_url=service.base_url, api_key=None, console=Console(quiet=True, file=None)
    )


async def assert_all_equal(listeners: Sequence[Listener], service: Service) -> int:
    """Wait for the last events, assert that every log equals every feed, and return the number of events."""
    count = 0
    for match_id in MATCHES:
        feed = await feed_of(service.base_url, match_id)
        for listener in listeners:
            await listener.until_seq(match_id, len(feed), timeout=20)
            assert_same_events(listener.events(match_id), feed)
        count += len(feed)
    return count


async def test_200_subscribers_receive_a_tournament_despite_kills_of_valkey_and_an_api(
    start: Start, own_valkey: Valkey
) -> None:
    stays, falls = await asyncio.gather(*(start("api", REDIS_URL=own_valkey.url) for _ in range(2)))
    began = monotonic()
    async with subscribers(stays, falls) as listeners:
        print(f"{SUBSCRIBERS} subscribed after {monotonic() - began:.1f} s")
        disturbing = asyncio.create_task(kill_servers(own_valkey, stays, falls))
        summary = await replay_tournament(stays)
        await disturbing
        events = await assert_all_equal(listeners, falls)
        assert (summary.played, summary.mismatches) == (len(MATCHES), [])
        fallen = sum(len(listener.closes) for listener in listeners)
        assert fallen >= SUBSCRIBERS // 2
        print(f"{events} events, {len(listeners)} equal logs, {fallen} connections lost, {monotonic() - began:.1f} s")
