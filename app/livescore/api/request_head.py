"""Rules for the head of a request, which is refused before any handler runs (RFC 9110, RFC 9112 and RFC 6455).

The functions are pure. Header names are in lower case, and values have no surrounding whitespace.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import httptools
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_connection, parse_subprotocol
from websockets.http11 import MAX_LINE_LENGTH

from livescore.uvicorn_adapter import HTTPScope

Header = tuple[bytes, bytes]
Headers = list[Header]

VERSIONS = frozenset({"1.0", "1.1"})

# The methods of all routes, for requests whose target is not a path.
_ALLOW: tuple[Header, ...] = ((b"allow", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST"),)

# RFC 6455 section 4.1: a nonce of 16 bytes in base64.
_KEY_BYTES = 16

_UPGRADE_TO_WEBSOCKET: Header = (b"upgrade", b"websocket")

# uri-host of RFC 3986 without the comma, with which a proxy may have joined two Host fields.
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]*|\[[0-9A-Za-z:.%_~-]+\])(?::[0-9]{0,5})?")

# llhttp also parses RTSP and ICE, and reports their requests as HTTP.
_OTHER_PROTOCOLS = (b" RTSP/", b" ICE/")
_REQUEST_OF_ANOTHER_PROTOCOL = re.compile(rb"[A-Z_-]+ +[^ \n]+ +(?:RTSP|ICE)/[^\n]*\n")
_FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:")

_CHECKED = frozenset({b"host", b"expect", b"transfer-encoding"})


@dataclass(frozen=True, slots=True)
class EarlyAnswer:
    """The response to a request that reaches no handler; without a message it has no body."""

    status: int
    message: str
    headers: tuple[Header, ...] = ()


WRONG_VERSION = EarlyAnswer(505, "HTTP version not supported: use HTTP/1.1")
WRONG_TARGET = EarlyAnswer(400, "Request target must be a path or a URL of this server")


def may_name_another_protocol(data: bytes) -> bool:
    """Return True if the data may contain a request line of RTSP or ICE. Cheap, since all data is checked."""
    rtsp, ice = _OTHER_PROTOCOLS
    return rtsp in data or ice in data


def lines_of_other_protocols(data: bytes) -> list[int]:
    """Return the end offsets of the lines that look like request lines of RTSP or ICE.

    Header fields are excluded. The rest of a body may precede a request line.
    """
    ends = []
    for found in _REQUEST_OF_ANOTHER_PROTOCOL.finditer(data):
        line = data[data.rfind(b"\n", 0, found.start()) + 1 : found.end()]
        if not _FIELD_NAME.match(line):
            ends.append(found.end())
    return ends


def early_answer(scope: HTTPScope, target: bytes) -> EarlyAnswer | None:
    """Return the response that the head alone decides, or None if the request goes to a handler."""
    version = scope["http_version"]
    if version not in VERSIONS:
        return WRONG_VERSION
    if scope["method"] == "CONNECT":
        return EarlyAnswer(405, "Method not allowed: this server is not a proxy", _ALLOW)
    if target == b"*":
        return EarlyAnswer(204, "", _ALLOW) if scope["method"] == "OPTIONS" else WRONG_TARGET
    checked = [header for header in scope["headers"] if header[0] in _CHECKED]
    if len(checked) == 1 and checked[0][0] == b"host" and _is_host(checked[0][1]):
        return None  # nearly every request
    return _host_answer(version, checked) or _coding_answer(version, checked) or _expectation_answer(checked)


@lru_cache(maxsize=1_024)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def _host_answer(version: str, headers: Headers) -> EarlyAnswer | None:
    hosts = _values(headers, b"host")
    if len(hosts) > 1:
        return EarlyAnswer(400, "Host header must be sent once")
    if not hosts and version != "1.0":
        return EarlyAnswer(400, "Host header is required")
    if hosts and not _is_host(hosts[0]):
        return EarlyAnswer(400, "Host header must be a host name or address and an optional port")
    return None


def _coding_answer(version: str, headers: Headers) -> EarlyAnswer | None:
    codings = _values(headers, b"transfer-encoding")
    if codings and version == "1.0":
        return EarlyAnswer(400, "Transfer-Encoding needs HTTP/1.1")
    if any(coding.lower() != b"chunked" for coding in codings):
        return EarlyAnswer(501, "Transfer-Encoding must be chunked: other codings are not supported")
    return None


def _expectation_answer(headers: Headers) -> EarlyAnswer | None:
    if any(expectation != b"100-continue" for expectation in _tokens(headers, b"expect")):
        return EarlyAnswer(417, "Expect must be 100-continue: other expectations are not supported")
    return None


def expects_continue(scope: HTTPScope) -> bool:
    """Return True if the client waits for ``100 Continue``, which HTTP/1.0 does not have."""
    expects = any(name == b"expect" and value.strip(b", \t") for name, value in scope["headers"])
    return expects and scope["http_version"] != "1.0"


def is_handshake(scope: HTTPScope) -> bool:
    """Return True if an upgrade request asks for a WebSocket and for no other protocol.

    Other methods and HTTP/1.0 cannot open a WebSocket (RFC 6455 section 4.1, RFC 9110 section 7.8).
    """
    protocols = _tokens(list(scope["headers"]), b"upgrade")
    return scope["method"] == "GET" and scope["http_version"] == "1.1" and protocols == [b"websocket"]


def handshake_answer(target: bytes, headers: Headers) -> EarlyAnswer | None:
    """Return the refusal of a WebSocket handshake that its head alone decides, or None."""
    if not target.isascii():
        return WRONG_TARGET
    lines = (len(name) + len(value) for name, value in ((b"GET HTTP/1.1", target), *headers))
    if max(lines) + len(b": \r\n") > MAX_LINE_LENGTH:
        return EarlyAnswer(431, "A line of a WebSocket handshake must not have more than 8 KiB")
    if _values(headers, b"transfer-encoding") or any(_values(headers, b"content-length", but=b"0")):
        return EarlyAnswer(400, "A WebSocket handshake must not have a body")
    if _values(headers, b"sec-websocket-version") != [b"13"]:
        return upgrade_required("WebSocket version not supported: send Sec-WebSocket-Version: 13")
    if not _is_key(_values(headers, b"sec-websocket-key")):
        return EarlyAnswer(400, "Sec-WebSocket-Key must be sent once: 16 random bytes in base64")
    if not _are_tokens(_values(headers, b"connection"), parse_connection):
        return EarlyAnswer(400, "Connection must be a list of tokens")
    if not _are_tokens(_values(headers, b"sec-websocket-protocol"), parse_subprotocol):
        return EarlyAnswer(400, "Sec-WebSocket-Protocol must be a list of tokens")
    return None


def upgrade_required(message: str) -> EarlyAnswer:
    """Return a 426 that names the protocol and its version."""
    return EarlyAnswer(426, message, (_UPGRADE_TO_WEBSOCKET, (b"sec-websocket-version", b"13")))


def _is_key(values: list[bytes]) -> bool:
    try:
        return len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _are_tokens(values: list[bytes], parse: Callable[[str], object]) -> bool:
    """Return True if the library that completes the handshake can parse every line of a list field."""
    try:
        for value in values:
            parse(value.decode("latin-1"))
    except InvalidHeader:
        return False
    return True


def without_upgrade(scope: HTTPScope, target: bytes) -> bytes:
    """Return the head of a request without its Upgrade field."""
    line = f"{scope['method']} ".encode() + target + f" HTTP/{scope['http_version']}\r\n".encode()
    kept = (b"%s: %s\r\n" % header for header in scope["headers"] if header[0] != b"upgrade")
    return line + b"".join(kept) + b"\r\n"


def origin_form(target: bytes, headers: Headers) -> bytes:
    """Return the path and query of an absolute target; its authority replaces Host (RFC 9112 section 3.2.2).

    Raises:
        ValueError: The target is not a URL of HTTP, or names a user.
    """
    scheme, separator, rest = target.partition(b"://")
    authority = re.split(rb"[/?#]", rest, maxsplit=1)[0]
    if not separator or scheme.lower() not in (b"http", b"https") or not _HOST.fullmatch(authority) or not authority:
        raise ValueError("not an absolute URL of HTTP")
    url = httptools.parse_url(target)
    headers[:] = [(b"host", authority), *(header for header in headers if header[0] != b"host")]
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")


def _values(headers: Headers, name: bytes, but: bytes | None = None) -> list[bytes]:
    return [value for given, value in headers if given == name and value != but]


def _tokens(headers: Headers, name: bytes) -> list[bytes]:
    """Return the members of a list field, over all its lines, in lower case."""
    members = b",".join(_values(headers, name)).split(b",")
    return [member for member in (part.strip(b" \t").lower() for part in members) if member]
