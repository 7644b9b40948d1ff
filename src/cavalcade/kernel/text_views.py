"""The same text as a program would read it: escapes undone, wrapped lines joined; each place leads back to where it stands in the text.

A key in a JSON string may be written `\\u0073\\u006b-...`, one in a string inside that string with the backslashes doubled, and a terminal
breaks long ones at its edge.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([\"'\\/bfnrt]))")
_CHARACTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_BREAK = re.compile(r"(?:\\?\r?\n[ \t]*+|\x1b\[[0-9;?]{0,16}+[A-Za-z])++")
DEEPEST = 8
"""Escapes within escapes that are undone. Each level has at most half the backslashes of the one before."""


class View:
    """`text`, and for places in it the places in the original. `breaks` are the places where a line break was taken out."""

    def __init__(self, text: str, above: View | None = None) -> None:
        self.text = text
        self.breaks: list[int] = []
        self._above = above
        self._here = [0]
        self._there = [0]

    def put(self, here: int, there: int) -> None:
        """From `here` on, places correspond to those from `there` on in the view above."""
        self._here.append(here)
        self._there.append(there)

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The part of the original text that a part of this one, not empty, stands for."""
        if self._above is None:
            return start, end
        after = self._place(end - 1) + 1 if self.breaks else self._place(end)
        return self._above.origin(self._place(start), after)

    def _place(self, here: int) -> int:
        at = bisect_right(self._here, here) - 1
        return self._there[at] + here - self._here[at]


def views(text: str) -> Iterator[View]:
    """The text itself, then with one level of escapes undone after the other."""
    view = View(text)
    for _ in range(DEEPEST):
        yield view
        if "\\" not in view.text or (below := _unescaped(view)) is None:
            return
        view = below


def _unescaped(above: View) -> View | None:
    """None when nothing is escaped."""
    parts: list[str] = []
    view = View("", above)
    here = last = 0
    for escape in _ESCAPE.finditer(above.text):
        code = escape[1] or escape[2]
        here += escape.start() - last
        parts += (
            above.text[last : escape.start()],
            chr(int(code, 16)) if code else _CHARACTERS.get(escape[3], escape[3]),
        )
        view.put(here, escape.start())
        here, last = here + 1, escape.end()
        view.put(here, last)
    if not parts:
        return None
    view.text = "".join((*parts, above.text[last:]))
    return view


def joined(above: View) -> View | None:
    """Without line breaks (and the indents after them) and without a terminal's colours; None when there are none."""
    if "\n" not in above.text and "\x1b" not in above.text:
        return None
    parts: list[str] = []
    view = View("", above)
    here = last = 0
    for gap in _BREAK.finditer(above.text):
        parts.append(above.text[last : gap.start()])
        here, last = here + gap.start() - last, gap.end()
        view.put(here, last)
        view.breaks.append(here)
    view.text = "".join((*parts, above.text[last:]))
    return view
