"""Execution of a plan, and its dry run."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import structlog

from livescore_operator import planning
from livescore_operator.cluster import FIELD_MANAGER, HANDOVER_MANAGER, Cluster
from livescore_operator.errors import FieldConflict, ReconcileError, Terminal, Waiting
from livescore_operator.events import Recorder
from livescore_operator.planning import Change
from livescore_operator.resource import LiveScore, Manifest, Plan
from livescore_operator.rewrites import Rewrites
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)

# Errors after which the remaining changes of a plan are skipped: the API server does not respond.
SERVER_ERRORS = frozenset({"ApiServerUnreachable", "Http429", "Http503"})

# Number of kinds with a timed-out write after which the rest of a plan is skipped. A slow admission webhook delays the
# writes of the kinds that it handles; other kinds are still written.
MAX_TIMEOUTS = 3


@dataclass(frozen=True)
class Failure:
    """A change that was not made.

    Attributes:
        change: The change.
        error: Reason, with kind and name of the object in the message.
    """

    change: Change
    error: ReconcileError


@dataclass(frozen=True)
class Result:
    """Result of a plan.

    Attributes:
        objects: Created or updated objects, as the API server returned them.
        failures: Changes that failed.
        skipped: Whether changes were skipped because the API server does not respond.
    """

    objects: tuple[Manifest, ...] = ()
    failures: tuple[Failure, ...] = ()
    skipped: bool = False

    @property
    def errors(self) -> list[ReconcileError]:
        """Errors of the failed changes, in order."""
        return [failure.error for failure in self.failures]

    def failed(self, key: planning.Key) -> bool:
        """Return True if a planned change of an object failed, or may have been skipped."""
        return self.skipped or any(planning.key(failure.change.manifest) == key for failure in self.failures)


def combined(errors: Iterable[ReconcileError]) -> ReconcileError | None:
    """Return the most severe of several errors, with the messages of all errors of its kind; None if there are none."""
    ordered = sorted(errors, key=_severity)
    if not ordered:
        return None
    worst = ordered[0]
    same = [error for error in ordered if _severity(error) == _severity(worst)]
    message = "; ".join(dict.fromkeys(error.message for error in same))
    if isinstance(worst, Terminal | Waiting):
        times = [error.after for error in same if isinstance(error, Terminal | Waiting) and error.after is not None]
        return replace(worst, message=message, after=min(times)) if times else replace(worst, message=message)
    return replace(worst, message=message)


def _severity(error: ReconcileError) -> int:
    return next(rank for rank, kind in enumerate((Terminal, Waiting, ReconcileError)) if isinstance(error, kind))


class Executor:
    """Applies and prunes objects. The caller has checked that they belong to the LiveScore."""

    def __init__(self, cluster: Cluster, recorder: Recorder, rewrites: Rewrites) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._rewrites = rewrites

    async def preview(
        self, resource: LiveScore, plan: list[Change], secrets: Iterable[Manifest] = ()
    ) -> tuple[Plan, Result]:
        """Send a dry run of every change. Values of ``secrets`` are masked in the diff.

        Returns:
            The plan for the status, and the result with the changes that would be rejected.

        Raises:
            NotLeading: Raised if another process has the Lease now.
        """
        after: dict[planning.Key, Manifest | None] = {}

        async def dry_run(change: Change) -> list[Manifest]:
            after[planning.key(change.manifest)] = await self._dry_run(change)
            return []

        result = await self._each(plan, dry_run)
        results = [(change, after.get(planning.key(change.manifest), change.manifest)) for change in plan]
        shown = Plan(
            observed_generation=resource.metadata.generation,
            summary=planning.summary(plan),
            diff=planning.diff(results, secrets),
        )
        return shown, result

    async def _dry_run(self, change: Change) -> Manifest | None:
        if change.verb == "delete":
            return None
        kept = planning.handover(change, FIELD_MANAGER) or {}
        # Another manager keeps the number of replicas, so it does not change.
        manifest = {**change.manifest, "spec": {**change.manifest["spec"], **kept["spec"]}} if kept else change.manifest
        return await self._cluster.apply(manifest, force=True, dry_run=True)

    async def carry_out(self, resource: LiveScore, plan: list[Change]) -> Result:
        """Make all changes. A change that fails does not stop the others.

        Raises:
            NotLeading: Raised if another process has the Lease now.
        """
        done: list[Change] = []

        async def make(change: Change) -> list[Manifest]:
            key = resource.namespace, resource.name
            self._rewrites.require(key, change)
            objects = await self._change(resource, change)
            self._rewrites.made(key, change, objects[0] if objects else None)
            done.append(change)
            return objects

        result = await self._each(plan, make)
        if done:
            await self._recorder.record(resource, "Normal", "Applied", ", ".join(map(str, done)))
        return result

    async def _each(self, plan: list[Change], act: Callable[[Change], Awaitable[list[Manifest]]]) -> Result:
        """Act on every change in order, and collect objects and failures."""
        objects: list[Manifest] = []
        failures: list[Failure] = []
        slow: set[str] = set()
        skipped = False
        for change in plan:
            if change.manifest["kind"] in slow:
                skipped = True
                continue
            try:
                objects += await act(change)
            except ReconcileError as error:
                failures.append(Failure(change, replace(error, message=f"{change}: {error.message}")))
                timed_out = isinstance(error.__cause__, TimeoutError)
                if timed_out:
                    slow.add(change.manifest["kind"])
                if len(slow) >= MAX_TIMEOUTS or (error.reason in SERVER_ERRORS and not timed_out):
                    skipped = change is not plan[-1]
                    break
        return Result(tuple(objects), tuple(failures), skipped)

    async def _change(self, resource: LiveScore, change: Change) -> list[Manifest]:
        kind, name = planning.key(change.manifest)
        if change.verb == "delete":
            await self._cluster.delete(change.manifest)
            result = []
        else:
            if (kept := planning.handover(change, FIELD_MANAGER)) is not None:
                await self._cluster.apply(kept, force=True, manager=HANDOVER_MANAGER)
            result = [await self._apply(resource, change.manifest)]
        metrics.CHANGES.labels(change.verb, kind).inc()
        log.info("object changed", verb=change.verb, kind=kind, object=name)
        return result

    async def _apply(self, resource: LiveScore, manifest: Manifest) -> Manifest:
        try:
            return await self._cluster.apply(manifest)
        except FieldConflict as conflict:
            # The object belongs to the LiveScore, so the fields that its spec determines do, too.
            kind, name = planning.key(manifest)
            others = [cause for cause in conflict.causes if f'"{HANDOVER_MANAGER}"' not in cause]
            if others:
                taken = f"{kind} {name}: took fields back from {'; '.join(others)}"
                await self._recorder.record(resource, "Warning", "FieldConflict", taken)
            return await self._cluster.apply(manifest, force=True)
