"""Sockets bound to the addresses of a host, for IPv4 and IPv6."""

import errno
import socket
from contextlib import ExitStack
from typing import Any

# All addresses of this machine. `::` includes IPv4, as on Linux and for most servers; `0.0.0.0` is IPv4 only.
EVERYWHERE = ("*", "::", "")

# This machine does not support the protocol, or does not have the address.
_UNAVAILABLE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of a host. They do not listen yet, so early clients are refused.

    IPv4 and IPv6 have separate sockets. A shared one would report IPv4 clients with IPv4-mapped addresses, which are
    not in the configured networks of proxies.

    Args:
        host: A name, an address, or one of :data:`EVERYWHERE`.
        port: The port, the same for all addresses; 0 for any free port.

    Raises:
        OSError: An address is in use, or the machine has none of the addresses.
    """
    infos = socket.getaddrinfo(
        None if host in EVERYWHERE else host.removeprefix("[").removesuffix("]"),
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    unavailable: OSError | None = None
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for family, _, _, _, address in dict.fromkeys(infos):
            try:
                bound = _bind(family, address, sockets)
            except OSError as error:
                if error.errno not in _UNAVAILABLE:
                    raise
                unavailable = error
            else:
                sockets.append(opened.enter_context(bound))
        if unavailable is not None and not sockets:
            raise unavailable
        opened.pop_all()
    return sockets


def _bind(family: int, address: Any, others: list[socket.socket]) -> socket.socket:
    host, port, *rest = address
    if others and not port:
        port = others[0].getsockname()[1]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port, *rest))
    except OSError:
        bound.close()
        raise
    return bound
