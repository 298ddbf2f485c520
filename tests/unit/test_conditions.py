"""``If-Match`` and ``If-None-Match``: parsing lists of ETags, and matching the current state."""

import pytest

from livescore.api.conditions import Preconditions, TagList
from livescore.http_errors import PreconditionFailed

CURRENT = {'"a-1-2"'}


@pytest.mark.parametrize(
    ("lines", "strongly", "weakly"),
    [
        (["*"], True, True),
        ([" * "], True, True),
        (['"a-1-2"'], True, True),
        (['W/"a-1-2"'], False, True),
        (['"x", "a-1-2"'], True, True),
        (['"x"', '"a-1-2"'], True, True),
        (['"x"', 'W/"y" , W/"a-1-2"'], False, True),
        ([', "x",, "a-1-2" ,'], True, True),
        (['"x,\\"', '"a-1-2"'], True, True),
        (['"a-1-2,"'], False, False),
        (['""'], False, False),
        (['"A-1-2"'], False, False),
        (['"\xe9"'], False, False),
    ],
)
def test_a_list_names_the_current_state(lines: list[str], strongly: bool, weakly: bool) -> None:
    tags = TagList.parse(lines)
    assert (tags.matches_strongly(CURRENT), tags.matches_weakly(CURRENT)) == (strongly, weakly)


@pytest.mark.parametrize(
    "lines",
    [
        [""],
        [" "],
        [","],
        ["a-1-2"],
        ['"a-1-2'],
        ['a-1-2"'],
        ["'a-1-2'"],
        ['w/"a-1-2"'],
        ['W / "a"'],
        ['"a""b"'],
        ['"a" "b"'],
        ['"a"; "b"'],
        ['"a b"'],
        ['"a-1-2" x'],
        ['*, "a-1-2"'],
        ["*", "*"],
        ['"a"', "*"],
    ],
)
def test_invalid_list_is_refused(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="must be"):
        TagList.parse(lines)


def test_very_long_list_is_parsed_quickly() -> None:
    assert not TagList.parse(['"x",' * 8_000]).matches_strongly(CURRENT)
    for text in ('"x",' * 8_000 + "!", '"x"' + ", " * 15_000 + "!", '"' * 30_000):
        with pytest.raises(ValueError, match="must be"):
            TagList.parse([text])


def test_resource_without_etag_matches_only_an_asterisk() -> None:
    anything, something = TagList.parse(["*"]), TagList.parse(['"a"'])
    Preconditions(anything, None).check(())
    Preconditions(None, something).check(())
    for failing in (Preconditions(something, None), Preconditions(None, anything)):
        with pytest.raises(PreconditionFailed):
            failing.check(())
