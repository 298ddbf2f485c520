"""Telling the nodes of transitions, apart from making them: a Redis that hangs must not delay the next one."""

from collections.abc import Iterable
from queue import SimpleQueue
from threading import Event as Flag

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from livescore import outages, redis_clients
from livescore.deployment import Origin
from livescore.jobs.outage import Outage
from livescore.redis_clients import AWAY
from livescore.scores import feed
from livescore.settings import Settings

# Batches that wait while Redis hangs; the nodes find what is dropped in the feed.
CAPACITY = 100


def publish(connection: Redis | RedisCluster, events: Iterable[feed.Event], origin: Origin) -> None:
    """Send events to the instances in one round trip, on a cluster in one per shard.

    Raises:
        RedisError, RedisClusterException, OSError: when Redis is away; the instances then find the events in the feed.
    """
    with connection.pipeline(transaction=False) as pipeline:
        # Plain PUBLISH would go to every node of a cluster; who subscribes there listens to the channel's own shard.
        send = pipeline.spublish if isinstance(connection, RedisCluster) else pipeline.publish
        for event in events:
            payload = feed.pack(event, origin)
            for channel in feed.channels(event):
                send(origin.deployment.name(channel), payload)
        pipeline.execute()


def _connect(settings: Settings) -> Redis | RedisCluster:
    """A client for :func:`publish`.

    Raises:
        RedisError, RedisClusterException, OSError: when no node of a cluster answers; one server is not asked yet.
    """
    url, timeout = redis_clients.redis_url(settings), settings.redis_timeout_seconds
    if not url.is_cluster:
        return redis_clients.rq_client(settings)
    return RedisCluster(
        startup_nodes=[ClusterNode(*address) for address in url.addresses],
        dynamic_startup_nodes=False,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 1),
        client_name="livescore-jobs",
        **redis_clients.connection_options(url),
    )


class Publisher:
    """Publishes in a thread of its own, in the order of :meth:`put`. What Redis does not take is dropped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis: Redis | RedisCluster | None = None
        self._outage = Outage(outages.REDIS)
        self._batches: SimpleQueue[tuple[list[feed.Event], Origin] | None] = SimpleQueue()

    def put(self, events: list[feed.Event], origin: Origin) -> None:
        """Have events published soon; never waits."""
        if self._batches.qsize() < CAPACITY:
            self._batches.put((events, origin))

    def wake(self) -> None:
        """Let :meth:`run` see that it shall stop."""
        self._batches.put(None)

    def run(self, stop: Flag) -> None:
        """Publish until ``stop`` is set and :meth:`wake` is called."""
        while not stop.is_set():
            batch = self._batches.get()
            if batch is not None:
                self.send(*batch)
        if self._redis is not None:
            self._redis.close()

    def send(self, events: list[feed.Event], origin: Origin) -> None:
        """Publish now; an outage is logged once."""
        self._outage.start()
        try:
            self._redis = self._redis or _connect(self._settings)
            publish(self._redis, events, origin)
            self._outage.end()
        except AWAY as error:
            self._outage.begin(error)
