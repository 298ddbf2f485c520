"""Diagnosis of missing or unready pods, from pods, claims, workloads and Events. Pure functions."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from livescore_operator.components.common import COMPONENT
from livescore_operator.resource import Manifest

Key = tuple[str, str]

# Seconds after which a trouble that does not pass by itself stalls. Kubelets and controllers retry before.
LASTING_SECONDS = 60.0

# Number of restarts after which a crashing container counts as looping.
LOOP_RESTARTS = 2

# Seconds for which failing probes of a new pod are not reported: probes fail while a pod starts.
PROBE_SECONDS = 20.0

# Maximum length of a message in characters; some kubelet messages quote whole manifests.
MAX_MESSAGE = 500

# Reasons of a waiting container, from kubelet and container runtimes.
_IMAGE = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_CONTAINER = frozenset({"CreateContainerError", "RunContainerError", "PreCreateHookError", "PreStartHookError"})

# Scheduler messages about missing capacity, which passes when pods leave or an autoscaler adds nodes.
_CAPACITY = re.compile(r"Insufficient|Too many pods|no nodes available|0/0 nodes")


@dataclass(frozen=True)
class Trouble:
    """Reason why pods of a component are missing or not ready.

    Attributes:
        reason: Reason for programs.
        message: Reason for people, with the names of existing objects.
        lasting: Whether it does not pass by itself.
        since: When it began, if known.
        log: Pod and container whose log has details; None if there is no log.
    """

    reason: str
    message: str
    lasting: bool = True
    since: datetime | None = None
    log: Key | None = None

    def remaining(self, now: datetime) -> float | None:
        """Return the seconds until the trouble stalls the LiveScore; None if it passes by itself."""
        if not self.lasting:
            return None
        age = (now - self.since).total_seconds() if self.since else 0.0
        return max(0.0, LASTING_SECONDS - age)


REASONS = frozenset(
    {
        "ImagePullFailed",
        "ConfigMissing",
        "ContainerFailed",
        "CrashLoop",
        "OutOfMemory",
        "Unschedulable",
        "ClaimPending",
        "MountFailed",
        "SandboxFailed",
        "PodTerminating",
        "PodFailed",
        "ProbeFailing",
        "QuotaExceeded",
        "PodsRefused",
    }
)
"""Every reason of a trouble."""


def suspects(pods: Iterable[Manifest], objects: Mapping[Key, Manifest]) -> list[str]:
    """Return the names of unready pods, unbound claims and workloads without pods. Their Events may give the reason."""
    claims: list[str] = []
    workloads: list[str] = []
    for (kind, name), manifest in objects.items():
        if kind == "PersistentVolumeClaim" and not _bound(manifest):
            claims.append(name)
        if kind in ("StatefulSet", "Job") and _lacks_pods(manifest):
            workloads.append(name)
    return [*claims, *(_name(pod) for pod in pods if not is_ready(pod)), *workloads]


def find(
    component: str,
    pods: Iterable[Manifest],
    objects: Mapping[Key, Manifest],
    events: Mapping[str, list[Manifest]],
    now: datetime,
) -> Trouble | None:
    """Return why the pods of a component are missing or not ready; None if they are ready, or no reason is known.

    Args:
        component: Value of the component label.
        pods: All pods of the LiveScore.
        objects: Owned objects and claims by kind and name.
        events: Events by the name of the object they are about.
        now: Current time, with a time zone.
    """
    mine = [pod for pod in pods if _component(pod) == component and not is_ready(pod)]
    troubles = [
        *(_of_claim(name, claim, events.get(name, [])) for name, claim in _claims(component, objects)),
        *(
            _of_workload(*place, manifest, events.get(place[1], []))
            for place, manifest in objects.items()
            if _component(manifest) == component
        ),
        *(_of_pod(pod, events.get(_name(pod), []), now) for pod in mine),
    ]
    known = [trouble for trouble in troubles if trouble is not None]
    if not known:
        return None
    worst = min(known, key=lambda trouble: (not trouble.lasting, trouble.since is None, trouble.since))
    return replace(worst, message=_shortened(worst.message))


def is_ready(pod: Manifest) -> bool:
    """Return True if a pod is ready, or has succeeded."""
    return _status(pod).get("phase") == "Succeeded" or _condition(pod, "Ready").get("status") == "True"


# Claims and workloads


def _claims(component: str, objects: Mapping[Key, Manifest]) -> list[tuple[str, Manifest]]:
    claims = ((name, found) for (kind, name), found in objects.items() if kind == "PersistentVolumeClaim")
    return [(name, claim) for name, claim in claims if _component(claim) == component and not _bound(claim)]


def _bound(claim: Manifest) -> bool:
    return bool(_status(claim).get("phase", "Bound") == "Bound")


def _of_claim(name: str, claim: Manifest, events: list[Manifest]) -> Trouble | None:
    storage_class = claim["spec"].get("storageClassName") or "the default"
    since = _time(claim["metadata"].get("creationTimestamp"))
    known = {str(event.get("reason")): str(event.get("message", "")) for event in events}
    why = known.get("ProvisioningFailed") or known.get("FailedBinding")
    if why is None and "WaitForFirstConsumer" in known:
        return None
    text = why or known.get("ExternalProvisioning") or "no reason is known yet"
    message = f"claim {name} (storage class: {storage_class}) is {_status(claim).get('phase')}: {text}"
    return Trouble("ClaimPending", message, lasting=why is not None, since=since)


def _of_workload(kind: str, name: str, workload: Manifest, events: list[Manifest]) -> Trouble | None:
    """Return why a controller cannot create pods. StatefulSets and Jobs report it only in Events."""
    failure = _condition(workload, "ReplicaFailure")
    if failure.get("status") == "True":
        return _refused(f"{kind} {name}", str(failure.get("message", "")), _time(failure.get("lastTransitionTime")))
    if kind not in ("StatefulSet", "Job") or not _lacks_pods(workload):
        return None
    event = _newest(events, "FailedCreate")
    if event is None:
        return None
    return _refused(f"{kind} {name}", str(event.get("message", "")), _first_seen(event))


def _refused(what: str, message: str, since: datetime | None) -> Trouble:
    text = f"{what} cannot create pods: {message}"
    if "exceeded quota" in message:
        return Trouble("QuotaExceeded", text, since=since)
    return Trouble("PodsRefused", text, since=since)


def _lacks_pods(workload: Manifest) -> bool:
    status = _status(workload)
    if workload.get("kind") == "Job":
        is_finished = any(condition.get("status") == "True" for condition in status.get("conditions") or [])
        return not is_finished and not status.get("active") and not status.get("ready")
    desired = workload.get("spec", {}).get("replicas", 1)
    current = status.get("replicas") or 0
    return int(current) < int(desired)


# Pods


def _of_pod(pod: Manifest, events: list[Manifest], now: datetime) -> Trouble | None:
    since = _since(pod)
    found = (
        _terminating(pod, now)
        or _unscheduled(pod)
        or _of_containers(pod)
        or _of_events(pod, events)
        or _failed(pod)
        or _of_probes(pod, events, now)
    )
    return found and replace(found, since=found.since or since)


def _terminating(pod: Manifest, now: datetime) -> Trouble | None:
    end = _time(pod["metadata"].get("deletionTimestamp"))
    if end is None or (now - end).total_seconds() < LASTING_SECONDS:
        return None
    node = (pod.get("spec") or {}).get("nodeName", "unknown")
    message = f"pod {_name(pod)} should have stopped at {end:%H:%M:%S} UTC, but node {node} did not confirm it"
    return Trouble("PodTerminating", f"{message}: is the node down?", since=end)


def _unscheduled(pod: Manifest) -> Trouble | None:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") != "False":
        return None
    why = str(scheduled.get("message", scheduled.get("reason", "")))
    message = f"pod {_name(pod)} cannot be scheduled: {why}"
    return Trouble("Unschedulable", message, lasting=not _CAPACITY.search(why))


def _of_containers(pod: Manifest) -> Trouble | None:
    status = _status(pod)
    for kind, field in (("init container", "initContainerStatuses"), ("container", "containerStatuses")):
        for container in status.get(field) or []:
            found = _of_container(pod, f"{kind} {container.get('name')} of pod {_name(pod)}", container)
            if found is not None:
                return found
    return None


def _of_container(pod: Manifest, what: str, container: Manifest) -> Trouble | None:
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting = state.get("waiting") or {}
    reason, why = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in _IMAGE:
        return Trouble("ImagePullFailed", f"{what} cannot pull image {container.get('image')}: {reason}: {why}")
    if reason == "CreateContainerConfigError":
        return Trouble("ConfigMissing", f"{what} cannot start: {why}")
    if reason in _CONTAINER:
        return Trouble("ContainerFailed", f"{what} cannot start: {reason}: {why}")
    ended = state.get("terminated") or last.get("terminated") or {}
    done = ended.get("exitCode") == 0 and reason != "CrashLoopBackOff"
    if container.get("ready") or not ended or done:
        return None
    restarts = int(container.get("restartCount") or 0)
    log = (_name(pod), str(container.get("name")))
    if ended.get("reason") == "OOMKilled":
        limit = _limit(pod, str(container.get("name")))
        message = (
            f"{what} was killed at its memory limit{limit} after {restarts} restarts: raise resources.limits.memory"
        )
        return Trouble("OutOfMemory", message, lasting=restarts >= LOOP_RESTARTS, log=log)
    if ended.get("reason") in _CONTAINER | {"StartError", "ContainerCannotRun"}:
        return Trouble("ContainerFailed", f"{what} cannot start: {ended.get('message', ended.get('reason'))}")
    how = f"signal {ended['signal']}" if ended.get("signal") else f"exit code {ended.get('exitCode')}"
    message = f"{what} exited with {how} after {restarts} restarts"
    return Trouble("CrashLoop", message, lasting=restarts >= LOOP_RESTARTS, log=log)


def _limit(pod: Manifest, name: str) -> str:
    spec = pod.get("spec") or {}
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        if container.get("name") == name:
            memory = ((container.get("resources") or {}).get("limits") or {}).get("memory")
            return f" of {memory}" if memory else ""
    return ""


def _of_events(pod: Manifest, events: list[Manifest]) -> Trouble | None:
    name = _name(pod)
    if mount := _newest(events, "FailedMount", "FailedAttachVolume", "FailedMapVolume"):
        why = str(mount.get("message", ""))
        return Trouble("MountFailed", f"pod {name} cannot mount a volume: {why}", lasting="not found" in why)
    if sandbox := _newest(events, "FailedCreatePodSandBox", "NetworkNotReady"):
        return Trouble("SandboxFailed", f"pod {name} cannot start: {sandbox.get('message', '')}", lasting=False)
    return None


def _of_probes(pod: Manifest, events: list[Manifest], now: datetime) -> Trouble | None:
    probe = _newest(events, "Unhealthy")
    if probe is None:
        return None
    since = _since(pod)
    is_starting = since is not None and (now - since).total_seconds() < PROBE_SECONDS
    if is_starting:
        return None
    return Trouble("ProbeFailing", f"pod {_name(pod)} is not ready: {probe.get('message', '')}", lasting=False)


def _failed(pod: Manifest) -> Trouble | None:
    status = _status(pod)
    if status.get("phase") != "Failed" or not status.get("reason"):
        return None
    why = f"{status['reason']}: {status.get('message', '')}".removesuffix(": ")
    return Trouble("PodFailed", f"pod {_name(pod)} failed: {why}", lasting=False)


def _since(pod: Manifest) -> datetime | None:
    """Return when the pod became unready. A pod that was ready between two restarts counts from the last one."""
    ready = _condition(pod, "Ready")
    return _time(ready.get("lastTransitionTime")) or _time(pod["metadata"].get("creationTimestamp"))


# Fields of objects


def _component(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("labels") or {}).get(COMPONENT, ""))


def _name(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def _status(manifest: Manifest) -> dict[str, Any]:
    return manifest.get("status") or {}


def _condition(manifest: Manifest, type: str) -> dict[str, Any]:
    found = _status(manifest).get("conditions") or []
    return next((one for one in found if one.get("type") == type), {})


def _newest(events: list[Manifest], *reasons: str) -> Manifest | None:
    found = [event for event in events if event.get("reason") in reasons]
    return max(found, key=_last_seen, default=None)


def _last_seen(event: Manifest) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(time) for time in times if time), "")


def _first_seen(event: Manifest) -> datetime | None:
    return _time(event.get("firstTimestamp")) or _time(event.get("eventTime"))


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None


def _shortened(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"
