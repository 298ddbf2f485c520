"""Diagnostics that are printed when a test fails: objects, events and logs, read by ``kubectl``."""

from contextlib import suppress

from tests.e2e.kubectl import CommandError, Kubectl

TAIL_LINES = 60
"""Lines printed of each pod's log."""

OPERATOR_LINES = 150

LOOKS = (
    "get all,pvc,secret,networkpolicy -o wide",
    "get lsc -o yaml",
    "describe lsc",
    "describe pods",
    "get events --sort-by=.lastTimestamp",
)


def print_namespace(kubectl: Kubectl, system: Kubectl) -> None:
    """Print the objects and logs of a namespace, and the state of the operator.

    Args:
        kubectl: bound to the namespace of the test.
        system: bound to the namespace of the operator.
    """
    for look in LOOKS:
        _print(kubectl, *look.split())
    for pod in _names(kubectl):
        _print(kubectl, "logs", pod, "--all-containers", "--prefix", f"--tail={TAIL_LINES}")
    print_operator(system)


def print_operator(system: Kubectl) -> None:
    """Print the pods, Lease, events and logs of the operator."""
    _print(system, "get", "pods,lease,events", "-o", "wide")
    for pod in _names(system):
        _print(system, "logs", pod, f"--tail={OPERATOR_LINES}")


def _names(kubectl: Kubectl) -> list[str]:
    with suppress(CommandError):
        return kubectl.run("get", "pods", "-o", "name").split()
    return []


def _print(kubectl: Kubectl, *arguments: str) -> None:
    try:
        text = kubectl.run(*arguments)
    except CommandError as error:
        text = str(error)
    print(f"--- kubectl {' '.join(arguments)} ---\n{text}")
