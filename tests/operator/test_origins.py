"""``api.allowedOrigins`` is checked by the rules of the service."""

import pytest

from livescore.web_origin import parse_list
from livescore_operator import origins
from livescore_operator.errors import Terminal

VALID = [
    "https://app.example.com",
    "http://localhost:3000",
    "https://app.example.com/",
    "HTTPS://APP.EXAMPLE.COM:443",
    "https://münchen.example",
    "http://[::1]:8080",
    "capacitor://localhost",
    "*",
    "null",
    "https://a.example,https://b.example",
]
INVALID = [
    "app.example.com",
    "https://",
    "https://app.example.com/path",
    "https://app.example.com?x",
    "https://*.example.com",
    "https://me@app.example.com",
    "wss://app.example.com",
    "https://app.example.com:port",
    "https://app.example.com:99999",
]


@pytest.mark.parametrize("origin", VALID)
def test_values_accepted_by_the_service_are_valid(origin: str) -> None:
    origins.require_valid(["https://first.example", origin])
    parse_list(origin)


@pytest.mark.parametrize("origin", INVALID)
def test_values_refused_by_the_service_are_invalid_with_the_field_named(origin: str) -> None:
    with pytest.raises(ValueError, match="entry 1"):
        parse_list(origin)
    with pytest.raises(Terminal) as raised:
        origins.require_valid(["https://first.example", origin])
    assert raised.value.reason == "Invalid"
    assert f"api.allowedOrigins[1]: {origin!r} is not a web origin" in raised.value.message
    assert "[0]" not in raised.value.message
