"""What Kopf calls: each handler says in one line whose turn it is. Nothing is decided, read or stored here.

All are `on.event` handlers: Kopf then adds no finalizer and no annotation, and writes nothing itself.
"""

import os
import ssl
from collections.abc import Mapping
from typing import Any

import kopf

from livescore_operator.components.common import INSTANCE, MANAGED_BY, WATCH
from livescore_operator.queue import Queue
from livescore_operator.resource import GROUP, PLURAL, VERSION

# Children are watched by label: the API server sends nothing else.
CHILDREN = (
    ("", "v1", "configmaps"),
    ("", "v1", "services"),
    ("", "v1", "serviceaccounts"),
    ("apps", "v1", "deployments"),
    ("apps", "v1", "statefulsets"),
    ("batch", "v1", "jobs"),
    ("policy", "v1", "poddisruptionbudgets"),
    ("autoscaling", "v2", "horizontalpodautoscalers"),
    ("networking.k8s.io", "v1", "ingresses"),
    ("networking.k8s.io", "v1", "networkpolicies"),
)

# Secrets are watched by a label of their own: credentials that were made here, and any that a user marks with it.
SECRETS = ("", "v1", "secrets")

# A watch that is silent for longer is made anew; bookmarks come every minute.
WATCH_SECONDS = 600
IDLE_SECONDS = 70
CONNECT_SECONDS = 10
WORKER_LIMIT = 20


def register(registry: kopf.OperatorRegistry, queue: Queue) -> None:
    """Tell Kopf what to watch."""

    async def livescore_changed(namespace: str | None, name: str, **_: Any) -> None:
        queue.add((str(namespace), name))

    async def child_changed(namespace: str | None, labels: Mapping[str, str], **_: Any) -> None:
        # Others may label an object as managed by this operator; without an instance it belongs to no LiveScore.
        if instance := labels.get(INSTANCE):
            queue.add((str(namespace), instance))

    async def secret_changed(namespace: str | None, **_: Any) -> None:
        queue.add_namespace(str(namespace))

    kopf.on.login(registry=registry)(_login)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(livescore_changed)
    for resource in CHILDREN:
        kopf.on.event(*resource, labels=MANAGED_BY, registry=registry)(child_changed)
    kopf.on.event(*SECRETS, labels={WATCH: "true"}, registry=registry)(secret_changed)


class Connection(kopf.ConnectionInfo):
    """Trusts what kubectl trusts: since Python 3.13 certificates of many running clusters count as malformed."""

    def as_ssl_context(self) -> ssl.SSLContext:
        """Checks the certificate and the name, not every rule of RFC 5280."""
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context


async def _login(**kwargs: Any) -> Connection | None:
    """As :func:`livescore_operator.cluster.connect` does: what `KUBECONFIG` names, else the pod's own account."""
    account = None if "KUBECONFIG" in os.environ else kopf.login_with_service_account(**kwargs)
    found = account or kopf.login_with_kubeconfig(**kwargs)
    return Connection(**vars(found)) if found else None


def configure(settings: kopf.OperatorSettings) -> None:
    """Kopf, hardened: watches that cannot freeze, no peering (a Lease decides), no scanning, nothing posted."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.queueing.worker_limit = WORKER_LIMIT
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 60
    settings.watching.connect_timeout = CONNECT_SECONDS
    settings.watching.inactivity_timeout = IDLE_SECONDS
    settings.networking.connect_timeout = CONNECT_SECONDS
    settings.networking.request_timeout = CONNECT_SECONDS * 3
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    for group, version, plural in CHILDREN:
        selector = ",".join(f"{name}={value}" for name, value in MANAGED_BY.items())
        settings.watching.label_selectors[group, version, plural] = selector
    settings.watching.label_selectors[SECRETS] = f"{WATCH}=true"
