"""What `git add -A` would store of a working tree, found without writing to the repository: no index refresh, no lock, no object."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pygit2
from pygit2.enums import FileStatus
from pygit2.ffi import C  # pyright: ignore

from cavalcade.content.objects import (
    EXECUTABLE,
    FILE,
    SUBMODULE,
    SYMLINK,
    Object,
    encode_path,
    new_object,
    printable_path,
)
from cavalcade.content.port import Entry
from cavalcade.kernel.errors import RepositoryNotUsable
from cavalcade.kernel.ids import BlobId

_IN_FOLDER = (
    FileStatus.WT_NEW
    | FileStatus.WT_MODIFIED
    | FileStatus.WT_DELETED
    | FileStatus.WT_TYPECHANGE
    | FileStatus.WT_RENAMED
    | FileStatus.WT_UNREADABLE
)
_SKIP_WORKTREE = 1 << 14
_LFS_HEAD = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_POINTER_MOST_BYTES = 1024


class WorkingTree:
    """`changes`: path → its entry, None when it is gone. `new`: blobs that the repository itself may not have."""

    def __init__(self, repository: pygit2.Repository) -> None:
        self.changes: dict[str, Entry | None] = {}
        self.new: list[Object] = []
        self.notes: list[str] = []
        self._top = Path(repository.workdir)
        self._repository = repository
        self._kept = _Kept(repository.odb)
        self._hasher = pygit2.Repository(repository.path)
        overlay = pygit2.Odb()
        overlay.add_backend(self._kept, 1)
        self._hasher.set_odb(overlay)
        self._file_modes = _flag(repository, "core.filemode")

    def scan(self) -> None:
        """Raises RepositoryNotUsable for unmerged paths and unreadable files."""
        try:
            status = self._repository.status(untracked_files="all")
            unmerged = sorted(path for path, flags in status.items() if flags & FileStatus.CONFLICTED)
            if unmerged:
                raise _unmerged(unmerged)
            for path, flags in sorted(status.items()):
                if not flags & FileStatus.IGNORED and flags != FileStatus.CURRENT:
                    self._take(path, flags)
        except (pygit2.GitError, OSError) as exc:
            raise RepositoryNotUsable(
                f"the working tree {self._top} can't be read: {exc}", hint=_index_hint(str(exc))
            ) from exc

    def entry(self, path: str) -> Entry | None:
        """What git would keep of one file, whatever it is told to ignore; None when it is neither a file nor a link."""
        return self.file(path, self._staged(path))

    def raw(self, path: str) -> BlobId:
        """The name of a file's bytes as they are, without any filter."""
        return BlobId(new_object("blob", (self._top / path).read_bytes()).id)

    def _take(self, path: str, flags: int) -> None:
        if path.endswith("/"):
            self.notes.append(f"nested repository left out: {printable_path(path)}")
            return
        staged = self._staged(path)
        if not flags & _IN_FOLDER or (staged and self._skipped(path) and not os.path.lexists(self._top / path)):
            self.changes[path] = staged
        elif staged and staged.mode == SUBMODULE:
            self.changes[path] = self._submodule(path, staged)
        else:
            self.changes[path] = self.file(path, staged)

    def _staged(self, path: str) -> Entry | None:
        try:
            entry = self._repository.index[path]
        except KeyError:
            return None
        return Entry(BlobId(str(entry.id)), int(entry.mode))

    def _skipped(self, path: str) -> bool:
        """Left out of the folder by a sparse checkout."""
        pointer = self._repository.index._index  # pyright: ignore
        found = C.git_index_get_bypath(pointer, os.fsencode(path), 0)  # pyright: ignore
        return bool(found) and bool(found.flags_extended & _SKIP_WORKTREE)  # pyright: ignore

    def _submodule(self, path: str, staged: Entry) -> Entry | None:
        folder = self._top / path
        if not folder.is_dir():
            return None
        try:
            return Entry(BlobId(str(pygit2.Repository(str(folder)).head.target)), SUBMODULE)
        except pygit2.GitError:
            return staged  # not checked out

    def file(self, path: str, staged: Entry | None) -> Entry | None:
        """What one path is; None when nothing that git keeps is there. `staged` is what it was."""
        try:
            found = os.lstat(self._top / path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(found.st_mode):
            return Entry(self._blob(path), SYMLINK)
        if not stat.S_ISREG(found.st_mode):
            return None  # a folder in the file's place; pipes and sockets are nothing to git
        mode = EXECUTABLE if found.st_mode & stat.S_IXUSR else FILE
        if not self._file_modes:
            mode = staged.mode if staged and staged.mode in (FILE, EXECUTABLE) else FILE
        external = self.external_filter(path)
        if external == "lfs":
            return Entry(self._lfs_pointer(path), mode)
        if external:
            self.notes.append(f"{printable_path(path)}: needs {external}, which isn't run; taken as last staged")
            return staged
        return Entry(self._blob(path), mode)

    def external_filter(self, path: str) -> str:
        """What git would run or recode with, beyond line ends and `ident`; empty for nothing."""
        name = self._repository.get_attr(encode_path(path), "filter")
        if name == "lfs":
            return "lfs"
        if isinstance(name, str) and f"filter.{name}.clean" in self._repository.config:
            return f"filter {name}"
        encoding = self._repository.get_attr(encode_path(path), "working-tree-encoding")
        return f"working-tree-encoding {encoding}" if isinstance(encoding, str) else ""

    def _blob(self, path: str) -> BlobId:
        name = str(self._hasher.create_blob_fromworkdir(path))
        data = self._kept.written.get(name)
        if data is not None:
            self.new.append(Object(name, "blob", data))
        return BlobId(name)

    def _lfs_pointer(self, path: str) -> BlobId:
        """What git-lfs would store (its specification, version 1); the content itself stays in the user's folder."""
        data = (self._top / path).read_bytes()
        if data and not (data.startswith(_LFS_HEAD) and len(data) < _LFS_POINTER_MOST_BYTES):
            data = _LFS_HEAD + f"oid sha256:{hashlib.sha256(data).hexdigest()}\nsize {len(data)}\n".encode()
        pointer = new_object("blob", data)
        self.new.append(pointer)
        return BlobId(pointer.id)


class _Kept(pygit2.OdbBackend):
    """An object database that reads from another and keeps what is written to it in memory.

    To be used only through functions of pygit2 that hold the interpreter lock while libgit2 works; those called by cffi let it go.
    """

    def __init__(self, objects: pygit2.Odb) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._objects = objects
        self.written: dict[str, bytes] = {}

    def refresh_cb(self) -> None:
        """Asked for before an object is given up; nothing to be done."""

    def exists_cb(self, oid: pygit2.Oid) -> bool:
        return str(oid) in self.written or self._objects.exists(oid)

    def read_cb(self, oid: pygit2.Oid) -> tuple[int, bytes]:
        return self._objects.read(oid)

    def read_header_cb(self, oid: pygit2.Oid) -> tuple[int, int]:
        return self._objects.read_header(oid)

    def write_cb(self, oid: pygit2.Oid, data: bytes, _kind: int) -> None:
        self.written[str(oid)] = bytes(data)


def _flag(repository: pygit2.Repository, name: str) -> bool:
    config = repository.config
    return config.get_bool(name) if name in config else True


def _index_hint(reason: str) -> str:
    if "'link'" in reason:
        return "its index is split, which libgit2 doesn't know: git update-index --no-split-index"
    if "'sdir'" in reason:
        return "its index is sparse, which libgit2 doesn't know: git sparse-checkout reapply --no-sparse-index"
    return "git status says what git makes of it"


def _unmerged(paths: list[str]) -> RepositoryNotUsable:
    return RepositoryNotUsable(
        f"unresolved merge conflicts in {len(paths)} file{'' if len(paths) == 1 else 's'}",
        expected="every conflict resolved and added",
        hint="resolve and git add them, or leave them out: --head takes the last commit only",
        places=tuple(printable_path(path) for path in paths),
    )
