"""OpenAPI and AsyncAPI match what is sent; every test that uses ``tests/support`` checks this as well."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from livescore.api import asyncapi
from livescore.event_types import EVENT_TYPES
from tests.support import validation
from tests.support.clients import Listener, Message
from tests.support.service import Service, Start
from tests.support.sse import event_stream
from tests.support.validation import Undocumented

Json = dict[str, Any]

SCORE: Json = {
    "type": "score_update",
    "seq": 2,
    "matchId": 7,
    "data": {
        "matchId": 7,
        "homeScore": 1,
        "awayScore": 0,
        "scores": [{"period": "1H", "home": 1, "away": 0}],
        "shootout": None,
        "period": "1H",
        "clock": None,
        "state": None,
        "cause": 12,
    },
}


# The AsyncAPI document


async def test_the_service_serves_the_document_that_the_command_prints(service: Service) -> None:
    async with service.client() as http:
        answer = await http.get("/asyncapi.json")
    assert answer.json() == json.loads(json.dumps(asyncapi.document()))
    assert answer.headers["content-type"] == "application/json"


def test_every_reference_of_the_document_resolves() -> None:
    references = list(references_in(asyncapi.document()))
    assert len(references) > 50
    for reference in references:
        place: Any = asyncapi.document()
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def references_in(value: Any) -> list[str]:
    if isinstance(value, list):
        return [reference for member in value for reference in references_in(member)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if "$ref" in value else []
    return own + references_in(list(value.values()))


def test_every_message_has_a_name_a_summary_and_a_place_in_a_channel() -> None:
    document = asyncapi.document()
    placed = {name for channel in document["channels"].values() for name in channel["messages"]}
    assert placed == set(document["components"]["messages"])
    for name, message in document["components"]["messages"].items():
        assert message["name"] == name
        assert message["summary"].endswith(".")


def test_operations_reference_only_messages_of_their_channel() -> None:
    document = asyncapi.document()
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        for message in operation["messages"] + operation.get("reply", {}).get("messages", []):
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


def test_every_event_type_is_described() -> None:
    assert tuple(asyncapi.EVENTS) == EVENT_TYPES
    for channel in asyncapi.document()["channels"].values():
        assert set(EVENT_TYPES) <= set(channel["messages"])


def test_every_client_message_has_its_answer() -> None:
    assert asyncapi.REPLIES.keys() == validation.message_types(sent=False)


def test_the_query_of_the_socket_is_described() -> None:
    query = asyncapi.document()["channels"]["socket"]["bindings"]["ws"]["query"]
    assert set(query["properties"]) == {"matchId", "all", "since", "epoch", "apiKey"}


def test_internal_columns_are_not_described() -> None:
    described = asyncapi.document()["components"]["schemas"]["Match"]["properties"]
    internal = {"pinned", "prunedSeq", "prunedTxid", "restoredSeq", "fold", "initialHome", "initialAway"}
    assert described.keys().isdisjoint(internal)


# Violations


@pytest.mark.parametrize(
    "message",
    [
        {**SCORE, "type": "var_review"},
        {**SCORE, "seq": 0},
        {**SCORE, "seq": "2"},
        {**SCORE, "extra": None},
        {**SCORE, "data": {**SCORE["data"], "homeScore": -1}},
        {**SCORE, "data": {"matchId": 7, "homeScore": 1}},
        {**SCORE, "data": {**SCORE["data"], "minute": 3}},
        {name: value for name, value in SCORE.items() if name != "matchId"},
        {**SCORE, "type": "commentary"},
        {"type": "subscribe", "matchId": 7},
        {"type": "welcome", "message": "Hello"},
        {"type": "error", "code": "bad_day", "message": "Sorry"},
        {"type": "subscribed", "matchId": 7, "seq": 1, "epoch": "e", "recovered": None},
        {},
        [],
        None,
    ],
)
async def test_invalid_message_is_detected(message: Any) -> None:
    assert validation.message_faults(json.dumps(message))
    with pytest.raises(Undocumented):
        validation.check_message(json.dumps(message))


def test_text_that_is_not_json_is_detected() -> None:
    assert validation.message_faults('{"type":"pong"')


def test_valid_message_passes() -> None:
    validation.check_message(json.dumps(SCORE))


def test_message_of_another_channel_is_detected() -> None:
    pong = json.dumps({"type": "pong"})
    validation.check_message(pong)
    with pytest.raises(Undocumented):
        validation.check_message(pong, "matchStream")


async def test_listener_fails_on_an_invalid_message(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.clients.message_faults", lambda _: ("not as documented",))
    with pytest.raises(Undocumented):
        async with Listener(service.ws_url):
            pass


def answer(status: int, content: Any, path: str = "/matches/7", **headers: str) -> httpx.Response:
    body = {"json": content} if not isinstance(content, bytes) else {"content": content}
    request = httpx.Request("GET", f"http://test{path}")
    return httpx.Response(status, headers=headers, request=request, **body)


@pytest.mark.parametrize(
    "wrong",
    [
        answer(200, {"data": {"id": 7}}),
        answer(200, {"data": []}, "/matches"),
        answer(200, {"detail": "Not Found"}, "/matches"),
        answer(404, {"detail": "Not Found"}),
        answer(404, {"error": "gone", "why": "?"}),
        answer(418, {"error": "teapot"}),
        answer(500, {"error": "Internal server error"}),
        answer(422, {"error": "Invalid"}),
        answer(404, b"<html>", "/nowhere", **{"content-type": "text/html"}),
        answer(200, {}, "/nowhere"),
        answer(404, {"error": "Not found"}, "/matches/7/commentary"),
        answer(304, b"body"),
        answer(200, {"data": [{**SCORE, "data": {}}], "seq": 2, "epoch": "e", "recovered": True}, "/matches/7/events"),
    ],
)
async def test_invalid_response_is_detected(wrong: httpx.Response) -> None:
    with pytest.raises(Undocumented):
        await validation.check_answer(wrong)


@pytest.mark.parametrize(
    "right",
    [
        answer(404, {"error": "Match not found"}),
        answer(404, {"error": "Not found"}, "/nowhere"),
        answer(405, {"error": "Method not allowed"}),
        answer(304, b""),
        answer(200, {"data": [], "nextCursor": None}, "/matches"),
        answer(200, {"data": [], "nextCursor": None}, "/api/matches"),
        answer(200, {"data": [SCORE], "seq": 2, "epoch": "e", "recovered": True}, "/matches/7/events"),
    ],
)
async def test_valid_response_passes(right: httpx.Response) -> None:
    await validation.check_answer(right)


# Completeness


class Conversation(Listener):
    """A listener that also validates and records the messages it sends."""

    def __init__(self, *urls: str, **options: Any) -> None:
        super().__init__(*urls, **options)
        self.said: set[str] = set()

    async def send(self, message: Message | str | bytes) -> None:
        if isinstance(message, dict):
            assert validation.message_faults(json.dumps(message), sent=False) == ()
            self.said.add(message["type"])
        await super().send(message)


async def test_every_documented_message_is_sent(start: Start) -> None:
    api = await start("api")
    async with Conversation(api.ws_url) as talk:
        match_id = await every_event(api, lambda match_id: talk.subscribe(match_id))
        async with api.client() as http:
            match = (await http.get(f"/matches/{match_id}")).json()["data"]
        await talk.until_seq(match_id, match["seq"])
        await talk.subscribe(match_id, since=1_000, epoch="another")
        await talk.next("snapshot")
        await talk.unsubscribe(match_id)
        await talk.ask({"type": "setSubscriptions", "matchIds": [match_id]}, "subscriptions")
        await talk.ask({"type": "subscribeAll"}, "subscribedAll")
        await talk.ask({"type": "unsubscribeAll"}, "unsubscribedAll")
        await talk.ask({"type": "ping"}, "pong")
        await talk.send("not JSON")
        await talk.next("error")
        await drain(api)
        await talk.next("reconnect")
    assert {message["type"] for message in talk.log} == validation.message_types()
    assert talk.said == validation.message_types(sent=False)


async def every_event(api: Service, listen: Callable[[int], Any]) -> int:
    """Create a match with an event of each type; ``listen`` is called before the second event."""
    match_id: int = (await api.create_match())["id"]
    await listen(match_id)
    path = f"/matches/{match_id}"
    await api.comment(match_id, eventType="period_start", periodCode="1H")
    goal = await api.comment(match_id, eventType="goal", metadata={"scoreDelta": {"home": 1, "away": 0}})
    async with api.client() as http:
        for method, place, body in (
            ("PATCH", f"{path}/commentary/{goal['id']}", {"message": "what a goal"}),
            ("DELETE", f"{path}/commentary/{goal['id']}", None),
            ("PATCH", path, {"sport": "futsal"}),
            ("PATCH", f"{path}/score", {"homeScore": 2, "awayScore": 2}),
            ("PATCH", f"{path}/end", None),
        ):
            (await http.request(method, place, json=body)).raise_for_status()
    return match_id


async def drain(api: Service) -> None:
    async with httpx.AsyncClient(base_url=api.management_url, verify=False) as http:
        (await http.post("/drain")).raise_for_status()


async def test_both_streams_send_documented_messages(service: Service) -> None:
    received: dict[str, set[str]] = {"matchStream": set(), "stream": set()}
    match_id = (await service.create_match())["id"]
    async with service.client() as http, asyncio.timeout(30):
        async with (
            event_stream(http, f"/matches/{match_id}/events/stream", params={"since": 0}) as one,
            event_stream(http, "/events/stream") as all_,
        ):
            received["matchStream"] |= {(await anext(one)).json()["type"], (await anext(one)).json()["type"]}
            received["stream"].add((await anext(all_)).json()["type"])
            await service.comment(match_id)
            received["matchStream"].add((await anext(one)).json()["type"])
            while "commentary" not in received["stream"]:
                received["stream"].add((await anext(all_)).json()["type"])
        async with event_stream(http, f"/matches/{match_id}/events/stream", params={"since": 99}) as ahead:
            received["matchStream"] |= {(await anext(ahead)).json()["type"], (await anext(ahead)).json()["type"]}
    assert received["matchStream"] == {"subscribed", "match_created", "commentary", "snapshot"}
    assert received["stream"] >= {"subscribedAll", "commentary"}


@pytest.mark.parametrize("query", ["matchId=1&matchId=2&since=0", "all=1", "matchId=1&epoch=x&since=1&apiKey=none"])
async def test_documented_query_is_accepted(service: Service, query: str) -> None:
    await service.create_match()
    async with asyncio.timeout(30), connect(f"{service.ws_url}?{query}", proxy=None) as socket:
        kinds: list[str] = []
        while not kinds or not kinds[-1].startswith("subscribed"):
            text = await socket.recv(decode=True)
            validation.check_message(text)
            kinds.append(json.loads(text)["type"])
    assert kinds[0] == "welcome"
