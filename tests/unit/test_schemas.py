"""Bodies and queries: accepted values, conversions, and their description in OpenAPI."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from livescore.api import openapi
from livescore.api.schemas.base import Patch
from livescore.api.schemas.commentary import CommentaryPatch, NewCommentary
from livescore.api.schemas.fields import Instant
from livescore.api.schemas.matches import Cursor, Fixture, MatchesQuery, MatchPatch, NewMatch, cursor_text
from livescore.scores.match_state import FIXTURE
from livescore.scores.rules import INT4_MAX

instants: TypeAdapter[datetime] = TypeAdapter(Instant)
cursors: TypeAdapter[tuple[int, int]] = TypeAdapter(Cursor)

MATCH = {
    "sport": "football",
    "homeTeam": "A",
    "awayTeam": "B",
    "startTime": "2026-06-11T19:00:00Z",
    "endTime": "2026-06-11T21:00:00Z",
}


def commentary(**members: Any) -> NewCommentary:
    return NewCommentary.model_validate({"minute": 1, "message": "m", **members})


def paths(metadata: dict[str, Any]) -> list[tuple[str | int, ...]]:
    return [issue.path for issue in commentary(metadata=metadata).issues()]


@given(st.datetimes(timezones=st.just(UTC)))
@example(datetime(1, 1, 1, tzinfo=UTC))
@example(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
@example(datetime(2000, 2, 29, tzinfo=UTC))
def test_every_valid_time_is_accepted_and_truncated_to_milliseconds(moment: datetime) -> None:
    text = moment.isoformat().replace("+00:00", "Z")
    read = instants.validate_python(text)
    assert timedelta(0) <= moment - read < timedelta(milliseconds=1)
    assert read.microsecond % 1000 == 0


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-02-20T15:00:00+02:00", "2026-02-20T13:00:00Z"),
        ("2026-02-20T15:00:00-03:30", "2026-02-20T18:30:00Z"),
        ("2026-02-20T15:00:00+0200", "2026-02-20T13:00:00Z"),
        ("2026-02-20T15:00:00-0330", "2026-02-20T18:30:00Z"),
        ("2026-02-20T15:00:00+02", "2026-02-20T13:00:00Z"),
        ("2026-02-20T15:00:00+00:00", "2026-02-20T15:00:00Z"),
        ("2026-02-20T15:00:00-00:00", "2026-02-20T15:00:00Z"),
        ("2026-02-20T15:00:00+23:59", "2026-02-19T15:01:00Z"),
        ("2026-02-20t15:00:00z", "2026-02-20T15:00:00Z"),
        ("2026-02-20T15:00+05:45", "2026-02-20T09:15:00Z"),
        ("2026-03-01T00:30:00+01:00", "2026-02-28T23:30:00Z"),
        ("2028-02-29T00:00:00+14:00", "2028-02-28T10:00:00Z"),
        ("0001-01-01T00:00:00-01:00", "0001-01-01T01:00:00Z"),
        ("9999-12-31T23:59:59.999+01:00", "9999-12-31T22:59:59.999Z"),
        ("2026-02-20T15:00:00.1+02:00", "2026-02-20T13:00:00.100Z"),
        ("2026-02-20T15:00:00,25Z", "2026-02-20T15:00:00.250Z"),
        ("2026-02-20T15:00:00.123456789123Z", "2026-02-20T15:00:00.123Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"),
    ],
)
def test_time_with_any_offset_is_converted_to_utc(text: str, utc: str) -> None:
    read = instants.validate_python(text)
    assert (read, read.tzinfo) == (datetime.fromisoformat(utc), UTC)


@given(st.datetimes(timezones=st.timezones()))
def test_times_of_every_zone_are_converted_correctly(moment: datetime) -> None:
    offset = moment.utcoffset()
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        return
    if offset is not None and offset.seconds % 60 == 0:  # local mean times have seconds
        assert timedelta(0) <= utc - instants.validate_python(moment.isoformat()) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-02-20T15:00:00", "offset"),
        ("2026-02-20T15:00", "offset"),
        ("0001-01-01T00:00:00+00:01", "years 0001 to 9999"),
        ("9999-12-31T23:59:59-00:01", "years 0001 to 9999"),
        ("9999-12-31T23:59:60Z", "years 0001 to 9999"),
        ("2026-02-30T15:00:00Z", "does not exist"),
        ("tomorrow", "such as"),
    ],
)
def test_invalid_time_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        instants.validate_python(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-20T15:00:00",
        "2026-02-20T15:00:00 02:00",
        "2026-02-20T15:00:00+2:00",
        "2026-02-20T15:00:00+24:00",
        "2026-02-20T15:00:00+02:60",
        "2026-02-20T15:00:00Z+02:00",
        "2026-02-20T15:00:00 Europe/Berlin",
        "2026-12-30T23:59:60Z",
        "2026-02-20 15:00:00Z",
        "2026-02-20T15:00:00Z\n",
        "2026-02-20T24:00:00Z",
        "2026-02-20T15:00:60Z",
        "2026-02-20T15:00:00.Z",
        "2026-02-20",
        "20260220T150000Z",
        "2026-W08-5T15:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "+2026-02-20T15:00:00Z",
        "２026-02-20T15:00:00Z",
        "",
        0,
        None,
        True,
    ],
)
def test_no_other_time_is_accepted(text: Any) -> None:
    with pytest.raises(ValidationError):
        instants.validate_python(text)


def test_fault_16_years_of_two_digits_stay_in_their_century() -> None:
    assert instants.validate_python("0099-01-01T00:00:00Z").year == 99


def test_time_may_omit_seconds_or_have_many_digits() -> None:
    assert instants.validate_python("2026-02-20T15:00Z") == datetime(2026, 2, 20, 15, tzinfo=UTC)
    assert instants.validate_python("2026-02-20T15:00:00.1239999999Z").microsecond == 123_000


@given(st.integers(0, 2**44 - 1), st.integers(0, 2**31 - 1))
def test_cursor_round_trips(milliseconds: int, match_id: int) -> None:
    assert cursors.validate_python(cursor_text(milliseconds, match_id)) == (milliseconds, match_id)


@pytest.mark.parametrize("text", ["", "-", "1-", "-1", "1.1", "g-1", "1-80000000", f"{2**44:x}-1", "1-1\n", "1-1-1"])
def test_forged_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        cursors.validate_python(text)


@given(st.integers(0, INT4_MAX))
def test_integer_may_have_a_zero_fraction(number: int) -> None:
    assert commentary(minute=float(number)).minute == number
    assert type(commentary(minute=float(number)).minute) is int


@pytest.mark.parametrize("minute", [-1, 5.5, "5", True, None, [], 2**31, 1e300, float("inf"), float("nan")])
def test_minute_must_be_an_integer_from_0_to_int4_max(minute: Any) -> None:
    with pytest.raises(ValidationError) as error:
        commentary(minute=minute)
    assert error.value.errors()[0]["loc"] == ("minute",)


@pytest.mark.parametrize(
    ("written", "read"), [("0", 0), ("007", 7), ("-3", -3), (4, 4), (5.0, 5), ("999999999", 999_999_999)]
)
def test_a_period_may_be_a_numeric_string(written: Any, read: int) -> None:
    assert commentary(period=written).period == read


@pytest.mark.parametrize("period", ["", " 1", "1.5", "1e3", "0x1", "first", "٣", "9999999999", None, False])
def test_no_other_string_is_a_period(period: Any) -> None:
    with pytest.raises(ValidationError):
        commentary(period=period)


def test_omitted_members_have_defaults() -> None:
    assert commentary().values() == {
        "minute": 1,
        "message": "m",
        "sequence": 0,
        "period": 1,
        "event_type": "commentary",
        "actor": None,
        "team": None,
        "metadata": None,
        "tags": None,
        "side": None,
        "period_code": None,
        "stoppage": None,
    }


@pytest.mark.parametrize("member", ["actor", "team", "metadata", "tags", "eventType", "sequence", "side", "stoppage"])
def test_null_is_not_accepted_for_optional_members(member: str) -> None:
    with pytest.raises(ValidationError) as error:
        commentary(**{member: None})
    assert error.value.errors()[0]["loc"] == (member,)


def test_unknown_members_are_dropped() -> None:
    assert NewMatch.model_validate({**MATCH, "status": "finished", "id": 7}).values().keys() == {
        "sport",
        "home_team",
        "away_team",
        "start",
        "end",
        "home_score",
        "away_score",
        "rules",
        *FIXTURE,
    }


def test_patch_records_the_given_members() -> None:
    patch = MatchPatch.model_validate({"homeTeam": "Z", "awayScore": "3", "unknown": 1})
    assert patch.given() == {"home_team": "Z", "away_score": 3}
    assert list(patch.issues()) == []


@pytest.mark.parametrize("patch", [MatchPatch, CommentaryPatch])
def test_empty_patch_is_refused(patch: type[Patch]) -> None:
    assert [issue.path for issue in patch.model_validate({"unknown": 1}).issues()] == [()]


def test_match_must_last_at_least_a_millisecond() -> None:
    same = NewMatch.model_validate({**MATCH, "endTime": "2026-06-11T19:00:00.0009Z"})
    assert [issue.path for issue in same.issues()] == [("endTime",)]
    assert list(NewMatch.model_validate({**MATCH, "endTime": "2026-06-11T19:00:00.001Z"}).issues()) == []


def test_u0000_is_found_anywhere_in_metadata() -> None:
    assert paths({"a": [1, {"b": "\0"}], "c": {"d\0": 1}}) == [("metadata", "a", 1, "b"), ("metadata", "c")]


@pytest.mark.parametrize("delta", [{}, {"home": 1}, {"home": 0, "away": 1000}, {"home": 2.0, "other": "x"}])
def test_a_score_delta_is_an_object_of_small_integers(delta: dict[str, Any]) -> None:
    assert paths({"scoreDelta": delta}) == []


@pytest.mark.parametrize("points", [-1, 1001, 1.5, "1", None, True, []])
def test_no_other_score_delta_is_accepted(points: Any) -> None:
    assert paths({"scoreDelta": {"away": points}}) == [("metadata", "scoreDelta", "away")]
    assert paths({"scoreDelta": points}) == [("metadata", "scoreDelta")]


def test_filters_have_the_names_of_the_store() -> None:
    given = {"from": "2026-06-11T19:00Z", "status": ["live,finished", "scheduled"], "sport": ["a,b"], "limit": "7"}
    query = MatchesQuery.model_validate(given)
    assert query.filters() == {
        "from": datetime(2026, 6, 11, 19, tzinfo=UTC),
        "status": ["live", "finished", "scheduled"],
        "sport": ["a,b"],
    }


@pytest.mark.parametrize("offset", [" 02:00", " 0200", " 02", "+02:00"])
def test_plus_sign_of_an_offset_survives_a_query_string(offset: str) -> None:
    query = MatchesQuery.model_validate({"from": f"2026-06-11T19:00:00{offset}"})
    assert query.from_ == datetime(2026, 6, 11, 17, tzinfo=UTC)


def test_openapi_allows_null_only_for_details_of_a_match() -> None:
    details = {to_camel(name) for name in FIXTURE} - {"startTimeConfirmed"} | {"rules"}
    for body in (NewMatch, MatchPatch, NewCommentary, CommentaryPatch):
        members = openapi.body_schema(body)["properties"].items()
        nullable = {name for name, schema in members if {"type": "null"} in schema.get("anyOf", ())}
        assert nullable == (details if issubclass(body, Fixture) else set())
        assert "None" not in str(openapi.body_schema(body))


def test_null_removes_a_detail_of_a_match() -> None:
    patch = MatchPatch.model_validate({"venue": None, "rules": None})
    assert patch.given() == {"venue": None, "rules": None}


def test_u0000_is_found_in_the_metadata_of_a_match() -> None:
    new = NewMatch.model_validate({**MATCH, "metadata": {"a": ["\0"]}})
    assert [issue.path for issue in new.issues()] == [("metadata", "a", 0)]


def test_openapi_bounds_every_integer() -> None:
    text = str([openapi.body_schema(body) for body in (NewMatch, MatchPatch, NewCommentary, CommentaryPatch)])
    integers = re.findall(r"\{[^{}]*'type': 'integer'[^{}]*\}", text)
    assert len(integers) > 10
    assert all("minimum" in integer and "maximum" in integer for integer in integers)
