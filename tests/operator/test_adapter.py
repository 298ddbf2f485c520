"""The metrics adapter over real TLS on loopback: authentication, authorization, values and their pods."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from livescore_operator.components.common import selector
from livescore_operator.errors import Terminal, Transient
from livescore_operator.metrics_api.adapter import VERSIONS, Adapter
from livescore_operator.metrics_api.authentication import RequestHeaderConfig, Unauthorized, User, authenticate
from livescore_operator.metrics_api.authorization import MAX_CACHED, SubjectAccessAuthorizer
from livescore_operator.metrics_api.certificates import Identity, make, renewed
from livescore_operator.metrics_api.provider import API_PODS, MetricsProvider, read_connections
from livescore_operator.metrics_api.tls import ServerTls
from livescore_operator.resource import METRIC, LiveScore, Manifest
from tests.support.kubernetes.certificates import Certificates
from tests.support.kubernetes.stopping import stop

HOST = "livescore-operator-metrics.livescore-system.svc"
ROOT = "/apis/custom.metrics.k8s.io"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
USER = {"X-Remote-User": "system:serviceaccount:kube-system:horizontal-pod-autoscaler"}

Json = dict[str, Any]


def pod(name: str, ip: str = "10.0.0.1", phase: str = "Running", **metadata: Any) -> Manifest:
    return {"metadata": {"name": name, **metadata}, "status": {"phase": phase, "podIP": ip}}


@dataclass
class World:
    """The cluster as the adapter sees it, and the adapter's requests to it."""

    pods: list[Manifest] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    listed: list[tuple[str, str]] = field(default_factory=list)
    read: list[list[str]] = field(default_factory=list)
    reviews: list[Manifest] = field(default_factory=list)
    allowed: bool = True
    error: Exception | None = None
    clock: float = 1000.0
    seconds: float = field(default_factory=time.time)

    async def find(self, namespace: str, selector: str) -> Sequence[Manifest]:
        self.listed.append((namespace, selector))
        if self.error:
            raise self.error
        return self.pods

    async def connections(self, addresses: Sequence[str]) -> Mapping[str, int]:
        self.read.append(list(addresses))
        return {address: count for address, count in self.counts.items() if address in addresses}

    async def review(self, spec: Manifest) -> bool:
        self.reviews.append(spec)
        if self.error:
            raise self.error
        return self.allowed


@dataclass(frozen=True)
class Client:
    """An HTTP client with or without a certificate."""

    port: int
    context: ssl.SSLContext

    async def get(
        self, path: str, headers: Mapping[str, str] = USER, method: str = "GET", **query: str
    ) -> tuple[int, Json]:
        async with aiohttp.ClientSession() as session:
            return await self.ask(session, path, headers, method, **query)

    async def ask(
        self,
        session: aiohttp.ClientSession,
        path: str,
        headers: Mapping[str, str] = USER,
        method: str = "GET",
        **query: str,
    ) -> tuple[int, Json]:
        url = f"https://127.0.0.1:{self.port}{path}"
        async with session.request(
            method, url, ssl=self.context, server_hostname=HOST, headers=headers, params=query
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else {"text": text}


@dataclass
class Served:
    """A running adapter and its trusted CAs."""

    world: World
    tls: ServerTls
    port: int
    identity: Identity
    front: Certificates

    def client(self, front: Certificates | None = None, subject: str = "/CN=front-proxy-client") -> Client:
        """Return a client with a certificate of this CA, by default of the trusted one."""
        return Client(self.port, self.context(*(front or self.front).issue("client", subject, "client")))

    def anonymous(self) -> Client:
        """Return a client without a certificate."""
        return Client(self.port, self.context())

    def context(self, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.identity.authorities)
        if certificate:
            context.load_cert_chain(certificate, key)
        return context


def trust(front: Certificates, **changes: Any) -> RequestHeaderConfig:
    """Return the configuration as in a cluster's ConfigMap."""
    found = RequestHeaderConfig.read(
        {
            "requestheader-client-ca-file": front.ca.read_text(),
            "requestheader-allowed-names": '["front-proxy-client"]',
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
            "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
        }
    )
    return replace(found, **changes)


@asynccontextmanager
async def run_adapter(world: World, tls: ServerTls) -> AsyncIterator[int]:
    values = MetricsProvider(world.find, world.connections, lambda: world.clock, lambda: NOW)
    adapter = Adapter(tls, SubjectAccessAuthorizer(world.review, lambda: world.clock), values, lambda: world.seconds)
    runner = web.AppRunner(adapter.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context).start()
    yield runner.addresses[0][1]
    await stop(runner)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The request-header CA."""
    return Certificates(tmp_path_factory.mktemp("front"))


@pytest.fixture(scope="module")
def untrusted_ca(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An untrusted CA with the same name."""
    return Certificates(tmp_path_factory.mktemp("untrusted_ca"))


@pytest.fixture
def world() -> World:
    return World([pod("demo-0", "10.0.0.1"), pod("demo-1", "10.0.0.2")], {"10.0.0.1": 40, "10.0.0.2": 0})


@pytest.fixture
async def served(world: World, front: Certificates) -> AsyncIterator[Served]:
    tls, identity = ServerTls(), make(HOST, datetime.now(UTC))
    tls.set_identity(identity)
    tls.set_client_config(trust(front))
    async with run_adapter(world, tls) as port:
        yield Served(world, tls, port, identity, front)


def metric(version: str = "v1beta2", name: str = "*", namespace: str = "sport", metric: str = METRIC) -> str:
    return f"{ROOT}/{version}/namespaces/{namespace}/pods/{name}/{metric}"


def is_status(body: Json, code: int, reason: str) -> bool:
    kind = (body["kind"], body["apiVersion"], body["status"])
    return (*kind, body["code"], body["reason"]) == ("Status", "v1", "Failure", code, reason) and bool(body["message"])


# Values


async def test_selected_pods_have_values(served: Served) -> None:
    code, body = await served.client().get(metric(), labelSelector="app.kubernetes.io/instance in (demo)")

    assert (code, body) == (
        200,
        {
            "kind": "MetricValueList",
            "apiVersion": "custom.metrics.k8s.io/v1beta2",
            "metadata": {},
            "items": [
                {
                    "describedObject": {"kind": "Pod", "namespace": "sport", "name": name, "apiVersion": "v1"},
                    "metric": {"name": METRIC, "selector": None},
                    "timestamp": "2026-06-01T12:00:00Z",
                    "value": value,
                }
                for name, value in (("demo-0", "40"), ("demo-1", "0"))
            ],
        },
    )
    assert served.world.listed == [("sport", f"{API_PODS},app.kubernetes.io/instance in (demo)")]


async def test_older_version_uses_the_older_metric_name(served: Served) -> None:
    code, body = await served.client().get(metric("v1beta1"))

    assert (code, body["apiVersion"]) == (200, "custom.metrics.k8s.io/v1beta1")
    assert body["items"][0]["metricName"] == METRIC
    assert "metric" not in body["items"][0]
    assert served.world.listed == [("sport", API_PODS)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_single_pod_is_requested_by_name(served: Served, version: str) -> None:
    code, body = await served.client().get(metric(version, "demo-0"))

    assert (code, body["kind"]) == (200, "MetricValueList")
    assert [(item["describedObject"]["name"], item["value"]) for item in body["items"]] == [("demo-0", "40")]


@pytest.mark.parametrize("count", [0, 1, 1500, 12_000, 1_000_000])
async def test_value_is_an_integer_quantity(served: Served, count: int) -> None:
    served.world.counts["10.0.0.1"] = count
    _, body = await served.client().get(metric(name="demo-0"))
    assert body["items"][0]["value"] == str(count)


@pytest.mark.parametrize(
    "other",
    [
        pod("other", "10.0.0.9", phase="Pending"),
        pod("other", "10.0.0.9", phase="Failed"),
        pod("other", ""),
        pod("other", "10.0.0.9", deletionTimestamp="2026-06-01T12:00:00Z"),
        {"metadata": {"name": "other"}},
    ],
)
async def test_pod_that_cannot_answer_is_not_queried(served: Served, other: Manifest) -> None:
    served.world.pods.append(other)
    served.world.counts["10.0.0.9"] = 5

    _, body = await served.client().get(metric())

    assert [item["describedObject"]["name"] for item in body["items"]] == ["demo-0", "demo-1"]
    assert served.world.read == [["10.0.0.1", "10.0.0.2"]]


async def test_unresponsive_pod_is_left_out(served: Served) -> None:
    del served.world.counts["10.0.0.1"]

    _, body = await served.client().get(metric())
    code, missing = await served.client().get(metric(name="demo-0"))

    assert [item["describedObject"]["name"] for item in body["items"]] == ["demo-1"]
    assert code == 404
    assert is_status(missing, 404, "NotFound")


async def test_list_is_empty_without_pods(served: Served) -> None:
    served.world.pods = []
    assert (await served.client().get(metric()))[1]["items"] == []


async def test_pods_are_queried_directly() -> None:
    """The pods are queried in parallel on their management port; unreachable ones are left out."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"connections": 7})

    application = web.Application()
    application.router.add_get("/connections", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        assert await read_connections(["127.0.0.1", "127.0.0.2"], runner.addresses[0][1]) == {"127.0.0.1": 7}
    finally:
        await stop(runner)


def test_metric_and_labels_match_the_operator() -> None:
    resource = LiveScore.parse({"metadata": {"name": "demo"}, "spec": {"image": "livescore:1"}})
    assert {tuple(term.split("=")) for term in API_PODS.split(",")} <= set(selector(resource, "api").items())


# Readings are shared


async def test_equal_requests_within_two_seconds_share_a_reading(served: Served) -> None:
    client = served.client()
    await asyncio.gather(*(client.get(metric()) for _ in range(5)))
    served.world.clock += 1.9
    await client.get(metric())
    await client.get(metric(name="demo-0"))
    assert len(served.world.read) == 1

    served.world.clock += 0.2
    await client.get(metric())
    assert len(served.world.read) == 2


async def test_namespaces_and_selectors_have_separate_readings(served: Served) -> None:
    client = served.client()
    await client.get(metric())
    await client.get(metric(namespace="other"))
    await client.get(metric(), labelSelector="a=b")
    assert served.world.listed == [("sport", API_PODS), ("other", API_PODS), ("sport", f"{API_PODS},a=b")]


async def test_cancelled_request_does_not_cancel_the_shared_reading() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(_: Sequence[str]) -> Mapping[str, int]:
        asked.set()
        await answer.wait()
        return {"10.0.0.1": 1}

    values = MetricsProvider(World([pod("demo-0")]).find, slow)
    first, second = (asyncio.create_task(values.sample("sport")) for _ in range(2))
    await asked.wait()
    first.cancel()
    answer.set()

    assert (await second).connections == {"demo-0": 1}


# Access denied


async def test_client_without_a_certificate_is_anonymous(served: Served) -> None:
    code, body = await served.anonymous().get(metric())
    assert is_status(body, code, "Unauthorized")
    assert code == 401


async def test_certificate_of_another_ca_is_refused(served: Served, untrusted_ca: Certificates) -> None:
    with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
        await served.client(untrusted_ca).get(metric())


async def test_certificate_with_an_unlisted_name_is_anonymous(served: Served) -> None:
    code, body = await served.client(subject="/CN=other").get(metric())
    assert is_status(body, code, "Unauthorized")
    assert code == 401


async def test_any_certificate_of_the_ca_is_accepted_without_listed_names(served: Served) -> None:
    served.tls.set_client_config(trust(served.front, names=frozenset()))
    assert (await served.client(subject="/CN=other").get(metric()))[0] == 200


async def test_certificate_without_a_user_header_is_anonymous(served: Served) -> None:
    code, body = await served.client().get(metric(), headers={"X-Remote-Group": "system:masters"})
    assert is_status(body, code, "Unauthorized")
    assert code == 401


async def test_user_header_without_a_certificate_is_ignored(served: Served) -> None:
    headers = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters", "Authorization": "Bearer x"}
    assert (await served.anonymous().get(metric(), headers))[0] == 401


async def test_certificate_expiring_during_a_connection_is_refused(served: Served) -> None:
    served.world.seconds += timedelta(days=3).total_seconds()
    code, body = await served.client().get(metric())
    assert code == 401
    assert "expired" in body["message"]


async def test_user_without_permission_is_refused(served: Served) -> None:
    served.world.allowed = False
    code, body = await served.client().get(metric())

    assert is_status(body, code, "Forbidden")
    assert code == 403
    assert USER["X-Remote-User"] in body["message"]
    assert served.world.listed == []


@pytest.mark.parametrize("error", [Transient("ApiServerUnreachable", "no answer"), Transient("Forbidden", "cannot")])
async def test_access_is_denied_if_the_review_fails(served: Served, error: Exception) -> None:
    served.world.error = error
    code, body = await served.client().get(metric())
    assert is_status(body, code, "ServiceUnavailable")
    assert code == 503


@pytest.mark.parametrize("path", ["/apis", ROOT, f"{ROOT}/v1beta1", "/openapi/v2", "/openapi/v3", "/nothing", "/"])
async def test_anonymous_clients_can_only_use_probes(served: Served, path: str) -> None:
    assert (await served.anonymous().get(path))[0] == 401
    served.world.allowed = False
    assert (await served.client().get(path))[0] == 403


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
async def test_probes_need_no_authentication(served: Served, path: str) -> None:
    assert await served.anonymous().get(path) == (200, {"text": "ok"})


async def test_access_is_denied_until_the_trusted_ca_is_known(world: World) -> None:
    tls, identity = ServerTls(), make(HOST, datetime.now(UTC))
    context = ssl.create_default_context(cadata=identity.authorities)
    async with run_adapter(world, tls) as port:
        with pytest.raises(aiohttp.ClientError):
            await Client(port, context).get("/healthz")
        tls.set_identity(identity)
        with pytest.raises(aiohttp.ClientError):
            await Client(port, context).get("/healthz")
        tls.set_client_config(RequestHeaderConfig(""))
        assert (await Client(port, context).get("/healthz"))[0] == 200
        assert (await Client(port, context).get(metric()))[0] == 401


# Access reviews


async def test_metric_requires_permission_for_a_pod_subresource(served: Served) -> None:
    headers = CIMultiDict(
        [
            ("X-Remote-User", "jane"),
            ("X-Remote-Group", "trainers"),
            ("X-Remote-Group", "doctors"),
            ("X-Remote-Extra-Authentication.kubernetes.io%2Fpod-name", "a"),
            ("X-Remote-Extra-Scopes", "b"),
            ("X-Remote-Extra-Scopes", "c"),
        ]
    )
    assert (await served.client().get(metric(name="demo-0"), headers))[0] == 200

    assert served.world.reviews == [
        {
            "user": "jane",
            "groups": ["trainers", "doctors", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/pod-name": ["a"], "scopes": ["b", "c"]},
            "resourceAttributes": {
                "group": "custom.metrics.k8s.io",
                "version": "v1beta2",
                "resource": "pods",
                "subresource": METRIC,
                "namespace": "sport",
                "name": "demo-0",
                "verb": "get",
            },
        }
    ]


async def test_page_requires_permission_for_its_path(served: Served) -> None:
    await served.client().get(f"{ROOT}/v1beta2")
    (asked,) = served.world.reviews
    assert asked["nonResourceAttributes"] == {"path": f"{ROOT}/v1beta2", "verb": "get"}


async def test_reviewed_path_is_the_served_path(served: Served) -> None:
    """The path is not normalized between the review and the response."""
    await served.client().get(f"{ROOT}/v1beta2/namespaces/sp%6Frt/pods/%2A/{METRIC}")
    attributes = served.world.reviews[0]["resourceAttributes"]
    assert (attributes["namespace"], attributes["name"]) == ("sport", "*")
    assert served.world.listed == [("sport", API_PODS)]


@pytest.mark.parametrize(("allowed", "seconds"), [(True, 10.0), (False, 5.0)])
async def test_review_is_cached_for_seconds(served: Served, allowed: bool, seconds: float) -> None:
    served.world.allowed = allowed
    client = served.client()
    for later in (0.0, seconds - 0.1, 0.2):
        served.world.clock += later
        await client.get(f"{ROOT}/v1beta2")
    assert len(served.world.reviews) == 2


async def test_review_is_cached_per_user_and_resource(served: Served) -> None:
    client = served.client()
    await client.get(metric(name="demo-0"))
    served.world.allowed = False
    assert (await client.get(metric(name="demo-1")))[0] == 403
    assert (await client.get(metric(name="demo-0"), {"X-Remote-User": "jane"}))[0] == 403
    assert (await client.get(metric(name="demo-0"), {**USER, "X-Remote-Group": "x"}))[0] == 403
    assert (await client.get(metric(name="demo-0")))[0] == 200, "kept"


async def test_review_cache_is_bounded_and_holds_no_errors() -> None:
    world = World(error=Transient("ApiServerUnreachable", "no answer"))
    reviews = SubjectAccessAuthorizer(world.review, lambda: world.clock)
    with pytest.raises(Transient):
        await reviews.allows(User("jane"), {})
    world.error = None
    for number in range(3000):
        assert await reviews.allows(User(f"user-{number}"), {})
    assert len(reviews._cache) <= MAX_CACHED


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


CERTIFICATE = {"notAfter": "Jun  1 12:00:00 2026 GMT", "subject": ((("commonName", "proxy"),),)}


@pytest.mark.parametrize(
    ("given", "groups"),
    [
        ([("X-User", "jane")], ("system:authenticated",)),
        ([("X-User", "jane"), ("X-Group", "system:authenticated")], ("system:authenticated",)),
        ([("X-User", "system:anonymous"), ("X-Group", "system:unauthenticated")], ("system:unauthenticated",)),
    ],
)
def test_every_user_but_the_anonymous_one_is_authenticated(
    given: list[tuple[str, str]], groups: tuple[str, ...]
) -> None:
    trusted = RequestHeaderConfig("ca", user_headers=("X-User",), group_headers=("X-Group",))
    assert authenticate(trusted, CERTIFICATE, headers(*given), 0.0).groups == groups


def test_first_configured_header_names_the_user() -> None:
    trusted = RequestHeaderConfig("ca", user_headers=("X-None", "X-Empty", "X-User"))
    found = authenticate(trusted, CERTIFICATE, headers(("X-Empty", ""), ("X-User", "jane")), 0.0)
    assert found.name == "jane"


@pytest.mark.parametrize("certificate", [None, {}, {**CERTIFICATE, "subject": ()}])
def test_certificate_without_a_name_is_not_trusted(certificate: Json | None) -> None:
    trusted = RequestHeaderConfig("ca", frozenset({"proxy"}), ("X-User",))
    with pytest.raises(Unauthorized):
        authenticate(trusted, certificate, headers(("X-User", "jane")), 0.0)
    with pytest.raises(Unauthorized):
        authenticate(None, CERTIFICATE, headers(("X-User", "jane")), 0.0)


@pytest.mark.parametrize("text", ["{", '"x"', "[1]", "null", '{"a": 1}'])
def test_malformed_list_is_reported(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RequestHeaderConfig.read({"requestheader-allowed-names": text})


def test_cluster_without_aggregation_trusts_no_client() -> None:
    assert RequestHeaderConfig.read({}) == RequestHeaderConfig("")


# Certificates are replaced at run time


async def test_renewed_certificate_is_used_and_open_connections_stay(served: Served) -> None:
    old = make(HOST, datetime.now(UTC) - timedelta(days=61))
    served.tls.set_identity(old)
    served = replace(served, identity=old)
    client = served.client()
    async with aiohttp.TCPConnector() as connector, aiohttp.ClientSession(connector=connector) as session:
        assert (await client.ask(session, metric()))[0] == 200
        served.tls.set_identity(new := renewed(old, HOST, datetime.now(UTC)))
        (kept,) = (one for connections in connector._conns.values() for one, _ in connections)
        assert (await client.ask(session, metric()))[0] == 200
        assert [one for connections in connector._conns.values() for one, _ in connections] == [kept]
    assert await _shown(served) == new.certificate != old.certificate


async def _shown(served: Served) -> str:
    _, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=served.context(), server_hostname=HOST)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return ssl.DER_cert_to_PEM_cert(shown)


async def test_client_that_is_no_longer_trusted_is_refused(served: Served, untrusted_ca: Certificates) -> None:
    old = served.client()
    async with aiohttp.ClientSession() as session:
        assert (await old.ask(session, metric()))[0] == 200
        served.tls.set_client_config(trust(untrusted_ca))
        with pytest.raises((aiohttp.ClientError, ssl.SSLError, ConnectionError)):
            await old.ask(session, metric())
        served.tls.set_client_config(trust(served.front))
        assert (await old.ask(session, metric()))[0] == 200, "the connection is trusted again"
        # The new configuration trusts more than before, so existing connections stay valid.
        served.tls.set_client_config(
            trust(served.front, authorities=served.front.ca.read_text() + untrusted_ca.ca.read_text())
        )
        assert (await old.ask(session, metric()))[0] == 200
        assert (await served.client(untrusted_ca).get(metric()))[0] == 200


@pytest.mark.parametrize("text", ["nothing", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
async def test_invalid_certificate_changes_nothing(served: Served, text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        served.tls.set_client_config(trust(served.front, authorities=text))
    with pytest.raises(ValueError, match=r"."):
        served.tls.set_identity(replace(served.identity, certificate=text))
    assert (await served.client().get(metric()))[0] == 200


def test_key_is_not_left_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tls = ServerTls()
    tls.set_identity(make(HOST, NOW))
    tls.set_client_config(RequestHeaderConfig(""))
    assert list(tmp_path.iterdir()) == []


# Discovery


async def test_discovery_lists_the_group_versions_and_metric(served: Served) -> None:
    client = served.client()
    versions = [{"groupVersion": f"custom.metrics.k8s.io/{version}", "version": version} for version in VERSIONS]
    group = {"name": "custom.metrics.k8s.io", "versions": versions, "preferredVersion": versions[0]}

    assert await client.get("/apis") == (200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})
    assert await client.get(ROOT) == (200, {"kind": "APIGroup", "apiVersion": "v1", **group})
    for version in VERSIONS:
        code, body = await client.get(f"{ROOT}/{version}")
        assert (code, body["kind"], body["groupVersion"]) == (
            200,
            "APIResourceList",
            f"custom.metrics.k8s.io/{version}",
        )
        assert body["resources"] == [
            {
                "name": f"pods/{METRIC}",
                "singularName": "",
                "namespaced": True,
                "kind": "MetricValueList",
                "verbs": ["get"],
            }
        ]


async def test_openapi_document_is_empty(served: Served) -> None:
    client = served.client()
    assert (await client.get("/openapi/v2"))[1]["swagger"] == "2.0"
    assert (await client.get("/openapi/v3"))[1] == {"paths": {}}


# Not found


@pytest.mark.parametrize(
    "path",
    [
        metric(metric="http_requests"),
        metric(name="demo-9"),
        metric("v1"),
        f"{ROOT}/v1",
        f"{ROOT}/v1beta2/namespaces/sport/services/demo/{METRIC}",
        f"{ROOT}/v1beta2/namespaces/sport/metrics/{METRIC}",
        f"{ROOT}/v1beta2/nodes/one/{METRIC}",
        "/metrics",
        "/api",
    ],
)
async def test_unknown_path_gets_a_status_object(served: Served, path: str) -> None:
    code, body = await served.client().get(path)
    assert is_status(body, code, "NotFound")
    assert code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_writes_are_refused(served: Served, method: str) -> None:
    code, body = await served.client().get(metric(), method=method)
    assert is_status(body, code, "MethodNotAllowed")
    assert code == 405
    assert (await served.anonymous().get(metric(), method=method))[0] == 401


async def test_malformed_selector_gets_400(served: Served) -> None:
    client = served.client()
    await client.get(metric())  # whose review is cached
    served.world.error = Terminal("Invalid", "unable to parse requirement")
    code, body = await client.get(metric(), labelSelector="a in (")
    assert is_status(body, code, "BadRequest")
    assert code == 400
    assert body["message"] == "unable to parse requirement"


async def test_metric_label_selectors_are_refused(served: Served) -> None:
    code, body = await served.client().get(metric(), metricLabelSelector="a=b")
    assert is_status(body, code, "BadRequest")
    assert code == 400


async def test_failure_to_list_pods_is_an_error(served: Served) -> None:
    client = served.client()
    await client.get(metric())
    served.world.clock += 3.0
    served.world.error = Transient("Http500", "etcd")
    code, body = await client.get(metric())
    assert is_status(body, code, "ServiceUnavailable")
    assert code == 503


async def test_internal_error_reveals_nothing(served: Served) -> None:
    served.world.pods.append({"metadata": {}, "status": {"phase": "Running", "podIP": "x"}})
    code, body = await served.client().get(metric())
    assert is_status(body, code, "InternalError")
    assert code == 500
    assert "KeyError" not in str(body)
