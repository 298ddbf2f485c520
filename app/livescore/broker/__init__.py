"""Redis or Valkey as a message broker: publish, subscribe, listen. Used by the API and by the jobs."""

from livescore import redis_clients
from livescore.broker.cluster import ClusterBroker
from livescore.broker.protocol import Broker, BrokerAway, Subscription
from livescore.broker.server import ServerBroker
from livescore.settings import Settings

__all__ = ["Broker", "BrokerAway", "Subscription", "create"]


def create(settings: Settings) -> Broker:
    """Create the broker that ``REDIS_URL`` describes. Connections are opened on first use."""
    if redis_clients.redis_url(settings).is_cluster:
        return ClusterBroker(settings)
    return ServerBroker(settings)
