"""The HTTP API of the metrics adapter: ``custom.metrics.k8s.io`` with the open WebSockets of API pods.

The API server forwards requests below ``/apis/custom.metrics.k8s.io``. There is one metric, of pods. Errors are
``Status`` objects, as Kubernetes clients expect.
"""

import ssl
import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from livescore_operator.errors import ReconcileError, Terminal
from livescore_operator.metrics_api.authentication import Unauthorized, authenticate
from livescore_operator.metrics_api.authorization import SubjectAccessAuthorizer
from livescore_operator.metrics_api.provider import MetricsProvider
from livescore_operator.metrics_api.tls import ServerTls
from livescore_operator.resource import METRIC, Manifest, timestamp

log = structlog.get_logger(__name__)

GROUP = "custom.metrics.k8s.io"
VERSIONS = ("v1beta2", "v1beta1")
"""Served versions, the preferred one first."""

# Served without authentication: they reveal only that the process is running.
PROBES = frozenset({"/healthz", "/livez", "/readyz"})

# Status codes for which the reason of Kubernetes differs from the phrase of HTTP.
REASONS = {500: "InternalError"}


class HttpError(Exception):
    """An HTTP error response."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _MetricPath(NamedTuple):
    """The parts of the path of a metric: ``/VERSION/namespaces/NAMESPACE/RESOURCE/NAME/METRIC``."""

    version: str
    namespace: str
    resource: str
    name: str
    metric: str

    @classmethod
    def of(cls, request: web.Request) -> "_MetricPath | None":
        """Return the parts; None if the request is not for a metric."""
        if "metric" not in request.match_info:
            return None
        return cls(*(request.match_info[field] for field in cls._fields))


class Adapter:
    """The HTTP API.

    Args:
        tls: The TLS context of the listener.
        authorizer: Reviews the rights of users.
        metrics: Reads the metric.
        now: Returns seconds since 1970, to reject expired client certificates.
    """

    def __init__(
        self,
        tls: ServerTls,
        authorizer: SubjectAccessAuthorizer,
        metrics: MetricsProvider,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._tls = tls
        self._authorizer = authorizer
        self._metrics = metrics
        self._now = now

    def application(self) -> web.Application:
        """Return the application to serve with the context of :class:`ServerTls`."""
        application = web.Application(middlewares=[self._guard])
        root = f"/apis/{GROUP}/{{version:{'|'.join(VERSIONS)}}}"
        get = application.router.add_get
        for path in sorted(PROBES):
            get(path, _probe)
        get("/apis", _group_list)
        get(f"/apis/{GROUP}", _group)
        get("/openapi/v2", _openapi_2)
        get("/openapi/v3", _openapi_3)
        get(root, _resource_list)
        get(f"{root}/namespaces/{{namespace}}/{{resource}}/{{name}}/{{metric}}", self._metric)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authorize every request except probes, and convert errors to Status objects."""
        try:
            if request.path not in PROBES:
                await self._authorize(request)
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
            log.exception("metrics adapter failed", path=request.path)
            return _status(500, "internal error; see the log of the operator")

    async def _authorize(self, request: web.Request) -> None:
        connection: ssl.SSLObject | None = request.get_extra_info("ssl_object")
        if connection is None or not self._tls.is_current(connection):
            # Close the connection, so that clients with keep-alive retry on a new one.
            request.protocol.force_close()
            raise Unauthorized("the client CA was replaced after this connection was opened")
        user = authenticate(self._tls.config, connection.getpeercert(), request.headers, self._now())
        if request.method not in ("GET", "HEAD"):
            raise HttpError(405, f"{request.method} is not supported: metrics are read-only")
        if not await self._authorizer.allows(user, _attributes(request)):
            raise HttpError(403, f'User "{user.name}" cannot get {request.path}')

    async def _metric(self, request: web.Request) -> web.Response:
        path = _MetricPath.of(request)
        if path is None or (path.resource, path.metric) != ("pods", METRIC):
            raise HttpError(404, f"the only metric is {METRIC} of pods")
        if request.query.get("metricLabelSelector"):
            raise HttpError(400, f"{METRIC} has no labels: remove metricLabelSelector")
        if path.name == "*":
            sample = await self._metrics.sample(path.namespace, request.query.get("labelSelector", ""))
            names = sorted(sample.connections)
        else:
            sample = await self._metrics.sample(path.namespace)
            if path.name not in sample.connections:
                message = f"no API pod {path.name} in namespace {path.namespace} reports its connections"
                raise HttpError(404, message)
            names = [path.name]
        items = [_value(path, name, sample.connections[name], sample.at) for name in names]
        body = _object(f"{GROUP}/{path.version}", "MetricValueList", metadata={}, items=items)
        return web.json_response(body)


def _attributes(request: web.Request) -> Manifest:
    """Return the attributes of the SubjectAccessReview for a request."""
    path = _MetricPath.of(request)
    if path is None:
        return {"nonResourceAttributes": {"path": request.path, "verb": "get"}}
    return {
        "resourceAttributes": {
            "group": GROUP,
            "version": path.version,
            "resource": path.resource,
            "subresource": path.metric,
            "namespace": path.namespace,
            "name": path.name,
            "verb": "get",
        }
    }


def _value(path: _MetricPath, pod: str, connections: int, at: datetime) -> Manifest:
    # v1beta1 names the metric by a string, v1beta2 by an object.
    metric: Manifest = {"metricName": METRIC}
    if path.version == "v1beta2":
        metric = {"metric": {"name": METRIC, "selector": None}}
    return {
        "describedObject": {"kind": "Pod", "namespace": path.namespace, "name": pod, "apiVersion": "v1"},
        **metric,
        "timestamp": timestamp(at),
        "value": str(connections),
    }


# Discovery


async def _probe(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _group_list(_: web.Request) -> web.Response:
    return web.json_response(_object("v1", "APIGroupList", groups=[_group_body()]))


async def _group(_: web.Request) -> web.Response:
    return web.json_response(_object("v1", "APIGroup", **_group_body()))


def _group_body() -> Manifest:
    versions = [{"groupVersion": f"{GROUP}/{version}", "version": version} for version in VERSIONS]
    return {"name": GROUP, "versions": versions, "preferredVersion": versions[0]}


async def _resource_list(request: web.Request) -> web.Response:
    resource = {
        "name": f"pods/{METRIC}",
        "singularName": "",
        "namespaced": True,
        "kind": "MetricValueList",
        "verbs": ["get"],
    }
    group_version = f"{GROUP}/{request.match_info['version']}"
    return web.json_response(_object("v1", "APIResourceList", groupVersion=group_version, resources=[resource]))


async def _openapi_2(_: web.Request) -> web.Response:
    """Serve an empty document. Without one the API server retries continuously."""
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
