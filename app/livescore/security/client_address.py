"""The address that a client is counted by, also behind proxies."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

# Entries of X-Forwarded-For that are examined, from the right. More proxies in a row are a mistake or an attack.
_MAX_HOPS = 32
# Bytes of X-Forwarded-For that are examined: more than that many entries need.
_MAX_FORWARDED_BYTES = 2_048

_CACHED_ADDRESSES = 16_384


class ClientAddress:
    """Maps connections and requests to the address that their client is counted by.

    This is the address of the peer. If the peer is a trusted proxy, it is the last entry of ``X-Forwarded-For`` that is
    not a trusted proxy. IPv6 addresses are grouped by /64, the smallest network that a provider assigns to a customer.
    IPv4-mapped IPv6 addresses count as IPv4.
    """

    def __init__(self, trusted_proxies: Iterable[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted_proxies)
        self._resolved = lru_cache(maxsize=_CACHED_ADDRESSES)(self._resolve)
        self.of_peer = lru_cache(maxsize=_CACHED_ADDRESSES)(self._resolve_peer)

    def __call__(self, scope: Scope) -> str:
        """Return the address of the client that sent a request; ``unknown`` if the server does not know it."""
        client = scope.get("client")
        peer = client[0] if client else ""
        return self._resolved(peer, self._forwarded(scope) if self._trusted else b"")

    def _resolve_peer(self, host: str) -> str | None:
        """Return the address of a connection that has not sent a request yet.

        Returns None for a trusted proxy, whose connections belong to many clients.
        """
        address = _parse(host)
        if address is None or self._is_trusted(address):
            return None
        return self._resolved(host, b"")

    @staticmethod
    def _forwarded(scope: Scope) -> bytes:
        value = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        # Cut here rather than where it is parsed, because the value becomes a key of the cache.
        return value[-_MAX_FORWARDED_BYTES:]

    def _resolve(self, peer: str, forwarded: bytes) -> str:
        address = _parse(peer)
        if address is None:
            return peer or "unknown"
        entries = forwarded.decode("latin-1").split(",")[-_MAX_HOPS:]
        while entries and self._is_trusted(address):
            previous_hop = _parse(entries.pop())
            if previous_hop is None:  # malformed: count the proxy that sent it
                break
            address = previous_hop
        return _group(address)

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    text = text.strip()
    if text.startswith("["):  # [2001:db8::1]:443
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:  # 192.0.2.1:443
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _group(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"
