"""Metrics: stable names, bounded labels, and the telemetry of each request."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from livescore.api.middleware import request_telemetry
from livescore.api.middleware.api_prefix import StripApiPrefix
from livescore.api.middleware.request_telemetry import RequestTelemetry
from livescore.telemetry import metrics

NAMES = [
    "livescore_websocket_connections",
    "livescore_subscriptions",
    "livescore_events_total",
    "livescore_deliveries_total",
    "livescore_delivered_bytes_total",
    "livescore_fanout_seconds_bucket",
    "livescore_relay_lag_seconds_bucket",
    "livescore_gaps_healed_total",
    "livescore_slow_consumers_closed_total",
    "livescore_flooders_closed_total",
    "livescore_sockets_closed_total",
    "livescore_transitions_total",
    "livescore_transition_lateness_seconds_bucket",
    "livescore_job_seconds_bucket",
    "livescore_jobs_total",
    "livescore_queue_depth",
    "livescore_queue_oldest_age_seconds",
    "livescore_http_requests_total",
    "livescore_http_request_seconds_bucket",
    "livescore_rate_limited_total",
    "livescore_redis_up",
    "livescore_database_up",
    "process_resident_memory_bytes",
    "python_gc_objects_collected_total",
    "python_info",
]


async def _one(_: Request) -> Response:
    return Response()


async def _failure(_: Request) -> Response:
    raise RuntimeError("broken")


async def _stream(_: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    return StreamingResponse(parts())


ROUTES = [
    Route("/matches/{number}/metrics-test", _one),
    Route("/metrics-test-failure", _failure),
    Route("/metrics-test-stream", _stream),
]


def _application() -> RequestTelemetry:
    return RequestTelemetry(Starlette(routes=ROUTES, middleware=[Middleware(StripApiPrefix)]))


async def _get(path: str, method: str = "GET", **options: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=_application(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, **options)


def _value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def _requests(method: str, route: str, status: str) -> float:
    return _value("livescore_http_requests_total", method=method, route=route, status=status)


def _use_every_metric() -> None:
    metrics.event("commentary")
    metrics.socket_closed(1000)
    metrics.rate_limited("http", "LIVE")
    metrics.TRANSITIONS.labels("live").inc()
    metrics.JOBS.labels("retention", "done").inc()
    metrics.JOB_SECONDS.labels("retention").observe(1)
    metrics.QUEUE_DEPTH.labels("transitions").set(1)
    metrics.QUEUE_OLDEST_AGE_SECONDS.labels("transitions").set(1)


@pytest.mark.parametrize("name", NAMES)
async def test_every_metric_is_rendered_under_its_name(name: str) -> None:
    _use_every_metric()
    await _get("/matches/1/metrics-test")
    body, content_type = metrics.render()
    assert re.search(rf"^{name}(\{{.*\}})? ", body.decode(), re.MULTILINE)
    assert content_type.startswith("text/plain")


def test_libraries_add_no_metrics_to_our_registry() -> None:
    from prometheus_client import Counter

    Counter("foreign_metric", "Registered in the global registry.")
    assert b"foreign_metric" not in metrics.render()[0]


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_requests_are_counted_and_timed_by_route_template(prefix: str) -> None:
    route = f"{prefix}/matches/{{number}}/metrics-test"
    counted, timed = _requests("GET", route, "200"), _value("livescore_http_request_seconds_count", route=route)
    await _get(f"{prefix}/matches/1/metrics-test")
    await _get(f"{prefix}/matches/2/metrics-test")
    assert _requests("GET", route, "200") == counted + 2
    assert _value("livescore_http_request_seconds_count", route=route) == timed + 2


async def test_unknown_paths_and_methods_create_no_labels() -> None:
    before = _requests("GET", "unmatched", "404"), _requests("other", "unmatched", "404")
    for number in range(5):
        await _get(f"/no-such-path/{number}")
        await _get("/no-such-path", method=f"BREW{number}")
    assert _requests("GET", "unmatched", "404") == before[0] + 5
    assert _requests("other", "unmatched", "404") == before[1] + 5
    assert b"no-such-path" not in metrics.render()[0]
    assert b"BREW" not in metrics.render()[0]
    assert not any(method.startswith("BREW") for method, _, _ in request_telemetry._recorders)


async def test_unknown_event_types_and_close_codes_create_no_labels() -> None:
    for number in range(5):
        metrics.event(f"invented-{number}")
        metrics.socket_closed(4000 + number)
    text = metrics.render()[0].decode()
    assert "invented" not in text
    assert 'code="400' not in text
    assert _value("livescore_events_total", type="other") >= 5
    assert _value("livescore_sockets_closed_total", code="other") >= 5


async def test_an_unhandled_error_counts_as_500() -> None:
    before = _requests("GET", "/metrics-test-failure", "500")
    response = await _get("/metrics-test-failure")
    assert response.status_code == 500
    assert response.headers["x-request-id"]
    assert _requests("GET", "/metrics-test-failure", "500") == before + 1


async def test_error_before_a_response_counts_as_500_and_propagates() -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    before = _requests("GET", "unmatched", "500")
    with pytest.raises(RuntimeError):
        await RequestTelemetry(broken)({"type": "http", "method": "GET", "headers": []}, _never, _nowhere)
    assert _requests("GET", "unmatched", "500") == before + 1


async def test_disconnected_client_counts_as_499() -> None:
    async def gone(*_: Any) -> None:
        return None

    before = _requests("GET", "unmatched", "499")
    await RequestTelemetry(gone)({"type": "http", "method": "GET", "headers": []}, _never, _nowhere)
    assert _requests("GET", "unmatched", "499") == before + 1


async def test_a_stream_is_counted_once() -> None:
    before = _requests("GET", "/metrics-test-stream", "200")
    assert (await _get("/metrics-test-stream")).content == b"onetwo"
    assert _requests("GET", "/metrics-test-stream", "200") == before + 1


async def test_every_response_has_its_own_request_id() -> None:
    identifiers = {
        (await _get(path)).headers["x-request-id"] for path in ("/matches/1/metrics-test", "/nowhere", "/nowhere")
    }
    assert len(identifiers) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) for name in identifiers)


@pytest.mark.parametrize("sane", ["abc", "A.b_c-1", "x" * 64])
async def test_valid_request_id_is_kept(sane: str) -> None:
    assert (await _get("/matches/1/metrics-test", headers={"X-Request-ID": sane})).headers["x-request-id"] == sane


@pytest.mark.parametrize("odd", ["", "x" * 65, "a b", "<script>", "ä".encode(), b"a\tb"])
async def test_invalid_request_id_is_replaced(odd: str | bytes) -> None:
    received = (await _get("/matches/1/metrics-test", headers=[(b"X-Request-ID", odd)])).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", received)


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_request_id_is_in_the_scope_state(kind: str) -> None:
    seen: list[str] = []

    async def application(scope: Any, *_: Any) -> None:
        seen.append(scope["state"]["request_id"])

    scope = {"type": kind, "method": "GET", "headers": [(b"x-request-id", b"mine")]}
    await RequestTelemetry(application)(scope, _never, _nowhere)
    assert seen == ["mine"]


async def _never() -> Any:
    await asyncio.Event().wait()


async def _nowhere(_: Any) -> None:
    return None
