"""Every setting of the service: its default, its unit and the reason for both.

The environment variable is the field's name in capitals. ``docs/settings.md`` lists them all and a test keeps it equal.
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
    """Read ``a, b`` as ``["a", "b"]``: people write lists in the environment with commas."""
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
    if not (text.isprintable() and len(text) <= LONGEST_NAME):
        raise ValueError(f"must be at most {LONGEST_NAME} printable characters")
    return text


def _host(text: str) -> str:
    if text == "*":
        return text
    with suppress(ValueError):
        return str(ip_address(text.removeprefix("[").removesuffix("]")))
    if _HOST_NAME.fullmatch(text) is None or len(text) > LONGEST_NAME:
        raise ValueError("must be an address such as 127.0.0.1 or ::1, the name of a host, or * for all addresses")
    return text


def _allowed_host(text: str) -> str:
    name = text.removesuffix(".")
    if _HOST_NAME.fullmatch(name.removeprefix("*.")) is None or len(name) > LONGEST_NAME:
        raise ValueError("must be the name of a host without scheme and port, or *.example.com for all below a name")
    return name


def _path(path: Path) -> Path:
    if not (str(path).isprintable() and len(str(path)) <= LONGEST_PATH):
        raise ValueError(f"must be at most {LONGEST_PATH} printable characters")
    return path


def _key(key: SecretStr) -> SecretStr:
    if re.fullmatch(r"[ -~]{1,256}", key.get_secret_value()) is None:
        raise ValueError("must be at most 256 printable characters of ASCII, as clients send it in a header")
    return key


LONGEST_NAME = 253
"""Characters of the longest host name."""

LONGEST_PATH = 1_024

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)

_DAY_SECONDS = 86_400

# A bound on every time, so that no value leaves what PostgreSQL, the kernel or the clock can hold. A time-out below a
# millisecond would be 0 for PostgreSQL, which means none.
Seconds = Annotated[float, Field(ge=0.001, le=_DAY_SECONDS, allow_inf_nan=False)]
SecondsOrNone = Annotated[float, Field(ge=0, le=_DAY_SECONDS, allow_inf_nan=False)]
Hours = Annotated[float, Field(ge=0.001, le=24 * 3_660, allow_inf_nan=False)]
Days = Annotated[float, Field(ge=0.001, le=36_600, allow_inf_nan=False)]
PerSecond = Annotated[float, Field(ge=0.001, le=1_000_000, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1024, le=2**30)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
CountOrNone = Annotated[int, Field(ge=0, le=10_000_000)]

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
"""Names of ``ENVIRONMENT``, in any case, in which writes need a key from the start."""


class _Environment(EnvSettingsSource):
    """The environment. What surrounds a value is not part of it, and a blank variable is unset, as an empty one is."""

    def __call__(self) -> dict[str, Any]:
        """Return the value of each variable that is set."""
        return {name: value for name, value in super().__call__().items() if not _is_blank(value)}


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


class Settings(BaseSettings):
    """The configuration of one process. Invalid values are reported all at once by :func:`load`."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True, env_ignore_empty=True)

    # Where things are
    database_url: DatabaseUrlText = Field(
        description=(
            "PostgreSQL, as `postgresql://user:password@host:port/database`, with the parameters of libpq such as "
            "`sslmode`. The source of truth. Several hosts are separated by commas, and the directory of a socket is "
            "percent-encoded or given as `host=`. `postgres://` and `postgresql+psycopg://` are read alike."
        )
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
    environment: Name = Field(
        "development",
        description=(
            "Name of the deployment, shown by `/health` and in the logs. `production` (or `prod`) refuses writes until "
            "an API key exists."
        ),
    )
    host: Host = Field(
        "*", description="Address that clients reach; `*` for every IPv4 and IPv6 address of the machine."
    )
    port: int = Field(8000, ge=0, le=65535, description="Port that clients reach.")
    management_host: Host = Field("*", description="Address of metrics, probes and drain; `*` for every one.")
    management_port: int = Field(
        9100, ge=0, le=65535, description="Port of metrics, probes and drain; no client may reach it."
    )
    management_allowed_hosts: AllowedHostList = Field(
        default_factory=list,
        description=(
            "Names in `Host` that the management ports answer to, separated by commas; `*.example.com` for all below. "
            "IP addresses, `localhost`, the own host name and names within a cluster (`*.svc`, `*.cluster.local`) "
            "always work."
        ),
    )
    instance: Name = Field(
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
    database_timeout_seconds: Seconds = Field(
        5.0, description="Longest a statement or the wait for a connection may take, then 503."
    )
    database_prepared_statements: Literal["auto", "on", "off"] = Field(
        "auto",
        description=(
            "Prepare statements on the server. `auto`: unless a pooler such as PgBouncer stands in between. `on` only "
            "behind PgBouncer 1.21 or newer with `max_prepared_statements`."
        ),
    )
    redis_timeout_seconds: Seconds = Field(
        1.0, description="Longest a Redis command may take; after it the feed carries the event."
    )

    # Real time
    audit_interval_seconds: Seconds = Field(
        2.0,
        description="How often the served matches are compared with the feed: the longest a lost publish hides.",
    )
    poll_interval_seconds: Seconds = Field(
        0.25, description="How often the feed is read while Redis is away: the delay of events meanwhile."
    )
    ping_interval_seconds: Seconds = Field(
        30.0,
        description=(
            "Between WebSocket pings; a socket that has not answered by the next one is dropped, and so is a stream "
            "whose client has not taken a piece in this time, or any answer of which it has taken less than 4 KiB."
        ),
    )
    max_subscriptions: Count = Field(50, description="Single matches one socket may follow; more use `subscribeAll`.")
    inbound_burst: int = Field(
        20, ge=1, le=1_000_000, description="Messages one socket may send at once (token bucket)."
    )
    inbound_per_second: float = Field(
        10.0, ge=0.001, le=1_000_000, allow_inf_nan=False, description="Messages per second that refill the bucket."
    )
    max_frame_bytes: Bytes = Field(1_048_576, description="Largest WebSocket message accepted; above it 1009.")
    slow_consumer_bytes: Bytes = Field(
        1_000_000,
        description=(
            "Unsent bytes after which a socket is closed with 1013, and a stream ended; the client can resume. Also "
            "the size of a catch-up page, from which a long poll is answered."
        ),
    )
    max_connections: Count = Field(
        50_000,
        description=(
            "WebSockets, streams, waiting long polls and unfinished requests of one process (503 above): a bound on "
            "memory, 8 KB each."
        ),
    )
    max_connections_per_address: int = Field(
        5_000,
        ge=1,
        le=10_000_000,
        description="The same of one client address (429 above); large for shared NAT addresses.",
    )
    recent_events: int = Field(
        128,
        ge=0,
        le=1_000_000,
        description="Events a process remembers per served match, so that resuming costs no query.",
    )

    # Planned stops
    drain_grace_seconds: SecondsOrNone = Field(
        0.0,
        description="Wait before sockets are closed, so that load balancers forget this process; 5 in Kubernetes.",
    )
    drain_seconds: SecondsOrNone = Field(
        10.0, description="Time over which the sockets of a stopping process are closed."
    )
    reconnect_spread_seconds: SecondsOrNone = Field(
        5.0, description="Reconnect hints are drawn at random up to this, so that clients do not return at once."
    )

    # HTTP
    max_body_bytes: Bytes = Field(102_400, description="Largest request body (100 kB); above it 413.")
    max_header_bytes: Bytes = Field(32_768, description="Largest request head; above it, and above 100 fields, 431.")
    request_timeout_seconds: Seconds = Field(
        10.0,
        description=(
            "Longest a client may take to send a request's head, and again its body; then 408. Also a WebSocket "
            "message from its first byte to its last; then 1008."
        ),
    )
    idempotency_ttl_hours: float = Field(
        24.0,
        ge=0.001,
        le=87_600,
        allow_inf_nan=False,
        description="How long the answer to an `Idempotency-Key` is kept.",
    )
    event_retention_days: float | None = Field(
        None,
        gt=0,
        le=36_525,
        allow_inf_nan=False,
        description="Events of matches finished longer ago are pruned; unset keeps them for ever.",
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
    api_keys_file: FilePath | None = Field(
        None,
        description="JSON file of hashed keys, as `livescore keys create --json` prints them, e.g. a mounted Secret.",
    )
    admin_key_file: FilePath | None = Field(
        None,
        description=(
            "File with one key of scope `admin` in plain text, e.g. a mounted Secret: valid until the file holds "
            "another one. At least 16 characters."
        ),
    )
    dev_api_key: Key | None = Field(None, description="A key that may write, for development.")

    # Jobs
    scheduler_interval_seconds: Seconds = Field(
        0.1, description="How often rq-scheduler looks for due jobs; its own default of 60 s is far too late."
    )
    sweep_interval_seconds: Seconds = Field(
        1.0, description="How often due transitions are looked for in the table, whatever happened to the jobs."
    )

    # Development
    data_dir: FilePath = Field(Path(".data"), description="Where `livescore dev` keeps PostgreSQL and Valkey.")
    instances: int = Field(1, ge=1, le=16, description="API processes that `livescore dev` starts, on `PORT`+n.")

    @field_validator("*", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        """Values from Secrets and files often end with a line end."""
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
        """Read the environment only; what :func:`load` is given wins."""
        return init_settings, _Environment(settings_cls)

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
    entry = f"entry {location[1] + 1}: " if len(location) > 1 and isinstance(location[1], int) else ""
    reason = "is required" if message == "Field required" else message.removeprefix("Value error, ")
    return f"{name}: {entry}{reason}"


@cache
def commit() -> str:
    """The commit this image was built from, or ``unknown``."""
    return os.environ.get("LIVESCORE_COMMIT", "unknown")
