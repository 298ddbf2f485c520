"""PostgreSQL becomes read-only or a standby takes over: requests report it, and recover with a writable server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

import httpx
import pytest

from tests.support.clients import Listener, announced_match, feed_of
from tests.support.delivery import MARGIN_SECONDS, Writer
from tests.support.failover import Address, Standby, execute, set_read_only
from tests.support.jobs import create_match, wait_for_status
from tests.support.servers import OwnPostgres
from tests.support.service import Json, Kind, Service, Start, eventually, match_body
from tests.support.stopwatch import Stopwatch
from tests.support.subscribers import LongPoll, Stream, Subscriber

RECOVERY_SECONDS = 1.0
"""Guarantee: writes are served this long after a writable server is reachable."""

PROMPT_SECONDS = 2.0
"""Timeout of a refusal: the server's state is known, so no request waits for the timeout of 5 s."""

READ_ONLY = "PostgreSQL is read-only"
ALL = "/events/stream"
STANDBY = "PostgreSQL is a standby: it takes no writes until it is promoted"


@pytest.fixture
def standby(own_postgres: OwnPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standby]:
    """A hot standby of ``own_postgres``."""
    server = Standby(tmp_path_factory.mktemp("standby"))
    try:
        server.follow(own_postgres)
        yield server
    finally:
        server.close()


@pytest.fixture
def address(own_postgres: OwnPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """An address that leads to ``own_postgres``."""
    address = Address(tmp_path_factory.mktemp("a"), own_postgres)
    address.open()
    yield address
    address.close()


async def send_writes(service: Service, match: Json) -> list[httpx.Response]:
    """Send one write of each kind."""
    place = f"/matches/{match['id']}"
    async with service.client() as http:
        return [
            await http.post("/matches", json=match_body()),
            await http.post(f"{place}/commentary", json={"minute": 1, "message": "a chance"}),
            await http.post(
                f"{place}/commentary", json={"minute": 1, "message": "x"}, headers={"Idempotency-Key": "key"}
            ),
            await http.patch(f"{place}/score", json={"homeScore": 1, "awayScore": 0}),
        ]


async def assert_refused(service: Service, match: Json, reason: str) -> None:
    """Assert that every write promptly gets 503 with Retry-After, and that the probes give the reason."""
    watch = Stopwatch()
    for answer in await send_writes(service, match):
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "1")
        assert answer.json()["reason"] == reason
    assert watch.seconds() < PROMPT_SECONDS + MARGIN_SECONDS
    async with service.client() as http:
        for base in (service.base_url, service.management_url):
            ready = await http.get(f"{base}/health/ready")
            assert (ready.status_code, ready.json()["reason"]) == (503, reason)
        health = await http.get("/health")
        assert (health.status_code, health.json()["reason"]) == (503, reason)
        assert health.json()["services"]["database"] == "unhealthy"


async def assert_served(service: Service) -> None:
    """Assert that writes and probes recover in time."""
    watch = Stopwatch()
    async with service.client() as http, asyncio.timeout(30):
        while (await http.post("/matches", json=match_body())).status_code != 201:
            await asyncio.sleep(0.02)
        recovery = watch.seconds()
        print(f"first write {recovery:.2f} s after a server became writable")
        assert recovery < RECOVERY_SECONDS + MARGIN_SECONDS
    await eventually(service.is_ready)


async def assert_logged_once(service: Service, server: str = "PostgreSQL") -> None:
    """Assert that the log has one line for the start of the outage and one for its end."""
    await service.logged("server is back")
    lines = [line for line in service.log.splitlines() if f"server={server}" in line]
    assert [sum(text in line for line in lines) for text in ("server is away", "server is back")] == [1, 1]
    assert "Traceback" not in service.log


async def test_writes_recover_when_a_standby_takes_over(
    start: Start, own_postgres: OwnPostgres, standby: Standby, address: Address
) -> None:
    api = await start("api", DATABASE_URL=address.url)
    match = await api.create_match()
    await own_postgres.stop()
    address.lead_to(standby)
    await eventually(lambda: "standby" in httpx.get(f"{api.base_url}/health/ready", verify=False).text)
    await assert_refused(api, match, STANDBY)
    await asyncio.to_thread(standby.promote)
    await assert_served(api)
    await assert_logged_once(api)


OUTAGES: dict[str, Callable[[OwnPostgres], Awaitable[None]]] = {
    "stops": OwnPostgres.stop,
    "is killed": OwnPostgres.kill,
}
"""Ways to end the primary."""


@pytest.mark.parametrize("outage", OUTAGES)
async def test_connected_clients_see_every_write_acknowledged_around_a_promotion(
    start: Start, own_postgres: OwnPostgres, standby: Standby, address: Address, outage: str
) -> None:
    api = await start("api", DATABASE_URL=address.url)
    match_id: int = (await announced_match(api))["id"]
    writer = Writer([api], match_id)
    promoted = asyncio.Event()
    async with connected_clients(api, match_id) as logs:
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.write_until(promoted.is_set))
            await eventually(lambda: len(writer.acknowledged) >= 5)
            await OUTAGES[outage](own_postgres)
            before = len(writer.acknowledged)
            await promote(standby, address)
            await eventually(lambda: len(writer.acknowledged) >= before + 5)
            promoted.set()
        feed = await feed_of(api.base_url, match_id)
        assert set(writer.acknowledged) <= {event["seq"] for event in feed}
        messages = [event["data"]["message"] for event in feed if event["type"] == "commentary"]
        assert len(messages) == len(set(messages)), "a write was repeated after its commit"
        await wait_all_seen(logs, writer)


async def test_clients_resuming_after_a_promotion_see_every_acknowledged_write(
    start: Start, own_postgres: OwnPostgres, standby: Standby, address: Address
) -> None:
    api = await start("api", DATABASE_URL=address.url)
    match_id: int = (await announced_match(api))["id"]
    writer = Writer([api], match_id)
    stream = f"/matches/{match_id}/events/stream"
    clients = [Stream(api, match_id, stream), Stream(api, match_id, ALL), LongPoll(api, match_id)]
    async with Listener(api.ws_url) as listener, running(clients):
        epoch = (await listener.follow(match_id))["epoch"]
        clients.append(Stream(api, match_id, f"{stream}?epoch={epoch}"))
        async with running(clients[-1:]):
            await eventually(lambda: all(one.others for one in clients if isinstance(one, Stream)))
            await writer.write(3)
            await wait_all_seen({"WebSocket": listener.log, **logs_of(clients)}, writer)
    last = writer.last
    await writer.write(3)  # while no client is connected
    assert writer.last == last + 3
    await own_postgres.kill()
    await promote(standby, address)
    await eventually(api.is_ready)

    async with Listener(api.ws_url) as back, running(clients):
        # An instance that has not noticed the new epoch yet resumes first, and sends a snapshot later.
        await back.subscribe(match_id, since=last, epoch=epoch)
        await back.until(lambda log: any(message["type"] == "snapshot" for message in log))
        await writer.write(3)
        await back.until_seq(match_id, writer.last)
        await wait_all_seen({"WebSocket": listener.log + back.log, **logs_of(clients)}, writer)
    async with Listener(api.ws_url) as late:
        answer = await late.subscribe(match_id, since=last, epoch=epoch)
        assert (answer["recovered"], answer["epoch"] != epoch) == (False, True)
        assert writer.last in seen_seqs([await late.next("snapshot")], match_id)


async def test_epoch_changes_with_the_first_connection_to_a_promoted_standby(
    start: Start, own_postgres: OwnPostgres, standby: Standby, address: Address
) -> None:
    """No audit is due, and none of the healer's own queries fails."""
    api = await start("api", DATABASE_URL=address.url, AUDIT_INTERVAL_SECONDS="3600")
    match_id: int = (await announced_match(api))["id"]
    async with Listener(api.ws_url) as listener:
        epoch = (await listener.follow(match_id))["epoch"]
    await own_postgres.kill()
    await promote(standby, address)
    await eventually(api.is_ready)
    async with Listener(api.ws_url) as listener, asyncio.timeout(30):
        while (await listener.subscribe(match_id, since=0))["epoch"] == epoch:
            await asyncio.sleep(0.1)


async def promote(standby: Standby, address: Address) -> None:
    """Promote the standby and direct the address to it."""
    address.lead_to(standby)
    await asyncio.to_thread(standby.promote)


@asynccontextmanager
async def running(clients: Sequence[Subscriber]) -> AsyncIterator[None]:
    """Run clients for the duration of the block; each continues where it stopped before."""
    tasks = [asyncio.create_task(client.run()) for client in clients]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def connected_clients(api: Service, match_id: int) -> AsyncIterator[dict[str, list[Json]]]:
    """Connect clients of every kind that follow a match and reconnect after every close; yields their logs."""
    stream = f"/matches/{match_id}/events/stream"
    clients = [Stream(api, match_id, stream), Stream(api, match_id, ALL), LongPoll(api, match_id)]
    async with Listener(api.ws_url, reconnect=True) as listener, running(clients):
        await listener.follow(match_id)
        await eventually(lambda: all(one.others for one in clients if isinstance(one, Stream)))
        yield {"WebSocket": listener.log, **logs_of(clients)}


def logs_of(clients: Sequence[Subscriber]) -> dict[str, list[Json]]:
    """Return the log of each client by a name for assertion messages."""
    return {f"{type(client).__name__} {number}": client.log for number, client in enumerate(clients)}


async def wait_all_seen(logs: Mapping[str, list[Json]], writer: Writer) -> None:
    """Wait until every client has seen every acknowledged write."""
    for name, log in logs.items():
        with suppress(TimeoutError):
            await eventually(partial(has_seen, log, writer))
        missing = set(writer.acknowledged) - seen_seqs(log, writer.match_id)
        assert not missing, f"{name} has not seen {sorted(missing)}; its log ends with {log[-5:]}"


def has_seen(log: Sequence[Json], writer: Writer) -> bool:
    """Return True if a client has seen every acknowledged write."""
    return set(writer.acknowledged) <= seen_seqs(log, writer.match_id)


def seen_seqs(log: Sequence[Json], match_id: int) -> set[int]:
    """Return the seqs a client saw in events and snapshots, asserting that no seq is followed by a lower one."""
    found: set[int] = set()
    last = None
    for message in log:
        if message.get("matchId") != match_id or "seq" not in message or "data" not in message:
            continue
        seq = message["seq"]
        if message["type"] == "snapshot":
            assert last is None or seq >= last, f"a snapshot of {seq} follows {last}"
            found |= {entry["seq"] for entry in message["data"]["commentary"]}
        else:
            assert last is None or seq == last + 1, f"event {seq} follows {last}"
            found.add(seq)
        last = seq
    return found


async def test_writes_recover_when_an_address_leads_to_the_primary_again(
    start: Start, own_postgres: OwnPostgres, standby: Standby, address: Address
) -> None:
    api = await start("api", DATABASE_URL=address.url)
    match = await api.create_match()
    address.lead_to(standby)
    address.cut()
    await eventually(lambda: "standby" in httpx.get(f"{api.base_url}/health/ready", verify=False).text)
    await assert_refused(api, match, STANDBY)
    address.lead_to(own_postgres)  # open connections to the standby are kept
    await assert_served(api)
    await assert_logged_once(api)


async def test_server_that_becomes_read_only_refuses_writes_and_serves_reads(
    start: Start, own_postgres: OwnPostgres
) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url)
    match = await api.create_match()
    set_read_only(own_postgres, "on")
    await eventually(lambda: "read-only" in httpx.get(f"{api.base_url}/health/ready", verify=False).text)
    await assert_refused(api, match, READ_ONLY)
    async with api.client() as http:
        for path in ("/matches", f"/matches/{match['id']}", f"/matches/{match['id']}/events"):
            assert (await http.get(path)).status_code == 200
    set_read_only(own_postgres, "off")
    await assert_served(api)
    await assert_logged_once(api)


async def test_first_write_to_a_read_only_server_gets_503(start: Start, own_postgres: OwnPostgres) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url)
    match = await api.create_match()
    set_read_only(own_postgres, "on")
    execute(own_postgres.url, "SELECT pg_sleep(0.2)")  # until every process has read its configuration
    await assert_refused(api, match, READ_ONLY)


async def test_connections_to_a_read_only_server_are_replaced_by_writable_ones(
    start: Start, own_postgres: OwnPostgres, standby: Standby, address: Address
) -> None:
    api = await start("api", DATABASE_URL=address.url)
    match = await api.create_match()
    set_read_only(own_postgres, "on")
    await eventually(lambda: "read-only" in httpx.get(f"{api.base_url}/health/ready", verify=False).text)
    await assert_refused(api, match, READ_ONLY)
    execute(standby.server.admin_url(), "SELECT pg_promote()")
    set_read_only(standby, "off")
    address.lead_to(standby)  # the former primary keeps running, and no connection is cut
    await assert_served(api)


async def test_writable_host_is_chosen_of_several(start: Start, own_postgres: OwnPostgres, standby: Standby) -> None:
    hosts = f"{standby.server.socket.parent},{own_postgres.server.socket.parent}"
    url = own_postgres.url.partition("?")[0] + f"?host={hosts}"
    api = await start("api", DATABASE_URL=url)
    await api.create_match()
    await own_postgres.stop()
    await asyncio.to_thread(standby.promote)
    await assert_served(api)


@pytest.mark.parametrize("kind", ["worker", "scheduler"])
async def test_transitions_continue_when_a_standby_takes_over(
    start: Start, own_postgres: OwnPostgres, standby: Standby, address: Address, kind: Kind
) -> None:
    service = await start(kind, DATABASE_URL=address.url)
    await own_postgres.stop()
    address.lead_to(standby)
    async with httpx.AsyncClient(base_url=service.management_url, timeout=5) as http, asyncio.timeout(60):
        while (ready := await http.get("/health/ready")).status_code == 200:
            await asyncio.sleep(0.1)
        assert ready.json() == {"ready": False, "reason": STANDBY}
    await asyncio.to_thread(standby.promote)
    match = await create_match(standby.url, -1, 1000)
    await eventually(service.is_ready)
    await assert_logged_once(service)
    assert match.id


async def test_transitions_continue_when_a_server_becomes_writable_again(
    start: Start, own_postgres: OwnPostgres
) -> None:
    service = await start("worker", DATABASE_URL=own_postgres.url)
    match = await create_match(own_postgres.url, 1.0, 1000)
    set_read_only(own_postgres, "on")
    await service.logged("server is away")
    assert "read-only" in service.log
    await asyncio.sleep(1.0)  # until the transition is due
    set_read_only(own_postgres, "off")
    await wait_for_status(own_postgres.url, match.id, "live")
    await service.logged("server is back")
    await assert_logged_once(service)
