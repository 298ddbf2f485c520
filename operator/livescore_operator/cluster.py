"""The API server: the only file that talks to it. Reads, server-side apply, deletion, Events, the Lease."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp
from kubernetes.aio import config as kubeconfig
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from livescore_operator import __version__
from livescore_operator.claims import is_bound
from livescore_operator.errors import NotLeading, Transient, Waiting
from livescore_operator.resource import API_VERSION, KIND, PLURAL, Manifest
from livescore_operator.responses import Response, checked
from livescore_operator.telemetry import metrics

FIELD_MANAGER = "livescore-operator"

# Holds the number of replicas from when the operator lets it go until a HorizontalPodAutoscaler first changes it: a
# field that nobody owns would fall back to its default, one pod.
HANDOVER_MANAGER = "livescore-operator-handover"

# Owns the members of a status by which operators agree which of them works on it: an
# operator of an older version, which applies the whole status under the first name, leaves them alone.
OWNERSHIP_MANAGER = "livescore-operator-ownership"

# Bytes of a failed migration's log that are read: its last lines.
LOG_BYTES = 4096

# Deletions of a claim in one go: each one after the first answers a write of another controller.
CLAIM_ATTEMPTS = 5

# Seconds until a claim is looked at again that got its volume when it should have been deleted.
CLAIM_SECONDS = 2.0

# API group, version and plural of every kind that is read or written.
KINDS: dict[str, tuple[str, str]] = {
    "ConfigMap": ("v1", "configmaps"),
    "Secret": ("v1", "secrets"),
    "Service": ("v1", "services"),
    "ServiceAccount": ("v1", "serviceaccounts"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Pod": ("v1", "pods"),
    "Event": ("v1", "events"),
    "Deployment": ("apps/v1", "deployments"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "Job": ("batch/v1", "jobs"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "Ingress": ("networking.k8s.io/v1", "ingresses"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles"),
    "APIService": ("apiregistration.k8s.io/v1", "apiservices"),
    "SubjectAccessReview": ("authorization.k8s.io/v1", "subjectaccessreviews"),
    "SelfSubjectAccessReview": ("authorization.k8s.io/v1", "selfsubjectaccessreviews"),
    "Cluster": ("postgresql.cnpg.io/v1", "clusters"),
    "PodMonitor": ("monitoring.coreos.com/v1", "podmonitors"),
    KIND: (API_VERSION, PLURAL),
}

# Kinds that children are of; the last two belong to other operators and are used where those are installed.
CHILDREN = (
    "ConfigMap",
    "Secret",
    "Service",
    "ServiceAccount",
    "Deployment",
    "StatefulSet",
    "Job",
    "PodDisruptionBudget",
    "Ingress",
    "NetworkPolicy",
    "HorizontalPodAutoscaler",
    "Cluster",
    "PodMonitor",
)
OPTIONAL_KINDS = ("Cluster", "PodMonitor")


def optional_kind(kind: str) -> str:
    """How the facts name an optional kind: ``Cluster.postgresql.cnpg.io``."""
    return f"{kind}.{KINDS[kind][0].partition('/')[0]}"


def path(kind: str, namespace: str, name: str = "", subresource: str = "") -> str:
    """Where objects of a kind are: ``/apis/apps/v1/namespaces/NAMESPACE/deployments/NAME``.

    Those of the cluster have no namespace, which is an empty one.
    """
    version, plural = KINDS[kind]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    scope = ["namespaces", quote(namespace, safe="")] if namespace else []
    parts = [root, *scope, plural, quote(name, safe=""), subresource]
    return "/".join(part for part in parts if part)


class Cluster:
    """The API server, as far as the operator needs it. Writes pass only while ``may_write`` says so."""

    def __init__(self, client: ApiClient, timeout_seconds: float = 5.0) -> None:
        self._client = client
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self.may_write: Callable[[], bool] = lambda: True

    # Reading

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, or None where there is none of that name.

        Raises:
            Transient: when the API server does not response, or refuses.
        """
        response = await self._request("GET", path(kind, namespace, name))
        return None if response.status == 404 else checked(response).object

    async def select(self, kind: str, namespace: str, selector: str) -> list[Manifest] | None:
        """All objects of a kind that a selector takes, with ``kind`` and ``apiVersion``; None for an unknown kind.

        Raises:
            Terminal: it is no selector.
            Transient: when the API server does not response, or refuses.
        """
        response = await self._request("GET", path(kind, namespace), {"labelSelector": selector})
        if response.status == 404:
            return None
        items: list[Manifest] = checked(response).object.get("items") or []
        return [{"apiVersion": KINDS[kind][0], "kind": kind, **item} for item in items]

    async def events_about(self, namespace: str, name: str) -> list[Manifest]:
        """Return the Events about the objects of a name; none if they cannot be read."""
        query = {"fieldSelector": f"involvedObject.name={name}"}
        response = await self._request("GET", path("Event", namespace), query)
        items = response.object.get("items") if response.status == 200 else None
        return [one for one in items or [] if (one.get("involvedObject") or {}).get("name") == name]

    async def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> list[Manifest] | None:
        """All objects of a kind that carry these labels, see :meth:`select`."""
        return await self.select(kind, namespace, ",".join(f"{key}={value}" for key, value in labels.items()))

    async def claim(self, namespace: str, name: str) -> Manifest | None:
        """Return a volume claim, by the right to list claims alone; None if there is none of that name."""
        query = {"fieldSelector": f"metadata.name={name}"}
        response = await self._request("GET", path("PersistentVolumeClaim", namespace), query)
        items: list[Manifest] = checked(response).object.get("items") or []
        version = KINDS["PersistentVolumeClaim"][0]
        claims = ({"apiVersion": version, "kind": "PersistentVolumeClaim", **item} for item in items)
        return next((claim for claim in claims if claim["metadata"]["name"] == name), None)

    async def is_listable(self, kind: str, namespace: str) -> bool:
        """Return whether a kind exists, by listing one of its objects.

        Raises:
            Transient: The API server does not response, or refuses.
        """
        response = await self._request("GET", path(kind, namespace), {"limit": "1"})
        return response.status != 404 and bool(checked(response))

    async def review(self, spec: Manifest) -> bool:
        """Return whether the API server allows what the spec of a SubjectAccessReview says; nothing is written.

        Raises:
            Terminal, Transient: The API server does not answer the question.
        """
        return await self._is_allowed("SubjectAccessReview", spec)

    async def may(self, attributes: Mapping[str, str]) -> bool:
        """Return whether the operator itself has a right, given as attributes of a resource; nothing is written.

        Raises:
            Terminal, Transient: The API server does not answer the question.
        """
        return await self._is_allowed("SelfSubjectAccessReview", {"resourceAttributes": dict(attributes)})

    async def _is_allowed(self, kind: str, spec: Manifest) -> bool:
        body = {"apiVersion": KINDS[kind][0], "kind": kind, "spec": spec}
        response = checked(await self._request("POST", path(kind, ""), body=body))
        return (response.object.get("status") or {}).get("allowed") is True

    async def last_line_of_failed_pod(self, namespace: str, labels: Mapping[str, str], container: str) -> str:
        """Return the last line that a container of the newest failed pod logged, empty if there is none."""
        pods = await self.list("Pod", namespace, labels) or []
        failed = [pod["metadata"] for pod in pods if (pod.get("status") or {}).get("phase") == "Failed"]
        newest = max(failed, key=lambda metadata: str(metadata.get("creationTimestamp")), default=None)
        return await self.last_line(namespace, newest["name"], container) if newest else ""

    async def last_line(self, namespace: str, pod: str, container: str, *, previous: bool = False) -> str:
        """Return the last line that a container logged, empty if there is none.

        Args:
            namespace: of the pod.
            pod: its name.
            container: its name; a pod may have others beside it.
            previous: whether the log of the container's run before the last restart is meant.
        """
        query = {"container": container, "tailLines": "5", "limitBytes": str(LOG_BYTES)}
        if previous:
            query["previous"] = "true"
        response = await self._request("GET", path("Pod", namespace, pod, "log"), query)
        lines = [line for line in response.body.splitlines() if line.strip()] if response.status == 200 else []
        return lines[-1] if lines else ""

    # Writing

    async def apply(
        self, manifest: Manifest, *, force: bool = False, dry_run: bool = False, manager: str = FIELD_MANAGER
    ) -> Manifest:
        """Server-side apply; the object as it then is, or with ``dry_run`` as it would be.

        Raises:
            FieldConflict: without ``force``, when another manager owns a field of the manifest.
            Terminal: when the API server will never take this manifest.
            Transient: when it did not take it now.
        """
        metadata = manifest["metadata"]
        target = path(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        query = {"fieldManager": manager, "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        return checked(await self._patch(target, query, manifest, dry_run)).object

    async def apply_status(self, manifest: Manifest) -> Manifest | None:
        """Write the status of a LiveScore but for its ownership; return the LiveScore, None if it is gone."""
        metadata = manifest["metadata"]
        target = path(KIND, metadata["namespace"], metadata["name"], "status")
        response = await self._patch(target, {"fieldManager": FIELD_MANAGER, "force": "true"}, manifest)
        return None if response.status == 404 else checked(response).object

    async def patch_status(self, body: Manifest, members: Mapping[str, object]) -> bool:
        """Set members of the status of a LiveScore, or remove those that are None.

        Returns:
            False if the LiveScore was written since it was read, or is gone: nothing was changed then.
        """
        metadata = body["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": dict(members)}
        headers = {"Content-Type": "application/merge-patch+json"}
        target = path(KIND, metadata["namespace"], metadata["name"], "status")
        response = await self._write("PATCH", target, {"fieldManager": OWNERSHIP_MANAGER}, patch, headers)
        return self._was_first(response, 404)

    async def annotate(self, kind: str, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of somebody else's object, or remove those that are None; nothing happens if it is gone."""
        body = {"metadata": {"annotations": dict(annotations)}}
        headers = {"Content-Type": "application/merge-patch+json"}
        query = {"fieldManager": FIELD_MANAGER}
        response = await self._write("PATCH", path(kind, namespace, name), query, body, headers)
        if response.status != 404:
            checked(response)

    async def patch_metadata(self, manifest: Manifest, changes: Mapping[str, object]) -> bool:
        """Merge changes into the metadata of an object as it was read; None removes a member.

        Returns:
            False if the object was written since it was read, or is gone: nothing was changed then.
        """
        metadata = manifest["metadata"]
        target = path(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"], **changes}}
        headers = {"Content-Type": "application/merge-patch+json"}
        response = await self._write("PATCH", target, {"fieldManager": FIELD_MANAGER}, body, headers)
        return self._was_first(response, 404)

    async def delete(self, manifest: Manifest) -> None:
        """Delete this very object, not another one that has its name meanwhile; what it owns goes with it."""
        if manifest["kind"] == "PersistentVolumeClaim":
            await self._delete_claim(manifest)
            return
        metadata = manifest["metadata"]
        target = path(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        options = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
        response = await self._write("DELETE", target, body=options)
        if response.status not in (404, 409):
            checked(response)

    async def _delete_claim(self, found: Manifest) -> None:
        """Delete a claim as it was read, which had no volume then: the API server refuses if it was written since.

        Raises:
            Waiting: The claim has a volume, and is kept.
            Transient: The claim is written again and again.
        """
        metadata, claim = found["metadata"], found
        target = path("PersistentVolumeClaim", metadata["namespace"], metadata["name"])
        for _ in range(CLAIM_ATTEMPTS):
            if is_bound(claim):
                raise Waiting("ClaimBound", "the claim has a volume now, and is kept", after=CLAIM_SECONDS)
            version = {name: claim["metadata"][name] for name in ("uid", "resourceVersion")}
            options = {"propagationPolicy": "Background", "preconditions": version}
            response = await self._write("DELETE", target, body=options)
            if response.status != 409:
                if response.status != 404:
                    checked(response)
                return
            current = await self.claim(metadata["namespace"], metadata["name"])
            if current is None or current["metadata"]["uid"] != metadata["uid"]:
                return
            claim = current
        raise Transient("Conflict", "the claim is written again and again")

    async def create_event(self, event: Manifest) -> None:
        """Record an Event."""
        checked(await self._write("POST", path("Event", event["metadata"]["namespace"]), body=event))

    # The Lease: written by those who do not lead yet, so nobody is asked

    async def create_lease(self, lease: Manifest) -> bool:
        """Make the Lease; False when another one was faster."""
        response = await self._request("POST", path("Lease", lease["metadata"]["namespace"]), body=lease)
        return self._was_first(response)

    async def replace_lease(self, lease: Manifest) -> bool:
        """Replace the Lease if nobody has written it since it was read; False otherwise."""
        metadata = lease["metadata"]
        response = await self._request("PUT", path("Lease", metadata["namespace"], metadata["name"]), body=lease)
        return self._was_first(response, 404)

    # The Secret of the metrics adapter: every replica needs it, so the first one makes it; the leader renews it

    async def create_secret(self, secret: Manifest) -> bool:
        """Make a Secret; False when another one was faster."""
        response = await self._request("POST", path("Secret", secret["metadata"]["namespace"]), body=secret)
        return self._was_first(response)

    async def replace_secret(self, secret: Manifest) -> bool:
        """Replace a Secret if nobody has written it since it was read; False otherwise."""
        metadata = secret["metadata"]
        response = await self._write("PUT", path("Secret", metadata["namespace"], metadata["name"]), body=secret)
        return self._was_first(response, 404)

    # Requests

    async def _patch(self, target: str, query: dict[str, str], body: Manifest, dry_run: bool = False) -> Response:
        headers = {"Content-Type": "application/apply-patch+yaml"}
        if dry_run:
            return await self._request("PATCH", target, query, body, headers)
        return await self._write("PATCH", target, query, body, headers)

    async def _write(
        self,
        method: str,
        target: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        if not self.may_write():
            raise NotLeading
        return await self._request(method, target, query, body, headers)

    async def _request(
        self,
        method: str,
        target: str,
        query: dict[str, str] | None = None,
        body: Manifest | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        try:
            response = await self._send(method, target, query, body, headers)
        except TimeoutError as error:
            metrics.API_REQUESTS.labels(method, "error").inc()
            message = f"{method} {target}: no answer within {self._timeout.total:g} s"
            raise Transient("ApiServerUnreachable", message) from error
        except (aiohttp.ClientError, OSError) as error:
            metrics.API_REQUESTS.labels(method, "error").inc()
            raise Transient("ApiServerUnreachable", f"{method} {target}: {type(error).__name__} {error}") from error
        metrics.API_REQUESTS.labels(method, str(response.status)).inc()
        return response

    async def _send(
        self,
        method: str,
        target: str,
        query: dict[str, str] | None,
        body: Manifest | None,
        headers: dict[str, str] | None,
    ) -> Response:
        serialized = await self._client.param_serialize(
            method,
            target,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", **(headers or {})},
            body=body,
            auth_settings=["BearerToken"],
        )
        async with asyncio.timeout(self._timeout.total):
            # The client has no public parameter for the time-out of one request.
            response = await self._client.call_api(*serialized, _request_timeout=self._timeout)
            content = await response.read()
        return Response(response.status, content.decode(errors="replace"))

    def _was_first(self, response: Response, *lost: int) -> bool:
        """Whether it was written; a conflict, or one of the other statuses ``lost``, says that somebody was faster."""
        return response.status not in (409, *lost) and bool(checked(response))


class NoCluster(Exception):
    """This process runs in no cluster, and no kubeconfig names one."""


@asynccontextmanager
async def connect(timeout_seconds: float = 5.0) -> AsyncIterator[Cluster]:
    """The cluster that ``KUBECONFIG`` names, else the one that this process runs in, else that of ``~/.kube/config``.

    Raises:
        NoCluster: where there is neither.
    """
    client = ApiClient(await _configuration())
    client.user_agent = f"livescore-operator/{__version__}"
    try:
        yield Cluster(client, timeout_seconds)
    finally:
        await client.close()


async def _configuration() -> Configuration:
    configuration = Configuration()
    # What kubectl trusts: since Python 3.13 certificates of many running clusters count as malformed.
    configuration.disable_strict_ssl_verification = True
    named = os.environ.get("KUBECONFIG")
    try:
        if named is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            kubeconfig.load_incluster_config(client_configuration=configuration)
        else:
            # Named here, since the library looks for the variable only once, when it is imported.
            await kubeconfig.load_kube_config(config_file=named, client_configuration=configuration)
    except kubeconfig.ConfigException as error:
        raise NoCluster(str(error)) from error
    return configuration
