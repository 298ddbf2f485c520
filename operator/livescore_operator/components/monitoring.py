"""The PodMonitor, which lets Prometheus scrape the pods."""

from livescore_operator.components.common import COMPONENT, BuildContext, family, manifest
from livescore_operator.kinds import POD_MONITOR
from livescore_operator.resource import LiveScore, Manifest


def build(resource: LiveScore, context: BuildContext) -> list[Manifest]:
    """Return a PodMonitor if monitoring is enabled and the kind is installed."""
    wanted = resource.spec.monitoring.enabled and POD_MONITOR.full_name in context.kinds
    return [_pod_monitor(resource)] if wanted else []


def _pod_monitor(resource: LiveScore) -> Manifest:
    monitoring = resource.spec.monitoring
    components = {"key": COMPONENT, "operator": "In", "values": ["api", "worker", "scheduler"]}
    spec = {
        "selector": {"matchLabels": family(resource), "matchExpressions": [components]},
        "podMetricsEndpoints": [{"port": "management", "path": "/metrics", "interval": monitoring.interval}],
    }
    return manifest(
        resource,
        POD_MONITOR.api_version,
        POD_MONITOR.name,
        resource.name,
        "monitoring",
        labels=monitoring.labels,
        spec=spec,
    )
