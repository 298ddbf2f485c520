"""An API server in memory, as a real HTTP server on loopback: KMock with what it lacks.

KMock brings discovery, the array of objects and reactions of a test's own to anything that is not about objects. Beside
it stand server-side apply, label selectors, subresources, watches from a resourceVersion, preconditions and conflicts,
as ``kube-apiserver`` has them; ``tests/operator/test_support.py`` holds both against the same contract. Not emulated:
defaults and checks of built-in kinds, CEL, RBAC, admission. As with a bare API server nobody acts on what is stored.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import metadata
from typing import Any

import aiohttp.web
import kmock
import yaml

from tests.support.kubernetes import refusals, requests, selectors
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.kinds import BUILT_IN, KINDS, Json, Kind
from tests.support.kubernetes.loops import Loop
from tests.support.kubernetes.objects import Objects, Request
from tests.support.kubernetes.refusals import Refusal
from tests.support.kubernetes.requests import Asked
from tests.support.kubernetes.schemas import Custom
from tests.support.kubernetes.server import Logs, Server
from tests.support.kubernetes.stopping import stop
from tests.support.kubernetes.store import HISTORY, Change, Gone, Store, resource

NAMESPACES = ("default", "kube-system")
"""Those that a server makes by itself."""

BOOKMARK_SECONDS = 60.0
"""Between two bookmarks of a silent watch, as a real server."""

WATCH_SECONDS = 1800.0
"""Until a watch ends that asked for no time."""

STOP_SECONDS = 2.0
"""For requests in flight when the server stops; watches are ended before."""

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]

Scale = tuple[str, str, str]
"""Paths of the wanted replicas, the replicas that there are, and the selector."""

SCALE: Scale = ("spec.replicas", "status.replicas", "status.selector")

KindKey = tuple[str, str, str]
"""Group, version, plural: how addresses name kinds."""

Stream = aiohttp.web.StreamResponse


class EmulatedApi(kmock.KubernetesEmulator):
    """The handler of the emulator; it lives on one event loop."""

    def __init__(self, logs: Logs, history: int) -> None:
        super().__init__()
        self._store = Store(self.objects, history)
        self._writes = Objects(self._store)
        self._logs = logs
        self._kinds: dict[KindKey, Kind] = {}
        self._scales: dict[KindKey, Scale] = {}
        for kind in BUILT_IN:
            self._serve(kind)
        for name in NAMESPACES:
            self._writes.create(Request(KINDS["Namespace"], None), {"kind": "Namespace", "metadata": {"name": name}})

    async def __call__(self, raw_request: aiohttp.web.BaseRequest) -> Stream:
        """Answer what is about objects; KMock does the rest."""
        asked = requests.read(raw_request.method, raw_request.rel_url.raw_path, dict(raw_request.query))
        if asked is None:
            return await super().__call__(raw_request)
        body = await raw_request.read()
        try:
            return await self._answer(raw_request, asked, _parsed(body))
        except Refusal as refusal:
            return aiohttp.web.json_response(refusal.status, status=refusal.code)

    def close(self) -> None:
        """End all watches."""
        self._store.close()

    # Which kinds there are

    def _serve(self, kind: Kind) -> None:
        self._kinds[_key(kind)] = kind
        if "scale" in kind.subresources:
            self._scales[_key(kind)] = SCALE
        self.resources[resource(kind)] = kmock.ResourceInfo(
            namespaced=kind.namespaced,
            kind=kind.kind,
            singular=kind.kind.lower(),
            verbs=VERBS,
            subresources=kind.subresources,
        )

    def _define(self, definition: Json) -> None:
        """Serve what a CustomResourceDefinition defines."""
        for version in definition["spec"]["versions"]:
            kind = _defined(definition, version)
            self._serve(kind)
            self._writes.define(kind, Custom(version["schema"]["openAPIV3Schema"]))
            scale = version.get("subresources", {}).get("scale", {})
            names = ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
            if scale:
                wanted, actual, selector = (scale.get(name, "").lstrip(".") for name in names)
                self._scales[_key(kind)] = (wanted, actual, selector)

    def _undefine(self, definition: Json) -> None:
        for version in definition["spec"]["versions"]:
            kind = _defined(definition, version)
            for body in self._store.list(kind, None):
                self._store.drop(kind, body)
            del self._kinds[_key(kind)]
            del self.resources[resource(kind)]

    async def _serve_version(self, request: kmock.Request) -> kmock.Payload:
        found = await super()._serve_version(request)
        return {**found, "groupVersion": found["groupVersion"].lstrip("/")} if isinstance(found, dict) else found

    async def _serve_server_version(self, request: kmock.Request) -> kmock.Payload:
        return {"major": "1", "minor": "36", "gitVersion": "v1.36.0+emulated", "platform": "python/any"}

    # What is asked

    async def _answer(self, raw: aiohttp.web.BaseRequest, asked: Asked, body: Any) -> Stream:
        if asked.plural == "selfsubjectaccessreviews":  # without RBAC everything is allowed
            return aiohttp.web.json_response({**body, "status": {"allowed": True}}, status=201)
        kind = self._kinds.get((asked.group, asked.version, asked.plural))
        if kind is None or (asked.subresource and asked.subresource not in kind.subresources):
            raise refusals.no_such_resource()
        if asked.verb == "watch":
            return await self._watch(raw, kind, asked)
        if asked.subresource == "log":
            return self._log(kind, asked)
        answer, code = self._object(raw, kind, asked, body)
        return aiohttp.web.json_response(answer, status=code)

    def _object(self, raw: aiohttp.web.BaseRequest, kind: Kind, asked: Asked, body: Any) -> tuple[Json, int]:
        if asked.method == "GET":
            return self._read(kind, asked), 200
        request = _request(raw, kind, asked, body)
        if asked.method == "DELETE":
            return self._delete(request, asked, body or {}), 200
        if not isinstance(body, dict):
            raise refusals.bad_request("the body is no object")
        answer, code = self._write(request, asked, body, raw.content_type)
        if kind.kind == "CustomResourceDefinition" and not request.dry_run:
            self._define(answer)
        return answer, code

    def _read(self, kind: Kind, asked: Asked) -> Json:
        if not asked.name:
            return self._list(kind, asked)
        found = self._writes.get(kind, asked.namespace or None, asked.name)
        return self._scale(kind, found) if asked.subresource == "scale" else found

    def _list(self, kind: Kind, asked: Asked) -> Json:
        test = _selected(asked.query)
        items = [body for body in self._store.list(kind, asked.namespace or None) if test(body)]
        if kind in BUILT_IN:  # whose items do not repeat what the list says
            items = [
                {name: part for name, part in body.items() if name not in ("apiVersion", "kind")} for body in items
            ]
        metadata = {"resourceVersion": str(self._store.version)}
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    def _write(self, request: Request, asked: Asked, body: Json, content_type: str) -> tuple[Json, int]:
        if asked.subresource == "token":
            return _token(request), 201
        if asked.subresource == "scale":
            return self._rescale(request, body), 200
        if asked.method == "POST":
            return self._writes.create(request, body), 201
        if asked.method == "PUT":
            return self._writes.replace(request, body), 200
        return self._patch(request, body, content_type)

    def _patch(self, request: Request, body: Json, content_type: str) -> tuple[Json, int]:
        if content_type == "application/apply-patch+yaml":
            answer, made = self._writes.apply(request, body)
            return answer, 201 if made else 200
        if content_type == "application/merge-patch+json":
            return self._writes.merge_patch(request, body), 200
        if content_type == "application/strategic-merge-patch+json" and request.kind in BUILT_IN:
            return self._writes.strategic_patch(request, body), 200
        raise Refusal(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}")

    # Deletion

    def _delete(self, request: Request, asked: Asked, options: Json) -> Json:
        names = ("propagationPolicy", "gracePeriodSeconds")
        options = {**{name: asked.query[name] for name in names if name in asked.query}, **options}
        if not asked.name:
            return self._delete_all(request, asked, options)
        found = self._writes.get(request.kind, request.namespace, request.name)
        left = self._writes.delete(request, options)
        if request.kind.kind == "CustomResourceDefinition" and left is None:
            self._undefine(found)
        details = {**refusals.details(request.kind, request.name), "uid": found["metadata"]["uid"]}
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return done if left is None else left

    def _delete_all(self, request: Request, asked: Asked, options: Json) -> Json:
        found = self._list(request.kind, asked)
        for body in found["items"]:
            metadata = body["metadata"]
            one = Request(request.kind, metadata.get("namespace"), metadata["name"], dry_run=request.dry_run)
            self._writes.delete(one, options)
        return found

    # Subresources

    def _scale(self, kind: Kind, body: Json) -> Json:
        wanted, actual, selector = self._scales[_key(kind)]
        names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        status = {"replicas": _at(body, actual) or 0, "selector": _at(body, selector) or ""}
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {name: body["metadata"][name] for name in names},
            "spec": {"replicas": _at(body, wanted) or 0},
            "status": status,
        }

    def _rescale(self, request: Request, body: Json) -> Json:
        *outer, name = self._scales[_key(request.kind)][0].split(".")
        patch: Json = {name: body.get("spec", {}).get("replicas", 0)}
        for part in reversed(outer):
            patch = {part: patch}
        return self._scale(request.kind, self._writes.merge_patch(request, patch))

    def _log(self, kind: Kind, asked: Asked) -> Stream:
        self._writes.get(kind, asked.namespace, asked.name)
        return aiohttp.web.Response(text=self._logs.read(asked.namespace, asked.name, asked.query))

    # Watches

    async def _watch(self, raw: aiohttp.web.BaseRequest, kind: Kind, asked: Asked) -> Stream:
        # One step for the loop: nothing is written between what is known and what will be told.
        queue = self._store.subscribe()
        try:
            first = self._known(kind, asked)
            response = aiohttp.web.StreamResponse(headers={"Content-Type": "application/json"})
            response.enable_chunked_encoding()
            await response.prepare(raw)
            await self._stream(response, first, queue, kind, asked)
        finally:
            self._store.unsubscribe(queue)
        return response

    def _known(self, kind: Kind, asked: Asked) -> list[Json]:
        """What happened before: everything that is there, or the changes since a resourceVersion."""
        since = asked.query.get("resourceVersion", "")
        if asked.query.get("sendInitialEvents") == "true" or since in ("", "0"):
            test, namespace = _selected(asked.query), asked.namespace or None
            events = [{"type": "ADDED", "object": body} for body in self._store.list(kind, namespace) if test(body)]
            return [*events, *self._bookmark(kind, initial=True)] if "sendInitialEvents" in asked.query else events
        try:
            changes = self._store.since(int(since), kind)
        except Gone:
            status = Refusal(410, "Expired", f"too old resource version: {since}").status
            return [{"type": "ERROR", "object": status}]
        return [event for change in changes if (event := _event(change, kind, asked))]

    async def _stream(
        self, response: Stream, first: list[Json], queue: asyncio.Queue[Change | None], kind: Kind, asked: Asked
    ) -> None:
        end = time.monotonic() + float(asked.query.get("timeoutSeconds") or WATCH_SECONDS)
        await _tell(response, first)
        if first and first[-1]["type"] == "ERROR":
            return
        while (left := end - time.monotonic()) > 0:
            try:
                change = await asyncio.wait_for(queue.get(), min(left, BOOKMARK_SECONDS))
            except TimeoutError:
                await _tell(response, self._bookmark(kind) if "allowWatchBookmarks" in asked.query else [])
                continue
            if change is None:
                return
            await _tell(response, [event] if (event := _event(change, kind, asked)) else [])

    def _bookmark(self, kind: Kind, *, initial: bool = False) -> list[Json]:
        metadata: Json = {"resourceVersion": str(self._store.version)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return [{"type": "BOOKMARK", "object": body}]


class Emulator(Server):
    """A running emulator, on a loop of its own.

    Parameters:
        history: changes that a watch may be behind.
    """

    is_real = False

    def __init__(self, history: int = HISTORY) -> None:
        super().__init__()
        self._loop = Loop("emulated-api")
        self._runner, self._api = self._loop.run(self._start(history))

    async def _start(self, history: int) -> tuple[aiohttp.web.ServerRunner, EmulatedApi]:
        api = EmulatedApi(self.logs, history)
        await api.__aenter__()
        # A watch ends when its client is gone, not at the next change.
        server = aiohttp.web.Server(api, handler_cancellation=True)
        runner = aiohttp.web.ServerRunner(server, shutdown_timeout=STOP_SECONDS)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, api

    @property
    def name(self) -> str:
        return f"KMock {metadata.version('kmock')}, emulated in memory"

    @property
    def access(self) -> Access:
        host, port = self._runner.addresses[0][:2]
        return Access(f"http://{host}:{port}")

    def access_of(self, namespace: str, account: str) -> Access:
        """A token that nobody checks: there is no RBAC here."""
        return Access(self.access.url, token=f"{namespace}:{account}", namespace=namespace)

    def close(self) -> None:
        self._loop.run(self._stop())
        self._loop.close()

    async def _stop(self) -> None:
        self._api.close()
        await stop(self._runner)
        await self._api.__aexit__(None, None, None)


def _key(kind: Kind) -> KindKey:
    return kind.group, kind.version, kind.plural


def _defined(definition: Json, version: Json) -> Kind:
    spec = definition["spec"]
    return Kind(
        f"{spec['group']}/{version['name']}",
        spec["names"]["kind"],
        spec["names"]["plural"],
        spec["scope"] == "Namespaced",
        frozenset(version.get("subresources", {})),
    )


def _parsed(body: bytes) -> Any:
    """JSON is YAML too, but read a hundred times faster."""
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return yaml.safe_load(body)


def _request(raw: aiohttp.web.BaseRequest, kind: Kind, asked: Asked, body: Any) -> Request:
    query = asked.query
    if raw.content_type == "application/apply-patch+yaml" and not query.get("fieldManager"):
        raise refusals.unmanaged()
    metadata = body.get("metadata") or {} if isinstance(body, dict) else {}
    namespace = (asked.namespace or metadata.get("namespace")) if kind.namespaced else None
    if asked.method != "DELETE" and metadata.get("namespace") not in (None, "", namespace):
        raise refusals.bad_request("the namespace of the provided object does not match the namespace of the request")
    agent = raw.headers.get("User-Agent", "unknown").partition("/")[0]
    manager, force = query.get("fieldManager") or agent, query.get("force") == "true"
    return Request(kind, namespace, asked.name, asked.subresource, manager, force, query.get("dryRun") == "All")


def _token(request: Request) -> Json:
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {"token": f"{request.namespace}:{request.name}", "expirationTimestamp": until}
    return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}, "status": status}


def _selected(query: Mapping[str, str]) -> selectors.Test:
    try:
        labels = selectors.labels(query.get("labelSelector", ""))
    except ValueError as error:
        raise refusals.bad_request(str(error)) from error
    fields = selectors.fields(query.get("fieldSelector", ""))
    return lambda body: labels(body) and fields(body)


def _event(change: Change, kind: Kind, asked: Asked) -> Json | None:
    """What a watch says of a change: an object that its selector no longer takes is deleted for it."""
    if change.kind != kind or asked.namespace not in ("", change.body["metadata"].get("namespace")):
        return None
    test = _selected(asked.query)
    before = change.before is not None and test(change.before)
    if not change.deleted and test(change.body):
        return {"type": "MODIFIED" if before else "ADDED", "object": change.body}
    return {"type": "DELETED", "object": change.body} if before else None


async def _tell(response: Stream, events: Iterable[Json]) -> None:
    for event in events:
        await response.write(json.dumps(event).encode() + b"\n")


def _at(body: Any, path: str) -> Any:
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body
