"""``/webhooks``: what is refused, and who may manage them."""

import httpx
import pytest

from livescore.scores import webhooks
from tests.service.test_keys import Keys, keys
from tests.support.service import Service, Start

__all__ = ["keys"]

PUBLIC = "https://93.184.216.34/hooks"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://93.184.216.34/", "WEBHOOK_ALLOW_HTTP"),
        ("ftp://example.com/", "start it with https://"),
        ("https:///path", "name of a host"),
        ("https://user:password@93.184.216.34/", "user and password"),
        ("https://93.184.216.34/#x", "fragment"),
        ("https://93.184.216.34:0/", "port 0"),
        ("https://93.184.216.34:99999/", "valid"),
        ("https://exämple.com/", "Punycode"),
        ("https://[::1", "valid"),
        *[
            (f"https://{host}/", "WEBHOOK_ALLOWED_NETWORKS")
            for host in (
                *("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "0.0.0.0", "localhost"),
                *("[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "[::ffff:7f00:1]", "2130706433", "0x7f.1"),
            )
        ],
    ],
)
async def test_url_is_refused_with_its_reason(http: httpx.AsyncClient, url: str, reason: str) -> None:
    answer = await http.post("/webhooks", json={"url": url})
    assert answer.status_code == 400
    (detail,) = answer.json()["details"]
    assert detail["path"] == ["url"]
    assert reason in detail["message"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("eventTypes", []),
        ("eventTypes", ["unknown"]),
        ("eventTypes", "commentary"),
        ("matchId", 0),
        ("matchId", "1"),
        ("enabled", "true"),
        ("description", None),
        ("competition", ""),
    ],
)
async def test_other_members_are_checked(http: httpx.AsyncClient, member: str, value: object) -> None:
    answer = await http.post("/webhooks", json={"url": PUBLIC, member: value})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["path"][0] == member


async def test_webhook_is_created_read_changed_and_deleted(http: httpx.AsyncClient) -> None:
    body = {"url": PUBLIC, "eventTypes": ["commentary", "commentary"], "matchId": 7, "description": "Ünï ⚽"}
    created = await http.post("/webhooks", json=body)
    assert created.status_code == 201
    webhook = created.json()["data"]
    path = created.headers["Location"]
    assert webhook.pop("secret").startswith("whsec_")
    assert (webhook["eventTypes"], webhook["matchId"], webhook["enabled"]) == (["commentary"], 7, True)
    assert (await http.get(path)).json()["data"] == webhook
    assert webhook in (await http.get("/webhooks")).json()["data"]
    changed = (await http.patch(path, json={"matchId": None, "enabled": False})).json()["data"]
    assert (changed["matchId"], changed["enabled"], changed["eventTypes"]) == (None, False, ["commentary"])
    assert (await http.patch(path, json={"url": "https://127.0.0.1/"})).status_code == 400
    assert (await http.patch(path, json={})).status_code == 400
    assert (await http.post(f"{path}/rotate", json={"expiresIn": 10_000_000})).status_code == 400
    assert (await http.post(f"{path}/redeliver", json={})).status_code == 400
    assert (await http.get(f"{path}/deliveries", params={"cursor": "x"})).status_code == 400
    assert (await http.delete(path)).json()["data"] == {"id": webhook["id"]}
    for suffix, given in (
        ("", None),
        ("/rotate", {}),
        ("/redeliver", {"since": "2026-01-01T00:00:00Z"}),
        ("/test", {}),
    ):
        method = "GET" if given is None else "POST"
        assert (await http.request(method, f"{path}{suffix}", json=given)).status_code == 404, suffix
    assert (await http.get(f"{path}/deliveries")).status_code == 404


async def test_secrets_and_webhooks_are_limited(http: httpx.AsyncClient) -> None:
    path = (await http.post("/webhooks", json={"url": PUBLIC})).headers["Location"]
    codes = [(await http.post(f"{path}/rotate", json={})).status_code for _ in range(webhooks.MAX_SECRETS)]
    assert codes == [200] * (webhooks.MAX_SECRETS - 1) + [409]
    assert len((await http.get(path)).json()["data"]["secrets"]) == webhooks.MAX_SECRETS
    assert (await http.post(f"{path}/rotate", json={"expiresIn": 0})).status_code == 200
    assert len((await http.get(path)).json()["data"]["secrets"]) == 1


async def test_webhooks_need_the_scope_admin(start: Start, keys: Keys) -> None:
    reader, writer, admin = [await keys.create(scope, scope) for scope in ("read", "write", "admin")]
    api: Service = await start("api")
    async with api.client() as http:
        for method, path in (("GET", "/webhooks"), ("POST", "/webhooks"), ("GET", "/webhooks/1/deliveries")):
            for key, expected in ((None, 401), (reader, 403), (writer, 403)):
                headers = {} if key is None else {"X-API-Key": key}
                answer = await http.request(method, path, headers=headers)
                assert answer.status_code == expected, (method, path)
        created = await http.post("/webhooks", json={"url": PUBLIC}, headers={"X-API-Key": admin})
        assert created.status_code == 201
