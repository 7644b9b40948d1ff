"""Git's object formats as bytes: names, trees, commits, paths. Pure; see git-commit-tree, git-interpret-trailers."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from cavalcade.content.port import CommitInfo, Entry
from cavalcade.kernel.errors import ContentError
from cavalcade.kernel.ids import BlobId, CommitId, TreeId

Kind = Literal["blob", "tree", "commit", "tag"]

FILE = 0o100644
EXECUTABLE = 0o100755
SYMLINK = 0o120000
SUBMODULE = 0o160000
FOLDER = 0o040000

AUTHOR = "Cavalcade <cavalcade@localhost>"

_TRAILER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*): (.*)")
# Code points that HFS+ leaves out when it compares names, so that `.g\u200cit` would open `.git` (CVE-2014-9390).
_IGNORED_BY_HFS = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
# Windows drops trailing dots and spaces, knows the short name GIT~1, and takes what follows a colon for a stream.
_DOT_GIT_ON_NTFS = re.compile(r"(\.git|git~1)[. ]*(:.*)?", re.IGNORECASE)


class Object(NamedTuple):
    id: str
    kind: Kind
    data: bytes


def new_object(kind: Kind, data: bytes) -> Object:
    header = b"%s %d\0" % (kind.encode(), len(data))
    return Object(hashlib.sha1(header + data, usedforsecurity=False).hexdigest(), kind, data)


def encode_path(path: str) -> bytes:
    """Paths that are not UTF-8 travel as surrogate escapes (PEP 383) and come out as the bytes they were."""
    return path.encode("utf-8", "surrogateescape")


def decode_path(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def printable_path(path: str) -> str:
    """The path as valid Unicode, for notes and records: bytes that are not UTF-8 as `\\xNN`."""
    return encode_path(path).decode("utf-8", "backslashreplace")


def check_path(path: str) -> None:
    """Raises ContentError for a path that could leave its folder or reach into a repository's own files."""
    for part in path.split("/"):
        if part in ("", ".", "..") or "\0" in part or is_dot_git(part):
            raise ContentError(
                f"path {printable_path(path)!r} can't be part of a tree",
                expected="a relative path with `/`, without `.`, `..`, `.git` (or what a file system takes for it) and NUL",
                hint="leave this file out or rename it",
            )


def is_dot_git(name: str) -> bool:
    """Whether some common file system opens `.git` under this name."""
    if _DOT_GIT_ON_NTFS.fullmatch(name):
        return True
    if "\\" in name:  # a separator on Windows
        return any(is_dot_git(part) for part in name.split("\\"))
    if name.isascii():
        return False
    plain = _IGNORED_BY_HFS.sub("", unicodedata.normalize("NFC", name))
    return plain.casefold() == ".git"


def parse_tree(raw: bytes) -> dict[str, Entry]:
    """A tree object's own entries, folders included, by name."""
    entries: dict[str, Entry] = {}
    at, end = 0, len(raw)
    while at < end:
        space = raw.index(b" ", at)
        nul = raw.index(b"\0", space)
        name = decode_path(raw[space + 1 : nul])
        entries[name] = Entry(BlobId(raw[nul + 1 : nul + 21].hex()), int(raw[at:space], 8))
        at = nul + 21
    return entries


def new_tree(entries: Mapping[str, Entry]) -> Object:
    """Git sorts by bytes, folders as if their names ended in `/`."""
    rows = [(encode_path(name), entry) for name, entry in entries.items()]
    rows.sort(key=lambda row: row[0] + b"/" if row[1].mode == FOLDER else row[0])
    return new_object("tree", b"".join(b"%o %s\0" % (e.mode, name) + bytes.fromhex(e.blob) for name, e in rows))


def new_commit(
    tree: TreeId, parents: Sequence[CommitId], message: str, trailers: Mapping[str, str], when: datetime
) -> Object:
    """Deterministic: author and time zone are constant, `when` counts by whole seconds."""
    stamp = f"{AUTHOR} {int(when.timestamp())} +0000"
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents), f"author {stamp}", f"committer {stamp}"]
    text = message.strip("\n") + "\n"
    if trailers:
        for key, value in trailers.items():
            if not _TRAILER.fullmatch(f"{key}: {value}"):
                raise ContentError(
                    f"{key!r}: {value!r} can't be a trailer",
                    expected="a key of letters, digits and `-`; a one-line value",
                )
        text += "\n" + "".join(f"{key}: {value}\n" for key, value in trailers.items())
    return new_object("commit", ("\n".join(lines) + "\n\n" + text).encode("utf-8", "surrogateescape"))


def parse_commit(commit: CommitId, raw: bytes) -> CommitInfo:
    """The message comes without its trailers; of a key given twice the last value counts."""
    header, _, body = raw.partition(b"\n\n")
    tree, parents, author, seconds = "", list[CommitId](), "", 0
    for line in header.split(b"\n"):
        key, _, value = line.partition(b" ")
        match key:
            case b"tree":
                tree = value.decode()
            case b"parent":
                parents.append(CommitId(value.decode()))
            case b"author":
                author = value.rsplit(b" ", 2)[0].decode("utf-8", "replace")
            case b"committer":
                seconds = int(value.rsplit(b" ", 2)[1])
            case _:
                pass
    message, trailers = _split_trailers(body.decode("utf-8", "replace").strip("\n"))
    time = datetime.fromtimestamp(seconds, UTC)
    return CommitInfo(commit, TreeId(tree), tuple(parents), author, time, message, trailers)


def _split_trailers(text: str) -> tuple[str, dict[str, str]]:
    body, separator, last = text.rpartition("\n\n")
    found = [_TRAILER.fullmatch(line) for line in last.split("\n")]
    if not separator or not all(found):
        return text, {}
    return body.rstrip("\n"), {match[1]: match[2] for match in found if match}
