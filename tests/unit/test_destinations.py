"""Addresses that webhooks may lead to."""

from ipaddress import ip_address, ip_network

import pytest

from livescore.security.destinations import Address, Destinations, Refused, Resolver, is_public

PUBLIC = ("93.184.216.34", "1.1.1.1", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34")

REFUSED = (
    *("10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "127.255.255.254", "0.0.0.0", "169.254.169.254"),
    *("100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1"),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("2002:7f00:1::", "2002:a00:1::", "2001::1"),
)


def resolver(*addresses: str) -> Resolver:
    async def resolve(_: str, __: int) -> list[Address]:
        return [ip_address(address) for address in addresses]

    return resolve


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert Destinations(()).allows(ip_address(address))


@pytest.mark.parametrize("address", REFUSED)
def test_other_addresses_are_refused(address: str) -> None:
    assert not Destinations(()).allows(ip_address(address))
    assert not Destinations([ip_network("10.42.0.0/16")]).allows(ip_address(address))


@pytest.mark.parametrize("address", ["10.42.7.1", "::ffff:10.42.7.1", "64:ff9b::a2a:701"])
def test_allowed_networks_are_allowed_in_every_notation(address: str) -> None:
    assert Destinations([ip_network("10.42.0.0/16")]).allows(ip_address(address))


def test_address_is_public_only_by_itself() -> None:
    assert is_public(ip_address("1.1.1.1"))
    assert not is_public(ip_address("127.0.0.1"))


async def test_name_that_leads_to_a_private_address_is_refused_with_the_setting() -> None:
    destinations = Destinations((), resolver("127.0.0.1", "::1"))
    with pytest.raises(Refused, match=r"hooks\.example leads to 127\.0\.0\.1, ::1.*WEBHOOK_ALLOWED_NETWORKS"):
        await destinations.addresses("hooks.example", 443)


async def test_only_the_allowed_addresses_of_a_name_are_used() -> None:
    destinations = Destinations((), resolver("10.0.0.1", "1.1.1.1"))
    assert await destinations.addresses("hooks.example", 443) == [ip_address("1.1.1.1")]


async def test_address_in_a_url_is_checked_without_a_resolver() -> None:
    with pytest.raises(Refused):
        await Destinations((), resolver("1.1.1.1")).addresses("169.254.169.254", 80)


async def test_system_resolver_knows_unusual_notations_of_loopback() -> None:
    for host in ("localhost", "127.1", "2130706433", "0x7f.1"):
        with pytest.raises(Refused):
            await Destinations(()).addresses(host, 80)
