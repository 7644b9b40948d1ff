"""Reading and durable writing of objects in a bare repository: the only place that touches its files and its libgit2 handle.

Objects are written by this module and never through libgit2: libgit2 "freshens" an object that is already there by touching its
file, and that file may be a hard link into the user's repository, whose files must stay as they are to the nanosecond.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pygit2

from cavalcade.content.objects import Kind, Object
from cavalcade.kernel.errors import ContentError, ObjectMissing

_CONFIG = """\
[core]
	repositoryformatversion = 1
	filemode = true
	bare = true
	logallrefupdates = false
[extensions]
	preciousObjects = true
[gc]
	auto = 0
[maintenance]
	auto = false
"""
_SYNC_THREADS = 8
_KINDS: dict[int, Kind] = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
_CHUNK = 1 << 20
T = TypeVar("T")


class ObjectStore:
    """One bare repository. Safe for threads (a libgit2 handle each) and for processes: files appear whole or not at all.

    `preciousObjects` keeps a `git gc` by hand from dropping what only the ledger names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects = folder / "objects"
        self._local = threading.local()
        if not (folder / "HEAD").exists():
            _create(folder)

    @property
    def repository(self) -> pygit2.Repository:
        """This thread's handle."""
        mine: pygit2.Repository | None = getattr(self._local, "repository", None)
        if mine is None:
            try:
                mine = pygit2.Repository(str(self.folder))
            except pygit2.GitError as exc:
                raise ContentError(
                    f"the content store {self.folder} can't be opened: {exc}",
                    expected="a bare git repository made by Cavalcade",
                    hint="bring the folder back from a backup; the ledger names every object it must hold",
                ) from exc
            self._local.repository = mine
        return mine

    def read(self, name: str) -> bytes:
        """Checked against its name. Raises ObjectMissing, also for an object that is damaged."""
        return self.read_object(name).data

    def read_object(self, name: str) -> Object:
        """The same with its kind.

        Loose objects are read here: libgit2 never comes back from one whose end is missing.
        """
        try:
            if len(name) != 40:
                raise KeyError(name)  # libgit2 would take it for the beginning of a name
            try:
                return loose_object(name, (self.objects / name[:2] / name[2:]).read_bytes())
            except FileNotFoundError:
                kind, data = self.repository.odb.read(name)
                return Object(name, _KINDS[int(kind)], data)
        except KeyError as exc:
            raise ObjectMissing(
                f"object {name} is not in the content store {self.folder}",
                hint="a shallow or partial clone may lack it: git fetch --unshallow, or git fetch --refetch",
            ) from exc
        except (ValueError, OSError, zlib.error, pygit2.GitError) as exc:
            raise ObjectMissing(
                f"object {name} in the content store {self.folder} is damaged: {exc}",
                expected="content whose SHA-1 is its name",
                hint="bring the file back from a copy of the folder, or from a repository that has the object",
            ) from exc

    def exists(self, name: str) -> bool:
        return len(name) == 40 and self.repository.odb.exists(name)

    def write(self, new: Iterable[Object]) -> None:
        """Durable on return; an object is visible only when its content is on disk. What is there already costs a look-up.

        Objects appear in the order given: parts first, then what names them. Raises ContentError when the disk is full.
        """
        try:
            store_loose(self.objects, [each for each in new if not self.exists(each.id)])
        except OSError as exc:
            raise _full(self.folder, exc) from exc

    def write_file(self, source: int, size: int) -> str | None:
        """The open file `source`, from where it stands to its end, as a blob; durable on return. None when that are not `size` bytes."""
        try:
            return _store_file(self.objects, source, size)
        except OSError as exc:
            raise _full(self.folder, exc) from exc


def _full(folder: Path, exc: OSError) -> ContentError:
    return ContentError(
        f"can't write to the content store {folder}: {exc.strerror}",
        expected="a writable folder with space left",
        hint="make room; what was written before is safe",
    )


def _store_file(objects: Path, source: int, size: int) -> str | None:
    """A blob of any size in constant memory; None when the file is not as long as it was said to be."""
    handle, temporary = tempfile.mkstemp(prefix="tmp_obj_", dir=objects)
    try:
        header = b"blob %d\0" % size
        name, packer, left = hashlib.sha1(header, usedforsecurity=False), zlib.compressobj(1), size
        write_whole(handle, packer.compress(header))
        while part := os.read(source, _CHUNK):
            left -= len(part)
            name.update(part)
            write_whole(handle, packer.compress(part))
        if left:
            return None
        write_whole(handle, packer.flush())
        os.fchmod(handle, 0o444)
        os.fsync(handle)
        place = objects / name.hexdigest()[:2] / name.hexdigest()[2:]
        place.parent.mkdir(exist_ok=True)
        if not place.exists():
            os.rename(temporary, place)
        sync_folder(place.parent)
        return name.hexdigest()
    finally:
        os.close(handle)
        if os.path.lexists(temporary):
            os.unlink(temporary)


def loose_object(name: str, raw: bytes) -> Object:
    """What a loose object holds. Raises ValueError, zlib.error when it is not what its name says."""
    whole = zlib.decompress(raw)
    if hashlib.sha1(whole, usedforsecurity=False).hexdigest() != name:
        raise ValueError("its content has another name")
    header, _, data = whole.partition(b"\0")
    kinds: dict[bytes, Kind] = {kind.encode(): kind for kind in _KINDS.values()}
    return Object(name, kinds[header.split(b" ")[0]], data)


def store_loose(objects: Path, new: Sequence[Object]) -> None:
    """Writes loose objects into a repository's `objects` folder: temporary files, fsync all, rename all, fsync the folders.

    The fsyncs of a batch run side by side, so that the file system commits its journal once or twice and not once per file.
    Killed in between it leaves `tmp_obj_*` files, which `git gc` clears. Raises OSError.
    """
    if not new:
        return
    written: list[tuple[int, str]] = []
    try:
        for each in new:
            handle, temporary = tempfile.mkstemp(prefix="tmp_obj_", dir=objects)
            written.append((handle, temporary))
            write_whole(handle, zlib.compress(b"%s %d\0" % (each.kind.encode(), len(each.data)) + each.data, 1))
            os.fchmod(handle, 0o444)
        side_by_side(os.fsync, [handle for handle, _ in written])
        folders = {objects}
        for each, (_, temporary) in zip(new, written, strict=True):
            folder = objects / each.id[:2]
            folder.mkdir(exist_ok=True)
            os.rename(temporary, folder / each.id[2:])
            folders.add(folder)
        side_by_side(sync_folder, list(folders))
    finally:
        for handle, temporary in written:
            os.close(handle)
            if os.path.lexists(temporary):
                os.unlink(temporary)


def side_by_side(work: Callable[[T], None], items: Sequence[T]) -> None:
    if len(items) < 2:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(min(_SYNC_THREADS, len(items))) as pool:
        for _ in pool.map(work, items):
            pass


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(handle: int, data: bytes) -> None:
    """`os.write` may write less than it is given."""
    done = os.write(handle, data)
    while done < len(data):
        done += os.write(handle, memoryview(data)[done:])


def replace_file(path: Path, data: bytes) -> None:
    """Atomic and durable: after a crash the file holds the old or the new content, whole."""
    handle, temporary = tempfile.mkstemp(prefix=".tmp_", dir=path.parent)
    try:
        write_whole(handle, data)
        os.fchmod(handle, 0o644)
        os.fsync(handle)
        os.rename(temporary, path)
    finally:
        os.close(handle)
        if os.path.lexists(temporary):
            os.unlink(temporary)
    sync_folder(path.parent)


def _create(folder: Path) -> None:
    """Made aside and renamed, so that of two processes one wins and none sees a half."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=folder.name + ".new-", dir=folder.parent))
        for part in ("objects/info", "objects/pack", "refs/heads", "refs/runs"):
            (made / part).mkdir(parents=True)
        (made / "HEAD").write_text("ref: refs/heads/main\n")
        (made / "config").write_text(_CONFIG)
        for file in ("HEAD", "config", "objects", "refs", "."):
            _sync(made / file)
        try:
            os.rename(made, folder)
        except OSError:
            shutil.rmtree(made)
            if not (folder / "HEAD").exists():
                raise
        sync_folder(folder.parent)
    except OSError as exc:
        raise ContentError(
            f"the content store {folder} can't be made: {exc.strerror}",
            expected="an absent or empty folder, writable, with space left",
            hint="set CAVALCADE_HOME to a folder you can write to",
        ) from exc


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
