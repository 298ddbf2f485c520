"""The status conditions of a LiveScore, derived from its owned objects. Pure functions.

They follow kstatus: ``Ready`` is the summary, ``Reconciling`` is True while changes are in progress, ``Stalled`` while
they cannot proceed. ``docs/operator.md`` lists every reason.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from livescore_operator import troubles
from livescore_operator.components import hpa, migration
from livescore_operator.errors import ReconcileError, Terminal, Waiting
from livescore_operator.resource import Condition, ConditionStatus, LiveScore, Manifest, Scaling, timestamp
from livescore_operator.scaling import modes
from livescore_operator.troubles import Trouble

OwnedObjects = Mapping[tuple[str, str], Manifest]

# Conditions that Ready summarizes, in the order in which a stack starts: the first that is not True gives the reason.
PARTS = ("DatabaseReady", "RedisReady", "SchemaCurrent", "ApiAvailable", "WorkersAvailable")

# Reasons that need a person.
STALLING = frozenset({"MigrationFailed", "RolloutStuck"})

# Reasons of parts that serve, but do not match the spec yet.
UNFINISHED = frozenset({"RollingOut", "RolloutStuck"}) | troubles.REASONS

# Component labels of the pods that each part depends on.
COMPONENTS = {
    "DatabaseReady": ("postgres",),
    "RedisReady": ("redis",),
    "SchemaCurrent": ("migration",),
    "ApiAvailable": ("api",),
    "WorkersAvailable": ("worker", "scheduler"),
}

_NEVER = datetime.max.replace(tzinfo=UTC)

# Reasons of a part that are replaced by the trouble of its pods.
EXPLAINED = frozenset({"Starting", "Migrating", "Unavailable", "RollingOut", "RolloutStuck", "ScalingUp"})


class Finding(NamedTuple):
    """A condition without its history.

    Attributes:
        type: Type of the condition.
        status: True, False or Unknown.
        reason: Reason for programs.
        message: Reason for people.
        stalled: Whether a person must act.
    """

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""
    stalled: bool = False


@dataclass(frozen=True)
class Progress:
    """Input of the conditions in addition to the owned objects.

    Attributes:
        rolled: Deployments that were just applied, and whether their pod template changed.
        leaving: Number of draining API pods.
        troubles: Why pods are missing or not ready, by component.
        pods: Names of the existing pods.
        now: Current time, with a time zone.
    """

    rolled: Mapping[tuple[str, str], bool] = field(default_factory=dict)
    leaving: int = 0
    troubles: Mapping[str, Trouble] = field(default_factory=dict)
    pods: Collection[str] = ()
    now: datetime = _NEVER


NO_PROGRESS = Progress()


def assess(
    resource: LiveScore,
    owned: OwnedObjects,
    serving_image: str | None,
    migration_log: str,
    problem: ReconcileError | None,
    scaled: Scaling | None = None,
    progress: Progress = NO_PROGRESS,
) -> list[Finding]:
    """Return all conditions of a LiveScore.

    Args:
        resource: The LiveScore.
        owned: Live objects by kind and name.
        serving_image: See :class:`~livescore_operator.components.common.BuildContext`.
        migration_log: Last log line of a failed migration; empty if none failed.
        problem: Error of the reconcile; None if there was none.
        scaled: Scaling decision.
        progress: Further input.
    """
    parts = [
        database(resource, owned, progress.pods),
        redis(resource, owned, progress.pods),
        schema(resource, owned, serving_image, migration_log),
        api(resource, owned, progress),
        workers(resource, owned, progress),
    ]
    parts = [_blamed(_explained(part, progress), problem) for part in parts]
    return [*summaries(parts, problem, _is_ordered(resource, parts)), *parts, scaling(resource, owned, scaled)]


def _explained(part: Finding, progress: Progress) -> Finding:
    """Return a part with the trouble of its pods as its reason."""
    found = (progress.troubles.get(component) for component in COMPONENTS[part.type])
    trouble = next((one for one in found if one is not None), None)
    if trouble is None or part.reason not in EXPLAINED:
        return part
    remaining = trouble.remaining(progress.now)
    return Finding(part.type, part.status, trouble.reason, trouble.message, stalled=remaining == 0)


def _is_ordered(resource: LiveScore, parts: Iterable[Finding]) -> bool:
    """Return True if pods are added because the spec was changed, and not by autoscaling."""
    growing = {part.type for part in parts if part.reason == "ScalingUp"}
    return "WorkersAvailable" in growing or ("ApiAvailable" in growing and not modes.of(resource).automatic)


def _blamed(part: Finding, problem: ReconcileError | None) -> Finding:
    if isinstance(problem, Waiting) and problem.condition == part.type:
        return Finding(part.type, "False", problem.reason, problem.message)
    return part


# The summary


def summaries(parts: Iterable[Finding], problem: ReconcileError | None, growing: bool = False) -> list[Finding]:
    """Return Ready, Reconciling and Stalled.

    Args:
        parts: Findings that Ready summarizes.
        problem: Error of the reconcile.
        growing: Whether pods are added because of the spec: the LiveScore is ready and still reconciling then.
    """
    obstacle = _obstacle(list(parts), problem)
    if obstacle is None:
        idle, busy = (
            Finding("Reconciling", "False", "Ready"),
            Finding("Reconciling", "True", "ScalingUp", "pods are being added"),
        )
        return [
            Finding("Ready", "True", "Ready", "everything matches the spec"),
            busy if growing else idle,
            Finding("Stalled", "False", "Ready"),
        ]
    stalled = isinstance(problem, Terminal) or obstacle.reason in STALLING or obstacle.stalled
    return [
        Finding("Ready", "False", obstacle.reason, obstacle.message),
        Finding("Reconciling", "False" if stalled else "True", obstacle.reason, obstacle.message),
        Finding("Stalled", "True" if stalled else "False", obstacle.reason, obstacle.message if stalled else ""),
    ]


def _obstacle(parts: list[Finding], problem: ReconcileError | None) -> Finding | None:
    if problem is not None:
        return Finding("Ready", "False", problem.reason, problem.message)
    return next((part for part in parts if part.status != "True" or part.reason in UNFINISHED), None)


def interrupted(problem: ReconcileError) -> list[Finding]:
    """Return the findings of a reconcile that failed before the owned objects were read; other conditions are kept."""
    stalled = isinstance(problem, Terminal)
    reason, message = problem.reason, problem.message
    return [
        Finding("Ready", "False" if stalled else "Unknown", reason, message),
        Finding("Reconciling", "False" if stalled else "True", reason, message),
        Finding("Stalled", "True" if stalled else "False", reason, message if stalled else ""),
    ]


def suspended() -> list[Finding]:
    """Return the findings of a suspended LiveScore; other conditions are kept."""
    message = "spec.suspend is true: nothing is checked, changed or repaired"
    return [
        Finding("Ready", "Unknown", "Suspended", message),
        Finding("Reconciling", "False", "Suspended", message),
        Finding("Stalled", "False", "Suspended", message),
    ]


def planned(findings: Iterable[Finding], summary: str, *, pending: bool) -> list[Finding]:
    """Return the findings of a LiveScore with reconcilePolicy Plan: nothing is in progress.

    Args:
        findings: Findings as for Apply.
        summary: Summary of the plan.
        pending: Whether the plan has changes; the cluster does not match the spec then.
    """
    message = f"reconcilePolicy is Plan: {summary}; see status.plan"
    replaced = {"Reconciling": Finding("Reconciling", "False", "PlanOnly", message)}
    found = {finding.type: finding for finding in findings}
    if pending and found["Stalled"].status != "True":
        replaced["Ready"] = Finding("Ready", "False", "PlanPending", f"{message}; set reconcilePolicy to Apply")
    return [replaced.get(name, finding) for name, finding in found.items()]


def contended(findings: Iterable[Finding], problem: Terminal) -> list[Finding]:
    """Return the findings of a LiveScore that another operator watches too: a person must remove one of them."""
    reason, message = problem.reason, problem.message
    replaced = {
        "Ready": Finding("Ready", "False", reason, message),
        "Reconciling": Finding("Reconciling", "False", reason, message),
        "Stalled": Finding("Stalled", "True", reason, message),
    }
    found = {finding.type: finding for finding in findings}
    return [*({**found, **replaced}.values())]


# The parts


def database(resource: LiveScore, owned: OwnedObjects, pods: Collection[str] = ()) -> Finding:
    """Return whether PostgreSQL is ready, according to its controller."""
    spec, name = resource.spec.postgres, f"{resource.name}-postgres"
    if spec.mode == "external":
        return Finding(
            "DatabaseReady",
            "True",
            "External",
            "not run by this operator; the readiness of the API shows whether it is available",
        )
    if spec.mode == "standalone":
        return _stateful("DatabaseReady", owned.get(("StatefulSet", name)), name, pods)
    ready = _status(owned.get(("Cluster", name))).get("readyInstances", 0)
    if ready:
        return Finding("DatabaseReady", "True", "Ready", f"{ready} of {spec.instances} instances are ready")
    return Finding("DatabaseReady", "False", "Starting", f"no instance of Cluster {name} is ready")


def redis(resource: LiveScore, owned: OwnedObjects, pods: Collection[str] = ()) -> Finding:
    """Return whether Redis is ready, according to its controller."""
    name = f"{resource.name}-redis"
    if resource.spec.redis.mode == "external":
        return Finding(
            "RedisReady",
            "True",
            "External",
            "not run by this operator; the readiness of the API shows whether it is available",
        )
    return _stateful("RedisReady", owned.get(("StatefulSet", name)), name, pods)


def _stateful(kind: str, live: Manifest | None, name: str, pods: Collection[str]) -> Finding:
    if live is None:
        return Finding(kind, "False", "NotCreated", f"StatefulSet {name} does not exist yet")
    status = _status(live)
    if not status.get("readyReplicas", 0):
        pod = f"{name}-0"
        if pod in pods:
            return Finding(kind, "False", "Starting", f"pod {pod} is not ready; see `kubectl describe pod {pod}`")
        message = f"pod {pod} does not exist yet; see `kubectl describe statefulset {name}`"
        return Finding(kind, "False", "Starting", message)
    if not _is_current(live) or status.get("currentRevision") != status.get("updateRevision"):
        return Finding(kind, "True", "RollingOut", f"pod {name}-0 is being replaced by the new revision")
    return Finding(kind, "True", "Ready", f"pod {name}-0 is ready")


def schema(resource: LiveScore, owned: OwnedObjects, serving_image: str | None, log: str) -> Finding:
    """Return whether the migrations of the desired image were applied."""
    image, name = resource.spec.image, migration.name(resource)
    job = owned.get(("Job", name))
    if job is None:
        if serving_image == image:
            return Finding("SchemaCurrent", "True", "Migrated", f"the schema matches {image}")
        return Finding(
            "SchemaCurrent", "False", "WaitingForDatabase", "the migration starts when the database is ready"
        )
    if migration.succeeded(job):
        return Finding("SchemaCurrent", "True", "Migrated", f"the schema matches {image}")
    if migration.failed(job):
        cause = log or migration.failure(job) or "no log"
        message = f"{cause} (Job {name}): {_old(serving_image)}; correct the cause or set another spec.image"
        return Finding("SchemaCurrent", "False", "MigrationFailed", message)
    return Finding(
        "SchemaCurrent", "False", "Migrating", f"Job {name} is running" + (f"; last failure: {log}" if log else "")
    )


def _old(serving_image: str | None) -> str:
    return f"{serving_image} keeps serving" if serving_image else "no image serves yet"


def api(resource: LiveScore, owned: OwnedObjects, progress: Progress = NO_PROGRESS) -> Finding:
    """Return whether the API is available."""
    return _deployment(resource, "ApiAvailable", "api", owned, progress)


def workers(resource: LiveScore, owned: OwnedObjects, progress: Progress = NO_PROGRESS) -> Finding:
    """Return whether worker and scheduler are available."""
    found = [_deployment(resource, "WorkersAvailable", name, owned, progress) for name in ("worker", "scheduler")]
    return min(found, key=_goodness)


def scaling(resource: LiveScore, owned: OwnedObjects, scaled: Scaling | None) -> Finding:
    """Return whether the API is scaled by its load."""
    mode = modes.of(resource)
    return Finding("ScalingActive", *mode.activity(scaled, owned.get(hpa.key(resource))))


def effectiveness(ineffective: str) -> Finding:
    """Return whether all settings have an effect. Ready does not depend on it: the service works as specified.

    Args:
        ineffective: The settings without effect, for people; empty if there are none.
    """
    if ineffective:
        return Finding("SettingsEffective", "False", "SettingsIgnored", f"without effect: {ineffective}")
    return Finding("SettingsEffective", "True", "Effective", "")


def _goodness(finding: Finding) -> tuple[bool, bool, bool]:
    return finding.status == "True", finding.reason not in STALLING, finding.reason not in UNFINISHED


def _deployment(resource: LiveScore, kind: str, component: str, owned: OwnedObjects, progress: Progress) -> Finding:
    name = f"{resource.name}-{component}"
    live = owned.get(("Deployment", name))
    if live is None:
        return Finding(
            kind, "False", "NotCreated", f"Deployment {name} does not exist yet; it is created after the migration"
        )
    status, wanted = _status(live), live.get("spec", {}).get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    expected = expected_pods(component, live, progress.leaving)
    if _stuck(status):
        serving: ConditionStatus = "True" if available >= expected else "False"
        return Finding(kind, serving, "RolloutStuck", f"Deployment {name}: {_stuck(status)}")
    settled = resource.status.settled.get(component)
    growing = available > 0 and settled is not None and available >= min(settled, expected)
    if available < expected and not growing:
        return Finding(kind, "False", "Unavailable", f"{available} of {wanted} pods of {name} are available")
    if _is_rolling(resource, kind, live, progress):
        return Finding(kind, "True", "RollingOut", f"{updated} of {wanted} pods of {name} are up to date")
    if available < expected:
        message = f"{available} of {wanted} pods of {name} are available, as many as before; the others are starting"
        return Finding(kind, "True", "ScalingUp", message)
    return Finding(kind, "True", "Available", f"{available} of {wanted} pods of {name} are available")


def expected_pods(component: str, live: Manifest, leaving: int) -> int:
    """Return the number of pods of a Deployment that should be available: all but the draining ones."""
    wanted: int = live.get("spec", {}).get("replicas", 1)
    return max(0, wanted - leaving) if component == "api" else wanted


def settled(resource: LiveScore, owned: OwnedObjects, leaving: int) -> dict[str, int]:
    """Return the number of pods of each Deployment that were last available at the same time.

    Fewer pods mean an outage, more a scale-up.
    """
    found = dict(resource.status.settled)
    for component in ("api", "worker", "scheduler"):
        live = owned.get(("Deployment", f"{resource.name}-{component}"))
        if live is None:
            continue
        expected, available = expected_pods(component, live, leaving), _status(live).get("availableReplicas", 0)
        if available >= expected and _is_current(live):
            found[component] = expected
        elif component in found:
            found[component] = min(found[component], expected)
    return found


def _is_rolling(resource: LiveScore, kind: str, live: Manifest, progress: Progress) -> bool:
    """Return True if pods of an older template exist, or may exist."""
    if _is_current(live):
        return rolling(live)
    name = ("Deployment", live["metadata"]["name"])
    if name in progress.rolled:
        return progress.rolled[name]
    # The controller has not processed the last change. If this generation was reported before, that report stands.
    before = next((one for one in resource.status.conditions if one.type == kind), None)
    current = before is not None and before.observed_generation >= resource.metadata.generation
    return not (current and before is not None and before.reason in ("Available", "ScalingUp"))


def rolling(live: Manifest) -> bool:
    """Return True if pods of an older template exist, according to the Deployment."""
    status = _status(live)
    return not _is_current(live) or status.get("replicas", 0) > status.get("updatedReplicas", 0)


def _stuck(status: Mapping[str, Any]) -> str:
    """Return why a roll-out makes no progress; empty if it does."""
    found = (one for one in status.get("conditions", []) if one["type"] == "Progressing" and one["status"] == "False")
    return next((str(one.get("message", one.get("reason", ""))) for one in found), "")


def _status(live: Manifest | None) -> dict[str, Any]:
    return (live or {}).get("status") or {}


def _is_current(live: Manifest) -> bool:
    """Return True if the status describes the current spec."""
    generation: int = live["metadata"].get("generation", 0)
    return bool(_status(live).get("observedGeneration", 0) >= generation)


# History


def merge(old: Iterable[Condition], findings: Iterable[Finding], generation: int, now: datetime) -> list[Condition]:
    """Return the conditions to write. The transition time changes only with the status.

    Args:
        old: Conditions in the status; those without a finding are kept.
        findings: New findings.
        generation: Generation of the spec that was reconciled.
        now: Current time, with a time zone.
    """
    before = {condition.type: condition for condition in old}
    merged = {
        **before,
        **{found.type: _condition(found, before.get(found.type), generation, now) for found in findings},
    }
    return list(merged.values())


def _condition(found: Finding, before: Condition | None, generation: int, now: datetime) -> Condition:
    moved = before is None or before.status != found.status
    return Condition(
        type=found.type,
        status=found.status,
        reason=found.reason,
        message=found.message,
        observed_generation=generation,
        last_transition_time=timestamp(now) if moved or before is None else before.last_transition_time,
    )
