"""Brings one LiveScore to what its spec says: observe, scale, plan, apply, prune, status. Read it from top to bottom.

Every cause (an edit, an event of a child, the resync, a restart) leads to the same function, which looks at what is
there rather than at what happened, so it may be called at any time and any number of times.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from livescore_operator import components, conditions, knowledge, planning, reporting
from livescore_operator.assessment import Assessment
from livescore_operator.autoscaler import Autoscaler
from livescore_operator.cluster import FIELD_MANAGER, Cluster
from livescore_operator.components import migration
from livescore_operator.errors import ReconcileError, Terminal, Transient, Waiting
from livescore_operator.events import Recorder
from livescore_operator.executor import Executor
from livescore_operator.observation import Observation, is_remains, observe, require_ownership
from livescore_operator.planning import Change
from livescore_operator.redaction import Redactor
from livescore_operator.resource import KIND, Condition, LiveScore, Manifest, Plan, Status
from livescore_operator.telemetry import metrics

Key = tuple[str, str]
Children = Mapping[planning.Key, Manifest]

# Nothing tells of another operator's Cluster: it is looked at again so often while it starts.
CLUSTER_SECONDS = 10.0


@dataclass(frozen=True)
class Outcome:
    """How a reconcile ended: the children as they now are, and what is to be said of them."""

    children: Children
    serving_image: str | None
    problem: ReconcileError | None = None
    plan: Plan | None = None

    @property
    def complete(self) -> bool:
        """Whether everything was made as it should be."""
        return self.problem is None and self.plan is None


class Reconciler:
    """Knows how; keeps nothing of the cluster.

    Args:
        cluster: the API server.
        namespace: of the operator, whose pods may reach the management ports.
        instance: name of this process in Events.
        on_gone: called with every LiveScore that is no more.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, instance: str, on_gone: Callable[[Key], None] = lambda key: None
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._recorder = Recorder(cluster, instance)
        self._executor = Executor(cluster, self._recorder)
        self._on_gone = on_gone
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.autoscaler = Autoscaler(cluster, self._recorder, lambda: self.now())

    async def reconcile(self, key: Key) -> float | None:
        """Make the cluster what one LiveScore says.

        Returns:
            Seconds after which to look again; None when nothing is waited for but events.

        Raises:
            Transient: when the API server did not do what it was asked; try again.
            NotLeading: when another process has the Lease now.
        """
        resource = await self._read(key)
        if resource is None:
            self._forget(key)
            return None
        if resource.spec.suspend:
            await self._report_suspended(resource)
            return None
        seen = await observe(self._cluster, resource)
        found = await self.autoscaler.assess(resource, seen)
        outcome = await self._bring_about(resource, seen, found)
        # Pods are told nothing that does not follow from what was really done.
        if outcome.complete:
            found = await self.autoscaler.act(resource, seen, found)
        else:
            found = self.autoscaler.wait(resource, found)
        await self._report(resource, seen, outcome, found)
        return _look_again(resource, outcome, found, self.now())

    async def _bring_about(self, resource: LiveScore, seen: Observation, found: Assessment) -> Outcome:
        serving = knowledge.serving_image(resource, seen)
        try:
            facts = knowledge.facts(resource, seen, serving, self._namespace, found.scale)
            wanted = components.build(resource, facts)
            children = await self._with_rivals(resource, seen, wanted)
            require_ownership(resource, wanted, children)
            plan = _plan(resource, wanted, children, self.now())
            if resource.spec.reconcile_policy == "Plan":
                return Outcome(children, serving, plan=await self._executor.preview(resource, plan, seen.held_secrets))
            applied = await self._executor.carry_out(resource, plan)
            return Outcome(seen.updated(applied), serving)
        except (Terminal, Waiting) as problem:
            return Outcome(seen.children, serving, problem)
        except Transient as error:
            if error.reason != "Forbidden":
                raise
            # Missing rights do not come by themselves: somebody must see them where he looks.
            return Outcome(seen.children, serving, Waiting(error.reason, f"the operator may not: {error.message}"))

    async def _read(self, key: Key) -> LiveScore | None:
        body = await self._cluster.get(KIND, *key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            return None
        try:
            return LiveScore.parse(body)
        except ValidationError as error:
            # Stored past the rules of the CRD: nothing of it can be trusted, its status neither.
            raise Transient("InvalidResource", f"{KIND} {'/'.join(key)} cannot be read: {error}") from error

    async def _with_rivals(self, resource: LiveScore, seen: Observation, wanted: list[Manifest]) -> Children:
        """The children, and whatever has the name of one that seems to be missing: perhaps it only lost its labels."""
        missing = [key for key in map(planning.key, wanted) if key not in seen.children]
        found = [await self._cluster.get(kind, resource.namespace, name) for kind, name in missing]
        return {**seen.children, **{key: rival for key, rival in zip(missing, found, strict=True) if rival}}

    async def _report(self, resource: LiveScore, seen: Observation, outcome: Outcome, found: Assessment) -> None:
        children, image = outcome.children, outcome.serving_image
        # A driver's error may quote a part of the URL, and the status has more readers than the Secret.
        failure = Redactor(seen.held_secrets).text(await self._last_words(resource, children))
        findings = conditions.assess(resource, children, image, failure, outcome.problem, found.scaling)
        if outcome.plan is not None:
            findings = conditions.planned(findings, outcome.plan.summary)
        merged = self._merge(resource, findings)
        scaled = reporting.Scaled(found.connections, found.scaling, found.draining)
        await self._write(resource, reporting.status(resource, children, merged, image, scaled, outcome.plan))

    async def _report_suspended(self, resource: LiveScore) -> None:
        merged, generation = self._merge(resource, conditions.suspended()), resource.metadata.generation
        status = resource.status.model_copy(update={"conditions": merged, "observed_generation": generation})
        await self._write(resource, status)

    def _merge(self, resource: LiveScore, found: Iterable[conditions.Finding]) -> list[Condition]:
        return conditions.merge(resource.status.conditions, found, resource.metadata.generation, self.now())

    async def _write(self, resource: LiveScore, status: Status) -> None:
        told = {one.type: one.status for one in status.conditions}
        metrics.tell(resource.namespace, resource.name, told, status.connections)
        if reporting.dumped(status) == reporting.dumped(resource.status):
            return
        await self._cluster.apply_status(reporting.manifest(resource, status))
        await self._recorder.record_transitions(resource, resource.status.conditions, status.conditions)

    async def _last_words(self, resource: LiveScore, children: Children) -> str:
        """What a failed migration logged last; empty when none failed."""
        name = migration.name(resource)
        job = children.get(("Job", name))
        if job is None or migration.succeeded(job) or not (job.get("status") or {}).get("failed"):
            return ""
        return await self._cluster.last_words(resource.namespace, {"batch.kubernetes.io/job-name": name})

    def _forget(self, key: Key) -> None:
        self._on_gone(key)
        self.autoscaler.forget(key)
        metrics.forget(*key)


def _plan(resource: LiveScore, wanted: Iterable[Manifest], children: Children, now: datetime) -> list[Change]:
    """What is to be done now. What must go before it can be made again goes first, and is made the next time."""
    gone = {key: child for key, child in children.items() if _must_go(resource, child, now)}
    rest = [manifest for manifest in wanted if planning.key(manifest) not in gone]
    remaining = {key: child for key, child in children.items() if key not in gone}
    changes = planning.changes(rest, remaining, FIELD_MANAGER, resource.metadata.uid)
    return [*(Change("delete", child, child) for child in gone.values()), *changes]


def _must_go(resource: LiveScore, child: Manifest, now: datetime) -> bool:
    """What an earlier LiveScore of this name left behind, and a migration that is due to be tried again."""
    if "deletionTimestamp" in child["metadata"]:
        return False
    return is_remains(resource, child) or (child["kind"] == "Job" and migration.may_retry(child, now))


def _look_again(resource: LiveScore, outcome: Outcome, found: Assessment, now: datetime) -> float | None:
    """When to look again although nothing happens."""
    times = (_unfinished(resource, outcome, now), found.again)
    return min((seconds for seconds in times if seconds is not None), default=None)


def _unfinished(resource: LiveScore, outcome: Outcome, now: datetime) -> float | None:
    """When to look again because of what is not there yet."""
    if isinstance(outcome.problem, Waiting):
        return outcome.problem.after
    job = outcome.children.get(("Job", migration.name(resource)))
    if job is not None and migration.failed(job):
        # When it is due and still there, only an event can help: an edit, or the end of what is in its way.
        return migration.retry_after(job, now) or None
    starting = conditions.database(resource, outcome.children).status != "True"
    return CLUSTER_SECONDS if starting and resource.spec.postgres.mode == "cloudnative-pg" else None
