"""Diagnosis of pods that do not start, from reports of kubelets, controllers and the scheduler."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from livescore_operator import troubles
from livescore_operator.resource import Manifest
from livescore_operator.troubles import LASTING_SECONDS, Trouble

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
POD = "demo-api-1"


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def labelled(name: str, component: str, **metadata: Any) -> Manifest:
    labels = {"app.kubernetes.io/component": component}
    return {"name": name, "labels": labels, "creationTimestamp": ago(90), **metadata}


def pod(component: str = "api", *, deleted: float | None = None, **status: Any) -> Manifest:
    metadata = labelled(POD, component, **({} if deleted is None else {"deletionTimestamp": ago(deleted)}))
    limits = {"limits": {"memory": "512Mi"}}
    spec = {"nodeName": "node1", "containers": [{"name": "proxy"}, {"name": "api", "resources": limits}]}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Pending", **status}}


def waiting(reason: str, message: str = "why", **others: Any) -> Manifest:
    return {
        "name": "api",
        "image": "livescore:9",
        "state": {"waiting": {"reason": reason, "message": message}},
        **others,
    }


def containers(*found: Manifest) -> Manifest:
    return pod(containerStatuses=list(found))


def ended(code: int = 1, restarts: int = 3, state: str = "CrashLoopBackOff", **more: Any) -> Manifest:
    last = {"terminated": {"exitCode": code, **more}}
    return containers(waiting(state, restartCount=restarts, lastState=last))


def condition(type: str, status: str, **more: Any) -> Manifest:
    return {"type": type, "status": status, **more}


def unscheduled(message: str) -> Manifest:
    return pod(conditions=[condition("PodScheduled", "False", reason="Unschedulable", message=message)])


def event(reason: str, message: str, seconds: float = 5) -> Manifest:
    return {"reason": reason, "message": message, "firstTimestamp": ago(70), "lastTimestamp": ago(seconds)}


def find(found: Manifest, *events: Manifest, component: str = "api", **objects: Manifest) -> Trouble | None:
    known = {POD: list(events), "demo-api": list(events), "data-demo-postgres-0": list(events)}
    children = {(one["kind"], one["metadata"]["name"]): one for one in objects.values()}
    return troubles.find(component, [found] if found else [], children, known, NOW)


# A pod, the reason, words of the message, and True if the problem cannot resolve itself.
PODS: list[tuple[Manifest, str, list[str], bool]] = [
    *(
        (containers(waiting(reason)), "ImagePullFailed", [POD, "livescore:9", reason, "why"], True)
        for reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
    ),
    (
        containers(waiting("CreateContainerConfigError", 'secret "keys" not found')),
        "ConfigMissing",
        [POD, 'secret "keys" not found'],
        True,
    ),
    (
        containers(waiting("CreateContainerConfigError", "couldn't find key url in Secret sport/keys")),
        "ConfigMissing",
        ["key url in Secret"],
        True,
    ),
    (containers(waiting("RunContainerError", "no such file")), "ContainerFailed", ["no such file"], True),
    (containers(waiting("CreateContainerError", "name in use")), "ContainerFailed", ["name in use"], True),
    (ended(), "CrashLoop", [POD, "container api", "exit code 1", "3 restarts"], True),
    (ended(restarts=1), "CrashLoop", ["1 restarts"], False),
    (ended(code=0), "CrashLoop", ["exit code 0"], True),
    (ended(code=139, signal=11), "CrashLoop", ["signal 11"], True),
    (ended(code=137, reason="OOMKilled"), "OutOfMemory", ["512Mi", "limits.memory"], True),
    (ended(code=128, reason="StartError", message="no such command"), "ContainerFailed", ["no such command"], True),
    (
        pod(initContainerStatuses=[waiting("ErrImagePull")], containerStatuses=[waiting("PodInitializing")]),
        "ImagePullFailed",
        ["init container"],
        True,
    ),
    (
        containers({"name": "proxy", "ready": True, "state": {"running": {}}}, waiting("ErrImagePull")),
        "ImagePullFailed",
        ["container api"],
        True,
    ),
    (unscheduled("0/3 nodes are available: 3 Insufficient cpu."), "Unschedulable", [POD, "Insufficient cpu"], False),
    (unscheduled("0/3 nodes are available: 3 node(s) had untolerated taint {a: b}."), "Unschedulable", ["taint"], True),
    (
        unscheduled("0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        "Unschedulable",
        ["affinity"],
        True,
    ),
    (pod(deleted=300), "PodTerminating", [POD, "node1"], True),
    (pod(phase="Failed", reason="Evicted", message="low on memory"), "PodFailed", ["Evicted: low on memory"], False),
]


@pytest.mark.parametrize(("found", "reason", "words", "lasting"), PODS)
def test_pod_status_gives_the_trouble(found: Manifest, reason: str, words: list[str], lasting: bool) -> None:
    trouble = find(found)

    assert trouble is not None
    assert (trouble.reason, trouble.lasting) == (reason, lasting)
    assert [word for word in words if word not in trouble.message] == []
    assert (trouble.log is not None) == (reason in ("CrashLoop", "OutOfMemory")), "the log helps only then"


EVENTS = [
    ("FailedMount", 'MountVolume.SetUp failed for volume "keys": secret "keys" not found', "MountFailed", True),
    ("FailedAttachVolume", "Multi-Attach error", "MountFailed", False),
    ("FailedCreatePodSandBox", "network plugin is not ready", "SandboxFailed", False),
    ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", "ProbeFailing", False),
]


@pytest.mark.parametrize(("reason", "message", "found", "lasting"), EVENTS)
def test_events_give_the_trouble_missing_from_the_pod_status(
    reason: str, message: str, found: str, lasting: bool
) -> None:
    trouble = find(pod(), event(reason, "an older one", 60), event(reason, message))

    assert trouble is not None
    assert (trouble.reason, trouble.lasting) == (found, lasting)
    assert message in trouble.message


@pytest.mark.parametrize(("age", "reason"), [(19, None), (21, "ProbeFailing")])
def test_failing_probes_during_start_up_are_ignored(age: float, reason: str | None) -> None:
    unready = {**condition("Ready", "False"), "lastTransitionTime": ago(age)}
    trouble = find(pod(conditions=[unready]), event("Unhealthy", "Startup probe failed: connection refused"))

    assert (trouble.reason if trouble else None) == reason


@pytest.mark.parametrize(
    "well",
    [
        pod(conditions=[condition("Ready", "True")]),
        pod(phase="Succeeded"),
        pod(),
        pod(deleted=-10),
        containers(waiting("ContainerCreating")),
        containers(waiting("PodInitializing")),
        pod("worker", containerStatuses=[waiting("ErrImagePull")]),
    ],
)
def test_starting_pod_or_pod_of_another_component_is_ignored(well: Manifest) -> None:
    assert find(well) is None


QUOTA = 'pods "demo-api-x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2'
SECURITY = 'pods "demo-api-x" is forbidden: violates PodSecurity "restricted:latest": seccompProfile'
LIMITS = 'pods "demo-api-x" is forbidden: maximum memory usage per Container is 128Mi, but limit is 512Mi'
REFUSED = [(QUOTA, "QuotaExceeded"), (SECURITY, "PodsRefused"), (LIMITS, "PodsRefused")]


def workload(kind: str, **status: Any) -> Manifest:
    return {"kind": kind, "metadata": labelled("demo-api", "api"), "spec": {"replicas": 1}, "status": status}


@pytest.mark.parametrize(("message", "reason"), REFUSED)
def test_workload_status_gives_the_trouble(message: str, reason: str) -> None:
    failure = condition("ReplicaFailure", "True", message=message, lastTransitionTime=ago(70))
    reported = find({}, deployment=workload("Deployment", conditions=[failure]))
    events = [find({}, event("FailedCreate", message), one=workload(kind)) for kind in ("StatefulSet", "Job")]

    for trouble in (reported, *events):
        assert trouble is not None
        assert (trouble.reason, trouble.lasting) == (reason, True)
        assert message in trouble.message
        assert trouble.remaining(NOW) == 0


@pytest.mark.parametrize(
    "well",
    [
        workload("StatefulSet", replicas=1),
        workload("Job", active=1),
        workload("Job", conditions=[condition("Complete", "True")]),
        workload("Deployment", conditions=[condition("ReplicaFailure", "False", message=QUOTA)]),
    ],
)
def test_workload_with_all_pods_is_ignored(well: Manifest) -> None:
    assert find({}, event("FailedCreate", QUOTA), one=well) is None


def claim(phase: str = "Pending", storage_class: str | None = "fast") -> Manifest:
    metadata = labelled("data-demo-postgres-0", "postgres")
    spec = {"storageClassName": storage_class} if storage_class else {}
    return {"kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("reason", "message", "lasting"),
    [
        ("ProvisioningFailed", 'storageclass.storage.k8s.io "fast" not found', True),
        ("FailedBinding", "no persistent volumes available for this claim and no storage class is set", True),
        ("ExternalProvisioning", "Waiting for a volume to be created", False),
    ],
)
def test_unbound_claim_is_named_with_its_class(reason: str, message: str, lasting: bool) -> None:
    trouble = find(pod("postgres"), event(reason, message), component="postgres", claim=claim())

    assert trouble is not None
    assert (trouble.reason, trouble.lasting) == ("ClaimPending", lasting)
    assert [word for word in ("data-demo-postgres-0", "fast", message) if word not in trouble.message] == []


def test_bound_claim_or_claim_waiting_for_its_pod_is_ignored() -> None:
    assert find({}, component="postgres", claim=claim("Bound")) is None
    assert find({}, event("WaitForFirstConsumer", "waiting"), component="postgres", claim=claim()) is None


def test_lasting_trouble_stalls_after_a_minute() -> None:
    young, old = (Trouble("A", "a", since=NOW - timedelta(seconds=age)) for age in (20, 61))

    assert (young.remaining(NOW), old.remaining(NOW)) == (LASTING_SECONDS - 20, 0)
    assert Trouble("A", "a", lasting=False, since=NOW).remaining(NOW) is None


def test_a_pod_that_ran_for_days_does_not_stall_at_its_first_crash() -> None:
    crashed = ended()
    crashed["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z"
    crashed["status"]["conditions"] = [condition("Ready", "False", lastTransitionTime=ago(10))]

    trouble = find(crashed)

    assert trouble is not None
    assert trouble.remaining(NOW) == LASTING_SECONDS - 10


def test_lasting_trouble_takes_precedence() -> None:
    pods = [unscheduled("3 Insufficient cpu"), containers(waiting("ErrImagePull"))]

    trouble = troubles.find("api", pods, {}, {}, NOW)

    assert trouble is not None
    assert trouble.reason == "ImagePullFailed"


def test_message_quoting_a_manifest_is_truncated() -> None:
    trouble = find(containers(waiting("RunContainerError", "x" * 5000)))

    assert trouble is not None
    assert len(trouble.message) <= troubles.MAX_MESSAGE + 1
