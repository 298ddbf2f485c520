"""JSON from clients: what parsing refuses; everything else can be hashed, stored and sent again."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livescore.scores import json_text
from livescore.scores.json_text import MAX_NESTING, JsonError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def nested(levels: int, opening: str, closing: str) -> bytes:
    """Return ``levels`` nested containers."""
    return (opening * levels + "1" + closing * levels).encode()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_is_bounded_for_all_containers(opening: str, closing: str) -> None:
    each = opening.count("[") + opening.count("{")
    json_text.parse(nested(MAX_NESTING // each, opening, closing))
    for levels in (MAX_NESTING // each + 1, 254, 255, 1_023, 1_024, 1_025, 30_000):
        with pytest.raises(JsonError):
            json_text.parse(nested(levels, opening, closing))


def test_path_of_the_first_excess_level_is_named() -> None:
    with pytest.raises(JsonError) as error:
        json_text.parse(b'{"a":[0,' + nested(MAX_NESTING, '{"b":', "}") + b"]}")
    assert error.value.path == ("a", 1, *["b"] * (MAX_NESTING - 2))


def test_siblings_do_not_count_as_nesting() -> None:
    assert json_text.parse(b"[" + b"[]," * 1_000 + b'"[{["]') == [*[[]] * 1_000, "[{["]


@pytest.mark.parametrize(
    "text",
    [b"", b"NaN", b"-Infinity", b"1e400", b"9" * 400, b'"\\ud800"', b"\xef\xbb\xbf{}", b"01", b"[1,]", b'"\xff"'],
)
def test_invalid_json_and_numbers_beyond_doubles_are_refused(text: bytes) -> None:
    with pytest.raises(JsonError) as error:
        json_text.parse(text)
    assert str(error.value).startswith("Malformed JSON: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"-0", 0),
        (b"18446744073709551616", 2.0**64),
        (b"5e-325", 0.0),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'"\\u0000"', "\0"),
    ],
)
def test_numbers_and_repeated_members_are_read_as_in_javascript(text: bytes, value: Any) -> None:
    assert json_text.parse(text) == value


@given(VALUES)
def test_parsed_values_can_be_encoded_again(value: Any) -> None:
    try:
        parsed = json_text.parse(orjson.dumps(value))
    except JsonError:
        return
    assert json_text.parse(orjson.dumps(parsed, option=orjson.OPT_SORT_KEYS)) == parsed
