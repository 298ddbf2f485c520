"""Connections and subscriptions leave nothing behind when they end (fault 10)."""

import asyncio

import httpx
import redis

from tests.support.clients import Listener
from tests.support.raw_websocket import TEXT, frame, handshake, raw_websocket
from tests.support.service import Service, Start, eventually

LINGER_SECONDS = 5.0 + 2.5
"""A match without subscribers is kept for five seconds, checked every two and a half."""


async def _counts(api: Service) -> tuple[int, int]:
    async with httpx.AsyncClient(base_url=api.management_url, timeout=5) as http:
        answer = (await http.get("/connections")).json()
    return answer["connections"], answer["subscriptions"]


async def _until_counts(api: Service, connections: int, subscriptions: int) -> None:
    async with asyncio.timeout(30):
        while await _counts(api) != (connections, subscriptions):
            await asyncio.sleep(0.05)


def _channels(client: redis.Redis) -> set[str]:
    names: list[bytes] = client.execute_command("PUBSUB", "CHANNELS", "livescore:*:match:*")
    return {name.decode().split(":", 2)[2] for name in names}


async def test_fault_10_a_thousand_subscriptions_are_one_delivery(start: Start) -> None:
    """Fault 10: listeners accumulated per subscription."""
    api = await start("api", INBOUND_BURST="1100")
    match_id = (await api.create_match())["id"]
    async with Listener(api.ws_url) as listener:
        for _ in range(20):
            for _ in range(50):
                await listener.send({"type": "subscribe", "matchId": match_id})
            await listener.ask({"type": "ping"}, "pong")
        assert len(listener.of_type("subscribed")) == 1_000
        assert await _counts(api) == (1, 1)
        await api.comment(match_id)
        await listener.until_seq(match_id, 2)
        await listener.ask({"type": "ping"}, "pong")
        assert len(listener.of_type("commentary")) == 1
        await listener.unsubscribe(match_id)
        assert await _counts(api) == (1, 0)
        await api.comment(match_id)
        await asyncio.sleep(0.2)
        await listener.ask({"type": "ping"}, "pong")
        assert len(listener.of_type("commentary")) == 1


async def test_fault_10_channels_are_released_with_their_last_subscriber(
    start: Start, redis_client: redis.Redis
) -> None:
    """Fault 10: nothing of former subscribers remains in the process or in Redis."""
    api = await start("api")
    matches = [(await api.create_match())["id"] for _ in range(3)]
    query = "&".join(f"matchId={match_id}" for match_id in matches)
    async with Listener(f"{api.ws_url}?{query}") as stays:
        await stays.until(lambda log: sum(message["type"] == "subscribed" for message in log) == 3)
        for _ in range(20):
            async with Listener(f"{api.ws_url}?{query}") as comes:
                await comes.next("subscribed")
        await _until_counts(api, 1, 3)
        assert _channels(redis_client) == {f"match:{match_id}" for match_id in matches}
        await stays.unsubscribe(matches[0])
        rest = {f"match:{match_id}" for match_id in matches[1:]}
        await eventually(lambda: _channels(redis_client) == rest, 2 * LINGER_SECONDS)
    await _until_counts(api, 0, 0)
    await eventually(lambda: not _channels(redis_client), 2 * LINGER_SECONDS)


async def test_a_released_match_can_be_followed_again(start: Start, redis_client: redis.Redis) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    for seq in (2, 3):
        async with Listener(api.ws_url) as listener:
            await listener.subscribe(match_id)
            assert _channels(redis_client) == {f"match:{match_id}"}
            await api.comment(match_id)
            await listener.until_seq(match_id, seq)
        await eventually(lambda: not _channels(redis_client), 2 * LINGER_SECONDS)


async def test_subscriptions_to_all_leave_nothing_behind(start: Start, redis_client: redis.Redis) -> None:
    api = await start("api")
    for _ in range(5):
        async with Listener(f"{api.ws_url}?all=1") as listener:
            await listener.next("subscribedAll")
    await _until_counts(api, 0, 0)

    def feed() -> list[bytes]:
        names: list[bytes] = redis_client.execute_command("PUBSUB", "CHANNELS", "livescore:*:feed")
        return names

    await eventually(lambda: not feed(), 2 * LINGER_SECONDS)


async def test_all_can_be_followed_while_the_last_subscriber_is_released(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    seq = 1
    for pause in (0.0, 4.9, 5.0, 5.1):
        async with Listener(f"{api.ws_url}?all=1") as listener:
            await listener.next("subscribedAll")
            await api.comment(match_id)
            seq += 1
            await listener.until_seq(match_id, seq)
        await asyncio.sleep(pause)


async def test_every_kind_of_disconnect_is_uncounted(start: Start) -> None:
    api = await start("api")
    match_id = (await api.create_match())["id"]
    for _ in range(10):
        async with raw_websocket(api.port, f"/ws?matchId={match_id}") as client:
            client.abort()
        async with raw_websocket(api.port) as client:
            await client.send(frame(TEXT, b'{"type":"subscribe","matchId":1}') * 3)
            client.abort()
        async with raw_websocket(api.port, f"/ws?matchId={match_id}") as client:
            await client.send(b"\xff")
        async with raw_websocket(api.port, "/ws?all=1"):
            pass
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(handshake(api.port))
        writer.transport.abort()
        reader.feed_eof()
    await _until_counts(api, 0, 0)
    assert "Traceback" not in api.log
    assert "[error" not in api.log


async def test_client_disconnected_before_its_subscription_is_not_subscribed(start: Start) -> None:
    api = await start("api")
    for match_id in range(1, 60):
        async with raw_websocket(api.port, f"/ws?matchId={match_id}") as client:
            client.abort()
    await _until_counts(api, 0, 0)
