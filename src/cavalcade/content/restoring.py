"""Writing a tree into a folder, or turning the tree it holds into another."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cavalcade.content.objects import SUBMODULE, SYMLINK, check_path, encode_path, printable_path
from cavalcade.content.objectstore import write_whole
from cavalcade.content.port import Difference, Entry, Mark
from cavalcade.kernel.errors import ContentError, ObjectMissing
from cavalcade.kernel.ids import BlobId

_KEPT_BYTES = 64 * 1024 * 1024
"""Contents read for the check that are kept for the writing."""
_NAMED = 10
_UNFINISHED = ".cavalcade-unfinished-"
_NOT_A_FOLDER = (errno.ENOTDIR, errno.ELOOP, errno.ENOENT)


Read = Callable[[BlobId], bytes]
Marks = Mapping[str, Mark | None]


def checked(differences: Iterable[Difference], read: Read, *, keep_bytes: int = _KEPT_BYTES) -> Read:
    """Reads every content that is to be written, so that nothing is begun which can't be finished; reading again is cheap.

    Raises ContentError for an unsafe path, ObjectMissing naming the objects that can't be read, and their paths.
    """
    wanted: dict[BlobId, list[str]] = {}
    for each in differences:
        check_path(each.path)
        if each.new is not None and each.new.mode != SUBMODULE:
            wanted.setdefault(each.new.blob, []).append(each.path)
    kept: dict[BlobId, bytes] = {}
    missing: dict[BlobId, ObjectMissing] = {}
    room = keep_bytes
    for blob in wanted:
        try:
            data = read(blob)
        except ObjectMissing as exc:
            missing[blob] = exc
            continue
        if (room := room - len(data)) >= 0:
            kept[blob] = data
    if missing:
        raise _unreadable(missing, wanted)
    return lambda blob: kept[blob] if blob in kept else read(blob)


def _unreadable(missing: Mapping[BlobId, ObjectMissing], wanted: Mapping[BlobId, Sequence[str]]) -> ObjectMissing:
    places = [f"{blob}  {printable_path(path)}" for blob in missing for path in wanted[blob]]
    more = (f"... and {len(places) - _NAMED} more",) if len(places) > _NAMED else ()
    first = next(iter(missing.values()))
    others = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    return ObjectMissing(
        f"{first.what}{others}", expected=first.expected, hint=first.hint, places=(*places[:_NAMED], *more)
    )


def mark_of(path: bytes | str, folder: int | None = None) -> Mark | None:
    """None where there is no file, also where there is a folder."""
    try:
        found = os.lstat(path, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(found.st_mode):
        return None
    return Mark(found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@contextmanager
def claimed(into: Path, token: str) -> Generator[None]:
    """Marks a folder that is absent or empty as being restored to what `token` names, until that is done.

    One that has the same mark was left by a restore that was interrupted: it goes on there. Raises ContentError.
    """
    check_claim(into, token)
    mark = into / f"{_UNFINISHED}{token}"
    try:
        into.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as exc:
        raise _unwritable(into, exc) from exc
    yield
    mark.unlink(missing_ok=True)


def check_claim(into: Path, token: str) -> None:
    """Raises ContentError for a folder that can't be claimed."""
    if not os.path.lexists(into):
        return
    if not into.is_dir():
        raise ContentError(f"{into} is no folder", expected="an empty folder, or a name that is not taken")
    names = os.listdir(into)
    if not names or f"{_UNFINISHED}{token}" in names:
        return
    other = any(name.startswith(_UNFINISHED) for name in names)
    raise ContentError(
        f"{into} is not empty" + (": another restore into it was interrupted" if other else ""),
        expected="an empty folder, or a name that is not taken",
        hint="name another folder"
        + (", or restore the same state again: it goes on where it stopped" if other else ""),
    )


def restore_files(differences: Iterable[Difference], read: Read, into: Path, marks: Marks | None = None) -> int:
    """Removes, then writes; returns the number of files written or removed.

    With `marks` nothing is removed or replaced that does not look as it did when they were taken. What is written then may not
    be what was there before: whoever gives `marks` has kept it.

    The differences are those that were `checked`. Every folder is opened relative to its parent without following symbolic
    links, so that nothing outside `into` can be reached. Killed in between, the same call again finishes the work: each path that
    differs is removed or written whatever is found there. Raises ContentError.
    """
    work = sorted(differences, key=lambda each: each.path.rpartition("/")[::2])
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _Folders(into, careful=marks is not None) as folders:
            for each in work:
                if each.new is None:
                    _remove(folders, each.path, marks)
            _prune(folders, {each.path.rpartition("/")[0] for each in work if each.new is None})
            for each in work:
                if each.new is not None:
                    _put(folders.make(each.path), each.path, each.new, read, marks)
    except OSError as exc:
        raise _unwritable(into, exc) from exc
    return len(work)


def _unwritable(into: Path, exc: OSError) -> ContentError:
    return ContentError(
        f"{into} can't be restored: {exc.strerror}" + (f": {os.fsdecode(exc.filename)}" if exc.filename else ""),
        expected="a writable folder with space left",
        hint="make room or choose another folder, then restore again: it goes on where it stopped",
    )


class _Folders:
    """Open folders from the top down to the one last asked for. Neighbours share their parents' handles.

    `careful`: what stands in a folder's place stops the work instead of giving way.
    """

    def __init__(self, top: Path, *, careful: bool) -> None:
        self._careful = careful
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
                    if self._careful:
                        raise _changed(name) from None
                    os.unlink(raw, dir_fd=above)
                    os.mkdir(raw, dir_fd=above)
        try:
            return os.open(raw, flags, dir_fd=above)
        except OSError as exc:
            if make or exc.errno not in _NOT_A_FOLDER:
                raise
            return None


def _changed(path: str) -> ContentError:
    return ContentError(
        f"{printable_path(path)} has changed since it was saved; it is left as it is",
        expected="a working tree that nobody writes to meanwhile",
        hint="restore again: it goes on where it stopped",
    )


def _check(folder: int, name: bytes, path: str, marks: Marks | None) -> None:
    if marks is not None and mark_of(name, folder) != marks.get(path):
        raise _changed(path)


def _remove(folders: _Folders, path: str, marks: Marks | None) -> None:
    folder, name = folders.find(path), encode_path(path.rpartition("/")[2])
    if folder is None:
        return
    _check(folder, name, path, marks)
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


def _put(folder: int, path: str, entry: Entry, read: Read, marks: Marks | None) -> None:
    name = encode_path(path.rpartition("/")[2])
    _check(folder, name, path, marks)
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


def _create(folder: int, name: bytes, entry: Entry, read: Read) -> None:
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
