"""What Prometheus reads. ``docs/operator.md`` lists every name, and a test compares."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

CONDITION_VALUES = {"True": 1.0, "False": 0.0, "Unknown": -1.0}


def _gauge(name: str, help_text: str, *labels: str) -> Gauge:
    """One that every LiveScore has of its own."""
    return Gauge(f"livescore_operator_{name}", help_text, ["namespace", "name", *labels], registry=REGISTRY)


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
ADAPTER_REGISTERED = Gauge(
    "livescore_operator_metrics_adapter_registered",
    "1 while the metrics API is registered to the operator's adapter.",
    registry=REGISTRY,
)
CONDITION = _gauge("condition", "Conditions of every LiveScore: 1 True, 0 False, -1 Unknown.", "type")
CONNECTIONS = _gauge("connections", "Open WebSockets of a LiveScore, as last read.")
SCALING_REPLICAS = _gauge("scaling_replicas", "API pods that are wanted, where they are scaled.")
SCALING_FLOOR = _gauge("scaling_floor", "Least number of API pods because of matches, 0 for none.")
SPREAD = _gauge("connection_spread", "Connections of the fullest serving API pod, in parts of the mean.")
SILENT = _gauge("silent_pods", "Serving API pods that did not tell their connections.")
DRAINING = _gauge("draining_pods", "API pods that are emptied before they are removed.")
SCALINGS = Counter(
    "livescore_operator_scalings",
    "Changes of the number of API pods by the operator.",
    ["namespace", "name", "direction"],
    registry=REGISTRY,
)
SHED = Counter(
    "livescore_operator_shed_connections",
    "Sockets that pods were told to send elsewhere, to balance them.",
    ["namespace", "name"],
    registry=REGISTRY,
)

GAUGES = (CONDITION, CONNECTIONS, SCALING_REPLICAS, SCALING_FLOOR, SPREAD, SILENT, DRAINING)
"""Of single LiveScores, as they are."""


def render() -> bytes:
    """All of them in Prometheus' text format."""
    return generate_latest(REGISTRY)


def tell(namespace: str, name: str, conditions: Mapping[str, str], connections: int | None) -> None:
    """Say how a LiveScore is: its conditions by type, and its open connections where they are known."""
    for kind, status in conditions.items():
        CONDITION.labels(namespace, name, kind).set(CONDITION_VALUES[status])
    if connections is not None:
        CONNECTIONS.labels(namespace, name).set(connections)


def show(gauge: Gauge, namespace: str, name: str, value: float | None) -> None:
    """Say one thing of a LiveScore, or with None nothing more."""
    if value is None:
        gauge.remove_by_labels({"namespace": namespace, "name": name})
    else:
        gauge.labels(namespace, name).set(value)


def silence() -> None:
    """Say nothing more of any LiveScore: another process leads now, and knows better."""
    for gauge in GAUGES:
        gauge.clear()


def forget(namespace: str, name: str) -> None:
    """Say nothing more of a LiveScore that is gone."""
    for gauge in (*GAUGES, SCALINGS, SHED):
        gauge.remove_by_labels({"namespace": namespace, "name": name})
