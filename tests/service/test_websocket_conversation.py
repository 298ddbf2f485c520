"""Client messages on ``/ws`` and the server's responses."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from livescore.scores.rules import INT4_MAX
from tests.support.clients import Listener, Message, all_reach, announced_match
from tests.support.raw_websocket import BINARY, TEXT, frame, raw_websocket
from tests.support.service import Service, Start

INVALID_JSON = {"type": "error", "code": "invalid_json", "message": "Invalid JSON"}
PING = {"type": "ping"}


async def _barrier(listener: Listener) -> list[Message]:
    """Return the responses to everything sent so far; responses keep the order of requests."""
    start = len(listener.log)
    await listener.ask(PING, "pong")
    return [message for message in listener.log[start:] if message["type"] not in ("pong", "match_created")]


async def test_welcome_matches_the_original(service: Service) -> None:
    async with connect(service.ws_url, compression=None, proxy=None) as websocket:
        assert await websocket.recv() == json.dumps(
            {"type": "welcome", "message": "Connected to Live Score API", "instance": "shared"}, separators=(",", ":")
        )


async def test_websocket_is_also_served_below_api(service: Service) -> None:
    async with Listener(service.ws_url.replace("/ws", "/api/ws")) as listener:
        assert listener.log[0]["type"] == "welcome"


async def test_compression_is_not_negotiated(service: Service) -> None:
    """Compression would more than double the memory of a connection."""
    async with connect(service.ws_url, compression="deflate", proxy=None) as websocket:
        assert websocket.response is not None
        assert "Sec-WebSocket-Extensions" not in websocket.response.headers


async def test_subscribe_and_unsubscribe_are_acknowledged(service: Service) -> None:
    match = await service.create_match()
    async with Listener(service.ws_url) as listener:
        subscribed = await listener.subscribe(match["id"])
        assert subscribed == {"type": "subscribed", "matchId": match["id"], "seq": 1, "epoch": subscribed["epoch"]}
        assert await listener.unsubscribe(match["id"]) == {"type": "unsubscribed", "matchId": match["id"]}


async def test_unknown_match_can_be_followed(service: Service) -> None:
    async with Listener(service.ws_url) as listener:
        assert (await listener.subscribe(INT4_MAX))["seq"] == 0
        assert (await listener.unsubscribe(INT4_MAX))["matchId"] == INT4_MAX


async def test_unsubscribe_without_a_subscription_is_acknowledged(service: Service) -> None:
    async with Listener(service.ws_url) as listener:
        assert (await listener.unsubscribe(7))["matchId"] == 7


async def test_no_event_arrives_after_unsubscribe(service: Service) -> None:
    match = await service.create_match()
    async with Listener(service.ws_url) as stays, Listener(service.ws_url) as leaves:
        for listener in (stays, leaves):
            await listener.subscribe(match["id"])
        await leaves.unsubscribe(match["id"])
        await service.comment(match["id"])
        await stays.until_seq(match["id"], 2)
        assert await _barrier(leaves) == []
        assert not leaves.of_type("commentary")


@pytest.mark.parametrize(
    "message",
    [
        {"type": "shout"},
        {"type": "subscribed", "matchId": 7},
        {"type": None},
        {"type": ["subscribe"], "matchId": 7},
        {"matchId": 7},
        {},
        [],
        "subscribe",
        7,
        None,
        True,
    ],
)
async def test_unknown_message_gets_an_error_and_keeps_the_socket_open(service: Service, message: Any) -> None:
    async with Listener(service.ws_url) as listener:
        for data in (json.dumps(message), json.dumps(message).encode()):
            await listener.send(data)
            (error,) = await _barrier(listener)
            assert (error["type"], error["code"]) == ("error", "invalid_message")
            assert "type" in error["message"]


@pytest.mark.parametrize("match_id", ["7", 7.5, None, True, False, [7], {"id": 7}, "", "abc"])
@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
async def test_non_integer_match_id_is_named(service: Service, kind: str, match_id: Any) -> None:
    async with Listener(service.ws_url) as listener:
        await listener.send({"type": kind, "matchId": match_id})
        await listener.send({"type": kind})
        errors = await _barrier(listener)
        assert [error["code"] for error in errors] == ["invalid_message"] * 2
        assert all(error["message"].startswith("matchId ") for error in errors)


@pytest.mark.parametrize("member", [{"since": 3}, {"since": 0, "epoch": "abc"}])
async def test_non_resumable_subscription_is_reported(service: Service, member: dict[str, Any]) -> None:
    async with Listener(service.ws_url) as listener:
        for kind, more in (("setSubscriptions", {"matchIds": [7]}), ("subscribeAll", {})):
            await listener.send({"type": kind, **more, **member})
            *errors, acknowledged = await _barrier(listener)
            assert [error["message"] for error in errors] == [
                f"{name} cannot be used with {kind}: only subscribe resumes" for name in member
            ]
            assert acknowledged["type"] in ("subscriptions", "subscribedAll")


@pytest.mark.parametrize("text", ["7.0", "7", "70e-1", "0.7e1"])
async def test_integer_with_a_zero_fraction_is_accepted(service: Service, text: str) -> None:
    """Integers as defined by JavaScript's Number.isInteger."""
    async with Listener(service.ws_url) as listener:
        await listener.send(f'{{"type":"subscribe","matchId":{text}}}')
        assert (await listener.next("subscribed"))["matchId"] == 7


@pytest.mark.parametrize("match_id", [0, -1, INT4_MAX + 1, 2**63, 1e300])
async def test_a_match_id_out_of_range_is_an_invalid_message(service: Service, match_id: float) -> None:
    async with Listener(service.ws_url) as listener:
        for kind in ("subscribe", "unsubscribe"):
            error = await listener.ask({"type": kind, "matchId": match_id}, "error")
            assert error["code"] == "invalid_message"


@pytest.mark.parametrize("since", ["1", 1.5, -1, True, [], INT4_MAX + 1])
async def test_invalid_since_is_an_invalid_message(service: Service, since: Any) -> None:
    async with Listener(service.ws_url) as listener:
        error = await listener.ask({"type": "subscribe", "matchId": 7, "since": since}, "error")
        assert error["code"] == "invalid_message"
        assert "since" in error["message"]


@pytest.mark.parametrize("epoch", [1, [], {}, True])
async def test_non_string_epoch_is_an_invalid_message(service: Service, epoch: Any) -> None:
    async with Listener(service.ws_url) as listener:
        error = await listener.ask({"type": "subscribe", "matchId": 7, "since": 0, "epoch": epoch}, "error")
        assert error["code"] == "invalid_message"


@pytest.mark.parametrize("text", ["", "not json", "{", '{"type":}', "{'type':'ping'}", "NaN", "\x00", "ping"])
async def test_text_that_is_not_json_is_an_error(service: Service, text: str) -> None:
    async with Listener(service.ws_url) as listener:
        await listener.send(text)
        assert await listener.next("error") == INVALID_JSON


async def test_binary_messages_are_read_like_text(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(frame(BINARY, b"\x00\x01\x02")) == INVALID_JSON
        assert await client.ask(frame(BINARY, b'{"type":"ping"}')) == {"type": "pong"}


async def test_deep_nesting_is_an_invalid_message(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        assert await client.ask(frame(TEXT, b"[" * 100_000 + b"]" * 100_000)) == INVALID_JSON
        assert await client.ask(frame(TEXT, b'{"type":"ping"}')) == {"type": "pong"}


async def test_ping_is_answered_by_pong(service: Service) -> None:
    async with Listener(service.ws_url) as listener:
        assert await listener.ask(PING, "pong") == {"type": "pong"}


async def test_a_frame_over_one_mib_closes_with_1009(service: Service) -> None:
    async with Listener(service.ws_url) as listener:
        with suppress(ConnectionClosed):
            await listener.send("x" * 1_048_577)
        assert await listener.until_closed() == 1009


# Many matches


async def test_set_subscriptions_replaces_subscriptions(service: Service) -> None:
    first, second, third = [(await service.create_match())["id"] for _ in range(3)]
    async with Listener(service.ws_url) as listener:
        await listener.subscribe(first)
        await listener.subscribe(second)
        answer = await listener.ask({"type": "setSubscriptions", "matchIds": [second, third]}, "subscriptions")
        assert answer["matchIds"] == [second, third]
        assert answer["seq"] == {str(second): 1, str(third): 1}
        assert answer["epoch"]
        for match_id in (first, second, third):
            await service.comment(match_id)
        await listener.until_seq(second, 2)
        await listener.until_seq(third, 2)
        await _barrier(listener)
        assert [event["matchId"] for event in listener.of_type("commentary")] == [second, third]


async def test_empty_set_subscriptions_ends_all(service: Service) -> None:
    match = await service.create_match()
    async with Listener(service.ws_url) as listener, Listener(service.ws_url) as witness:
        await listener.subscribe(match["id"])
        await witness.subscribe(match["id"])
        assert (await listener.ask({"type": "setSubscriptions", "matchIds": []}, "subscriptions"))["matchIds"] == []
        await service.comment(match["id"])
        await witness.until_seq(match["id"], 2)
        await _barrier(listener)
        assert not listener.of_type("commentary")


@pytest.mark.parametrize("match_ids", [None, 7, "7", {"7": 7}, [7, "8"], [7.5], [True], [None], [0], [-1], [2**31]])
async def test_invalid_match_list_is_an_invalid_message(service: Service, match_ids: Any) -> None:
    async with Listener(service.ws_url) as listener:
        error = await listener.ask({"type": "setSubscriptions", "matchIds": match_ids}, "error")
        assert error["code"] == "invalid_message"


async def test_repeated_match_is_followed_once(service: Service) -> None:
    match = await service.create_match()
    async with Listener(service.ws_url) as listener:
        message = {"type": "setSubscriptions", "matchIds": [match["id"], float(match["id"]), match["id"]]}
        assert (await listener.ask(message, "subscriptions"))["matchIds"] == [match["id"]]
        await service.comment(match["id"])
        await listener.until_seq(match["id"], 2)
        await _barrier(listener)
        assert len(listener.of_type("commentary")) == 1


async def test_subscribe_all_receives_every_match_once(service: Service) -> None:
    before = await announced_match(service)
    async with Listener(service.ws_url) as listener:
        await listener.subscribe(before["id"])
        assert await listener.ask({"type": "subscribeAll"}, "subscribedAll") == {"type": "subscribedAll"}
        assert await listener.ask({"type": "subscribeAll"}, "subscribedAll") == {"type": "subscribedAll"}
        later = await service.create_match()
        for match_id in (before["id"], later["id"], before["id"]):
            await service.comment(match_id)
        await listener.until_seq(before["id"], 3)
        await listener.until_seq(later["id"], 2)
        await _barrier(listener)
        assert [event["seq"] for event in listener.events(before["id"])] == [2, 3]
        assert [event["seq"] for event in listener.events(later["id"])] == [1, 2]


async def test_unsubscribe_all_ends_all_subscriptions(service: Service) -> None:
    match = await service.create_match()
    async with Listener(service.ws_url) as listener, Listener(service.ws_url) as witness:
        await witness.subscribe(match["id"])
        for message, answer in (({"type": "subscribeAll"}, "subscribedAll"), (_follow(match["id"]), "subscribed")):
            await listener.ask(message, answer)
            end = await listener.ask({"type": "unsubscribeAll"}, "unsubscribedAll")
            assert end == {"type": "unsubscribedAll"}
        await service.comment(match["id"])
        await witness.until_seq(match["id"], 2)
        await _barrier(listener)
        assert not listener.of_type("commentary")


async def test_single_subscriptions_work_after_unsubscribe_all(service: Service) -> None:
    first, second = [(await service.create_match())["id"] for _ in range(2)]
    async with Listener(f"{service.ws_url}?all=1") as listener:
        await listener.next("subscribedAll")
        await listener.ask({"type": "setSubscriptions", "matchIds": [second]}, "subscriptions")
        await service.comment(first)
        await service.comment(second)
        await listener.until_seq(second, 2)
        await _barrier(listener)
        assert [event["matchId"] for event in listener.of_type("commentary")] == [second]


async def test_single_subscription_in_addition_to_all_receives_events_once(service: Service) -> None:
    match = await service.create_match()
    async with Listener(f"{service.ws_url}?all=1") as listener:
        await listener.next("subscribedAll")
        assert (await listener.subscribe(match["id"]))["seq"] == 1
        await service.comment(match["id"])
        await listener.until_seq(match["id"], 2)
        await _barrier(listener)
        assert len(listener.of_type("commentary")) == 1


def _follow(match_id: int, **more: Any) -> Message:
    return {"type": "subscribe", "matchId": match_id, **more}


# Subscriptions in the URL


async def test_url_may_name_matches(service: Service) -> None:
    first, second = [(await service.create_match())["id"] for _ in range(2)]
    async with Listener(f"{service.ws_url}?matchId={first}&matchId={second}") as listener:
        await listener.until(lambda log: sum(message["type"] == "subscribed" for message in log) == 2)
        assert [message["matchId"] for message in listener.of_type("subscribed")] == [first, second]
        await service.comment(first)
        await service.comment(second)
        await all_reach([listener], first, 2)
        await all_reach([listener], second, 2)


async def test_url_may_contain_since(service: Service) -> None:
    match = await announced_match(service)
    for _ in range(3):
        await service.comment(match["id"])
    async with Listener(f"{service.ws_url}?matchId={match['id']}&since=2") as listener:
        subscribed = await listener.next("subscribed")
        assert (subscribed["seq"], subscribed["recovered"]) == (4, True)
        await listener.until_seq(match["id"], 4)
        assert [event["seq"] for event in listener.events(match["id"])] == [3, 4]
    async with Listener(f"{service.ws_url}?matchId={match['id']}&since=2&epoch=another") as listener:
        assert (await listener.next("subscribed"))["recovered"] is False


async def test_url_may_name_the_maximum_number_of_matches(service: Service) -> None:
    """Subscriptions in the URL do not use tokens of the bucket."""
    query = "&".join(f"matchId={match_id}" for match_id in range(1, 51))
    async with Listener(f"{service.ws_url}?{query}") as listener:
        await listener.until(lambda log: sum(message["type"] == "subscribed" for message in log) == 50)
        assert not listener.of_type("error")
        assert (await listener.ask(_follow(51), "error"))["code"] == "too_many_subscriptions"


async def test_url_may_subscribe_to_all(service: Service) -> None:
    match = await service.create_match()
    async with Listener(f"{service.ws_url}?all=1") as listener:
        await listener.next("subscribedAll")
        await service.comment(match["id"])
        await listener.until_seq(match["id"], 2)


@pytest.mark.parametrize(
    ("query", "members"),
    [
        ("matchId=abc", ["matchId"]),
        ("matchId=", ["matchId"]),
        ("matchId=7.5", ["matchId"]),
        ("matchId=%FF", ["matchId"]),
        ("matchId=abc&matchId=x", ["matchId", "matchId"]),
        ("all=yes", ["all"]),
        ("all=", ["all"]),
        ("all=1&all=1", ["all"]),
        ("since=5", ["since"]),
        ("matchId=7&since=1&since=2", ["since"]),
        ("matchId=7&since=", ["since"]),
        ("matchId=7&epoch=a&epoch=b", ["epoch"]),
    ],
)
async def test_invalid_query_gets_an_error_naming_the_parameter(
    service: Service, query: str, members: list[str]
) -> None:
    async with Listener(f"{service.ws_url}?{query}") as listener:
        await listener.ask(PING, "pong")
        errors = listener.of_type("error")
        assert [error["message"].split()[0] for error in errors] == members
        assert {error["code"] for error in errors} == {"invalid_message"}
        assert not listener.of_type("subscribed")
        assert (await listener.subscribe(7))["matchId"] == 7


async def test_since_with_all_is_refused(service: Service) -> None:
    async with Listener(f"{service.ws_url}?all=1&since=5") as listener:
        await listener.ask(PING, "pong")
        assert [error["message"] for error in listener.of_type("error")] == ["since cannot be used with all"]
        assert listener.of_type("subscribedAll")


@pytest.mark.parametrize("query", ["x=1", "%zz=1"])
async def test_unknown_query_parameters_are_ignored(service: Service, query: str) -> None:
    async with Listener(f"{service.ws_url}?{query}") as listener:
        await listener.ask(PING, "pong")
        assert [message["type"] for message in listener.log if message["type"] != "match_created"] == [
            "welcome",
            "pong",
        ]


@pytest.mark.parametrize("query", ["matchId=0", "matchId=2147483648", "matchId=99999999999999", "matchId=7&since=x"])
async def test_out_of_range_query_is_an_error_message_not_a_refusal(service: Service, query: str) -> None:
    async with Listener(f"{service.ws_url}?{query}") as listener:
        await listener.ask(PING, "pong")
        codes = [message["code"] for message in listener.of_type("error")]
        assert codes in ([], ["invalid_message"])
        assert not listener.of_type("subscribed")


# Limits


async def test_more_than_50_single_subscriptions_are_refused(service: Service) -> None:
    async with Listener(service.ws_url) as listener:
        many = {"type": "setSubscriptions", "matchIds": list(range(1, 52))}
        assert (await listener.ask(many, "error"))["code"] == "too_many_subscriptions"
        most = {"type": "setSubscriptions", "matchIds": list(range(1, 51))}
        assert len((await listener.ask(most, "subscriptions"))["matchIds"]) == 50
        error = await listener.ask(_follow(51), "error")
        assert error["code"] == "too_many_subscriptions"
        assert "subscribeAll" in error["message"]
        assert (await listener.subscribe(50))["matchId"] == 50
        await listener.unsubscribe(50)
        assert (await listener.subscribe(51))["matchId"] == 51


async def test_21st_message_of_a_burst_is_refused_and_the_bucket_refills(start: Start) -> None:
    api = await start("api", INBOUND_PER_SECOND="2")
    async with raw_websocket(api.port) as client:
        await client.send(frame(TEXT, b'{"type":"ping"}') * 25)
        answers = [await client.answer() for _ in range(25)]
        assert sum(answer["type"] == "pong" for answer in answers) == 20
        errors = [answer for answer in answers if answer["type"] == "error"]
        assert [error["code"] for error in errors] == ["rate_limited"] * 5
        for _ in range(50):
            if (await client.ask(frame(TEXT, b'{"type":"ping"}')))["type"] == "pong":
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail("the bucket does not refill")


async def test_invalid_messages_use_tokens(service: Service) -> None:
    async with raw_websocket(service.port) as client:
        await client.send(frame(TEXT, b'{"type":"nothing"}') * 21)
        codes = [(await client.answer())["code"] for _ in range(21)]
        assert sorted(codes) == ["invalid_message"] * 20 + ["rate_limited"]
