"""An API server in memory, served over real HTTP on loopback: KMock plus what it lacks.

KMock provides discovery, the array of objects, and reactions of tests to requests that do not concern objects. This
module adds server-side apply, label selectors, subresources, watches from a resourceVersion, preconditions and
conflicts as in ``kube-apiserver``; ``tests/operator/test_support.py`` holds both to the same contract. Not emulated:
defaults and validation of built-in kinds, CEL, RBAC, admission. As in a bare API server, no controllers run.
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

from tests.support.kubernetes import errors, requests, selectors
from tests.support.kubernetes.access import Access
from tests.support.kubernetes.errors import StatusError
from tests.support.kubernetes.kinds import BUILT_IN, KINDS, Json, Kind
from tests.support.kubernetes.loops import Loop
from tests.support.kubernetes.objects import Objects, Request
from tests.support.kubernetes.requests import ApiRequest
from tests.support.kubernetes.schemas import Custom
from tests.support.kubernetes.server import Logs, Server
from tests.support.kubernetes.stopping import stop
from tests.support.kubernetes.store import HISTORY, Change, Gone, Store, resource

NAMESPACES = ("default", "kube-system")
"""Namespaces that the server creates by itself."""

BOOKMARK_SECONDS = 60.0
"""Interval of bookmarks in an idle watch, as in a real server."""

WATCH_SECONDS = 1800.0
"""Duration of a watch that requested no timeout."""

STOP_SECONDS = 2.0
"""Grace period for requests in flight when the server stops; watches are ended before."""

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]

Scale = tuple[str, str, str]
"""Paths of the desired replicas, the observed replicas, and the selector."""

SCALE: Scale = ("spec.replicas", "status.replicas", "status.selector")

KindKey = tuple[str, str, str]
"""Group, version, plural: the identity of a kind in URLs."""

Stream = aiohttp.web.StreamResponse


class EmulatedApi(kmock.KubernetesEmulator):
    """The request handler of the emulator. Runs on a single event loop."""

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
        """Answer requests that concern objects; leave the rest to KMock."""
        target = requests.read(raw_request.method, raw_request.rel_url.raw_path, dict(raw_request.query))
        if target is None:
            return await super().__call__(raw_request)
        body = await raw_request.read()
        try:
            return await self._answer(raw_request, target, _parsed(body))
        except StatusError as refusal:
            return aiohttp.web.json_response(refusal.status, status=refusal.code)

    def close(self) -> None:
        """End all watches."""
        self._store.close()

    # Served kinds

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
        """Serve the kind that a CustomResourceDefinition defines."""
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

    # Dispatch

    async def _answer(self, raw: aiohttp.web.BaseRequest, target: ApiRequest, body: Any) -> Stream:
        if target.plural == "selfsubjectaccessreviews":  # without RBAC, everything is allowed
            return aiohttp.web.json_response({**body, "status": {"allowed": True}}, status=201)
        kind = self._kinds.get((target.group, target.version, target.plural))
        if kind is None or (target.subresource and target.subresource not in kind.subresources):
            raise errors.no_such_resource()
        if target.verb == "watch":
            return await self._watch(raw, kind, target)
        if target.subresource == "log":
            return self._log(kind, target)
        answer, code = self._object(raw, kind, target, body)
        return aiohttp.web.json_response(answer, status=code)

    def _object(self, raw: aiohttp.web.BaseRequest, kind: Kind, target: ApiRequest, body: Any) -> tuple[Json, int]:
        if target.method == "GET":
            return self._read(kind, target), 200
        request = _request(raw, kind, target, body)
        if target.method == "DELETE":
            return self._delete(request, target, body or {}), 200
        if not isinstance(body, dict):
            raise errors.bad_request("the body is not an object")
        answer, code = self._write(request, target, body, raw.content_type)
        if kind.kind == "CustomResourceDefinition" and not request.dry_run:
            self._define(answer)
        return answer, code

    def _read(self, kind: Kind, target: ApiRequest) -> Json:
        if not target.name:
            return self._list(kind, target)
        found = self._writes.get(kind, target.namespace or None, target.name)
        return self._scale(kind, found) if target.subresource == "scale" else found

    def _list(self, kind: Kind, target: ApiRequest) -> Json:
        test = _selected(target.query)
        items = [body for body in self._store.list(kind, target.namespace or None) if test(body)]
        if kind in BUILT_IN:  # items of built-in kinds do not repeat apiVersion and kind of the list
            items = [
                {name: part for name, part in body.items() if name not in ("apiVersion", "kind")} for body in items
            ]
        metadata = {"resourceVersion": str(self._store.version)}
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    def _write(self, request: Request, target: ApiRequest, body: Json, content_type: str) -> tuple[Json, int]:
        if target.subresource == "token":
            return _token(request), 201
        if target.subresource == "scale":
            return self._rescale(request, body), 200
        if target.method == "POST":
            return self._writes.create(request, body), 201
        if target.method == "PUT":
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
        message = f"the body of the request was in an unknown format: {content_type}"
        raise StatusError(415, "UnsupportedMediaType", message)

    # Deletion

    def _delete(self, request: Request, target: ApiRequest, options: Json) -> Json:
        names = ("propagationPolicy", "gracePeriodSeconds")
        options = {**{name: target.query[name] for name in names if name in target.query}, **options}
        if not target.name:
            return self._delete_all(request, target, options)
        found = self._writes.get(request.kind, request.namespace, request.name)
        left = self._writes.delete(request, options)
        if request.kind.kind == "CustomResourceDefinition" and left is None:
            self._undefine(found)
        details = {**errors.details(request.kind, request.name), "uid": found["metadata"]["uid"]}
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return done if left is None else left

    def _delete_all(self, request: Request, target: ApiRequest, options: Json) -> Json:
        found = self._list(request.kind, target)
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

    def _log(self, kind: Kind, target: ApiRequest) -> Stream:
        self._writes.get(kind, target.namespace, target.name)
        return aiohttp.web.Response(text=self._logs.read(target.namespace, target.name, target.query))

    # Watches

    async def _watch(self, raw: aiohttp.web.BaseRequest, kind: Kind, target: ApiRequest) -> Stream:
        # No await between the snapshot and the subscription, so no write can be missed or sent twice.
        queue = self._store.subscribe()
        try:
            first = self._known(kind, target)
            response = aiohttp.web.StreamResponse(headers={"Content-Type": "application/json"})
            response.enable_chunked_encoding()
            await response.prepare(raw)
            await self._stream(response, first, queue, kind, target)
        finally:
            self._store.unsubscribe(queue)
        return response

    def _known(self, kind: Kind, target: ApiRequest) -> list[Json]:
        """Return the initial events: all existing objects, or the changes since a resourceVersion."""
        since = target.query.get("resourceVersion", "")
        if target.query.get("sendInitialEvents") == "true" or since in ("", "0"):
            test, namespace = _selected(target.query), target.namespace or None
            events = [{"type": "ADDED", "object": body} for body in self._store.list(kind, namespace) if test(body)]
            return [*events, *self._bookmark(kind, initial=True)] if "sendInitialEvents" in target.query else events
        try:
            changes = self._store.since(int(since), kind)
        except Gone:
            status = StatusError(410, "Expired", f"too old resource version: {since}").status
            return [{"type": "ERROR", "object": status}]
        return [event for change in changes if (event := _event(change, kind, target))]

    async def _stream(
        self, response: Stream, first: list[Json], queue: asyncio.Queue[Change | None], kind: Kind, target: ApiRequest
    ) -> None:
        end = time.monotonic() + float(target.query.get("timeoutSeconds") or WATCH_SECONDS)
        await _send_events(response, first)
        if first and first[-1]["type"] == "ERROR":
            return
        while (left := end - time.monotonic()) > 0:
            try:
                change = await asyncio.wait_for(queue.get(), min(left, BOOKMARK_SECONDS))
            except TimeoutError:
                await _send_events(response, self._bookmark(kind) if "allowWatchBookmarks" in target.query else [])
                continue
            if change is None:
                return
            await _send_events(response, [event] if (event := _event(change, kind, target)) else [])

    def _bookmark(self, kind: Kind, *, initial: bool = False) -> list[Json]:
        metadata: Json = {"resourceVersion": str(self._store.version)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return [{"type": "BOOKMARK", "object": body}]


class Emulator(Server):
    """A running emulator with its own event loop.

    Parameters:
        history: number of changes kept for watches that resume.
    """

    is_real = False

    def __init__(self, history: int = HISTORY) -> None:
        super().__init__()
        self._loop = Loop("emulated-api")
        self._runner, self._api = self._loop.run(self._start(history))

    async def _start(self, history: int) -> tuple[aiohttp.web.ServerRunner, EmulatedApi]:
        api = EmulatedApi(self.logs, history)
        await api.__aenter__()
        # A watch ends when its client disconnects, rather than at the next change.
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
        """Return access with a token that is not checked: there is no RBAC here."""
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
    """Parse a body. JSON is valid YAML too, but parses a hundred times faster as JSON."""
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return yaml.safe_load(body)


def _request(raw: aiohttp.web.BaseRequest, kind: Kind, target: ApiRequest, body: Any) -> Request:
    query = target.query
    if raw.content_type == "application/apply-patch+yaml" and not query.get("fieldManager"):
        raise errors.unmanaged()
    metadata = body.get("metadata") or {} if isinstance(body, dict) else {}
    namespace = (target.namespace or metadata.get("namespace")) if kind.namespaced else None
    if target.method != "DELETE" and metadata.get("namespace") not in (None, "", namespace):
        raise errors.bad_request("the namespace of the provided object does not match the namespace of the request")
    agent = raw.headers.get("User-Agent", "unknown").partition("/")[0]
    manager, force = query.get("fieldManager") or agent, query.get("force") == "true"
    return Request(kind, namespace, target.name, target.subresource, manager, force, query.get("dryRun") == "All")


def _token(request: Request) -> Json:
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {"token": f"{request.namespace}:{request.name}", "expirationTimestamp": until}
    return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}, "status": status}


def _selected(query: Mapping[str, str]) -> selectors.Test:
    try:
        labels = selectors.labels(query.get("labelSelector", ""))
    except ValueError as error:
        raise errors.bad_request(str(error)) from error
    fields = selectors.fields(query.get("fieldSelector", ""))
    return lambda body: labels(body) and fields(body)


def _event(change: Change, kind: Kind, target: ApiRequest) -> Json | None:
    """Return the watch event for a change: an object that leaves the selector is reported as deleted."""
    if change.kind != kind or target.namespace not in ("", change.body["metadata"].get("namespace")):
        return None
    test = _selected(target.query)
    before = change.before is not None and test(change.before)
    if not change.deleted and test(change.body):
        return {"type": "MODIFIED" if before else "ADDED", "object": change.body}
    return {"type": "DELETED", "object": change.body} if before else None


async def _send_events(response: Stream, events: Iterable[Json]) -> None:
    for event in events:
        await response.write(json.dumps(event).encode() + b"\n")


def _at(body: Any, path: str) -> Any:
    for name in path.split("."):
        body = body.get(name) if isinstance(body, dict) else None
    return body
