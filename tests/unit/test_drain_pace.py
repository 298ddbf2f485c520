"""Sockets are closed in paced batches, so that those who come back do not come at once."""

from time import monotonic

from livescore.live.broker import Broker
from livescore.live.connections import SERVICE_RESTART, State
from livescore.live.drain import LEAST_PER_SECOND, Drain
from livescore.live.hub import Group
from livescore.live.node import Node
from livescore.scores.database import Database
from livescore.scores.store import Store
from livescore.settings import load


class Closing:
    """A connection that notes what it is told and when it is closed."""

    def __init__(self, node: Node) -> None:
        self.state = State("192.0.2.1", 1)
        self.told: list[bytes] = []
        self.closed: list[tuple[float, int]] = []
        self._node = node

    @property
    def open(self) -> bool:
        return not self.closed

    def send(self, message: bytes) -> None:
        assert self.open
        self.told.append(message)

    def close(self, code: int) -> None:
        self.closed.append((monotonic(), code))
        self._node.detach(self)

    def join(self, group: Group) -> None:
        """Nothing is delivered here."""

    def leave(self, group: Group) -> None:
        """Nothing is delivered here."""

    def flush(self, group: Group) -> None:
        """Nothing waits."""

    async def drained(self) -> None:
        """Nothing waits."""


async def test_closes_are_spread_and_each_is_announced() -> None:
    settings = load(database_url="postgresql://localhost/x", redis_url="redis://localhost", drain_seconds=2)
    store = Store(Database("postgresql://localhost/x", size=1, timeout=1))
    node = Node(settings, store, Broker("redis://localhost", 1), on_close=lambda _: None)
    connections = [Closing(node) for _ in range(60)]
    for connection in connections:
        node.attach(connection)
    await Drain(node).start()
    moments = [moment for connection in connections for moment, _ in connection.closed]
    assert node.connections == 0
    # Never faster than asked: the pauses between batches are real, however slow the machine is.
    assert max(moments) - min(moments) > 0.8 * len(connections) / LEAST_PER_SECOND
    assert all(connection.closed[0][1] == SERVICE_RESTART and connection.told for connection in connections)
