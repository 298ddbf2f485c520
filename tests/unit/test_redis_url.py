"""Accepted values of REDIS_URL; errors do not show the password."""

import pytest
import redis.asyncio.connection
import redis.connection

from livescore.redis_clients import connection_options
from livescore.redis_url import SCHEMES, RedisUrl
from livescore.settings import SettingsError, load

SECRET = "s3cr3t"


@pytest.mark.parametrize("text", ["redis://h", "rediss://:p@h:1/2?ssl_cert_reqs=none", "unix:///tmp/x.sock?db=3"])
def test_single_server_url_is_passed_to_the_driver(text: str) -> None:
    assert RedisUrl.parse(text).kind == "server"


def test_sentinel_names_its_hosts_service_and_database() -> None:
    url = RedisUrl.parse("redis+sentinel://u:p%40ss@one:1,[::1],three/scores/7")
    assert url.kind == "sentinel"
    assert url.addresses == (("one", 1), ("::1", 26379), ("three", 26379))
    assert (url.service, url.database) == ("scores", 7)
    assert url.node(("::1", 6379)) == "redis://u:p%40ss@[::1]:6379/7"
    assert connection_options(url) == {"username": "u", "password": "p@ss", "db": 7, "ssl": False}


def test_a_cluster_names_its_hosts_and_has_no_database() -> None:
    url = RedisUrl.parse("rediss+cluster://:p@one:1,two?ssl_ca_certs=/ca.pem")
    assert url.kind == "cluster"
    assert url.addresses == (("one", 1), ("two", 6379))
    assert connection_options(url) == {"password": "p", "ssl": True, "ssl_ca_certs": "/ca.pem"}


@pytest.mark.parametrize(
    "text",
    [
        f"http://u:{SECRET}@h",
        f"redis:{SECRET}@h",
        SECRET,
        f"redis://:{SECRET}@h:port",
        f"redis://:{SECRET}@one:1,two:2",
        f"redis://:{SECRET}@one,two",
        f"rediss://:{SECRET}@one,two:2/3",
        f"redis+sentinel://:{SECRET}@h:26379",
        f"redis+sentinel://:{SECRET}@h:26379/",
        f"redis+sentinel://:{SECRET}@h:x/name",
        f"redis+sentinel://:{SECRET}@one,,two/name",
        f"redis+sentinel://:{SECRET}@h/name/first",
        f"redis+cluster://:{SECRET}@h:6379/1",
        f"redis+cluster://:{SECRET}@",
        f"redis://[:{SECRET}@h",
    ],
)
def test_a_wrong_url_is_reported_by_the_settings_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(database_url="postgresql://localhost/x", redis_url=text)
    (problem,) = raised.value.problems
    assert problem.startswith("REDIS_URL: ")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"redis://h?{SECRET}=1", "parameter other than"),
        (f"redis://:pa?{SECRET}@h", "parameter other than"),
        (f"redis://:pa#{SECRET}@h", "%23"),
        (f"redis://:{SECRET}@h?decode_responses=true", "parameter other than"),
        (f"redis://:{SECRET}@h?ssl=true", "parameter other than"),
        (f"redis://:{SECRET}@h?protocol=3", "parameter other than"),
        (f"redis://h?password={SECRET}", "parameter other than"),
        (f"redis://:{SECRET}@h?socket_timeout=1", "REDIS_TIMEOUT_SECONDS"),
        (f"redis://:{SECRET}@h?ssl_cert_reqs=none", "rediss://"),
        (f"redis+sentinel://:{SECRET}@h/name?ssl_ca_certs=/ca.pem", "rediss://"),
        (f"rediss://:{SECRET}@h?ssl_cert_reqs={SECRET}", "ssl_cert_reqs"),
        (f"rediss://:{SECRET}@h?ssl_check_hostname=maybe", "ssl_check_hostname"),
        (f"redis://:{SECRET}@h/1?db=2", "twice"),
        (f"redis://:{SECRET}@h?db=1&db=2", "repeated"),
        (f"redis://:{SECRET}@h?db=", "empty"),
        (f"redis://:{SECRET}@h/name", "database"),
        (f"redis://:{SECRET}@h/1/2", "database"),
        (f"redis://:{SECRET}@h/-1", "database"),
        (f"redis://:{SECRET}@h/99999999999", "database"),
        (f"redis+sentinel://:{SECRET}@h/name?db=1", "one server"),
        (f"redis+cluster://:{SECRET}@h?db=1", "one server"),
        (f"redis+cluster://:{SECRET}@h:0", "host:port"),
        (f"redis://:{SECRET}@h:0", "port"),
        (f"redis://:{SECRET}@h:70000", "port"),
        (f"redis://:{SECRET}@::1", "port"),
        (f"redis://:{SECRET}/x@h", "port"),
        (f"unix://{SECRET}.sock", "unix:///"),
        ("unix://", "unix:///"),
        (f"'redis://:{SECRET}@h'", "quotes"),
        (f"redis://:{SECRET} x@h", "%20"),
        (f"redis://:{SECRET}@h\nredis://other", "line ends"),
        (f"redis+cluster://:{SECRET}@a, b", "%20"),
    ],
)
def test_unsupported_parameters_are_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as raised:
        load(database_url="postgresql://localhost/x", redis_url=text)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" redis://h/1\n", "redis://h/1"),
        ("REDIS://h", "redis://h"),
        ("RedisS+Cluster://a:1,b", "rediss+cluster://a:1,b"),
        ("unix:///run/a%20b.sock?db=3", "unix:///run/a%20b.sock?db=3"),
        ("unix://u:p@/run/a.sock", "unix://u:p@/run/a.sock"),
        ("redis://[::1]:6380/0", "redis://[::1]:6380/0"),
        ("redis://:p@ss@h", "redis://:p@ss@h"),
        ("rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem", "rediss://h?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem"),
        ("redis://h?db=5", "redis://h?db=5"),
    ],
)
def test_both_libraries_read_the_url_alike(text: str, canonical: str) -> None:
    settings = load(database_url="postgresql://localhost/x", redis_url=text)
    found = settings.redis_url.get_secret_value()
    assert found == canonical
    if RedisUrl.parse(found).kind == "server":
        sync, loop = redis.connection.parse_url(found), redis.asyncio.connection.parse_url(found)
        classes = sync.pop("connection_class", redis.Connection), loop.pop("connection_class", redis.asyncio.Connection)
        assert sync == loop
        assert classes[0].__name__ == classes[1].__name__


def test_unknown_scheme_is_refused_listing_the_known_ones() -> None:
    with pytest.raises(SettingsError) as raised:
        load(database_url="postgresql://localhost/x", redis_url="http://localhost")
    assert all(f"{scheme}://" in str(raised.value) for scheme in SCHEMES)
