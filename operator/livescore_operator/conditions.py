"""What is so, and why: the conditions of a LiveScore, made from its children. Pure.

They follow kstatus: ``Ready`` sums up, ``Reconciling`` and ``Stalled`` are True only while something is under way or
cannot go on. Every reason is listed in ``docs/operator.md``.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from livescore_operator.components import hpa, migration
from livescore_operator.errors import ReconcileError, Terminal, Waiting
from livescore_operator.resource import Condition, ConditionStatus, LiveScore, Manifest, Scaling, timestamp
from livescore_operator.scaling import algorithm

Children = Mapping[tuple[str, str], Manifest]

# What Ready sums up, in the order in which a stack comes up: the first that is not so is the reason.
PARTS = ("DatabaseReady", "RedisReady", "SchemaCurrent", "ApiAvailable", "WorkersAvailable")

# Reasons for which nothing goes on before a person acts.
STALLING = frozenset({"MigrationFailed", "RolloutStuck"})

# Parts that are good enough to serve, and not yet what was asked for.
UNFINISHED = frozenset({"RollingOut", "RolloutStuck"})


class Finding(NamedTuple):
    """One condition without its history."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""


def assess(
    resource: LiveScore,
    children: Children,
    serving_image: str | None,
    migration_log: str,
    problem: ReconcileError | None,
    scaled: Scaling | None = None,
) -> list[Finding]:
    """All conditions of a LiveScore.

    Args:
        resource: whose conditions these are.
        children: the live objects by kind and name.
        serving_image: image that Deployments may run, see :class:`~livescore_operator.components.common.Facts`.
        migration_log: last line of a failed migration, empty if none failed.
        problem: why the last reconcile ended early, if it did.
        scaled: what was decided about the number of API pods.
    """
    parts = [
        database(resource, children),
        redis(resource, children),
        schema(resource, children, serving_image, migration_log),
        api(resource, children),
        workers(resource, children),
    ]
    parts = [_blamed(part, problem) for part in parts]
    return [*summaries(parts, problem), *parts, scaling(resource, children, scaled)]


def _blamed(part: Finding, problem: ReconcileError | None) -> Finding:
    if isinstance(problem, Waiting) and problem.condition == part.type:
        return Finding(part.type, "False", problem.reason, problem.message)
    return part


# The sums


def summaries(parts: Iterable[Finding], problem: ReconcileError | None) -> list[Finding]:
    """Ready, Reconciling and Stalled."""
    obstacle = _obstacle(list(parts), problem)
    if obstacle is None:
        return [
            Finding("Ready", "True", "Ready", "everything is as the spec says"),
            Finding("Reconciling", "False", "Ready"),
            Finding("Stalled", "False", "Ready"),
        ]
    stalled = isinstance(problem, Terminal) or obstacle.reason in STALLING
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
    """Return what changes if a reconcile ended before the owned objects were seen; the other conditions stay."""
    stalled = isinstance(problem, Terminal)
    reason, message = problem.reason, problem.message
    return [
        Finding("Ready", "False" if stalled else "Unknown", reason, message),
        Finding("Reconciling", "False" if stalled else "True", reason, message),
        Finding("Stalled", "True" if stalled else "False", reason, message if stalled else ""),
    ]


def suspended() -> list[Finding]:
    """Return what changes while nothing is reconciled; the other conditions stay as they were."""
    message = "spec.suspend is true: nothing is checked, changed or repaired"
    return [
        Finding("Ready", "Unknown", "Suspended", message),
        Finding("Reconciling", "False", "Suspended", message),
        Finding("Stalled", "False", "Suspended", message),
    ]


def planned(findings: Iterable[Finding], summary: str, *, pending: bool) -> list[Finding]:
    """Return the findings while only a plan is made: nothing is under way.

    Args:
        findings: what is so.
        summary: of the plan.
        pending: whether the plan has changes: then the cluster is not as the spec says.
    """
    message = f"reconcilePolicy is Plan: {summary}; see status.plan"
    replaced = {"Reconciling": Finding("Reconciling", "False", "PlanOnly", message)}
    found = {finding.type: finding for finding in findings}
    if pending and found["Stalled"].status != "True":
        replaced["Ready"] = Finding("Ready", "False", "PlanPending", f"{message}; set reconcilePolicy to Apply")
    return [replaced.get(name, finding) for name, finding in found.items()]


# The parts


def database(resource: LiveScore, children: Children) -> Finding:
    """Whether PostgreSQL answers, as far as its own controller tells."""
    spec, name = resource.spec.postgres, f"{resource.name}-postgres"
    if spec.mode == "external":
        return Finding("DatabaseReady", "True", "External", "run by somebody else; readiness of the API tells more")
    if spec.mode == "standalone":
        return _stateful("DatabaseReady", children.get(("StatefulSet", name)), name)
    ready = _status(children.get(("Cluster", name))).get("readyInstances", 0)
    if ready:
        return Finding("DatabaseReady", "True", "Ready", f"{ready} of {spec.instances} instances are ready")
    return Finding("DatabaseReady", "False", "Starting", f"no instance of Cluster {name} is ready yet")


def redis(resource: LiveScore, children: Children) -> Finding:
    """Whether Redis answers, as far as its own controller tells."""
    name = f"{resource.name}-redis"
    if resource.spec.redis.mode == "external":
        return Finding("RedisReady", "True", "External", "run by somebody else; readiness of the API tells more")
    return _stateful("RedisReady", children.get(("StatefulSet", name)), name)


def _stateful(kind: str, live: Manifest | None, name: str) -> Finding:
    if live is None:
        return Finding(kind, "False", "NotCreated", f"StatefulSet {name} is not there yet")
    if _status(live).get("readyReplicas", 0):
        return Finding(kind, "True", "Ready", f"pod {name}-0 is ready")
    return Finding(kind, "False", "Starting", f"pod {name}-0 is not ready; see `kubectl describe pod {name}-0`")


def schema(resource: LiveScore, children: Children, serving_image: str | None, log: str) -> Finding:
    """Whether the migrations of the wanted image were applied."""
    image, name = resource.spec.image, migration.name(resource)
    job = children.get(("Job", name))
    if job is None:
        if serving_image == image:
            return Finding("SchemaCurrent", "True", "Migrated", f"the schema is that of {image}")
        return Finding("SchemaCurrent", "False", "WaitingForDatabase", "the migration starts when the database answers")
    if migration.succeeded(job):
        return Finding("SchemaCurrent", "True", "Migrated", f"the schema is that of {image}")
    if migration.failed(job):
        message = f"{log or 'no log'} (Job {name}): {_old(serving_image)}; correct the cause or set another spec.image"
        return Finding("SchemaCurrent", "False", "MigrationFailed", message)
    return Finding(
        "SchemaCurrent", "False", "Migrating", f"Job {name} runs" + (f"; last failure: {log}" if log else "")
    )


def _old(serving_image: str | None) -> str:
    return f"{serving_image} goes on serving" if serving_image else "nothing serves yet"


def api(resource: LiveScore, children: Children) -> Finding:
    """Whether the API serves."""
    return _deployments("ApiAvailable", [resource.api_name], children)


def workers(resource: LiveScore, children: Children) -> Finding:
    """Whether workers and scheduler run."""
    return _deployments("WorkersAvailable", [f"{resource.name}-worker", f"{resource.name}-scheduler"], children)


def scaling(resource: LiveScore, children: Children, scaled: Scaling | None) -> Finding:
    """Whether something scales the API by itself, and can."""
    mode = resource.spec.autoscaling.mode
    if mode == "none":
        return Finding("ScalingActive", "False", "ModeNone", "api.replicas says how many API pods there are")
    if mode == "hpa":
        return _autoscaler(children.get(hpa.key(resource)))
    if scaled is None or scaled.reason == algorithm.NO_READINGS:
        return Finding("ScalingActive", "False", "NoReadings", "no serving API pod tells its connections")
    return Finding("ScalingActive", "True", "Connections", "the operator scales; status.scaling says what and why")


def _autoscaler(live: Manifest | None) -> Finding:
    """What the HorizontalPodAutoscaler's own controller says of it."""
    found = {one["type"]: one for one in _status(live).get("conditions") or []}
    told = found.get("AbleToScale"), found.get("ScalingActive")
    bad = next((one for one in told if one and one["status"] != "True"), None)
    if bad is not None:
        message = f"{bad.get('reason', '')}: {bad.get('message', '')}; see docs/adapter.md"
        return Finding("ScalingActive", "False", "AutoscalerFailing", message)
    if found.get("ScalingActive") is None:
        return Finding("ScalingActive", "False", "AutoscalerStarting", "it has read no metric yet")
    return Finding("ScalingActive", "True", "Autoscaler", "a HorizontalPodAutoscaler scales")


def _deployments(kind: str, names: Iterable[str], children: Children) -> Finding:
    findings = [_deployment(kind, name, children.get(("Deployment", name))) for name in names]
    return min(findings, key=_goodness)


def _goodness(finding: Finding) -> tuple[bool, bool, bool]:
    return finding.status == "True", finding.reason not in STALLING, finding.reason not in UNFINISHED


def _deployment(kind: str, name: str, live: Manifest | None) -> Finding:
    if live is None:
        return Finding(kind, "False", "NotCreated", f"Deployment {name} waits for the migration")
    status, wanted = _status(live), live.get("spec", {}).get("replicas", 1)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if _stuck(status):
        serving: ConditionStatus = "True" if available >= wanted else "False"
        return Finding(kind, serving, "RolloutStuck", f"Deployment {name}: {_stuck(status)}")
    if available < wanted:
        return Finding(kind, "False", "Unavailable", f"{available} of {wanted} pods of {name} are available")
    if rolling(live) or updated < wanted:
        return Finding(kind, "True", "RollingOut", f"{updated} of {wanted} pods of {name} are up to date")
    return Finding(kind, "True", "Available", f"{available} of {wanted} pods of {name} are available")


def rolling(live: Manifest) -> bool:
    """Whether pods of an older template are still there, as far as the Deployment tells."""
    status = _status(live)
    return not _seen(live) or status.get("replicas", 0) > status.get("updatedReplicas", 0)


def _stuck(status: Mapping[str, Any]) -> str:
    """Why a roll-out does not go on; empty while it does."""
    found = (one for one in status.get("conditions", []) if one["type"] == "Progressing" and one["status"] == "False")
    return next((str(one.get("message", one.get("reason", ""))) for one in found), "")


def _status(live: Manifest | None) -> dict[str, Any]:
    return (live or {}).get("status") or {}


def _seen(live: Manifest) -> bool:
    """Whether the status speaks of the spec as it is now."""
    generation: int = live["metadata"].get("generation", 0)
    return bool(_status(live).get("observedGeneration", 0) >= generation)


# History


def merge(old: Iterable[Condition], findings: Iterable[Finding], generation: int, now: datetime) -> list[Condition]:
    """The conditions as they are written: a transition is a change of status, nothing less.

    Args:
        old: as they stand in the status; those without a finding stay.
        findings: what is so now.
        generation: of the spec that this is said of.
        now: with a time zone.
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
