"""What every API server of the tests offers, be it real or emulated."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from tests.support.kubernetes.access import Access

NODE = "tests"
"""The node that pods with logs run on (``spec.nodeName``); only a real server asks for it."""


class Logs:
    """What containers have written, as the kubelet would tell it."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str, str], str] = {}

    def write(self, namespace: str, pod: str, text: str) -> None:
        """Let a pod have logged this."""
        self._texts[namespace, pod] = text

    def read(self, namespace: str, pod: str, query: Mapping[str, str]) -> str:
        """The log, or its last ``tailLines``, of which at most ``limitBytes``."""
        lines = self._texts.get((namespace, pod), "").splitlines(keepends=True)
        tail = int(query.get("tailLines", len(lines)))
        text = "".join(lines[-tail:]) if tail else ""
        return text.encode()[: int(query.get("limitBytes", 1 << 30))].decode(errors="ignore")


class Server(ABC):
    """A running API server on loopback. Neither kind has controllers: what is stored stays as it is.

    Attributes:
        is_real: whether it has RBAC, CEL, the defaults and the checks of the built-in kinds.
        logs: what ``pods/log`` answers.
    """

    is_real: ClassVar[bool]

    def __init__(self) -> None:
        self.logs = Logs()

    @property
    @abstractmethod
    def name(self) -> str:
        """What it is, for people."""

    @property
    @abstractmethod
    def access(self) -> Access:
        """All rights."""

    @abstractmethod
    def access_of(self, namespace: str, account: str) -> Access:
        """The rights of a ServiceAccount that exists."""

    @abstractmethod
    def close(self) -> None:
        """Stop it; all its data is gone."""
