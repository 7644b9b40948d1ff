"""Secrets in a stream of output, also those that lie across the borders of its pieces."""

from __future__ import annotations

import re

from cavalcade.kernel.redaction import Redactor, marked
from cavalcade.kernel.secret_shapes import Found, open_private_key

HOLD = 4096
"""Characters that are held back at most while they may be the beginning of a secret: the longest tokens in use are shorter."""
LOOK_BACK = 512
"""Characters already given out that are looked at again: the name before a value, the mark before a key."""
LARGEST = 64 * 1024
"""A secret that goes on for longer is given out as several marks."""
_TOKEN = re.compile(r"[A-Za-z0-9_+/=.~%-]{12}")


class StreamRedactor:
    """`feed` pieces in order, then `close`; the answers together are the redacted stream.

    Whole lines come out as soon as nothing at their end can go on in the next; an unfinished line is held back, at most `HOLD`
    characters of it. A private key is found however long it is. Memory is bounded by the constants here.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._before: str = ""
        self._held: str = ""

    @property
    def held(self) -> int:
        """Characters that were fed and are not given out yet."""
        return len(self._held)

    def feed(self, text: str) -> str:
        """What can be given out now; may be empty."""
        self._held += text
        line = self._held.rfind("\n") + 1
        if _TOKEN.fullmatch(self._held[max(line - HOLD, 0) : line].rstrip()[-12:]):
            line = self._held.rfind("\n", 0, line - 1) + 1
        return self._give(max(line, len(self._held) - HOLD, 0))

    def close(self) -> str:
        """The rest."""
        given = self._give(len(self._held), whole=True)
        self._before = ""
        return given

    def _give(self, cut: int, *, whole: bool = False) -> str:
        if cut <= 0:
            return ""
        text: str = self._before + self._held
        base = len(self._before)
        found = self._redactor.find(text)
        at = base + cut
        begun = None if whole else _begun(text, found, at)
        if begun is not None and len(text) - begun[0] < LARGEST:
            at, begun = max(base, begun[0]), None
        given = marked(text, found, base, at)
        self._held = text[at:]
        if begun is None:
            self._before = text[max(at - LOOK_BACK, 0) : at]
        else:  # what goes on is known for a secret by how it began, however far back that is
            line = text.rfind("\n", begun[1], at - 1) + 1
            self._before = text[begun[0] : begun[1]] + text[max(at - _LINE, begun[1], line) : at]
        return given


_LINE = 80


def _begun(text: str, found: list[Found], at: int) -> tuple[int, int] | None:
    """The beginning of a secret that lies across a place, or ends there and may go on."""
    if "-----BEGIN" in text or "PuTTY" in text:
        key = open_private_key(text)
        if key is not None and key[0] < at:
            return key
    across = next((secret for secret in found if secret.start < at <= secret.end), None)
    return None if across is None else (across.start, min(across.start + _LINE, across.end, at))
