"""What a ``REDIS_URL`` says: one server, a primary behind Sentinel, or a cluster. Understood here and nowhere else."""

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
"""Parameters of the query that mean the same to redis-py with asyncio and in threads."""

# Others are redis-py's own way to say what settings say here, or would change what the service reads.
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
    """A ``REDIS_URL`` that makes sense.

    Attributes:
        kind: what it leads to.
        addresses: where to ask first: Sentinels, or nodes of the cluster; empty for one server.
        service: the name under which Sentinel knows the primary, else empty.
        database: the number of the database, 0 on a cluster.
    """

    kind: Kind
    addresses: tuple[Address, ...]
    service: str
    database: int
    _parts: SplitResult = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "RedisUrl":
        """Understand a URL.

        Raises:
            ValueError: what is wrong with it, without any part of it: it may hold a password.
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
        """The URL as redis-py reads it."""
        url = self._parts.geturl()
        # Without a host urlsplit() forgets that there was an empty one.
        return url if "://" in url else url.replace(":", "://", 1)

    def node(self, address: Address) -> str:
        """Return the URL of one server behind a Sentinel or cluster, with the same user, password and options."""
        user, at, _ = self._parts.netloc.rpartition("@")
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        scheme = self._parts.scheme.partition("+")[0]
        netloc = f"{user}{at}{host}:{address[1]}"
        return self._parts._replace(scheme=scheme, netloc=netloc, path=f"/{self.database}").geturl()


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
    """Return the names of the parameters."""
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
    """Check what redis-py ignores or misreads, and return the number of the database."""
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
    """Let redis-py make the connections that it would make, without opening them."""
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
