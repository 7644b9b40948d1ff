"""Lines of text: what differs between two versions, and the three-way merge of two changed versions. Works on bytes, any encoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pygit2
from pygit2.enums import DiffOption


class Hunk(NamedTuple):
    """Lines `old_start:old_end` were replaced by `new_start:new_end`; from 0, ends excluded."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def is_binary(data: bytes) -> bool:
    """Git's rule: a NUL in the first 8,000 bytes."""
    return b"\0" in data[:8000]


def split_lines(data: bytes) -> list[bytes]:
    """Ends at line feeds only, and keeps them."""
    lines = data.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])


def hunks(old: bytes, new: bytes) -> list[Hunk]:
    if old == new:
        return []
    patch = pygit2.Patch.create_from(old, new, flag=DiffOption.FORCE_TEXT, context_lines=0, interhunk_lines=0)
    found: list[Hunk] = []
    for hunk in patch.hunks:
        # An empty side is numbered by the line before it, a filled one by its first line, both from 1.
        old_start = hunk.old_start - (1 if hunk.old_lines else 0)
        new_start = hunk.new_start - (1 if hunk.new_lines else 0)
        found.append(Hunk(old_start, old_start + hunk.old_lines, new_start, new_start + hunk.new_lines))
    return found


def merge_lines(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Both sides' changes, or None when they touch or overlap without being equal (as `git merge-file` decides)."""
    base_lines, our_lines, their_lines = split_lines(base), split_lines(ours), split_lines(theirs)
    mine, other = hunks(base, ours), hunks(base, theirs)
    merged: list[bytes] = []
    at = i = j = 0
    while i < len(mine) or j < len(other):
        left = mine[i] if i < len(mine) else None
        right = other[j] if j < len(other) else None
        if left and right and _same(left, our_lines, right, their_lines):
            i, j = i + 1, j + 1
            taken, lines = left, our_lines
        elif left and right and left.old_start <= right.old_end and right.old_start <= left.old_end:
            return None
        elif right is None or (left and left.old_start < right.old_start):
            assert left is not None
            i += 1
            taken, lines = left, our_lines
        else:
            j += 1
            taken, lines = right, their_lines
        merged += base_lines[at : taken.old_start]
        merged += lines[taken.new_start : taken.new_end]
        at = taken.old_end
    return b"".join(merged + base_lines[at:])


def _same(left: Hunk, our_lines: Sequence[bytes], right: Hunk, their_lines: Sequence[bytes]) -> bool:
    if (left.old_start, left.old_end) != (right.old_start, right.old_end):
        return False
    return our_lines[left.new_start : left.new_end] == their_lines[right.new_start : right.new_end]
