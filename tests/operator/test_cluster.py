"""Requests to the API server, and the error type of each of its responses."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from livescore_operator import __version__, cluster
from livescore_operator.cluster import Cluster, NoCluster, path
from livescore_operator.errors import FieldConflict, NotLeading, ReconcileError, Terminal, Transient, Waiting
from livescore_operator.kinds import KINDS
from livescore_operator.resource import Manifest
from livescore_operator.telemetry import metrics
from tests.support.kubernetes.stopping import stop

TIMEOUT = 0.4
"""Timeout in seconds that replaces the production value, to keep the tests short."""

Reply = web.StreamResponse | Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Api:
    """An API server that sends given responses in turn, and then empty objects."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    def answer(self, status: int = 200, body: Any = None) -> None:
        self.replies.append(web.json_response({} if body is None else body, status=status))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        self.asked.append(
            Asked(request.method, request.raw_path.partition("?")[0], dict(request.query), dict(request.headers), body)
        )
        reply = self.replies.pop(0) if self.replies else web.json_response({})
        return await reply(request) if callable(reply) else reply


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    found = Api()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await stop(runner)


@asynccontextmanager
async def connected(url: str, timeout: float = 5.0) -> AsyncIterator[Cluster]:
    async with ApiClient(Configuration(host=url)) as client:
        yield Cluster(client, timeout)


@pytest.fixture
async def connection(api: Api) -> AsyncIterator[Cluster]:
    async with connected(api.url) as found:
        yield found


def thing(kind: str = "ConfigMap", name: str = "demo", **metadata: Any) -> Manifest:
    return {
        "apiVersion": KINDS[kind].api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "sport", **metadata},
        "data": {"a": "ä"},
    }


def status(message: str, reason: str = "", **details: Any) -> Manifest:
    return {"kind": "Status", "message": message, "reason": reason, "details": details}


# Paths


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Secret", "/api/v1/namespaces/sport/secrets/demo"),
        ("Deployment", "/apis/apps/v1/namespaces/sport/deployments/demo"),
        ("Job", "/apis/batch/v1/namespaces/sport/jobs/demo"),
        ("Ingress", "/apis/networking.k8s.io/v1/namespaces/sport/ingresses/demo"),
        ("LiveScore", "/apis/livescore.dev/v1/namespaces/sport/livescores/demo"),
        ("Cluster", "/apis/postgresql.cnpg.io/v1/namespaces/sport/clusters/demo"),
    ],
)
def test_object_has_its_api_path(kind: str, expected: str) -> None:
    assert path(kind, "sport", "demo") == expected
    assert path(kind, "sport") == expected.removesuffix("/demo")
    assert path(kind, "sport", "demo", "status") == f"{expected}/status"


def test_cluster_scoped_object_has_no_namespace_in_its_path() -> None:
    assert path("APIService", "", "v1.x") == "/apis/apiregistration.k8s.io/v1/apiservices/v1.x"


def test_name_cannot_escape_its_path() -> None:
    assert path("Secret", "a/b", "../c?d#e") == "/api/v1/namespaces/a%2Fb/secrets/..%2Fc%3Fd%23e"


# Reading


async def test_get_returns_one_object(api: Api, connection: Cluster) -> None:
    api.answer(200, thing())

    assert await connection.get("ConfigMap", "sport", "demo") == thing()
    (asked,) = api.asked
    assert (asked.method, asked.path, asked.query, asked.body) == ("GET", path("ConfigMap", "sport", "demo"), {}, None)
    assert asked.headers["Accept"] == "application/json"


async def test_missing_object_is_none(api: Api, connection: Cluster) -> None:
    api.answer(404, status("not found", "NotFound"))
    api.answer(404, status("the server could not find the requested resource"))

    assert await connection.get("ConfigMap", "sport", "demo") is None
    assert await connection.list("PodMonitor", "sport", {}) is None


async def test_list_returns_labelled_objects_with_their_kind(api: Api, connection: Cluster) -> None:
    api.answer(200, {"kind": "DeploymentList", "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]})
    api.answer(200, {"kind": "DeploymentList", "items": None})

    found = await connection.list("Deployment", "sport", {"app/name": "livescore", "part": "api"})

    assert found == [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}} for name in ("a", "b")]
    assert (api.asked[0].path, api.asked[0].query) == (
        path("Deployment", "sport"),
        {"labelSelector": "app/name=livescore,part=api"},
    )
    assert await connection.list("Deployment", "sport", {}) == []


async def test_select_returns_objects_matching_a_selector(api: Api, connection: Cluster) -> None:
    api.answer(200, {"kind": "PodList", "items": [{"metadata": {"name": "a"}}]})
    api.answer(400, status("unable to parse requirement", "BadRequest"))

    assert await connection.select("Pod", "sport", "a in (b),!c") == [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    ]
    assert api.asked[0].query == {"labelSelector": "a in (b),!c"}
    with pytest.raises(Terminal, match="unable to parse"):
        await connection.select("Pod", "sport", "a in (")


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        ({"allowed": True}, True),
        ({"allowed": False, "denied": True}, False),
        ({"allowed": "yes"}, False),
        (None, False),
    ],
)
async def test_review_returns_the_permission(
    api: Api, connection: Cluster, answer: Manifest | None, allowed: bool
) -> None:
    connection.may_write = lambda: False  # a review writes nothing
    api.answer(201, {"kind": "SubjectAccessReview", "status": answer})

    assert await connection.review({"user": "jane"}) is allowed
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews")
    assert asked.body["spec"] == {"user": "jane"}


@pytest.mark.parametrize("code", [401, 403, 404, 500])
async def test_failed_review_is_an_error(api: Api, connection: Cluster, code: int) -> None:
    api.answer(code, status('User "x" cannot create'))
    with pytest.raises(Transient):
        await connection.review({"user": "jane"})


def pod(name: str, phase: str, created: str) -> Manifest:
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": {"phase": phase}}


PODS = {
    "items": [
        pod("old", "Failed", "2026-01-01T00:00:00Z"),
        pod("new", "Failed", "2026-01-02T00:00:00Z"),
        pod("newer", "Running", "2026-01-03T00:00:00Z"),
        {"metadata": {"name": "newest"}},
    ]
}


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("first\nlast", "last"),
        ("first\nlast\n\n  \n", "last"),
        ("", ""),
        ("\n \n", ""),
        ("gr\u00fc\u00dfe\n", "gr\u00fc\u00dfe"),
    ],
)
async def test_last_log_line_is_that_of_the_newest_failed_pod(
    api: Api, connection: Cluster, log: str, words: str
) -> None:
    api.answer(200, PODS)
    api.replies.append(web.Response(text=log))

    assert await connection.last_line_of_failed_pod("sport", {"job": "x"}, "migration") == words
    assert [(asked.path, asked.query) for asked in api.asked] == [
        (path("Pod", "sport"), {"labelSelector": "job=x"}),
        (
            path("Pod", "sport", "new", "log"),
            {"container": "migration", "tailLines": "5", "limitBytes": str(cluster.LOG_BYTES)},
        ),
    ], "of the container with this name: a pod may have sidecars, and the API server then requires a name"


async def test_log_truncated_within_a_character_is_readable(api: Api, connection: Cluster) -> None:
    api.answer(200, PODS)
    api.replies.append(web.Response(body=b"one\n\xc3"))

    assert await connection.last_line_of_failed_pod("sport", {}, "migration") == "\ufffd"


@pytest.mark.parametrize("code", [400, 403, 404, 500])
async def test_unreadable_log_is_not_an_error(api: Api, connection: Cluster, code: int) -> None:
    api.answer(200, PODS)
    api.answer(code, status("container is waiting to start"))

    assert await connection.last_line_of_failed_pod("sport", {}, "migration") == ""


async def test_no_log_line_is_returned_if_no_pod_failed(api: Api, connection: Cluster) -> None:
    api.answer(200, {"items": PODS["items"][2:]})
    api.answer(404)

    assert await connection.last_line_of_failed_pod("sport", {}, "migration") == ""
    assert await connection.last_line_of_failed_pod("sport", {}, "migration") == ""
    assert len(api.asked) == 2


# Writing


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({}, {"fieldManager": "livescore-operator", "force": "false"}),
        ({"force": True}, {"fieldManager": "livescore-operator", "force": "true"}),
        (
            {"force": True, "dry_run": True},
            {"fieldManager": "livescore-operator", "force": "true", "dryRun": "All"},
        ),
    ],
)
async def test_apply_is_server_side(
    api: Api, connection: Cluster, options: dict[str, Any], query: dict[str, str]
) -> None:
    api.answer(201, thing(uid="u"))

    assert await connection.apply(thing(), **options) == thing(uid="u")
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("PATCH", path("ConfigMap", "sport", "demo"))
    assert (asked.query, asked.body) == (query, thing())
    assert asked.headers["Content-Type"] == "application/apply-patch+yaml"


async def test_status_is_applied_by_force_and_the_object_may_be_gone(api: Api, connection: Cluster) -> None:
    written = {**thing("LiveScore"), "status": {"api": "1/1"}}
    api.answer(200, written)
    api.answer(404, status("not found", "NotFound"))

    await connection.apply_status(written)
    await connection.apply_status(written)

    assert (api.asked[0].method, api.asked[0].path) == ("PATCH", path("LiveScore", "sport", "demo", "status"))
    assert api.asked[0].query == {"fieldManager": "livescore-operator", "force": "true"}
    assert api.asked[0].body == written


async def test_delete_has_a_uid_precondition(api: Api, connection: Cluster) -> None:
    await connection.delete(thing("Deployment", uid="u-1"))

    (asked,) = api.asked
    assert (asked.method, asked.path) == ("DELETE", path("Deployment", "sport", "demo"))
    assert asked.body == {"propagationPolicy": "Background", "preconditions": {"uid": "u-1"}}


async def test_deleting_a_missing_or_replaced_object_succeeds(api: Api, connection: Cluster) -> None:
    api.answer(404, status("not found", "NotFound"))
    api.answer(409, status("Precondition failed: UID in precondition: u-1", "Conflict"))

    for _ in range(2):
        await connection.delete(thing(uid="u-1"))


async def test_an_event_is_created(api: Api, connection: Cluster) -> None:
    event = {"metadata": {"generateName": "demo.", "namespace": "sport"}, "reason": "Applied"}

    await connection.create_event(event)

    assert [(one.method, one.path, one.body) for one in api.asked] == [("POST", path("Event", "sport"), event)]


WRITES: list[Callable[[Cluster], Awaitable[Any]]] = [
    lambda connection: connection.apply(thing()),
    lambda connection: connection.apply(thing(), force=True),
    lambda connection: connection.apply_status(thing("LiveScore")),
    lambda connection: connection.delete(thing(uid="u")),
    lambda connection: connection.create_event(thing("Event")),
    lambda connection: connection.replace_secret(thing("Secret")),
]


@pytest.mark.parametrize("write", WRITES)
async def test_non_leader_sends_no_writes(
    api: Api, connection: Cluster, write: Callable[[Cluster], Awaitable[Any]]
) -> None:
    connection.may_write = lambda: False
    with pytest.raises(NotLeading):
        await write(connection)
    assert api.asked == []

    connection.may_write = lambda: True
    await write(connection)
    assert len(api.asked) == 1


async def test_non_leader_may_read_and_dry_run(api: Api, connection: Cluster) -> None:
    connection.may_write = lambda: False

    await connection.get("ConfigMap", "sport", "demo")
    await connection.list("ConfigMap", "sport", {})
    await connection.apply(thing(), dry_run=True)

    assert [asked.method for asked in api.asked] == ["GET", "GET", "PATCH"]


# The Lease


async def test_lease_is_created_once(api: Api, connection: Cluster) -> None:
    connection.may_write = lambda: False  # not the leader yet
    api.answer(201, thing("Lease"))
    api.answer(409, status("already exists", "AlreadyExists"))

    assert await connection.create_lease(thing("Lease")) == thing("Lease")
    assert await connection.create_lease(thing("Lease")) is None
    assert [(one.method, one.path) for one in api.asked] == [("POST", path("Lease", "sport"))] * 2
    assert api.asked[0].body == thing("Lease")


async def test_lease_is_replaced_by_its_latest_reader(api: Api, connection: Cluster) -> None:
    connection.may_write = lambda: False
    api.answer(200, thing("Lease"))
    api.answer(409, status("the object has been modified", "Conflict"))
    api.answer(404, status("not found", "NotFound"))

    lease = thing("Lease", resourceVersion="5")
    assert [await connection.replace_lease(lease) for _ in range(3)] == [thing("Lease"), None, None]
    assert [(one.method, one.path) for one in api.asked] == [("PUT", path("Lease", "sport", "demo"))] * 3
    assert api.asked[0].body == lease


@pytest.mark.parametrize("code", [403, 500])
async def test_failed_write_of_the_lease_is_an_error(api: Api, connection: Cluster, code: int) -> None:
    for _ in range(2):
        api.answer(code, status('leases is forbidden: User "x" cannot update'))

    with pytest.raises(Transient):
        await connection.create_lease(thing("Lease"))
    with pytest.raises(Transient):
        await connection.replace_lease(thing("Lease"))


# The Secret of the metrics adapter


async def test_secret_is_created_once(api: Api, connection: Cluster) -> None:
    connection.may_write = lambda: False  # replicas that do not lead need the Secret too
    api.answer(201, thing("Secret"))
    api.answer(409, status("already exists", "AlreadyExists"))

    assert [await connection.create_secret(thing("Secret")) for _ in range(2)] == [True, False]
    assert [(one.method, one.path) for one in api.asked] == [("POST", path("Secret", "sport"))] * 2


async def test_secret_is_replaced_by_the_leader_that_read_it_last(api: Api, connection: Cluster) -> None:
    api.answer(200, thing("Secret"))
    api.answer(409, status("the object has been modified", "Conflict"))
    api.answer(404, status("not found", "NotFound"))

    secret = thing("Secret", resourceVersion="5")
    assert [await connection.replace_secret(secret) for _ in range(3)] == [True, False, False]
    assert [(one.method, one.path) for one in api.asked] == [("PUT", path("Secret", "sport", "demo"))] * 3
    assert api.asked[0].body == secret


# Errors

CANNOT = 'configmaps "demo" is forbidden: User "system:serviceaccount:x:y" cannot patch resource "configmaps"'
TERMINATING = (
    'configmaps "demo" is forbidden: unable to create new content in namespace sport because it is being terminated'
)
UNDECLARED = (
    "failed to create typed patch object (sport/demo-api; apps/v1, Kind=Deployment): "
    ".spec.template.spec.affinity.nodeAfinity: field not declared in schema"
)
WRONG_TYPE = (
    "failed to create typed patch object (sport/demo-api; networking.k8s.io/v1, Kind=NetworkPolicy): "
    ".spec.ingress[0].from: expected list, got &{map[podSelector:map[]]}"
)
QUOTA = 'services "demo" is forbidden: exceeded quota: small, requested: services=1, used: services=5'
POLICY = (
    "deployments.apps \"demo-api\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: images "
    "cannot come from there"
)
DENIED = 'admission webhook "policy.example.com" denied the request: User "x" cannot patch resource "deployments" today'
SLOW = (
    'Internal error occurred: failed calling webhook "policy.example.com": failed to call webhook: Post '
    '"https://policy.example.svc:443/?timeout=4s": context deadline exceeded'
)
CONVERTED = (
    "failed to convert new object (sport/demo-api; apps/v1, Kind=Deployment) to proper version: unable to convert "
    "unstructured object to apps/v1, Kind=Deployment: cannot convert float64 to int32"
)
CONVERSION = (
    "failed to convert new object (x) to proper version: conversion webhook for postgresql.cnpg.io/v1, Kind=Cluster "
    'failed: Post "https://x": dial tcp: refused'
)
FINALIZERS = (
    'deployments.apps "demo-api" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource '
    "you can't set finalizers on: , <nil>"
)
FORBIDDEN = "Forbidden"
ERRORS: list[tuple[int, Manifest, ReconcileError]] = [
    (400, status("unknown field"), Terminal("Invalid", "unknown field")),
    (422, status("spec.x: Required value"), Terminal("Invalid", "spec.x: Required value")),
    (413, status("too large"), Terminal("Invalid", "too large")),
    (500, status("etcdserver: request is too large"), Terminal("Invalid", "etcdserver: request is too large")),
    (500, status("etcdserver: leader changed"), Transient("Http500", "etcdserver: leader changed")),
    (500, status(UNDECLARED), Terminal("Invalid", UNDECLARED)),
    (500, status(WRONG_TYPE), Terminal("Invalid", WRONG_TYPE)),
    (500, status(CONVERTED), Terminal("Invalid", CONVERTED)),
    (500, status(UNDECLARED, "Unknown"), Terminal("Invalid", UNDECLARED)),
    (403, status("violates PodSecurity", FORBIDDEN), Terminal("Refused", "violates PodSecurity")),
    (403, status(QUOTA, FORBIDDEN), Terminal("Refused", QUOTA)),
    (403, status(POLICY, FORBIDDEN), Terminal("Refused", POLICY)),
    (422, status(POLICY, "Invalid", causes=[{"message": "cannot"}]), Terminal("Invalid", POLICY)),
    *((code, status(DENIED), Terminal("Refused", DENIED)) for code in (400, 403, 404, 409, 422, 429, 500, 503)),
    (403, status(CANNOT, FORBIDDEN), Transient("Forbidden", CANNOT)),
    (403, status(CANNOT, FORBIDDEN, causes=[{"message": "x"}]), Terminal("Refused", CANNOT)),
    (403, status(FINALIZERS, FORBIDDEN), Transient("Forbidden", FINALIZERS)),
    (401, status("Unauthorized"), Transient("Forbidden", "Unauthorized")),
    (
        403,
        status(TERMINATING, FORBIDDEN, causes=[{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]),
        Waiting("NamespaceTerminating", TERMINATING, after=30.0),
    ),
    (404, status("namespaces not found"), Transient("Http404", "namespaces not found")),
    (409, status("modified", "Conflict"), Transient("Http409", "modified")),
    (409, status("modified", "Conflict", causes=[{"reason": "Other"}]), Transient("Http409", "modified")),
    (409, status("modified", "Conflict", causes=None), Transient("Http409", "modified")),
    (409, {**status("modified"), "details": None}, Transient("Http409", "modified")),
    (410, status("too old"), Transient("Http410", "too old")),
    (429, status("too many requests"), Transient("Http429", "too many requests")),
    (500, status("etcd"), Transient("Http500", "etcd")),
    (500, status(SLOW, "InternalError"), Transient("Http500", SLOW)),
    (500, status(CONVERSION), Transient("Http500", CONVERSION)),
    (503, status(""), Transient("Http503", json.dumps(status("")))),
    (504, status("Timeout"), Transient("Http504", "Timeout")),
]


@pytest.mark.parametrize(("code", "body", "error"), ERRORS)
async def test_response_maps_to_an_error_type(
    api: Api, connection: Cluster, code: int, body: Manifest, error: ReconcileError
) -> None:
    api.answer(code, body)

    with pytest.raises(type(error)) as caught:
        await connection.apply(thing())

    assert caught.value == error


async def test_conflict_names_every_manager_and_field(api: Api, connection: Cluster) -> None:
    causes = [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using v1', "field": ".data.a"},
        {"reason": "FieldManagerConflict", "message": 'conflict with "helm"', "field": ".data.b"},
    ]
    api.answer(409, status("Apply failed with 2 conflicts", "Conflict", causes=causes))

    with pytest.raises(FieldConflict) as caught:
        await connection.apply(thing())

    assert caught.value.causes == ('conflict with "kubectl" using v1: .data.a', 'conflict with "helm": .data.b')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("upstream connect error", "upstream connect error"),
        ("x" * 1000, "x" * 200),
        ("", "HTTP 502"),
        ("[]", "[]"),
        ("{}", "{}"),
    ],
)
async def test_error_without_a_status_object_has_a_message(
    api: Api, connection: Cluster, body: str, message: str
) -> None:
    api.replies.append(web.Response(status=502, text=body))

    with pytest.raises(Transient) as caught:
        await connection.get("ConfigMap", "sport", "demo")

    assert (caught.value.reason, caught.value.message) == ("Http502", message)


@pytest.mark.parametrize("code", [401, 403, 429, 500])
async def test_failed_read_is_transient(api: Api, connection: Cluster, code: int) -> None:
    for _ in range(2):
        api.answer(code, status('User "x" cannot get'))

    with pytest.raises(Transient):
        await connection.get("ConfigMap", "sport", "demo")
    with pytest.raises(Transient):
        await connection.list("ConfigMap", "sport", {})


# A bad network


async def slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(TIMEOUT * 20)
    return web.json_response({})


async def slow_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"{")
    await asyncio.sleep(TIMEOUT * 20)
    return response


async def trickling(request: web.Request) -> web.StreamResponse:
    """Send data at short intervals, without an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(80):
        await response.write(b" ")
        await asyncio.sleep(TIMEOUT / 4)
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.close()
    return web.Response()


async def cut_body(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport
    request.transport.close()
    return response


@pytest.mark.parametrize(
    "replies",
    [[slow], [slow_body], [trickling], [cut_body], [cut, cut]],  # aiohttp retries once where that is harmless
)
async def test_incomplete_or_late_response_is_a_transient_error(api: Api, replies: list[Reply]) -> None:
    requests = metrics.API_REQUESTS.labels("GET", "error")
    before = requests._value.get()
    async with connected(api.url, TIMEOUT) as connection:
        api.replies += replies
        async with asyncio.timeout(TIMEOUT * 15):
            with pytest.raises(Transient, match="ApiServerUnreachable: GET /api/v1/"):
                await connection.get("ConfigMap", "sport", "demo")

        assert requests._value.get() == before + 1
        assert await connection.get("ConfigMap", "sport", "demo") == {}, "the next request is answered"


async def test_unreachable_server_is_a_transient_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with connected(f"http://127.0.0.1:{free.getsockname()[1]}", TIMEOUT) as connection:
            with pytest.raises(Transient, match="ApiServerUnreachable"):
                await connection.apply(thing())


async def test_requests_are_counted_by_status(api: Api, connection: Cluster) -> None:
    requests = metrics.API_REQUESTS.labels("PATCH", "429")
    before = requests._value.get()
    api.answer(429)

    with pytest.raises(Transient):
        await connection.apply(thing())

    assert requests._value.get() == before + 1


# Connecting


def kubeconfig(directory: Path, url: str) -> Path:
    """Write a kubeconfig with the URL of the API server and a token."""
    file = directory / "kubeconfig"
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "c", "user": {"token": "t0ken"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    file.write_text(yaml.safe_dump(body))
    return file


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Path of a kubeconfig for a process outside any cluster."""
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    return tmp_path


async def test_kubeconfig_provides_server_and_credentials(api: Api, outside: Path) -> None:
    kubeconfig(outside, api.url)

    async with cluster.connect(1.0) as connection:
        await connection.get("ConfigMap", "sport", "demo")

    (asked,) = api.asked
    assert asked.headers["Authorization"] == "Bearer t0ken"
    assert asked.headers["User-Agent"] == f"livescore-operator/{__version__}"


async def test_an_error_is_the_same_outside_the_connection(api: Api, outside: Path) -> None:
    kubeconfig(outside, api.url)
    api.answer(500, status("etcd"))

    with pytest.raises(Transient, match="Http500: etcd"):
        async with cluster.connect(1.0) as connection:
            await connection.get("ConfigMap", "sport", "demo")


async def test_errors_are_distinguishable_and_comparable() -> None:
    assert len({Transient("A", "b"), Transient("A", "b"), Transient("A", "c"), Terminal("A", "b")}) == 3


@pytest.mark.usefixtures("outside")
async def test_missing_cluster_is_an_error() -> None:
    with pytest.raises(NoCluster):
        async with cluster.connect():
            pass
