"""Addresses and credentials of API servers."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONTEXT = "tests"


@dataclass(frozen=True)
class Access:
    """URL and credentials of one API server.

    Attributes:
        url: ``http(s)://127.0.0.1:PORT``.
        ca: file of the CA that signed the server's certificate; None for plain HTTP.
        certificate, key: files of a client certificate, or None.
        token: bearer token, or None.
        namespace: namespace of the kubeconfig's context.
    """

    url: str
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token: str | None = None
    namespace: str = "default"

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context for connections; None for plain HTTP."""
        if self.ca is None:
            return None
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.certificate and self.key:
            context.load_cert_chain(self.certificate, self.key)
        return context

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that every request needs."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def write(self, path: Path) -> Path:
        """Write a kubeconfig, readable only by its owner, and return its path."""
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(self._kubeconfig(), sort_keys=False))
        return path

    def _kubeconfig(self) -> dict[str, Any]:
        cluster = {"server": self.url, "certificate-authority": _text(self.ca)}
        user = {"client-certificate": _text(self.certificate), "client-key": _text(self.key), "token": self.token}
        context = {"cluster": CONTEXT, "user": CONTEXT, "namespace": self.namespace}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": CONTEXT,
            "clusters": [{"name": CONTEXT, "cluster": _given(cluster)}],
            "users": [{"name": CONTEXT, "user": _given(user)}],
            "contexts": [{"name": CONTEXT, "context": context}],
        }


def _text(path: Path | None) -> str | None:
    return str(path) if path else None


def _given(values: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}
