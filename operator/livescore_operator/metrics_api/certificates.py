"""The adapter's own authority and the certificate that it signs: made, renewed, kept as the data of a Secret.

Nobody else needs to trust this authority: the operator tells the API server of it in the APIServices. It is replaced
in two steps, so that no moment is left in which what is shown is not what is trusted::

    new authority     trusted beside the old one, signs nothing yet
    an hour later     signs a new certificate; the old authority stays trusted until it has expired
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

# Short, since nobody can take a certificate of a lost key back.
LIFE = timedelta(days=90)

# Part of its life after which a certificate is replaced; the last third is for people to notice that it was not.
RENEW_FRACTION = 2 / 3

# Until a new authority signs. Replicas look at the Secret, and the leader at the APIServices, once a minute.
OVERLAP = timedelta(hours=1)

# How far the clock of an API server may be behind.
SKEW = timedelta(minutes=5)

COMMON_NAME = "livescore-operator-metrics"

# The names that the type kubernetes.io/tls has for them, and those that are usual beside it.
CERTIFICATE, KEY, AUTHORITIES, AUTHORITY_KEY = "tls.crt", "tls.key", "ca.crt", "ca.key"


@dataclass(frozen=True)
class Identity:
    """Who the adapter is, in PEM.

    Attributes:
        authorities: Certificates to trust, the newest first.
        authority_key: Private key of the newest.
        certificate: What is shown.
        key: Its private key.
    """

    authorities: str
    certificate: str
    authority_key: str = field(repr=False)
    key: str = field(repr=False)

    @classmethod
    def read(cls, data: Mapping[str, str]) -> "Identity | None":
        """That in the data of a Secret; None where it is not whole, or its keys are not those of its certificates."""
        try:
            texts = [base64.b64decode(data[name]).decode() for name in (AUTHORITIES, CERTIFICATE, AUTHORITY_KEY, KEY)]
            identity = cls(*texts)
            fits = _fits(identity.authorities, identity.authority_key) and _fits(identity.certificate, identity.key)
        except (KeyError, ValueError, TypeError, binascii.Error):
            return None
        return identity if fits else None

    @property
    def data(self) -> dict[str, str]:
        """The data of a Secret."""
        texts = {
            CERTIFICATE: self.certificate,
            KEY: self.key,
            AUTHORITIES: self.authorities,
            AUTHORITY_KEY: self.authority_key,
        }
        return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def make(host: str, now: datetime) -> Identity:
    """A new authority, and a certificate of it for ``host``; ``now`` is aware."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _signed(host, [_authority(key, now)], key, now)


def renewed(old: Identity, host: str, now: datetime) -> Identity:
    """What the identity should be by now: ``old`` itself where nothing is due."""
    authorities = [one for one in _certificates(old.authorities) if not _expired(one, now)]
    certificate = x509.load_pem_x509_certificate(old.certificate.encode())
    if not authorities or _expired(certificate, now) or not _serves(certificate, authorities, host):
        return make(host, now)
    if _is_due(authorities[0], now):
        return _with_new_authority(old, authorities, now)
    is_due = _is_due(certificate, now) or not _is_issuer(authorities[0], certificate)
    if is_due and now - authorities[0].not_valid_before_utc - SKEW >= OVERLAP:
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
    # A name of its own: with two of the same name, whoever checks a chain would have to try both.
    name = _name(f"{COMMON_NAME} {now:%Y-%m-%d %H:%M:%S}")
    builder = _builder(name, name, key, now, AUTHORITY_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.add_extension(_usage(authority=True), critical=True).sign(key, hashes.SHA256())


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
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(identifier, critical=False)
    return builder.not_valid_before(now - SKEW).not_valid_after(now + life)


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


# What is there


def _serves(certificate: x509.Certificate, authorities: Sequence[x509.Certificate], host: str) -> bool:
    """Whether it is for this host, and of one of these authorities."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return host in names.get_values_for_type(x509.DNSName) and any(_is_issuer(one, certificate) for one in authorities)


def _is_issuer(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _is_due(certificate: x509.Certificate, now: datetime) -> bool:
    start, end = certificate.not_valid_before_utc + SKEW, certificate.not_valid_after_utc
    return now >= start + (end - start) * RENEW_FRACTION


def _expired(certificate: x509.Certificate, now: datetime) -> bool:
    return now >= certificate.not_valid_after_utc


def _fits(certificates: str, key: str) -> bool:
    """Whether the first certificate is that of the key."""
    return _certificates(certificates)[0].public_key() == _private(key).public_key()


# PEM


def _certificates(text: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text.encode())


def _private(text: str) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(text.encode(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("no key of an elliptic curve")
    return key


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, plain).decode()
