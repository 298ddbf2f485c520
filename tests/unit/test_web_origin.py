"""Spellings of an origin: equivalent ones are equal, and invalid ones are refused with the reason."""

from typing import Any

import pytest

from livescore import web_origin
from livescore.settings import SettingsError, load
from livescore.web_origin import OriginError


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://app.example", "https://app.example"),
        ("https://app.example/", "https://app.example"),
        ("HTTPS://App.EXAMPLE", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80/", "http://app.example"),
        ("https://app.example:", "https://app.example"),
        ("https://app.example:08443", "https://app.example:8443"),
        ("http://app.example:443", "http://app.example:443"),
        ("https://app.example.", "https://app.example."),
        ("https://Bücher.example", "https://xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("https://日本。jp", "https://xn--wgv71a.jp"),
        ("http://[2001:DB8:0:0::1]:80", "http://[2001:db8::1]"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("capacitor://LocalHost", "capacitor://localhost"),
        ("chrome-extension://AbCd", "chrome-extension://abcd"),
        ("null", "null"),
    ],
)
def test_origin_has_one_canonical_spelling(text: str, origin: str) -> None:
    assert web_origin.normalize(text) == origin
    assert web_origin.normalize(origin) == origin


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("app.example", "scheme"),
        ("localhost:3000", "scheme"),
        ("//app.example", "scheme"),
        ("://app.example", "scheme"),
        ("NULL", "scheme"),
        ("", "scheme"),
        ("https://app.example/path", "path"),
        ("https://app.example//", "path"),
        ("https://app.example?x=1", "query"),
        ("https://app.example/?", "query"),
        ("https://app.example#top", "fragment"),
        ("https://user:secret@app.example", "user information"),
        ("https://*.example.com", "wildcards"),
        ("https://*", "wildcards"),
        ("https://app.example:*", "wildcards"),
        ("https://", "must be like"),
        ("https:///", "path"),
        ("file:///", "path"),
        ("https://app.example:99999", "port"),
        ("https://app.example:http", "port"),
        ("https://[::1", "IPv6"),
        ("https://[fe80::1%25eth0]", "IPv6"),
        ("https://a b", "must be like"),
        ("'https://app.example'", "must be like"),
        ("https:\\\\app.example", "scheme"),
        ("wss://app.example", "https://"),
        ("ws://app.example", "http://"),
    ],
)
def test_invalid_origin_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(OriginError, match=reason):
        web_origin.normalize(text)


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", ["*"]),
        ("https://a.example,https://b.example", ["https://a.example", "https://b.example"]),
        (" https://a.example/ , ,HTTPS://B.example:443,\n", ["https://a.example", "https://b.example"]),
        ("https://a.example\nhttps://b.example\n", ["https://a.example", "https://b.example"]),
        ("https://a.example,https://A.example/", ["https://a.example"]),
        ('["https://a.example/", " null "]', ["https://a.example", "null"]),
        ('["*"]', ["*"]),
        ("[]", []),
        (",", []),
    ],
)
def test_lists_may_use_commas_lines_or_json(text: str, origins: list[str]) -> None:
    assert web_origin.parse_list(text) == origins


def settings_error(text: str) -> str:
    """Return the error for a value of ``ALLOWED_ORIGINS``."""
    urls: dict[str, Any] = {"database_url": "postgresql://localhost/x", "redis_url": "redis://localhost"}
    with pytest.raises(SettingsError) as error:
        load(**urls, allowed_origins=text)
    return str(error.value)


@pytest.mark.parametrize("text", ['["https://a.example"', "[1]", '[["https://a.example"]]', "[https://a.example]"])
def test_malformed_json_list_is_an_error_at_start(text: str) -> None:
    assert "ALLOWED_ORIGINS: " in settings_error(text)


def test_invalid_entries_are_named_by_position_not_value() -> None:
    message = settings_error("https://a.example, b.example, https://user:hunter2@c.example, https://d.example/x")
    assert all(f"entry {place} must" in message for place in (2, 3, 4))
    assert "entry 1" not in message
    assert "hunter2" not in message
