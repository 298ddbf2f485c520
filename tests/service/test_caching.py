"""ETag, If-None-Match and Cache-Control: an unchanged match costs no query, and a stale one is never served."""

import httpx
import pytest

from livescore.api.caching import MAX_AGE
from livescore.scores.state import STATUSES
from tests.support.clients import Listener
from tests.support.servers import OwnPostgres
from tests.support.service import Service, Start, instant


@pytest.fixture
async def path(service: Service) -> str:
    match = await service.create_match()
    return f"/matches/{match['id']}"


def test_every_status_has_a_cache_lifetime() -> None:
    assert MAX_AGE.keys() == set(STATUSES)


async def tag(http: httpx.AsyncClient, path: str) -> str:
    return str((await http.get(path)).headers["ETag"])


async def test_a_match_has_a_strong_etag(http: httpx.AsyncClient, path: str) -> None:
    etag = await tag(http, path)
    assert etag.startswith('"')
    assert etag.endswith('"')
    assert etag == await tag(http, path) == await tag(http, f"/api{path}")


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', 'W/"other" ,W/{}', "*"])
async def test_current_etag_gets_304(http: httpx.AsyncClient, path: str, form: str) -> None:
    etag = await tag(http, path)
    answer = await http.get(path, headers={"If-None-Match": form.format(etag)})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == etag
    assert "Cache-Control" in answer.headers


@pytest.mark.parametrize("form", ['"other"', "", "nonsense", '"', '"{}"'])
async def test_outdated_etag_gets_the_body(http: httpx.AsyncClient, path: str, form: str) -> None:
    await tag(http, path)
    answer = await http.get(path, headers={"If-None-Match": form})
    assert answer.status_code == 200
    assert answer.json()["data"]["seq"] == 1


async def test_an_unknown_match_has_no_etag_to_match(http: httpx.AsyncClient) -> None:
    answer = await http.get("/matches/2147483647", headers={"If-None-Match": "*"})
    assert (answer.status_code, "ETag" in answer.headers) == (404, False)


async def test_every_event_changes_the_etag_at_once(http: httpx.AsyncClient, service: Service, path: str) -> None:
    match_id = int(path.rpartition("/")[2])
    goal = {"eventType": "goal", "metadata": {"scoreDelta": {"home": 1}}}
    answer = await http.get(path)
    etags = [answer.headers["ETag"]]
    for _ in range(5):
        await service.comment(match_id, **goal)
        answer = await http.get(path, headers={"If-None-Match": etags[-1]})
        assert answer.status_code == 200
        etags.append(answer.headers["ETag"])
    assert answer.json()["data"]["homeScore"] == 5
    assert len(set(etags)) == 6


async def test_equal_etags_mean_equal_bodies(http: httpx.AsyncClient, path: str) -> None:
    await http.patch(f"{path}/end")
    first = await http.get(path)
    await http.patch(path, json={"status": "finished"})  # pins the status without a visible change
    second = await http.get(path, headers={"Cache-Control": "no-cache"})
    assert (first.headers["ETag"], first.content) == (second.headers["ETag"], second.content)


async def test_unchanged_match_is_served_without_postgresql(start: Start, own_postgres: OwnPostgres) -> None:
    api = await start("api", DATABASE_URL=own_postgres.url, DATABASE_TIMEOUT_SECONDS="1")
    known, unknown = [f"/matches/{(await api.create_match())['id']}" for _ in range(2)]
    async with api.client() as http, Listener(api.ws_url) as listener:
        await listener.subscribe(1)  # from now on the instance knows the current seq of the match
        first = await http.get(known)
        own_postgres.pause()
        try:
            not_modified = await http.get(known, headers={"If-None-Match": first.headers["ETag"]})
            assert (not_modified.status_code, not_modified.content) == (304, b"")
            assert (await http.get(known)).content == first.content
            insisting = http.get(known, headers={"Cache-Control": "no-cache"})
            assert [(await answer).status_code for answer in (http.get(unknown), insisting)] == [503, 503]
        finally:
            own_postgres.resume()


async def test_write_on_one_instance_changes_the_etag_on_the_other(start: Start) -> None:
    writer, reader = await start("api"), await start("api")
    match = await writer.create_match()
    path = f"/matches/{match['id']}"
    async with reader.client() as http, Listener(reader.ws_url) as listener:
        await listener.subscribe(match["id"])
        etag = await tag(http, path)
        await writer.comment(match["id"])
        await listener.until(lambda log: log[-1]["type"] == "commentary")
        answer = await http.get(path, headers={"If-None-Match": etag})
        assert (answer.status_code, answer.json()["data"]["seq"]) == (200, 2)


@pytest.mark.parametrize(
    ("start_in", "end_in", "max_age"),
    [(-60, 60, 1), (60, 90, 5), (-90, -60, 60)],
    ids=["live", "scheduled", "finished"],
)
async def test_cache_lifetime_of_a_match_depends_on_its_status(
    http: httpx.AsyncClient, service: Service, start_in: float, end_in: float, max_age: int
) -> None:
    match = await service.create_match(startTime=instant(start_in), endTime=instant(end_in))
    answer = await http.get(f"/matches/{match['id']}")
    assert answer.headers["Cache-Control"] == f"public, max-age={max_age}"


async def test_lists_are_cacheable_for_a_second(http: httpx.AsyncClient, path: str) -> None:
    for listed in ("/matches", f"{path}/commentary"):
        assert (await http.get(listed)).headers["Cache-Control"] == "public, max-age=1"


async def test_responses_that_need_a_key_are_not_publicly_cacheable(start: Start) -> None:
    api = await start("api", READ_KEYS_REQUIRED="true", DEV_API_KEY="development")
    match = await api.create_match()
    async with api.client() as http:
        for path in ("/matches", f"/matches/{match['id']}", f"/matches/{match['id']}/commentary"):
            assert (await http.get(path)).headers["Cache-Control"].startswith("private")
