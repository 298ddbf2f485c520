"""The metrics adapter of one operator process: its parts, wired."""

from collections.abc import Sequence

from livescore_operator.cluster import Cluster
from livescore_operator.leadership import Leadership
from livescore_operator.listener import Listener
from livescore_operator.metrics_api.adapter import Adapter
from livescore_operator.metrics_api.authorization import SubjectAccessAuthorizer
from livescore_operator.metrics_api.provider import MetricsProvider
from livescore_operator.metrics_api.registration import Registration
from livescore_operator.metrics_api.tls import ServerTls
from livescore_operator.resource import Manifest
from livescore_operator.settings import Settings


class MetricsAdapter:
    """The server of ``custom.metrics.k8s.io``. Every replica serves it; only the leader registers it.

    Attributes:
        tls: The TLS context of the listener.
        registration: The task that keeps certificate and APIServices up to date.
    """

    def __init__(self, cluster: Cluster, settings: Settings, leadership: Leadership) -> None:
        self._cluster = cluster
        self._settings = settings
        self.tls = ServerTls()
        self.registration = Registration(
            cluster,
            self.tls,
            settings.pod_namespace,
            settings.metrics_adapter_service,
            settings.metrics_adapter_role,
            leading=lambda: leadership.leading,
            led=leadership.wait,
        )

    def listener(self) -> Listener:
        """Return the HTTPS server."""
        authorizer = SubjectAccessAuthorizer(self._cluster.review)
        application = Adapter(self.tls, authorizer, MetricsProvider(self._find_pods)).application()
        host, port = self._settings.host, self._settings.metrics_adapter_port
        return Listener(application, host, port, "metrics adapter", "METRICS_ADAPTER_PORT", self.tls.context)

    async def _find_pods(self, namespace: str, selector: str) -> Sequence[Manifest]:
        return await self._cluster.select("Pod", namespace, selector) or []
