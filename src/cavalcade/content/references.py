"""References of a content store, moved by compare-and-set."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager

import pygit2

from cavalcade.content.objectstore import ObjectStore, replace_file, sync_folder
from cavalcade.kernel.errors import ContentError, ObjectMissing, VersionConflict
from cavalcade.kernel.ids import CommitId


class References:
    """One lock for all references of a store, held by the kernel for the process: it goes when its holder dies.

    Git's own `.lock` files would stay after a kill and bar the way for ever.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def get(self, name: str) -> CommitId | None:
        check_reference(name)
        try:
            return CommitId((self._store.folder / name).read_text("ascii").strip())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass
        try:
            return CommitId(str(self._store.repository.lookup_reference(name).target))  # packed by hand
        except KeyError:
            return None

    def set(self, name: str, to: CommitId, expected: CommitId | None) -> None:
        check_reference(name)
        if not self._store.exists(to):
            raise ObjectMissing(f"{name} can't point to {to}: no such object in {self._store.folder}")
        try:
            with self._locked():
                now = self.get(name)
                if now == to:
                    return
                if now != expected:
                    raise VersionConflict(
                        f"{name} is at {now or 'nothing'}",
                        expected=expected or "no such reference yet",
                        hint="read it again",
                    )
                self._write(name, to)
        except OSError as exc:
            raise ContentError(
                f"{name} can't be written below {self._store.folder}: {exc.strerror}",
                expected="a writable folder with space left; no name that is another's folder",
            ) from exc

    def _write(self, name: str, to: CommitId) -> None:
        path = self._store.folder / name
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, f"{to}\n".encode())
        for folder in missing:
            sync_folder(folder.parent)

    @contextmanager
    def _locked(self) -> Generator[None]:
        handle = os.open(self._store.folder / "cavalcade-refs.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def check_reference(name: str) -> None:
    if not name.startswith("refs/") or not pygit2.reference_is_valid_name(name):
        raise ContentError(f"{name!r} is no reference name", expected="refs/runs/<run>/..., see git check-ref-format")
