"""What `make smoke` does once it is inside, against a real service."""

from pathlib import Path

import pytest

from tests.e2e.entrance import Entrance
from tests.smoke import HEAR_SECONDS, heard
from tests.support.service import Start


async def test_the_match_that_is_made_is_heard_of(start: Start, tmp_path: Path) -> None:
    key = "lsk_admin_0123456789abcdef"
    (tmp_path / "admin-key").write_text(key)
    api = await start("api", ENVIRONMENT="production", ADMIN_KEY_FILE=str(tmp_path / "admin-key"))
    entrance = Entrance(api.base_url.removeprefix("http://"), key)

    seconds = await heard(entrance)

    assert 0 < seconds < HEAR_SECONDS
    assert [one["sport"] for one in await entrance.matches()] == ["test"]


async def test_it_fails_where_nobody_answers() -> None:
    with pytest.raises(OSError, match=r"Connect call failed"):
        await heard(Entrance("127.0.0.1:1"))
