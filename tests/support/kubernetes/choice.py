"""Which API server the operator's tests use."""

from pathlib import Path

from tests.support.kubernetes import apiserver
from tests.support.kubernetes.apiserver import ApiServer
from tests.support.kubernetes.emulator import Emulator
from tests.support.kubernetes.server import Server

REAL, EMULATED = "apiserver", "emulator"


def chosen() -> str:
    """The real one where its binaries are, else the emulator."""
    return EMULATED if apiserver.missing() else REAL


def header() -> str:
    """What pytest says of it."""
    why = apiserver.missing()
    return f"operator tests: {'the emulator, as ' + why if why else 'a real kube-apiserver'}"


def start(which: str, directory: Path) -> Server:
    """Start one of them, in an empty directory."""
    return ApiServer(directory) if which == REAL else Emulator()
