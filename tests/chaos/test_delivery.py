"""Delivery while Redis loses publications, hangs, restarts or is killed, with two instances that may die as well.

Every test prints its healing delay: the time from the 201 of an event until both instances have delivered it.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis.asyncio as redis

from tests.support.clients import feed_of
from tests.support.delivery import Command, DeliveryScenario, RedisProxy, TimingListener, lose_publication, sometimes
from tests.support.servers import Valkey
from tests.support.service import Service, Start, eventually

AUDIT_SECONDS = 2.0
POLL_SECONDS = 0.25
"""Defaults of ``AUDIT_INTERVAL_SECONDS`` and ``POLL_INTERVAL_SECONDS``, which bound the healing delay."""

PROMPT_SECONDS = 1.0
"""Timeout of a write while Redis is away (fault 14: more than ten seconds)."""

AWAY_SECONDS = 1.0
"""Duration of an outage of Redis: long enough for several polls and writes."""


async def start_pair(start: Start, url: str, other: str | None = None) -> tuple[Service, Service]:
    """Start two instances, the second with ``other`` as its Redis URL if given."""
    one, two = await asyncio.gather(start("api", REDIS_URL=url), start("api", REDIS_URL=other or url))
    await eventually(lambda: all(httpx.get(f"{api.base_url}/health", verify=False).is_success for api in (one, two)))
    return one, two


@asynccontextmanager
async def proxied_scenario(
    start: Start, valkey: Valkey, directory: Path, *, both: bool = False
) -> AsyncIterator[tuple[RedisProxy, DeliveryScenario]]:
    """Run a scenario in which the second instance, or both, reach Valkey through a proxy."""
    async with RedisProxy(directory, valkey.url) as proxy:
        one, two = await start_pair(start, proxy.url if both else valkey.url, proxy.url)
        async with DeliveryScenario(one, two) as scenario:
            yield proxy, scenario


async def write_through_fault(scenario: DeliveryScenario, fault: Callable[[], Awaitable[None]]) -> None:
    """Write before, during and after a fault, then assert that everything was delivered."""
    over = asyncio.Event()
    writing = asyncio.create_task(scenario.writer.write_until(over.is_set))
    await eventually(lambda: len(scenario.writer.acknowledged) > 5)
    await fault()
    after = len(scenario.writer.durations) + 10
    await eventually(lambda: len(scenario.writer.durations) > after)
    over.set()
    await writing
    await scenario.assert_delivered()


@dataclass(frozen=True)
class Fault:
    """A fault of Valkey, and the maximum healing delay during it."""

    happen: Callable[[Valkey], Awaitable[None]]
    bound: float


async def _stopped(valkey: Valkey) -> None:
    await valkey.stop()
    await asyncio.sleep(AWAY_SECONDS)
    await valkey.start()


async def _killed(valkey: Valkey) -> None:
    await valkey.kill()
    await asyncio.sleep(AWAY_SECONDS)
    await valkey.start()


async def _killed_and_back_at_once(valkey: Valkey) -> None:
    await valkey.kill()
    await valkey.start()


async def _killed_and_back_empty(valkey: Valkey) -> None:
    await valkey.kill()
    shutil.rmtree(valkey.server.directory)
    await valkey.start()


async def _flushed(valkey: Valkey) -> None:
    for _ in range(5):
        await asyncio.to_thread(valkey.flush)
        await asyncio.sleep(0.1)


async def _frozen(valkey: Valkey) -> None:
    valkey.pause()
    await asyncio.sleep(3)
    valkey.resume()


async def _frozen_for_a_moment(valkey: Valkey) -> None:
    for _ in range(3):
        valkey.pause()
        await asyncio.sleep(0.3)
        valkey.resume()
        await asyncio.sleep(0.2)


async def _subscribers_cut(valkey: Valkey) -> None:
    await _repeat_command(valkey, "CLIENT KILL TYPE pubsub")


async def _publishers_cut(valkey: Valkey) -> None:
    await _repeat_command(valkey, "CLIENT KILL TYPE normal")


async def _repeat_command(valkey: Valkey, command: str) -> None:
    async with redis.Redis.from_url(valkey.url) as client:
        for _ in range(10):
            await client.execute_command(*command.split())
            await asyncio.sleep(0.2)


async def _publishing_forbidden(valkey: Valkey) -> None:
    async with redis.Redis.from_url(valkey.url) as client:
        await client.execute_command(*["ACL", "SETUSER", "default", "-publish"])
        await asyncio.sleep(3)
        await client.execute_command(*["ACL", "SETUSER", "default", "+publish"])


FAULTS = {
    "stopped": Fault(_stopped, POLL_SECONDS),
    "killed": Fault(_killed, POLL_SECONDS),
    "killed and back at once": Fault(_killed_and_back_at_once, POLL_SECONDS),
    "killed and back empty": Fault(_killed_and_back_empty, POLL_SECONDS),
    "flushed": Fault(_flushed, POLL_SECONDS),
    "frozen": Fault(_frozen, AUDIT_SECONDS),
    "frozen for moments": Fault(_frozen_for_a_moment, AUDIT_SECONDS),
    "subscribers cut": Fault(_subscribers_cut, POLL_SECONDS),
    "publishers cut": Fault(_publishers_cut, AUDIT_SECONDS),
    "publishing forbidden": Fault(_publishing_forbidden, AUDIT_SECONDS),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_every_event_arrives_once_and_in_order_while_valkey_is(
    start: Start, own_valkey: Valkey, name: str
) -> None:
    fault = FAULTS[name]
    async with DeliveryScenario(*await start_pair(start, own_valkey.url)) as scenario:
        await write_through_fault(scenario, lambda: fault.happen(own_valkey))
        scenario.assert_delays_below(f"valkey {name}", fault.bound)
        assert not scenario.writer.refused
        assert max(scenario.writer.durations) < PROMPT_SECONDS + scenario.margin()
        assert all(watcher.closes == [] for watcher in scenario.watchers)


async def test_silently_lost_publications_are_found_by_the_audit(
    start: Start, own_valkey: Valkey, tmp_path: Path
) -> None:
    async with proxied_scenario(start, own_valkey, tmp_path) as (proxy, scenario):
        proxy.rewrite = lose_publication
        scenario.writer.services = [scenario.two]
        await scenario.writer.write(5)
        await scenario.assert_delivered()
        scenario.assert_delays_below("all publications lost, none follows", AUDIT_SECONDS)


async def test_next_event_triggers_gap_fill_at_once(start: Start, own_valkey: Valkey, tmp_path: Path) -> None:
    async with proxied_scenario(start, own_valkey, tmp_path) as (proxy, scenario):
        proxy.rewrite = sometimes(lose_publication, 0.5, seed=1)
        await scenario.writer.write(100, pause=0.02)
        proxy.rewrite = lambda command: [command]
        await scenario.writer.write(2)
        await scenario.assert_delivered()
        scenario.assert_delays_below("every second publication lost", POLL_SECONDS)


async def test_connections_cut_within_a_message_lose_no_event(start: Start, own_valkey: Valkey, tmp_path: Path) -> None:
    async with proxied_scenario(start, own_valkey, tmp_path, both=True) as (proxy, scenario):

        async def cut() -> None:
            for _ in range(15):
                proxy.cut()
                await asyncio.sleep(0.13)

        await write_through_fault(scenario, cut)
        scenario.assert_delays_below("connections cut", AUDIT_SECONDS)


async def test_late_and_repeated_publications_are_ignored(start: Start, own_valkey: Valkey, tmp_path: Path) -> None:
    received: list[Command] = []

    def record(command: Command) -> list[Command]:
        if command[0].upper() == b"PUBLISH":
            received.append(command)
        return [command]

    async with (
        proxied_scenario(start, own_valkey, tmp_path, both=True) as (proxy, scenario),
        redis.Redis.from_url(own_valkey.url) as client,
    ):
        proxy.rewrite = record
        await scenario.writer.write(20)
        await scenario.assert_delivered()
        for _, channel, payload in [*reversed(received), *received]:
            await client.publish(channel, payload)
        await client.publish(received[0][1], b"not an event")
        await scenario.writer.write(3)
        await scenario.assert_delivered()


async def test_fault_6_api_killed_between_commit_and_publish_loses_no_event(
    start: Start, own_valkey: Valkey, tmp_path: Path
) -> None:
    """The event is never published. The clients reconnect to the other instance, which delivers the rest."""
    async with RedisProxy(tmp_path, own_valkey.url) as proxy:
        one, two = await start_pair(start, own_valkey.url, proxy.url)
        async with (
            DeliveryScenario(one, two) as scenario,
            TimingListener(two.ws_url, one.ws_url, reconnect=True) as moved,
        ):
            scenario.watchers[1] = moved
            await moved.follow(scenario.match_id)
            proxy.rewrite = lambda command: [] if command[0].upper() == b"PUBLISH" else [command]
            scenario.writer.services = [two]
            await scenario.writer.write(1)
            await two.kill()
            await scenario.watchers[0].until_seq(scenario.match_id, scenario.writer.last)
            await moved.until_seq(scenario.match_id, scenario.writer.last)
            scenario.assert_delays_below("killed between commit and publish", AUDIT_SECONDS)
            feed = await feed_of(one.base_url, scenario.match_id)
            assert [watcher.events(scenario.match_id) for watcher in scenario.watchers] == [feed, feed]


async def test_api_killed_while_valkey_is_frozen_loses_no_event(start: Start, own_valkey: Valkey) -> None:
    one, two = await start_pair(start, own_valkey.url)
    async with DeliveryScenario(one, two) as scenario:
        own_valkey.pause()
        scenario.writer.services = [one]
        await scenario.writer.write(3)
        await one.kill()
        own_valkey.resume()
        watcher = scenario.watchers[1]
        await watcher.until_seq(scenario.match_id, scenario.writer.last)
        assert watcher.arrived[scenario.match_id, 4] - scenario.writer.acknowledged[4] < AUDIT_SECONDS + 1.5
        assert watcher.events(scenario.match_id) == await feed_of(two.base_url, scenario.match_id)
        await one.start()
        scenario.writer.services = [one, two]
        await scenario.writer.write(4)
        await scenario.assert_delivered()


async def test_gap_of_a_quiet_match_is_filled_despite_busy_matches(start: Start, own_valkey: Valkey) -> None:
    """During an outage, an instance polls a match it has just written to at once, and other matches at intervals."""
    async with DeliveryScenario(*await start_pair(start, own_valkey.url)) as scenario:
        quiet = await scenario.new_match(scenario.watchers[:1])
        await own_valkey.stop()
        scenario.writer.services = [scenario.one]
        over = asyncio.Event()
        writing = asyncio.create_task(scenario.writer.write_until(over.is_set, pause=0.0))
        await eventually(lambda: len(scenario.writer.acknowledged) > 20)
        await scenario.two.comment(quiet)
        await scenario.watchers[0].until_seq(quiet, 2, timeout=POLL_SECONDS + 1.5)
        over.set()
        await writing
        await own_valkey.start()
        await scenario.assert_delivered()


async def reconnect(watcher: TimingListener) -> None:
    """Abort the connection, and wait until the client has resumed."""
    assert watcher.connection is not None
    start = len(watcher.log)
    await watcher.connection.close()
    await watcher.next("subscribed", start)


async def test_client_reconnecting_during_an_outage_receives_the_rest(start: Start, own_valkey: Valkey) -> None:
    async with DeliveryScenario(*await start_pair(start, own_valkey.url)) as scenario:

        async def outage_and_moves() -> None:
            await own_valkey.stop()
            for watcher in scenario.watchers * 3:
                await reconnect(watcher)
            await own_valkey.start()

        await write_through_fault(scenario, outage_and_moves)
