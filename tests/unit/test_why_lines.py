"""Which line of the version before a changed line was."""

from __future__ import annotations

import pytest

from cavalcade.supervisor.why.lines import line_before, line_in


@pytest.mark.parametrize(
    ("old", "new", "line", "before"),
    [
        ("a\nb\nc\n", "a\nB\nc\n", 2, 2),
        ("a\nc\n", "a\nb\nc\n", 2, None),
        ("a\nb\nc\n", "a\nb\nc\n", 2, None),
        ("def one(x):\ndef two(x):\n", "# new\ndef two(y):\ndef one(y):\n", 2, 2),
        ("def one(x):\ndef two(x):\n", "# new\ndef two(y):\ndef one(y):\n", 3, 1),
        ("x = 1\n", "alpha\nbeta\n", 2, 1),
        ("one\ntwo", "one\n2", 2, 2),
        ("", "one\n", 1, None),
    ],
)
def test_a_changed_line_was_the_most_similar_one_of_those_it_replaced(
    old: str, new: str, line: int, before: int | None
) -> None:
    assert line_before(old.encode(), new.encode(), line) == before


def test_an_unchanged_line_is_found_again_and_a_changed_one_is_not() -> None:
    old, new = [b"a\n", b"b\n", b"c\n", b"d\n"], [b"0\n", b"a\n", b"B\n", b"d\n"]
    assert [line_in(old, new, line) for line in (1, 2, 3, 4)] == [2, None, None, 4]
