"""All settings of the service.

The environment variable of a setting is the name of its field in capitals. ``docs/settings.md`` is generated from the
descriptions, and a test compares it with them.
"""

import os
import re
import socket
from contextlib import suppress
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from livescore import database_url, web_origin
from livescore.rate import Rate
from livescore.redis_url import RedisUrl


def _split(value: Any) -> Any:
    """Split a list in an environment variable at its commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _rate_limit(text: str) -> str:
    Rate.parse(text)
    return text


def _database_url(url: SecretStr) -> SecretStr:
    return SecretStr(database_url.parse(url.get_secret_value()))


def _redis_url(url: SecretStr) -> SecretStr:
    return SecretStr(RedisUrl.parse(url.get_secret_value()).text)


def _redis_prefix(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text, re.ASCII) is None:
        raise ValueError("must be 1 to 64 letters, digits, hyphens and underscores")
    return text


def _name(text: str) -> str:
    if not (text.isprintable() and len(text) <= MAX_NAME_LENGTH):
        raise ValueError(f"must be at most {MAX_NAME_LENGTH} printable characters")
    return text


def _host(text: str) -> str:
    if text == "*":
        return text
    with suppress(ValueError):
        return str(ip_address(text.removeprefix("[").removesuffix("]")))
    if _HOST_NAME.fullmatch(text) is None or len(text) > MAX_NAME_LENGTH:
        raise ValueError("must be an address such as 127.0.0.1 or ::1, the name of a host, or * for all addresses")
    return text


def _allowed_host(text: str) -> str:
    name = text.removesuffix(".")
    if _HOST_NAME.fullmatch(name.removeprefix("*.")) is None or len(name) > MAX_NAME_LENGTH:
        raise ValueError("must be the name of a host without scheme and port, or *.example.com for all below a name")
    return name


def _path(path: Path) -> Path:
    if not (str(path).isprintable() and len(str(path)) <= MAX_PATH_LENGTH):
        raise ValueError(f"must be at most {MAX_PATH_LENGTH} printable characters")
    return path


def _key(key: SecretStr) -> SecretStr:
    if re.fullmatch(r"[ -~]{1,256}", key.get_secret_value()) is None:
        raise ValueError("must be at most 256 printable characters of ASCII, as clients send it in a header")
    return key


MAX_NAME_LENGTH = 253
"""Most characters of a host name."""

MAX_PATH_LENGTH = 1_024

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)

_DAY_SECONDS = 86_400

# Times are bounded, so that PostgreSQL, the kernel and the clock can represent them. PostgreSQL rounds a time-out below
# a millisecond to 0, which means no time-out.
Seconds = Annotated[float, Field(ge=0.001, le=_DAY_SECONDS, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, le=_DAY_SECONDS, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1024, le=2**30)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]

Name = Annotated[str, AfterValidator(_name)]
Host = Annotated[str, AfterValidator(_host)]
FilePath = Annotated[Path, AfterValidator(_path)]
Key = Annotated[SecretStr, AfterValidator(_key)]
DatabaseUrlText = Annotated[SecretStr, AfterValidator(_database_url)]
RedisPrefix = Annotated[str, AfterValidator(_redis_prefix)]
RateLimitText = Annotated[str, AfterValidator(_rate_limit)]
RedisUrlText = Annotated[SecretStr, AfterValidator(_redis_url)]
OriginList = Annotated[list[str], NoDecode, BeforeValidator(web_origin.parse_list)]
AllowedHostList = Annotated[list[Annotated[str, AfterValidator(_allowed_host)]], NoDecode, BeforeValidator(_split)]
NetworkList = Annotated[list[IPvAnyNetwork], NoDecode, BeforeValidator(_split)]


PRODUCTION = ("production", "prod")
"""Values of ``ENVIRONMENT``, in any case, with which writes always need a key."""


class _Environment(EnvSettingsSource):
    """The environment variables. Blank variables count as unset, like empty ones."""

    def __call__(self) -> dict[str, Any]:
        """Return the values of the variables that are set."""
        return {name: value for name, value in super().__call__().items() if not _is_blank(value)}


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


class Settings(BaseSettings):
    """The configuration of a process. :func:`load` reports all invalid values at once."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True, env_ignore_empty=True)

    # Addresses and identity
    database_url: DatabaseUrlText = Field(
        description=(
            "PostgreSQL, as `postgresql://user:password@host:port/database`, with the parameters of libpq such as "
            "`sslmode`. The source of truth. Several hosts are separated by commas. The directory of a Unix socket is "
            "percent-encoded or given as `host=`. `postgres://` and `postgresql+psycopg://` mean the same."
        )
    )
    redis_url: RedisUrlText = Field(
        description=(
            "Redis or Valkey. Carries hints, never the truth. One server: `redis://…`, `rediss://…` or `unix://…`. "
            "Behind Sentinel: `redis+sentinel://user:password@host:26379,host2:26379/service-name/database`. User, "
            "password and database are optional. The password is not sent to Sentinels that need none. "
            "A cluster: `redis+cluster://user:password@host:6379,host2:6379`, where RQ's jobs are off. "
            "`rediss+sentinel://` and `rediss+cluster://` use TLS."
        )
    )
    redis_prefix: RedisPrefix = Field(
        "livescore",
        description=(
            "Prefix of every key and channel on Redis, before the id of the deployment. Letters, digits, hyphens and "
            "underscores. Must be the same for API, worker and scheduler."
        ),
    )
    environment: Name = Field(
        "development",
        description=(
            "Name of the environment, shown by `/health` and in the logs. With `production` (or `prod`), writes are "
            "refused until an API key exists."
        ),
    )
    host: Host = Field(
        "*", description="Address to listen on for clients; `*` for all IPv4 and IPv6 addresses of the machine."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port for clients.")
    management_host: Host = Field(
        "*", description="Address to listen on for metrics, probes and drain; `*` for all addresses."
    )
    management_port: int = Field(
        9100, ge=0, le=65535, description="Port for metrics, probes and drain. Clients must not have access to it."
    )
    management_allowed_hosts: AllowedHostList = Field(
        default_factory=list,
        description=(
            "Values of `Host` that the management ports accept, separated by commas; `*.example.com` for all its "
            "subdomains. IP addresses, `localhost`, the name of the machine and names within a cluster (`*.svc`, "
            "`*.cluster.local`) are always accepted."
        ),
    )
    instance: Name = Field(
        default_factory=socket.gethostname,
        description="Name of this process in `welcome` messages and logs. By default the name of the host or pod.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is logged.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="`auto` is `console` on a terminal and `json` elsewhere."
    )

    # PostgreSQL and Redis
    database_pool_size: int = Field(
        10, ge=1, le=200, description="Most connections of a process; about ten keep two cores busy."
    )
    database_timeout_seconds: Seconds = Field(
        5.0, description="Most seconds for a statement or the wait for a connection; then 503."
    )
    database_prepared_statements: Literal["auto", "on", "off"] = Field(
        "auto",
        description=(
            "Prepare statements on the server. `auto`: unless there is a pooler such as PgBouncer. With a pooler, `on` "
            "needs PgBouncer 1.21 or newer and its `max_prepared_statements`."
        ),
    )
    redis_timeout_seconds: Seconds = Field(
        1.0, description="Most seconds for a Redis command; then the event is read from PostgreSQL."
    )

    # Real time
    audit_interval_seconds: Seconds = Field(
        2.0,
        description=(
            "Seconds between audits, which compare served matches with PostgreSQL: the longest delay of an event "
            "whose publication was lost."
        ),
    )
    poll_interval_seconds: Seconds = Field(
        0.25, description="Seconds between reads of the feed while Redis is away; events are late by that."
    )
    ping_interval_seconds: Seconds = Field(
        30.0,
        description=(
            "Seconds between WebSocket pings. A socket that has not answered by the next ping is closed. A stream is "
            "ended if its client does not take a piece in this time, and a response if its client acknowledges less "
            "than 4 KiB of it."
        ),
    )
    max_subscriptions: Count = Field(
        50, description="Single matches that a socket may subscribe to; for more there is `subscribeAll`."
    )
    inbound_burst: int = Field(
        20, ge=1, le=1_000_000, description="Messages that a socket may send at once (token bucket)."
    )
    inbound_per_second: float = Field(
        10.0,
        ge=0.001,
        le=1_000_000,
        allow_inf_nan=False,
        description="Messages per second by which the bucket is refilled.",
    )
    max_frame_bytes: Bytes = Field(
        1_048_576, description="Largest WebSocket message; larger ones close the socket with 1009."
    )
    slow_consumer_bytes: Bytes = Field(
        1_000_000,
        description=(
            "Unsent bytes above which a socket is closed with 1013 and a stream is ended; the client can resume. Also "
            "the size of a page of events, at which a long poll is answered."
        ),
    )
    max_connections: Count = Field(
        50_000,
        description=(
            "WebSockets, streams, waiting long polls and unfinished requests of a process; 503 above. Bounds memory: "
            "each takes 8 KB."
        ),
    )
    max_connections_per_address: int = Field(
        5_000,
        ge=1,
        le=10_000_000,
        description=(
            "The same for one client address; 429 above. Large, because many clients may share an address (NAT)."
        ),
    )
    recent_events: int = Field(
        128,
        ge=0,
        le=1_000_000,
        description="Events per served match that a process keeps in memory, so that a resume needs no query.",
    )

    # Planned stops
    drain_grace_seconds: SecondsOrNone = Field(
        0.0,
        description=(
            "Seconds before sockets are closed, so that load balancers stop using this process; 5 in Kubernetes."
        ),
    )
    drain_seconds: SecondsOrNone = Field(
        10.0, description="Seconds over which the sockets of a stopping process are closed."
    )
    reconnect_spread_seconds: SecondsOrNone = Field(
        5.0,
        description=(
            "Upper bound in seconds of the random delay in reconnect hints, so that clients do not reconnect at once."
        ),
    )

    # HTTP
    max_body_bytes: Bytes = Field(102_400, description="Largest request body; larger ones get 413.")
    max_header_bytes: Bytes = Field(
        32_768, description="Largest request head; larger ones, and those with more than 100 fields, get 431."
    )
    request_timeout_seconds: Seconds = Field(
        10.0,
        description=(
            "Most seconds for a client to send the head of a request, and again for its body; then 408. The same for "
            "a WebSocket message, from its first byte to its last; then 1008."
        ),
    )
    idempotency_ttl_hours: float = Field(
        24.0,
        ge=0.001,
        le=87_600,
        allow_inf_nan=False,
        description="Hours for which the answer to an `Idempotency-Key` is stored.",
    )
    event_retention_days: float | None = Field(
        None,
        gt=0,
        le=36_525,
        allow_inf_nan=False,
        description="Days after which the events of a finished match are pruned; unset to keep all.",
    )

    # Security
    security_mode: Literal["DRY_RUN", "LIVE"] = Field(
        "DRY_RUN", description="`LIVE` enforces the limits below, `DRY_RUN` only logs requests that exceed them."
    )
    http_limit: RateLimitText = Field("50 per 10 seconds", description="HTTP requests per client address.")
    handshake_limit: RateLimitText = Field("5 per 2 seconds", description="WebSocket handshakes per client address.")
    trusted_proxies: NetworkList = Field(
        default_factory=list, description="Networks of proxies whose `X-Forwarded-For` is trusted, separated by commas."
    )
    allowed_origins: OriginList = Field(
        default_factory=list,
        description=(
            "Origins of web pages that may call this service and open WebSockets, such as `https://app.example.com`, "
            "separated by commas; `*` for all, `null` for local files and sandboxed frames. Its own origin is always "
            "allowed."
        ),
    )
    read_keys_required: bool = Field(
        False, description="Reads and `/ws` need a key too. Without a valid key, the API is not ready."
    )
    allow_anonymous_writes: bool = Field(
        False,
        description=(
            "Writes need no key, even in production and if keys exist. An invalid key is refused nevertheless."
        ),
    )
    api_keys_file: FilePath | None = Field(
        None,
        description=(
            "JSON file of hashed keys as printed by `livescore keys create --json`, for example a mounted Secret."
        ),
    )
    admin_key_file: FilePath | None = Field(
        None,
        description=(
            "File with a key of scope `admin` in plain text, at least 16 characters, for example a mounted Secret. The "
            "key is valid until the file contains another one."
        ),
    )
    dev_api_key: Key | None = Field(None, description="A key with scope `write`, for development.")

    # Jobs
    scheduler_interval_seconds: Seconds = Field(
        0.1, description="Seconds between rq-scheduler's searches for due jobs. Its own default is 60 s."
    )
    sweep_interval_seconds: Seconds = Field(
        1.0, description="Most seconds between sweeps, which move due matches even if their jobs were lost."
    )

    worker_concurrency: int = Field(
        16,
        ge=1,
        le=1_000,
        description=(
            "Most jobs of one queue that a worker runs at once, unless the queue has a limit of its own. No queue "
            "waits for another."
        ),
    )
    worker_grace_seconds: SecondsOrNone = Field(
        20.0,
        description=(
            "Most seconds for which a stopping worker waits for its running jobs; then they return to their queue."
        ),
    )

    # Webhooks
    webhook_allowed_networks: NetworkList = Field(
        default_factory=list,
        description=(
            "Networks that webhooks may lead to although they are not public, such as `10.42.0.0/16` for receivers in "
            "the cluster, separated by commas."
        ),
    )
    webhook_allow_http: bool = Field(
        False, description="Webhooks may use `http://`, which is not encrypted. For receivers in the cluster."
    )
    webhook_timeout_seconds: Seconds = Field(
        15.0, description="Most seconds for one request to an endpoint, until the end of its response."
    )
    webhook_retry_hours: float = Field(
        72.0,
        ge=0.0001,
        le=8_760,
        allow_inf_nan=False,
        description=(
            "Hours for which a delivery is retried. Then the webhook is disabled if nothing was delivered to it "
            "meanwhile; otherwise the event is recorded as failed."
        ),
    )
    webhook_log_days: float = Field(
        7.0,
        ge=0.001,
        le=3_650,
        allow_inf_nan=False,
        description="Days for which the attempts that `/webhooks/{id}/deliveries` lists are stored.",
    )

    # Development
    data_dir: FilePath = Field(Path(".data"), description="Where `livescore dev` keeps PostgreSQL and Valkey.")
    instances: int = Field(1, ge=1, le=16, description="API processes that `livescore dev` starts, on `PORT`+n.")

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        """Remove surrounding white space: values from Secrets and files often end with a line break."""
        if not isinstance(value, str):
            return value
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("is not UTF-8")
        return value.strip()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the names are pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment only. Arguments of :func:`load` have precedence."""
        return init_settings, _Environment(settings_cls)

    @property
    def is_production(self) -> bool:
        """Return True if writes need a key even if none exists."""
        return self.environment.strip().casefold() in PRODUCTION


class SettingsError(Exception):
    """The configuration is invalid.

    Attributes:
        problems: One sentence for each invalid or missing variable.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(["invalid configuration:", *(f"  {problem}" for problem in problems)]))


def load(**overrides: Any) -> Settings:
    """Read the settings from the environment. ``overrides`` have precedence.

    Raises:
        SettingsError: Variables are invalid or missing. The error names them all and contains no values.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError([_problem(issue["loc"], issue["msg"]) for issue in error.errors()]) from None


def _problem(location: tuple[int | str, ...], message: str) -> str:
    parts = [str(location[0]).upper() if location else "settings"]
    if len(location) > 1 and isinstance(location[1], int):
        parts.append(f"entry {location[1] + 1}")
    if message == "Field required":
        parts.append("is required")
    else:
        parts.append(message.removeprefix("Value error, "))
    return ": ".join(parts)


@cache
def commit() -> str:
    """Return the commit from which this image was built, or ``unknown``."""
    return os.environ.get("LIVESCORE_COMMIT", "unknown")
