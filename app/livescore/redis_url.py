"""What a ``REDIS_URL`` says: one server, a primary behind Sentinel, or a cluster. Understood here and nowhere else."""

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, urlsplit

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
        if kind == "server":
            _check_port(parts)
            return cls(kind, (), "", 0, parts)
        addresses = _addresses(parts.netloc.rpartition("@")[2], _PORTS[kind])
        service, database = _service(parts.path) if kind == "sentinel" else _no_database(parts.path)
        return cls(kind, addresses, service, database, parts)

    def node(self, address: Address) -> str:
        """The URL of one server behind a Sentinel's or cluster's: the same user, password and options."""
        user, at, _ = self._parts.netloc.rpartition("@")
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        scheme = self._parts.scheme.partition("+")[0]
        netloc = f"{user}{at}{host}:{address[1]}"
        return self._parts._replace(scheme=scheme, netloc=netloc, path=f"/{self.database}").geturl()


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in SCHEMES or "://" not in text:
        raise ValueError(f"must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    return parts


def _check_port(parts: SplitResult) -> None:
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("has a port that is no number from 0 to 65535, or several hosts") from None


def _addresses(text: str, port: int) -> tuple[Address, ...]:
    try:
        hosts = [urlsplit(f"//{part.strip()}") for part in text.split(",")]
        addresses = tuple((host.hostname or "", host.port or port) for host in hosts)
    except ValueError:
        raise ValueError("must name its hosts as host:port,host:port") from None
    if not all(name for name, _ in addresses):
        raise ValueError("must name its hosts as host:port,host:port")
    return addresses


def _service(path: str) -> tuple[str, int]:
    service, _, database = path.strip("/").partition("/")
    if not service:
        raise ValueError("must name Sentinel's service after the hosts, as in host:26379/service-name")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("has a database that is no number")
    return service, int(database or 0)


def _no_database(path: str) -> tuple[str, int]:
    if path.strip("/") not in ("", "0"):
        raise ValueError("names a database, but a cluster has only one")
    return "", 0
