"""The TLS context of the metrics adapter."""

import secrets
import ssl
import tempfile
import weakref

from cryptography.hazmat.primitives import serialization

from livescore_operator.metrics_api.authentication import RequestHeaderConfig
from livescore_operator.metrics_api.certificates import Identity


class ServerTls:
    """TLS context that supports hot-reloading the server certificate and the client CA.

    Attributes:
        context: The context of the listener. Every handshake fails until a certificate and a client CA are set.
        config: The current client CA and header names; None until they are set.
    """

    def __init__(self) -> None:
        self.context = _context()
        self.context.sni_callback = self._select_context
        self.config: RequestHeaderConfig | None = None
        self._identity: Identity | None = None
        self._inner: ssl.SSLContext | None = None
        # Contexts with the current client CA. A context lives as long as the connections that use it.
        self._current: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()

    @property
    def is_ready(self) -> bool:
        """True if handshakes can succeed."""
        return self._inner is not None

    def set_identity(self, identity: Identity) -> None:
        """Replace the server certificate for new connections. Open connections are unaffected.

        Raises:
            ValueError: The certificate or its key is not usable.
        """
        if identity != self._identity:
            self._replace_context(identity, self.config)
            self._identity = identity

    def set_client_config(self, config: RequestHeaderConfig) -> None:
        """Replace the client CA and the header names. Connections under the previous CA are no longer current.

        Raises:
            ValueError: The CA certificates are not usable.
        """
        if config != self.config:
            self._replace_context(self._identity, config)
            self.config = config

    def is_current(self, connection: ssl.SSLObject) -> bool:
        """Return True if a connection's client certificate was verified with the current client CA."""
        return connection.context in self._current

    def _replace_context(self, identity: Identity | None, config: RequestHeaderConfig | None) -> None:
        if identity is None or config is None:
            return
        context = _context()
        try:
            if config.authorities:
                context.load_verify_locations(cadata=config.authorities)
            _load_certificate(context, identity)
        except ssl.SSLError as error:
            raise ValueError(f"not a usable certificate: {error}") from None
        if config != self.config:
            self._current.clear()
        self._current.add(context)
        self._inner = context

    def _select_context(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> int | None:
        """Switch a handshake to the current context. OpenSSL calls this even if the client sends no host name."""
        if self._inner is None:
            return int(ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)
        connection.context = self._inner
        return None


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Optional, so that probes need no certificate, and other clients get a 401 with an explanation.
    context.verify_mode = ssl.CERT_OPTIONAL
    # A resumed session would skip the verification with a CA that was replaced in the meantime.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context


def _load_certificate(context: ssl.SSLContext, identity: Identity) -> None:
    """Load the certificate and key. Python loads them from files only, so the key is written encrypted."""
    password = secrets.token_bytes(32)
    key = serialization.load_pem_private_key(identity.key.encode(), None)
    encrypted_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(identity.certificate.encode() + encrypted_key)
        file.flush()
        context.load_cert_chain(file.name, password=password)
