"""All servers listen on IPv4 and IPv6 where the host has both, and otherwise on the protocol it has."""

import errno
import shlex
import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import cache

import pytest

from livescore import addresses

# Commands that restrict the loopback interface of a new network namespace to one protocol.
NETWORKS = {
    "IPv6 only": "ip link set lo up && ip address del 127.0.0.1/8 dev lo",
    "IPv4 only": "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 && ip link set lo up",
    "both": "ip link set lo up",
}

LOOPBACKS = {"IPv6 only": ["::1"], "IPv4 only": ["127.0.0.1"], "both": ["::1", "127.0.0.1"]}

# Each program listens on HOST, then calls `check(port)`.
PROGRAMS = {
    "sockets": """
from livescore import addresses
sockets = addresses.bind(HOST, 0)
for each in sockets:
    each.listen()
check(sockets[0].getsockname()[1])
""",
    "management port of a worker": """
from livescore.jobs import management
from livescore.jobs.backlog import Backlog
from livescore.settings import load
settings = load(database_url="postgresql://db/x", redis_url="redis://r", management_host=HOST, management_port=9100)
with management.serve(settings, Backlog(settings, lambda: None), live=lambda: None, ready=lambda: None):
    check(9100, b"GET /health/live HTTP/1.1\\r\\nHost: [::1]\\r\\n\\r\\n", b"200 OK")
""",
    "operator": """
import asyncio
from aiohttp import web
from livescore_operator.listener import Listener
async def run():
    async with Listener(web.Application(), HOST, 8080, "test", "PORT"):
        await asyncio.to_thread(check, 8080, b"GET / HTTP/1.1\\r\\nHost: [::1]\\r\\n\\r\\n", b"404")
asyncio.run(run())
""",
    "API": """
import os, subprocess, sys, time
environment = {**os.environ, "DATABASE_URL": "postgresql://127.9.9.9/x", "REDIS_URL": "redis://127.9.9.9",
               "PORT": "8000", "MANAGEMENT_PORT": "9100", "HOST": HOST, "MANAGEMENT_HOST": HOST}
process = subprocess.Popen([sys.executable, "-m", "livescore", "api"], env=environment)
try:
    request = b"GET /health/live HTTP/1.1\\r\\nHost: [::1]\\r\\nConnection: close\\r\\n\\r\\n"
    check(9100, request, b"200 OK")
    check(8000, b"GET / HTTP/1.1\\r\\nHost: [::1]\\r\\nConnection: close\\r\\n\\r\\n", b"HTTP/1.1 ")
finally:
    process.terminate()
    process.wait(20)
""",
}

PREAMBLE = """
import socket, time
HOST, LOOPBACKS = {host!r}, {loopbacks!r}
def check(port, request=b"", expected=b""):
    for address in LOOPBACKS:
        deadline = time.monotonic() + 60
        while True:
            try:
                with socket.create_connection((address, port), 10) as connection:
                    connection.settimeout(10)
                    connection.sendall(request)
                    assert expected in (connection.recv(4096) if request else b""), address
                break
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
"""


@cache
def unavailable(network: str) -> str:
    """Return the reason why such a network cannot be created; empty if it can."""
    try:
        result = run(network, "pass")
    except FileNotFoundError:
        return "unshare is not installed"
    return result.stderr.strip() if result.returncode else ""


def run(network: str, program: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a network namespace of its own."""
    inner = f"{NETWORKS[network]} && exec {shlex.quote(sys.executable)} -c {shlex.quote(program)}"
    command = ["unshare", "--map-root-user", "--net", "sh", "-c", inner]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_servers_are_reachable_over_every_protocol_of_the_host(network: str, program: str) -> None:
    if why := unavailable(network):
        pytest.skip(f"no network namespace: {why}")
    preamble = PREAMBLE.format(host="*", loopbacks=LOOPBACKS[network])
    result = run(network, preamble + PROGRAMS[program])
    assert result.returncode == 0, result.stdout + result.stderr


def bound(host: str, port: int = 0) -> list[tuple[int, str, int]]:
    """Return family, address and port of each socket."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(each) for each in addresses.bind(host, port)]
        return [(each.family, *each.getsockname()[:2]) for each in sockets]


@pytest.mark.parametrize("host", addresses.EVERYWHERE)
def test_wildcard_host_opens_a_socket_per_protocol_on_one_port(host: str) -> None:
    found = bound(host)
    assert {address for _, address, _ in found} <= {"::", "0.0.0.0"}
    assert len({port for _, _, port in found}) == 1
    assert len({family for family, _, _ in found}) == len(found)


def test_address_opens_one_socket_with_or_without_brackets() -> None:
    assert [address for _, address, _ in bound("0.0.0.0")] == ["0.0.0.0"]
    assert [address for _, address, _ in bound("127.0.0.1")] == ["127.0.0.1"]
    if socket.has_ipv6:
        assert [address for _, address, _ in bound("[::1]")] == ["::1"]


def test_occupied_port_is_an_error_and_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use") as raised:
            addresses.bind("*", taken.getsockname()[1])
        assert raised.value.errno == errno.EADDRINUSE


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="assign"):
        addresses.bind("192.0.2.1", 0)
