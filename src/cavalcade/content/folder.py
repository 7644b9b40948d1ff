"""A folder that somebody works in, read file by file: what each path is to git now, by the rules of `git add`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pygit2

from cavalcade.content.objects import EXECUTABLE, FILE, SYMLINK, check_path, encode_path, new_object
from cavalcade.content.objectstore import ObjectStore
from cavalcade.content.port import Entry, FileContent, Unsettled
from cavalcade.content.userrepo import open_user_repository
from cavalcade.content.worktree import WorkingTree
from cavalcade.kernel.errors import ContentError
from cavalcade.kernel.ids import BlobId

_IN_MEMORY_BYTES = 8 << 20
"""Larger files go to the object store piece by piece while they are read."""
_CHUNK = 1 << 20
_CONVERSIONS = ("text", "eol", "crlf", "ident", "filter", "working-tree-encoding")
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class GitFolder:
    """`FolderReader` for a folder with a `.git` in it. For one thread."""

    def __init__(self, folder: Path, store: ObjectStore) -> None:
        self._top = os.fsencode(folder)
        self._store = store
        self._repository = open_user_repository(folder)
        self._converts_line_ends = _autocrlf(self._repository)
        self.partial = _is_sparse(self._repository)

    def ignored(self, path: str) -> bool:
        try:
            return bool(self._repository.path_is_ignored(path))
        except (pygit2.GitError, ValueError):
            return False

    def storable(self, path: str) -> bool:
        try:
            check_path(path)
        except ContentError:
            return False
        return True

    def read(self, path: str, before: Entry | None) -> FileContent:
        if self._is_converted(path):
            return self._converted(path, before)
        name = os.path.join(self._top, encode_path(path))
        if stat.S_ISLNK(os.lstat(name).st_mode):
            return _content(SYMLINK, os.readlink(name))
        handle = os.open(name, _FLAGS)
        try:
            return self._stable(name, handle)
        finally:
            os.close(handle)

    def _stable(self, name: bytes, handle: int) -> FileContent:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise Unsettled(os.fsdecode(name))
        mode = EXECUTABLE if found.st_mode & stat.S_IXUSR else FILE
        if found.st_size > _IN_MEMORY_BYTES:
            blob = self._store.write_file(handle, found.st_size)
            content = FileContent(Entry(BlobId(blob), mode)) if blob else None
        else:
            data = _read_all(handle, found.st_size)
            content = _content(mode, data) if data is not None else None
        if content is None or _changed(found, os.fstat(handle)) or _changed(found, os.lstat(name)):
            raise Unsettled(os.fsdecode(name))
        return content

    def _is_converted(self, path: str) -> bool:
        """Whether git keeps other bytes than the file holds."""
        raw = encode_path(path)
        values = [self._repository.get_attr(raw, name) for name in _CONVERSIONS]
        return any(values) or (self._converts_line_ends and values[0] is not False)

    def _converted(self, path: str, before: Entry | None) -> FileContent:
        name = os.path.join(self._top, encode_path(path))
        found = os.lstat(name)
        tree = WorkingTree(self._repository)
        entry = tree.file(path, before)
        if entry is None or _changed(found, os.lstat(name)):
            raise Unsettled(path)
        data = next((each.data for each in tree.new if each.id == entry.blob), None)
        if data is None and not self._store.exists(entry.blob):
            data = self._repository.odb.read(entry.blob)[1]
        return FileContent(entry, data)


def _content(mode: int, data: bytes) -> FileContent:
    return FileContent(Entry(BlobId(new_object("blob", data).id), mode), data)


def _read_all(handle: int, size: int) -> bytes | None:
    """None when the file is not as long as it was."""
    parts: list[bytes] = []
    left = size + 1
    while left and (part := os.read(handle, min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts) if left == 1 else None


def _changed(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns) != (
        after.st_ino,
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _is_sparse(repository: pygit2.Repository) -> bool:
    config = repository.config
    return "core.sparseCheckout" in config and config.get_bool("core.sparseCheckout")


def _autocrlf(repository: pygit2.Repository) -> bool:
    config = repository.config
    return "core.autocrlf" in config and config["core.autocrlf"] in ("true", "input")
