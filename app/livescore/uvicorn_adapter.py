"""The adapter of uvicorn: everything undocumented of it that the service uses.

The service extends uvicorn's protocol classes, which are not part of its public interface: a head may take any time and
any size there, and a WebSocket keeps a parser, a queue and a task for its whole life. No other module imports a private
name of uvicorn. ``tests/unit/test_upstream.py`` checks that the names used still exist.
"""

# uvicorn publishes the types of ASGI messages only here; overriding methods of its protocols need exactly these.
from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = [
    "STATUS_LINE",
    "ASGI3Application",
    "ASGIReceiveCallable",
    "ASGISendCallable",
    "ASGISendEvent",
    "FlowControl",
    "HTTPScope",
    "HttpProtocol",
    "RequestResponseCycle",
    "Scope",
    "WebSocketsSansIOProtocol",
]


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with public names for two of its private methods."""

    def cancel_keep_alive_timer(self) -> None:
        """Stop the time-out of an idle connection, as uvicorn does whenever bytes arrive."""
        self._unset_keepalive_if_required()

    def start_request(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        """Start the task that answers a request. Subclasses override it to wrap the application."""
        super()._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # The only method through which every request goes, pipelined ones included.
        self.start_request(cycle, app)
