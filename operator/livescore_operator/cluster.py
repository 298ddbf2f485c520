"""The API server: the only module that sends requests to it. Reads, server-side apply, deletion, Events, the Lease."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import quote

import aiohttp
from kubernetes.aio import config as kubeconfig
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from livescore_operator import __version__
from livescore_operator.claims import is_bound
from livescore_operator.errors import NotLeading, Transient, Waiting
from livescore_operator.kinds import KINDS
from livescore_operator.resource import KIND, Manifest
from livescore_operator.responses import Response, checked
from livescore_operator.telemetry import metrics

FIELD_MANAGER = "livescore-operator"

# Holds the number of replicas from the moment the operator releases the field until a HorizontalPodAutoscaler first
# changes it. A field without an owner would fall back to its default, one pod.
HANDOVER_MANAGER = "livescore-operator-handover"

# Owns the status fields by which operators agree on one owner. An older version of the operator applies the whole
# status as FIELD_MANAGER and therefore leaves these fields alone.
OWNERSHIP_MANAGER = "livescore-operator-ownership"

# Size limit of a log request in bytes: enough for the last lines of a failed migration.
LOG_BYTES = 4096

# Delete requests for one claim before giving up; each one after the first follows a write by another controller.
CLAIM_ATTEMPTS = 5

# Requeue delay in seconds for a claim that was bound while it was about to be deleted.
CLAIM_SECONDS = 2.0


class Listing(NamedTuple):
    """The objects of one list request, and the resourceVersion of the list."""

    items: list[Manifest]
    version: str


def path(kind: str, namespace: str, name: str = "", subresource: str = "") -> str:
    """Return the URL path of a kind or object, such as ``/apis/apps/v1/namespaces/NAMESPACE/deployments/NAME``.

    Args:
        kind: Kind in the table of ``kinds.py``.
        namespace: Namespace; empty for cluster-scoped objects and for lists over all namespaces.
        name: Name of the object; empty for the collection.
        subresource: Subresource of the object, such as ``status``.
    """
    version = KINDS[kind].api_version
    parts = [f"/apis/{version}" if "/" in version else f"/api/{version}"]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(KINDS[kind].plural)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)


def label_selector(labels: Mapping[str, str]) -> str:
    """Return labels in the syntax of the ``labelSelector`` parameter."""
    return ",".join(f"{name}={value}" for name, value in labels.items())


class Cluster:
    """Client of the API server. Writes are sent only while ``may_write`` returns True."""

    def __init__(self, client: ApiClient, timeout_seconds: float = 5.0) -> None:
        self._client = client
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self.may_write: Callable[[], bool] = lambda: True

    # Reading

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Return an object, or None if it does not exist.

        Raises:
            Transient: Raised if the API server does not respond, or denies the request.
        """
        response = await self._request("GET", path(kind, namespace, name))
        return None if response.status == 404 else checked(response).object

    async def listing(self, kind: str, namespace: str, selector: str) -> Listing | None:
        """List the objects of a kind that match a label selector, or return None if the kind is not installed.

        Raises:
            Terminal: Raised if the selector is invalid.
            Transient: Raised if the API server does not respond, or denies the request.
        """
        response = await self._request("GET", path(kind, namespace), {"labelSelector": selector})
        if response.status == 404:
            return None
        body = checked(response).object
        # Items of a list lack kind and apiVersion.
        identity = {"apiVersion": KINDS[kind].api_version, "kind": kind}
        items = [{**identity, **item} for item in body.get("items") or []]
        return Listing(items, str((body.get("metadata") or {}).get("resourceVersion", "")))

    async def select(self, kind: str, namespace: str, selector: str) -> list[Manifest] | None:
        """Return the objects of :meth:`listing`."""
        listing = await self.listing(kind, namespace, selector)
        return None if listing is None else listing.items

    async def events_about(self, namespace: str, name: str) -> list[Manifest]:
        """Return the Events about all objects of this name; empty if Events cannot be read."""
        query = {"fieldSelector": f"involvedObject.name={name}"}
        response = await self._request("GET", path("Event", namespace), query)
        if response.status != 200:
            return []
        events = response.object.get("items") or []
        # An API server that ignores the field selector returns all Events.
        return [event for event in events if (event.get("involvedObject") or {}).get("name") == name]

    async def list(self, kind: str, namespace: str, labels: Mapping[str, str]) -> list[Manifest] | None:
        """Return the objects of a kind that carry these labels, see :meth:`listing`."""
        return await self.select(kind, namespace, label_selector(labels))

    async def claim(self, namespace: str, name: str) -> Manifest | None:
        """Return a PersistentVolumeClaim, or None if it does not exist.

        Lists claims by name: the operator has no right to `get` them.
        """
        query = {"fieldSelector": f"metadata.name={name}"}
        response = await self._request("GET", path("PersistentVolumeClaim", namespace), query)
        identity = {"apiVersion": KINDS["PersistentVolumeClaim"].api_version, "kind": "PersistentVolumeClaim"}
        for item in checked(response).object.get("items") or []:
            if item["metadata"]["name"] == name:
                return {**identity, **item}
        return None

    async def is_listable(self, kind: str, namespace: str) -> bool:
        """Return True if the kind is installed. Lists at most one object.

        Raises:
            Transient: Raised if the API server does not respond, or denies the request.
        """
        response = await self._request("GET", path(kind, namespace), {"limit": "1"})
        return response.status != 404 and bool(checked(response))

    async def review(self, spec: Manifest) -> bool:
        """Return True if the API server allows what the spec of a SubjectAccessReview describes.

        Raises:
            ReconcileError: Raised if the API server did not decide.
        """
        return await self._is_allowed("SubjectAccessReview", spec)

    async def may(self, attributes: Mapping[str, str]) -> bool:
        """Return True if the operator itself has a right, given as resource attributes.

        Raises:
            ReconcileError: Raised if the API server did not decide.
        """
        return await self._is_allowed("SelfSubjectAccessReview", {"resourceAttributes": dict(attributes)})

    async def _is_allowed(self, kind: str, spec: Manifest) -> bool:
        body = {"apiVersion": KINDS[kind].api_version, "kind": kind, "spec": spec}
        response = checked(await self._request("POST", path(kind, ""), body=body))
        return (response.object.get("status") or {}).get("allowed") is True

    async def last_line_of_failed_pod(self, namespace: str, labels: Mapping[str, str], container: str) -> str:
        """Return the last log line of a container in the newest failed pod; empty if there is none."""
        pods = await self.list("Pod", namespace, labels) or []
        failed = [pod["metadata"] for pod in pods if (pod.get("status") or {}).get("phase") == "Failed"]
        if not failed:
            return ""
        newest = max(failed, key=lambda metadata: str(metadata.get("creationTimestamp")))
        return await self.last_line(namespace, newest["name"], container)

    async def last_line(self, namespace: str, pod: str, container: str, *, previous: bool = False) -> str:
        """Return the last line that a container logged; empty if there is none.

        Args:
            namespace: Namespace of the pod.
            pod: Name of the pod.
            container: Name of the container; injected sidecars log as well.
            previous: Read the log of the run before the last restart.
        """
        query = {"container": container, "tailLines": "5", "limitBytes": str(LOG_BYTES)}
        if previous:
            query["previous"] = "true"
        response = await self._request("GET", path("Pod", namespace, pod, "log"), query)
        if response.status != 200:
            return ""
        lines = [line for line in response.body.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    # Writing

    async def apply(
        self, manifest: Manifest, *, force: bool = False, dry_run: bool = False, manager: str = FIELD_MANAGER
    ) -> Manifest:
        """Apply a manifest server-side. Return the resulting object, or with ``dry_run`` the object that would result.

        Raises:
            FieldConflict: Raised without ``force`` if another manager owns a field of the manifest.
            Terminal: Raised if the API server rejects the manifest.
            Transient: Raised if the request failed and may succeed later.
        """
        metadata = manifest["metadata"]
        target = path(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        query = {"fieldManager": manager, "force": str(force).lower()}
        if dry_run:
            query["dryRun"] = "All"
        return checked(await self._patch(target, query, manifest, dry_run)).object

    async def apply_status(self, manifest: Manifest) -> Manifest | None:
        """Apply the status of a LiveScore, except for its ownership. Return the LiveScore, or None if it is gone."""
        metadata = manifest["metadata"]
        target = path(KIND, metadata["namespace"], metadata["name"], "status")
        response = await self._patch(target, {"fieldManager": FIELD_MANAGER, "force": "true"}, manifest)
        return None if response.status == 404 else checked(response).object

    async def patch_status(self, body: Manifest, fields: Mapping[str, object]) -> bool:
        """Set fields in the status of a LiveScore, or remove those that are None.

        Returns:
            False if the LiveScore was written since it was read, or is gone; nothing was changed then.
        """
        metadata = body["metadata"]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": dict(fields)}
        headers = {"Content-Type": "application/merge-patch+json"}
        target = path(KIND, metadata["namespace"], metadata["name"], "status")
        response = await self._write("PATCH", target, {"fieldManager": OWNERSHIP_MANAGER}, patch, headers)
        return self._succeeded(response, 404)

    async def annotate(self, kind: str, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of an object, or remove those that are None. Do nothing if the object is gone."""
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
        return self._succeeded(response, 404)

    async def delete(self, manifest: Manifest) -> None:
        """Delete an object and what it owns, but not a newer object of the same name."""
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
        """Delete a claim that had no volume when it was read.

        The resourceVersion is a precondition, so a claim that was bound meanwhile is not deleted.

        Raises:
            Waiting: Raised if the claim is bound now; it is kept.
            Transient: Raised if other writers kept changing the claim.
        """
        metadata, claim = found["metadata"], found
        target = path("PersistentVolumeClaim", metadata["namespace"], metadata["name"])
        for _ in range(CLAIM_ATTEMPTS):
            if is_bound(claim):
                raise Waiting("ClaimBound", "the claim was bound to a volume and is kept", after=CLAIM_SECONDS)
            preconditions = {name: claim["metadata"][name] for name in ("uid", "resourceVersion")}
            options = {"propagationPolicy": "Background", "preconditions": preconditions}
            response = await self._write("DELETE", target, body=options)
            if response.status == 404:
                return
            if response.status != 409:
                checked(response)
                return
            current = await self.claim(metadata["namespace"], metadata["name"])
            if current is None or current["metadata"]["uid"] != metadata["uid"]:
                return
            claim = current
        raise Transient("Conflict", f"the claim was changed by others during {CLAIM_ATTEMPTS} attempts to delete it")

    async def create_event(self, event: Manifest) -> None:
        """Create an Event."""
        checked(await self._write("POST", path("Event", event["metadata"]["namespace"]), body=event))

    # The Lease. Candidates write it before they lead, so `may_write` is not checked.

    async def create_lease(self, lease: Manifest) -> Manifest | None:
        """Create the Lease and return it, or None if another process created it first."""
        response = await self._request("POST", path("Lease", lease["metadata"]["namespace"]), body=lease)
        return checked(response).object if self._succeeded(response) else None

    async def replace_lease(self, lease: Manifest) -> Manifest | None:
        """Replace the Lease and return it, or None if it was written since it was read, or is gone."""
        metadata = lease["metadata"]
        response = await self._request("PUT", path("Lease", metadata["namespace"], metadata["name"]), body=lease)
        return checked(response).object if self._succeeded(response, 404) else None

    # The Secret of the metrics API. Every replica needs it and may create it; only the leader renews it.

    async def create_secret(self, secret: Manifest) -> bool:
        """Create a Secret. Return False if another process created it first."""
        response = await self._request("POST", path("Secret", secret["metadata"]["namespace"]), body=secret)
        return self._succeeded(response)

    async def replace_secret(self, secret: Manifest) -> bool:
        """Replace a Secret. Return False if it was written since it was read, or is gone."""
        metadata = secret["metadata"]
        response = await self._write("PUT", path("Secret", metadata["namespace"], metadata["name"]), body=secret)
        return self._succeeded(response, 404)

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
            message = f"{method} {target}: no response within {self._timeout.total:g} s"
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

    def _succeeded(self, response: Response, *lost: int) -> bool:
        """Return True if a conditional write succeeded, False if another writer was faster.

        Args:
            response: Response to the write.
            lost: Status codes that mean the same as 409 Conflict.
        """
        return response.status not in (409, *lost) and bool(checked(response))


class NoCluster(Exception):
    """This process neither runs in a cluster nor has a kubeconfig."""


@asynccontextmanager
async def connect(timeout_seconds: float = 5.0) -> AsyncIterator[Cluster]:
    """Connect to the cluster of ``KUBECONFIG``, or the one that this process runs in, or that of ``~/.kube/config``.

    Raises:
        NoCluster: Raised if none of them is configured.
    """
    client = ApiClient(await _configuration())
    client.user_agent = f"livescore-operator/{__version__}"
    try:
        yield Cluster(client, timeout_seconds)
    finally:
        await client.close()


async def _configuration() -> Configuration:
    configuration = Configuration()
    # Trust what kubectl trusts: Python 3.13 and newer reject the certificates of many running clusters as malformed.
    configuration.disable_strict_ssl_verification = True
    named = os.environ.get("KUBECONFIG")
    try:
        if named is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            kubeconfig.load_incluster_config(client_configuration=configuration)
        else:
            # Passed explicitly: the library reads the variable only once, when it is imported.
            await kubeconfig.load_kube_config(config_file=named, client_configuration=configuration)
    except kubeconfig.ConfigException as error:
        raise NoCluster(str(error)) from error
    return configuration
