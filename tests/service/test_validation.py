"""Invalid input gets 400 with the place of every error: never 422, never 500."""

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.support.service import Service, match_body

Json = dict[str, Any]
Path = list[str | int]


@pytest.fixture
async def commentary(service: Service) -> str:
    """Path for the commentary of a match."""
    match = await service.create_match()
    return f"/matches/{match['id']}/commentary"


def places(answer: httpx.Response, error: str) -> list[Path]:
    """Return the places of the errors; all responses of this module have the same form."""
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/json"
    problem = answer.json()
    assert problem.keys() == {"error", "details"}
    assert problem["error"] == error
    assert all(detail.keys() == {"path", "message"} and detail["message"] for detail in problem["details"])
    return [detail["path"] for detail in problem["details"]]


async def post(http: httpx.AsyncClient, path: str, content: str | bytes, method: str = "POST") -> httpx.Response:
    return await http.request(method, path, content=content, headers={"Content-Type": "application/json"})


# The body of a match


@pytest.mark.parametrize("member", ["sport", "homeTeam", "awayTeam"])
@pytest.mark.parametrize("value", ["", None, 1, ["x"], "a\0b", "x" * 501])
async def test_match_names_must_be_text(http: httpx.AsyncClient, member: str, value: Any) -> None:
    answer = await http.post("/matches", json=match_body(**{member: value}))
    assert places(answer, "Invalid request body") == [[member]]


@pytest.mark.parametrize("member", ["startTime", "endTime"])
@pytest.mark.parametrize(
    "value",
    [
        "2026-02-20T15:00:00",
        "2026-02-20T15:00:00+25:00",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-02-20",
        "tomorrow",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        1771599600,
        None,
    ],
)
async def test_match_times_must_be_iso_8601_with_an_offset(http: httpx.AsyncClient, member: str, value: Any) -> None:
    answer = await http.post("/matches", json=match_body(**{member: value}))
    assert places(answer, "Invalid request body") == [[member]]


@pytest.mark.parametrize("end", ["2026-02-20T15:00:00Z", "2026-02-20T14:59:59.999Z", "2026-02-20T15:00:00.0001Z"])
async def test_match_must_end_after_its_start(http: httpx.AsyncClient, end: str) -> None:
    answer = await http.post("/matches", json=match_body(startTime="2026-02-20T15:00:00Z", endTime=end))
    assert places(answer, "Invalid request body") == [["endTime"]]


@pytest.mark.parametrize("value", [-1, 1.5, 2**31, 2**63, 2**64, 10**400, "-1", "", "x", "9999999999", None, True, []])
async def test_scores_must_be_int4(http: httpx.AsyncClient, value: Any) -> None:
    answer = await http.post("/matches", json=match_body(homeScore=value))
    assert places(answer, "Invalid request body") in ([["homeScore"]], [[]])


async def test_all_errors_are_reported_at_once(http: httpx.AsyncClient) -> None:
    expected: list[Path] = [["sport"], ["homeTeam"], ["awayTeam"], ["startTime"], ["endTime"]]
    assert places(await http.post("/matches", json={}), "Invalid request body") == expected


@pytest.mark.parametrize("body", [[], "text", 1, None, True])
async def test_body_must_be_an_object(http: httpx.AsyncClient, body: Any) -> None:
    answer = await post(http, "/matches", json.dumps(body))
    assert places(answer, "Invalid request body") == [[]]
    assert answer.json()["details"][0]["message"] == "Input should be a JSON object"


async def test_type_errors_use_json_terms(http: httpx.AsyncClient, commentary: str) -> None:
    answer = await post(http, commentary, json.dumps({"minute": 1, "message": "m", "metadata": [], "tags": {}}))
    assert {detail["message"] for detail in answer.json()["details"]} == {
        "Input should be a JSON object",
        "Input should be a JSON array",
    }


# The body of commentary


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("minute", "5"),
        ("minute", 1.5),
        ("minute", -1),
        ("minute", 2**31),
        ("minute", True),
        ("message", ""),
        ("message", None),
        ("message", "\0"),
        ("sequence", "1"),
        ("sequence", 2**31),
        ("sequence", -(2**31) - 1),
        ("period", "1.5"),
        ("period", -(2**31) - 1),
        ("period", "half"),
        ("eventType", 1),
        ("actor", None),
        ("team", None),
        ("team", "\0"),
        ("metadata", []),
        ("metadata", "{}"),
        ("metadata", None),
        ("tags", "a"),
        ("tags", {}),
    ],
)
async def test_commentary_members_are_type_checked(
    http: httpx.AsyncClient, commentary: str, member: str, value: Any
) -> None:
    answer = await http.post(commentary, json={"minute": 1, "message": "m", member: value})
    assert places(answer, "Invalid request body") == [[member]]


async def test_minute_and_message_are_required(http: httpx.AsyncClient, commentary: str) -> None:
    assert places(await http.post(commentary, json={}), "Invalid request body") == [["minute"], ["message"]]


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"tags": ["a", 1]}, ["tags", 1]),
        ({"tags": ["\0"]}, ["tags", 0]),
        ({"metadata": {"a": [{"b": "\0"}]}}, ["metadata", "a", 0, "b"]),
        ({"metadata": {"a\0": 1}}, ["metadata"]),
        ({"metadata": {"scoreDelta": 1}}, ["metadata", "scoreDelta"]),
        ({"eventType": "goal", "metadata": {"scoreDelta": {"home": -1}}}, ["metadata", "scoreDelta", "home"]),
        ({"eventType": "goal", "metadata": {"scoreDelta": {"away": "1"}}}, ["metadata", "scoreDelta", "away"]),
    ],
)
async def test_nested_error_has_its_full_path(
    http: httpx.AsyncClient, commentary: str, members: Json, place: Path
) -> None:
    answer = await http.post(commentary, json={"minute": 1, "message": "m", **members})
    assert places(answer, "Invalid request body") == [place]


async def test_number_of_reported_errors_is_bounded(http: httpx.AsyncClient, commentary: str) -> None:
    metadata = {str(number): "\0" for number in range(5_000)}
    answer = await http.post(commentary, json={"minute": 1, "message": "m", "metadata": metadata})
    assert len(places(answer, "Invalid request body")) == 20


@pytest.mark.parametrize("body", [{}, {"unknown": 1}])
@pytest.mark.parametrize("path", ["", "/commentary/1"])
async def test_empty_patch_is_refused(http: httpx.AsyncClient, service: Service, path: str, body: Json) -> None:
    match = await service.create_match()
    answer = await http.patch(f"/matches/{match['id']}{path}", json=body)
    assert places(answer, "Invalid request body") == [[]]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"status": "halftime"}, ["status"]),
        ({"status": "scheduled"}, ["status"]),
        ({"status": None}, ["status"]),
        ({"venue": ""}, ["venue"]),
        ({"leg": -1}, ["leg"]),
        ({"startTimeConfirmed": "yes"}, ["startTimeConfirmed"]),
        ({"rules": {"unknown": 1}}, ["rules", "unknown"]),
        ({"metadata": {"a": "\0"}}, ["metadata", "a"]),
        ({"homeTeam": ""}, ["homeTeam"]),
        ({"awayScore": -1}, ["awayScore"]),
        ({"startTime": "2026-02-20T15:00:00"}, ["startTime"]),
    ],
)
async def test_a_patch_is_checked_like_a_new_match(
    http: httpx.AsyncClient, service: Service, body: Json, place: Path
) -> None:
    match = await service.create_match()
    assert places(await http.patch(f"/matches/{match['id']}", json=body), "Invalid request body") == [place]


@pytest.mark.parametrize("body", [{}, {"homeScore": 1}, {"homeScore": 1, "awayScore": None}])
async def test_score_requires_both_sides(http: httpx.AsyncClient, service: Service, body: Json) -> None:
    match = await service.create_match()
    answer = await http.patch(f"/matches/{match['id']}/score", json=body)
    assert ["awayScore"] in places(answer, "Invalid request body")


# JSON


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"minute":1,}',
        "{'minute':1}",
        '{"minute":NaN,"message":"m"}',
        '{"minute":Infinity,"message":"m"}',
        '{"minute":1e999,"message":"m"}',
        '{"minute":1,"message":"\\ud800"}',
        '{"minute":1,"message":"\\udc00\\ud800"}',
        '{"minute":1,"message":"m"} x',
        '{"minute":01,"message":"m"}',
        '{"minute":1,"message":"a\nb"}',
        '{"minute":1,"message":"m","metadata":' + '{"a":' * 5_000 + "1" + "}" * 5_001,
        "[" * 5_000 + "]" * 5_000,
        b'{"minute":1,"message":"\xff"}',
        b'\xef\xbb\xbf{"minute":1,"message":"m"}',
        '{"minute":1,"message":"m"}'.encode("utf-16"),
    ],
    ids=range(17),
)
async def test_fault_13_malformed_json_gets_400(http: httpx.AsyncClient, commentary: str, content: str | bytes) -> None:
    assert places(await post(http, commentary, content), "Invalid request body") == [[]]


async def test_fault_13_deeply_nested_metadata_is_refused(http: httpx.AsyncClient, commentary: str) -> None:
    deep = '{"minute":1,"message":"m","metadata":' + '{"a":' * 40 + "1" + "}" * 41
    assert places(await post(http, commentary, deep), "Invalid request body") == [["metadata", *["a"] * 32]]


ROUTES = [
    "POST /matches",
    "POST {match}/commentary",
    "PATCH {match}",
    "PATCH {match}/score",
    "PATCH {match}/commentary/1",
]
HEADERS: list[dict[str, str]] = [
    {},
    {"Idempotency-Key": "k"},
    {"If-Match": "*"},
    {"Content-Type": "Application/Json;x=y"},
]


@pytest.mark.parametrize("levels", [40, 254, 255, 1_020, 1_024, 15_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_nesting_limit_is_the_same_for_all_routes_and_headers(
    http: httpx.AsyncClient, commentary: str, levels: int, opening: str
) -> None:
    deep = opening * levels + "1" + {"[": "]"}.get(opening, "}") * levels
    for route in ROUTES:
        method, _, path = route.format(match=commentary.removesuffix("/commentary")).partition(" ")
        for headers in HEADERS:
            sent = {"Content-Type": "application/json", **headers}
            body = f'{{"unknown":{deep},"minute":1,"message":"m","sport":"x","homeScore":1,"awayScore":1}}'
            places(await http.request(method, path, content=body, headers=sent), "Invalid request body")


@pytest.mark.parametrize("number", ["-0", "-0.0", "1e22", "18446744073709551615", "18446744073709551616", "5e-324"])
async def test_parsed_numbers_are_stored_with_and_without_an_idempotency_key(
    http: httpx.AsyncClient, commentary: str, number: str
) -> None:
    body = f'{{"minute":1,"message":"m","metadata":{{"n":{number}}},"unknown":{number}}}'
    for headers in ({}, {"Idempotency-Key": f"number{number}"}):
        answer = await http.post(commentary, content=body, headers={"Content-Type": "application/json", **headers})
        assert (answer.status_code, answer.json()["data"]["metadata"]) == (201, {"n": json.loads(number)})


async def test_error_below_a_long_key_has_a_short_path(http: httpx.AsyncClient, commentary: str) -> None:
    metadata = {"k" * 50_000: ["\0"] * 1_000}
    answer = await http.post(commentary, json={"minute": 1, "message": "m", "metadata": metadata})
    assert places(answer, "Invalid request body")[0] == ["metadata", "k" * 100, 0]
    assert len(answer.content) < 10_000


async def test_compressed_body_is_refused_naming_the_header(http: httpx.AsyncClient, commentary: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await http.post(commentary, content=gzip.compress(b'{"minute":1,"message":"m"}'), headers=headers)
    assert places(answer, "Invalid request body") == [["Content-Encoding"]]


async def test_large_numbers_are_kept_as_floats(http: httpx.AsyncClient, commentary: str) -> None:
    body = '{"minute":1.0,"message":"m","metadata":{"big":123456789012345678901234567890,"small":5e-324}}'
    made = (await post(http, commentary, body)).json()["data"]
    assert (made["minute"], made["metadata"]) == (1, {"big": 123456789012345678901234567890.0, "small": 5e-324})


async def test_last_of_repeated_members_counts(http: httpx.AsyncClient, commentary: str) -> None:
    made = (await post(http, commentary, '{"minute":"x","message":"m","minute":2}')).json()["data"]
    assert made["minute"] == 2


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json+x", ""])
async def test_body_requires_a_json_media_type(http: httpx.AsyncClient, commentary: str, media_type: str) -> None:
    content = b'{"minute":1,"message":"m"}'
    answer = await http.post(commentary, content=content, headers={"Content-Type": media_type})
    assert places(answer, "Invalid request body") == [[]]


async def test_the_media_type_may_have_parameters_and_capitals(http: httpx.AsyncClient, commentary: str) -> None:
    headers = {"Content-Type": "Application/JSON; charset=UTF-8"}
    answer = await http.post(commentary, content=b'{"minute":1,"message":"m"}', headers=headers)
    assert answer.status_code == 201


# Queries


@pytest.mark.parametrize("path", ["/matches", "/matches/1/commentary"])
@pytest.mark.parametrize("limit", ["", "0", "101", "-1", "1.5", "1e1", "abc", "%31%00", "٣", "99999999999", "true"])
async def test_limit_must_be_an_integer_from_1_to_100(http: httpx.AsyncClient, path: str, limit: str) -> None:
    assert places(await http.get(f"{path}?limit={limit}"), "Invalid query") == [["limit"]]


@pytest.mark.parametrize("query", ["limit=1&limit=1", "from=x&from=x", "cursor=1-1&cursor=1-2"])
async def test_single_valued_parameter_must_not_be_repeated(http: httpx.AsyncClient, query: str) -> None:
    assert places(await http.get(f"/matches?{query}"), "Invalid query") == [[query.partition("=")[0]]]


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("status=", ["status", 0]),
        ("status=over", ["status", 0]),
        ("status=live,", ["status", 1]),
        ("sport=", ["sport"]),
        ("sport=%00", ["sport"]),
        ("team=" + "x" * 501, ["team"]),
        ("team=%ff", []),
        ("sport=a&sport=", ["sport", 1]),
        ("status=live&status=over", ["status", 1]),
        ("from=2026-02-20T15:00:00", ["from"]),
        ("from=2026-02-20T15:00:00Z%2B01:00", ["from"]),
        ("to=yesterday", ["to"]),
        ("updatedSince=0", ["updatedSince"]),
        ("cursor=", ["cursor"]),
        ("cursor=abc", ["cursor"]),
        ("cursor=fffffffffffff-1", ["cursor"]),
        ("cursor=1-ffffffff", ["cursor"]),
    ],
)
async def test_filters_are_validated(http: httpx.AsyncClient, query: str, place: Path) -> None:
    assert places(await http.get(f"/matches?{query}"), "Invalid query") == [place]


async def test_tampered_cursor_is_refused(http: httpx.AsyncClient, service: Service) -> None:
    for _ in range(2):
        await service.create_match()
    cursor = (await http.get("/matches?limit=1")).json()["nextCursor"]
    for tampered in (cursor[:-1] + "z", cursor.replace("-", "."), cursor + "-1", cursor.upper() + "X"):
        assert places(await http.get("/matches", params={"cursor": tampered}), "Invalid query") == [["cursor"]]


async def test_unknown_parameters_are_ignored(http: httpx.AsyncClient) -> None:
    assert (await http.get("/matches?page=2&page=3&_=1")).status_code == 200


# Paths


@pytest.mark.parametrize(
    "match_id", ["0", "-1", "1.5", "abc", "01", "2147483648", "9" * 400, "%00", "%ff", "1%0A", "٣"]
)
async def test_fault_13_match_id_must_be_a_positive_int4(http: httpx.AsyncClient, match_id: str) -> None:
    requests: list[tuple[str, str, Json | None]] = [
        ("GET", "", None),
        ("GET", "/commentary", None),
        ("POST", "/commentary", {"minute": 1, "message": "m"}),
        ("PATCH", "", {"sport": "x"}),
        ("PATCH", "/score", {"homeScore": 1, "awayScore": 1}),
        ("PATCH", "/end", None),
    ]
    for method, path, body in requests:
        answer = await http.request(method, f"/matches/{match_id}{path}", json=body)
        assert places(answer, "Invalid match id") == [["id"]]


@pytest.mark.parametrize("commentary_id", ["0", "x", "2147483648"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_commentary_id_must_be_a_positive_int4(
    http: httpx.AsyncClient, commentary: str, method: str, commentary_id: str
) -> None:
    answer = await http.request(method, f"{commentary}/{commentary_id}", json={"message": "m"})
    assert places(answer, "Invalid commentary id") == [["commentaryId"]]
