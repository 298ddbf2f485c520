"""What a REDIS_URL may say, and that a wrong one is reported without its password."""

import pytest

from livescore.redis_driver import options
from livescore.redis_url import SCHEMES, RedisUrl
from livescore.settings import SettingsError, load

SECRET = "s3cr3t"


@pytest.mark.parametrize("text", ["redis://h", "rediss://:p@h:1/2?ssl_cert_reqs=none", "unix:///tmp/x.sock?db=3"])
def test_one_server_is_left_to_the_driver(text: str) -> None:
    assert RedisUrl.parse(text).kind == "server"


def test_sentinel_names_its_hosts_service_and_database() -> None:
    url = RedisUrl.parse("redis+sentinel://u:p%40ss@one:1,[::1],three/scores/7")
    assert url.kind == "sentinel"
    assert url.addresses == (("one", 1), ("::1", 26379), ("three", 26379))
    assert (url.service, url.database) == ("scores", 7)
    assert url.node(("::1", 6379)) == "redis://u:p%40ss@[::1]:6379/7"
    assert options(url) == {"username": "u", "password": "p@ss", "db": 7, "ssl": False}


def test_a_cluster_names_its_hosts_and_has_no_database() -> None:
    url = RedisUrl.parse("rediss+cluster://:p@one:1,two?ssl_ca_certs=/ca.pem")
    assert url.kind == "cluster"
    assert url.addresses == (("one", 1), ("two", 6379))
    assert options(url) == {"password": "p", "ssl": True, "ssl_ca_certs": "/ca.pem"}


@pytest.mark.parametrize(
    "text",
    [
        f"http://u:{SECRET}@h",
        f"redis:{SECRET}@h",
        SECRET,
        f"redis://:{SECRET}@h:port",
        f"redis://:{SECRET}@one:1,two:2",
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


def test_an_unknown_scheme_names_those_that_are_known() -> None:
    with pytest.raises(SettingsError) as raised:
        load(database_url="postgresql://localhost/x", redis_url="http://localhost")
    assert all(f"{scheme}://" in str(raised.value) for scheme in SCHEMES)
