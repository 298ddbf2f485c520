"""The conversation on one WebSocket: messages of the client, and the answers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from livescore.live import messages
from livescore.live.connection import Connection
from livescore.live.realtime_server import RealtimeServer
from livescore.scores import json_text
from livescore.scores.database import DatabaseAway
from livescore.scores.rules import INT4_MAX

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


class InvalidMessage(Exception):
    """A member of a message is missing or has a wrong value; the text names it."""


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
        message = json_text.parse(data)
        await _handler(message)(server, connection, message)
    except (InvalidMessage, json_text.NestingError) as error:
        connection.send(messages.invalid(str(error)))
    except json_text.JsonError:
        connection.send(messages.INVALID_JSON)
    except TooManySubscriptions as error:
        connection.send(messages.ErrorMessage(code="too_many_subscriptions", message=str(error)).encode())
    except DatabaseAway:
        connection.send(messages.UNAVAILABLE)


def _handler(message: Any) -> "_Handler":
    if not isinstance(message, dict):
        raise InvalidMessage("A message must be a JSON object with a type")
    kind = message.get("type")
    handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
    if handler is None:
        raise InvalidMessage(f"type must be one of {', '.join(_HANDLERS)}")
    return handler


async def _subscribe(server: RealtimeServer, connection: Connection, message: dict[str, Any]) -> None:
    match_id = _match_id(message)
    since, epoch = _since(message), _epoch(message)
    state = connection.state
    if state.follows_all:
        if since is not None:
            raise InvalidMessage("since cannot be used while all matches are followed: send unsubscribeAll first")
        feed = await server.feeds.matches.open(match_id)
        server.subscriptions.flush(connection)
        connection.send(messages.subscribed(match_id, feed.head, server.epoch))
        return
    matches = state.matches or ()
    if match_id not in matches and len(matches) >= server.settings.max_subscriptions:
        raise TooManySubscriptions(_too_many(server))
    await server.subscriptions.subscribe(connection, match_id, since, epoch)


async def _unsubscribe(server: RealtimeServer, connection: Connection, message: dict[str, Any]) -> None:
    match_id = _match_id(message)
    server.subscriptions.unsubscribe(connection, match_id)
    connection.send(messages.Unsubscribed(match_id=match_id).encode())


async def _set_subscriptions(server: RealtimeServer, connection: Connection, message: dict[str, Any]) -> None:
    _reject_resume(connection, message)
    most = server.settings.max_subscriptions
    listed = message.get("matchIds")
    if isinstance(listed, list) and len(listed) > most * REPETITIONS:
        raise TooManySubscriptions(_too_many(server))
    wanted = _match_ids(listed)
    if len(wanted) > most:
        raise TooManySubscriptions(_too_many(server))
    match_feeds = server.feeds.matches
    opened = sum(match_feeds.get(match_id) is None for match_id in wanted)
    connection.state.charge(opened // OPENED_PER_TOKEN, server.settings.inbound_burst)
    feeds = await match_feeds.open_all(wanted)
    server.subscriptions.replace(connection, feeds)
    heads = {str(feed.match_id): feed.head for feed in feeds}
    connection.send(messages.Subscriptions(match_ids=wanted, seq=heads, epoch=server.epoch).encode())


async def _subscribe_all(server: RealtimeServer, connection: Connection, message: dict[str, Any]) -> None:
    _reject_resume(connection, message)
    if not connection.state.follows_all:
        await server.subscriptions.subscribe_to_all(connection)
    connection.send(messages.SUBSCRIBED_ALL)


def _reject_resume(connection: Connection, message: dict[str, Any]) -> None:
    """Send an error for each member by which a client expects to resume where that is impossible."""
    for name in ("since", "epoch"):
        if message.get(name) is not None:
            connection.send(messages.invalid(f"{name} cannot be used with {message['type']}: only subscribe resumes"))


async def _unsubscribe_all(server: RealtimeServer, connection: Connection, _: dict[str, Any]) -> None:
    server.subscriptions.end_all(connection)
    connection.send(messages.UNSUBSCRIBED_ALL)


async def _ping(_: RealtimeServer, connection: Connection, __: dict[str, Any]) -> None:
    connection.send(messages.PONG)


_Handler = Callable[[RealtimeServer, Connection, dict[str, Any]], Awaitable[None]]
_HANDLERS: dict[str, _Handler] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "setSubscriptions": _set_subscriptions,
    "subscribeAll": _subscribe_all,
    "unsubscribeAll": _unsubscribe_all,
    "ping": _ping,
}


def _integer(value: Any) -> int | None:
    """Return a JSON number without a fraction, as JavaScript's ``Number.isInteger`` sees it; None for other values."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _check_range(name: str, value: int, least: int = 1) -> None:
    if not least <= value <= INT4_MAX:
        raise InvalidMessage(f"{name} must be between {least} and {INT4_MAX}")


def _match_id(message: dict[str, Any]) -> int:
    match_id = _integer(message.get("matchId"))
    if match_id is None:
        raise InvalidMessage("matchId must be an integer: the id of a match")
    _check_range("matchId", match_id)
    return match_id


def _since(message: dict[str, Any]) -> int | None:
    value = message.get("since")
    if value is None:
        return None
    since = _integer(value)
    if since is None:
        raise InvalidMessage("since must be an integer: the seq of the last event seen")
    _check_range("since", since, least=0)
    return since


def _epoch(message: dict[str, Any]) -> str | None:
    epoch = message.get("epoch")
    if epoch is not None and not isinstance(epoch, str):
        raise InvalidMessage("epoch must be the string that subscribed carried")
    return epoch


def _match_ids(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise InvalidMessage("matchIds must be an array of integers: the ids of matches")
    match_ids: dict[int, None] = {}
    for index, member in enumerate(value):
        match_id = _integer(member)
        if match_id is None:
            raise InvalidMessage(f"matchIds[{index}] must be an integer: the id of a match")
        _check_range(f"matchIds[{index}]", match_id)
        match_ids[match_id] = None
    return list(match_ids)


def _too_many(server: RealtimeServer) -> str:
    return f"At most {server.settings.max_subscriptions} matches can be followed one by one: use subscribeAll"
