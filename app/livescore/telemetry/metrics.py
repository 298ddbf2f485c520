"""Prometheus metrics. Names are stable, and clients cannot create label values.

The registry is this module's own, so that libraries cannot add metrics by being imported.
"""

from functools import cache
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from livescore import outages
from livescore.event_types import EVENT_TYPES

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

# Seconds. A flush to thousands of sockets takes milliseconds; an event arrives about a millisecond after its commit.
_FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
# Seconds. A cached response takes half a millisecond, a long poll up to 25 s.
_REQUEST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
# Seconds. The target is 0.3 s, the sweep is late by at most 2 s, and an outage may last minutes.
_LATENESS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 30.0, 300.0)
# Seconds. A transition takes milliseconds, a webhook receiver may take 15 s, and an import minutes.
_JOB = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 600.0)

CONNECTIONS = Gauge("livescore_websocket_connections", "Open WebSocket connections.", registry=REGISTRY)
STREAMS = Gauge("livescore_stream_connections", "Open server-sent event streams.", registry=REGISTRY)
LONG_POLLS = Gauge("livescore_long_polls", "Long polls that wait for an event.", registry=REGISTRY)
SUBSCRIPTIONS = Gauge("livescore_subscriptions", "Single-match subscriptions of all sockets.", registry=REGISTRY)
EVENTS = Counter("livescore_events", "Events received for local subscribers.", ["type"], registry=REGISTRY)
DELIVERIES = Counter("livescore_deliveries", "Events written to sockets, once per socket.", registry=REGISTRY)
DELIVERED_BYTES = Counter("livescore_delivered_bytes", "Bytes of events written to sockets.", registry=REGISTRY)
FANOUT_SECONDS = Histogram(
    "livescore_fanout_seconds", "From an event's arrival to its last write.", buckets=_FAST, registry=REGISTRY
)
RELAY_LAG_SECONDS = Histogram(
    "livescore_relay_lag_seconds", "From an event's commit to its arrival here.", buckets=_FAST, registry=REGISTRY
)
GAPS_HEALED = Counter(
    "livescore_gaps_healed", "Events read from PostgreSQL because Redis did not deliver them.", registry=REGISTRY
)
FOREIGN_MESSAGES = Counter(
    "livescore_foreign_messages",
    "Messages on this deployment's channels that were dropped because they are not its events.",
    ["reason"],
    registry=REGISTRY,
)
LOOP_FAILURES = Counter(
    "livescore_loop_failures", "Unexpected ends of background loops, which are restarted.", ["loop"], registry=REGISTRY
)
SLOW_CONSUMERS_CLOSED = Counter(
    "livescore_slow_consumers_closed",
    "Sockets (1013), streams and other connections closed because the client did not read.",
    registry=REGISTRY,
)
FLOODERS_CLOSED = Counter(
    "livescore_flooders_closed", "Sockets closed with 1008 because they sent too many frames.", registry=REGISTRY
)
SOCKETS_CLOSED = Counter("livescore_sockets_closed", "Closed sockets by close code.", ["code"], registry=REGISTRY)
TRANSITIONS = Counter("livescore_transitions", "Status changes by the clock.", ["to"], registry=REGISTRY)
TRANSITION_LATENESS_SECONDS = Histogram(
    "livescore_transition_lateness_seconds",
    "From the time at which a status change was due to its commit.",
    buckets=_LATENESS,
    registry=REGISTRY,
)
JOBS = Counter("livescore_jobs", "Ended jobs by function and result.", ["function", "result"], registry=REGISTRY)
JOB_SECONDS = Histogram("livescore_job_seconds", "Duration of jobs.", ["function"], buckets=_JOB, registry=REGISTRY)
QUEUE_DEPTH = Gauge("livescore_queue_depth", "Jobs that wait for a worker.", ["queue"], registry=REGISTRY)
QUEUE_OLDEST_AGE_SECONDS = Gauge(
    "livescore_queue_oldest_age_seconds",
    "Seconds for which the oldest job of a queue has waited for a worker.",
    ["queue"],
    registry=REGISTRY,
)
WEBHOOK_ATTEMPTS = Counter(
    "livescore_webhook_attempts",
    "Requests to endpoints of webhooks: delivered, temporary failure, refused or gone.",
    ["outcome"],
    registry=REGISTRY,
)
WEBHOOK_REQUEST_SECONDS = Histogram(
    "livescore_webhook_request_seconds", "Duration of a request to an endpoint.", buckets=_REQUEST, registry=REGISTRY
)
WEBHOOK_DELAY_SECONDS = Histogram(
    "livescore_webhook_delay_seconds",
    "From an event's commit to its delivery to an endpoint.",
    buckets=_LATENESS,
    registry=REGISTRY,
)
WEBHOOK_OLDEST_SECONDS = Gauge(
    "livescore_webhook_oldest_undelivered_seconds",
    "Age of the oldest event that waits for delivery to an enabled webhook; 0 without any.",
    registry=REGISTRY,
)
WEBHOOKS_IN_FLIGHT = Gauge(
    "livescore_webhooks_in_flight", "Webhook and match pairs that this process delivers from now.", registry=REGISTRY
)
HTTP_REQUESTS = Counter(
    "livescore_http_requests", "Requests by route template.", ["method", "route", "status"], registry=REGISTRY
)
HTTP_REQUEST_SECONDS = Histogram(
    "livescore_http_request_seconds",
    "From the arrival of a request to the head of its response.",
    ["route"],
    buckets=_REQUEST,
    registry=REGISTRY,
)
RATE_LIMITED = Counter(
    "livescore_rate_limited",
    "Requests that exceeded a limit: refused (LIVE) or logged (DRY_RUN).",
    ["kind", "mode"],
    registry=REGISTRY,
)
REDIS_UP = Gauge("livescore_redis_up", "1 while Redis answers.", registry=REGISTRY)
DATABASE_UP = Gauge("livescore_database_up", "1 while PostgreSQL answers and takes writes.", registry=REGISTRY)
REDIS_UP.set_function(lambda: outages.REDIS.up)
DATABASE_UP.set_function(lambda: outages.POSTGRESQL.up and not outages.POSTGRESQL_WRITES.is_failing())

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Close codes of RFC 6455 and its registry. Clients may send any others.
_CLOSE_CODES = range(1000, 1016)
# Label of requests that match no route.
UNMATCHED_ROUTE = "unmatched"


@cache
def _events(type_: str) -> Counter:
    return EVENTS.labels(type_)


@cache
def _rate_limited(kind: str, mode: str) -> Counter:
    return RATE_LIMITED.labels(kind, mode)


def event(type_: str) -> None:
    """Count an event by its type."""
    _events(type_ if type_ in EVENT_TYPES else "other").inc()


def loop_failed(name: str) -> None:
    """Count one unexpected end of a background loop; the names are this service's own small set."""
    LOOP_FAILURES.labels(name).inc()


def foreign_message(reason: Literal["malformed", "deployment", "epoch"]) -> None:
    """Count a message that is not an event of this database."""
    FOREIGN_MESSAGES.labels(reason).inc()


def socket_closed(code: int) -> None:
    """Count a closed socket by its close code."""
    SOCKETS_CLOSED.labels(str(code) if code in _CLOSE_CODES else "other").inc()


def rate_limited(kind: str, mode: str) -> None:
    """Count a request that exceeded a limit. ``kind`` and ``mode`` are constants of this service."""
    _rate_limited(kind, mode).inc()


def refused(method: str, status: int) -> None:
    """Count one request that was answered before it reached a route; ``method`` is empty if it was not read."""
    HTTP_REQUESTS.labels(method if method in METHODS else "other", UNMATCHED_ROUTE, str(status)).inc()


def webhook_attempt(outcome: str, seconds: float) -> None:
    """Count a request to an endpoint. ``outcome`` is one of this service's own small set."""
    WEBHOOK_ATTEMPTS.labels(outcome).inc()
    WEBHOOK_REQUEST_SECONDS.observe(seconds)


def render() -> tuple[bytes, str]:
    """Return the body of ``/metrics`` and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
