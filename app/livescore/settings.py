"""Every setting of the service: its default, its unit and the reason for both.

The environment variable is the field's name in capitals. ``docs/settings.md`` lists them all and a test keeps it equal.
"""

import os
import re
import socket
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from livescore import web_origin
from livescore.rate import Rate
from livescore.redis_url import RedisUrl


def _split(value: Any) -> Any:
    """Read ``a, b`` as ``["a", "b"]``: people write lists in the environment with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _rate_limit(text: str) -> str:
    Rate.parse(text)
    return text


def _redis_url(url: SecretStr) -> SecretStr:
    RedisUrl.parse(url.get_secret_value())
    return url


def _redis_prefix(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text, re.ASCII) is None:
        raise ValueError("must be 1 to 64 letters, digits, hyphens and underscores")
    return text


RedisPrefix = Annotated[str, AfterValidator(_redis_prefix)]
RateLimitText = Annotated[str, AfterValidator(_rate_limit)]
RedisUrlText = Annotated[SecretStr, AfterValidator(_redis_url)]
OriginList = Annotated[list[str], NoDecode, BeforeValidator(web_origin.parse_list)]
StringList = Annotated[list[str], NoDecode, BeforeValidator(_split)]
NetworkList = Annotated[list[IPvAnyNetwork], NoDecode, BeforeValidator(_split)]


PRODUCTION = ("production", "prod")
"""Names of ``ENVIRONMENT``, in any case, in which writes need a key from the start."""


class Settings(BaseSettings):
    """The configuration of one process. Invalid values are reported all at once by :func:`load`."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True, env_ignore_empty=True)

    # Where things are
    database_url: SecretStr = Field(
        description="PostgreSQL, as `postgresql://user:password@host:port/database`. The source of truth."
    )
    redis_url: RedisUrlText = Field(
        description=(
            "Redis or Valkey. Carries hints, never the truth. One server: `redis://…`, `rediss://…` or `unix://…`. "
            "Behind Sentinel: `redis+sentinel://user:password@host:26379,host2:26379/service-name/database`; the user, "
            "password and database are optional, and Sentinels that need no password are asked without one. "
            "A cluster: `redis+cluster://user:password@host:6379,host2:6379`, where RQ's hints are off. "
            "`rediss+sentinel://` and `rediss+cluster://` use TLS."
        )
    )
    redis_prefix: RedisPrefix = Field(
        "livescore",
        description=(
            "Beginning of every key and channel on Redis, before the id of the deployment. Letters, digits, hyphens "
            "and underscores. The same for API, worker and scheduler."
        ),
    )
    environment: str = Field(
        "development",
        description=(
            "Name of the deployment, shown by `/health` and in the logs. `production` (or `prod`) refuses writes until "
            "an API key exists."
        ),
    )
    host: str = Field(
        "*", description="Address that clients reach; `*` for every IPv4 and IPv6 address of the machine."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port that clients reach.")
    management_host: str = Field("*", description="Address of metrics, probes and drain; `*` for every one.")
    management_port: int = Field(
        9100, ge=0, le=65535, description="Port of metrics, probes and drain; no client may reach it."
    )
    management_allowed_hosts: StringList = Field(
        default_factory=list,
        description=(
            "Names in `Host` that the management ports answer to, separated by commas; `*.example.com` for all below. "
            "IP addresses, `localhost`, the own host name and names within a cluster (`*.svc`, `*.cluster.local`) "
            "always work."
        ),
    )
    instance: str = Field(
        default_factory=socket.gethostname,
        description="Name of this process in `welcome` and logs; the host's (the pod's) name by default.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe level logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is `console` on a terminal and `json` elsewhere."
    )

    # PostgreSQL and Redis
    database_pool_size: int = Field(
        10, ge=1, le=200, description="Connections a process may hold; two cores keep about ten busy."
    )
    database_timeout_seconds: float = Field(
        5.0, gt=0, description="Longest a statement or the wait for a connection may take, then 503."
    )
    database_prepared_statements: Literal["auto", "on", "off"] = Field(
        "auto",
        description=(
            "Prepare statements on the server. `auto`: unless a pooler such as PgBouncer stands in between. `on` only "
            "behind PgBouncer 1.21 or newer with `max_prepared_statements`."
        ),
    )
    redis_timeout_seconds: float = Field(
        1.0, gt=0, description="Longest a Redis command may take; after it the feed carries the event."
    )

    # Real time
    audit_interval_seconds: float = Field(
        2.0,
        gt=0,
        description="How often the served matches are compared with the feed: the longest a lost publish hides.",
    )
    poll_interval_seconds: float = Field(
        0.25, gt=0, description="How often the feed is read while Redis is away: the delay of events meanwhile."
    )
    ping_interval_seconds: float = Field(
        30.0, gt=0, description="Between WebSocket pings; who has not answered by the next one is dropped."
    )
    max_subscriptions: int = Field(
        50, ge=1, description="Single matches one socket may follow; more use `subscribeAll`."
    )
    inbound_burst: int = Field(20, ge=1, description="Messages one socket may send at once (token bucket).")
    inbound_per_second: float = Field(10.0, gt=0, description="Messages per second that refill the bucket.")
    max_frame_bytes: int = Field(1_048_576, ge=1024, description="Largest WebSocket message accepted; above it 1009.")
    slow_consumer_bytes: int = Field(
        1_000_000, ge=1024, description="Unsent bytes after which a socket is closed with 1013; it can resume."
    )
    max_connections: int = Field(
        50_000,
        ge=1,
        description=(
            "WebSockets, streams and unfinished requests of one process (503 above): a bound on memory, 8 KB each."
        ),
    )
    max_connections_per_address: int = Field(
        5_000, ge=1, description="The same of one client address (429 above); large for shared NAT addresses."
    )
    recent_events: int = Field(
        128, ge=0, description="Events a process remembers per served match, so that resuming costs no query."
    )

    # Planned stops
    drain_grace_seconds: float = Field(
        0.0,
        ge=0,
        description="Wait before sockets are closed, so that load balancers forget this process; 5 in Kubernetes.",
    )
    drain_seconds: float = Field(
        10.0, ge=0, description="Time over which the sockets of a stopping process are closed."
    )
    reconnect_spread_seconds: float = Field(
        5.0, ge=0, description="Reconnect hints are drawn at random up to this, so that clients do not return at once."
    )

    # HTTP
    max_body_bytes: int = Field(102_400, ge=1024, description="Largest request body (100 kB); above it 413.")
    max_header_bytes: int = Field(
        32_768, ge=1024, description="Largest request head; above it, and above 100 fields, 431."
    )
    request_timeout_seconds: float = Field(
        10.0, gt=0, description="Longest a client may take to send a request's head, and again its body; then 408."
    )
    idempotency_ttl_hours: float = Field(24.0, gt=0, description="How long the answer to an `Idempotency-Key` is kept.")
    event_retention_days: float | None = Field(
        None, gt=0, description="Events of matches finished longer ago are pruned; unset keeps them for ever."
    )

    # Security
    security_mode: Literal["DRY_RUN", "LIVE"] = Field(
        "DRY_RUN", description="`LIVE` enforces the limits below, `DRY_RUN` only logs what it would refuse."
    )
    http_limit: RateLimitText = Field("50 per 10 seconds", description="HTTP requests per client address.")
    handshake_limit: RateLimitText = Field("5 per 2 seconds", description="WebSocket handshakes per client address.")
    trusted_proxies: NetworkList = Field(
        default_factory=list, description="Networks whose `X-Forwarded-For` is believed, separated by commas."
    )
    allowed_origins: OriginList = Field(
        default_factory=list,
        description=(
            "Browser origins that may call and open WebSockets, as `https://app.example.com`, separated by commas; `*` "
            "for all, `null` for local files and sandboxed frames, unset for none but this service's own."
        ),
    )
    read_keys_required: bool = Field(
        False, description="Reads and `/ws` need a key too. While there is no valid key, the API is not ready."
    )
    allow_anonymous_writes: bool = Field(
        False, description="Writes need no key, in production too and where keys exist; a wrong key is still refused."
    )
    api_keys_file: Path | None = Field(
        None,
        description="JSON file of hashed keys, as `livescore keys create --json` prints them, e.g. a mounted Secret.",
    )
    admin_key_file: Path | None = Field(
        None,
        description=(
            "File with one key of scope `admin` in plain text, e.g. a mounted Secret: valid until the file holds "
            "another one. At least 16 characters."
        ),
    )
    dev_api_key: SecretStr | None = Field(None, description="A key that may write, for development.")

    # Jobs
    scheduler_interval_seconds: float = Field(
        0.1, gt=0, description="How often rq-scheduler looks for due jobs; its own default of 60 s is far too late."
    )
    sweep_interval_seconds: float = Field(
        1.0, gt=0, description="How often due transitions are looked for in the table, whatever happened to the jobs."
    )

    # Development
    data_dir: Path = Field(Path(".data"), description="Where `livescore dev` keeps PostgreSQL and Valkey.")
    instances: int = Field(1, ge=1, le=16, description="API processes that `livescore dev` starts, on `PORT`+n.")

    @property
    def is_production(self) -> bool:
        """Whether this deployment must not be open to everybody by default."""
        return self.environment.strip().casefold() in PRODUCTION


class SettingsError(Exception):
    """The environment does not describe a configuration; ``problems`` names every fault."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["invalid configuration:", *(f"  {problem}" for problem in problems)]))


def load(**overrides: Any) -> Settings:
    """Read the settings from the environment; ``overrides`` win.

    Raises:
        SettingsError: naming every invalid or missing variable at once, never its value.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError([_problem(issue["loc"], issue["msg"]) for issue in error.errors()]) from None


def _problem(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]).upper() if location else "settings"
    return f"{name}: {'is required' if message == 'Field required' else message.removeprefix('Value error, ')}"


@cache
def commit() -> str:
    """The commit this image was built from, or ``unknown``."""
    return os.environ.get("LIVESCORE_COMMIT", "unknown")
