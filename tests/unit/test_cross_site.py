"""The management port refuses requests that a web page in a browser could send."""

from typing import Any

import pytest

from livescore.security.cross_site import ManagementGuard
from livescore.settings import SettingsError, load


def guard(**settings: Any) -> ManagementGuard:
    urls = {"database_url": "postgresql://localhost/x", "redis_url": "redis://localhost"}
    return ManagementGuard(load(**urls, instance="demo-api-7d9f", **settings))


def refused(method: str = "GET", **headers: str) -> bool:
    given = [(name.replace("_", "-"), value) for name, value in {"host": "10.0.0.7:9100", **headers}.items()]
    return guard().refusal(method, given) is not None


@pytest.mark.parametrize(
    "host",
    [
        *("10.0.0.7:9100", "10.0.0.7", "127.0.0.1:9100", "[::1]:9100", "[fd00::7]", "[fe80::1%25eth0]:9100"),
        *("localhost", "LOCALHOST:9100", "localhost.", "api.localhost:9100"),
        *("demo-api-7d9f:9100", "demo-api-7d9f"),
        *("demo.sports.svc:9100", "demo.sports.svc.cluster.local", "10-0-0-7.sports.pod.cluster.local:9100"),
    ],
)
def test_addresses_and_names_of_the_service_are_served(host: str) -> None:
    assert not refused(host=host)
    assert not refused("POST", host=host)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:9100", "10.0.0.7.evil.example", "localhost.evil.example", "notlocalhost"),
        *("svc", "cluster.local", "evilsvc", "demo.svc.evil.example", "demo-api-7d9f.evil.example"),
        *("", ":9100", "[]:9100", "[::1", "[::1]x", "[evil.example]", "::1", "10.0.0.7:port", "10.0.0.7:9100:9100"),
        *("user@10.0.0.7", "10.0.0.7/evil", "10.0.0.7,evil.example", "2130706433", "0x7f000001", "127.1"),
        *("10.0.0.7 evil.example", "rebind.network.", "127.0.0.1.nip.io", "xn--lcalhost-xya"),
    ],
)
def test_other_names_are_refused(host: str) -> None:
    assert refused(host=host)
    assert refused("POST", host=host)


def test_second_host_header_is_checked_too() -> None:
    assert guard().refusal("GET", [("Host", "10.0.0.7"), ("Host", "evil.example")])


@pytest.mark.parametrize(("host", "served"), [("api", True), ("API:9100", True), ("x.example.com", True)])
def test_configured_names_are_served(host: str, served: bool) -> None:
    assert (guard(management_allowed_hosts="api, *.Example.com").refusal("GET", [("host", host)]) is None) is served


def test_a_configured_name_may_end_with_a_dot() -> None:
    assert guard(management_allowed_hosts="api.example.").refusal("GET", [("host", "api.example:9100")]) is None


@pytest.mark.parametrize("name", ["http://api", "api:9100", "*", "*.", "a b", "api/x", "*.*.example.com", "a*.example"])
def test_invalid_configured_name_is_refused_at_start(name: str) -> None:
    with pytest.raises(SettingsError, match=r"MANAGEMENT_ALLOWED_HOSTS: entry 2: must be the name of a host"):
        guard(management_allowed_hosts=f"api, {name}")


@pytest.mark.parametrize("host", ["example.com", "xexample.com", "api.evil.example", "*.example.com.evil.example"])
def test_names_similar_to_the_configured_ones_are_refused(host: str) -> None:
    assert guard(management_allowed_hosts="api, *.example.com").refusal("GET", [("host", host)])


def test_request_with_only_a_referer_may_read_but_not_post() -> None:
    assert refused("POST", referer="https://evil.example/")
    assert not refused("GET", referer="http://10.0.0.7:9100/")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://10.0.0.7:9100", "null", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_an_origin_is_refused(method: str, origin: str) -> None:
    assert refused(method, origin=origin)
    assert refused(method, ORIGIN=origin)


@pytest.mark.parametrize(
    ("site", "is_refused"),
    [("cross-site", True), ("same-site", True), ("", True), ("none", False), ("same-origin", False)],
)
def test_requests_of_other_sites_are_refused(site: str, is_refused: bool) -> None:
    assert refused("GET", Sec_Fetch_Site=site) is is_refused


@pytest.mark.parametrize(
    "kind",
    [
        *("application/x-www-form-urlencoded", "text/plain", "text/plain;charset=UTF-8", "TEXT/PLAIN ; x=y"),
        "multipart/form-data; boundary=x",
    ],
)
def test_forms_are_refused(kind: str) -> None:
    assert refused("POST", content_type=kind)
    assert not refused("GET", content_type=kind)


@pytest.mark.parametrize(
    "headers", [{}, {"content_type": "application/octet-stream"}, {"user_agent": "kube-probe/1.33"}]
)
def test_requests_of_probes_prometheus_and_the_operator_are_served(headers: dict[str, str]) -> None:
    assert not refused("GET", **headers)
    assert not refused("POST", **headers)
