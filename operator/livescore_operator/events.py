"""Kubernetes Events about LiveScores, as `kubectl describe` shows them."""

from collections.abc import Iterable
from datetime import UTC, datetime

import structlog

from livescore_operator.cluster import Cluster
from livescore_operator.errors import ReconcileError
from livescore_operator.resource import API_VERSION, KIND, Condition, LiveScore, Manifest, timestamp

log = structlog.get_logger(__name__)

# Conditions that cause Events when they change; the others only give details.
EVENT_CONDITIONS = ("Ready", "Stalled", "SchemaCurrent", "SettingsEffective")

# Reasons for not being ready that are part of every upgrade or were requested, so they are not warnings.
EXPECTED_REASONS = ("Migrating", "RollingOut", "WaitingForDatabase", "Suspended", "PlanPending")

# Maximum length of an Event message in characters.
MAX_MESSAGE = 1024


class Recorder:
    """Creates Events on behalf of one operator process."""

    def __init__(self, cluster: Cluster, instance: str) -> None:
        self._cluster = cluster
        self._instance = instance

    async def record(self, resource: LiveScore, severity: str, reason: str, message: str) -> None:
        """Create an Event. A failure is logged only: the reconcile goes on without the Event."""
        try:
            await self._cluster.create_event(_event(resource, severity, reason, message, self._instance))
        except ReconcileError as error:
            log.warning("event not recorded", reason=reason, error=str(error))

    async def record_transitions(self, resource: LiveScore, old: Iterable[Condition], new: Iterable[Condition]) -> None:
        """Record the changes between two lists of conditions, see :func:`transitions`."""
        for severity, reason, message in transitions(old, new):
            await self.record(resource, severity, reason, message)


def transitions(old: Iterable[Condition], new: Iterable[Condition]) -> list[tuple[str, str, str]]:
    """Return type, reason and message of the Events for the changes between two lists of conditions."""
    before = {condition.type: condition for condition in old}
    changed = [one for one in new if one.type in EVENT_CONDITIONS and _matters(before.get(one.type), one)]
    return list(dict.fromkeys((_severity(one), one.reason, one.message) for one in changed))


def _matters(before: Condition | None, now: Condition) -> bool:
    if now.type == "SettingsEffective":
        # The message changes only when the spec or the cluster changes.
        return now.status == "False" and (before is None or before.message != now.message)
    if before is not None and (before.status, before.reason) == (now.status, now.reason):
        return False
    if now.type == "Stalled":
        return now.status == "True"
    # Steps on the way to True are not recorded; reaching it and losing it are.
    return now.status == "True" or (before is not None and before.status == "True")


def _severity(condition: Condition) -> str:
    good = "False" if condition.type == "Stalled" else "True"
    return "Normal" if condition.status == good or condition.reason in EXPECTED_REASONS else "Warning"


def _event(resource: LiveScore, severity: str, reason: str, message: str, instance: str) -> Manifest:
    now = timestamp(datetime.now(UTC))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{resource.name}.", "namespace": resource.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": resource.name,
            "namespace": resource.namespace,
            "uid": resource.metadata.uid,
        },
        "type": severity,
        "reason": reason,
        "message": message[:MAX_MESSAGE],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": "livescore-operator"},
        "reportingComponent": "livescore-operator",
        "reportingInstance": instance,
    }
