"""Events report each change once, and a failure to record an Event does not stop anything."""

import re
from typing import Any

import pytest

from livescore_operator.cluster import Cluster
from livescore_operator.errors import NotLeading, Transient
from livescore_operator.events import EVENT_CONDITIONS, MAX_MESSAGE, Recorder, transitions
from livescore_operator.resource import Condition, ConditionStatus, LiveScore, Manifest

RESOURCE = LiveScore.parse(
    {"metadata": {"name": "demo", "namespace": "sport", "uid": "u-1"}, "spec": {"image": "livescore:1"}}
)


def condition(type: str, status: ConditionStatus, reason: str, message: str = "why") -> Condition:
    return Condition(
        type=type, status=status, reason=reason, message=message, observed_generation=1, last_transition_time="then"
    )


class Events(Cluster):
    """An API server that accepts Events, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.created: list[Manifest] = []
        self._error = error

    async def create_event(self, event: Manifest) -> None:
        if self._error:
            raise self._error
        self.created.append(event)


# The previous condition, the new condition, and the type of the Event, if any.
ROWS: list[tuple[Condition | None, Condition, str | None]] = [
    (None, condition("Ready", "False", "NotCreated"), None),
    (None, condition("Ready", "True", "Ready"), "Normal"),
    (condition("Ready", "False", "Starting"), condition("Ready", "False", "Unavailable"), None),
    (condition("Ready", "False", "Starting"), condition("Ready", "True", "Ready"), "Normal"),
    (condition("Ready", "True", "Ready"), condition("Ready", "False", "Unavailable"), "Warning"),
    (condition("Ready", "True", "Ready"), condition("Ready", "True", "Ready", "in other words"), None),
    (None, condition("Stalled", "False", "Ready"), None),
    (condition("Stalled", "False", "Ready"), condition("Stalled", "True", "MigrationFailed"), "Warning"),
    (condition("Stalled", "True", "MigrationFailed"), condition("Stalled", "True", "RolloutStuck"), "Warning"),
    (condition("Stalled", "True", "MigrationFailed"), condition("Stalled", "False", "Ready"), None),
    (condition("SchemaCurrent", "False", "Migrating"), condition("SchemaCurrent", "True", "Migrated"), "Normal"),
    (condition("SchemaCurrent", "True", "Migrated"), condition("SchemaCurrent", "False", "Migrating"), "Normal"),
    (condition("SchemaCurrent", "True", "Migrated"), condition("SchemaCurrent", "False", "MigrationFailed"), "Warning"),
    (condition("Ready", "True", "Ready"), condition("Ready", "False", "RollingOut"), "Normal"),
    (condition("Ready", "True", "Ready"), condition("Ready", "False", "WaitingForDatabase"), "Normal"),
    (condition("Ready", "True", "Ready"), condition("Ready", "False", "OwnershipConflict"), "Warning"),
    (condition("ApiAvailable", "True", "Available"), condition("ApiAvailable", "False", "Unavailable"), None),
    (None, condition("SettingsEffective", "True", "Effective"), None),
    (None, condition("SettingsEffective", "False", "SettingsIgnored"), "Warning"),
    (
        condition("SettingsEffective", "False", "SettingsIgnored", "another"),
        condition("SettingsEffective", "False", "SettingsIgnored"),
        "Warning",
    ),
    (
        condition("SettingsEffective", "False", "SettingsIgnored"),
        condition("SettingsEffective", "True", "Effective"),
        None,
    ),
]


@pytest.mark.parametrize(("old", "new", "severity"), ROWS)
def test_transitions_of_interest_become_events(old: Condition | None, new: Condition, severity: str | None) -> None:
    expected = [(severity, new.reason, new.message)] if severity else []

    assert transitions([old] if old else [], [new]) == expected
    assert transitions([new], [new]) == [], "once"


def test_one_cause_is_reported_once() -> None:
    old = [condition("Ready", "True", "Ready"), condition("Stalled", "False", "Ready")]
    new = [condition("Ready", "False", "RolloutStuck"), condition("Stalled", "True", "RolloutStuck")]

    assert transitions(old, new) == [("Warning", "RolloutStuck", "why")]


async def test_transitions_are_recorded() -> None:
    cluster = Events()
    new = [condition(type, "True", f"{type}Reason") for type in (*EVENT_CONDITIONS, "ApiAvailable")]

    await Recorder(cluster, "operator-1").record_transitions(RESOURCE, [], new)

    assert [(event["type"], event["reason"]) for event in cluster.created] == [
        ("Normal", "ReadyReason"),
        ("Warning", "StalledReason"),
        ("Normal", "SchemaCurrentReason"),
    ]


async def test_event_references_its_livescore() -> None:
    cluster = Events()

    await Recorder(cluster, "operator-1").record(RESOURCE, "Normal", "Applied", "x" * 2000)

    (event,) = cluster.created
    expected: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "demo.", "namespace": "sport"},
        "involvedObject": {
            "apiVersion": "livescore.dev/v1",
            "kind": "LiveScore",
            "name": "demo",
            "namespace": "sport",
            "uid": "u-1",
        },
        "type": "Normal",
        "reason": "Applied",
        "message": "x" * MAX_MESSAGE,
        "count": 1,
        "reportingInstance": "operator-1",
    }
    assert {name: event[name] for name in expected} == expected
    assert event["firstTimestamp"] == event["lastTimestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", event["firstTimestamp"])


async def test_failure_to_record_an_event_is_ignored() -> None:
    await Recorder(Events(Transient("Http500", "no")), "operator-1").record(RESOURCE, "Normal", "Applied", "x")


async def test_non_leader_records_no_event_and_stops() -> None:
    with pytest.raises(NotLeading):
        await Recorder(Events(NotLeading()), "operator-1").record(RESOURCE, "Normal", "Applied", "x")
