"""Writing a tree into a folder, or turning the tree it holds into another."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from cavalcade.content.objects import SUBMODULE, SYMLINK, check_path, encode_path, printable_path
from cavalcade.content.objectstore import write_whole
from cavalcade.content.port import Entry
from cavalcade.content.trees import Difference
from cavalcade.kernel.errors import ContentError
from cavalcade.kernel.ids import BlobId

_NOT_A_FOLDER = (errno.ENOTDIR, errno.ELOOP, errno.ENOENT)


def restore_files(differences: Iterable[Difference], read: Callable[[BlobId], bytes], into: Path) -> int:
    """Removes, then writes; returns the number of files written or removed.

    Every path is checked before anything is touched, and every folder is opened relative to its parent without following symbolic
    links, so that nothing outside `into` can be reached. Killed in between, the same call again finishes the work: each path that
    differs is removed or written whatever is found there. Raises ContentError.
    """
    work = sorted(differences, key=lambda each: each.path.rpartition("/")[::2])
    for each in work:
        check_path(each.path)
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _Folders(into) as folders:
            for each in work:
                if each.new is None:
                    _remove(folders, each.path)
            _prune(folders, {each.path.rpartition("/")[0] for each in work if each.new is None})
            for each in work:
                if each.new is not None:
                    _put(folders.make(each.path), each.path, each.new, read)
    except OSError as exc:
        raise ContentError(
            f"{into} can't be restored: {exc.strerror}: {os.fsdecode(exc.filename or '')}",
            expected="a writable folder with space left",
            hint="make room or choose another folder, then restore again: it goes on where it stopped",
        ) from exc
    return len(work)


class _Folders:
    """Open folders from the top down to the one last asked for. Neighbours share their parents' handles."""

    def __init__(self, top: Path) -> None:
        self._handles = [os.open(top, os.O_RDONLY | os.O_DIRECTORY)]
        self._names: list[str] = []

    def __enter__(self) -> _Folders:
        return self

    def __exit__(self, *exc: object) -> None:
        for handle in self._handles:
            os.close(handle)

    def find(self, path: str) -> int | None:
        """The folder that holds `path`; None when there is none."""
        return self._go(path.split("/")[:-1], make=False)

    def make(self, path: str) -> int:
        """The folder that holds `path`, made where it is missing; a file or link in its place gives way."""
        handle = self._go(path.split("/")[:-1], make=True)
        assert handle is not None
        return handle

    def _go(self, names: list[str], *, make: bool) -> int | None:
        if names == self._names:
            return self._handles[-1]
        common = 0
        while common < min(len(names), len(self._names)) and names[common] == self._names[common]:
            common += 1
        while len(self._names) > common:
            self._names.pop()
            os.close(self._handles.pop())
        for name in names[common:]:
            handle = self._enter(name, make=make)
            if handle is None:
                return None
            self._names.append(name)
            self._handles.append(handle)
        return self._handles[-1]

    def _enter(self, name: str, *, make: bool) -> int | None:
        above, raw = self._handles[-1], encode_path(name)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        if make:
            try:
                os.mkdir(raw, dir_fd=above)
            except FileExistsError:
                if not stat.S_ISDIR(os.lstat(raw, dir_fd=above).st_mode):
                    os.unlink(raw, dir_fd=above)
                    os.mkdir(raw, dir_fd=above)
        try:
            return os.open(raw, flags, dir_fd=above)
        except OSError as exc:
            if make or exc.errno not in _NOT_A_FOLDER:
                raise
            return None


def _remove(folders: _Folders, path: str) -> None:
    folder, name = folders.find(path), encode_path(path.rpartition("/")[2])
    if folder is None:
        return
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            raise
        _remove_if_empty(folder, name)  # a submodule's folder, or the new state after a kill


def _remove_if_empty(folder: int, name: bytes) -> bool:
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError as exc:
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST, *_NOT_A_FOLDER):
            raise
        return False
    return True


def _prune(folders: _Folders, emptied: set[str]) -> None:
    """Folders that lost a file and are empty now go, and so do their parents."""
    for path in sorted(emptied, key=lambda path: path.count("/"), reverse=True):
        here = path
        while here:
            above, _, name = here.rpartition("/")
            folder = folders.find(here)
            if folder is None or not _remove_if_empty(folder, encode_path(name)):
                break
            here = above


def _put(folder: int, path: str, entry: Entry, read: Callable[[BlobId], bytes]) -> None:
    name = encode_path(path.rpartition("/")[2])
    try:
        _create(folder, name, entry, read)
    except FileExistsError:
        if stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
            if entry.mode == SUBMODULE:
                return
            if not _remove_if_empty(folder, name):
                raise ContentError(
                    f"a folder stands where the file {printable_path(path)} belongs",
                    expected="a folder that holds what `was` says",
                    hint="it holds files that are in neither tree; move them away or restore into an empty folder",
                ) from None
        else:
            os.unlink(name, dir_fd=folder)
        _create(folder, name, entry, read)


def _create(folder: int, name: bytes, entry: Entry, read: Callable[[BlobId], bytes]) -> None:
    """Raises FileExistsError; never opens what is there."""
    if entry.mode == SUBMODULE:
        os.mkdir(name, dir_fd=folder)
    elif entry.mode == SYMLINK:
        os.symlink(read(entry.blob), name, dir_fd=folder)
    else:
        data = read(entry.blob)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        handle = os.open(name, flags, 0o777 if entry.mode & 0o100 else 0o666, dir_fd=folder)
        try:
            write_whole(handle, data)
        finally:
            os.close(handle)
