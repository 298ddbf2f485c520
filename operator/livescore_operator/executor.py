"""Carries a plan out, or lets the API server say what it would do."""

from collections.abc import Iterable

import structlog

from livescore_operator import planning
from livescore_operator.cluster import FIELD_MANAGER, HANDOVER_MANAGER, Cluster
from livescore_operator.errors import FieldConflict, Terminal
from livescore_operator.events import Recorder
from livescore_operator.planning import Change
from livescore_operator.resource import LiveScore, Manifest, Plan
from livescore_operator.telemetry import metrics

log = structlog.get_logger(__name__)


class Executor:
    """Applies and prunes. Which objects are ours was decided before."""

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        self._cluster = cluster
        self._recorder = recorder

    async def preview(self, resource: LiveScore, plan: list[Change], secrets: Iterable[Manifest] = ()) -> Plan:
        """Return what would change, by a server-side dry run, with the values of Secrets masked."""
        results = [(change, await self._dry_run(change)) for change in plan]
        return Plan(
            observed_generation=resource.metadata.generation,
            summary=planning.summary(plan),
            diff=planning.diff(results, secrets),
        )

    async def _dry_run(self, change: Change) -> Manifest | None:
        if change.verb == "delete":
            return None
        kept = planning.handover(change, FIELD_MANAGER) or {}
        # Somebody else keeps the number of replicas then: it does not change.
        manifest = {**change.manifest, "spec": {**change.manifest["spec"], **kept["spec"]}} if kept else change.manifest
        return await self._cluster.apply(manifest, force=True, dry_run=True)

    async def carry_out(self, resource: LiveScore, plan: list[Change]) -> list[Manifest]:
        """Make all changes, also those after one that the API server refuses for good.

        Returns:
            The objects that were made or changed, as they now are.

        Raises:
            Terminal: the first refusal, after everything else was done.
        """
        applied: list[Manifest] = []
        done: list[Change] = []
        refusals: list[Terminal] = []
        for change in plan:
            try:
                applied += await self._change(resource, change)
                done.append(change)
            except Terminal as error:
                refusals.append(Terminal(error.reason, f"{change}: {error.message}"))
        if done:
            await self._recorder.record(resource, "Normal", "Applied", ", ".join(map(str, done)))
        if refusals:
            raise refusals[0]
        return applied

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
        log.info("changed", verb=change.verb, kind=kind, child=name)
        return result

    async def _apply(self, resource: LiveScore, manifest: Manifest) -> Manifest:
        try:
            return await self._cluster.apply(manifest)
        except FieldConflict as conflict:
            # The object is ours, so the fields of it that the spec decides are ours too.
            kind, name = planning.key(manifest)
            others = [cause for cause in conflict.causes if f'"{HANDOVER_MANAGER}"' not in cause]
            if others:
                taken = f"{kind} {name}: taken back from {'; '.join(others)}"
                await self._recorder.record(resource, "Warning", "FieldConflict", taken)
            return await self._cluster.apply(manifest, force=True)
