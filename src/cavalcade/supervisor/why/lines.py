"""Lines in two versions of a file, and hunks of a unified difference. Lines are numbered from 1."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from cavalcade.content.lines import hunks, split_lines


def line_in(old: Sequence[bytes], new: Sequence[bytes], line: int) -> int | None:
    """Where line `line` of `old` stands in `new`; None when it was changed or removed."""
    shift = 0
    for hunk in hunks(b"".join(old), b"".join(new)):
        if hunk.old_start >= line:
            break
        if line <= hunk.old_end:
            return None
        shift = hunk.new_end - hunk.old_end
    return line + shift


def line_before(old: bytes, new: bytes, line: int) -> int | None:
    """The line of `old` that became line `line` of `new`, which differs from it: the most similar one of those it replaced.

    None when nothing was replaced: the line was put in.
    """
    for hunk in hunks(old, new):
        if hunk.new_start < line <= hunk.new_end and hunk.old_start < hunk.old_end:
            olds, mine = split_lines(old), split_lines(new)[line - 1]
            aligned = min(hunk.old_start + line - 1 - hunk.new_start, hunk.old_end - 1)
            candidates = range(hunk.old_start, hunk.old_end)
            return 1 + max(candidates, key=lambda at: (_similarity(olds[at], mine), -abs(at - aligned)))
    return None


def _similarity(one: bytes, other: bytes) -> float:
    return SequenceMatcher(None, one.strip(), other.strip(), autojunk=False).ratio()


def hunk_with(patch: str, line: int) -> str:
    """The hunk of a unified difference that has line `line` of the new file; without its header."""
    mine: list[str] = []
    inside = False
    for text in patch.splitlines():
        if text.startswith("@@"):
            start, _, length = text.split("+", 1)[1].split(" ", 1)[0].partition(",")
            inside = int(start) <= line < int(start) + int(length or 1)
        elif inside:
            mine.append(text)
    return "\n".join(mine)
