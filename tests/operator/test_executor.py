"""A plan is executed completely and in order; a preview changes nothing."""

import pytest

from livescore_operator.cluster import FIELD_MANAGER, HANDOVER_MANAGER, Cluster
from livescore_operator.errors import FieldConflict, NotLeading, ReconcileError, Terminal, Transient, Waiting
from livescore_operator.events import Recorder
from livescore_operator.executor import MAX_TIMEOUTS, SERVER_ERRORS, Executor, Result, combined
from livescore_operator.planning import Change
from livescore_operator.resource import LiveScore, Manifest
from livescore_operator.rewrites import Rewrites
from livescore_operator.telemetry import metrics

RESOURCE = LiveScore.parse(
    {"metadata": {"name": "demo", "namespace": "sport", "uid": "u", "generation": 7}, "spec": {"image": "livescore:1"}}
)


def thing(name: str, kind: str = "ConfigMap", **data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "sport"}, "data": data}


class MemoryCluster(Cluster):
    """A minimal API server in memory.

    Attributes:
        objects: stored objects by name.
        calls: received calls, in order.
        refused: error for an object of that name.
        conflicts: error for an object of that name that is applied without force.
        events: type, reason and message of recorded Events.
    """

    def __init__(self, *objects: Manifest) -> None:
        self.objects = {one["metadata"]["name"]: one for one in objects}
        self.calls: list[str] = []
        self.refused: dict[str, Exception] = {}
        self.conflicts: dict[str, FieldConflict] = {}
        self.events: list[tuple[str, str, str]] = []

    async def apply(
        self, manifest: Manifest, *, force: bool = False, dry_run: bool = False, manager: str = FIELD_MANAGER
    ) -> Manifest:
        name = manifest["metadata"]["name"]
        other = "" if manager == FIELD_MANAGER else f" as {manager}"
        self.calls.append(f"{'dry run of ' * dry_run}{'forced ' * force}apply {name}{other}")
        if name in self.refused:
            raise self.refused[name]
        if name in self.conflicts and not force:
            raise self.conflicts[name]
        stored = {**manifest, "metadata": {**manifest["metadata"], "resourceVersion": "2"}}
        if not dry_run:
            self.objects[name] = stored
        return stored

    async def delete(self, manifest: Manifest) -> None:
        name = manifest["metadata"]["name"]
        self.calls.append(f"delete {name}")
        if name in self.refused:
            raise self.refused[name]
        del self.objects[name]

    async def create_event(self, event: Manifest) -> None:
        self.calls.append(f"event {event['reason']}")
        self.events.append((event["type"], event["reason"], event["message"]))


def executor(cluster: MemoryCluster) -> Executor:
    return Executor(cluster, Recorder(cluster, "operator-1"), Rewrites())


OLD = thing("b", text="old")
GONE = thing("c", text="old")
PLAN = [Change("create", thing("a")), Change("update", thing("b", text="new"), OLD), Change("delete", GONE, GONE)]


def counters() -> dict[str, float]:
    verbs = ("create", "update", "delete")
    return {verb: metrics.CHANGES.labels(verb, "ConfigMap")._value.get() for verb in verbs}


async def test_plan_is_executed_in_order_and_reported() -> None:
    cluster, before = MemoryCluster(OLD, GONE), counters()

    applied = await executor(cluster).carry_out(RESOURCE, PLAN)

    assert cluster.calls == ["apply a", "apply b", "delete c", "event Applied"]
    assert applied.objects == (cluster.objects["a"], cluster.objects["b"]), "in their new state"
    assert (applied.errors, applied.skipped) == ([], False)
    assert cluster.objects.keys() == {"a", "b"}
    assert cluster.events == [("Normal", "Applied", "create ConfigMap a, update ConfigMap b, delete ConfigMap c")]
    assert counters() == {verb: count + 1 for verb, count in before.items()}


async def test_empty_plan_sends_no_requests_and_no_events() -> None:
    cluster = MemoryCluster()

    assert await executor(cluster).carry_out(RESOURCE, []) == Result()
    assert cluster.calls == []


ERRORS = [
    Terminal("Invalid", "no such field"),
    Terminal("Refused", "not allowed"),
    Transient("Http500", "later"),
    Transient("Http409", "modified"),
    Waiting("NamespaceTerminating", "gone soon"),
]


@pytest.mark.parametrize("error", ERRORS)
async def test_failing_object_does_not_block_others(error: ReconcileError) -> None:
    cluster, before = MemoryCluster(OLD, GONE), counters()
    cluster.refused = {"a": error, "b": Terminal("Refused", "not allowed")}

    result = await executor(cluster).carry_out(RESOURCE, PLAN)

    first, second = result.errors
    assert (first.reason, first.message) == (error.reason, f"create ConfigMap a: {error.message}")
    assert second.message == "update ConfigMap b: not allowed"
    assert cluster.calls == ["apply a", "apply b", "delete c", "event Applied"]
    assert cluster.events == [("Normal", "Applied", "delete ConfigMap c")], "failures are not reported as applied"
    assert counters() == {**before, "delete": before["delete"] + 1}
    assert [result.failed(("ConfigMap", name)) for name in "abc"] == [True, True, False]


async def test_repeated_refusal_is_not_reported_every_time() -> None:
    cluster = MemoryCluster()
    cluster.refused = {"a": Terminal("Invalid", "no such field")}

    assert (await executor(cluster).carry_out(RESOURCE, PLAN[:1])).errors
    assert cluster.events == []


@pytest.mark.parametrize("reason", sorted(SERVER_ERRORS))
@pytest.mark.parametrize("name", ["b", "c"])
async def test_unreachable_server_gets_no_more_requests(reason: str, name: str) -> None:
    cluster = MemoryCluster(OLD, GONE)
    cluster.refused = {name: Transient(reason, "later")}

    result = await executor(cluster).carry_out(RESOURCE, [*PLAN, Change("create", thing("d"))])

    assert [call for call in cluster.calls if "event" not in call] == ["apply a", "apply b", "delete c"][
        : 2 if name == "b" else 3
    ]
    assert [error.reason for error in result.errors] == [reason]
    assert result.failed(("ConfigMap", "d")), "it was not attempted"


@pytest.mark.parametrize("name", ["b", "c"])
async def test_process_without_the_lease_changes_nothing(name: str) -> None:
    cluster = MemoryCluster(OLD, GONE)
    cluster.refused = {name: NotLeading()}

    with pytest.raises(NotLeading):
        await executor(cluster).carry_out(RESOURCE, [*PLAN, Change("create", thing("d"))])

    assert cluster.calls == ["apply a", "apply b", "delete c"][: 2 if name == "b" else 3]


def slow(message: str = "no answer") -> Transient:
    error = Transient("ApiServerUnreachable", message)
    error.__cause__ = TimeoutError()
    return error


async def test_slow_webhook_for_one_kind_delays_no_other() -> None:
    names = [("a", "ConfigMap"), ("b", "ConfigMap"), ("c", "Service"), ("d", "Deployment")]
    cluster = MemoryCluster()
    cluster.refused = {"a": slow(), "b": slow()}

    result = await executor(cluster).carry_out(RESOURCE, [Change("create", thing(*one)) for one in names])

    assert [call for call in cluster.calls if "event" not in call] == ["apply a", "apply c", "apply d"]
    assert len(result.errors) == 1
    assert result.skipped


async def test_execution_stops_after_several_timeouts() -> None:
    kinds = ["ConfigMap", "Service", "Deployment", "Job", "Ingress"]
    cluster = MemoryCluster()
    cluster.refused = {kind: slow() for kind in kinds}

    await executor(cluster).carry_out(RESOURCE, [Change("create", thing(kind, kind)) for kind in kinds])

    assert len(cluster.calls) == MAX_TIMEOUTS


def test_several_errors_are_combined() -> None:
    errors = [Transient("Http500", "later"), Terminal("Invalid", "a"), Waiting("W", "w"), Terminal("Refused", "b")]

    found = combined(errors)

    assert (type(found), found and found.reason, found and found.message) == (Terminal, "Invalid", "a; b")
    assert combined(errors[:1]) == errors[0]
    assert combined([]) is None


async def test_field_taken_by_another_manager_is_reclaimed_and_reported() -> None:
    cluster = MemoryCluster(OLD)
    cluster.conflicts = {"b": FieldConflict(('conflict with "kubectl-edit" using v1: .data.text', "another: .data.x"))}

    applied = await executor(cluster).carry_out(RESOURCE, PLAN[1:2])

    assert [call for call in cluster.calls if "apply" in call] == ["apply b", "forced apply b"], "first without force"
    assert applied.objects == (cluster.objects["b"],)
    warning, normal = cluster.events
    assert warning == (
        "Warning",
        "FieldConflict",
        'ConfigMap b: took fields back from conflict with "kubectl-edit" using v1: .data.text; another: .data.x',
    )
    assert normal == ("Normal", "Applied", "update ConfigMap b")


async def test_field_held_by_the_handover_manager_is_reclaimed_silently() -> None:
    cluster = MemoryCluster(OLD)
    cause = f'conflict with "{HANDOVER_MANAGER}": .spec.replicas'
    cluster.conflicts = {"b": FieldConflict((cause,))}

    await executor(cluster).carry_out(RESOURCE, PLAN[1:2])
    assert [reason for _, reason, _ in cluster.events] == ["Applied"]

    cluster.conflicts = {"b": FieldConflict((cause, 'conflict with "kubectl-edit": .data.text'))}
    await executor(cluster).carry_out(RESOURCE, PLAN[1:2])
    (message,) = [message for _, reason, message in cluster.events if reason == "FieldConflict"]
    assert message == 'ConfigMap b: took fields back from conflict with "kubectl-edit": .data.text'


async def test_released_replicas_are_first_held_by_the_handover_manager() -> None:
    spec: Manifest = {"f:replicas": {}, "f:paused": {}}
    owned = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": spec}}
    new = {"apiVersion": "apps/v1", **thing("b", "Deployment"), "spec": {"paused": True}}
    live = {**new, "spec": {"paused": True, "replicas": 4}}
    live["metadata"] = {**new["metadata"], "managedFields": [owned]}
    cluster = MemoryCluster(live)
    plan = [Change("update", new, live)]

    shown, _ = await executor(cluster).preview(RESOURCE, plan)
    assert cluster.calls == ["dry run of forced apply b"]
    assert "replicas" not in "".join(line for line in shown.diff.splitlines() if line.startswith(("-", "+")))

    await executor(cluster).carry_out(RESOURCE, plan)
    assert cluster.calls[1:3] == [f"forced apply b as {HANDOVER_MANAGER}", "apply b"]


async def test_preview_shows_everything_and_changes_nothing() -> None:
    cluster, before = MemoryCluster(OLD, GONE), counters()
    cluster.conflicts = {"b": FieldConflict(("other",))}
    objects = dict(cluster.objects)

    plan, _ = await executor(cluster).preview(RESOURCE, PLAN)

    assert cluster.calls == ["dry run of forced apply a", "dry run of forced apply b"]
    assert (cluster.objects, cluster.events, counters()) == (objects, [], before)
    assert (plan.observed_generation, plan.summary) == (7, "1 to create, 1 to update, 1 to delete")
    shown = [line for line in plan.diff.splitlines() if line.startswith(("---", "-  t", "+  t"))]
    assert shown == [
        "--- live ConfigMap/a",
        "--- live ConfigMap/b",
        "-  text: old",
        "+  text: new",
        "--- live ConfigMap/c",
        "-  text: old",
    ]
    assert "resourceVersion" not in plan.diff


async def test_a_preview_shows_no_secret() -> None:
    cluster = MemoryCluster()

    plan, _ = await executor(cluster).preview(RESOURCE, [Change("create", thing("s", "Secret", password="hunter2"))])

    assert "password: '********'" in plan.diff
    assert "hunter2" not in plan.diff


async def test_preview_without_changes_is_explicit() -> None:
    plan, _ = await executor(MemoryCluster()).preview(RESOURCE, [])

    assert (plan.summary, plan.diff) == ("0 to create, 0 to update, 0 to delete", "")


async def test_preview_names_refused_changes_and_plans_the_rest() -> None:
    cluster = MemoryCluster(OLD, GONE)
    cluster.refused = {"a": Terminal("Invalid", "no such field")}

    plan, result = await executor(cluster).preview(RESOURCE, PLAN)

    assert [error.message for error in result.errors] == ["create ConfigMap a: no such field"]
    assert plan.summary == "1 to create, 1 to update, 1 to delete"
    assert "+  text: new" in plan.diff
