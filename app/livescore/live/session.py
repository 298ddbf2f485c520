"""The conversation on one WebSocket: what a client may ask, and what it is told."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from livescore.live import messages
from livescore.live.connections import Connection
from livescore.live.node import Node
from livescore.scores import json_text
from livescore.scores.database import DatabaseAway

INT4_MAX = 2_147_483_647

# Messages that wait for the database on one socket; the token bucket lets no more come in a second or two.
MAX_WAITING = 64

# Their bytes: as many as one message may have.
MAX_WAITING_BYTES = 1_048_576

# Bytes of a message whose parsing takes long enough to let others go first: a tenth of a millisecond and more.
LARGE_BYTES = 8_192

# Members of matchIds for each subscription that a socket may have: clients repeat themselves, but not that often.
REPETITIONS = 10

# Matches that nothing follows yet and that one token opens: each is a subscription and a part of a query.
OPENED_PER_TOKEN = 10


def receive(node: Node, connection: Connection, data: bytes) -> None:
    """Take one message, if the client's rate allows it; its answer comes in order."""
    settings = node.settings
    if connection.state.take_token(settings.inbound_burst, settings.inbound_per_second):
        take(node, connection, data)
    else:
        connection.send(messages.RATE_LIMITED)


def take(node: Node, connection: Connection, data: bytes) -> None:
    """Take one message at no charge: what the query of the handshake asks for is bounded by its length."""
    state = connection.state
    if state.inbox is None:
        state.inbox = deque([(data, node.hub.last_match)])
        node.spawn(_converse(node, connection))
    elif len(state.inbox) < MAX_WAITING and _waiting_bytes(state.inbox) + len(data) <= MAX_WAITING_BYTES:
        state.inbox.append((data, node.hub.last_match))
    else:
        connection.send(messages.RATE_LIMITED)


def _waiting_bytes(inbox: Iterable[tuple[bytes, int | None]]) -> int:
    return sum(len(data) for data, _ in inbox)


async def _converse(node: Node, connection: Connection) -> None:
    """Answer until nothing waits; one task per busy connection, none per idle one."""
    state = connection.state
    try:
        while state.inbox and connection.open:
            data, state.announced = state.inbox[0]
            await answer(node, connection, data)
            state.inbox.popleft()
            if len(data) > LARGE_BYTES:
                await asyncio.sleep(0)
    finally:
        state.inbox = None


async def answer(node: Node, connection: Connection, data: bytes) -> None:
    """Do what one message asks for; a mistake in it is answered with an error that names the member."""
    try:
        message = json_text.parse(data)
        await _handler(message)(node, connection, message)
    except (InvalidMessage, json_text.NestingError) as error:
        connection.send(messages.invalid(str(error)))
    except json_text.JsonError:
        connection.send(messages.INVALID_JSON)
    except TooManySubscriptions as error:
        connection.send(messages.ErrorMessage(code="too_many_subscriptions", message=str(error)).encode())
    except DatabaseAway:
        connection.send(messages.UNAVAILABLE)


class InvalidMessage(Exception):
    """A member of the message cannot be what it is."""


class TooManySubscriptions(Exception):
    """More single matches than one socket may follow."""


def _handler(message: Any) -> "_Handler":
    if not isinstance(message, dict):
        raise InvalidMessage("A message must be a JSON object with a type")
    kind = message.get("type")
    handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
    if handler is None:
        raise InvalidMessage(f"type must be one of {', '.join(_HANDLERS)}")
    return handler


async def _subscribe(node: Node, connection: Connection, message: dict[str, Any]) -> None:
    match_id = _match_id(message)
    since, epoch = _since(message), _epoch(message)
    if connection.state.follows_all:
        if since is not None:
            raise InvalidMessage("since cannot be used while all matches are followed: send unsubscribeAll first")
        head = await node.channels.history(match_id, None)
        node.flush(connection)
        connection.send(messages.Subscribed(match_id=match_id, seq=head.seq, epoch=node.epoch).encode())
        return
    followed = connection.state.matches or ()
    if match_id not in followed and len(followed) >= node.settings.max_subscriptions:
        raise TooManySubscriptions(_too_many(node))
    await node.subscribe(connection, match_id, since, epoch)


async def _unsubscribe(node: Node, connection: Connection, message: dict[str, Any]) -> None:
    match_id = _match_id(message)
    node.unsubscribe(connection, match_id)
    connection.send(messages.Unsubscribed(match_id=match_id).encode())


async def _set_subscriptions(node: Node, connection: Connection, message: dict[str, Any]) -> None:
    _say_what_does_not_resume(connection, message)
    most = node.settings.max_subscriptions
    listed = message.get("matchIds")
    if isinstance(listed, list) and len(listed) > most * REPETITIONS:
        raise TooManySubscriptions(_too_many(node))
    wanted = _match_ids(listed)
    if len(wanted) > most:
        raise TooManySubscriptions(_too_many(node))
    opened = sum(match_id not in node.hub.channels for match_id in wanted)
    connection.state.charge(opened // OPENED_PER_TOKEN, node.settings.inbound_burst)
    histories = await asyncio.gather(*(node.channels.history(match_id, None) for match_id in wanted))
    node.replace(connection, wanted)
    heads = {
        str(match_id): node.hub.heads.get(match_id, history.seq)
        for match_id, history in zip(wanted, histories, strict=True)
    }
    acknowledged = messages.Subscriptions(match_ids=wanted, seq=heads, epoch=node.epoch)
    connection.send(acknowledged.encode())


async def _subscribe_all(node: Node, connection: Connection, message: dict[str, Any]) -> None:
    _say_what_does_not_resume(connection, message)
    if not connection.state.follows_all:
        await node.subscribe_all(connection)
    connection.send(messages.SUBSCRIBED_ALL)


def _say_what_does_not_resume(connection: Connection, message: dict[str, Any]) -> None:
    """Send an error for each member by which a client expects to resume where that is impossible."""
    for name in ("since", "epoch"):
        if message.get(name) is not None:
            connection.send(messages.invalid(f"{name} cannot be used with {message['type']}: only subscribe resumes"))


async def _unsubscribe_all(node: Node, connection: Connection, _: dict[str, Any]) -> None:
    node.forget(connection)
    connection.send(messages.UNSUBSCRIBED_ALL)


async def _ping(_: Node, connection: Connection, __: dict[str, Any]) -> None:
    connection.send(messages.PONG)


_Handler = Callable[[Node, Connection, dict[str, Any]], Awaitable[None]]
_HANDLERS: dict[str, _Handler] = {
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
    "setSubscriptions": _set_subscriptions,
    "subscribeAll": _subscribe_all,
    "unsubscribeAll": _unsubscribe_all,
    "ping": _ping,
}


def _integer(value: Any) -> int | None:
    """A JSON number without a fraction, as JavaScript's ``Number.isInteger`` sees it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _in_range(name: str, value: int, least: int = 1) -> None:
    if not least <= value <= INT4_MAX:
        raise InvalidMessage(f"{name} must be between {least} and {INT4_MAX}")


def _match_id(message: dict[str, Any]) -> int:
    match_id = _integer(message.get("matchId"))
    if match_id is None:
        raise InvalidMessage("matchId must be an integer: the id of a match")
    _in_range("matchId", match_id)
    return match_id


def _since(message: dict[str, Any]) -> int | None:
    value = message.get("since")
    if value is None:
        return None
    since = _integer(value)
    if since is None:
        raise InvalidMessage("since must be an integer: the seq of the last event seen")
    _in_range("since", since, least=0)
    return since


def _epoch(message: dict[str, Any]) -> str | None:
    epoch = message.get("epoch")
    if epoch is not None and not isinstance(epoch, str):
        raise InvalidMessage("epoch must be the string that subscribed carried")
    return epoch


def _match_ids(value: Any) -> list[int]:
    if not isinstance(value, list):
        raise InvalidMessage("matchIds must be an array of integers: the ids of matches")
    found: dict[int, None] = {}
    for place, member in enumerate(value):
        match_id = _integer(member)
        if match_id is None:
            raise InvalidMessage(f"matchIds[{place}] must be an integer: the id of a match")
        _in_range(f"matchIds[{place}]", match_id)
        found[match_id] = None
    return list(found)


def _too_many(node: Node) -> str:
    return f"At most {node.settings.max_subscriptions} matches can be followed one by one: use subscribeAll"
