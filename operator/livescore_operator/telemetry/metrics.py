"""What Prometheus reads. ``docs/operator.md`` lists every name, and a test compares."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

CONDITION_VALUES = {"True": 1.0, "False": 0.0, "Unknown": -1.0}

RECONCILES = Counter("livescore_operator_reconciles", "Reconciles by their result.", ["result"], registry=REGISTRY)
SECONDS = Histogram(
    "livescore_operator_reconcile_seconds",
    "Length of a reconcile.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
CHANGES = Counter(
    "livescore_operator_changes", "Children that were made, changed and deleted.", ["verb", "kind"], registry=REGISTRY
)
QUEUED = Gauge("livescore_operator_queue_depth", "LiveScores that wait to be reconciled.", registry=REGISTRY)
LEADER = Gauge("livescore_operator_leader", "1 while this process holds the Lease.", registry=REGISTRY)
API_REQUESTS = Counter(
    "livescore_operator_api_requests",
    "Requests to the API server, watches not among them.",
    ["verb", "code"],
    registry=REGISTRY,
)
CONDITION = Gauge(
    "livescore_operator_condition",
    "Conditions of every LiveScore: 1 True, 0 False, -1 Unknown.",
    ["namespace", "name", "type"],
    registry=REGISTRY,
)
CONNECTIONS = Gauge(
    "livescore_operator_connections",
    "Open WebSockets of a LiveScore, as last read.",
    ["namespace", "name"],
    registry=REGISTRY,
)


def render() -> bytes:
    """All of them in Prometheus' text format."""
    return generate_latest(REGISTRY)


def tell(namespace: str, name: str, conditions: Mapping[str, str], connections: int | None) -> None:
    """Say how a LiveScore is: its conditions by type, and its open connections where they are known."""
    for kind, status in conditions.items():
        CONDITION.labels(namespace, name, kind).set(CONDITION_VALUES[status])
    if connections is not None:
        CONNECTIONS.labels(namespace, name).set(connections)


def silence() -> None:
    """Say nothing more of any LiveScore: another process leads now, and knows better."""
    CONDITION.clear()
    CONNECTIONS.clear()


def forget(namespace: str, name: str) -> None:
    """Say nothing more of a LiveScore that is gone."""
    for gauge in (CONDITION, CONNECTIONS):
        gauge.remove_by_labels({"namespace": namespace, "name": name})
