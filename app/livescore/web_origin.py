"""Web origins (RFC 6454), normalized to compare ``ALLOWED_ORIGINS`` with what browsers send."""

import json
import re
from typing import Any

from pydantic_core import Url, ValidationError

ANY = "*"

# The origin of local files and sandboxed frames.
OPAQUE = "null"

_FORM = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/\\?#@]+)/?", re.IGNORECASE)
_WEBSOCKET_SCHEMES = {"ws": "http", "wss": "https"}


class OriginError(ValueError):
    """A text is not an origin. The message gives the reason."""


def normalize(text: str) -> str:
    """Return an origin as browsers write it: ``scheme://host``, and the port if it is not the scheme's default.

    By the algorithm of browsers (WHATWG URL), scheme and host are lower case, international names are punycode and IPv6
    addresses are compressed. ``null`` is an origin too.

    Raises:
        OriginError: No browser could send this origin.
    """
    if text == OPAQUE:
        return OPAQUE
    form = _FORM.fullmatch(text)
    if form is None:
        raise OriginError(_reason(text))
    scheme, authority = form[1].lower(), form[2]
    if scheme in _WEBSOCKET_SCHEMES:
        raise OriginError(f"pages have {_WEBSOCKET_SCHEMES[scheme]}://, not {scheme}://")
    if ANY in authority:
        raise OriginError("wildcards within a host are not supported: list each origin, or * for all")
    try:
        url = Url(f"{scheme}://{authority}")
        default_port = Url(f"{scheme}://host").port
    except ValidationError as error:
        raise OriginError(error.errors()[0]["msg"].removeprefix("Input should be a valid URL, ")) from None
    port = "" if url.port in (None, default_port) else f":{url.port}"
    return f"{scheme}://{(url.host or '').lower()}{port}"


def _reason(text: str) -> str:
    scheme, separator, rest = text.partition("://")
    if not separator or not scheme:
        return "must begin with a scheme, as in https://app.example.com"
    if "@" in rest:
        return "must not contain user information"
    if re.search(r"[/\\?#]", rest):
        return "must end after host and port, without a path, query or fragment"
    return "must be like https://app.example.com"


def parse_list(value: Any) -> Any:
    """Return the origins in a setting, which is a list separated by commas or blanks, or a JSON array of strings.

    Raises:
        ValueError: Some entries are not origins. The message names them all by their position.
    """
    entries = _entries(value) if isinstance(value, str) else value
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("must be origins separated by commas, or a JSON array of strings")
    origins: dict[str, None] = {}
    faults: list[str] = []
    for position, entry in enumerate(entries, start=1):
        try:
            origins[entry if entry == ANY else normalize(entry)] = None
        except OriginError as error:
            faults.append(f"entry {position} {error}")
    if faults:
        raise ValueError("; ".join(faults))
    return list(origins)


def _entries(text: str) -> Any:
    if not text.strip().startswith("["):
        return [entry for entry in re.split(r"[\s,]+", text) if entry]
    try:
        entries = json.loads(text)
    except ValueError:
        raise ValueError("starts like a JSON array but is not valid JSON") from None
    if not isinstance(entries, list):
        return entries
    return [entry.strip() if isinstance(entry, str) else entry for entry in entries if entry != ""]
