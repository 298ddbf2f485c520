"""The adapter's certificate: its properties, and its timely renewal without a gap in trust."""

import base64
import ssl
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from livescore_operator.metrics_api.authentication import RequestHeaderConfig
from livescore_operator.metrics_api.certificates import AUTHORITY_LIFE, LIFE, SKEW, Identity, make, renewed
from livescore_operator.metrics_api.tls import ServerTls

HOST = "livescore-operator-metrics.livescore-system.svc"
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def certificate(identity: Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificate(identity.certificate.encode())


def ca_certificates(identity: Identity) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(identity.authorities.encode())


def is_trusted(shown: Identity, trusted: Identity) -> bool:
    """Return True if a CA of ``trusted`` signed the presented certificate."""
    issuers = {one.subject for one in ca_certificates(trusted)}
    return certificate(shown).issuer in issuers


def test_certificate_is_valid_for_one_host_and_ninety_days() -> None:
    shown = certificate(make(HOST, NOW))

    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = shown.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert names.get_values_for_type(x509.DNSName) == [HOST]
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not shown.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert (shown.not_valid_before_utc, shown.not_valid_after_utc) == (NOW - SKEW, NOW + LIFE)
    assert isinstance(key := shown.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_ca_lasts_a_year_and_signs_no_intermediate_cas() -> None:
    identity = make(HOST, NOW)
    (authority,) = ca_certificates(identity)

    certificate(identity).verify_directly_issued_by(authority)
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
    assert authority.not_valid_after_utc == NOW + AUTHORITY_LIFE


def test_two_identities_never_share_a_key() -> None:
    one, other = make(HOST, NOW), make(HOST, NOW)
    assert len({one.key, one.authority_key, other.key, other.authority_key}) == 4


def test_long_service_name_is_a_valid_host() -> None:
    host = f"{'s' * 63}.{'n' * 63}.svc"
    assert renewed(identity := make(host, NOW), host, NOW) is identity


def test_keys_are_hidden_in_representations() -> None:
    identity = make(HOST, NOW)
    assert "PRIVATE" not in repr(identity)
    assert "PRIVATE" not in str(identity)


# Secrets


def test_identity_round_trips_through_a_secret() -> None:
    identity = make(HOST, NOW)

    assert Identity.read(identity.data) == identity
    assert set(identity.data) == {"tls.crt", "tls.key", "ca.crt", "ca.key"}
    assert base64.b64decode(identity.data["tls.crt"]).startswith(b"-----BEGIN CERTIFICATE-----")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt", "ca.key"])
@pytest.mark.parametrize("value", [None, "", "%", encoded("nothing"), encoded("\n"), encoded("-----BEGIN X-----\n")])
def test_incomplete_secret_is_not_read(name: str, value: str | None) -> None:
    data = {**make(HOST, NOW).data, name: value}
    assert Identity.read({key: text for key, text in data.items() if text is not None}) is None


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt", "ca.key"])
def test_mismatched_parts_are_not_read(name: str) -> None:
    assert Identity.read({**make(HOST, NOW).data, name: make(HOST, NOW).data[name]}) is None


def test_non_elliptic_curve_key_is_not_read() -> None:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, form, plain).decode()
    assert Identity.read({**make(HOST, NOW).data, "tls.key": encoded(key)}) is None


# Renewal


def test_certificate_is_not_renewed_before_two_thirds_of_its_lifetime() -> None:
    identity = make(HOST, NOW)
    assert renewed(identity, HOST, NOW) is identity
    assert renewed(identity, HOST, NOW + LIFE * 2 / 3 - MINUTE) is identity


def test_certificate_is_renewed_by_the_same_ca() -> None:
    old = make(HOST, NOW)
    new = renewed(old, HOST, now := NOW + LIFE * 2 / 3)

    assert (new.authorities, new.authority_key) == (old.authorities, old.authority_key)
    assert new.key != old.key
    assert certificate(new).not_valid_after_utc == now + LIFE
    assert is_trusted(new, old)


def test_new_ca_is_trusted_for_an_hour_before_it_signs() -> None:
    identity, now = make(HOST, NOW), NOW
    while now < NOW + AUTHORITY_LIFE * 2 / 3:
        identity = renewed(identity, HOST, now)
        now += DAY
    before = identity
    assert len(ca_certificates(before)) == 1

    both = renewed(before, HOST, now)
    assert [one.not_valid_after_utc for one in ca_certificates(both)] == [now + AUTHORITY_LIFE, NOW + AUTHORITY_LIFE]
    assert (both.certificate, both.key) == (before.certificate, before.key)
    assert renewed(both, HOST, now + HOUR - MINUTE) is both

    new = renewed(both, HOST, now + HOUR)
    assert certificate(new).issuer == ca_certificates(both)[0].subject
    assert new.authorities == both.authorities


@pytest.mark.parametrize("step", [timedelta(hours=11), timedelta(days=1), timedelta(days=13)])
def test_presented_certificate_is_trusted_across_renewals_for_three_years(step: timedelta) -> None:
    """Servers and clients that are one step apart trust each other, in either direction."""
    states, now = [make(HOST, NOW)], NOW
    while now < NOW + timedelta(days=3 * 365):
        now += step
        states.append(renewed(states[-1], HOST, now))
        shown = certificate(states[-1])
        assert shown.not_valid_before_utc <= now < shown.not_valid_after_utc - LIFE / 4
        assert ca_certificates(states[-1])[0].not_valid_after_utc > now + LIFE
        assert len(ca_certificates(states[-1])) <= 2

    changes = [(old, new) for old, new in pairwise(states) if old is not new]
    assert all(is_trusted(old, new) and is_trusted(new, old) for old, new in changes)
    assert len({identity.authority_key for identity in states}) >= 4


def test_expired_ca_is_dropped() -> None:
    now, identity = NOW, make(HOST, NOW)
    while now < NOW + AUTHORITY_LIFE + LIFE:
        identity = renewed(identity, HOST, now)
        now += DAY
    assert all(one.not_valid_after_utc > now for one in ca_certificates(identity))


@pytest.mark.parametrize("later", [LIFE, AUTHORITY_LIFE, 10 * AUTHORITY_LIFE])
def test_everything_is_recreated_after_a_long_pause(later: timedelta) -> None:
    old = make(HOST, NOW)
    new = renewed(old, HOST, NOW + later)

    assert new.authority_key != old.authority_key
    assert renewed(new, HOST, NOW + later) is new


def test_changed_host_needs_a_new_certificate() -> None:
    new = renewed(make(HOST, NOW), "other.livescore-system.svc", NOW)
    assert renewed(new, "other.livescore-system.svc", NOW) is new


def test_certificate_not_signed_by_its_cas_is_recreated() -> None:
    one, other = make(HOST, NOW), make(HOST, NOW)
    mixed = Identity(one.authorities, other.certificate, one.authority_key, other.key)

    assert Identity.read(mixed.data) == mixed, "the parts are valid by themselves"
    assert renewed(mixed, HOST, NOW) != mixed


def test_openssl_accepts_the_certificate_in_strict_mode() -> None:
    identity = make(HOST, datetime.now(UTC))
    tls, client = ServerTls(), ssl.create_default_context(cadata=identity.authorities)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    tls.set_identity(identity)
    tls.set_client_config(RequestHeaderConfig(""))

    handshake(tls.context, client)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    """Perform a handshake in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_hostname=HOST), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].getpeercert()
