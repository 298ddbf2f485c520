"""Committed events are published in order, off the path of the request, and looked for when Redis is away."""

import asyncio
from typing import cast

from livescore.broker import Broker, BrokerAway
from livescore.live.heal_requests import HealRequests
from livescore.live.identity import Identity
from livescore.live.publisher import Publisher
from livescore.scores.feed import EVERYTHING, channel, unpack
from tests.support.clock import ManualClock, settle
from tests.support.feeds import event


class FakeBroker:
    """Keeps what is published, unless it is away."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []
        self.is_away = False

    async def publish(self, messages: list[tuple[str, bytes]]) -> None:
        await asyncio.sleep(0)
        if self.is_away:
            raise BrokerAway("gone")
        self.published += messages


class Scene:
    def __init__(self) -> None:
        self.broker = FakeBroker()
        self.identity = Identity("livescore")
        self.requests = HealRequests(ManualClock())
        self.publisher = Publisher(cast(Broker, self.broker), self.identity, self.requests)
        self.task = asyncio.get_running_loop().create_task(self.publisher.run())

    def identify(self) -> None:
        self.identity.update("4be0643f1d98", "e" * 12)


async def test_every_event_goes_to_the_channel_of_its_match_and_to_that_of_all_matches_in_order() -> None:
    scene = Scene()
    scene.identify()
    scene.publisher.publish([event(7, 1), event(8, 1)])
    scene.publisher.publish([event(7, 2)])
    await settle()
    names = [scene.identity.redis_name(name) for name in (channel(7), EVERYTHING, channel(8), EVERYTHING)]
    assert [name for name, _ in scene.broker.published][:4] == names
    sent = [unpack(envelope) for _, envelope in scene.broker.published]
    assert [(one.match_id, one.seq) for _, one in sent[::2]] == [(7, 1), (8, 1), (7, 2)]
    assert all(scene.identity.is_own(stamp) for stamp, _ in sent)


async def test_nothing_is_published_before_the_deployment_is_known() -> None:
    scene = Scene()
    scene.publisher.publish([event(7, 1)])
    await settle()
    await scene.publisher.flush()
    assert scene.broker.published == []
    scene.identify()
    await settle()
    assert len(scene.broker.published) == 2


async def test_events_that_redis_does_not_take_are_reported_as_gaps_and_later_ones_are_published() -> None:
    scene = Scene()
    scene.identify()
    scene.broker.is_away = True
    scene.publisher.publish([event(7, 1), event(8, 1)])
    await settle()
    assert scene.requests.take().gaps == {7, 8}
    scene.broker.is_away = False
    scene.publisher.publish([event(9, 1)])
    await settle()
    assert [unpack(envelope)[1].match_id for _, envelope in scene.broker.published] == [9, 9]
