"""Conditional requests to a real process: no update is lost, and of two with the same ``If-Match`` one succeeds."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.support.clients import feed_of
from tests.support.service import Service, match_body

Json = dict[str, Any]
Write = Callable[[dict[str, str] | list[tuple[str, str]]], Awaitable[httpx.Response]]

WRITES = ["PATCH match", "PATCH score", "PATCH end", "POST commentary", "PATCH commentary", "DELETE commentary"]


@pytest.fixture
async def made(http: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
    """The responses to a new match and its first entry."""
    match = await http.post("/matches", json=match_body())
    path = f"/matches/{match.json()['data']['id']}/commentary"
    return match, await http.post(path, json={"minute": 1, "message": "m"})


@pytest.fixture(params=WRITES)
def write(
    request: pytest.FixtureRequest, http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response]
) -> Write:
    """Return a request that changes the match or its entry, with additional headers."""
    match, entry = (answer.headers["Location"] for answer in made)
    kind, _, target = request.param.partition(" ")
    path = {"match": match, "commentary": f"{match}/commentary" if kind == "POST" else entry}.get(target)
    body: Json | None = {"minute": 2, "message": uuid4().hex, "homeTeam": uuid4().hex, "homeScore": 1, "awayScore": 1}
    if kind == "DELETE" or target == "end":
        body = None
    return lambda headers: http.request(kind, path or f"{match}/{target}", json=body, headers=headers)


async def etag(http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response]) -> str:
    return str((await http.get(made[0].headers["Location"])).headers["ETag"])


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_created_resources_have_location_and_etag(http: httpx.AsyncClient, prefix: str) -> None:
    key, body = {"Idempotency-Key": uuid4().hex}, match_body()
    match, again = [await http.post(f"{prefix}/matches", json=body, headers=key) for _ in range(2)]
    place = f"{prefix}/matches/{match.json()['data']['id']}"
    assert match.headers["Location"] == again.headers["Location"] == place
    read = await http.get(match.headers["Location"])
    assert match.headers["ETag"] == again.headers["ETag"] == read.headers["ETag"]
    entry = await http.post(f"{place}/commentary", json={"minute": 1, "message": "m"})
    assert entry.headers["Location"] == f"{place}/commentary/{entry.json()['data']['id']}"
    read_entry = await http.get(entry.headers["Location"])
    assert read_entry.json() == entry.json()
    assert read_entry.headers["ETag"] == entry.headers["ETag"]
    change = await http.patch(
        entry.headers["Location"], json={"minute": 2}, headers={"If-Match": entry.headers["ETag"]}
    )
    assert change.status_code == 200
    assert change.headers["ETag"] == (await http.get(place)).headers["ETag"]


async def test_entry_is_readable_below_its_match_until_deleted(http: httpx.AsyncClient) -> None:
    match, other = [await http.post("/matches", json=match_body()) for _ in range(2)]
    entry = await http.post(f"{match.headers['Location']}/commentary", json={"minute": 1, "message": "m"})
    place, tag = entry.headers["Location"], entry.headers["ETag"]
    assert (await http.get(place, headers={"If-None-Match": f'"x", {tag}'})).status_code == 304
    assert (await http.get(place, headers={"If-Match": '"x"'})).status_code == 412
    assert (await http.head(place)).headers["ETag"] == tag
    elsewhere = f"{other.headers['Location']}/commentary/{entry.json()['data']['id']}"
    await http.patch(place, json={"minute": 7})
    changed = await http.get(place, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["data"]["minute"]) == (200, 7)
    await http.delete(place)
    for gone in (place, elsewhere):
        answer = await http.get(gone)
        assert (answer.status_code, answer.json()) == (404, {"error": "Commentary not found"})


async def test_a_write_with_the_current_etag_takes_effect(
    http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response], write: Write
) -> None:
    current = await etag(http, made)
    lines = [("If-Match", '"other"'), ("If-Match", f'W/"x", {current}')]
    answer = await write(lines)
    assert answer.status_code in (200, 201)
    if "ETag" in answer.headers:
        assert answer.headers["ETag"] == await etag(http, made) != current


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("If-Match", '"other"'),
        ("If-Match", "W/{current}"),
        ("If-Match", "{first}"),
        ("If-None-Match", "*"),
        ("If-None-Match", "{current}"),
        ("If-None-Match", 'W/{current}, "other"'),
    ],
)
async def test_write_with_a_failed_precondition_has_no_effect(
    http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response], write: Write, name: str, form: str
) -> None:
    current, first = await etag(http, made), made[0].headers["ETag"]
    answer = await write({name: form.format(current=current, first=first), "Idempotency-Key": uuid4().hex})
    assert (answer.status_code, list(answer.json())) == (412, ["error"])
    assert name in answer.json()["error"]
    assert await etag(http, made) == current


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("value", ["", "abc", '"abc', '*, "a"'])
async def test_malformed_precondition_gets_400_and_has_no_effect(
    http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response], write: Write, name: str, value: str
) -> None:
    current = await etag(http, made)
    answer = await write({name: value})
    assert (answer.status_code, answer.json()["details"][0]["path"]) == (400, [name])
    assert await etag(http, made) == current


async def test_asterisk_matches_any_state_and_unknown_resources_get_404(http: httpx.AsyncClient, write: Write) -> None:
    assert (await http.patch("/matches/2147483647", json={"sport": "x"}, headers={"If-Match": "*"})).status_code == 404
    assert (await write({"If-Match": "*", "If-None-Match": '"other"'})).status_code in (200, 201)


async def test_one_of_many_concurrent_changes_succeeds(http: httpx.AsyncClient, service: Service) -> None:
    match = await http.post("/matches", json=match_body())
    place, condition = match.headers["Location"], {"If-Match": match.headers["ETag"]}
    changes = [
        *(http.patch(place, json={"homeTeam": f"Home {number}"}, headers=condition) for number in range(4)),
        *(http.patch(f"{place}/score", json={"homeScore": 1, "awayScore": n}, headers=condition) for n in range(4)),
        *(http.post(f"{place}/commentary", json={"minute": 1, "message": "m"}, headers=condition) for _ in range(4)),
    ]
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*changes))
    assert statuses[0] in (200, 201)
    assert statuses[1:] == [412] * 11
    assert len(await feed_of(service.base_url, match.json()["data"]["id"])) == 2


async def test_one_of_many_concurrent_corrections_succeeds(
    http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response]
) -> None:
    entry = made[1]
    place, condition = entry.headers["Location"], {"If-Match": entry.headers["ETag"]}
    changes = [
        *(http.patch(place, json={"message": f"m{number}"}, headers=condition) for number in range(6)),
        http.delete(place, headers=condition),
    ]
    answers = [answer.status_code for answer in await asyncio.gather(*changes)]
    # Later requests do not find the deleted entry, which takes precedence over the condition.
    assert answers.count(200) == 1
    assert set(answers) <= {200, 412, 404}


async def test_other_entries_do_not_change_an_entry_s_version(
    http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response]
) -> None:
    match, entry = made
    await http.post(f"{match.headers['Location']}/commentary", json={"minute": 2, "message": "another"})
    condition = {"If-Match": entry.headers["ETag"]}
    assert (await http.patch(entry.headers["Location"], json={"minute": 3}, headers=condition)).status_code == 200
    assert (await http.patch(entry.headers["Location"], json={"minute": 4}, headers=condition)).status_code == 412


async def test_replayed_request_gets_its_first_response_despite_a_stale_precondition(
    http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response]
) -> None:
    headers = {"If-Match": await etag(http, made), "Idempotency-Key": uuid4().hex}
    path = f"{made[0].headers['Location']}/commentary"
    first, again = [await http.post(path, json={"minute": 1, "message": "m"}, headers=headers) for _ in range(2)]
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reads_support_both_conditions_over_several_lines(
    http: httpx.AsyncClient, made: tuple[httpx.Response, httpx.Response], method: str
) -> None:
    current, path = await etag(http, made), made[0].headers["Location"]

    async def status(*headers: tuple[str, str]) -> int:
        return (await http.request(method, path, headers=list(headers))).status_code

    assert await status(("If-None-Match", '"other"'), ("If-None-Match", f"W/{current}")) == 304
    assert await status(("If-None-Match", '"one"'), ("If-None-Match", '"two,"')) == 200
    assert await status(("If-Match", '"other"'), ("If-Match", current)) == 200
    assert await status(("If-Match", '"other"')) == 412
    assert await status(("If-Match", f"W/{current}"), ("If-None-Match", current)) == 412
    assert await status(("If-Match", current), ("If-None-Match", current)) == 304
    assert await status(("If-Match", "malformed")) == 400


async def test_lists_have_no_etag(http: httpx.AsyncClient) -> None:
    for headers, status in (({"If-Match": "*"}, 201), ({"If-Match": '"x"'}, 412), ({"If-None-Match": "*"}, 412)):
        assert (await http.post("/matches", json=match_body(), headers=headers)).status_code == status
