"""The only parser of ``REDIS_URL``, which describes one server, a primary behind Sentinel, or a cluster."""

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import redis.asyncio.connection
import redis.connection
from redis.exceptions import RedisError

from livescore.database_url import check_characters

Kind = Literal["server", "sentinel", "cluster"]
Address = tuple[str, int]

SCHEMES: dict[str, Kind] = {
    "redis": "server",
    "rediss": "server",
    "unix": "server",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}

PARAMETERS = (
    "db",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_cert_reqs",
    "ssl_certfile",
    "ssl_check_hostname",
    "ssl_keyfile",
    "ssl_password",
)
"""Query parameters that have the same meaning in redis-py's asyncio and synchronous clients."""

# Parameters of redis-py for which the service has settings. Any further ones could change what the service reads.
_SETTINGS = {
    "socket_timeout": "REDIS_TIMEOUT_SECONDS",
    "socket_connect_timeout": "REDIS_TIMEOUT_SECONDS",
    "timeout": "REDIS_TIMEOUT_SECONDS",
}

MOST_DATABASES = 2**31 - 1

# As registered for Redis, and as Sentinel listens by default.
_PORTS: dict[Kind, int] = {"server": 6379, "cluster": 6379, "sentinel": 26379}


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A valid ``REDIS_URL``.

    Attributes:
        kind: What the URL describes.
        addresses: Sentinels, or initial nodes of the cluster; empty for one server.
        service: Name of the primary at the Sentinels; empty without Sentinel.
        database: Number of the database; 0 on a cluster.
    """

    kind: Kind
    addresses: tuple[Address, ...]
    service: str
    database: int
    _parts: SplitResult = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """Parse a URL.

        Raises:
            ValueError: The URL is invalid. The message contains no part of the URL, which may hold a password.
        """
        parts = _split(text)
        kind = SCHEMES[parts.scheme]
        names = _check_query(parts.query)
        if kind == "server":
            url = cls(kind, (), "", _server_database(parts, names), parts)
            _check_with_drivers(url.text)
            return url
        if "db" in names:
            raise ValueError("has a parameter db, which only the URL of one server may have")
        addresses = _addresses(parts.netloc.rpartition("@")[2], _PORTS[kind])
        service, database = _service(parts.path) if kind == "sentinel" else _no_database(parts.path)
        url = cls(kind, addresses, service, database, parts)
        _check_with_drivers(url.node(addresses[0]))
        return url

    @property
    def is_cluster(self) -> bool:
        """Return True for a cluster, which RQ cannot use: there are no jobs then, and the sweep works alone."""
        return self.kind == "cluster"

    @property
    def text(self) -> str:
        """The URL for redis-py."""
        url = self._parts.geturl()
        # urlsplit() drops an empty host.
        return url if "://" in url else url.replace(":", "://", 1)

    def node(self, address: Address) -> str:
        """Return the URL of one server of a Sentinel or cluster URL, with the same user, password and options."""
        host, port = address
        if ":" in host:
            host = f"[{host}]"
        credentials, at, _ = self._parts.netloc.rpartition("@")
        parts = self._parts._replace(
            scheme=self._parts.scheme.removesuffix("+sentinel").removesuffix("+cluster"),
            netloc=f"{credentials}{at}{host}:{port}",
            path=f"/{self.database}",
        )
        return parts.geturl()


def _split(text: str) -> SplitResult:
    check_characters(text)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in SCHEMES or "://" not in text:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if "#" in text:
        raise ValueError("contains #: percent-encode it as %23")
    return parts


def _check_query(query: str) -> list[str]:
    """Check the query parameters and return their names."""
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    for name in names:
        if name in _SETTINGS:
            raise ValueError(f"has a parameter {name}: set {_SETTINGS[name]} instead")
    if not set(names) <= set(PARAMETERS):
        raise ValueError(
            f"has a parameter other than {', '.join(PARAMETERS)} (a ? in a password is percent-encoded as %3F)"
        )
    if len(names) > len(set(names)) or not all(value for _, value in pairs):
        raise ValueError("has a parameter that is empty or repeated")
    if dict(pairs).get("ssl_check_hostname", "true").lower() not in ("true", "false"):
        raise ValueError("has an ssl_check_hostname that is neither true nor false")
    return names


def _server_database(parts: SplitResult, names: list[str]) -> int:
    """Check parts that redis-py ignores or misreads, and return the number of the database."""
    _check_port(parts)
    if parts.scheme == "unix":
        if parts.netloc.rpartition("@")[2] or not parts.path.strip("/"):
            raise ValueError("must name the path of a socket, as in unix:///run/valkey/valkey.sock")
        path = ""
    else:
        path = unquote(parts.path).strip("/")
    query = dict(parse_qsl(parts.query)).get("db", "")
    if path and "db" in names:
        raise ValueError("names a database twice, by its path and by db")
    return _database(path or query)


def _check_port(parts: SplitResult) -> None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or "," in (parts.hostname or ""):
        raise ValueError("has a port that is not a number from 1 to 65535, or several hosts")


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and int(text) <= MOST_DATABASES):
        raise ValueError("has a database that is not a number")
    return int(text or 0)


def _check_with_drivers(text: str) -> None:
    """Create redis-py's connections for a URL, without opening them, so that it checks its own parameters."""
    for driver in (redis.connection, redis.asyncio.connection):
        module: Any = driver
        try:
            options = dict(module.parse_url(text))
            options.pop("connection_class", module.Connection)(**options)
        except (RedisError, ValueError, TypeError):
            raise ValueError(
                "has a parameter that redis-py cannot use, such as ssl_… without rediss://, or an unknown ssl_cert_reqs"
            ) from None


def _addresses(text: str, port: int) -> tuple[Address, ...]:
    try:
        hosts = [urlsplit(f"//{part}") for part in text.split(",")]
        addresses = tuple((host.hostname or "", port if host.port is None else host.port) for host in hosts)
    except ValueError:
        raise ValueError("must name its hosts as host:port,host:port") from None
    if not all(name and number for name, number in addresses):
        raise ValueError("must name its hosts as host:port,host:port")
    return addresses


def _service(path: str) -> tuple[str, int]:
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise ValueError("must name Sentinel's service after the hosts, as in host:26379/service-name")
    return service, _database(database)


def _no_database(path: str) -> tuple[str, int]:
    if path.strip("/") not in ("", "0"):
        raise ValueError("names a database, but a cluster has only one")
    return "", 0
