"""Prometheus metrics of the operator. A test compares their names with ``docs/operator.md``."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

CONDITION_VALUES = {"True": 1.0, "False": 0.0, "Unknown": -1.0}


def _gauge(name: str, help_text: str, *labels: str) -> Gauge:
    """Return a gauge with one value per LiveScore."""
    return Gauge(f"livescore_operator_{name}", help_text, ["namespace", "name", *labels], registry=REGISTRY)


RECONCILES = Counter("livescore_operator_reconciles", "Reconciles by result.", ["result"], registry=REGISTRY)
SECONDS = Histogram(
    "livescore_operator_reconcile_seconds",
    "Duration of a reconcile in seconds.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
CHANGES = Counter(
    "livescore_operator_changes",
    "Owned objects that were created, updated and deleted.",
    ["verb", "kind"],
    registry=REGISTRY,
)
QUEUED = Gauge("livescore_operator_queue_depth", "LiveScores that are due to be reconciled.", registry=REGISTRY)
LEADER = Gauge("livescore_operator_leader", "1 while this process holds the Lease.", registry=REGISTRY)
API_REQUESTS = Counter(
    "livescore_operator_api_requests",
    "Requests to the API server, except for watches.",
    ["verb", "code"],
    registry=REGISTRY,
)
ADAPTER_REGISTERED = Gauge(
    "livescore_operator_metrics_adapter_registered",
    "1 while the metrics API is registered for this operator.",
    registry=REGISTRY,
)
CONDITION = _gauge("condition", "Conditions of a LiveScore: 1 True, 0 False, -1 Unknown.", "type")
CONNECTIONS = _gauge("connections", "Open WebSockets of a LiveScore, as last read.")
SCALING_REPLICAS = _gauge("scaling_replicas", "Desired number of API pods, if autoscaling is on.")
SCALING_FLOOR = _gauge("scaling_floor", "Minimum number of API pods because of matches; 0 without a minimum.")
SPREAD = _gauge("connection_spread", "Highest number of connections of a serving API pod, divided by the mean.")
SILENT = _gauge("silent_pods", "Serving API pods whose connections could not be read.")
DRAINING = _gauge("draining_pods", "API pods that drain before they are removed.")
SCALINGS = Counter(
    "livescore_operator_scalings",
    "Changes of the number of API pods by the operator.",
    ["namespace", "name", "direction"],
    registry=REGISTRY,
)
SHED = Counter(
    "livescore_operator_shed_connections",
    "Sockets that pods were asked to shed, to rebalance them.",
    ["namespace", "name"],
    registry=REGISTRY,
)

GAUGES = (CONDITION, CONNECTIONS, SCALING_REPLICAS, SCALING_FLOOR, SPREAD, SILENT, DRAINING)
"""Gauges of single LiveScores."""


def render() -> bytes:
    """Return all metrics in the text format of Prometheus."""
    return generate_latest(REGISTRY)


def report(namespace: str, name: str, conditions: Mapping[str, str], connections: int | None) -> None:
    """Set the conditions of a LiveScore by type, and its open connections if they are known."""
    for kind, status in conditions.items():
        CONDITION.labels(namespace, name, kind).set(CONDITION_VALUES[status])
    if connections is not None:
        CONNECTIONS.labels(namespace, name).set(connections)


def set_gauge(gauge: Gauge, namespace: str, name: str, value: float | None) -> None:
    """Set a gauge of a LiveScore, or remove it if the value is None."""
    if value is None:
        gauge.remove_by_labels({"namespace": namespace, "name": name})
    else:
        gauge.labels(namespace, name).set(value)


def clear() -> None:
    """Remove the gauges of all LiveScores: another process leads now and reports them."""
    for gauge in GAUGES:
        gauge.clear()


def forget(namespace: str, name: str) -> None:
    """Remove all metrics of a LiveScore that was deleted."""
    for gauge in (*GAUGES, SCALINGS, SHED):
        gauge.remove_by_labels({"namespace": namespace, "name": name})
