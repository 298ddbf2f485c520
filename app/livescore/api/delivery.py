"""Deadlines for clients that do not read what they are sent.

A connection whose client takes nothing keeps its answer in memory for as long as the client likes: a transport that is
closed first sends what is buffered.
"""

import asyncio
import fcntl
import socket
import struct
import termios

from livescore.telemetry import metrics

# What a client must take within the time it has: much less than the slowest network carries, and enough that an answer
# of a megabyte cannot last for days.
MIN_TAKEN_BYTES = 4_096


class Delivery:
    """Watches one connection while something is unsent, and aborts it once the client stops taking it.

    Args:
        transport: the connection.
        seconds: the time in which the client must take ``MIN_TAKEN_BYTES``.
    """

    __slots__ = ("_is_over", "_seconds", "_timer", "_transport", "_untaken")

    def __init__(self, transport: asyncio.Transport, seconds: float) -> None:
        self._transport = transport
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._untaken = 0
        self._is_over = False

    def watch(self) -> None:
        """Start the deadline. Idempotent while it runs."""
        if self._timer is None and not self._is_over:
            self._untaken = untaken_bytes(self._transport)
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._check)

    def finish(self) -> None:
        """Stop for good: the connection is gone, or another protocol has it."""
        self._is_over = True
        self.end()

    def end(self) -> None:
        """Stop the deadline: the client has taken enough."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._untaken - untaken_bytes(self._transport) >= MIN_TAKEN_BYTES:
            self.watch()
            return
        metrics.SLOW_CONSUMERS_CLOSED.inc()
        _reset_at_close(self._transport)
        self._transport.abort()


def untaken_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the client has not acknowledged: in the transport and in the kernel's send buffer.

    The transport alone does not show progress: the kernel takes more only once a third of its megabytes is free.
    """
    return transport.get_write_buffer_size() + _in_the_kernel(transport)


def _in_the_kernel(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    if sock is None:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
    except OSError:  # not every kernel counts them
        return 0
    return int(struct.unpack("i", answer)[0])


def _reset_at_close(transport: asyncio.Transport) -> None:
    """Let the kernel drop what it has not sent; without a reset it would keep that for the client."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
