"""The conversation on one WebSocket: messages of the client, and the answers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from livescore.live import client_messages, messages
from livescore.live.client_messages import (
    ClientMessage,
    InvalidMessage,
    Ping,
    SetSubscriptions,
    Subscribe,
    SubscribeAll,
    Unsubscribe,
    UnsubscribeAll,
)
from livescore.live.connection import Connection
from livescore.live.realtime_server import RealtimeServer
from livescore.scores import json_text
from livescore.scores.database import DatabaseAway

# Most messages that wait for the database on one socket; the token bucket lets no more arrive in a second or two.
MAX_WAITING = 64

# Most bytes of those messages: as many as one message may have.
MAX_WAITING_BYTES = 1_048_576

# Size in bytes of a message whose parsing takes a tenth of a millisecond and more, so that others should go first.
LARGE_BYTES = 8_192

# Most members of matchIds, per subscription that a socket may have: clients repeat themselves, but not that often.
REPETITIONS = 10

# Feeds that one token opens: each is a Redis subscription and a part of a query.
OPENED_PER_TOKEN = 10


class TooManySubscriptions(Exception):
    """A client wants more single subscriptions than a socket may have."""


def receive(server: RealtimeServer, connection: Connection, data: bytes) -> None:
    """Enqueue one message, if the rate limit of the socket allows it. Answers are sent in order."""
    settings = server.settings
    if connection.state.take_token(settings.inbound_burst, settings.inbound_per_second):
        take(server, connection, data)
    else:
        connection.send(messages.RATE_LIMITED)


def take(server: RealtimeServer, connection: Connection, data: bytes) -> None:
    """Enqueue one message without rate limiting; handshake queries are bounded by the URL length."""
    state = connection.state
    entry = (data, server.feeds.announcements.last)
    if state.inbox is None:
        state.inbox = deque([entry])
        server.supervisor.spawn(_converse(server, connection))
    elif len(state.inbox) < MAX_WAITING and _total_bytes(state.inbox) + len(data) <= MAX_WAITING_BYTES:
        state.inbox.append(entry)
    else:
        connection.send(messages.RATE_LIMITED)


def _total_bytes(inbox: Iterable[tuple[bytes, int | None]]) -> int:
    return sum(len(data) for data, _ in inbox)


async def _converse(server: RealtimeServer, connection: Connection) -> None:
    """Answer until the inbox is empty. A busy connection has one such task, an idle one none."""
    state = connection.state
    try:
        while state.inbox and connection.open:
            data, state.announced = state.inbox[0]
            await answer(server, connection, data)
            state.inbox.popleft()
            if len(data) > LARGE_BYTES:
                await asyncio.sleep(0)
    finally:
        state.inbox = None


async def answer(server: RealtimeServer, connection: Connection, data: bytes) -> None:
    """Do what one message requests; the error for an invalid message names the member at fault."""
    try:
        members = client_messages.read(data)
        _reject_resume(connection, members)
        _check_length(server, members)
        message = client_messages.validate(members)
        await _HANDLERS[type(message)](server, connection, message)
    except (InvalidMessage, json_text.NestingError) as error:
        connection.send(messages.invalid(str(error)))
    except json_text.JsonError:
        connection.send(messages.INVALID_JSON)
    except TooManySubscriptions as error:
        connection.send(messages.ErrorMessage(code="too_many_subscriptions", message=str(error)).encode())
    except DatabaseAway:
        connection.send(messages.UNAVAILABLE)


def _reject_resume(connection: Connection, members: dict[str, Any]) -> None:
    """Send an error for each member by which a client expects to resume where that is impossible."""
    if members["type"] not in ("setSubscriptions", "subscribeAll"):
        return
    for name in ("since", "epoch"):
        if members.get(name) is not None:
            connection.send(messages.invalid(f"{name} cannot be used with {members['type']}: only subscribe resumes"))


def _check_length(server: RealtimeServer, members: dict[str, Any]) -> None:
    """Refuse a list that is longer than any client needs, before its members are checked."""
    match_ids = members.get("matchIds")
    if isinstance(match_ids, list) and len(match_ids) > server.settings.max_subscriptions * REPETITIONS:
        raise TooManySubscriptions(_too_many(server))


async def _subscribe(server: RealtimeServer, connection: Connection, message: Subscribe) -> None:
    state = connection.state
    if state.follows_all:
        await _acknowledge_subscriber_of_all(server, connection, message)
        return
    matches = state.matches or ()
    if message.match_id not in matches and len(matches) >= server.settings.max_subscriptions:
        raise TooManySubscriptions(_too_many(server))
    await server.subscriptions.subscribe(connection, message.match_id, message.since, message.epoch)


async def _acknowledge_subscriber_of_all(server: RealtimeServer, connection: Connection, message: Subscribe) -> None:
    """Answer a ``subscribe`` for a match that the client already follows together with all others."""
    if message.since is not None:
        raise InvalidMessage("since cannot be used while all matches are followed: send unsubscribeAll first")
    feed = await server.feeds.matches.open(message.match_id)
    server.subscriptions.flush(connection)
    connection.send(messages.subscribed(message.match_id, feed.head, server.epoch))


async def _unsubscribe(server: RealtimeServer, connection: Connection, message: Unsubscribe) -> None:
    server.subscriptions.unsubscribe(connection, message.match_id)
    connection.send(messages.Unsubscribed(match_id=message.match_id).encode())


async def _set_subscriptions(server: RealtimeServer, connection: Connection, message: SetSubscriptions) -> None:
    wanted = list(dict.fromkeys(message.match_ids))
    if len(wanted) > server.settings.max_subscriptions:
        raise TooManySubscriptions(_too_many(server))
    match_feeds = server.feeds.matches
    opened = sum(match_feeds.get(match_id) is None for match_id in wanted)
    connection.state.charge(opened // OPENED_PER_TOKEN, server.settings.inbound_burst)
    feeds = await match_feeds.open_all(wanted)
    server.subscriptions.replace(connection, feeds)
    heads = {str(feed.match_id): feed.head for feed in feeds}
    connection.send(messages.Subscriptions(match_ids=wanted, seq=heads, epoch=server.epoch).encode())


async def _subscribe_all(server: RealtimeServer, connection: Connection, _: SubscribeAll) -> None:
    if not connection.state.follows_all:
        await server.subscriptions.subscribe_to_all(connection)
    connection.send(messages.SUBSCRIBED_ALL)


async def _unsubscribe_all(server: RealtimeServer, connection: Connection, _: UnsubscribeAll) -> None:
    server.subscriptions.end_all(connection)
    connection.send(messages.UNSUBSCRIBED_ALL)


async def _ping(_: RealtimeServer, connection: Connection, __: Ping) -> None:
    connection.send(messages.PONG)


_Handler = Callable[[RealtimeServer, Connection, Any], Awaitable[None]]
_HANDLERS: dict[type[ClientMessage], _Handler] = {
    Subscribe: _subscribe,
    Unsubscribe: _unsubscribe,
    SetSubscriptions: _set_subscriptions,
    SubscribeAll: _subscribe_all,
    UnsubscribeAll: _unsubscribe_all,
    Ping: _ping,
}


def _too_many(server: RealtimeServer) -> str:
    return f"At most {server.settings.max_subscriptions} matches can be followed one by one: use subscribeAll"
