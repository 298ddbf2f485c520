"""Requests to endpoints: the address that was checked, TLS by name, and bounds on time and size."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from time import monotonic

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from livescore.jobs.webhooks.outcomes import Attempt
from livescore.jobs.webhooks.sender import MAX_RESPONSE_BYTES, Sender
from livescore.security.destinations import Address, Destinations, Resolver
from livescore.security.signatures import generate_secret
from tests.support.receivers import Receiver, Reply

BODY = b'{"type":"test","timestamp":"2026-06-14T19:00:00.000Z","data":{"seq":1}}'
SECRETS = [generate_secret()]
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def resolving(*answers: str) -> tuple[Resolver, list[str]]:
    """Return a resolver that gives these addresses one after the other, the last one for ever, and its log."""
    asked: list[str] = []

    async def resolve(host: str, _: int) -> list[Address]:
        asked.append(host)
        return [ip_address(answers[min(len(asked), len(answers)) - 1])]

    return resolve, asked


async def send(url: str, *, destinations: Destinations | None = None, timeout: float = 5.0) -> Attempt:
    sender = Sender(destinations or Destinations(LOOPBACK), timeout)
    try:
        return await sender.send(url, "evt_1", BODY, SECRETS)
    finally:
        await sender.close()


async def test_request_goes_to_the_checked_address_with_the_name_as_host(receiver: Receiver) -> None:
    resolve, asked = resolving("127.0.0.1")
    url = f"http://hooks.example:{receiver.port}/in?x=1"
    attempt = await send(url, destinations=Destinations(LOOPBACK, resolve))
    assert (attempt.status, attempt.error) == (204, "")
    (request,) = receiver.requests["/in?x=1"]
    assert request.headers["host"] == f"hooks.example:{receiver.port}"
    assert request.body == BODY
    assert asked == ["hooks.example"]  # once: nothing resolves it again after the check


async def test_name_that_moves_to_a_private_address_is_refused_at_the_next_connection(receiver: Receiver) -> None:
    resolve, _ = resolving("127.0.0.1", "10.0.0.1")
    receiver.behave("/", lambda request, number: Reply(headers={"Connection": "close"}))
    sender = Sender(Destinations(LOOPBACK, resolve), 5)
    url = f"http://rebinding.example:{receiver.port}/"
    assert (await sender.send(url, "evt_1", BODY, SECRETS)).status == 204
    refused = await sender.send(url, "evt_2", BODY, SECRETS)
    await sender.close()
    assert refused.status is None
    assert "10.0.0.1, which is not a public address" in refused.error
    assert len(receiver.requests["/"]) == 1


async def test_connections_are_reused_and_idle_ones_released(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = Sender(Destinations(LOOPBACK), 5)
    for _ in range(3):
        await sender.send(receiver.url(), "evt_1", BODY, SECRETS)
    await sender.release_idle()
    await sender.send(receiver.url(), "evt_1", BODY, SECRETS)
    assert receiver.connections == 1
    later = monotonic() + 1_000
    monkeypatch.setattr("livescore.jobs.webhooks.sender.monotonic", lambda: later)
    await sender.release_idle()
    await sender.send(receiver.url(), "evt_1", BODY, SECRETS)
    await sender.close()
    assert receiver.connections == 2


async def test_refused_and_unknown_names_and_closed_ports_are_temporary_failures(receiver: Receiver) -> None:
    async def fails(_: str, __: int) -> list[Address]:
        raise OSError("unknown name")

    attempts = [
        await send(receiver.url(), destinations=Destinations(())),
        await send("http://nowhere.example/", destinations=Destinations(LOOPBACK, fails)),
        await send("http://127.0.0.1:1/"),
    ]
    assert [attempt.status for attempt in attempts] == [None, None, None]
    assert all(attempt.error for attempt in attempts)
    assert receiver.requests == {}


async def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.behave("/", lambda request, number: Reply(307, {"Location": "/elsewhere"}))
    attempt = await send(receiver.url())
    assert attempt.status == 307
    assert "redirects are not followed" in attempt.error
    assert receiver.requests["/elsewhere"] == []


@pytest.mark.parametrize(
    "reply", [Reply(delay=30), Reply(200, body=b"x" * 1000, drip=0.1)], ids=["late head", "dripping body"]
)
async def test_time_is_bounded_for_the_whole_request(receiver: Receiver, reply: Reply) -> None:
    receiver.behave("/", lambda request, number: reply)
    started = monotonic()
    attempt = await send(receiver.url(), timeout=0.5)
    assert monotonic() - started < 3.0
    assert (attempt.status, attempt.error) == (None, "no complete answer within 0.5 s")


async def test_large_response_is_read_up_to_a_limit_and_still_counts(receiver: Receiver) -> None:
    body = b"x" * (20 * MAX_RESPONSE_BYTES)
    receiver.behave("/", lambda request, number: Reply(200, body=body))
    attempt = await send(receiver.url())
    assert (attempt.status, attempt.error) == (200, "")


async def test_answer_that_is_not_http_is_a_temporary_failure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    attempt = await send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    server.close()
    assert attempt.status is None
    assert attempt.error


@pytest.mark.parametrize("form", ["seconds", "date", "nonsense"])
async def test_retry_after_is_seconds_or_a_date(receiver: Receiver, form: str) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True)
    value = {"seconds": "120", "date": moment, "nonsense": "soon"}[form]
    receiver.behave("/", lambda request, number: Reply(503, {"Retry-After": value}))
    attempt = await send(receiver.url())
    assert attempt.retry_after == (None if form == "nonsense" else pytest.approx(120, abs=5))


async def test_tls_verifies_the_name_although_the_connection_goes_to_an_address(tmp_path: Path) -> None:
    authority = _write_certificate(tmp_path, "hooks.example")
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    names: list[str | None] = []
    server_tls.sni_callback = lambda connection, name, context: names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(BODY))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        names.append(head.decode().lower().partition("host: ")[2].partition("\r\n")[0])

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_tls)
    port = server.sockets[0].getsockname()[1]
    resolve, _ = resolving("127.0.0.1")
    sender = Sender(Destinations(LOOPBACK, resolve), 5, ssl.create_default_context(cafile=str(authority)))
    right = await sender.send(f"https://hooks.example:{port}/", "evt_1", BODY, SECRETS)
    wrong = await sender.send(f"https://other.example:{port}/", "evt_1", BODY, SECRETS)
    await sender.close()
    server.close()
    assert (right.status, right.error) == (200, "")
    assert names[:2] == ["hooks.example", f"hooks.example:{port}"]
    assert wrong.status is None
    assert "certificate" in wrong.error


def _write_certificate(directory: Path, name: str) -> Path:
    """Write a self-signed certificate and its key. Returns the path of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return path
