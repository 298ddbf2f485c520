"""One loop pings all sockets, spread over the interval."""

import asyncio
from typing import cast

from livescore.live.connection import Connection
from livescore.live.heartbeat import Heartbeat
from tests.support.clock import ManualClock
from tests.support.feeds import Socket

INTERVAL_SECONDS = 10.0


class BeatingSocket(Socket):
    """A socket that notes when it is pinged."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.beats: list[float] = []
        self._clock = clock

    def beat(self) -> None:
        self.beats.append(self._clock.now())


async def test_every_socket_is_pinged_once_per_interval_and_not_all_at_once() -> None:
    clock = ManualClock()
    sockets = [BeatingSocket(clock) for _ in range(400)]
    heartbeat = Heartbeat({cast(Connection, socket) for socket in sockets}, INTERVAL_SECONDS, clock)
    beating = asyncio.create_task(heartbeat.run())
    await clock.advance(3 * INTERVAL_SECONDS)
    beating.cancel()
    for socket in sockets:
        first, second, third = socket.beats
        assert (round(second - first, 6), round(third - second, 6)) == (INTERVAL_SECONDS, INTERVAL_SECONDS)
    assert len({round(socket.beats[0], 6) for socket in sockets}) > 1


async def test_sockets_that_come_and_go_are_noticed() -> None:
    clock = ManualClock()
    early, late = BeatingSocket(clock), BeatingSocket(clock)
    sockets = {cast(Connection, early)}
    beating = asyncio.create_task(Heartbeat(sockets, INTERVAL_SECONDS, clock).run())
    await clock.advance(INTERVAL_SECONDS)
    sockets.add(cast(Connection, late))
    sockets.discard(cast(Connection, early))
    await clock.advance(INTERVAL_SECONDS)
    beating.cancel()
    assert (len(early.beats), len(late.beats)) == (1, 1)
