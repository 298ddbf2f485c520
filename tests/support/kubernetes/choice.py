"""Selection of the API server for the operator's tests."""

from pathlib import Path

from tests.support.kubernetes import apiserver
from tests.support.kubernetes.apiserver import ApiServer
from tests.support.kubernetes.emulator import Emulator
from tests.support.kubernetes.server import Server

REAL, EMULATED = "apiserver", "emulator"


def chosen() -> str:
    """Return ``apiserver`` if its binaries are available, else ``emulator``."""
    return EMULATED if apiserver.missing() else REAL


def header() -> str:
    """Return the line about the API server for pytest's header."""
    why = apiserver.missing()
    return f"operator tests: {'the emulator, as ' + why if why else 'a real kube-apiserver'}"


def start(which: str, directory: Path) -> Server:
    """Start an API server with an empty data directory."""
    return ApiServer(directory) if which == REAL else Emulator()
