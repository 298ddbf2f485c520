"""The lower bound of a delivery: one ``send(2)`` of the same size to each socket in turn, and nothing else.

``python -m tests.load.floor PORT SOCKETS BYTES EVENTS PER_SECOND`` is the sender, a process of its own like a server.
"""

import asyncio
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import ExitStack

import typer

from livescore_dev.processes import guarded
from tests.load.http_load import HOST, LoadError
from tests.load.servers import on_the_server_core
from tests.load.socket_load import MICROSECONDS, Pace, Tally

CONNECT_SECONDS = 30.0
"""Timeout for connecting all sockets."""


async def measure(sockets: int, message_bytes: int, pace: Pace) -> float:
    """Return the CPU microseconds per message of a process that only sends, on the servers' core.

    The receiver processes the bytes as a subscriber does, so that the sender finds it asleep equally often.

    Raises:
        LoadError: the sender failed; its error output has the reason.
    """
    server = await asyncio.get_running_loop().create_server(Tally, HOST, 0, backlog=sockets)
    async with server:
        port = server.sockets[0].getsockname()[1]
        arguments = (port, sockets, message_bytes, pace.events, pace.per_second)
        command = [sys.executable, "-m", "tests.load.floor", *map(str, arguments)]
        with on_the_server_core():
            sender = await asyncio.create_subprocess_exec(*guarded(command, signal.SIGKILL), stdout=PIPE)
        output, _ = await asyncio.wait_for(sender.communicate(), CONNECT_SECONDS + 2 * pace.seconds)
    if sender.returncode:
        raise LoadError(f"the sender exited with status {sender.returncode}")
    return float(output)


def main(port: int, sockets: int, message_bytes: int, events: int, per_second: float) -> None:
    """Connect, send to all sockets at the pace, and print the result of :func:`measure`."""
    with ExitStack() as stack:
        readers = [stack.enter_context(_connected(port)) for _ in range(sockets)]
        message = bytes(message_bytes)
        start, cpu = time.perf_counter(), time.process_time()
        for number in range(events):
            time.sleep(max(0.0, start + number / per_second - time.perf_counter()))
            for reader in readers:
                reader.send(message)
        spent = time.process_time() - cpu
    print(spent / (events * sockets) * MICROSECONDS)


def _connected(port: int) -> socket.socket:
    reader = socket.create_connection((HOST, port))
    reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the servers do
    return reader


if __name__ == "__main__":
    typer.run(main)
