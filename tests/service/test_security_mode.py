"""Optional settings may be missing, and one security mode applies to all parts."""

import asyncio

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.support.clients import Listener
from tests.support.service import Service, Start

# More than the 50 requests in 10 s and the 5 handshakes in 2 s that LIVE allows.
REQUESTS, HANDSHAKES = 60, 8

INSIST_SECONDS = 60.0
"""Timeout until a dry run has logged an excess, which it detects after the response."""


async def test_fault_12_optional_settings_are_not_needed_to_start(start: Start) -> None:
    """Fault 12: a missing optional key prevented the start."""
    api = await start("api")
    assert not {"SECURITY_MODE", "API_KEYS_FILE", "DEV_API_KEY", "ALLOWED_ORIGINS"} & api.environment.keys()
    assert (await api.create_match())["id"] == 1


async def _refusals(api: Service) -> tuple[int, int]:
    """Return how many of an excessive number of requests and handshakes are refused."""
    async with api.client() as http:
        answers = [await http.get("/matches") for _ in range(REQUESTS)]
    shaken = [await _is_refused(api.ws_url) for _ in range(HANDSHAKES)]
    return sum(answer.status_code == 429 for answer in answers), sum(shaken)


async def _is_refused(url: str) -> bool:
    try:
        async with connect(url, proxy=None):
            return False
    except InvalidStatus as error:
        return error.response.status_code == 429


async def test_fault_18_unset_mode_is_dry_run_for_requests_and_handshakes(start: Start) -> None:
    """Fault 18: with the security mode unset, the original's parts disagreed on it."""
    api = await start("api")
    assert await _refusals(api) == (0, 0)
    async with asyncio.timeout(INSIST_SECONDS):
        while "kind=http" not in api.log or "kind=handshake" not in api.log:
            assert await _refusals(api) == (0, 0)


async def test_fault_18_live_mode_limits_requests_and_handshakes(start: Start) -> None:
    api = await start("api", SECURITY_MODE="LIVE")
    requests, handshakes = await _refusals(api)
    assert requests >= REQUESTS - 50
    assert handshakes >= HANDSHAKES - 5


async def test_rate_limits_are_separate_per_address(start: Start) -> None:
    api = await start("api", SECURITY_MODE="LIVE", TRUSTED_PROXIES="127.0.0.0/8")
    one = {"X-Forwarded-For": "192.0.2.1"}
    async with api.client() as http:
        statuses = [(await http.get("/matches", headers=one)).status_code for _ in range(REQUESTS)]
        assert 429 in statuses
        assert (await http.get("/health", headers=one)).status_code == 200
        assert (await http.get("/matches", headers={"X-Forwarded-For": "192.0.2.2"})).status_code == 200
    async with Listener(api.ws_url) as listener:
        assert listener.log[0]["type"] == "welcome"
