"""Conditions and their reasons, the summary in Ready, and transition times."""

import ast
import inspect
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore_operator import conditions
from livescore_operator.components import migration
from livescore_operator.conditions import (
    PARTS,
    STALLING,
    UNFINISHED,
    Finding,
    OwnedObjects,
    Progress,
    assess,
    merge,
    planned,
    settled,
    suspended,
)
from livescore_operator.errors import ReconcileError, Terminal, Transient, Waiting
from livescore_operator.resource import Condition, ConditionStatus, LiveScore, Manifest, Scaling, Status
from livescore_operator.scaling import modes
from livescore_operator.troubles import Trouble

Spec = dict[str, Any]

IMAGE, OLD_IMAGE = "livescore:2", "livescore:1"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def livescore(**spec: Any) -> LiveScore:
    metadata = {"name": "demo", "namespace": "sport", "uid": "u", "generation": 7}
    return LiveScore.parse({"metadata": metadata, "spec": {"image": IMAGE, **spec}})


def child(kind: str, name: str, status: Manifest | None = None, generation: int = 1, **spec: Any) -> OwnedObjects:
    return {
        (kind, name): {"kind": kind, "metadata": {"name": name, "generation": generation}, "spec": spec} | _s(status)
    }


def _s(status: Manifest | None) -> Manifest:
    return {} if status is None else {"status": status}


def autoscaler(**conditions: str) -> OwnedObjects:
    found = [{"type": name, "status": status, "reason": "Why", "message": "m"} for name, status in conditions.items()]
    return child("HorizontalPodAutoscaler", "demo-api", {"conditions": found})


def scaled(reason: str) -> LiveScore:
    """Return a LiveScore scaled by the operator, with this reason in its status."""
    resource = livescore(autoscaling={"mode": "connections"})
    return resource.model_copy(update={"status": Status(scaling=Scaling(replicas=2, reason=reason))})


def stateful(
    component: str, ready: int = 1, observed: int = 1, generation: int = 1, revisions: tuple[str, str] = ("a", "a")
) -> OwnedObjects:
    current, update = revisions
    status = {
        "readyReplicas": ready,
        "observedGeneration": observed,
        "currentRevision": current,
        "updateRevision": update,
    }
    return child("StatefulSet", f"demo-{component}", status, generation, replicas=1)


def deployment(component: str, wanted: int = 1, **status: Any) -> OwnedObjects:
    usual = {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": wanted, "observedGeneration": 1}
    return child("Deployment", f"demo-{component}", {**usual, **status}, replicas=wanted)


def job(type: str = "Complete", status: str = "True", resource: LiveScore | None = None) -> OwnedObjects:
    name = migration.name(resource or livescore())
    return child("Job", name, {"conditions": [{"type": type, "status": status}]})


def healthy_objects(**replaced: OwnedObjects | None) -> OwnedObjects:
    """Return the owned objects of a healthy LiveScore, with some replaced; None removes one."""
    usual: dict[str, OwnedObjects | None] = {
        "postgres": stateful("postgres"),
        "redis": stateful("redis"),
        "job": job(),
        "api": deployment("api", 2),
        "worker": deployment("worker"),
        "scheduler": deployment("scheduler"),
    }
    return {key: one for some in {**usual, **replaced}.values() for key, one in (some or {}).items()}


def findings_of(
    children: OwnedObjects,
    resource: LiveScore | None = None,
    *,
    serving: str | None = IMAGE,
    log: str = "",
    problem: ReconcileError | None = None,
) -> dict[str, Finding]:
    resource = resource or livescore()
    findings = assess(resource, children, serving, log, problem, resource.status.scaling)
    return {one.type: one for one in findings}


STUCK: dict[str, Any] = {"conditions": [{"type": "Progressing", "status": "False", "message": "no quota"}]}
EXTERNAL = {"mode": "external", "external": {"secretRef": {"name": "s", "key": "url"}}}
CNPG = livescore(postgres={"mode": "cloudnative-pg"})
HPA = livescore(autoscaling={"mode": "hpa"})

# Type, status, reason, a word of the message, the owned objects, and a LiveScore if not the default.
Row = tuple[str, str, str, str, OwnedObjects, LiveScore | None]
TABLE: list[Row] = [
    ("DatabaseReady", "True", "Ready", "demo-postgres-0", healthy_objects(), None),
    ("DatabaseReady", "False", "NotCreated", "demo-postgres", healthy_objects(postgres=None), None),
    ("DatabaseReady", "False", "Starting", "kubectl", healthy_objects(postgres=stateful("postgres", ready=0)), None),
    ("DatabaseReady", "True", "RollingOut", "", healthy_objects(postgres=stateful("postgres", generation=2)), None),
    (
        "DatabaseReady",
        "True",
        "RollingOut",
        "new revision",
        healthy_objects(postgres=stateful("postgres", revisions=("a", "b"))),
        None,
    ),
    ("DatabaseReady", "False", "Starting", "", healthy_objects(postgres=child("StatefulSet", "demo-postgres")), None),
    ("DatabaseReady", "True", "External", "", healthy_objects(postgres=None), livescore(postgres=EXTERNAL)),
    ("DatabaseReady", "False", "Starting", "Cluster", healthy_objects(postgres=None), CNPG),
    ("DatabaseReady", "False", "Starting", "", healthy_objects(postgres=child("Cluster", "demo-postgres")), CNPG),
    (
        "DatabaseReady",
        "True",
        "Ready",
        "1 of 3",
        healthy_objects(postgres=child("Cluster", "demo-postgres", {"readyInstances": 1})),
        CNPG,
    ),
    ("RedisReady", "True", "Ready", "demo-redis-0", healthy_objects(), None),
    ("RedisReady", "False", "NotCreated", "demo-redis", healthy_objects(redis=None), None),
    ("RedisReady", "False", "Starting", "demo-redis-0", healthy_objects(redis=stateful("redis", ready=0)), None),
    ("RedisReady", "True", "External", "", healthy_objects(redis=None), livescore(redis=EXTERNAL)),
    ("SchemaCurrent", "True", "Migrated", IMAGE, healthy_objects(), None),
    ("SchemaCurrent", "True", "Migrated", IMAGE, healthy_objects(job=None), None),
    ("SchemaCurrent", "False", "Migrating", "is running", healthy_objects(job=job("Complete", "False")), None),
    (
        "SchemaCurrent",
        "False",
        "Migrating",
        "is running",
        healthy_objects(job=child("Job", migration.name(livescore()))),
        None,
    ),
    ("SchemaCurrent", "False", "MigrationFailed", "no log", healthy_objects(job=job("Failed")), None),
    ("ApiAvailable", "True", "Available", "2 of 2", healthy_objects(), None),
    ("ApiAvailable", "True", "Available", "0 of 0", healthy_objects(api=deployment("api", 0)), None),
    ("ApiAvailable", "False", "NotCreated", "demo-api", healthy_objects(api=None), None),
    (
        "ApiAvailable",
        "False",
        "Unavailable",
        "1 of 2",
        healthy_objects(api=deployment("api", 2, availableReplicas=1)),
        None,
    ),
    ("ApiAvailable", "False", "Unavailable", "0 of 1", healthy_objects(api=child("Deployment", "demo-api")), None),
    ("ApiAvailable", "True", "RolloutStuck", "no quota", healthy_objects(api=deployment("api", 2, **STUCK)), None),
    (
        "ApiAvailable",
        "True",
        "RollingOut",
        "1 of 2",
        healthy_objects(api=deployment("api", 2, updatedReplicas=1)),
        None,
    ),
    ("ApiAvailable", "True", "RollingOut", "2 of 2", healthy_objects(api=deployment("api", 2, replicas=3)), None),
    ("ApiAvailable", "True", "RollingOut", "", healthy_objects(api=deployment("api", 2, observedGeneration=0)), None),
    ("WorkersAvailable", "True", "Available", "", healthy_objects(), None),
    ("WorkersAvailable", "False", "NotCreated", "demo-scheduler", healthy_objects(scheduler=None), None),
    (
        "WorkersAvailable",
        "False",
        "Unavailable",
        "demo-worker",
        healthy_objects(worker=deployment("worker", availableReplicas=0)),
        None,
    ),
    (
        "WorkersAvailable",
        "True",
        "RolloutStuck",
        "demo-scheduler",
        healthy_objects(worker=deployment("worker", replicas=2), scheduler=deployment("scheduler", **STUCK)),
        None,
    ),
    (
        "WorkersAvailable",
        "True",
        "RollingOut",
        "demo-scheduler",
        healthy_objects(scheduler=deployment("scheduler", updatedReplicas=0)),
        None,
    ),
    ("ScalingActive", "False", "ModeNone", "api.replicas", healthy_objects(), None),
    ("ScalingActive", "True", "Connections", "status.scaling", healthy_objects(), scaled("AtTarget")),
    ("ScalingActive", "False", "NoReadings", "serving", healthy_objects(), scaled("NoReadings")),
    ("ScalingActive", "False", "NoReadings", "", healthy_objects(), livescore(autoscaling={"mode": "connections"})),
    ("ScalingActive", "False", "AutoscalerStarting", "metric", healthy_objects(), HPA),
    (
        "ScalingActive",
        "False",
        "AutoscalerStarting",
        "",
        healthy_objects(hpa=autoscaler(AbleToScale="True")),
        HPA,
    ),
    (
        "ScalingActive",
        "False",
        "AutoscalerFailing",
        "Why: m",
        healthy_objects(hpa=autoscaler(ScalingActive="False")),
        HPA,
    ),
    (
        "ScalingActive",
        "False",
        "AutoscalerFailing",
        "",
        healthy_objects(hpa=autoscaler(AbleToScale="False")),
        HPA,
    ),
    ("ScalingActive", "True", "Autoscaler", "", healthy_objects(hpa=autoscaler(ScalingActive="True")), HPA),
]


@pytest.mark.parametrize(("type", "status", "reason", "word", "children", "resource"), TABLE)
def test_condition_reflects_its_owned_resources(
    type: str, status: str, reason: str, word: str, children: OwnedObjects, resource: LiveScore | None
) -> None:
    finding = findings_of(children, resource)[type]

    assert (finding.status, finding.reason) == (status, reason)
    assert word in finding.message


SETTLED = {"settled": {"api": 2, "worker": 1, "scheduler": 1}}


def after_scale_up(
    wanted: int = 5, *, leaving: int = 0, mode: str = "none", resource: Spec | None = None, **status: Any
) -> dict[str, Finding]:
    """Return the findings for a LiveScore that had two API pods, both available."""
    body = {"metadata": {"name": "demo", "namespace": "sport", "uid": "u", "generation": 7}}
    spec = {"image": IMAGE, "autoscaling": {"mode": mode}}
    parsed = LiveScore.parse({**body, "spec": spec, "status": SETTLED, **(resource or {})})
    findings = assess(
        parsed,
        healthy_objects(api=deployment("api", wanted, **status)),
        IMAGE,
        "",
        None,
        None,
        Progress(leaving=leaving),
    )
    return {one.type: one for one in findings}


@pytest.mark.parametrize(("mode", "reconciling"), [("none", "True"), ("connections", "False")])
def test_ordered_scale_up_stays_ready(mode: str, reconciling: str) -> None:
    findings = after_scale_up(5, mode=mode, replicas=5, updatedReplicas=5, availableReplicas=2)

    assert findings["ApiAvailable"][1:3] == ("True", "ScalingUp")
    assert findings["Ready"].status == "True"
    assert findings["Reconciling"].status == reconciling
    assert "2 of 5" in findings["ApiAvailable"].message


@pytest.mark.parametrize("available", [0, 1])
def test_pod_lost_during_a_scale_up_is_an_outage(available: int) -> None:
    findings = after_scale_up(5, replicas=5, updatedReplicas=5, availableReplicas=available)

    assert findings["ApiAvailable"][1:3] == ("False", "Unavailable")
    assert findings["Ready"].status == "False"


def test_draining_pods_do_not_count_as_unavailable() -> None:
    assert after_scale_up(2, leaving=1, availableReplicas=1)["Ready"].status == "True"
    assert after_scale_up(2, leaving=0, availableReplicas=1)["Ready"].status == "False"


def test_highest_availability_is_remembered() -> None:
    resource = LiveScore.parse({"metadata": {"name": "demo"}, "spec": {"image": IMAGE}, "status": SETTLED})

    def now(wanted: int, available: int, leaving: int = 0) -> int:
        return settled(resource, deployment("api", wanted, availableReplicas=available), leaving)["api"]

    assert [now(5, 2), now(5, 5), now(5, 1), now(1, 1), now(2, 1, 1)] == [2, 5, 2, 1, 1]


@pytest.mark.parametrize(("rolls", "reason"), [(True, "RollingOut"), (False, "Available")])
def test_unobserved_generation_counts_as_applied(rolls: bool, reason: str) -> None:
    progress = Progress(rolled={("Deployment", "demo-api"): rolls})
    children = healthy_objects(api=deployment("api", 2, observedGeneration=0))

    findings = {one.type: one for one in assess(livescore(), children, IMAGE, "", None, None, progress)}

    assert findings["ApiAvailable"].reason == reason
    assert findings["Ready"].status == ("False" if rolls else "True")


def test_autoscaler_without_observed_generation_is_starting() -> None:
    status = {"observedGeneration": 1, "conditions": [{"type": "ScalingActive", "status": "True"}]}
    live = child("HorizontalPodAutoscaler", "demo-api", status, generation=2)

    assert findings_of(healthy_objects(hpa=live), HPA)["ScalingActive"].reason == "AutoscalerStarting"


# Pods that do not start


def with_trouble(age: float, *, lasting: bool = True, **replaced: OwnedObjects | None) -> dict[str, Finding]:
    trouble = Trouble("ImagePullFailed", "no image", lasting=lasting, since=NOW - timedelta(seconds=age))
    progress = Progress(troubles={"postgres": trouble, "api": trouble}, now=NOW)
    findings = assess(livescore(), healthy_objects(**replaced), IMAGE, "", None, None, progress)
    return {one.type: one for one in findings}


@pytest.mark.parametrize(
    ("age", "lasting", "stalled"), [(59, True, "False"), (61, True, "True"), (10_000, False, "False")]
)
def test_pod_trouble_is_the_reason_and_stalls_after_a_minute(age: float, lasting: bool, stalled: str) -> None:
    findings = with_trouble(age, lasting=lasting, postgres=stateful("postgres", ready=0))

    assert findings["DatabaseReady"][1:4] == ("False", "ImagePullFailed", "no image")
    assert findings["Ready"][1:4] == ("False", "ImagePullFailed", "no image")
    assert findings["Stalled"].status == stalled


def test_rollout_without_new_pods_serves_and_gives_the_reason() -> None:
    findings = with_trouble(61, api=deployment("api", 2, replicas=3, updatedReplicas=1))

    assert findings["ApiAvailable"][1:3] == ("True", "ImagePullFailed")
    assert findings["Ready"].status == "False"
    assert findings["Stalled"].status == "True"


def test_trouble_of_a_surplus_pod_is_ignored() -> None:
    assert with_trouble(61)["Ready"].status == "True"


@pytest.mark.parametrize("pods", [[], ["demo-postgres-0"]])
def test_message_names_existing_objects(pods: list[str]) -> None:
    children = healthy_objects(postgres=stateful("postgres", ready=0))
    findings = assess(livescore(), children, IMAGE, "", None, None, Progress(pods=pods))

    message = next(one.message for one in findings if one.type == "DatabaseReady")
    kind = "pod demo-postgres-0" if pods else "statefulset demo-postgres`"
    assert f"kubectl describe {kind}" in message


def test_schema_condition_waits_for_the_database_without_a_job() -> None:
    for serving in (None, OLD_IMAGE):
        finding = findings_of(healthy_objects(job=None), serving=serving)["SchemaCurrent"]
        assert (finding.status, finding.reason) == ("False", "WaitingForDatabase")


@pytest.mark.parametrize(
    ("serving", "word"), [(None, "no image serves yet"), (OLD_IMAGE, f"{OLD_IMAGE} keeps serving")]
)
def test_failed_migration_gives_the_reason_and_the_serving_image(serving: str | None, word: str) -> None:
    finding = findings_of(healthy_objects(job=job("Failed")), serving=serving, log="column exists")["SchemaCurrent"]

    assert (finding.status, finding.reason) == ("False", "MigrationFailed")
    assert finding.message.startswith("column exists (Job demo-migrate-")
    assert word in finding.message
    assert "set another spec.image" in finding.message


def test_retried_migration_reports_the_last_failure() -> None:
    finding = findings_of(healthy_objects(job=job("Complete", "False")), log="column exists")["SchemaCurrent"]

    assert (finding.reason, "last failure: column exists" in finding.message) == ("Migrating", True)


def reasons_in_the_code() -> Iterator[str]:
    """Yield the reasons of findings in this module, and of activities reported by the scaling modes."""
    positions = {"Finding": 2, "Activity": 1}
    for module in (conditions, modes.none, modes.connections, modes.hpa):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            position = positions.get(node.func.id)
            if position is not None and len(node.args) > position:
                reason = node.args[position]
                if isinstance(reason, ast.Constant):
                    yield str(reason.value)


def test_every_reason_is_tested_here() -> None:
    elsewhere = {"ScalingUp", "WaitingForDatabase", "Suspended", "PlanOnly", "PlanPending"}
    elsewhere |= {"Effective", "SettingsIgnored"}
    assert set(reasons_in_the_code()) == {reason for _, _, reason, *_ in TABLE} | elsewhere


def test_ineffective_settings_have_their_own_condition() -> None:
    assert conditions.effectiveness("")[:3] == ("SettingsEffective", "True", "Effective")
    ignored = conditions.effectiveness("api.replicas: autoscaling.mode is hpa")
    assert ignored[1:4] == ("False", "SettingsIgnored", "without effect: api.replicas: autoscaling.mode is hpa")


# Summary conditions


def summary(findings: dict[str, Finding]) -> dict[str, tuple[str, str]]:
    return {name: findings[name][1:3] for name in ("Ready", "Reconciling", "Stalled")}


def test_healthy_livescore_is_ready() -> None:
    findings = findings_of(healthy_objects())

    assert summary(findings) == {
        "Ready": ("True", "Ready"),
        "Reconciling": ("False", "Ready"),
        "Stalled": ("False", "Ready"),
    }
    assert list(findings) == ["Ready", "Reconciling", "Stalled", *PARTS, "ScalingActive"]


# In the order in which a stack comes up: each is worse than those after it.
BROKEN: list[tuple[dict[str, OwnedObjects | None], str, bool]] = [
    ({"postgres": None}, "NotCreated", False),
    ({"redis": stateful("redis", ready=0)}, "Starting", False),
    ({"job": job("Failed")}, "MigrationFailed", True),
    ({"api": deployment("api", 2, **STUCK)}, "RolloutStuck", True),
    ({"worker": deployment("worker", availableReplicas=0)}, "Unavailable", False),
]


@pytest.mark.parametrize("first", range(len(BROKEN)))
def test_ready_names_the_first_failing_condition(first: int) -> None:
    broken = {name: one for parts, _, _ in BROKEN[first:] for name, one in parts.items()}
    _, reason, stalled = BROKEN[first]

    findings = findings_of(healthy_objects(**broken))

    assert summary(findings) == {
        "Ready": ("False", reason),
        "Reconciling": ("False" if stalled else "True", reason),
        "Stalled": ("True" if stalled else "False", reason),
    }
    assert findings["Ready"].message == findings[PARTS[first]].message


def test_rollout_is_available_but_not_ready() -> None:
    findings = findings_of(healthy_objects(api=deployment("api", 2, updatedReplicas=1)))

    assert findings["ApiAvailable"].status == "True"
    assert summary(findings) == {
        "Ready": ("False", "RollingOut"),
        "Reconciling": ("True", "RollingOut"),
        "Stalled": ("False", "RollingOut"),
    }


@pytest.mark.parametrize(
    ("problem", "stalled"),
    [(Terminal("Bad", "why"), True), (Waiting("Soon", "why"), False), (Transient("Again", "why"), False)],
)
@pytest.mark.parametrize("children", [healthy_objects(), healthy_objects(job=job("Failed")), {}])
def test_reconcile_error_takes_precedence_as_reason(
    problem: ReconcileError, stalled: bool, children: OwnedObjects
) -> None:
    findings = findings_of(children, problem=problem)
    stalled = stalled or problem.reason in STALLING

    assert summary(findings) == {
        "Ready": ("False", problem.reason),
        "Reconciling": ("False" if stalled else "True", problem.reason),
        "Stalled": ("True" if stalled else "False", problem.reason),
    }
    assert findings["Ready"].message == "why"
    assert findings["Stalled"].message == ("why" if stalled else "")


def test_awaited_problem_is_in_its_condition_too() -> None:
    findings = findings_of(
        healthy_objects(), problem=Waiting("CredentialsLost", "bring it back", condition="DatabaseReady")
    )

    assert findings["DatabaseReady"] == Finding("DatabaseReady", "False", "CredentialsLost", "bring it back")
    assert {name for name in PARTS if findings[name].status != "True"} == {"DatabaseReady"}


CHILDREN = st.fixed_dictionaries(
    {
        "postgres": st.sampled_from([None, stateful("postgres"), stateful("postgres", ready=0)]),
        "redis": st.sampled_from([None, stateful("redis"), stateful("redis", generation=2)]),
        "job": st.sampled_from([None, job(), job("Failed"), job("Complete", "False")]),
        **{
            component: st.sampled_from(
                [
                    None,
                    deployment(component),
                    deployment(component, replicas=2),
                    deployment(component, availableReplicas=0),
                    deployment(component, **STUCK),
                ]
            )
            for component in ("api", "worker", "scheduler")
        },
    }
)
PROBLEMS = st.sampled_from([None, Terminal("A", "a"), Waiting("B", "b"), Transient("C", "c")])


@given(CHILDREN, st.sampled_from([None, IMAGE, OLD_IMAGE]), PROBLEMS)
def test_exactly_one_of_ready_reconciling_and_stalled_is_true(
    children: dict[str, OwnedObjects | None], serving: str | None, problem: ReconcileError | None
) -> None:
    """As kstatus requires: InProgress, Failed or Current, but never two of them."""
    findings = findings_of(healthy_objects(**children), serving=serving, problem=problem)

    sums = [findings[name].status for name in ("Ready", "Reconciling", "Stalled")]
    assert sorted(sums) == ["False", "False", "True"]
    good = all(findings[name].status == "True" and findings[name].reason not in UNFINISHED for name in PARTS)
    assert (findings["Ready"].status == "True") == (good and problem is None)


def test_suspended_livescore_is_neither_reconciling_nor_stalled() -> None:
    assert [one[:3] for one in suspended()] == [
        ("Ready", "Unknown", "Suspended"),
        ("Reconciling", "False", "Suspended"),
        ("Stalled", "False", "Suspended"),
    ]


@pytest.mark.parametrize("pending", [True, False])
def test_planned_livescore_is_not_reconciling_and_pending_changes_are_not_ready(pending: bool) -> None:
    findings = assess(livescore(), healthy_objects(), IMAGE, "", None)

    paused = planned(findings, "3 to create", pending=pending)

    assert [one.type for one in paused] == [one.type for one in findings]
    differing = [(new.type, new.status, new.reason) for old, new in zip(findings, paused, strict=True) if old != new]
    ready = [("Ready", "False", "PlanPending")] if pending else []
    assert differing == [*ready, ("Reconciling", "False", "PlanOnly")]
    assert all("3 to create" in one.message for one in paused if one.reason in ("PlanOnly", "PlanPending"))


def test_refused_plan_stalls() -> None:
    findings = assess(livescore(), healthy_objects(), IMAGE, "", Terminal("Invalid", "no such field"))

    paused = {one.type: one for one in planned(findings, "1 to update", pending=True)}

    assert paused["Ready"][1:4] == ("False", "Invalid", "no such field")
    assert paused["Stalled"][1:4] == ("True", "Invalid", "no such field")


# History

TYPES = st.sampled_from(["Ready", "Stalled", "ApiAvailable", "Custom"])
FINDINGS = st.lists(
    st.builds(
        Finding,
        TYPES,
        st.sampled_from(get_args(ConditionStatus)),
        st.sampled_from("AB"),
        st.text(max_size=3),
        stalled=st.just(False),
    ),
    unique_by=lambda finding: finding.type,
)


def merged(rounds: list[list[Finding]]) -> list[Condition]:
    """Return the conditions after these rounds, one per minute, each of the next generation."""
    written: list[Condition] = []
    for number, findings in enumerate(rounds):
        written = merge(written, findings, number, NOW + timedelta(minutes=number))
    return written


@given(st.lists(FINDINGS, min_size=1, max_size=5))
def test_transition_time_changes_only_with_the_status(rounds: list[list[Finding]]) -> None:
    before = {one.type: one for one in merged(rounds[:-1])}
    moment = (NOW + timedelta(minutes=len(rounds) - 1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    for one in merged(rounds):
        old = before.get(one.type)
        if old is not None and old.status == one.status:
            assert one.last_transition_time == old.last_transition_time
        else:
            assert one.last_transition_time == moment


@given(st.lists(FINDINGS, min_size=1, max_size=5))
def test_conditions_keep_the_latest_findings(rounds: list[list[Finding]]) -> None:
    written = {one.type: one for one in merged(rounds)}
    newest = {finding.type: (finding, number) for number, turn in enumerate(rounds) for finding in turn}

    assert len(written) == len(merged(rounds))
    assert {
        name: (Finding(one.type, one.status, one.reason, one.message), one.observed_generation)
        for name, one in written.items()
    } == newest


@given(st.lists(FINDINGS, min_size=1, max_size=4), st.integers(0, 10**6))
def test_unchanged_findings_cause_no_write(rounds: list[list[Finding]], seconds: int) -> None:
    written = merged(rounds)
    later = NOW + timedelta(seconds=seconds)

    assert merge(written, rounds[-1], len(rounds) - 1, later) == written


def test_times_are_in_the_format_of_kubernetes() -> None:
    (condition,) = merge([], [Finding("Ready", "True", "Ready")], 7, NOW)

    assert condition.model_dump(by_alias=True) == {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "observedGeneration": 7,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }
