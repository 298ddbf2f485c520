"""The client part of `make smoke`, against a real service."""

from pathlib import Path

import pytest

from tests.e2e.service_endpoint import ServiceEndpoint
from tests.smoke import RECEIVE_SECONDS, measure_delivery
from tests.support.service import Start


async def test_created_match_is_received(start: Start, tmp_path: Path) -> None:
    key = "lsk_admin_0123456789abcdef"
    (tmp_path / "admin-key").write_text(key)
    api = await start("api", ENVIRONMENT="production", ADMIN_KEY_FILE=str(tmp_path / "admin-key"))
    endpoint = ServiceEndpoint(api.base_url.removeprefix("http://"), key)

    seconds = await measure_delivery(endpoint)

    assert 0 < seconds < RECEIVE_SECONDS
    assert [one["sport"] for one in await endpoint.matches()] == ["test"]


async def test_smoke_fails_when_no_server_answers() -> None:
    with pytest.raises(OSError, match=r"Connect call failed"):
        await measure_delivery(ServiceEndpoint("127.0.0.1:1"))
