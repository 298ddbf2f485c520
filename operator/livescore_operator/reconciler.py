"""The reconcile of one LiveScore: observe, scale, plan, apply, prune, report. Read it from top to bottom.

Every cause (an edit, an event of an owned object, the resync, a restart) leads to the same function. It compares the
desired with the observed state and does not depend on what happened before, so it may run at any time and any number of
times.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from pydantic import ValidationError

from livescore_operator import components, conditions, ineffective, origins, planning, reporting, troubles, volumes
from livescore_operator.autoscaler import Autoscaler
from livescore_operator.build_context import build_context, serving_image
from livescore_operator.cache import Cache
from livescore_operator.cluster import FIELD_MANAGER, Cluster
from livescore_operator.components import migration
from livescore_operator.errors import NotLeading, ReconcileError, Terminal, Transient, Waiting
from livescore_operator.events import Recorder
from livescore_operator.executor import SERVER_ERRORS, Executor, Result, combined
from livescore_operator.observation import ObservedState, Observer, is_orphan, name_conflicts, secret_problems
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

# Requeue delay in seconds while a CloudNativePG Cluster starts: Clusters are not watched.
CLUSTER_SECONDS = 10.0

# Requeue delay in seconds while pods are missing or not ready: a cluster has too many pods to watch them.
PODS_SECONDS = 10.0

# Maximum number of objects for which Events are read in one reconcile.
MAX_SUSPECTS = 8

# Consecutive failures after which a transient error is reported in the conditions; most errors occur only once.
REPORTED_FAILURES = 2

# Seconds after which a transient error is reported as one that needs a person.
LASTING_SECONDS = 60.0


@dataclass(frozen=True)
class Desired:
    """The desired state.

    Attributes:
        manifests: Objects that should exist, in the order in which they are applied.
        serving_image: Image that Deployments may run.
        held: Workloads that are neither changed nor pruned, because a Secret that they read is missing or unusable.
        problems: Why workloads are held.
    """

    manifests: tuple[Manifest, ...]
    serving_image: str | None
    held: frozenset[planning.Key] = frozenset()
    problems: tuple[ReconcileError, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The result of a reconcile.

    Attributes:
        owned: Live objects by kind and name, after all changes.
        serving_image: Image that Deployments may run.
        problem: Why the cluster does not match the spec; None if it does.
        plan: Changes that would be made, if the spec asks for a plan only.
        pending: Whether that plan contains changes.
        scaled: Whether the Deployment of the API is as desired.
        rolled: Deployments that were applied, and whether their pod template changed.
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
    """A repeated error.

    Attributes:
        reason: Reason of the last error.
        count: Consecutive failures, with any reason.
        since: When the first failure with this reason occurred.
    """

    reason: str
    count: int
    since: datetime


class Unfinished(Exception):
    """Some changes failed and may succeed later. The status was written already."""

    def __init__(self, problem: Transient) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Reconciler:
    """Makes the cluster match the specs of LiveScores.

    Args:
        cluster: The API server.
        namespace: Namespace of the operator, whose pods may reach the management ports.
        instance: Name of this process in Events.
        on_gone: Called with the key of every LiveScore that was deleted.
        lease_name: Name of the Lease, which identifies this installation among operators.
        lease_seconds: Time in seconds that a change of leader may take.
        cache: Objects that watches feed; without it every reconcile reads everything from the API server.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        instance: str,
        on_gone: Callable[[Key], None] = lambda key: None,
        lease_name: str = "livescore-operator",
        lease_seconds: float = 15.0,
        cache: Cache | None = None,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._recorder = Recorder(cluster, instance)
        self.observer = Observer(cluster, cache)
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
        """Make the cluster match the spec of one LiveScore.

        Returns:
            Requeue delay in seconds; None if only an event can change anything.

        Raises:
            Transient: Raised if the API server did not do something; the reconcile must be retried.
            NotLeading: Raised if another process holds the Lease now.
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
        """Decide whether this operator reconciles a LiveScore, and remember a conflict with another operator."""
        try:
            decision = await self.ownership.decide(body)
        except Terminal as refused:
            # The API server rejects the status, so operators cannot agree. The reconcile will report the reason.
            log.warning("owner not written", reason=refused.reason, message=refused.message)
            decision = Decision(owned=True)
        if decision.problem is None:
            self._contended.pop(key, None)
        else:
            self._contended[key] = decision.problem
        return decision

    def _stand_back(self, key: Key) -> None:
        """Forget the state of a LiveScore that another operator reconciles and reports on."""
        self._failures.pop(key, None)
        self.rewrites.forget(key)
        self.autoscaler.forget(key)
        self.observer.forget(key)
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
        observed, scaling, outcome = await self._converge(resource)
        # Pods receive commands only if the number of replicas that they follow from was applied.
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

    async def _converge(self, resource: LiveScore) -> tuple[ObservedState, ScalingPlan, Outcome]:
        """Observe, scale, and apply the desired state.

        The cache decides only that there is nothing to do. Everything else is decided again on what the API server
        holds, so no stale object leads to a write, a deletion or a drain.
        """
        changed = resource.metadata.generation != resource.status.observed_generation
        failed = _key(resource) in self._failures
        observed = await self.observer.observe(resource, fresh=changed or failed)
        scaling = await self.autoscaler.plan(resource, observed)
        if observed.cached:
            serving = serving_image(resource, observed)
            if self._is_converged(resource, observed, scaling):
                return observed, scaling, Outcome(observed.owned, serving, scaled=True)
            observed = await self.observer.observe(resource, fresh=True)
            scaling = await self.autoscaler.plan(resource, observed)
        return observed, scaling, await self._apply_desired_state(resource, observed, scaling)

    def _is_converged(self, resource: LiveScore, observed: ObservedState, scaling: ScalingPlan) -> bool:
        """Return True if nothing is to be changed, reported as a problem, or sent to pods."""
        if scaling.steps.begin or scaling.steps.cancel:
            return False
        if resource.spec.reconcile_policy == "Plan" or self.rewrites.conflicts(_key(resource)):
            return False
        try:
            desired = self._desired(resource, observed, scaling)
        except (Terminal, Waiting):
            return False
        if desired.problems or volumes.unseen(resource, observed.owned):
            return False
        corrections = volumes.corrections(resource, observed.owned, {})
        return not corrections and not _plan(resource, desired.manifests, observed.owned, (), frozenset(), self.now())

    async def _execute_scaling(
        self, resource: LiveScore, observed: ObservedState, outcome: Outcome, scaling: ScalingPlan
    ) -> tuple[Outcome, ScalingPlan]:
        """Execute the scaling plan. An error becomes a problem of the outcome."""
        try:
            return outcome, await self.autoscaler.execute(resource, observed, scaling)
        except ReconcileError as error:
            problems = [error] if outcome.problem is None else [outcome.problem, error]
            return replace(outcome, problem=combined(problems)), self.autoscaler.skip(resource, scaling)

    def _desired(self, resource: LiveScore, observed: ObservedState, scaling: ScalingPlan) -> Desired:
        """Build the desired state.

        Raises:
            Terminal: Raised if the spec cannot be carried out.
            Waiting: Raised if something is missing that every component needs.
        """
        origins.require_valid(resource.spec.api.allowed_origins)
        serving = serving_image(resource, observed)
        context = build_context(resource, observed, serving, self._namespace, scaling.scale)
        found = secret_problems(resource, observed.secrets)
        return Desired(
            manifests=tuple(components.build(resource, context)),
            serving_image=serving,
            held=frozenset(_workload(resource, component) for _, some in found for component in some),
            problems=tuple(problem for problem, _ in found),
        )

    async def _apply_desired_state(self, resource: LiveScore, observed: ObservedState, scaling: ScalingPlan) -> Outcome:
        try:
            desired = self._desired(resource, observed, scaling)
            live = await self._with_name_conflicts(resource, observed, desired.manifests)
            conflicts = name_conflicts(resource, desired.manifests, live)
        except (Terminal, Waiting) as problem:
            return Outcome(observed.owned, serving_image(resource, observed), problem)
        serving = desired.serving_image
        possible = [manifest for manifest in desired.manifests if planning.key(manifest) not in conflicts]
        corrections = volumes.corrections(resource, live, await self._unlabelled_claims(resource, live))
        plan = _plan(resource, possible, live, corrections, desired.held, self.now())
        problems = [*desired.problems, *conflicts.values()]
        if resource.spec.reconcile_policy == "Plan":
            shown, result = await self._executor.preview(resource, plan, observed.held_secrets)
            refused = combined([*problems, *result.errors, *_lasting(corrections)])
            return Outcome(live, serving, refused, shown, pending=bool(plan))
        result = await self._executor.carry_out(resource, plan)
        self.observer.store(result.objects)
        problems += [*result.errors, *(correction.problem for correction in corrections)]
        problems += self._loops(resource, result)
        api = ("Deployment", resource.api_name)
        return Outcome(
            owned=observed.updated(result.objects),
            serving_image=serving,
            problem=combined(problems),
            scaled=api not in conflicts and api not in desired.held and not result.failed(api),
            rolled={planning.key(one): _rolls(one, observed.owned.get(planning.key(one))) for one in result.objects},
        )

    async def _unlabelled_claims(self, resource: LiveScore, owned: OwnedObjects) -> OwnedObjects:
        """Return the claims without labels of the StatefulSets that need another claim template."""
        claims: dict[planning.Key, Manifest] = {}
        for name in volumes.unseen(resource, owned):
            claim = await self._cluster.claim(resource.namespace, name)
            if claim is not None:
                claims[planning.key(claim)] = claim
        return claims

    def _loops(self, resource: LiveScore, result: Result) -> list[Terminal]:
        """Return the write loops that the failures of the result do not report already."""
        failed = {planning.key(failure.change.manifest) for failure in result.failures}
        return self.rewrites.conflicts(_key(resource), failed)

    async def _with_name_conflicts(
        self, resource: LiveScore, observed: ObservedState, desired: Iterable[Manifest]
    ) -> OwnedObjects:
        """Return the owned objects, and other objects that have the name of a missing one.

        Such an object belongs to another owner, or is one of ours that lost its labels.
        """
        keys = [planning.key(manifest) for manifest in desired]
        missing = [key for key in keys if key not in observed.owned]
        reads = [self._cluster.get(kind, resource.namespace, name) for kind, name in missing]
        found = zip(missing, await asyncio.gather(*reads), strict=True)
        return {**observed.owned, **{key: manifest for key, manifest in found if manifest is not None}}

    # Failures

    def _persistent(self, resource: LiveScore, problem: Transient) -> ReconcileError | None:
        """Count a transient error. Return the error to report, or None for the first failure in a row."""
        if problem.reason == "Forbidden":
            # A missing right does not come back by itself, so it is reported at once.
            return Waiting(problem.reason, f"the operator lacks a right: {problem.message}")
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
        """Report that a reconcile ended early, unless the error may be gone at the next attempt.

        The caller raises the error again, so a status that cannot be written now is written by a retry.
        """
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
            log.warning("status not written, will retry", reason=failure.reason, message=failure.message)

    async def _report_unreadable(self, body: Manifest, error: ValidationError) -> None:
        """Report a LiveScore that violates the CRD's schema, which was stored under another one."""
        metadata = Metadata.model_validate(body["metadata"])
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        message = f"the object is invalid, correct these fields: {faults}"
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

    # Status

    async def _report(
        self, resource: LiveScore, observed: ObservedState, outcome: Outcome, scaling: ScalingPlan
    ) -> float | None:
        """Write the status. Return the requeue delay while pods are missing or not ready, None otherwise."""
        owned, image = outcome.owned, outcome.serving_image
        # Error messages may quote a password, and more people may read the status than the Secret.
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
        return _pod_delay(progress) if waiting else None

    async def _troubles(
        self, resource: LiveScore, observed: ObservedState, owned: OwnedObjects, redactor: Redactor
    ) -> dict[str, Trouble]:
        """Return why pods are missing or not ready, by component."""
        pods = observed.all_pods.values()
        names = troubles.suspects(pods, owned)[:MAX_SUSPECTS]
        events = await asyncio.gather(*(self._cluster.events_about(resource.namespace, name) for name in names))
        events_by_name = dict(zip(names, events, strict=True))
        found: dict[str, Trouble] = {}
        for component in (label for labels in conditions.COMPONENTS.values() for label in labels):
            trouble = troubles.find(component, pods, owned, events_by_name, self.now())
            if trouble is not None:
                found[component] = await self._with_log(resource, trouble, redactor)
        return found

    async def _with_log(self, resource: LiveScore, trouble: Trouble, redactor: Redactor) -> Trouble:
        """Return a trouble with the last log line of its container in the message."""
        message = trouble.message
        if trouble.log is not None:
            pod, container = trouble.log
            line = await self._cluster.last_line(resource.namespace, pod, container, previous=True)
            if not line:
                line = await self._cluster.last_line(resource.namespace, pod, container)
            message += f"; last log line: {line}" if line else f"; see `kubectl logs {pod} -c {container} --previous`"
        return replace(trouble, message=redactor.text(message))

    async def _report_suspended(self, resource: LiveScore) -> None:
        merged, generation = self._merge(resource, conditions.suspended()), resource.metadata.generation
        status = resource.status.model_copy(update={"conditions": merged, "observed_generation": generation})
        await self._write(resource, status)

    def _merge(self, resource: LiveScore, findings: Iterable[conditions.Finding]) -> list[Condition]:
        contended = self._contended.get(_key(resource))
        if contended:
            findings = conditions.contended(findings, contended)
        return conditions.merge(resource.status.conditions, findings, resource.metadata.generation, self.now())

    async def _write(self, resource: LiveScore, status: Status) -> None:
        """Write the status if it changed, and record Events about changed conditions."""
        statuses = {condition.type: condition.status for condition in status.conditions}
        metrics.report(resource.namespace, resource.name, statuses, status.connections)
        found, wanted = reporting.dumped(resource.status), reporting.dumped(status)
        if wanted == found or not self.rewrites.may_write_status(_key(resource)):
            return
        written = await self._cluster.apply_status(reporting.manifest(resource.metadata, status))
        if written is not None:
            stored = Status.model_validate(written.get("status") or {})
            self.rewrites.status_written(_key(resource), found, reporting.dumped(stored))
        await self._recorder.record_transitions(resource, resource.status.conditions, status.conditions)

    async def _migration_error(self, resource: LiveScore, owned: OwnedObjects) -> str:
        """Return the last log line of a failed migration; empty if none failed."""
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
        self.observer.forget(key)
        metrics.forget(*key)


def _key(resource: LiveScore) -> Key:
    return resource.namespace, resource.name


def _workload(resource: LiveScore, component: str) -> planning.Key:
    """Return the object that runs the pods of a component."""
    if component == "migration":
        return "Job", migration.name(resource)
    return "Deployment", f"{resource.name}-{component}"


def _effectiveness(resource: LiveScore, observed: ObservedState) -> conditions.Finding:
    settings = ineffective.find(resource, observed.kinds, observed.owned)
    return conditions.effectiveness(ineffective.message(settings))


def _unexpected(error: Exception) -> Transient:
    return Transient("OperatorError", f"unexpected error in the operator, see its log: {type(error).__name__}: {error}")


def _rolls(after: Manifest, before: Manifest | None) -> bool:
    """Return True if a change replaces pods."""
    template = (after.get("spec") or {}).get("template")
    return before is None or template != (before.get("spec") or {}).get("template")


def _plan(
    resource: LiveScore,
    desired: Iterable[Manifest],
    live: OwnedObjects,
    corrections: Iterable[volumes.Correction],
    held: frozenset[planning.Key],
    now: datetime,
) -> list[Change]:
    """Return the changes to make now. An object that must be replaced is deleted first, and created by a later call.

    Args:
        resource: The LiveScore.
        desired: Objects that should exist.
        live: Objects that exist.
        corrections: Claims and StatefulSets to replace.
        held: Objects that must not change.
        now: Current time, with a time zone.
    """
    obsolete = [manifest for manifest in live.values() if _should_delete(resource, manifest, now)]
    skipped = set(held)
    for correction in corrections:
        obsolete += correction.deleted
        skipped |= correction.held
    deleted = {planning.key(manifest): manifest for manifest in obsolete}
    skipped |= deleted.keys()
    remaining = {key: manifest for key, manifest in live.items() if key not in skipped}
    manifests = [manifest for manifest in desired if planning.key(manifest) not in skipped]
    changes = planning.changes(manifests, remaining, FIELD_MANAGER, resource.metadata.uid)
    return [*(Change("delete", manifest, manifest) for manifest in deleted.values()), *changes]


def _lasting(corrections: Iterable[volumes.Correction]) -> list[ReconcileError]:
    """Return the problems that a plan reports; deletions that are only waited for are part of the plan itself."""
    return [correction.problem for correction in corrections if isinstance(correction.problem, Terminal)]


def _should_delete(resource: LiveScore, manifest: Manifest, now: datetime) -> bool:
    """Return True for objects of an earlier LiveScore of this name, and for a failed migration that may run again."""
    if "deletionTimestamp" in manifest["metadata"]:
        return False
    if is_orphan(resource, manifest):
        return True
    return bool(manifest["kind"] == "Job" and migration.may_retry(manifest, now))


def _pod_delay(progress: conditions.Progress) -> float:
    """Return the requeue delay while pods are missing or not ready: not later than a trouble stalls the LiveScore."""
    remaining = (trouble.remaining(progress.now) for trouble in progress.troubles.values())
    return min([PODS_SECONDS, *(seconds for seconds in remaining if seconds)])


def _requeue_after(resource: LiveScore, outcome: Outcome, now: datetime) -> float | None:
    """Return the requeue delay in seconds because of something that no event reports; None if there is nothing."""
    if isinstance(outcome.problem, Waiting | Terminal) and outcome.problem.after is not None:
        return outcome.problem.after
    job = outcome.owned.get(("Job", migration.name(resource)))
    if job is not None and migration.failed(job):
        # A Job that is due and still exists waits for an event: an edit, or the end of an obstacle to its deletion.
        return migration.retry_after(job, now) or None
    starting = conditions.database(resource, outcome.owned).status != "True"
    return CLUSTER_SECONDS if starting and resource.spec.postgres.mode == "cloudnative-pg" else None
