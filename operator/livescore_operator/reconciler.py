"""Brings one LiveScore to what its spec says: observe, scale, plan, apply, prune, status. Read it from top to bottom.

Every cause (an edit, an event of a child, the resync, a restart) leads to the same function, which looks at what is
there rather than at what happened, so it may be called at any time and any number of times.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from pydantic import ValidationError

from livescore_operator import components, conditions, ineffective, planning, reporting, troubles, volumes
from livescore_operator.autoscaler import Autoscaler
from livescore_operator.build_context import build_context, serving_image
from livescore_operator.cluster import FIELD_MANAGER, Cluster
from livescore_operator.components import migration
from livescore_operator.errors import NotLeading, ReconcileError, Terminal, Transient, Waiting
from livescore_operator.events import Recorder
from livescore_operator.executor import SERVER_ERRORS, Executor, Result, combined
from livescore_operator.observation import ObservedState, is_orphan, name_conflicts, observe
from livescore_operator.ownership import Decision, Ownership
from livescore_operator.planning import Change
from livescore_operator.redaction import Redactor
from livescore_operator.resource import KIND, Condition, Identity, LiveScore, Manifest, Metadata, Plan, Status
from livescore_operator.rewrites import Rewrites
from livescore_operator.scaling.plan import ScalingPlan, soonest
from livescore_operator.telemetry import metrics
from livescore_operator.troubles import Trouble

log = structlog.get_logger(__name__)

Key = tuple[str, str]
OwnedObjects = Mapping[planning.Key, Manifest]

# Nothing tells of another operator's Cluster: it is looked at again so often while it starts.
CLUSTER_SECONDS = 10.0

# Between two looks at pods that do not come: their own events are not watched, there are too many in a cluster.
PODS_SECONDS = 10.0

# Objects whose Events are read in one look.
MAX_SUSPECTS = 8

# Failures in a row from which on an error that may pass stands in the conditions: one alone passes in half a second.
REPORTED_FAILURES = 2

# Seconds after which an error that should have passed is not expected to pass by itself any more.
LASTING_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a reconcile ended: the owned objects as they now are, and what is to be said of them.

    Attributes:
        owned: live objects by kind and name.
        serving_image: image that Deployments may run.
        problem: why not everything is as the spec says.
        plan: what would be changed, if the spec asks for a plan only.
        pending: whether that plan has changes.
        scaled: whether the Deployment of the API is as it was planned.
        rolled: Deployments that were applied, and whether that changed their template.
    """

    owned: OwnedObjects
    serving_image: str | None
    problem: ReconcileError | None = None
    plan: Plan | None = None
    pending: bool = False
    scaled: bool = False
    rolled: Mapping[planning.Key, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """An error that repeats.

    Attributes:
        reason: its reason.
        count: failures in a row, whatever their reasons.
        since: when the first one with this reason was observed.
    """

    reason: str
    count: int
    since: datetime


class Unfinished(Exception):
    """Changes that failed, and may not the next time; all that is to be reported of them was reported."""

    def __init__(self, problem: Transient) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Reconciler:
    """Brings LiveScores to what they say. Keeps nothing of the cluster.

    Args:
        cluster: the API server.
        namespace: of the operator, whose pods may reach the management ports.
        instance: name of this process in Events.
        on_gone: called with every LiveScore that is no more.
        lease_name: of this installation's Lease, which names it among operators.
        lease_seconds: that a change of leader may take.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        instance: str,
        on_gone: Callable[[Key], None] = lambda key: None,
        lease_name: str = "livescore-operator",
        lease_seconds: float = 15.0,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._recorder = Recorder(cluster, instance)
        self.rewrites = Rewrites()
        self._executor = Executor(cluster, self._recorder, self.rewrites)
        self._on_gone = on_gone
        self._failures: dict[Key, Failure] = {}
        self._contended: dict[Key, Terminal] = {}
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        identity = Identity(namespace=namespace, lease=lease_name)
        self.ownership = Ownership(cluster, identity, lambda: self.now(), lease_seconds)
        self.autoscaler = Autoscaler(cluster, self._recorder, lambda: self.now())

    async def reconcile(self, key: Key) -> float | None:
        """Make the cluster what one LiveScore says.

        Returns:
            Seconds after which to look again; None when nothing is waited for but events.

        Raises:
            Transient: when the API server did not do what it was asked; try again.
            NotLeading: when another process has the Lease now.
        """
        body = await self._cluster.get(KIND, *key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self._forget(key)
            return None
        decision = await self._decide(key, body)
        if not decision.owned:
            self._stand_back(key)
            return decision.after
        return soonest(await self._reconcile_owned(key, body), decision.after)

    async def _decide(self, key: Key, body: Manifest) -> Decision:
        """Return whether to work on a LiveScore, and keep what is to be reported about other operators."""
        try:
            decision = await self.ownership.decide(body)
        except Terminal as refused:
            # Operators cannot agree by a status that the API server does not take; reconciling says what is wrong.
            log.warning("the owner could not be written", reason=refused.reason, message=refused.message)
            decision = Decision(owned=True)
        problem = decision.problem
        if problem is None:
            self._contended.pop(key, None)
        else:
            self._contended[key] = problem
        return decision

    def _stand_back(self, key: Key) -> None:
        """Forget all but that the LiveScore exists: another operator works on it, and reports about it."""
        self._failures.pop(key, None)
        self.rewrites.forget(key)
        self.autoscaler.forget(key)
        metrics.forget(*key)

    async def _reconcile_owned(self, key: Key, body: Manifest) -> float | None:
        try:
            resource = LiveScore.parse(body)
        except ValidationError as error:
            await self._report_unreadable(body, error)
            return None
        try:
            after = await self._reconcile(resource)
        except NotLeading:
            raise
        except Unfinished as unfinished:
            raise unfinished.problem from None
        except Exception as error:
            await self._report_failure(resource, error)
            raise
        self._failures.pop(key, None)
        return after

    async def _reconcile(self, resource: LiveScore) -> float | None:
        if resource.spec.suspend:
            await self._report_suspended(resource)
            return None
        observed = await observe(self._cluster, resource)
        scaling = await self.autoscaler.plan(resource, observed)
        outcome = await self._apply_desired_state(resource, observed, scaling)
        # Send commands to pods only if the Deployment was applied as planned.
        if outcome.scaled:
            outcome, scaling = await self._execute_scaling(resource, observed, outcome, scaling)
        else:
            scaling = self.autoscaler.skip(resource, scaling)
        unfinished = None
        if isinstance(outcome.problem, Transient):
            unfinished = Unfinished(outcome.problem)
            problem = self._persistent(resource, outcome.problem)
            if problem is None:
                raise unfinished
            outcome = replace(outcome, problem=problem)
        pods = await self._report(resource, observed, outcome, scaling)
        if unfinished is not None and not isinstance(outcome.problem, Waiting):
            raise unfinished
        status = self.rewrites.remaining(_key(resource))
        return soonest(_requeue_after(resource, outcome, self.now()), scaling.requeue_after, pods, status)

    async def _execute_scaling(
        self, resource: LiveScore, observed: ObservedState, outcome: Outcome, scaling: ScalingPlan
    ) -> tuple[Outcome, ScalingPlan]:
        """Execute the scaling plan; add an error to the outcome."""
        try:
            return outcome, await self.autoscaler.execute(resource, observed, scaling)
        except ReconcileError as error:
            problems = [error] if outcome.problem is None else [outcome.problem, error]
            return replace(outcome, problem=combined(problems)), self.autoscaler.skip(resource, scaling)

    async def _apply_desired_state(self, resource: LiveScore, observed: ObservedState, scaling: ScalingPlan) -> Outcome:
        serving = serving_image(resource, observed)
        try:
            context = build_context(resource, observed, serving, self._namespace, scaling.scale)
            wanted = components.build(resource, context)
            owned = await self._with_name_conflicts(resource, observed, wanted)
            conflicts = name_conflicts(resource, wanted, owned)
        except (Terminal, Waiting) as problem:
            return Outcome(observed.owned, serving, problem)
        possible = [manifest for manifest in wanted if planning.key(manifest) not in conflicts]
        corrections = volumes.corrections(resource, owned, await self._unlabelled_claims(resource, owned))
        plan = _plan(resource, possible, owned, corrections, self.now())
        if resource.spec.reconcile_policy == "Plan":
            shown, result = await self._executor.preview(resource, plan, observed.held_secrets)
            refused = combined([*conflicts.values(), *result.errors, *_lasting(corrections)])
            return Outcome(owned, serving, refused, shown, pending=bool(plan))
        result = await self._executor.carry_out(resource, plan)
        problems = [*(correction.problem for correction in corrections), *self._loops(resource, result)]
        failed = combined([*conflicts.values(), *result.errors, *problems])
        api = ("Deployment", resource.api_name)
        scaled = api not in conflicts and not result.failed(api)
        rolled = {planning.key(one): _rolls(one, observed.owned.get(planning.key(one))) for one in result.objects}
        return Outcome(observed.updated(result.objects), serving, failed, scaled=scaled, rolled=rolled)

    async def _unlabelled_claims(self, resource: LiveScore, owned: OwnedObjects) -> OwnedObjects:
        """Return the claims that lost their labels, of the StatefulSets whose template is to change."""
        names = volumes.unseen(resource, owned)
        found = [await self._cluster.claim(resource.namespace, name) for name in names]
        return {planning.key(claim): claim for claim in found if claim}

    def _loops(self, resource: LiveScore, result: Result) -> list[Terminal]:
        """Return the write loops that no failure of the result stands for."""
        failed = {planning.key(failure.change.manifest) for failure in result.failures}
        return self.rewrites.conflicts(_key(resource), failed)

    # Failures

    def _persistent(self, resource: LiveScore, problem: Transient) -> ReconcileError | None:
        """Count a failure, and return it as it is to be reported; None for the first one, which may pass at once."""
        if problem.reason == "Forbidden":
            # Missing rights do not come by themselves: somebody must see them where he looks.
            return Waiting(problem.reason, f"the operator may not: {problem.message}")
        before, now = self._failures.get(_key(resource)), self.now()
        count = before.count + 1 if before else 1
        since = before.since if before and before.reason == problem.reason else now
        self._failures[_key(resource)] = Failure(problem.reason, count, since)
        if count < REPORTED_FAILURES:
            return None
        lasting = (now - since).total_seconds() >= LASTING_SECONDS
        if lasting and problem.reason not in SERVER_ERRORS:
            return Terminal(problem.reason, problem.message)
        return problem

    async def _report_failure(self, resource: LiveScore, error: Exception) -> None:
        """Report that a reconcile ended before anything could be said of the owned objects, if that repeats."""
        problem: ReconcileError | None = error if isinstance(error, ReconcileError) else _unexpected(error)
        if isinstance(problem, Transient):
            problem = self._persistent(resource, problem)
        if problem is None:
            return
        merged = self._merge(resource, conditions.interrupted(problem))
        update = {"conditions": merged, "observed_generation": resource.metadata.generation}
        try:
            await self._write(resource, resource.status.model_copy(update=update))
        except ReconcileError as failure:
            log.warning("status could not be written", reason=failure.reason, message=failure.message)

    async def _report_unreadable(self, body: Manifest, error: ValidationError) -> None:
        """Report a LiveScore that was stored past the rules of the CRD. Its status may be as wrong as its spec."""
        metadata = Metadata.model_validate(body["metadata"])
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        message = f"the object cannot be read, correct it: {faults}"
        try:
            status = Status.model_validate(body.get("status") or {})
        except ValidationError:
            status = Status()
        findings = conditions.interrupted(Terminal("InvalidResource", message))
        if contended := self._contended.get((metadata.namespace, metadata.name)):
            findings = conditions.contended(findings, contended)
        merged = conditions.merge(status.conditions, findings, metadata.generation, self.now())
        update = {"conditions": merged, "observed_generation": metadata.generation}
        written = status.model_copy(update=update)
        if reporting.dumped(written) != reporting.dumped(status):
            await self._cluster.apply_status(reporting.manifest(metadata, written))

    async def _with_name_conflicts(
        self, resource: LiveScore, observed: ObservedState, wanted: list[Manifest]
    ) -> OwnedObjects:
        """Add objects that have the name of a missing one: it may only have lost its labels."""
        missing = [key for key in map(planning.key, wanted) if key not in observed.owned]
        found = [await self._cluster.get(kind, resource.namespace, name) for kind, name in missing]
        return {**observed.owned, **{key: rival for key, rival in zip(missing, found, strict=True) if rival}}

    async def _report(
        self, resource: LiveScore, observed: ObservedState, outcome: Outcome, scaling: ScalingPlan
    ) -> float | None:
        """Write the status; seconds after which to look again at pods that do not come, None if all are there."""
        owned, image = outcome.owned, outcome.serving_image
        # A driver's error may quote a part of the URL, and the status has more readers than the Secret.
        redactor = Redactor(observed.held_secrets)
        failure = redactor.text(await self._migration_error(resource, owned))
        problem = outcome.problem and replace(outcome.problem, message=redactor.text(outcome.problem.message))
        progress = conditions.Progress(
            rolled=outcome.rolled, leaving=len(scaling.draining), pods=observed.all_pods, now=self.now()
        )
        findings = conditions.assess(resource, owned, image, failure, problem, scaling.status, progress)
        waiting = any(finding.reason in conditions.EXPLAINED for finding in findings)
        if waiting:
            progress = replace(progress, troubles=await self._troubles(resource, observed, owned, redactor))
            findings = conditions.assess(resource, owned, image, failure, problem, scaling.status, progress)
        findings.append(_effectiveness(resource, observed))
        if outcome.plan is not None:
            findings = conditions.planned(findings, outcome.plan.summary, pending=outcome.pending)
        merged = self._merge(resource, findings)
        scaled = reporting.Scaled(scaling.state.connections, scaling.status, scaling.draining)
        await self._write(resource, reporting.status(resource, owned, merged, image, scaled, outcome.plan))
        return _watch_pods(progress) if waiting else None

    async def _troubles(
        self, resource: LiveScore, observed: ObservedState, owned: OwnedObjects, redactor: Redactor
    ) -> dict[str, Trouble]:
        """Return why pods do not come, by component."""
        pods = observed.all_pods.values()
        names = troubles.suspects(pods, owned)[:MAX_SUSPECTS]
        events = await asyncio.gather(*(self._cluster.events_about(resource.namespace, name) for name in names))
        known = dict(zip(names, events, strict=True))
        labels = [label for some in conditions.COMPONENTS.values() for label in some]
        found = {one: troubles.find(one, pods, owned, known, self.now()) for one in labels}
        return {one: await self._told(resource, trouble, redactor) for one, trouble in found.items() if trouble}

    async def _told(self, resource: LiveScore, trouble: Trouble, redactor: Redactor) -> Trouble:
        """Return a trouble with the last line that the container logged."""
        message = trouble.message
        if trouble.log is not None:
            pod, container = trouble.log
            line = ""
            for previous in (True, False):
                line = line or await self._cluster.last_line(resource.namespace, pod, container, previous=previous)
            message += f"; its last line: {line}" if line else f"; see `kubectl logs {pod} -c {container} --previous`"
        return replace(trouble, message=redactor.text(message))

    async def _report_suspended(self, resource: LiveScore) -> None:
        merged, generation = self._merge(resource, conditions.suspended()), resource.metadata.generation
        status = resource.status.model_copy(update={"conditions": merged, "observed_generation": generation})
        await self._write(resource, status)

    def _merge(self, resource: LiveScore, found: Iterable[conditions.Finding]) -> list[Condition]:
        contended = self._contended.get(_key(resource))
        findings = conditions.contended(found, contended) if contended else found
        return conditions.merge(resource.status.conditions, findings, resource.metadata.generation, self.now())

    async def _write(self, resource: LiveScore, status: Status) -> None:
        told = {one.type: one.status for one in status.conditions}
        metrics.tell(resource.namespace, resource.name, told, status.connections)
        found, wanted = reporting.dumped(resource.status), reporting.dumped(status)
        if wanted == found or not self.rewrites.may_write_status(_key(resource)):
            return
        written = await self._cluster.apply_status(reporting.manifest(resource.metadata, status))
        if written is not None:
            stored = Status.model_validate(written.get("status") or {})
            self.rewrites.status_written(_key(resource), found, reporting.dumped(stored))
        await self._recorder.record_transitions(resource, resource.status.conditions, status.conditions)

    async def _migration_error(self, resource: LiveScore, owned: OwnedObjects) -> str:
        """What a failed migration logged last; empty when none failed."""
        name = migration.name(resource)
        job = owned.get(("Job", name))
        if job is None or migration.succeeded(job) or not (job.get("status") or {}).get("failed"):
            return ""
        labels = {"batch.kubernetes.io/job-name": name}
        return await self._cluster.last_line_of_failed_pod(resource.namespace, labels, migration.CONTAINER)

    def _forget(self, key: Key) -> None:
        self._on_gone(key)
        self._failures.pop(key, None)
        self._contended.pop(key, None)
        self.ownership.forget(key)
        self.rewrites.forget(key)
        self.autoscaler.forget(key)
        metrics.forget(*key)


def _key(resource: LiveScore) -> Key:
    return resource.namespace, resource.name


def _effectiveness(resource: LiveScore, observed: ObservedState) -> conditions.Finding:
    found = ineffective.find(resource, observed.kinds, observed.owned)
    return conditions.effectiveness(ineffective.message(found))


def _unexpected(error: Exception) -> Transient:
    return Transient("OperatorError", f"unexpected error in the operator, see its log: {type(error).__name__}: {error}")


def _rolls(after: Manifest, before: Manifest | None) -> bool:
    """Return whether pods are replaced because of a change."""
    template = (after.get("spec") or {}).get("template")
    return before is None or template != (before.get("spec") or {}).get("template")


def _plan(
    resource: LiveScore,
    wanted: Iterable[Manifest],
    owned: OwnedObjects,
    corrections: Iterable[volumes.Correction],
    now: datetime,
) -> list[Change]:
    """Return what to do now. What must go before it can be made again goes first, and is made the next time."""
    obsolete = [child for child in owned.values() if _should_delete(resource, child, now)]
    obsolete += [child for correction in corrections for child in correction.deleted]
    gone = {planning.key(child): child for child in obsolete}
    held = {key for correction in corrections for key in correction.held}
    rest = [manifest for manifest in wanted if planning.key(manifest) not in gone.keys() | held]
    remaining = {key: child for key, child in owned.items() if key not in gone.keys() | held}
    changes = planning.changes(rest, remaining, FIELD_MANAGER, resource.metadata.uid)
    return [*(Change("delete", child, child) for child in gone.values()), *changes]


def _lasting(corrections: Iterable[volumes.Correction]) -> list[ReconcileError]:
    """Return what a plan has to report: what waits for deletions is in the plan itself."""
    return [correction.problem for correction in corrections if isinstance(correction.problem, Terminal)]


def _should_delete(resource: LiveScore, child: Manifest, now: datetime) -> bool:
    """What an earlier LiveScore of this name left behind, and a migration that is due to be tried again."""
    if "deletionTimestamp" in child["metadata"]:
        return False
    return is_orphan(resource, child) or (child["kind"] == "Job" and migration.may_retry(child, now))


def _watch_pods(progress: conditions.Progress) -> float:
    """Return when to look again at pods that do not come: no event tells of them."""
    remaining = (trouble.remaining(progress.now) for trouble in progress.troubles.values())
    return min([PODS_SECONDS, *(seconds for seconds in remaining if seconds)])


def _requeue_after(resource: LiveScore, outcome: Outcome, now: datetime) -> float | None:
    """When to look again because of what is not there yet."""
    if isinstance(outcome.problem, Waiting | Terminal) and outcome.problem.after is not None:
        return outcome.problem.after
    job = outcome.owned.get(("Job", migration.name(resource)))
    if job is not None and migration.failed(job):
        # When it is due and still there, only an event can help: an edit, or the end of what is in its way.
        return migration.retry_after(job, now) or None
    starting = conditions.database(resource, outcome.owned).status != "True"
    return CLUSTER_SECONDS if starting and resource.spec.postgres.mode == "cloudnative-pg" else None
