"""The promise while Redis loses, cuts, hangs, forgets and dies, and an API with it: two instances, everything once.

Every test prints its healing delay: the time from the 201 of an event to its delivery on both instances.
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
from tests.support.promise import Audience, Command, Proxy, Watcher, lost, sometimes
from tests.support.servers import Valkey
from tests.support.service import Service, Start, eventually

AUDIT_SECONDS = 2.0
POLL_SECONDS = 0.25
"""The defaults of ``AUDIT_INTERVAL_SECONDS`` and ``POLL_INTERVAL_SECONDS``: the bounds that are promised."""

PROMPT_SECONDS = 1.0
"""The longest a write may take while Redis is away (fault 14: more than ten seconds)."""

AWAY_SECONDS = 1.0
"""How long a Redis stays away: several polls, and writes enough."""


async def pair(start: Start, url: str, other: str | None = None) -> tuple[Service, Service]:
    """Two instances, the second by way of ``other`` if that is given."""
    one, two = await asyncio.gather(start("api", REDIS_URL=url), start("api", REDIS_URL=other or url))
    await eventually(lambda: all(httpx.get(f"{api.base_url}/health", verify=False).is_success for api in (one, two)))
    return one, two


@asynccontextmanager
async def proxied(
    start: Start, valkey: Valkey, directory: Path, *, both: bool = False
) -> AsyncIterator[tuple[Proxy, Audience]]:
    """An audience whose second instance, or both, reach Valkey by way of a proxy."""
    async with Proxy(directory, valkey.url) as proxy:
        one, two = await pair(start, proxy.url if both else valkey.url, proxy.url)
        async with Audience(one, two) as audience:
            yield proxy, audience


async def through(audience: Audience, fault: Callable[[], Awaitable[None]]) -> None:
    """Write before, during and after a fault; then the promise must hold."""
    over = asyncio.Event()
    writing = asyncio.create_task(audience.writer.write_until(over.is_set))
    await eventually(lambda: len(audience.writer.acknowledged) > 5)
    await fault()
    after = len(audience.writer.durations) + 10
    await eventually(lambda: len(audience.writer.durations) > after)
    over.set()
    await writing
    await audience.holds()


@dataclass(frozen=True)
class Fault:
    """What happens to Valkey, and the healing delay that is promised meanwhile."""

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
    await _repeatedly(valkey, "CLIENT KILL TYPE pubsub")


async def _publishers_cut(valkey: Valkey) -> None:
    await _repeatedly(valkey, "CLIENT KILL TYPE normal")


async def _repeatedly(valkey: Valkey, command: str) -> None:
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
async def test_everything_arrives_once_and_in_order_while_valkey_is(
    start: Start, own_valkey: Valkey, name: str
) -> None:
    fault = FAULTS[name]
    async with Audience(*await pair(start, own_valkey.url)) as audience:
        await through(audience, lambda: fault.happen(own_valkey))
        audience.within(f"valkey {name}", fault.bound)
        assert not audience.writer.refused
        assert max(audience.writer.durations) < PROMPT_SECONDS
        assert all(watcher.closes == [] for watcher in audience.watchers)


async def test_publications_that_silently_get_lost_are_found_by_the_audit(
    start: Start, own_valkey: Valkey, tmp_path: Path
) -> None:
    async with proxied(start, own_valkey, tmp_path) as (proxy, audience):
        proxy.fate = lost
        audience.writer.services = [audience.two]
        await audience.writer.write(5)
        await audience.holds()
        audience.within("all publications lost, none follows", AUDIT_SECONDS)


async def test_a_gap_is_healed_at_once_by_the_next_event(start: Start, own_valkey: Valkey, tmp_path: Path) -> None:
    async with proxied(start, own_valkey, tmp_path) as (proxy, audience):
        proxy.fate = sometimes(lost, 0.5, seed=1)
        await audience.writer.write(100, pause=0.02)
        proxy.fate = lambda command: [command]
        await audience.writer.write(2)
        await audience.holds()
        audience.within("every second publication lost", POLL_SECONDS)


async def test_connections_cut_in_the_middle_of_a_message_lose_nothing(
    start: Start, own_valkey: Valkey, tmp_path: Path
) -> None:
    async with proxied(start, own_valkey, tmp_path, both=True) as (proxy, audience):

        async def cut() -> None:
            for _ in range(15):
                proxy.cut()
                await asyncio.sleep(0.13)

        await through(audience, cut)
        audience.within("connections cut", AUDIT_SECONDS)


async def test_late_and_repeated_publications_change_nothing(start: Start, own_valkey: Valkey, tmp_path: Path) -> None:
    heard: list[Command] = []

    def record(command: Command) -> list[Command]:
        if command[0].upper() == b"PUBLISH":
            heard.append(command)
        return [command]

    async with (
        proxied(start, own_valkey, tmp_path, both=True) as (proxy, audience),
        redis.Redis.from_url(own_valkey.url) as client,
    ):
        proxy.fate = record
        await audience.writer.write(20)
        await audience.holds()
        for _, channel, payload in [*reversed(heard), *heard]:
            await client.publish(channel, payload)
        await client.publish(heard[0][1], b"not an event")
        await audience.writer.write(3)
        await audience.holds()


async def test_fault_6_an_api_killed_between_commit_and_publish_loses_nothing(
    start: Start, own_valkey: Valkey, tmp_path: Path
) -> None:
    """Its publication never leaves; its own clients come back to the other instance, which tells the rest."""
    async with Proxy(tmp_path, own_valkey.url) as proxy:
        one, two = await pair(start, own_valkey.url, proxy.url)
        async with Audience(one, two) as audience, Watcher(two.ws_url, one.ws_url, reconnect=True) as moved:
            audience.watchers[1] = moved
            await moved.follow(audience.match_id)
            proxy.fate = lambda command: [] if command[0].upper() == b"PUBLISH" else [command]
            audience.writer.services = [two]
            await audience.writer.write(1)
            await two.kill()
            await audience.watchers[0].until_seq(audience.match_id, audience.writer.last)
            await moved.until_seq(audience.match_id, audience.writer.last)
            audience.within("killed between commit and publish", AUDIT_SECONDS)
            feed = await feed_of(one.base_url, audience.match_id)
            assert [watcher.events(audience.match_id) for watcher in audience.watchers] == [feed, feed]


async def test_an_api_killed_while_valkey_is_frozen_loses_nothing(start: Start, own_valkey: Valkey) -> None:
    one, two = await pair(start, own_valkey.url)
    async with Audience(one, two) as audience:
        own_valkey.pause()
        audience.writer.services = [one]
        await audience.writer.write(3)
        await one.kill()
        own_valkey.resume()
        watcher = audience.watchers[1]
        await watcher.until_seq(audience.match_id, audience.writer.last)
        assert watcher.arrived[audience.match_id, 4] - audience.writer.acknowledged[4] < AUDIT_SECONDS + 1.5
        assert watcher.events(audience.match_id) == await feed_of(two.base_url, audience.match_id)
        await one.start()
        audience.writer.services = [one, two]
        await audience.writer.write(4)
        await audience.holds()


async def test_busy_matches_do_not_keep_a_quiet_one_from_being_healed(start: Start, own_valkey: Valkey) -> None:
    """While Redis is away each write makes its own instance look for its own match at once; others are polled."""
    async with Audience(*await pair(start, own_valkey.url)) as audience:
        quiet = await audience.new_match(audience.watchers[:1])
        await own_valkey.stop()
        audience.writer.services = [audience.one]
        over = asyncio.Event()
        writing = asyncio.create_task(audience.writer.write_until(over.is_set, pause=0.0))
        await eventually(lambda: len(audience.writer.acknowledged) > 20)
        await audience.two.comment(quiet)
        await audience.watchers[0].until_seq(quiet, 2, timeout=POLL_SECONDS + 1.5)
        over.set()
        await writing
        await own_valkey.start()
        await audience.holds()


async def reconnected(watcher: Watcher) -> None:
    """Close the connection, and wait until the client has resumed."""
    assert watcher.connection is not None
    start = len(watcher.log)
    await watcher.connection.close()
    await watcher.next("subscribed", start)


async def test_a_client_that_comes_back_during_an_outage_gets_the_rest(start: Start, own_valkey: Valkey) -> None:
    async with Audience(*await pair(start, own_valkey.url)) as audience:

        async def outage_and_moves() -> None:
            await own_valkey.stop()
            for watcher in audience.watchers * 3:
                await reconnected(watcher)
            await own_valkey.start()

        await through(audience, outage_and_moves)
