"""Limits without Redis: the address a client is counted under, and its number of sockets."""

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore import settings as configuration
from livescore.security.client_address import ClientAddress
from livescore.security.connection_caps import ConnectionCaps, TooManyConnections

PROXIES = [ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")]


def _settings(**overrides: Any) -> configuration.Settings:
    defaults = {"database_url": "postgresql://localhost/x", "redis_url": "redis://localhost"}
    return configuration.load(**{**defaults, **overrides})


def _scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"type": "http", "client": (peer, 1234) if peer is not None else None, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # not a trusted proxy: its header is ignored
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # only the rightmost was seen by a proxy
        ("10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),  # two header lines are one list
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8:1:2:3::4]:4711"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("2001:db8:ffff::1", ["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        ("2001:db8:1:2:aaaa::1", [], "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::2", [], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("testclient", [], "testclient"),
        (None, ["198.51.100.7"], "unknown"),
    ],
)
def test_client_is_the_last_address_that_is_not_a_trusted_proxy(
    peer: str | None, forwarded: list[str], expected: str
) -> None:
    assert ClientAddress(PROXIES)(_scope(peer, *forwarded)) == expected


def test_without_trusted_proxies_forwarded_addresses_are_ignored() -> None:
    assert ClientAddress([])(_scope("10.0.0.1", "198.51.100.7")) == "10.0.0.1"


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_header_value_breaks_the_address(text: str) -> None:
    assert ClientAddress(PROXIES)(_scope("10.0.0.1", text))


def test_a_long_list_of_hops_is_read_from_the_right_and_bounded() -> None:
    assert ClientAddress(PROXIES)(_scope("10.0.0.1", ",".join(["198.51.100.7"] + ["10.0.0.2"] * 1000))) == "10.0.0.2"


def test_sockets_are_capped_per_address_and_in_total() -> None:
    caps = ConnectionCaps(_settings(max_connections=3, max_connections_per_address=2))
    caps.acquire("a")
    caps.acquire("a")
    with pytest.raises(TooManyConnections) as per_address:
        caps.acquire("a")
    caps.acquire("b")
    with pytest.raises(TooManyConnections) as in_all:
        caps.acquire("c")
    assert (per_address.value.status, in_all.value.status, caps.total) == (429, 503, 3)


def test_released_socket_frees_its_place_completely() -> None:
    caps = ConnectionCaps(_settings(max_connections=1, max_connections_per_address=1))
    for number in range(100):
        caps.acquire(str(number))
        caps.release(str(number))
    assert caps.total == 0
    assert not caps._open
