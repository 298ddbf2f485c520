"""One policy for CORS and WebSockets: both admit the same pages, in any spelling, and set Vary for caches."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from livescore.api.middleware.websocket_origin import WebSocketOrigin
from livescore.security import origins
from livescore.security.origins import OriginPolicy
from livescore.settings import load

Headers = list[tuple[bytes, bytes]]


def policy(allowed: str = "") -> OriginPolicy:
    """Return the policy for a value of ``ALLOWED_ORIGINS``."""
    urls: dict[str, Any] = {"database_url": "postgresql://localhost/x", "redis_url": "redis://localhost"}
    return OriginPolicy(load(**urls, allowed_origins=allowed))


def head(*origin: str, host: str = "scores.example") -> Headers:
    return [(b"host", host.encode()), *((b"origin", value.encode()) for value in origin)]


@pytest.mark.parametrize(
    ("allowed", "origin", "expected"),
    [
        ("https://app.example", "https://app.example", True),
        ("https://app.example/", "https://app.example", True),
        ("HTTPS://APP.example:443", "https://app.example", True),
        ("https://app.example", "https://App.example:443", True),
        ("https://bücher.example", "https://xn--bcher-kva.example", True),
        ('["https://app.example"]', "https://app.example", True),
        ("http://[::1]:80", "http://[0:0::1]", True),
        ("https://app.example, https://b.example", "https://b.example", True),
        ("null", "null", True),
        ("*", "https://evil.example", True),
        ("*", "null", True),
        ("https://app.example", "http://app.example", False),
        ("https://app.example", "https://app.example:8443", False),
        ("https://app.example", "https://app.example.evil.example", False),
        ("https://app.example", "https://evil.example/https://app.example", False),
        ("https://app.example", "https://user@app.example", False),
        ("https://app.example", "https://app.example, https://app.example", False),
        ("https://app.example", "null", False),
        ("https://app.example", "nonsense", False),
        ("", "https://app.example", False),
        ("", "null", False),
    ],
)
def test_requests_and_sockets_accept_the_same_origins(allowed: str, origin: str, expected: bool) -> None:
    made, headers = policy(allowed), head(origin)
    assert made.allows_socket(headers) is made.allows_request(headers) is expected
    assert (b"access-control-allow-origin" in dict(made.response_headers(headers))) is expected


def test_repeated_origin_header_is_refused() -> None:
    made = policy("https://app.example")
    assert not made.allows_socket(head("https://app.example", "https://app.example"))
    assert not made.allows_request(head("https://app.example", "https://app.example"))


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("scores.example", "https://scores.example", True),
        ("scores.example", "https://SCORES.example", True),
        ("Scores.example:443", "https://scores.example", True),
        ("scores.example:80", "https://scores.example", False),
        ("[::1]:8000", "http://[0::1]:8000", True),
        ("scores.example", "https://scores.example.evil.example", False),
        ("scores.example", "app://scores.example", False),
        ("scores.example", "null", False),
        ("null", "null", False),
        ("", "https://", False),
    ],
)
def test_same_origin_pages_may_open_sockets(host: str, origin: str, expected: bool) -> None:
    assert policy().allows_socket(head(origin, host=host)) is expected


def test_requests_without_an_origin_may_connect() -> None:
    assert policy("https://app.example").allows_socket(head())
    assert policy("https://app.example").allows_socket([])


def test_responses_vary_by_origin() -> None:
    listed = policy("https://app.example")
    for headers in (head(), head("https://app.example"), head("https://evil.example")):
        assert (b"vary", b"Origin") in listed.response_headers(headers)
    assert policy("*").response_headers(head()) == policy("*").response_headers(head("https://any.example"))
    assert policy().response_headers(head("https://any.example")) == []


def test_refused_origin_is_logged_once_with_the_setting() -> None:
    made = policy("https://app.example")
    with capture_logs() as logs:
        for _ in range(3):
            made.hint(head("https://evil.example"))
    assert len(logs) == 1
    assert "ALLOWED_ORIGINS" in logs[0]["event"]
    assert (logs[0]["origin"], logs[0]["allowed"]) == ("https://evil.example", ["https://app.example"])


def test_log_lines_about_forged_origins_are_few_and_short() -> None:
    made = policy()
    with capture_logs() as logs:
        for number in range(1_000):
            made.hint(head(f"https://{number}.{'x' * 5_000}.example"))
        made.hint(head("https://scores.example"))  # same host: nothing is refused
        made.hint(head())
    assert len(logs) == origins._HINTED_ORIGINS
    assert max(len(line["origin"]) for line in logs) <= 200


@pytest.mark.parametrize(("origin", "passed"), [("https://scores.example", True), ("https://evil.example", False)])
async def test_handshake_from_a_foreign_page_gets_403(origin: str, passed: bool) -> None:
    reached: list[Any] = []
    sent: list[Any] = []

    async def application(scope: Any, *_: Any) -> None:
        reached.append(scope)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "headers": head(origin), "extensions": {"websocket.http.response": {}}}
    await WebSocketOrigin(application, policy=policy())(scope, receive, send)
    assert bool(reached) is passed
    assert passed or (sent[0]["status"], sent[1]["body"]) == (403, b'{"error":"Origin not allowed"}')
