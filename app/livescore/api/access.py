"""Who may call what."""

from starlette.requests import Request
from starlette.websockets import WebSocket

from livescore.api.context import services

ANYBODY = "-"
"""Who calls where no key is in use."""


def writer(request: Request) -> str:
    """The id of the key that lets this request write.

    Raises:
        AccessDenied: when there is none, or it may only read.
    """
    key = services(request).keyring.authorize(request.headers, "write")
    return key.id if key else ANYBODY


def reader(request: Request | WebSocket) -> None:
    """Let this request read: anybody may, unless ``READ_KEYS_REQUIRED``.

    Browsers cannot set headers on a WebSocket or an EventSource, so the key may come as ``?apiKey=``.

    Raises:
        AccessDenied: when a key is required and there is none.
    """
    parts = services(request)
    if parts.settings.read_keys_required:
        key = request.query_params.get("apiKey")
        parts.keyring.authorize(request.headers if key is None else {"x-api-key": key}, "read")
