"""What a person would look at first when a test failed: printed with it, and read by ``kubectl``."""

from contextlib import suppress

from tests.e2e.kubectl import CommandError, Kubectl

TAIL_LINES = 60
"""Of each log, in lines."""

OPERATOR_LINES = 150

LOOKS = (
    "get all,pvc,secret,networkpolicy -o wide",
    "get lsc -o yaml",
    "describe lsc",
    "describe pods",
    "get events --sort-by=.lastTimestamp",
)


def show(kubectl: Kubectl, system: Kubectl) -> None:
    """Print what is in a namespace, and what the operator said.

    Args:
        kubectl: in the namespace of the test.
        system: in that of the operator.
    """
    for look in LOOKS:
        _print(kubectl, *look.split())
    for pod in _names(kubectl):
        _print(kubectl, "logs", pod, "--all-containers", "--prefix", f"--tail={TAIL_LINES}")
    show_system(system)


def show_system(system: Kubectl) -> None:
    """Print how the operator is, and what it said."""
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
