"""The table of kinds, from which watches, pruning and rights follow."""

import kopf
import pytest

from livescore_operator import handlers
from livescore_operator.cache import Cache
from livescore_operator.kinds import KINDS, MANAGED_BY, OPTIONAL, OWNED, WATCHED, WATCHED_SECRETS, Kind
from livescore_operator.planning import prunable
from livescore_operator.preflight import rights
from livescore_operator.queue import Queue
from livescore_operator.resource import GROUP, PLURAL, VERSION


def named(kinds: tuple[Kind, ...]) -> set[str]:
    return {kind.name for kind in kinds}


def test_exactly_the_kinds_of_the_table_are_watched() -> None:
    registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    handlers.register(registry, Queue(), Cache())
    handlers.configure(settings)

    watched = {(one.group, one.version, one.any_name) for one in registry._watching.get_all_selectors()}

    assert watched == {(GROUP, VERSION, PLURAL)} | {(kind.group, kind.version, kind.plural) for kind in WATCHED}


@pytest.mark.parametrize("kind", WATCHED, ids=lambda kind: kind.name)
def test_a_watch_selects_by_label_and_has_its_rights(kind: Kind) -> None:
    assert kind.watched == (WATCHED_SECRETS if kind.name == "Secret" else MANAGED_BY)
    assert set(kind.verbs) >= {"get", "list", "watch"}


def test_kinds_of_other_operators_are_optional_and_not_watched() -> None:
    assert named(OPTIONAL) == {"Cluster", "PodMonitor"}
    assert named(OWNED) == named(WATCHED) | named(OPTIONAL)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_resources_with_data_are_never_pruned(kind: Kind) -> None:
    owner = {"kind": "LiveScore", "name": "demo", "uid": "u", "controller": True}
    manifest = {"kind": kind.name, "metadata": {"name": "demo", "ownerReferences": [owner]}}
    assert prunable(manifest, "u") == (kind.name not in ("PersistentVolumeClaim", "Cluster"))


def test_every_right_of_the_table_is_checked_before_the_start() -> None:
    checked = {(right.verb, right.kind) for right in rights([], "system", "lease")}
    for kind in KINDS.values():
        assert {(verb, kind.name) for verb in kind.verbs} <= checked
        for subresource, verbs in kind.subresources.items():
            assert {(verb, f"{kind.name}/{subresource}") for verb in verbs} <= checked
