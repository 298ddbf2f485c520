"""The conversation alone: rate limit, order of answers, bounds on what waits, and invalid messages."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from livescore.live import connection as connection_module
from livescore.live import session
from livescore.live.connection import Connection, ConnectionState
from livescore.live.realtime_server import RealtimeServer
from livescore.scores.database import DatabaseAway
from tests.support.clock import settle

BURST = 5
PING = b'{"type":"ping"}'


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(connection_module, "monotonic", lambda: self.now)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Client:
    """A connection that keeps the messages sent to it."""

    def __init__(self) -> None:
        self.state = ConnectionState("192.0.2.1", BURST)
        self.open = True
        self.sent: list[dict[str, Any]] = []

    def send(self, message: bytes) -> None:
        self.sent.append(json.loads(message))


class Server:
    """As much of a server as a conversation uses; subscriptions wait until ``go`` is set."""

    def __init__(self, error: Exception | None = None) -> None:
        self.settings = SimpleNamespace(inbound_burst=BURST, inbound_per_second=1.0, max_subscriptions=3)
        self.epoch = "e"
        self.feeds = SimpleNamespace(announcements=SimpleNamespace(last=None))
        self.subscriptions = self.supervisor = self
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


def _receive(server: Server, client: Client, data: bytes, *, unlimited: bool = False) -> None:
    take = session.take if unlimited else session.receive
    take(cast(RealtimeServer, server), cast(Connection, client), data)


def _codes(client: Client) -> list[str]:
    return [message.get("code", message["type"]) for message in client.sent]


# The bucket


def test_a_bucket_lets_a_burst_through_and_refills(clock: Clock) -> None:
    state = ConnectionState("192.0.2.1", 3)
    assert [state.take_token(3, 2.0) for _ in range(4)] == [True, True, True, False]
    clock.now += 0.5
    assert [state.take_token(3, 2.0) for _ in range(2)] == [True, False]
    clock.now += 3_600
    assert [state.take_token(3, 2.0) for _ in range(4)] == [True, True, True, False]


def test_a_refused_message_takes_no_token(clock: Clock) -> None:
    state = ConnectionState("192.0.2.1", 1)
    assert state.take_token(1, 1.0)
    for _ in range(10):
        clock.now += 0.09
        state.take_token(1, 1.0)
    clock.now += 0.11
    assert state.take_token(1, 1.0)


async def test_messages_beyond_the_burst_are_refused_and_not_handled() -> None:
    server, client = Server(), Client()
    for _ in range(BURST + 2):
        _receive(server, client, PING)
    await settle()
    assert sorted(_codes(client)) == ["pong"] * BURST + ["rate_limited"] * 2


async def test_messages_of_the_handshake_query_take_no_token() -> None:
    server, client = Server(), Client()
    for _ in range(BURST + 10):
        _receive(server, client, PING, unlimited=True)
    await settle()
    assert _codes(client) == ["pong"] * (BURST + 10)


# Order and bounds


async def test_answers_are_sent_in_the_order_of_the_messages() -> None:
    server, client = Server(), Client()
    _receive(server, client, _subscribe(7, since=3))
    _receive(server, client, PING)
    await settle()
    assert client.sent == []
    server.go.set()
    await settle()
    assert (server.subscribed, _codes(client)) == ([(7, 3)], ["pong"])
    assert client.state.inbox is None


async def test_messages_that_wait_for_the_database_are_bounded() -> None:
    server, client = Server(), Client()
    for _ in range(session.MAX_WAITING + 5):
        _receive(server, client, _subscribe(7), unlimited=True)
    await settle()
    assert _codes(client) == ["rate_limited"] * 5
    server.go.set()
    await settle()
    await settle()
    assert client.state.inbox is None or len(client.state.inbox) < session.MAX_WAITING


async def test_messages_of_a_closed_socket_are_dropped() -> None:
    server, client = Server(), Client()
    _receive(server, client, _subscribe(7))
    _receive(server, client, _subscribe(8))
    await settle()
    client.open = False
    server.go.set()
    await settle()
    assert [match_id for match_id, _ in server.subscribed] == [7]
    assert client.state.inbox is None


async def test_without_the_database_the_client_gets_an_error_and_the_conversation_continues() -> None:
    server, client = Server(DatabaseAway("gone")), Client()
    server.go.set()
    _receive(server, client, _subscribe(7))
    _receive(server, client, PING)
    await settle()
    assert _codes(client) == ["unavailable", "pong"]


async def test_unexpected_error_does_not_block_the_socket() -> None:
    server, client = Server(ZeroDivisionError()), Client()
    server.go.set()
    _receive(server, client, _subscribe(7))
    await settle()
    _receive(server, client, PING)
    await settle()
    assert _codes(client) == ["pong"]


# Validation


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("7.0", 7), ("7e0", 7), ("0.7e1", 7)])
async def test_an_integer_is_a_number_without_a_fraction_as_in_javascript(text: str, number: int) -> None:
    server, client = Server(), Client()
    server.go.set()
    _receive(server, client, f'{{"type":"subscribe","matchId":{text}}}'.encode())
    await settle()
    assert server.subscribed == [(number, None)]


@pytest.mark.parametrize("text", ["7.5", '"7"', "true", "null", "[7]", "{}"])
async def test_any_other_match_id_is_named_in_the_error(text: str) -> None:
    server, client = Server(), Client()
    server.go.set()
    _receive(server, client, f'{{"type":"subscribe","matchId":{text}}}'.encode())
    await settle()
    assert (server.subscribed, _codes(client)) == ([], ["invalid_message"])
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
async def test_the_error_for_an_invalid_message_names_the_member_at_fault(message: str, member: str) -> None:
    server, client = Server(), Client()
    server.go.set()
    _receive(server, client, message.encode())
    _receive(server, client, PING)
    await settle()
    assert (server.subscribed, _codes(client)) == ([], ["invalid_message", "pong"])
    assert member in client.sent[0]["message"]


@pytest.mark.parametrize("text", ["", "{", "NaN", "[" * 2_000, "\ufeff{}", '{"type":"\\ud800"}'])
async def test_malformed_json_is_answered_with_invalid_json(text: str) -> None:
    server, client = Server(), Client()
    _receive(server, client, text.encode())
    await settle()
    assert client.sent == [{"type": "error", "code": "invalid_json", "message": "Invalid JSON"}]


@pytest.mark.parametrize("text", ["0", "-1", "2147483648", "1e300", "-0.0", "99999999999999999999"])
async def test_an_integer_out_of_range_is_named_in_the_error(text: str) -> None:
    server, client = Server(), Client()
    server.go.set()
    _receive(server, client, f'{{"type":"subscribe","matchId":{text}}}'.encode())
    await settle()
    assert (server.subscribed, _codes(client)) == ([], ["invalid_message"])
    assert "matchId" in client.sent[0]["message"]


# Work


async def test_bytes_that_wait_for_the_database_are_bounded() -> None:
    server, client = Server(), Client()
    large = b'{"type":"ping","x":"' + b"x" * (session.MAX_WAITING_BYTES // 2) + b'"}'
    _receive(server, client, large, unlimited=True)
    _receive(server, client, large, unlimited=True)
    _receive(server, client, PING, unlimited=True)
    assert _codes(client) == ["rate_limited"]
    await settle()
    assert _codes(client) == ["rate_limited", "pong", "pong"]


@pytest.mark.parametrize("listed", [[7] * 31, list(range(1, 32)), [None] * 31, list(range(100_000))])
async def test_a_list_longer_than_any_client_needs_is_refused_before_it_is_read(listed: list[int]) -> None:
    server, client = Server(), Client()
    _receive(server, client, json.dumps({"type": "setSubscriptions", "matchIds": listed}).encode())
    await settle()
    assert _codes(client) == ["too_many_subscriptions"]


def test_expensive_work_takes_more_tokens_and_the_debt_is_bounded(clock: Clock) -> None:
    state = ConnectionState("192.0.2.1", BURST)
    state.charge(2, BURST)
    assert [state.take_token(BURST, 1.0) for _ in range(BURST)] == [True] * 3 + [False] * 2
    state.charge(1_000, BURST)
    clock.now += BURST + 1
    assert state.take_token(BURST, 1.0)
