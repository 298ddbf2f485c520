"""States that controllers and kubelets would set, to be set by tests: their API servers have neither."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.support.kubernetes.kinds import Json
from tests.support.kubernetes.kube import Kube
from tests.support.kubernetes.server import NODE, Server

LABELS_OF_JOB = ("batch.kubernetes.io/job-name", "job-name")


async def make_ready(kube: Kube, kind: str, name: str) -> Json:
    """Set an object to its successful state: rolled out as specified, succeeded, running, or bound.

    Supports Deployment, StatefulSet (including its claims), Job, Pod, PersistentVolumeClaim and Cluster.

    Returns:
        The object.
    """
    body = await kube.get(kind, name)
    if kind == "StatefulSet":
        await _make_claims(kube, body)
    return await kube.set_status(kind, name, _READY[kind](body))


async def make_unready(kube: Kube, kind: str, name: str) -> Json:
    """Set a Deployment or StatefulSet to have pods that are not ready."""
    workload = await kube.get(kind, name)
    counts = {"readyReplicas": None, "availableReplicas": None}
    status: Json = {"observedGeneration": workload["metadata"]["generation"], **counts}
    if kind == "Deployment":
        unavailable = _condition("Available", "False", "MinimumReplicasUnavailable")
        status |= {"unavailableReplicas": _replicas(workload), "conditions": [unavailable]}
    return await kube.set_status(kind, name, status)


async def fail_job(kube: Kube, server: Server, name: str, log: str = "") -> Json:
    """Set a Job to have failed for good, with one pod that logged ``log``."""
    job = await kube.get("Job", name)
    pod = f"{name}-x7k2p"
    labels = dict.fromkeys(LABELS_OF_JOB, name) | job["spec"]["template"]["metadata"].get("labels", {})
    containers = [container["name"] for container in job["spec"]["template"]["spec"]["containers"]]
    await make_pod(kube, pod, labels, containers=containers)
    await kube.set_status("Pod", pod, {"phase": "Failed"})
    server.logs.write(kube.namespace, pod, log)
    conditions = [_condition(type, "True", "BackoffLimitExceeded") for type in ("FailureTarget", "Failed")]
    return await kube.set_status("Job", name, {"startTime": _now(), "failed": 1, "conditions": conditions})


async def make_pod(
    kube: Kube, name: str, labels: dict[str, str], owner: Json | None = None, containers: Sequence[str] = ("main",)
) -> Json:
    """Create a pod on the tests' node, which serves logs."""
    metadata: Json = {"name": name, "labels": labels}
    if owner:
        metadata["ownerReferences"] = [_reference(owner)]
    spec = {"nodeName": NODE, "containers": [{"name": one, "image": "tests"} for one in containers]}
    return await kube.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


async def _make_claims(kube: Kube, stateful: Json) -> None:
    for template in stateful["spec"].get("volumeClaimTemplates", []):
        for number in range(_replicas(stateful)):
            await _make_claim(kube, template, f"{template['metadata']['name']}-{stateful['metadata']['name']}-{number}")


async def _make_claim(kube: Kube, template: Json, name: str) -> None:
    if await kube.find("PersistentVolumeClaim", name):
        return
    spec = {**template["spec"], "volumeName": f"volume-of-{name}"}
    body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    await kube.create(body)
    await make_ready(kube, "PersistentVolumeClaim", name)


def _deployment(deployment: Json) -> Json:
    available = _condition("Available", "True", "MinimumReplicasAvailable")
    progressing = _condition("Progressing", "True", "NewReplicaSetAvailable")
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        **dict.fromkeys(names, _replicas(deployment)),
        "unavailableReplicas": None,
        "conditions": [available, progressing],
    }


def _stateful_set(stateful: Json) -> Json:
    generation = stateful["metadata"]["generation"]
    names = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "currentReplicas")
    revision = f"{stateful['metadata']['name']}-{generation}"
    revisions = {"currentRevision": revision, "updateRevision": revision}
    return {"observedGeneration": generation, **dict.fromkeys(names, _replicas(stateful)), **revisions}


def _job(job: Json) -> Json:
    conditions = [_condition(type, "True", "CompletionsReached") for type in ("SuccessCriteriaMet", "Complete")]
    succeeded = job["spec"].get("completions", 1)
    return {"startTime": _now(), "completionTime": _now(), "succeeded": succeeded, "conditions": conditions}


def _pod(pod: Json) -> Json:
    conditions = [_condition(type, "True") for type in ("Ready", "ContainersReady")]
    started = {"ready": True, "started": True, "restartCount": 0, "state": {"running": {"startedAt": _now()}}}
    containers = [
        {"name": container["name"], "image": container["image"], "imageID": container["image"], **started}
        for container in pod["spec"]["containers"]
    ]
    address = {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}
    return {"phase": "Running", **address, "conditions": conditions, "containerStatuses": containers}


def _claim(claim: Json) -> Json:
    capacity = claim["spec"]["resources"]["requests"]
    return {"phase": "Bound", "capacity": capacity, "accessModes": claim["spec"]["accessModes"]}


def _cluster(cluster: Json) -> Json:
    """Return the status of a healthy Cluster of CloudNativePG."""
    number = cluster["spec"].get("instances", 1)
    ready = _condition("Ready", "True", "ClusterIsReady")
    phase = "Cluster in healthy state"
    return {"instances": number, "readyInstances": number, "phase": phase, "conditions": [ready]}


_READY: dict[str, Callable[[Json], Json]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "Cluster": _cluster,
}


def _replicas(workload: Json) -> int:
    number: int = workload["spec"].get("replicas", 1)
    return number


def _condition(type: str, status: str, reason: str = "") -> dict[str, Any]:
    given = {"reason": reason, "message": reason} if reason else {}
    return {"type": type, "status": status, "lastTransitionTime": _now(), **given}


def _reference(owner: Json) -> Json:
    metadata = owner["metadata"]
    names = {"name": metadata["name"], "uid": metadata["uid"], "controller": True}
    return {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **names}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
