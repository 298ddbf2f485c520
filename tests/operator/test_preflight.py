"""The operator starts once its CRD exists and its permissions are granted, and reports what is missing until then."""

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from livescore_operator import preflight
from livescore_operator.cluster import Cluster
from livescore_operator.errors import Transient
from livescore_operator.preflight import Preflight, rights
from tests.operator.test_rights import CLUSTER_WIDE, NAMESPACED
from tests.operator.test_rights import rights as granted

LEASE = ("livescore-system", "livescore-operator")


class Api:
    """Installed kinds and granted permissions; everything, unless a test removes some."""

    def __init__(self) -> None:
        self.denied: set[tuple[str, str]] = set()
        self.denied_namespaces: set[str] = set()
        self.has_definition = True
        self.is_away = False
        self.reviews: list[Mapping[str, str]] = []

    async def may(self, attributes: Mapping[str, str]) -> bool:
        if self.is_away:
            raise Transient("ApiServerUnreachable", "no route")
        self.reviews.append(attributes)
        namespace = attributes.get("namespace", "")
        right = (attributes["verb"], attributes["resource"])
        return right not in self.denied and namespace not in self.denied_namespaces

    async def is_listable(self, kind: str, namespace: str) -> bool:
        return self.has_definition


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    monkeypatch.setattr(preflight, "RETRY_SECONDS", 0.01)
    return Api()


def check(api: Api, *namespaces: str) -> Preflight:
    return Preflight(cast("Cluster", api), namespaces, *LEASE)


async def problem(api: Api, *namespaces: str) -> str:
    """Return the result of the first check that finds something missing."""
    checked = check(api, *namespaces)
    unchecked = checked.problem
    running = asyncio.create_task(checked.run())
    async with asyncio.timeout(10):
        while checked.problem == unchecked:
            await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    return checked.problem


@pytest.mark.parametrize("roles", [CLUSTER_WIDE, NAMESPACED], ids=["cluster-wide", "namespaced"])
def test_exactly_the_permissions_of_the_roles_are_checked(roles: list[dict[str, object]]) -> None:
    assert {(right.verb, right.resource) for right in rights([], *LEASE)} == granted(roles)


async def test_preflight_succeeds_once_and_stops_checking(api: Api) -> None:
    checked = check(api)
    assert checked.problem
    await checked.run()
    assert checked.problem == ""
    assert len(api.reviews) == len(rights([], *LEASE))


async def test_every_namespace_is_checked_and_the_lease_in_the_operator_s(api: Api) -> None:
    await check(api, "one", "two").run()
    by_namespace: dict[str, list[str]] = {namespace: [] for namespace in ("one", "two", LEASE[0])}
    for review in api.reviews:
        by_namespace[review["namespace"]].append(review["resource"])
    assert sorted(by_namespace["one"]) == sorted(by_namespace["two"])
    assert by_namespace[LEASE[0]] == ["leases"] * 3


async def test_missing_permissions_are_named(api: Api) -> None:
    api.denied = {("list", "secrets"), ("watch", "secrets"), ("patch", "deployments")}
    found = await problem(api)
    assert found == ("rights are missing, see docs/operator.md#rights: list, watch secrets; patch deployments.apps")


async def test_namespace_without_permissions_is_named(api: Api) -> None:
    api.denied_namespaces = {"two"}
    found = await problem(api, "one", "two")
    assert "get, list, watch livescores.livescore.dev in two" in found
    assert "in one" not in found


async def test_missing_crd_is_named_and_awaited(api: Api) -> None:
    api.has_definition = False
    checked = check(api)
    running = asyncio.create_task(checked.run())
    while "CustomResourceDefinition" not in checked.problem:
        await asyncio.sleep(0)
    api.has_definition = True
    await asyncio.wait_for(running, 5)
    assert checked.problem == ""


async def test_unreachable_api_server_is_reported(api: Api) -> None:
    api.is_away = True
    assert await problem(api) == "the API server does not respond: ApiServerUnreachable: no route"
