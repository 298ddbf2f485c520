"""The common interface of the real and the emulated API server."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from tests.support.kubernetes.access import Access

NODE = "tests"
"""The node of pods with logs (``spec.nodeName``); only a real server requires it."""


class Logs:
    """Logs of containers, as a kubelet would serve them."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, str], str] = {}

    def write(self, namespace: str, pod: str, text: str) -> None:
        """Set the log of a pod."""
        self._texts[namespace, pod] = text

    def read(self, namespace: str, pod: str, query: Mapping[str, str]) -> str:
        """Return the log, limited by ``tailLines`` and ``limitBytes``."""
        lines = self._texts.get((namespace, pod), "").splitlines(keepends=True)
        tail = int(query.get("tailLines", len(lines)))
        text = "".join(lines[-tail:]) if tail else ""
        return text.encode()[: int(query.get("limitBytes", 1 << 30))].decode(errors="ignore")


class Server(ABC):
    """A running API server on loopback. Neither kind has controllers: stored objects stay unchanged.

    Attributes:
        is_real: True if it has RBAC, CEL, and the defaults and validation of the built-in kinds.
        logs: contents of ``pods/log``.
    """

    is_real: ClassVar[bool]

    def __init__(self) -> None:
        self.logs = Logs()

    @property
    @abstractmethod
    def name(self) -> str:
        """Human-readable name and version."""

    @property
    @abstractmethod
    def access(self) -> Access:
        """Access with all permissions."""

    @abstractmethod
    def access_of(self, namespace: str, account: str) -> Access:
        """Return access with the permissions of an existing ServiceAccount."""

    @abstractmethod
    def close(self) -> None:
        """Stop the server and discard its data."""
