"""The addresses that this service may send requests to on behalf of its administrators.

A URL of a webhook is input. Without these checks it could name services that only this host can reach: databases,
metadata of a cloud, other pods. The check is on addresses, not on names, since a name may resolve to anything, and to
something else a moment later. So it is repeated at every connection, and the connection goes to the checked address.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Resolver = Callable[[str, int], Awaitable[list[Address]]]
"""Returns the addresses of a host name for a port. Raises OSError if the name does not resolve."""

# Networks of the IANA special-purpose registries that Python's `is_global` classifies differently between versions.
_NEVER_PUBLIC: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15"),
        *("224.0.0.0/3", "100::/64", "2001::/23", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"),
    )
)
# Prefixes of IPv6 addresses that a gateway translates to the IPv4 address in their last 32 bits.
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/96"))


class Refused(Exception):
    """Requests to this destination are not allowed. The text says why, for administrators."""


class Destinations:
    """The policy for destinations.

    Args:
        allowed: Networks that are allowed although they are not public.
        resolve: Resolves host names; the system's resolver by default.
    """

    def __init__(self, allowed: Iterable[Network], resolve: Resolver | None = None) -> None:
        self._allowed = tuple(allowed)
        self._resolve = resolve or system_resolver

    def allows(self, address: Address) -> bool:
        """Return True if requests may go to an address."""
        embedded = _embedded(address)
        return any(embedded in network for network in self._allowed if network.version == embedded.version) or (
            is_public(embedded)
        )

    async def addresses(self, host: str, port: int) -> list[Address]:
        """Return the allowed addresses of a host.

        Raises:
            Refused: The host resolves to addresses that are not allowed only.
            OSError: The name does not resolve.
        """
        try:
            found: list[Address] = [ip_address(host)]
        except ValueError:
            found = await self._resolve(host, port)
        allowed = [address for address in found if self.allows(address)]
        if not allowed:
            shown = ", ".join(str(address) for address in found[:3]) or "no address"
            raise Refused(
                f"{host} leads to {shown}, which is not a public address: add its network to WEBHOOK_ALLOWED_NETWORKS "
                "if requests to it are intended"
            )
        return allowed


def is_public(address: Address) -> bool:
    """Return True for an address of the public Internet."""
    if any(address in network for network in _NEVER_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for; other addresses as they are."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if any(address in network for network in _NAT64):
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


async def system_resolver(host: str, port: int) -> list[Address]:
    """Resolve a name as the system does.

    Raises:
        OSError: The name does not resolve.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label is longer than DNS allows
        raise OSError("not a name of DNS") from error
    return list(dict.fromkeys(ip_address(str(place[0]).partition("%")[0]) for *_, place in found))
