"""Addresses to listen on, over IPv4 and IPv6."""

import errno
import socket
from contextlib import ExitStack
from typing import Any

# Every address of this machine. `::` means the same, as it does to Linux and most servers; `0.0.0.0` is IPv4 only.
EVERYWHERE = ("*", "::", "")

# The protocol is missing on this machine, or has no such address.
_UNAVAILABLE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


def bind(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of a host; they do not listen yet, so early clients are refused.

    IPv4 and IPv6 have a socket each. A single one for both would report IPv4 clients by IPv6 addresses, which no
    configured network of proxies contains.

    Args:
        host: A name, an address, or one of :data:`EVERYWHERE`.
        port: The port, the same for every address; 0 takes a free one.

    Raises:
        OSError: An address is in use, or the machine has none of them.
    """
    found = socket.getaddrinfo(
        None if host in EVERYWHERE else host.removeprefix("[").removesuffix("]"),
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )
    unavailable: OSError | None = None
    with ExitStack() as opened:
        sockets: list[socket.socket] = []
        for family, _, _, _, address in dict.fromkeys(found):
            try:
                made = _bound(family, address, sockets)
            except OSError as error:
                if error.errno not in _UNAVAILABLE:
                    raise
                unavailable = error
            else:
                sockets.append(opened.enter_context(made))
        if unavailable is not None and not sockets:
            raise unavailable
        opened.pop_all()
    return sockets


def _bound(family: int, address: Any, others: list[socket.socket]) -> socket.socket:
    host, port, *rest = address
    if others and not port:
        port = others[0].getsockname()[1]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((host, port, *rest))
    except OSError:
        made.close()
        raise
    return made
