"""What `make smoke` does once it is inside, against a real service."""

import pytest

from tests.e2e.entrance import Entrance
from tests.smoke import HEAR_SECONDS, heard
from tests.support.service import Start


async def test_the_match_that_is_made_is_heard_of(start: Start) -> None:
    api = await start("api")
    entrance = Entrance(api.base_url.removeprefix("http://"))

    seconds = await heard(entrance)

    assert 0 < seconds < HEAR_SECONDS
    assert [one["sport"] for one in await entrance.matches()] == ["test"]


async def test_it_fails_where_nobody_answers() -> None:
    with pytest.raises(OSError, match=r"Connect call failed"):
        await heard(Entrance("127.0.0.1:1"))
