"""Deadlines for clients that do not read their responses.

Without a deadline, such a connection keeps its response in memory for as long as the client likes: closing a transport
first sends what it has buffered.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

from livescore.telemetry import metrics

# Bytes that a client must acknowledge per deadline: far less than the slowest network carries, and enough that a
# response of a megabyte cannot take days.
MIN_ACKNOWLEDGED_BYTES = 4_096


class Delivery:
    """Watches a connection with unsent data and resets it once the client stops reading.

    Args:
        transport: The connection.
        seconds: The time in which the client must acknowledge ``MIN_ACKNOWLEDGED_BYTES``.
    """

    __slots__ = ("_is_over", "_seconds", "_timer", "_transport", "_unacknowledged")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._unacknowledged = 0
        self._is_over = False

    def watch(self) -> None:
        """Start the deadline. Idempotent while it runs."""
        if self._timer is None and not self._is_over:
            self._unacknowledged = unacknowledged_bytes(self._transport)
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._check)

    def finish(self) -> None:
        """Stop for good: the connection is closed, or another protocol uses it."""
        self._is_over = True
        self.end()

    def end(self) -> None:
        """Stop the deadline: the client has read enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._unacknowledged - unacknowledged_bytes(self._transport) >= MIN_ACKNOWLEDGED_BYTES:
            self.watch()
            return
        metrics.SLOW_CONSUMERS_CLOSED.inc()
        reset(self._transport)


def unacknowledged_bytes(transport: asyncio.Transport) -> int:
    """Return the number of bytes in the transport and in the kernel's send buffer.

    The transport alone does not show progress: the kernel accepts more only once a third of its megabytes is free.
    """
    return transport.get_write_buffer_size() + _kernel_buffer_size(transport)


def _kernel_buffer_size(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:  # some kernels do not count them
        return 0
    return int(struct.unpack("i", answer)[0])


def reset(transport: asyncio.Transport) -> None:
    """Close a connection at once and drop everything that is unsent, in the transport and in the kernel.

    Without the reset that ``SO_LINGER`` demands, the kernel would keep its share for the client.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):  # closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
