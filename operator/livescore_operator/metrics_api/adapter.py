"""The metrics adapter: custom.metrics.k8s.io for the open WebSockets of API pods, so that any HPA can scale on them.

It is an aggregated API server: the API server sends on what it is asked below ``/apis/custom.metrics.k8s.io``. There is
one metric, of pods; its values are read from the pods when somebody asks for them. Every answer that is none is a
``Status`` object, as clients of Kubernetes expect it.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from livescore_operator.errors import ReconcileError, Terminal
from livescore_operator.metrics_api.access import ServerTls, SubjectAccessAuthorizer, Unauthorized, caller
from livescore_operator.pod_client import read
from livescore_operator.resource import MANAGEMENT_PORT, METRIC, Manifest, timestamp

log = structlog.get_logger(__name__)

GROUP = "custom.metrics.k8s.io"
VERSIONS = ("v1beta2", "v1beta1")
"""The preferred one first."""

# What the pods of every LiveScore's API carry.
API_PODS = "app.kubernetes.io/name=livescore,app.kubernetes.io/component=api"

# Seconds for which those who ask for the same pods share a reading: an HPA asks every 15 s, and people in between.
SHARED_SECONDS = 2.0

# Without a certificate, and without rights: all that they tell is that somebody is there.
PROBES = frozenset({"/healthz", "/livez", "/readyz"})

# Where Kubernetes has a word of its own for what HTTP calls otherwise.
REASONS = {500: "InternalError"}

Pods = Callable[[str, str], Awaitable[Sequence[Manifest]]]
"""The pods of a namespace that a label selector takes. Raises ReconcileError."""

Connections = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]
"""Open WebSockets by address; those that do not answer are missing."""


async def connections(addresses: Sequence[str], port: int = MANAGEMENT_PORT) -> Mapping[str, int]:
    """Open WebSockets by pod address, from the management ports of the pods."""
    return {address: one.connections for address, one in (await read(addresses, port)).items()}


class HttpError(Exception):
    """An answer that is none."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


# Values


@dataclass(frozen=True)
class Reading:
    """Open WebSockets by pod, and when that was so."""

    at: datetime
    counts: Mapping[str, int]


class MetricsProvider:
    """What the pods say. A pod that does not answer is missing: an HPA knows what to make of that.

    Args:
        pods: finds them.
        connections: asks them.
        clock: monotonic seconds.
        now: the time that values are marked with.
    """

    def __init__(
        self,
        pods: Pods,
        connections: Connections = connections,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pods, self._connections = pods, connections
        self._clock, self._now = clock, now
        self._shared: dict[tuple[str, str], tuple[float, asyncio.Task[Reading]]] = {}

    async def read(self, namespace: str, selector: str = "") -> Reading:
        """The API pods of a namespace that a label selector takes.

        Raises:
            ReconcileError: the pods cannot be found.
        """
        now, key = self._clock(), (namespace, selector)
        self._shared = {of: one for of, one in self._shared.items() if now - one[0] < SHARED_SECONDS}
        if key not in self._shared:
            self._shared[key] = (now, asyncio.create_task(self._ask(namespace, selector)))
        # One who hangs up leaves the others their reading.
        return await asyncio.shield(self._shared[key][1])

    async def _ask(self, namespace: str, selector: str) -> Reading:
        found = await self._pods(namespace, f"{API_PODS},{selector}" if selector else API_PODS)
        addresses = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in found if _answers(pod)}
        counts = await self._connections(list(addresses.values()))
        known = {name: counts[address] for name, address in addresses.items() if address in counts}
        return Reading(self._now(), known)


def _answers(pod: Manifest) -> bool:
    """Whether anybody would answer, and is there to stay."""
    status = pod.get("status") or {}
    running = status.get("phase") == "Running" and bool(status.get("podIP"))
    return running and not pod["metadata"].get("deletionTimestamp")


# HTTP


class Adapter:
    """What is answered.

    Args:
        tls: knows who is trusted to say for whom is asked.
        authorizer: knows what those may.
        metrics: its values.
        now: seconds since 1970, to see whether a certificate has expired.
    """

    def __init__(
        self,
        tls: ServerTls,
        authorizer: SubjectAccessAuthorizer,
        metrics: MetricsProvider,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._tls, self._authorizer, self._metrics, self._now = tls, authorizer, metrics, now

    def application(self) -> web.Application:
        """What a server with the tls's context serves."""
        application = web.Application(middlewares=[self._guard])
        get = application.router.add_get
        for path in sorted(PROBES):
            get(path, _probe)
        get("/apis", _groups)
        get(f"/apis/{GROUP}", _group)
        get("/openapi/v2", _openapi_2)
        get("/openapi/v3", _openapi_3)
        versions = "|".join(VERSIONS)
        get(f"/apis/{GROUP}/{{version:{versions}}}", _resources)
        get(
            f"/apis/{GROUP}/{{version:{versions}}}/namespaces/{{namespace}}/{{resource}}/{{name}}/{{metric}}",
            self._metric,
        )
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let only those in who may, and make a Status of everything that goes wrong."""
        try:
            if request.path not in PROBES:
                await self._admit(request)
            return await handler(request)
        except Unauthorized as error:
            return _status(401, str(error))
        except HttpError as error:
            return _status(error.code, str(error))
        except web.HTTPException as error:
            return _status(error.status, error.reason)
        except ReconcileError as error:
            return _status(400 if isinstance(error, Terminal) else 503, error.message)
        except Exception:
            log.exception("the metrics adapter failed", path=request.path)
            return _status(500, "see the log of the operator")

    async def _admit(self, request: web.Request) -> None:
        connection: ssl.SSLObject | None = request.get_extra_info("ssl_object")
        if connection is None or not self._tls.is_current(connection):
            # Closed without an answer: clients that keep connections ask again on a new one.
            request.protocol.force_close()
            raise Unauthorized("this connection was opened to others")
        asking = caller(self._tls.config, connection.getpeercert(), request.headers, self._now())
        if request.method not in ("GET", "HEAD"):
            raise HttpError(405, f"{request.method} is not supported: metrics are read")
        if not await self._authorizer.allows(asking, _attributes(request)):
            raise HttpError(403, f'User "{asking.user}" cannot get {request.path}')

    async def _metric(self, request: web.Request) -> web.Response:
        version, namespace, resource, name, metric = _parts(request)
        if (resource, metric) != ("pods", METRIC):
            raise HttpError(404, f"there is no metric {metric} of {resource}, only {METRIC} of pods")
        if request.query.get("metricLabelSelector"):
            raise HttpError(400, f"{METRIC} has no labels: leave metricLabelSelector out")
        reading = await self._metrics.read(namespace, request.query.get("labelSelector", "") if name == "*" else "")
        counts = reading.counts if name == "*" else _only(reading.counts, namespace, name)
        items = [_value(version, namespace, pod, count, reading.at) for pod, count in sorted(counts.items())]
        return web.json_response(_object(f"{GROUP}/{version}", "MetricValueList", metadata={}, items=items))


def _parts(request: web.Request) -> tuple[str, str, str, str, str]:
    found = request.match_info
    return found["version"], found["namespace"], found["resource"], found["name"], found["metric"]


def _only(counts: Mapping[str, int], namespace: str, name: str) -> Mapping[str, int]:
    if name not in counts:
        raise HttpError(404, f"no API pod {name} in namespace {namespace} tells its connections")
    return {name: counts[name]}


def _attributes(request: web.Request) -> Manifest:
    """What is asked for, as a SubjectAccessReview says it."""
    if "metric" not in request.match_info:
        return {"nonResourceAttributes": {"path": request.path, "verb": "get"}}
    version, namespace, resource, name, metric = _parts(request)
    attributes = {"group": GROUP, "version": version, "resource": resource, "subresource": metric}
    return {"resourceAttributes": {**attributes, "namespace": namespace, "name": name, "verb": "get"}}


def _value(version: str, namespace: str, pod: str, count: int, at: datetime) -> Manifest:
    metric = {"metric": {"name": METRIC, "selector": None}} if version == "v1beta2" else {"metricName": METRIC}
    return {
        "describedObject": {"kind": "Pod", "namespace": namespace, "name": pod, "apiVersion": "v1"},
        **metric,
        "timestamp": timestamp(at),
        "value": str(count),
    }


# Discovery


async def _probe(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _groups(_: web.Request) -> web.Response:
    return web.json_response(_object("v1", "APIGroupList", groups=[_group_itself()]))


async def _group(_: web.Request) -> web.Response:
    return web.json_response(_object("v1", "APIGroup", **_group_itself()))


def _group_itself() -> Manifest:
    versions = [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in VERSIONS]
    return {"name": GROUP, "versions": versions, "preferredVersion": versions[0]}


async def _resources(request: web.Request) -> web.Response:
    version = request.match_info["version"]
    resource = {"name": f"pods/{METRIC}", "singularName": "", "namespaced": True, "kind": "MetricValueList"}
    resources = [{**resource, "verbs": ["get"]}]
    return web.json_response(_object("v1", "APIResourceList", groupVersion=f"{GROUP}/{version}", resources=resources))


async def _openapi_2(_: web.Request) -> web.Response:
    """Whole, and without anything in it: the API server asks again and again for what it does not get."""
    info = {"title": "LiveScore metrics", "version": VERSIONS[0]}
    return web.json_response({"swagger": "2.0", "info": info, "paths": {}})


async def _openapi_3(_: web.Request) -> web.Response:
    return web.json_response({"paths": {}})


def _object(api_version: str, kind: str, **body: object) -> Manifest:
    return {"kind": kind, "apiVersion": api_version, **body}


def _status(code: int, message: str) -> web.Response:
    reason = REASONS.get(code) or HTTPStatus(code).phrase.title().replace(" ", "")
    body = _object("v1", "Status", metadata={}, status="Failure", message=message, reason=reason, code=code)
    return web.json_response(body, status=code)
