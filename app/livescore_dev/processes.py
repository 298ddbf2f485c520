"""Child processes that end with their parent and run without privileges."""

import os
import shutil
import signal
from pathlib import Path

UNPRIVILEGED_ID = 65534
"""User and group of servers that are started by root: `nobody`, which exists on every system."""

_SETPCAP = 8
"""Number of the capability that ``setpriv`` needs to empty the bounding set. Containers may lack it."""


def guarded(command: list[str], death_signal: signal.Signals) -> list[str]:
    """Wrap a command so that it receives ``death_signal`` when this process dies, even by SIGKILL.

    Works on Linux only; elsewhere the command is returned unchanged. The kernel watches the *thread* that starts the
    child, so start it from a thread that lives as long as the process, such as the main thread.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return command
    return [setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG"), *command]


def is_root() -> bool:
    """Return True if this process runs as root."""
    return os.geteuid() == 0


def unprivileged(setpriv: str, command: list[str], user: int, group: int) -> list[str]:
    """Wrap a command so that root runs it as another user, without capabilities or a way to regain them."""
    options = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--inh-caps=-all", "--ambient-caps=-all"]
    if _effective_capabilities() >> _SETPCAP & 1:
        options.append("--bounding-set=-all")
    return [setpriv, *options, "--no-new-privs", *command]


def _effective_capabilities() -> int:
    """Return the bit mask of this process's effective capabilities; 0 where ``/proc`` does not show them."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    for line in status.read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
