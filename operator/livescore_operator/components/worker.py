"""Worker and scheduler, which change the status of matches on time."""

from typing import Any

from livescore_operator.components import process
from livescore_operator.components.common import BuildContext
from livescore_operator.resource import LiveScore, Manifest, Scheduler, Worker

# Seconds to finish the current job; the processes themselves need two.
STOP_SECONDS = 30


def build(resource: LiveScore, context: BuildContext, image: str) -> list[Manifest]:
    """Return the Deployments of worker and scheduler."""
    spec = resource.spec
    return [
        _deployment(resource, context, image, "worker", spec.worker),
        # Two schedulers would compete for one lock.
        _deployment(resource, context, image, "scheduler", spec.scheduler, strategy={"type": "Recreate"}),
    ]


def _deployment(
    resource: LiveScore, context: BuildContext, image: str, component: str, wanted: Worker | Scheduler, **spec: Any
) -> Manifest:
    ports = [process.management()]
    container = process.container(resource, component, component, image, wanted, ports=ports, **process.probes())
    pod = {"terminationGracePeriodSeconds": STOP_SECONDS}
    return process.deployment(
        resource, context, component, wanted, container, pod=pod, replicas=wanted.replicas, **spec
    )
