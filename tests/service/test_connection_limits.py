"""Admission to ``/ws``: connection caps, keys, origins, handshake rate, and wrong paths."""

import asyncio
import json

import httpx
import psutil
import pytest

from tests.support.clients import Listener
from tests.support.raw_websocket import handshake, raw_websocket, refused
from tests.support.service import Service, Start

SECRET = "a-secret-that-only-the-tests-know"


async def _connections(api: Service) -> int:
    async with httpx.AsyncClient(base_url=api.management_url, timeout=5) as http:
        count: int = (await http.get("/connections")).json()["connections"]
    return count


async def _until_connections(api: Service, count: int) -> None:
    async with asyncio.timeout(30):
        while await _connections(api) != count:
            await asyncio.sleep(0.02)


def _is_envelope(body: bytes) -> bool:
    return isinstance(json.loads(body)["error"], str)


# Caps


async def test_address_over_its_connection_limit_gets_429(start: Start) -> None:
    api = await start("api", MAX_CONNECTIONS_PER_ADDRESS="2")
    async with Listener(api.ws_url), Listener(api.ws_url):
        status, headers, body = await refused(api.port)
        assert (status, _is_envelope(body)) == (429, True)
        assert int(headers["retry-after"]) >= 1
    await _until_connections(api, 0)
    async with Listener(api.ws_url):
        assert await _connections(api) == 1


async def test_full_process_responds_with_503(start: Start) -> None:
    api = await start("api", MAX_CONNECTIONS="2")
    async with Listener(api.ws_url), Listener(api.ws_url):
        status, headers, body = await refused(api.port)
        assert (status, _is_envelope(body)) == (503, True)
        assert int(headers["retry-after"]) >= 1
    await _until_connections(api, 0)
    async with Listener(api.ws_url):
        pass


async def test_refused_handshake_is_not_logged_as_an_error(start: Start) -> None:
    """A flood of handshakes would otherwise fill the log."""
    api = await start("api", MAX_CONNECTIONS="1")
    async with Listener(api.ws_url):
        assert (await refused(api.port))[0] == 503
    assert await api.terminate() == 0
    assert "handshake" not in api.log


async def test_streams_count_as_connections_until_they_end(start: Start) -> None:
    api = await start("api", MAX_CONNECTIONS_PER_ADDRESS="2")
    async with api.client() as http:
        for _ in range(5):
            async with http.stream("GET", "/events/stream") as one, Listener(api.ws_url):
                assert one.status_code == 200
                assert (await http.get("/events/stream")).status_code == 429
                assert (await refused(api.port))[0] == 429
            await _until_connections(api, 0)
            await _until_streams(api, 0)


async def _until_streams(api: Service, count: int) -> None:
    async with httpx.AsyncClient(base_url=api.management_url, verify=False) as http, asyncio.timeout(30):
        while (await http.get("/connections")).json()["streams"] != count:
            await asyncio.sleep(0.02)


async def test_refused_handshakes_are_not_counted(start: Start) -> None:
    api = await start("api", MAX_CONNECTIONS="3", READ_KEYS_REQUIRED="true", DEV_API_KEY=SECRET)
    for _ in range(10):
        assert (await refused(api.port))[0] == 401
    for _ in range(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(handshake(api.port, f"/ws?apiKey={SECRET}"))
        writer.transport.abort()
        reader.feed_eof()
    await _until_connections(api, 0)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(_open_and_close(api, f"/ws?apiKey={SECRET}"))


async def _open_and_close(api: Service, path: str) -> None:
    async with raw_websocket(api.port, path):
        pass


# Keys


@pytest.fixture
async def guarded(start: Start) -> Service:
    """An API that requires keys for reading."""
    return await start("api", READ_KEYS_REQUIRED="true", DEV_API_KEY=SECRET)


@pytest.mark.parametrize("headers", [{"X-API-Key": SECRET}, {"Authorization": f"Bearer {SECRET}"}])
async def test_required_key_is_accepted_in_a_header(guarded: Service, headers: dict[str, str]) -> None:
    async with Listener(guarded.ws_url, options={"additional_headers": headers}) as listener:
        await listener.ask({"type": "ping"}, "pong")


async def test_required_key_is_accepted_in_the_url_for_browsers(guarded: Service) -> None:
    async with Listener(f"{guarded.ws_url}?apiKey={SECRET}&matchId=1") as listener:
        await listener.next("subscribed")
    async with httpx.AsyncClient(base_url=guarded.base_url) as http:
        async with http.stream("GET", f"/events/stream?apiKey={SECRET}") as stream:
            assert stream.status_code == 200
        assert (await http.get(f"/matches/1/events?apiKey={SECRET}")).status_code == 404


@pytest.mark.parametrize("path", ["/ws", "/api/ws", "/ws?apiKey=", "/ws?apiKey=wrong", "/ws?apiKey=lsk_1_wrong"])
async def test_handshake_without_a_valid_key_gets_401(guarded: Service, path: str) -> None:
    status, headers, body = await refused(guarded.port, path)
    assert (status, _is_envelope(body)) == (401, True)
    assert "www-authenticate" in headers
    assert (await refused(guarded.port, path, "Authorization: Bearer wrong"))[0] == 401


async def test_streams_require_the_key_too(guarded: Service) -> None:
    async with httpx.AsyncClient(base_url=guarded.base_url) as http:
        for path in ("/events/stream", "/matches/1/events", "/matches/1/events/stream"):
            assert (await http.get(path)).status_code == 401


async def test_key_in_the_url_is_not_logged(guarded: Service) -> None:
    async with Listener(f"{guarded.ws_url}?apiKey={SECRET}") as listener:
        await listener.ask({"type": "ping"}, "pong")
    async with httpx.AsyncClient(base_url=guarded.base_url) as http:
        await http.get(f"/matches/1/events?apiKey={SECRET}")
    await _until_connections(guarded, 0)
    assert SECRET not in guarded.log


async def test_reads_need_no_key_unless_required(start: Start) -> None:
    api = await start("api", DEV_API_KEY=SECRET)
    async with Listener(api.ws_url) as listener:
        await listener.ask({"type": "ping"}, "pong")


# Origins


async def test_a_foreign_web_page_is_refused(service: Service) -> None:
    status, _, body = await refused(service.port, "/ws", "Origin: https://elsewhere.example")
    assert (status, _is_envelope(body)) == (403, True)


async def test_same_origin_pages_and_programs_may_connect(service: Service) -> None:
    for headers in ({}, {"Origin": service.base_url}):
        async with Listener(service.ws_url, options={"additional_headers": headers}) as listener:
            await listener.ask({"type": "ping"}, "pong")


async def test_allowed_origins_may_connect(start: Start) -> None:
    api = await start("api", ALLOWED_ORIGINS="https://one.example, https://two.example")
    for origin in ("https://one.example", "https://two.example"):
        async with Listener(api.ws_url, options={"additional_headers": {"Origin": origin}}):
            pass
    assert (await refused(api.port, "/ws", "Origin: https://three.example"))[0] == 403


async def test_any_origin_may_connect_if_all_are_allowed(start: Start) -> None:
    api = await start("api", ALLOWED_ORIGINS="*")
    async with Listener(api.ws_url, options={"additional_headers": {"Origin": "https://any.example"}}):
        pass


# The rate of handshakes


async def test_sixth_handshake_in_two_seconds_gets_429_before_the_upgrade(start: Start) -> None:
    api = await start("api", SECURITY_MODE="LIVE")
    for _ in range(5):
        async with Listener(api.ws_url):
            pass
    status, headers, body = await refused(api.port)
    assert (status, json.loads(body)) == (429, {"error": "Too many requests"})
    assert 1 <= int(headers["retry-after"]) <= 2
    assert "upgrade" not in headers
    await asyncio.sleep(int(headers["retry-after"]) + 0.2)
    async with Listener(api.ws_url):
        pass


async def test_a_dry_run_only_logs(start: Start) -> None:
    api = await start("api", SECURITY_MODE="DRY_RUN")
    # The limit is checked after the response.
    async with asyncio.timeout(60):
        while "rate limit exceeded" not in api.log:
            async with Listener(api.ws_url):
                pass


async def test_clients_disconnecting_during_the_limit_check_are_uncounted(start: Start) -> None:
    """The limit is checked in Redis before the upgrade, and the client may disconnect meanwhile."""
    api = await start("api", SECURITY_MODE="LIVE", HANDSHAKE_LIMIT="1000 per second", MAX_CONNECTIONS="5")
    for _ in range(50):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(handshake(api.port))
        await asyncio.sleep(0)
        writer.transport.abort()
        reader.feed_eof()
    await _until_connections(api, 0)
    async with Listener(api.ws_url) as listener:
        await listener.ask({"type": "ping"}, "pong")
    assert "Traceback" not in api.log


# Wrong paths


@pytest.mark.parametrize("path", ["/", "/nothing", "/ws/", "/ws/7", "/matches", "/wss", "/health", "/%00", "//ws"])
async def test_fault_11_a_wrong_upgrade_path_is_refused_and_closed(service: Service, path: str) -> None:
    """Fault 11: a wrong upgrade path leaked the socket."""
    status, _, body = await refused(service.port, path)
    assert (status, json.loads(body)) == (404, {"error": "Not found"})


async def test_fault_11_wrong_upgrade_path_leaves_no_descriptor(start: Start) -> None:
    """Fault 11: the server closes its side, so no file descriptor is left."""
    api = await start("api")
    assert api.process is not None
    process = psutil.Process(api.process.pid)
    await refused(api.port, "/nothing")
    before = process.num_fds()
    for _ in range(100):
        assert (await refused(api.port, "/nothing"))[0] == 404
    async with asyncio.timeout(30):
        while process.num_fds() > before:
            await asyncio.sleep(0.05)
    assert await _connections(api) == 0
    assert "Traceback" not in api.log


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize(
    ("replaced", "by", "status"),
    [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", 426),
        ("Sec-WebSocket-Version: 13", "X: y", 426),
        (KEY, "X: y", 400),
        (KEY, "Sec-WebSocket-Key: short", 400),
        (KEY, f"{KEY}\r\nContent-Length: 5", 400),
    ],
)
async def test_a_broken_handshake_is_refused(service: Service, replaced: str, by: str, status: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(handshake(service.port).replace(replaced.encode(), by.encode()))
    async with asyncio.timeout(5):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert _is_envelope(body)
    assert (b"\r\nsec-websocket-version: 13" in head) == (status == 426)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("path", ["/ws", "/api/ws"])
async def test_ws_without_an_upgrade_gets_426_with_an_explanation(service: Service, path: str) -> None:
    async with service.client() as http:
        answer = await http.get(path)
        assert (await http.post(path)).status_code == 405
    assert answer.status_code == 426
    assert answer.json() == {"error": "Upgrade required: open a WebSocket at this address, or use /events/stream"}
    assert (answer.headers["upgrade"], answer.headers["connection"]) == ("websocket", "upgrade")
    assert answer.headers["sec-websocket-version"] == "13"
