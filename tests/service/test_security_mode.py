"""What is optional may be missing, and one mode holds for every part."""

import asyncio
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.clients import Listener
from tests.support.service import Service, Start

# More than the 50 requests in 10 s that LIVE allows.
REQUESTS = 60

INSIST_SECONDS = 60.0
"""Longest until one more was too many: 50 requests in 10 s and 5 handshakes in 2 s are allowed."""


async def test_fault_12_nothing_optional_is_needed_to_start(start: Start) -> None:
    """Fault 12: a missing optional key stopped the start-up."""
    api = await start("api")
    assert not {"SECURITY_MODE", "API_KEYS_FILE", "DEV_API_KEY", "ALLOWED_ORIGINS"} & api.environment.keys()
    assert (await api.create_match())["id"] == 1


async def _insist(hit: Callable[[], Awaitable[bool]]) -> None:
    """Hit until that says that it was enough."""
    async with asyncio.timeout(INSIST_SECONDS):
        while not await hit():
            pass


async def _is_request_refused(api: Service) -> bool:
    async with api.client() as http:
        return (await http.get("/matches")).status_code == 429


async def _is_handshake_refused(api: Service) -> bool:
    try:
        async with connect(api.ws_url, proxy=None):
            return False
    except InvalidStatus as error:
        return error.response.status_code == 429


async def test_fault_18_unset_is_dry_run_for_requests_and_handshakes(start: Start) -> None:
    """Fault 18: with the security mode unset its parts disagreed on it."""
    api = await start("api")

    async def request() -> bool:
        assert not await _is_request_refused(api)
        return "kind=http" in api.log

    async def handshake() -> bool:
        assert not await _is_handshake_refused(api)
        return "kind=handshake" in api.log

    await _insist(request)
    await _insist(handshake)


async def test_fault_18_live_is_live_for_requests_and_handshakes(start: Start) -> None:
    api = await start("api", SECURITY_MODE="LIVE")
    assert not await _is_request_refused(api)
    await _insist(lambda: _is_request_refused(api))
    assert not await _is_handshake_refused(api)
    await _insist(lambda: _is_handshake_refused(api))


async def test_a_limit_of_one_address_is_not_anothers(start: Start) -> None:
    api = await start("api", SECURITY_MODE="LIVE", TRUSTED_PROXIES="127.0.0.0/8")
    one = {"X-Forwarded-For": "192.0.2.1"}
    async with api.client() as http:
        statuses = [(await http.get("/matches", headers=one)).status_code for _ in range(REQUESTS)]
        assert 429 in statuses
        assert (await http.get("/health", headers=one)).status_code == 200
        assert (await http.get("/matches", headers={"X-Forwarded-For": "192.0.2.2"})).status_code == 200
    async with Listener(api.ws_url) as listener:
        assert listener.log[0]["type"] == "welcome"
