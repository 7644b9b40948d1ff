"""Difference of two trees as unified patches that `git apply` accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pygit2
from pygit2.enums import DiffOption

from cavalcade.content.lines import is_binary
from cavalcade.content.objects import SUBMODULE, SYMLINK, encode_path
from cavalcade.content.port import Difference, Entry, FileDiff
from cavalcade.content.renames import find_renames
from cavalcade.kernel.ids import BlobId

Read = Callable[[BlobId], bytes]

_NEEDS_QUOTES = re.compile(rb'[\x00-\x1f"\\\x7f-\xff]')


class _Pair(NamedTuple):
    path: str
    old_path: str
    old: Entry | None
    new: Entry | None


def diff_files(differences: Iterable[Difference], read: Read, *, context: int) -> list[FileDiff]:
    """Sorted by path. A file that became a symlink or a submodule is one change of type."""
    found = list(differences)
    removed = {each.path: each.old for each in found if each.old is not None and each.new is None}
    added = {each.path: each.new for each in found if each.old is None and each.new is not None}
    renames = find_renames(removed, added, read) if removed and added else {}
    gone = set(renames.values())
    pairs = [_Pair(new, old, removed[old], added[new]) for new, old in renames.items()]
    pairs += [_Pair(e.path, e.path, e.old, e.new) for e in found if e.path not in renames and e.path not in gone]
    return [_diff(pair, read, context) for pair in sorted(pairs)]


def _diff(pair: _Pair, read: Read, context: int) -> FileDiff:
    before, after = _content(pair.old, read), _content(pair.new, read)
    binary = is_binary(before) or is_binary(after)
    if binary and before != after:
        return FileDiff(pair.path, pair.old_path, _status(pair), 0, 0, True, "")
    patch = pygit2.Patch.create_from(
        before, after, flag=DiffOption.FORCE_TEXT, context_lines=context, interhunk_lines=0
    )
    _, added, removed = patch.line_stats
    at = patch.data.find(b"\n@@ ")
    body = patch.data[at + 1 :] if at >= 0 else b""
    text = (_header(pair, changed=bool(body)) + body).decode("utf-8", "replace")
    return FileDiff(pair.path, pair.old_path, _status(pair), added, removed, binary, text)


def _content(entry: Entry | None, read: Read) -> bytes:
    if entry is None:
        return b""
    return f"Subproject commit {entry.blob}\n".encode() if entry.mode == SUBMODULE else read(entry.blob)


def _status(pair: _Pair) -> str:
    if pair.old is None:
        return "A"
    if pair.new is None:
        return "D"
    if pair.old_path != pair.path:
        return "R"
    return "T" if _kind(pair.old) != _kind(pair.new) else "M"


def _kind(entry: Entry) -> int:
    return entry.mode if entry.mode in (SYMLINK, SUBMODULE) else 0


def _header(pair: _Pair, *, changed: bool) -> bytes:
    old, new = _quoted(b"a/" + encode_path(pair.old_path)), _quoted(b"b/" + encode_path(pair.path))
    lines = [b"diff --git " + old + b" " + new]
    if pair.old is None and pair.new is not None:
        lines.append(b"new file mode %06o" % pair.new.mode)
    elif pair.new is None and pair.old is not None:
        lines.append(b"deleted file mode %06o" % pair.old.mode)
    elif pair.old and pair.new and pair.old.mode != pair.new.mode:
        lines += [b"old mode %06o" % pair.old.mode, b"new mode %06o" % pair.new.mode]
    if pair.old_path != pair.path:
        lines.append(b"rename from " + _quoted(encode_path(pair.old_path)))
        lines.append(b"rename to " + _quoted(encode_path(pair.path)))
    if changed:
        lines.append(b"--- " + (b"/dev/null" if pair.old is None else old))
        lines.append(b"+++ " + (b"/dev/null" if pair.new is None else new))
    return b"\n".join(lines) + b"\n"


def _quoted(path: bytes) -> bytes:
    if not _NEEDS_QUOTES.search(path):
        return path
    return b'"' + _NEEDS_QUOTES.sub(lambda match: b"\\%03o" % match[0][0], path) + b'"'
