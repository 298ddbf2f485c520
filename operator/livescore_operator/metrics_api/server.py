"""The metrics adapter as an aggregated API server: its parts, wired."""

from collections.abc import Sequence

from livescore_operator.cluster import Cluster
from livescore_operator.leadership import Leadership
from livescore_operator.listener import Listener
from livescore_operator.metrics_api.access import ServerTls, SubjectAccessAuthorizer
from livescore_operator.metrics_api.adapter import Adapter, MetricsProvider
from livescore_operator.metrics_api.registration import Registration
from livescore_operator.resource import Manifest
from livescore_operator.settings import Settings


class MetricsAdapter:
    """The server of custom.metrics.k8s.io, in every replica: to answer needs no Lease."""

    def __init__(self, connected: Cluster, settings: Settings, leadership: Leadership) -> None:
        self._cluster, self._settings = connected, settings
        self.tls = ServerTls()
        self.registration = Registration(
            connected,
            self.tls,
            settings.pod_namespace,
            settings.metrics_adapter_service,
            settings.metrics_adapter_role,
            leading=lambda: leadership.leading,
            led=leadership.wait,
        )

    def served(self) -> Listener:
        """Serve it for the length of a block."""
        application = Adapter(
            self.tls, SubjectAccessAuthorizer(self._cluster.review), MetricsProvider(self._pods)
        ).application()
        host, port = self._settings.host, self._settings.metrics_adapter_port
        return Listener(application, host, port, "metrics adapter", "METRICS_ADAPTER_PORT", self.tls.context)

    async def _pods(self, namespace: str, selector: str) -> Sequence[Manifest]:
        return await self._cluster.select("Pod", namespace, selector) or []
