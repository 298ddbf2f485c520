"""Write loops: repeatedly reverted changes are written at growing intervals, and reported."""

from typing import Any

import pytest

from livescore_operator.cluster import FIELD_MANAGER
from livescore_operator.errors import Terminal
from livescore_operator.planning import Change
from livescore_operator.resource import Manifest
from livescore_operator.rewrites import FREE_REWRITES, LAST_DELAY_SECONDS, LAST_STATUS_DELAY_SECONDS, Rewrites

KEY = ("default", "demo")

OURS = {"manager": FIELD_MANAGER, "operation": "Apply", "time": "2026-06-11T12:00:00Z"}


def other(manager: str, time: str, **more: str) -> Manifest:
    """Return fields owned by another manager."""
    return {"manager": manager, "operation": "Update", "time": f"2026-06-11T{time}Z", **more}


class Clock:
    """A clock that only the test advances."""

    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rewrites(clock: Clock) -> Rewrites:
    found = Rewrites()
    found.monotonic = clock
    return found


def update(replicas: int = 1, *managers: Manifest, kind: str = "Deployment", name: str = "demo-api") -> Change:
    manifest = {"kind": kind, "metadata": {"name": name}, "spec": {"replicas": replicas}}
    live = {**manifest, "metadata": {"name": name, "managedFields": list(managers)}}
    return Change("update", manifest, live)


def write(rewrites: Rewrites, change: Change) -> None:
    """Make a change as the executor does; raise an error if it is delayed."""
    rewrites.require(KEY, change)
    manifest = change.manifest
    fields: Manifest = {"f:spec": {f"f:{name}": {} for name in manifest.get("spec", {})}}
    applied = {**manifest, "metadata": {**manifest["metadata"], "managedFields": [{**OURS, "fieldsV1": fields}]}}
    rewrites.made(KEY, change, applied)


def until_delayed(rewrites: Rewrites, *changes: Change, most: int = 3 * FREE_REWRITES) -> Terminal:
    """Write in turns until a write is delayed, and return the reason."""
    for number in range(most):
        try:
            write(rewrites, changes[number % len(changes)])
        except Terminal as conflict:
            return conflict
    raise AssertionError("no write was delayed")


def test_a_few_repairs_are_not_delayed_and_not_reported(rewrites: Rewrites) -> None:
    for _ in range(FREE_REWRITES):
        write(rewrites, update())

    assert rewrites.conflicts(KEY) == []


def test_identical_rewrites_are_delayed_and_reported(rewrites: Rewrites) -> None:
    conflict = until_delayed(rewrites, update())

    assert "Deployment demo-api" in conflict.message
    assert rewrites.conflicts(KEY) == [conflict]
    assert rewrites.conflicts(KEY, {("Deployment", "demo-api")}) == []


def test_alternating_rewrites_are_delayed(rewrites: Rewrites) -> None:
    until_delayed(rewrites, update(1), update(2))


def test_changing_contents_are_not_a_loop(rewrites: Rewrites) -> None:
    for replicas in range(5 * FREE_REWRITES):
        write(rewrites, update(replicas))


def test_delays_double_up_to_a_bound_and_stay_reported(rewrites: Rewrites, clock: Clock) -> None:
    until_delayed(rewrites, update())
    delays = []
    for _ in range(12):
        with pytest.raises(Terminal) as conflict:
            write(rewrites, update())
        delay = conflict.value.after or 0
        clock.seconds += delay
        write(rewrites, update())
        delays.append(delay)
    assert delays[:4] == [1, 2, 4, 8]
    assert max(delays) == delays[-1] == LAST_DELAY_SECONDS


def test_finished_loop_is_forgotten(rewrites: Rewrites, clock: Clock) -> None:
    conflict = until_delayed(rewrites, update())
    while conflicts := rewrites.conflicts(KEY):
        (conflict,) = conflicts
        assert conflict.after is not None
        clock.seconds += conflict.after
    assert clock.seconds - 1_000 <= 120

    write(rewrites, update())
    assert rewrites.conflicts(KEY) == []


@pytest.mark.parametrize(
    ("managers", "reason", "word"),
    [
        ([OURS, other("argocd", "12:00:01")], "WriteConflict", "argocd"),
        ([OURS, other("kubectl-edit", "12:00:00")], "WriteConflict", "kubectl-edit"),
        ([OURS, other("kubectl", "11:00:00")], "AnotherOperator", "older"),
        ([OURS, other("kube-controller-manager", "12:00:09", subresource="status")], "AnotherOperator", "older"),
        ([OURS], "AnotherOperator", FIELD_MANAGER),
        ([], "WriteConflict", "another writer"),
    ],
)
def test_the_other_writer_is_named(rewrites: Rewrites, managers: list[Manifest], reason: str, word: str) -> None:
    conflict = until_delayed(rewrites, update(1, *managers))

    assert conflict.reason == reason
    assert word in conflict.message


def test_webhook_that_modifies_applied_objects_is_named(rewrites: Rewrites) -> None:
    change = update(1, OURS)
    mutated: dict[str, Any] = {**change.manifest, "spec": {"replicas": 9}}
    for _ in range(FREE_REWRITES + 2):
        rewrites.made(KEY, change, mutated)

    (conflict,) = rewrites.conflicts(KEY)
    assert conflict.reason == "WriteConflict"
    assert "webhook" in conflict.message


def test_repeatedly_deleted_object_is_a_loop(rewrites: Rewrites) -> None:
    until_delayed(rewrites, Change("create", update().manifest))


def test_repeatedly_recreated_object_is_a_loop(rewrites: Rewrites) -> None:
    manifest = update().manifest
    until_delayed(rewrites, Change("delete", manifest, manifest))


def test_retried_migration_is_not_a_loop(rewrites: Rewrites) -> None:
    job = update(kind="Job").manifest
    for _ in range(2 * FREE_REWRITES):
        write(rewrites, Change("create", job))
        write(rewrites, Change("delete", job, job))


def test_other_objects_are_not_delayed(rewrites: Rewrites) -> None:
    until_delayed(rewrites, update())

    write(rewrites, update(name="demo-worker"))
    rewrites.require(("default", "other"), update())


def test_frequently_changing_status_is_not_a_loop(rewrites: Rewrites) -> None:
    for number in range(5 * FREE_REWRITES):
        rewrites.status_written(KEY, {"api": str(number % 2)}, {"api": str((number + 1) % 2)})
        assert rewrites.may_write_status(KEY)


def test_reverted_status_is_written_at_growing_intervals(rewrites: Rewrites, clock: Clock) -> None:
    for _ in range(30):
        while not rewrites.may_write_status(KEY):
            remaining = rewrites.remaining(KEY)
            assert remaining is not None
            assert remaining <= LAST_STATUS_DELAY_SECONDS
            clock.seconds += remaining
        rewrites.status_written(KEY, {"api": "theirs"}, {"api": "ours"})

    assert clock.seconds - 1_000 > 5 * LAST_STATUS_DELAY_SECONDS
    assert [conflict.reason for conflict in rewrites.conflicts(KEY)] == ["AnotherOperator"]


def test_deleted_objects_are_forgotten(rewrites: Rewrites) -> None:
    until_delayed(rewrites, update())
    rewrites.forget(KEY)

    assert rewrites.conflicts(KEY) == []
    rewrites.require(KEY, update())
