"""New keys and certificates for one API server, made with ``openssl``."""

import shutil
import subprocess
from pathlib import Path

DAYS = "2"
"""Longer than any test run, but too short for a leaked key to matter."""

EXTENSIONS = {
    "server": ["subjectAltName=IP:127.0.0.1,DNS:localhost", "extendedKeyUsage=serverAuth"],
    "client": ["extendedKeyUsage=clientAuth"],
}


class Certificates:
    """A CA and the certificates it signed, as files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.ca = directory / "ca.crt"
        self._openssl("req", "-x509", *_key(self.key("ca")), "-subj", "/CN=tests-ca", "-days", DAYS, "-out", self.ca)

    def issue(self, name: str, subject: str, usage: str) -> tuple[Path, Path]:
        """Create a key and its certificate.

        Parameters:
            subject: ``/O=group/CN=user``.
            usage: ``server`` or ``client``.

        Returns:
            The files of the certificate and of the key.
        """
        certificate = self._directory / f"{name}.crt"
        extensions = [part for value in EXTENSIONS[usage] for part in ("-addext", value)]
        signer: list[str | Path] = ["-CA", self.ca, "-CAkey", self.key("ca"), "-days", DAYS, "-out", certificate]
        self._openssl("req", "-x509", *_key(self.key(name)), "-subj", subject, *extensions, *signer)
        return certificate, self.key(name)

    def pair(self, name: str) -> tuple[Path, Path]:
        """Create a key pair for signing tokens, and return the files of the private and the public key."""
        public = self._directory / f"{name}.pub"
        self._openssl("genrsa", "-out", self.key(name), "2048")
        self._openssl("rsa", "-in", self.key(name), "-pubout", "-out", public)
        return self.key(name), public

    def key(self, name: str) -> Path:
        """Return the file of a private key."""
        return self._directory / f"{name}.key"

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            raise FileNotFoundError("openssl is needed to create the certificates of the API server")
        subprocess.run([openssl, *arguments], check=True, capture_output=True)


def _key(path: Path) -> list[str | Path]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]
