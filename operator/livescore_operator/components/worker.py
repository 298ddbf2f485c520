"""Worker and scheduler: the clock of the matches."""

from typing import Any

from livescore_operator.components import process
from livescore_operator.components.common import Facts
from livescore_operator.resource import LiveScore, Manifest, Scheduler, Worker

# Seconds to end the job at hand; the processes need two.
STOP_SECONDS = 30


def build(resource: LiveScore, facts: Facts, image: str) -> list[Manifest]:
    """Deployments of worker and scheduler."""
    spec = resource.spec
    return [
        _deployment(resource, facts, image, "worker", spec.worker),
        # Two schedulers would take each other's lock away.
        _deployment(resource, facts, image, "scheduler", spec.scheduler, strategy={"type": "Recreate"}),
    ]


def _deployment(
    resource: LiveScore, facts: Facts, image: str, component: str, wanted: Worker | Scheduler, **spec: Any
) -> Manifest:
    ports = [process.management()]
    container = process.container(resource, component, component, image, wanted, ports=ports, **process.probes())
    pod = {"terminationGracePeriodSeconds": STOP_SECONDS}
    return process.deployment(resource, facts, component, wanted, container, pod=pod, replicas=wanted.replicas, **spec)
