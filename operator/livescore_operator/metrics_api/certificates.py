"""The CA and the server certificate of the metrics adapter: created, renewed, and stored as the data of a Secret.

Only the API server has to trust this CA; it learns it from the APIServices. The CA is replaced in two steps, so that
the certificate in use is trusted at every moment::

    new CA            trusted in addition to the old one, signs nothing yet
    an hour later     signs a new certificate; the old CA stays trusted until it expires
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=365)

# Short, because a certificate cannot be revoked if its key leaks.
LIFE = timedelta(days=90)

# Part of its lifetime after which a certificate is renewed. If renewal fails, the last third is left to notice it.
RENEW_FRACTION = 2 / 3

# Time before a new CA signs. Replicas read the Secret, and the leader updates the APIServices, once a minute.
OVERLAP = timedelta(hours=1)

# Tolerated clock skew of API servers: certificates are valid from this long before their creation.
SKEW = timedelta(minutes=5)

COMMON_NAME = "livescore-operator-metrics"

# Keys of a Secret: those of type kubernetes.io/tls, and the usual names for a CA.
CERTIFICATE, KEY, AUTHORITIES, AUTHORITY_KEY = "tls.crt", "tls.key", "ca.crt", "ca.key"


@dataclass(frozen=True)
class Identity:
    """CA and server certificate of the adapter, in PEM.

    Attributes:
        authorities: CA certificates to trust, the newest first.
        certificate: Server certificate.
        authority_key: Private key of the newest CA certificate.
        key: Private key of the server certificate.
    """

    authorities: str
    certificate: str
    authority_key: str = field(repr=False)
    key: str = field(repr=False)

    @classmethod
    def read(cls, data: Mapping[str, str]) -> "Identity | None":
        """Parse the data of a Secret. Returns None if a part is missing or a key does not match its certificate."""
        try:
            texts = [base64.b64decode(data[name]).decode() for name in (AUTHORITIES, CERTIFICATE, AUTHORITY_KEY, KEY)]
            identity = cls(*texts)
            valid = _matches(identity.authorities, identity.authority_key) and _matches(
                identity.certificate, identity.key
            )
        except (KeyError, ValueError, TypeError, binascii.Error):
            return None
        return identity if valid else None

    @property
    def data(self) -> dict[str, str]:
        """The data for a Secret."""
        texts = {
            CERTIFICATE: self.certificate,
            KEY: self.key,
            AUTHORITIES: self.authorities,
            AUTHORITY_KEY: self.authority_key,
        }
        return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def make(host: str, now: datetime) -> Identity:
    """Create a CA and a server certificate for a DNS name. ``now`` has a time zone."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _signed(host, [_authority(key, now)], key, now)


def renewed(old: Identity, host: str, now: datetime) -> Identity:
    """Return the identity after the next renewal step that is due; ``old`` itself if none is."""
    authorities = [authority for authority in _certificates(old.authorities) if not _expired(authority, now)]
    certificate = x509.load_pem_x509_certificate(old.certificate.encode())
    if not authorities or _expired(certificate, now) or not _serves(certificate, authorities, host):
        return make(host, now)
    if _is_due(authorities[0], now):
        return _with_new_authority(old, authorities, now)
    needs_signing = _is_due(certificate, now) or not _is_issuer(authorities[0], certificate)
    created = authorities[0].not_valid_before_utc + SKEW
    if needs_signing and now - created >= OVERLAP:
        return _signed(host, authorities, _private(old.authority_key), now)
    return old


def _with_new_authority(old: Identity, authorities: Sequence[x509.Certificate], now: datetime) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    return Identity(_pem([_authority(key, now), *authorities]), old.certificate, _pem_key(key), old.key)


def _signed(
    host: str, authorities: Sequence[x509.Certificate], authority_key: ec.EllipticCurvePrivateKey, now: datetime
) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(host, key, authorities[0], authority_key, now)
    return Identity(_pem(authorities), _pem([certificate]), _pem_key(authority_key), _pem_key(key))


def _authority(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    # A unique name: verifying a chain with two CAs of the same name would have to try both.
    name = _name(f"{COMMON_NAME} {now:%Y-%m-%d %H:%M:%S}")
    return (
        _builder(name, name, key, now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _certificate(
    host: str,
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(_name(COMMON_NAME), authority.subject, key, now, LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
        .add_extension(identifier, critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


# Inspection


def _serves(certificate: x509.Certificate, authorities: Sequence[x509.Certificate], host: str) -> bool:
    """Return True if a certificate is valid for a host and issued by one of the CAs."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if host not in names.get_values_for_type(x509.DNSName):
        return False
    return any(_is_issuer(authority, certificate) for authority in authorities)


def _is_issuer(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_due(certificate: x509.Certificate, now: datetime) -> bool:
    start = certificate.not_valid_before_utc + SKEW
    lifetime = certificate.not_valid_after_utc - start
    return now >= start + lifetime * RENEW_FRACTION


def _expired(certificate: x509.Certificate, now: datetime) -> bool:
    return now >= certificate.not_valid_after_utc


def _matches(certificates: str, key: str) -> bool:
    """Return True if a key belongs to the first of the certificates."""
    return _certificates(certificates)[0].public_key() == _private(key).public_key()


# PEM


def _certificates(text: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text.encode())


def _private(text: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(text.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic-curve key")
    return key


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(certificate.public_bytes(serialization.Encoding.PEM).decode() for certificate in certificates)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()
