"""The tests' client of the API server."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self, TypeVar

import httpx

from tests.support.kubernetes import kinds
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.kinds import KINDS, LIVESCORE, Json, Kind

Found = TypeVar("Found")

AGENT = "livescore-tests"
"""User agent, and therefore the field manager of writes other than applies."""

WAIT_SECONDS = 60.0
"""Timeout for conditions that tests wait for, on two busy cores."""

POLL_SECONDS = 0.03
DEFINITION_SECONDS = 30.0
"""Timeout until a server serves a new custom resource: a real one checks every second or two."""

CLEARED = [LIVESCORE, *(kind for kind in KINDS.values() if kind.namespaced and kind != LIVESCORE)]
"""Kinds a namespace may contain; LiveScores first, so that no operator recreates their owned resources."""


class ApiError(Exception):
    """The server returned an error.

    Attributes:
        code: HTTP status.
        status: the ``Status`` object; empty if the response has none.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.status: Json = _status(text)

    @property
    def reason(self) -> str:
        """The reason of the status: ``NotFound``, ``Conflict``, …"""
        return str(self.status.get("reason", ""))

    @property
    def causes(self) -> list[Json]:
        """``details.causes`` of the status."""
        found: list[Json] = self.status.get("details", {}).get("causes", [])
        return found


class Kube:
    """Objects of one namespace and of the cluster. Kinds are named as in :data:`~kinds.KINDS`, e.g. ``Deployment``.

    Attributes:
        access: URL and credentials of the server.
        namespace: namespace of namespaced objects, unless a call says otherwise.
    """

    def __init__(self, access: Access, namespace: str = "default", agent: str = AGENT) -> None:
        self.access = access
        self.namespace = namespace
        self._http = httpx.AsyncClient(
            base_url=access.url,
            headers={**access.headers, "User-Agent": agent},
            verify=access.context() or False,
            timeout=30,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    # Reading

    async def get(self, kind: str, name: str, *, subresource: str = "") -> Json:
        """Return an object.

        Raises:
            ApiError: the response is an error, for example 404.
        """
        return await self._json("GET", self._path(KINDS[kind], name, subresource))

    async def find(self, kind: str, name: str) -> Json | None:
        """Return an object, or None if it does not exist."""
        try:
            return await self.get(kind, name)
        except ApiError as error:
            if error.code != 404:
                raise
            return None

    async def list(self, kind: str, labels: str = "", *, everywhere: bool = False) -> list[Json]:
        """Return all objects of a kind that match a label selector, with ``apiVersion`` and ``kind``."""
        found = KINDS[kind]
        path = found.path(None if everywhere else self.namespace)
        listed = await self._json("GET", path, {"labelSelector": labels} if labels else {})
        return [{"apiVersion": found.api_version, "kind": found.kind, **item} for item in listed["items"]]

    async def log(self, pod: str, **query: str) -> str:
        """Return the log of a pod."""
        return (await self._send("GET", self._path(KINDS["Pod"], pod, "log"), query)).text

    # Writing

    async def create(self, manifest: Json, **query: str) -> Json:
        """Create an object (POST)."""
        return await self._json("POST", self._path(kinds.of(manifest), "", of=manifest), query, manifest)

    async def replace(self, manifest: Json, *, subresource: str = "", **query: str) -> Json:
        """Replace an object (PUT)."""
        path = self._path(kinds.of(manifest), manifest["metadata"]["name"], subresource, of=manifest)
        return await self._json("PUT", path, query, manifest)

    async def apply(
        self, manifest: Json, manager: str = AGENT, *, force: bool = False, subresource: str = "", dry_run: bool = False
    ) -> Json:
        """Apply an object with server-side apply."""
        path = self._path(kinds.of(manifest), manifest["metadata"]["name"], subresource, of=manifest)
        query = {"fieldManager": manager, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
        return await self._json("PATCH", path, query, manifest, "application/apply-patch+yaml")

    async def patch(self, kind: str, name: str, body: Json, *, subresource: str = "", **query: str) -> Json:
        """Apply a JSON merge patch: None removes a field. ``fieldManager="other"`` acts as another manager."""
        path = self._path(KINDS[kind], name, subresource)
        return await self._json("PATCH", path, query, body, "application/merge-patch+json")

    async def set_status(self, kind: str, name: str, status: Json) -> Json:
        """Merge ``status`` into the status of an object."""
        return await self.patch(kind, name, {"status": status}, subresource="status")

    async def delete(self, kind: str, name: str, **options: Any) -> Json:
        """Delete an object; ``options`` are DeleteOptions such as ``preconditions`` and ``propagationPolicy``."""
        return await self._json("DELETE", self._path(KINDS[kind], name), body=options or None)

    async def delete_all(self, kind: str, labels: str = "") -> None:
        """Delete all objects of a kind in the namespace that match a label selector."""
        query = {"labelSelector": labels} if labels else {}
        await self._json("DELETE", KINDS[kind].path(self.namespace), query)

    # Custom resources

    async def define(self, definition: Json) -> Kind:
        """Apply a CustomResourceDefinition and wait until its objects can be listed."""
        spec = definition["spec"]
        version = spec["versions"][0]["name"]
        kind = Kind(f"{spec['group']}/{version}", spec["names"]["kind"], spec["names"]["plural"])
        await self.apply(definition)
        await eventually(lambda: self._served(kind), DEFINITION_SECONDS)
        return kind

    async def undefine(self, kind: Kind) -> None:
        """Delete a CustomResourceDefinition and wait until the kind is gone."""
        await self.delete("CustomResourceDefinition", kind.qualified)
        await eventually(lambda: self._not_served(kind), DEFINITION_SECONDS)

    async def _served(self, kind: Kind) -> bool:
        return (await self._http.get(kind.path())).status_code == 200

    async def _not_served(self, kind: Kind) -> bool:
        return (await self._http.get(kind.path())).status_code == 404

    # Namespaces

    async def make_namespace(self) -> None:
        """Create the namespace of this client."""
        await self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})

    async def remove_namespace(self) -> None:
        """Delete everything in the namespace, and the namespace itself: no controller would."""
        for kind in CLEARED:
            await self._clear(kind)
        await self._http.delete(KINDS["Namespace"].path(None, self.namespace))
        finalized = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}, "spec": {}}
        await self._http.put(KINDS["Namespace"].path(None, self.namespace, "finalize"), json=finalized)

    async def _clear(self, kind: Kind) -> None:
        path = kind.path(self.namespace)
        answer = await self._http.get(path)
        if answer.status_code != 200 or not (items := answer.json()["items"]):
            return
        for name in (item["metadata"]["name"] for item in items if item["metadata"].get("finalizers")):
            with contextlib.suppress(ApiError):  # deleted in the meantime
                await self.patch(kind.kind, name, {"metadata": {"finalizers": None}})
        await self._http.request("DELETE", path, json={"gracePeriodSeconds": 0})

    # Waiting

    @contextlib.asynccontextmanager
    async def watch(self, kind: str, **query: str) -> AsyncIterator[AsyncIterator[Json]]:
        """Watch a kind in the namespace: yields events with ``type`` and ``object`` until the server ends the watch."""
        path, parameters = KINDS[kind].path(self.namespace), {"watch": "true", **query}
        async with self._http.stream("GET", path, params=parameters, timeout=None) as answer:
            if answer.status_code != 200:
                raise ApiError(answer.status_code, (await answer.aread()).decode())
            yield _events(answer)

    async def gone(self, kind: str, name: str) -> None:
        """Wait until the object does not exist."""
        await eventually(lambda: self._is_gone(kind, name))

    async def _is_gone(self, kind: str, name: str) -> bool:
        return await self.find(kind, name) is None

    async def present(self, kind: str, name: str, until: Callable[[Json], object] = bool) -> Json:
        """Wait until the object exists and ``until(object)`` is true, and return it."""

        async def probe() -> Json | None:
            found = await self.find(kind, name)
            return found if found is not None and until(found) else None

        found = await eventually(probe)
        assert found is not None
        return found

    # Requests

    def _path(self, kind: Kind, name: str, subresource: str = "", of: Json | None = None) -> str:
        namespace = (of or {}).get("metadata", {}).get("namespace", self.namespace)
        return kind.path(namespace, name, subresource)

    async def _json(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None, content_type: str = ""
    ) -> Json:
        answer: Json = (await self._send(method, path, query, body, content_type)).json()
        return answer

    async def _send(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None, content_type: str = ""
    ) -> httpx.Response:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type or "application/json"}
        answer = await self._http.request(method, path, params=query or {}, content=content, headers=headers)
        if answer.status_code >= 400:
            raise ApiError(answer.status_code, answer.text)
        return answer


async def eventually(probe: Callable[[], Awaitable[Found]], timeout: float = WAIT_SECONDS) -> Found:
    """Poll until the result is truthy, and return it.

    Raises:
        AssertionError: the timeout passed; the message has the last result.
    """
    end = time.monotonic() + timeout
    while not (found := await probe()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s; last: {found!r}")
        await asyncio.sleep(POLL_SECONDS)
    return found


async def _events(answer: httpx.Response) -> AsyncIterator[Json]:
    async for line in answer.aiter_lines():
        yield json.loads(line)


def _status(text: str) -> Json:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
