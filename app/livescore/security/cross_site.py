"""Protection of the management ports against web pages: cross-site requests and DNS rebinding.

The ports have no keys: who reaches them may drain a process. A browser of somebody who does reach them, on a laptop or
in a VPN, must not send requests there for a web page. A page of another site gives itself away by the ``Origin``,
``Sec-Fetch-Site`` or form-like ``Content-Type`` that browsers send. A page whose own name was pointed to the port's
address (DNS rebinding) gives itself away by that name in ``Host``.
"""

import socket
from collections.abc import Iterable
from ipaddress import ip_address

from livescore.settings import Settings

# Suffixes of names within a cluster, which no page on the Internet can have.
_CLUSTER_SUFFIXES = (".svc", ".cluster.local", ".localhost")

# What forms can send to other sites without the browser asking first.
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")

# Values of Sec-Fetch-Site for what a person typed, and for pages of the port itself.
_OWN_SITES = ("none", "same-origin")

_SAFE_METHODS = ("GET", "HEAD")


class ManagementGuard:
    """Decides which requests a management port serves: those of probes, Prometheus, the operator and people."""

    def __init__(self, settings: Settings) -> None:
        configured = [name.casefold() for name in settings.management_allowed_hosts]
        own = [name.casefold() for name in ("localhost", settings.instance, socket.gethostname())]
        self._names = frozenset([*own, *(name for name in configured if not name.startswith("*."))])
        self._suffixes = (*_CLUSTER_SUFFIXES, *(name[1:] for name in configured if name.startswith("*.")))

    def refusal(self, method: str, headers: Iterable[tuple[str, str]]) -> str | None:
        """Return why a request is refused, for its sender; None if it may be served.

        Args:
            method: The HTTP method.
            headers: Every header, in any case; repeated ones repeatedly.
        """
        for name, value in headers:
            match name.casefold():
                case "origin":
                    return "The management port serves no web pages: the request has an Origin"
                case "sec-fetch-site" if value.strip().casefold() not in _OWN_SITES:
                    return "The management port serves no web pages: the request comes from another site"
                case "referer" if method not in _SAFE_METHODS:  # browsers that send no Origin with forms
                    return "The management port serves no web pages: the request has a Referer"
                case "content-type" if method not in _SAFE_METHODS and _media_type(value) in _FORM_TYPES:
                    return "The management port takes no forms: send the request without a body"
                case "host" if not self._is_own(value):
                    return "The Host is not this service's: use its IP address, or set MANAGEMENT_ALLOWED_HOSTS"
        return None

    def _is_own(self, host: str) -> bool:
        name = _name(host)
        return name is not None and (_is_address(name) or name in self._names or name.endswith(self._suffixes))


def _media_type(value: str) -> str:
    return value.partition(";")[0].strip().casefold()


def _name(host: str) -> str | None:
    """Return the host name or address of a Host header, in lower case and without its port; None if there is none."""
    text = host.strip().casefold()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        if not bracket or ":" not in name:
            return None
        port = port.removeprefix(":") if port.startswith(":") else port and "invalid"
    else:
        name, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return None
    return name.removesuffix(".") or None


def _is_address(name: str) -> bool:
    try:
        ip_address(name.replace("%25", "%"))
    except ValueError:
        return False
    return True
