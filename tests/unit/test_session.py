"""The conversation alone: the token bucket, the order of responses, and bounds on queued work."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from livescore.live import connection as connections
from livescore.live import session
from livescore.live.connection import State
from livescore.live.realtime_server import RealtimeServer
from livescore.scores.database import DatabaseAway

BURST = 5
PING = b'{"type":"ping"}'


class Clock:
    """A clock that only the test advances."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(connections, "monotonic", lambda: self.now)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Client:
    """A connection that records the messages sent to it."""

    def __init__(self) -> None:
        self.state = State("192.0.2.1", BURST)
        self.open = True
        self.sent: list[dict[str, Any]] = []

    def send(self, message: bytes) -> None:
        self.sent.append(json.loads(message))


class Room:
    """The part of a server that the conversation needs; subscriptions block until they are released."""

    def __init__(self, error: Exception | None = None) -> None:
        self.settings = SimpleNamespace(inbound_burst=BURST, inbound_per_second=1.0, max_subscriptions=3)
        self.epoch = "e"
        self.hub = SimpleNamespace(last_match=None, match_feeds={})
        self.go = asyncio.Event()
        self.subscribed: list[tuple[int, int | None]] = []
        self._error = error
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

    async def subscribe(self, _: Any, match_id: int, since: int | None, epoch: str | None) -> None:
        await self.go.wait()
        if self._error is not None:
            raise self._error
        self.subscribed.append((match_id, since))


def _subscribe(match_id: object, **more: object) -> bytes:
    return json.dumps({"type": "subscribe", "matchId": match_id, **more}).encode()


def _hear(room: Room, client: Client, data: bytes, *, free: bool = False) -> None:
    take = session.take if free else session.receive
    take(cast(RealtimeServer, room), cast(connections.Connection, client), data)


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _codes(client: Client) -> list[str]:
    return [message.get("code", message["type"]) for message in client.sent]


# The bucket


def test_bucket_allows_a_burst_and_refills(clock: Clock) -> None:
    state = State("192.0.2.1", 3)
    assert [state.take_token(3, 2.0) for _ in range(4)] == [True, True, True, False]
    clock.now += 0.5
    assert [state.take_token(3, 2.0) for _ in range(2)] == [True, False]
    clock.now += 3_600
    assert [state.take_token(3, 2.0) for _ in range(4)] == [True, True, True, False]


def test_refused_message_uses_no_tokens(clock: Clock) -> None:
    state = State("192.0.2.1", 1)
    assert state.take_token(1, 1.0)
    for _ in range(10):
        clock.now += 0.09
        state.take_token(1, 1.0)
    clock.now += 0.11
    assert state.take_token(1, 1.0)


async def test_messages_over_the_burst_are_refused_and_ignored() -> None:
    room, client = Room(), Client()
    for _ in range(BURST + 2):
        _hear(room, client, PING)
    await _settle()
    assert sorted(_codes(client)) == ["pong"] * BURST + ["rate_limited"] * 2


async def test_subscriptions_in_the_url_use_no_tokens() -> None:
    room, client = Room(), Client()
    for _ in range(BURST + 10):
        _hear(room, client, PING, free=True)
    await _settle()
    assert _codes(client) == ["pong"] * (BURST + 10)


# Order and bounds


async def test_responses_keep_the_order_of_requests() -> None:
    room, client = Room(), Client()
    _hear(room, client, _subscribe(7, since=3))
    _hear(room, client, PING)
    await _settle()
    assert client.sent == []
    room.go.set()
    await _settle()
    assert (room.subscribed, _codes(client)) == ([(7, 3)], ["pong"])
    assert client.state.inbox is None


async def test_requests_waiting_for_the_database_are_bounded() -> None:
    room, client = Room(), Client()
    for _ in range(session.MAX_WAITING + 5):
        _hear(room, client, _subscribe(7), free=True)
    await _settle()
    assert _codes(client) == ["rate_limited"] * 5
    room.go.set()
    await _settle()
    await _settle()
    assert client.state.inbox is None or len(client.state.inbox) < session.MAX_WAITING


async def test_queued_work_of_a_closed_connection_is_dropped() -> None:
    room, client = Room(), Client()
    _hear(room, client, _subscribe(7))
    _hear(room, client, _subscribe(8))
    await _settle()
    client.open = False
    room.go.set()
    await _settle()
    assert [match_id for match_id, _ in room.subscribed] == [7]
    assert client.state.inbox is None


async def test_client_gets_an_error_without_the_database_and_can_continue() -> None:
    room, client = Room(DatabaseAway("gone")), Client()
    room.go.set()
    _hear(room, client, _subscribe(7))
    _hear(room, client, PING)
    await _settle()
    assert _codes(client) == ["unavailable", "pong"]


async def test_unexpected_error_does_not_block_a_socket() -> None:
    room, client = Room(ZeroDivisionError()), Client()
    room.go.set()
    _hear(room, client, _subscribe(7))
    await _settle()
    _hear(room, client, PING)
    await _settle()
    assert _codes(client) == ["pong"]


# Integers


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("7.0", 7), ("7e0", 7), ("0.7e1", 7)])
async def test_integers_follow_javascript(text: str, number: int) -> None:
    room, client = Room(), Client()
    room.go.set()
    _hear(room, client, f'{{"type":"subscribe","matchId":{text}}}'.encode())
    await _settle()
    assert room.subscribed == [(number, None)]


@pytest.mark.parametrize("text", ["7.5", '"7"', "true", "null", "[7]", "{}"])
async def test_non_integers_are_named(text: str) -> None:
    room, client = Room(), Client()
    room.go.set()
    _hear(room, client, f'{{"type":"subscribe","matchId":{text}}}'.encode())
    await _settle()
    assert (room.subscribed, _codes(client)) == ([], ["invalid_message"])
    assert client.sent[0]["message"].startswith("matchId ")


@pytest.mark.parametrize(
    ("message", "member"),
    [
        ("[]", "object"),
        ("7", "object"),
        ("null", "object"),
        ('"ping"', "object"),
        ("{}", "type"),
        ('{"type":"shout"}', "type"),
        ('{"type":["ping"]}', "type"),
        ('{"type":"Ping"}', "type"),
        ('{"type":"subscribe"}', "matchId"),
        ('{"type":"unsubscribe","matchid":7}', "matchId"),
        ('{"type":"subscribe","matchId":7,"since":"1"}', "since"),
        ('{"type":"subscribe","matchId":7,"since":1.5}', "since"),
        ('{"type":"subscribe","matchId":7,"since":true}', "since"),
        ('{"type":"subscribe","matchId":7,"since":-1}', "since"),
        ('{"type":"subscribe","matchId":7,"epoch":1}', "epoch"),
        ('{"type":"setSubscriptions"}', "matchIds"),
        ('{"type":"setSubscriptions","matchIds":7}', "matchIds"),
        ('{"type":"setSubscriptions","matchIds":{"0":7}}', "matchIds"),
        ('{"type":"setSubscriptions","matchIds":[7,"8"]}', "matchIds[1]"),
        ('{"type":"setSubscriptions","matchIds":[7,8,0]}', "matchIds[2]"),
        ('{"type":"ping","deep":' + "[" * 300 + "]" * 300 + "}", "nested"),
    ],
)
async def test_invalid_message_names_the_member(message: str, member: str) -> None:
    room, client = Room(), Client()
    room.go.set()
    _hear(room, client, message.encode())
    _hear(room, client, PING)
    await _settle()
    assert (room.subscribed, _codes(client)) == ([], ["invalid_message", "pong"])
    assert member in client.sent[0]["message"]


@pytest.mark.parametrize("text", ["", "{", "NaN", "[" * 2_000, "\ufeff{}", '{"type":"\\ud800"}'])
async def test_malformed_json_is_reported(text: str) -> None:
    room, client = Room(), Client()
    _hear(room, client, text.encode())
    await _settle()
    assert client.sent == [{"type": "error", "code": "invalid_json", "message": "Invalid JSON"}]


@pytest.mark.parametrize("text", ["0", "-1", "2147483648", "1e300", "-0.0", "99999999999999999999"])
async def test_an_integer_out_of_range_is_named(text: str) -> None:
    room, client = Room(), Client()
    room.go.set()
    _hear(room, client, f'{{"type":"subscribe","matchId":{text}}}'.encode())
    await _settle()
    assert (room.subscribed, _codes(client)) == ([], ["invalid_message"])
    assert "matchId" in client.sent[0]["message"]


# Queued work


async def test_bytes_waiting_for_the_database_are_bounded() -> None:
    room, client = Room(), Client()
    large = b'{"type":"ping","x":"' + b"x" * (session.MAX_WAITING_BYTES // 2) + b'"}'
    _hear(room, client, large, free=True)
    _hear(room, client, large, free=True)
    _hear(room, client, PING, free=True)
    assert _codes(client) == ["rate_limited"]
    await _settle()
    assert _codes(client) == ["rate_limited", "pong", "pong"]


@pytest.mark.parametrize("listed", [[7] * 31, list(range(1, 32)), [None] * 31, list(range(100_000))])
async def test_overlong_list_is_refused_without_parsing_its_items(listed: list[int]) -> None:
    room, client = Room(), Client()
    _hear(room, client, json.dumps({"type": "setSubscriptions", "matchIds": listed}).encode())
    await _settle()
    assert _codes(client) == ["too_many_subscriptions"]


def test_expensive_messages_use_more_tokens_with_bounded_debt(clock: Clock) -> None:
    state = State("192.0.2.1", BURST)
    state.charge(2, BURST)
    assert [state.take_token(BURST, 1.0) for _ in range(BURST)] == [True] * 3 + [False] * 2
    state.charge(1_000, BURST)
    clock.now += BURST + 1
    assert state.take_token(BURST, 1.0)
