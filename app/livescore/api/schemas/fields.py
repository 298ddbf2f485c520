"""Types of members and parameters, with their parsing and their JSON schemas."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, FailFast, Field, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from livescore.scores.rules import INT4_MAX

INT4_MIN = -INT4_MAX - 1

# Characters. The indexes on these columns hold at most 2704 bytes; UTF-8 takes up to four per character.
MAX_NAME_LENGTH = 500

# Characters of the code or the name of a period.
MAX_PERIOD_LENGTH = 50

# Characters. Up to four columns of this type form the key of one index.
MAX_LABEL_LENGTH = 100

# PostgreSQL's text cannot hold U+0000.
NO_NUL = r"^[^\u0000]*$"
NO_NUL_MESSAGE = "String must not contain U+0000"

# RFC 3339 with any offset, and from ISO 8601: no seconds, a comma, offsets without minutes or colon.
_INSTANT = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt](?P<minute>[0-9]{2}:[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-5][0-9])?)?",
    re.ASCII,
)

# Nine digits always fit int4.
_NUMERAL = re.compile("-?[0-9]{1,9}")


def _instant(value: Any) -> datetime:
    """Return a time in UTC, cut to the milliseconds that are stored."""
    written = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if written is None:
        raise PydanticCustomError("instant", "Input should be a time such as 2026-02-20T15:00:00.000Z")
    if written["offset"] is None:
        raise PydanticCustomError("instant", "Time should end with Z or an offset from UTC such as +02:00")
    is_leap_second = written["second"] == "60"
    second = "59" if is_leap_second else written["second"] or "00"
    fraction = (written["fraction"] or "0")[:3].ljust(3, "0")
    text = f"{written['date']}T{written['minute']}:{second}.{fraction}{written['offset'].upper()}"
    try:
        instant = datetime.fromisoformat(text).astimezone(UTC)
        return _after_leap_second(instant) if is_leap_second else instant
    except ValueError as error:
        raise PydanticCustomError("instant", "Time does not exist: {reason}", {"reason": str(error)}) from None
    except OverflowError:
        raise PydanticCustomError("instant", "Time should be in the years 0001 to 9999 of UTC") from None


def _after_leap_second(instant: datetime) -> datetime:
    """Return the next second, as PostgreSQL does: a leap second is the last second of a month.

    Raises:
        ValueError: The time is not at the end of a month.
    """
    following = instant + timedelta(seconds=1)
    if (following.day, following.hour, following.minute, following.second) != (1, 0, 0, 0):
        raise ValueError("second must be in 0..59")
    return following


def _query_instant(value: Any) -> Any:
    """Restore the plus sign of an offset, which decoding a query string turns into a blank."""
    return re.sub(r" (?=[0-9]{2}(:?[0-9]{2})?$)", "+", value) if isinstance(value, str) else value


def parse_whole_float(value: Any) -> Any:
    """Return a float such as 5.0 as an integer, since JSON has one kind of number; other values as they are."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _parse_numeral(value: Any) -> Any:
    """Return an integer for a numeric string or a whole float; other values as they are."""
    if isinstance(value, str) and _NUMERAL.fullmatch(value):
        return int(value)
    return parse_whole_float(value)


def parse_query_integer(value: str) -> Any:
    """Return the integer of a query parameter in canonical form; other values as they are, for pydantic to refuse."""
    return int(value) if re.fullmatch("0|[1-9][0-9]{0,9}", value) else value


def integer_schema(minimum: int, maximum: int = INT4_MAX) -> dict[str, Any]:
    """Return the JSON schema of a bounded integer."""
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def _numeric_schema(minimum: int) -> dict[str, Any]:
    """Return the JSON schema of an integer that may be written as a string."""
    pattern = "^[0-9]{1,9}$" if minimum == 0 else "^-?[0-9]{1,9}$"
    return {"anyOf": [integer_schema(minimum), {"type": "string", "pattern": pattern}]}


# In request bodies and queries

Text = Annotated[str, Strict(), Field(pattern=NO_NUL)]
Message = Annotated[Text, Field(min_length=1)]
Name = Annotated[Message, Field(max_length=MAX_NAME_LENGTH)]
Label = Annotated[Message, Field(max_length=MAX_LABEL_LENGTH)]
Labels = Annotated[list[Label], Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1)]
PeriodCode = Annotated[Message, Field(max_length=MAX_PERIOD_LENGTH)]
Tags = Annotated[list[Text], Strict(), FailFast()]
_Int4 = Annotated[int, Strict(), Field(ge=INT4_MIN, le=INT4_MAX)]
_NotNegative = Annotated[int, Strict(), Field(ge=0, le=INT4_MAX)]
Int4 = Annotated[_Int4, BeforeValidator(parse_whole_float), WithJsonSchema(integer_schema(INT4_MIN))]
Count = Annotated[_NotNegative, BeforeValidator(parse_whole_float), WithJsonSchema(integer_schema(0))]
Points = Annotated[_NotNegative, BeforeValidator(_parse_numeral), WithJsonSchema(_numeric_schema(0))]
Period = Annotated[_Int4, BeforeValidator(_parse_numeral), WithJsonSchema(_numeric_schema(INT4_MIN))]
Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
QueryInstant = Annotated[Instant, BeforeValidator(_query_instant)]
Limit = Annotated[
    int,
    Strict(),
    Field(ge=1, le=100),
    BeforeValidator(parse_query_integer),
    WithJsonSchema(integer_schema(1, 100)),
]

# In responses

Timestamp = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
Id = Annotated[int, Field(ge=1, le=INT4_MAX)]
Seq = Annotated[int, Field(ge=1, le=INT4_MAX, description="`seq` of the last event that changed this object.")]
