"""Planning finds no change exactly where an apply would change nothing."""

import base64
import copy
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from livescore_operator import planning
from livescore_operator.planning import ATOMIC_DEFAULTS, MAX_DIFF, Change, changes, is_applied
from livescore_operator.quantities import is_equal, is_less, parse
from livescore_operator.redaction import LAST_APPLIED, MASK
from livescore_operator.resource import Manifest

MANAGER = "livescore-operator"
UID = "uid-of-demo"
QUANTITIES = ("cpu", "memory", "storage", "ephemeral-storage", "sizeLimit")


# Manifests, and their fields in managedFields


class Owned(NamedTuple):
    """A value and its entry in ``fieldsV1``."""

    value: Any
    fields: dict[str, Any]


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def leaf(value: Any) -> Owned:
    return Owned(value, {})


def fields(parts: dict[str, Owned]) -> Owned:
    return Owned(
        {name: part.value for name, part in parts.items()}, {f"f:{name}": part.fields for name, part in parts.items()}
    )


def items(parts: dict[str, dict[str, Owned]]) -> Owned:
    """Return a list with items identified by their name."""
    found = {name: fields({"name": leaf(name), **inner}) for name, inner in parts.items()}
    owned = {f"k:{compact({'name': name})}": {".": {}, **item.fields} for name, item in found.items()}
    return Owned([item.value for item in found.values()], owned)


def values(members: list[str]) -> Owned:
    """Return a list that is a set."""
    return Owned(members, {f"v:{compact(member)}": {} for member in members})


SPECIAL = {*QUANTITIES, *ATOMIC_DEFAULTS, "name", "namespace", "metadata", "managedFields"}
NAMES = st.text(min_size=1, max_size=6).filter(lambda name: name not in SPECIAL)
SCALARS = st.text(max_size=6) | st.integers() | st.booleans()
ATOMS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
NODES: st.SearchStrategy[Owned] = st.recursive(
    ATOMS.map(leaf),
    lambda inner: (
        st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(fields)
        | st.dictionaries(NAMES, st.dictionaries(NAMES, inner, max_size=2), min_size=1, max_size=3).map(items)
        | st.lists(NAMES, min_size=1, max_size=3, unique=True).map(values)
    ),
    max_leaves=10,
)


class Case(NamedTuple):
    """A manifest and the live object it produced."""

    manifest: Manifest
    live: Manifest


def entry(owned: Any, **others: Any) -> Manifest:
    return {"manager": MANAGER, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": owned, **others}


def applied(body: dict[str, Owned], metadata: dict[str, Owned] | None = None) -> Case:
    """Return the live object after a manifest of these fields was applied."""
    head = {"apiVersion": "v1", "kind": "Thing"}
    named = {"name": "demo", "namespace": "default"}
    parts = {**({"metadata": fields(metadata)} if metadata else {}), **body}
    whole = fields(parts)
    manifest = {**head, **whole.value, "metadata": {**named, **whole.value.get("metadata", {})}}
    live = copy.deepcopy(manifest)
    live["metadata"]["managedFields"] = [entry(whole.fields)]
    return Case(manifest, live)


CASES = st.builds(
    applied, st.dictionaries(NAMES, NODES, min_size=1, max_size=3), st.dictionaries(NAMES, NODES, max_size=2)
)


def containers(value: Any) -> Iterator[Any]:
    """Yield a value and every dict and list within it."""
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from containers(inner)


def other(value: Any) -> Any:
    """Return a different scalar."""
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"


def edits(manifest: Manifest) -> list[Manifest]:
    """Return the manifest with one leaf changed, removed or added, in each place."""
    found = []
    for index, container in enumerate(containers(manifest)):
        for place in range(len(container) + 1):
            found += [_edited(manifest, index, place, remove) for remove in (False, True)]
    return [edited for edited in found if edited is not None]


def _edited(manifest: Manifest, index: int, place: int, remove: bool) -> Manifest | None:
    edited = copy.deepcopy(manifest)
    container = list(containers(edited))[index]
    keys: list[Any] = list(container) if isinstance(container, dict) else list(range(len(container)))
    if place == len(keys):
        return None if remove else _added(edited, container)
    key = keys[place]
    if container is edited and key in ("apiVersion", "kind", "metadata"):
        return None
    if container is edited["metadata"] and key in ("name", "namespace"):
        return None
    if remove:
        del container[key]
    elif isinstance(container[key], dict | list):
        return None
    else:
        container[key] = other(container[key])
    return edited


def _added(edited: Manifest, container: Any) -> Manifest:
    if isinstance(container, dict):
        container["added by the test"] = 1
    else:
        container.append("added by the test")
    return edited


@settings(max_examples=60)
@given(CASES)
def test_applied_manifest_needs_no_change(case: Case) -> None:
    assert is_applied(case.manifest, case.live, MANAGER)


@settings(max_examples=40)  # each with edits in all its places
@given(CASES)
@example(applied({"spec": fields({"nodeSelector": leaf({"disk": "ssd", "zone": "a"})})}))
@example(applied({"spec": fields({"ingress": leaf([{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}])})}))
def test_any_changed_leaf_of_the_manifest_is_a_change(case: Case) -> None:
    assert [edited for edited in edits(case.manifest) if is_applied(edited, case.live, MANAGER)] == []


@settings(max_examples=40)
@given(CASES)
def test_foreign_edit_of_an_owned_leaf_is_a_change(case: Case) -> None:
    """Additions to a merged field belong to the other manager; fields that we applied may not change or disappear."""
    for edited in edits({name: value for name, value in case.live.items() if name != "metadata"} | {"metadata": {}}):
        live = {**edited, "metadata": case.live["metadata"]}
        still = all(_contains(value, live.get(name)) for name, value in case.manifest.items())
        assert still or not is_applied(case.manifest, live, MANAGER)


def _contains(wanted: Any, live: Any) -> bool:
    """Return True if ``live`` contains everything in ``wanted``."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(name in live and _contains(wanted[name], live[name]) for name in wanted)
    if isinstance(wanted, list):
        return isinstance(live, list) and all(any(_contains(mine, theirs) for theirs in live) for mine in wanted)
    return bool(wanted == live)


def with_foreign_fields(value: Any, owned: dict[str, Any]) -> Any:
    """Add fields wherever values are merged; atomic values stay unchanged."""
    if not owned:
        return value
    if isinstance(value, dict):
        merged = {name: with_foreign_fields(inner, owned.get(f"f:{name}", {})) for name, inner in value.items()}
        return {"foreign": {"deep": [1]}, **merged}
    if isinstance(value[0], dict):
        keyed = [with_foreign_fields(one, owned[f"k:{compact({'name': one['name']})}"]) for one in value]
        return [{"name": "foreign", "image": "sidecar"}, *keyed]
    return ["foreign", *value]


FOREIGN = [
    {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
    {"manager": "other", "operation": "Apply", "fieldsV1": {"f:metadata": {"f:annotations": {"f:note": {}}}}},
    entry({"f:status": {"f:phase": {}}}, subresource="status"),
    entry({"f:spec": {"f:old": {}}}, operation="Update"),
]


@settings(max_examples=60)
@given(CASES, st.booleans())
def test_foreign_fields_and_managers_are_ignored(case: Case, first: bool) -> None:
    mine = case.live["metadata"]["managedFields"]
    live = with_foreign_fields(case.live, mine[0]["fieldsV1"])
    live["status"] = {"phase": "Running"}
    live["metadata"] |= {
        "managedFields": [*mine, *FOREIGN] if first else [*FOREIGN, *mine],
        "uid": "1",
        "resourceVersion": "7",
    }

    assert is_applied(case.manifest, live, MANAGER)


@settings(max_examples=20)
@given(CASES)
def test_applies_of_other_managers_do_not_count(case: Case) -> None:
    assert not is_applied(case.manifest, case.live, "other")


@pytest.mark.parametrize("entries", [None, [], FOREIGN])
def test_object_that_was_never_applied_is_a_change(entries: list[Manifest] | None) -> None:
    case = applied({"spec": fields({"replicas": leaf(1)})})
    case.live["metadata"]["managedFields"] = entries

    assert not is_applied(case.manifest, case.live, MANAGER)


def test_owned_field_no_longer_desired_is_a_change() -> None:
    before = applied({"spec": fields({"replicas": leaf(3), "paused": leaf(True)})})

    assert not is_applied({**before.manifest, "spec": {"paused": True}}, before.live, MANAGER)


def test_manifest_without_metadata_can_be_compared() -> None:
    """For example the manifest that grows a volume."""
    case = applied({"spec": fields({"resources": fields({"requests": fields({"storage": leaf("2Gi")})})})})

    assert "f:metadata" not in case.live["metadata"]["managedFields"][0]["fieldsV1"]
    assert is_applied(case.manifest, case.live, MANAGER)


def test_port_without_a_protocol_equals_tcp() -> None:
    owned: dict[str, Any] = {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}
    case = applied({"spec": fields({"ports": Owned([{"port": 80}], owned)})})
    case.live["spec"]["ports"] = [{"port": 80, "protocol": "UDP"}, {"port": 80, "protocol": "TCP"}]

    assert is_applied(case.manifest, case.live, MANAGER)
    case.live["spec"]["ports"].pop()
    assert not is_applied(case.manifest, case.live, MANAGER)


def test_additions_to_a_volume_claim_template_are_ignored() -> None:
    template = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    case = applied({"spec": fields({"volumeClaimTemplates": leaf([template])})})
    stored = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}
    metadata = {"name": "data", "creationTimestamp": None}
    spec = {"accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem"}
    case.live["spec"]["volumeClaimTemplates"] = [{**stored, "metadata": metadata, "spec": spec}]

    assert is_applied(case.manifest, case.live, MANAGER)
    case.live["spec"]["volumeClaimTemplates"][0]["spec"]["volumeMode"] = "Block"
    assert not is_applied(case.manifest, case.live, MANAGER)


@pytest.mark.parametrize("live", [[], {}, "text", None, [{"name": "a"}], [["a"]]])
def test_live_value_of_another_type_is_a_change(live: Any) -> None:
    whole = items({"b": {"image": leaf("x")}})
    case = applied({"list": whole, "map": fields({"a": leaf(1)}), "set": values(["b"]), "atom": leaf([{"a": 1}])})

    for name in ("list", "map", "set", "atom"):
        assert not is_applied(case.manifest, {**case.live, name: live}, MANAGER)


@pytest.mark.parametrize("wanted", [[], {}, "text", ["a"]])
def test_desired_value_of_another_type_is_a_change(wanted: Any) -> None:
    case = applied({"list": items({"b": {}}), "map": fields({"a": leaf(1)}), "set": values(["b"])})

    for name in ("list", "map", "set"):
        assert not is_applied({**case.manifest, name: wanted}, case.live, MANAGER)


# Quantities

SAME = [("1", "1000m"), ("1Gi", "1024Mi"), ("0.5", "500m"), ("1.5Gi", "1536Mi"), ("2k", "2000"), ("1M", "1000k")]


@pytest.mark.parametrize(("wanted", "live"), SAME)
@pytest.mark.parametrize("name", [*QUANTITIES, "label"])
@pytest.mark.parametrize("atomic", [False, True])
def test_quantities_are_compared_by_value(wanted: str, live: str, name: str, atomic: bool) -> None:
    inner = leaf([{name: wanted}]) if atomic else fields({name: leaf(wanted)})
    case = applied({"spec": fields({"requests": inner})})
    case.live["spec"]["requests"] = [{name: live}] if atomic else {name: live}

    assert is_applied(case.manifest, case.live, MANAGER) == (name in QUANTITIES)


@pytest.mark.parametrize("live", ["1025Mi", "1G", "", "much", None])
def test_different_quantities_are_a_change(live: str | None) -> None:
    case = applied({"spec": fields({"memory": leaf("1Gi")})})
    case.live["spec"]["memory"] = live

    assert not is_applied(case.manifest, case.live, MANAGER)


@given(st.integers(0, 10**9))
def test_quantity_has_one_value_in_every_notation(number: int) -> None:
    for power, (decimal, binary) in enumerate(zip(("", *"kMGTP"), ("", "Ki", "Mi", "Gi", "Ti", "Pi"), strict=True)):
        assert parse(f"{number}{decimal}") == number * 1000**power
        assert parse(f"{number}{binary}") == number * 1024**power
    assert parse(f"{number}m") == Decimal(number) / 1000
    assert parse(f"{number / 4}Gi") == parse(f"{number * 256}Mi")


@pytest.mark.parametrize("text", ["", "Gi", "1gi", "1ki", "1Gi\n", "one", "1.2.3", "NaN", "Infinity"])
def test_invalid_quantity_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "value"), [("1.", 1), (".5", Decimal("0.5")), ("-1", -1), ("1e3", 1000), ("1E", 10**18), ("5u", 5e-6)]
)
def test_every_form_of_a_quantity_is_read(text: str, value: float | Decimal) -> None:
    assert parse(text) == Decimal(str(value))


def test_quantities_are_compared_by_their_values() -> None:
    assert is_equal("1Gi", "1024Mi")
    assert is_equal("same text", "same text")
    assert not is_equal("1Gi", "1G")
    assert not is_equal("one", "two")
    assert is_less("1G", "1Gi")
    assert not is_less("1Gi", "1Gi")
    assert not is_less("one", "1Gi")


# Changes


DATA = ["PersistentVolumeClaim", "Cluster"]
"""Kinds that hold data."""


class Child(NamedTuple):
    """An object that may exist under a name."""

    name: str
    kind: str
    wanted: bool
    state: str  # absent, applied, other (fields differ)
    owner: str | None
    deleting: bool


CHILDREN = st.lists(
    st.builds(
        Child,
        name=st.sampled_from("abcdefgh"),
        kind=st.sampled_from(["Deployment", "Secret", *DATA]),
        wanted=st.booleans(),
        state=st.sampled_from(["absent", "applied", "other"]),
        owner=st.sampled_from([UID, "uid-of-another", None]),
        deleting=st.booleans(),
    ),
    unique_by=lambda child: (child.kind, child.name),
)


def thing(child: Child) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": child.kind,
        "metadata": {"name": child.name, "namespace": "default"},
        "spec": {"a": 1},
    }


def live_thing(child: Child) -> Manifest:
    references = [{"uid": child.owner, "controller": True}, {"uid": "a friend"}] if child.owner else []
    metadata: Manifest = {"name": child.name, "namespace": "default", "ownerReferences": references}
    metadata["managedFields"] = [entry({"f:spec": {"f:a": {}}})]
    if child.deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {**thing(child), "metadata": metadata, "spec": {"a": 1 if child.state == "applied" else 2}}


def keys(children: list[Child]) -> list[planning.Key]:
    return [(child.kind, child.name) for child in children]


@given(CHILDREN)
def test_changes_create_update_and_prune_only_owned_objects_without_data(
    children: list[Child],
) -> None:
    wanted = [child for child in children if child.wanted]
    there = [child for child in children if child.state != "absent"]
    live = {(child.kind, child.name): live_thing(child) for child in there}

    found = changes(map(thing, wanted), live, MANAGER, UID)

    by_verb = {
        verb: [planning.key(one.manifest) for one in found if one.verb == verb]
        for verb in ("create", "update", "delete")
    }
    assert by_verb["create"] == keys([child for child in wanted if child.state == "absent"])
    assert by_verb["update"] == keys([child for child in wanted if child.state == "other"])
    assert by_verb["delete"] == keys([child for child in there if not child.wanted and _may_go(child)])
    assert [planning.key(one.manifest) for one in found if one.verb != "delete"] == keys(
        [child for child in wanted if child.state != "applied"]
    ), "in the order of the desired objects"
    assert [one.verb for one in found] == sorted((one.verb for one in found), key="delete".__eq__), "deletions last"
    assert all((one.live is None) == (one.verb == "create") for one in found)


def _may_go(child: Child) -> bool:
    return child.owner == UID and child.kind not in DATA and not child.deleting


def test_non_controlling_owner_is_ignored() -> None:
    assert planning.owner({"metadata": {"ownerReferences": [{"uid": UID}, {"uid": "x", "controller": False}]}}) is None
    assert planning.owner({"metadata": {"ownerReferences": None}}) is None
    assert planning.owner({"metadata": {}}) is None


# Replicas that the operator no longer manages


def deployment(**spec: Any) -> Manifest:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api", "namespace": "a"}, "spec": spec}


def released(*entries: Manifest, **spec: Any) -> Change:
    """Return the update of a Deployment that has four pods to one with this spec."""
    live = deployment(replicas=4, paused=False)
    live["metadata"]["managedFields"] = list(entries)
    return Change("update", deployment(**spec), live)


OURS = entry({"f:spec": {"f:replicas": {}, "f:paused": {}}})


def test_released_replicas_are_handed_over_unchanged() -> None:
    assert planning.handover(released(OURS, *FOREIGN, paused=True), MANAGER) == deployment(replicas=4)


@pytest.mark.parametrize(
    "change",
    [
        released(OURS, replicas=2),
        released(OURS, replicas=0),
        released(*FOREIGN, paused=True),
        released(entry({"f:spec": {"f:paused": {}}}), paused=True),
        released(entry({"f:spec": {"f:replicas": {}}}, subresource="status"), paused=True),
        released(entry({"f:spec": {"f:replicas": {}}}, operation="Update"), paused=True),
        Change("create", deployment(paused=True)),
        Change("delete", released(OURS).live or {}, released(OURS).live),
        Change("update", {"kind": "ConfigMap", "metadata": {"name": "c"}}, {"metadata": {}}),
    ],
    ids=["kept", "none at all", "others'", "not ours", "of the status", "not applied", "new", "deleted", "no replicas"],
)
def test_nothing_else_is_handed_over(change: Change) -> None:
    assert planning.handover(change, MANAGER) is None


# Presentation


def secret(**data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo", "namespace": "default"}, "data": data}


def config(text: str, **metadata: Any) -> Manifest:
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "demo", "namespace": "default", **metadata}}
    return {**head, "data": {"PORT": text}}


def test_changes_and_plans_have_a_short_summary() -> None:
    plan = [Change("create", secret()), Change("create", config("1")), Change("delete", config("2"), config("2"))]

    assert [str(change) for change in plan] == ["create Secret demo", "create ConfigMap demo", "delete ConfigMap demo"]
    assert planning.summary(plan) == "2 to create, 0 to update, 1 to delete"
    assert planning.summary([]) == "0 to create, 0 to update, 0 to delete"


def test_diff_shows_changes_without_volatile_fields() -> None:
    noise = {"resourceVersion": "1", "generation": 1, "uid": "u", "managedFields": [entry({})]}
    old = {**config("8000", **noise), "status": {"old": True}}
    new = {**config("8001", **{**noise, "resourceVersion": "2", "generation": 2}), "status": {"old": False}}

    diff = planning.diff([(Change("update", config("8001"), old), new)])

    changed = [line for line in diff.splitlines() if line.startswith(("+", "-"))]
    assert changed == ["--- live ConfigMap/demo", "+++ planned ConfigMap/demo", "-  PORT: '8000'", "+  PORT: '8001'"]


def test_diff_shows_created_and_deleted_objects_completely() -> None:
    text = yaml.safe_dump(config("1"), sort_keys=True)
    made = planning.diff([(Change("create", config("1")), config("1"))]).splitlines()[3:]
    gone = planning.diff([(Change("delete", config("1"), config("1")), None)]).splitlines()[3:]

    assert made == [f"+{line}" for line in text.splitlines()]
    assert gone == [f"-{line}" for line in text.splitlines()]


@given(st.text(alphabet="abcdefghij0123456789+/", min_size=6, max_size=40), st.sampled_from(["create", "update"]))
def test_diff_never_shows_a_secret(value: str, verb: planning.Verb) -> None:
    live = secret(password=f"old-{value}", gone=value) if verb == "update" else None
    wanted = secret(password=value, url=value)

    diff = planning.diff([(Change(verb, wanted, live), wanted)])

    assert value not in diff.replace(MASK, "")
    assert f"+  url: '{MASK}'" in diff


def test_a_diff_masks_the_values_of_secrets_in_other_objects_too() -> None:
    """Applies whether the Secret is in the plan or only referenced by it."""
    own = secret(password=base64.b64encode(b"hunter2-of-postgres").decode())
    foreign = secret(url=base64.b64encode(b"postgresql://me:s%40cret-of-me@db/scores").decode())
    applied = json.dumps(config("hunter2-of-postgres"))
    live = config("postgres://me:s@cret-of-me@db", annotations={LAST_APPLIED: applied})
    plan = [(Change("create", own), own), (Change("update", config("8000"), live), config("8000"))]

    diff = planning.diff(plan, [foreign])

    assert "hunter2" not in diff
    assert "cret-of-me" not in diff
    assert f"-  PORT: postgres://me:{MASK}@db" in diff


def test_oversized_diff_is_truncated_with_a_note() -> None:
    after = config("\n".join(f"line {number}" for number in range(MAX_DIFF)))

    diff = planning.diff([(Change("create", after), after)])

    assert diff.splitlines()[-1].startswith("… truncated: the whole diff has ")
    assert MAX_DIFF <= len(diff) < MAX_DIFF + 80
