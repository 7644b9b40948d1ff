"""Processes that die where it hurts: a fuse, and stores that burn it before and after each write.

A test runs a child process with one of these in place of the real store, for each place where it may die, and then looks at what is left.
Death is `os._exit`: no `finally`, no flush, no goodbye. What was written to files stays, as after SIGKILL.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from cavalcade.content.port import (
    BlameLine,
    Change,
    CommitInfo,
    ContentStore,
    Entry,
    FileDiff,
    FolderReader,
    InPlace,
    LineOrigin,
    Merge,
)
from cavalcade.kernel.errors import ObjectMissing
from cavalcade.kernel.ids import BlobId, CommitId, OriginId, StreamId, TreeId
from cavalcade.ledger.around import LedgerAround
from cavalcade.ledger.port import Ledger, OriginHead
from cavalcade.protocol.envelope import Draft, Recorded, Sealed
from cavalcade.protocol.plan import Base

_DISK_STEPS = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "open"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

CRASHED = 86
"""Exit status of a process that a fuse ended."""


def die() -> None:
    os._exit(CRASHED)


class Fuse:
    """Ends the process at the `limit`-th crossing, counted from 1; 0 never does and only counts."""

    def __init__(self, limit: int, *, end: Callable[[], None] = die) -> None:
        self.limit = limit
        self.crossed = 0
        self._end = end

    def __call__(self) -> None:
        self.crossed += 1
        if self.crossed == self.limit:
            self._end()


class FuseAt:
    """A fault point argument: ends the process when the step called `step` is reached for the `count`-th time."""

    def __init__(self, step: str, count: int = 1, *, end: Callable[[], None] = die) -> None:
        self.step = step
        self.fuse = Fuse(count, end=end)

    def __call__(self, step: str) -> None:
        if step == self.step:
            self.fuse()


class CrashingLedger(LedgerAround):
    """A ledger that crosses the fuse before each append or ingest and after it is durable. Reads pass."""

    def __init__(self, ledger: Ledger, fuse: Callable[[], None]) -> None:
        super().__init__(ledger)
        self._fuse = fuse

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        self._fuse()
        recorded = await self._ledger.append(stream, events, expected_version=expected_version)
        self._fuse()
        return recorded

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        self._fuse()
        head = await self._ledger.ingest(origin, events)
        self._fuse()
        return head


class CrashingContent:
    """A content store that crosses the fuse before and after each write. Reads pass."""

    def __init__(self, content: ContentStore, fuse: Callable[[], None]) -> None:
        self._content = content
        self._fuse = fuse

    def entries(self, tree: TreeId) -> Mapping[str, Entry]:
        return self._content.entries(tree)

    def read(self, blob: BlobId) -> bytes:
        return self._content.read(blob)

    def import_repository(self, repo: Path, *, include_uncommitted: bool = True) -> Base:
        self._fuse()
        base = self._content.import_repository(repo, include_uncommitted=include_uncommitted)
        self._fuse()
        return base

    def folder(self, folder: Path) -> FolderReader:
        return self._content.folder(folder)

    def copy(self, base: Base, original: Path, into: Path) -> None:
        self._fuse()
        self._content.copy(base, original, into)
        self._fuse()

    def write_all(self, contents: Sequence[bytes]) -> list[BlobId]:
        self._fuse()
        blobs = self._content.write_all(contents)
        self._fuse()
        return blobs

    def write(self, data: bytes) -> BlobId:
        self._fuse()
        blob = self._content.write(data)
        self._fuse()
        return blob

    def commit(
        self,
        parents: Sequence[CommitId],
        changes: Sequence[Change],
        *,
        message: str,
        trailers: Mapping[str, str],
        when: datetime,
    ) -> CommitId:
        self._fuse()
        commit = self._content.commit(parents, changes, message=message, trailers=trailers, when=when)
        self._fuse()
        return commit

    def commit_tree(
        self, parents: Sequence[CommitId], tree: TreeId, *, message: str, trailers: Mapping[str, str], when: datetime
    ) -> CommitId:
        self._fuse()
        commit = self._content.commit_tree(parents, tree, message=message, trailers=trailers, when=when)
        self._fuse()
        return commit

    def info(self, commit: CommitId) -> CommitInfo:
        return self._content.info(commit)

    def tree_of(self, commit: CommitId) -> TreeId:
        return self._content.tree_of(commit)

    def diff(self, old: TreeId, new: TreeId, *, context: int = 3) -> list[FileDiff]:
        return self._content.diff(old, new, context=context)

    def merge(self, base: TreeId, ours: TreeId, theirs: TreeId) -> Merge:
        self._fuse()
        merge = self._content.merge(base, ours, theirs)
        self._fuse()
        return merge

    def ancestor(self, one: CommitId, other: CommitId) -> CommitId | None:
        return self._content.ancestor(one, other)

    def restore(
        self, tree: TreeId, into: Path, *, was: TreeId | None = None, only: Callable[[str], bool] | None = None
    ) -> int:
        self._fuse()
        count = self._content.restore(tree, into, was=was, only=only)
        self._fuse()
        return count

    def check(self, tree: TreeId) -> None:
        self._content.check(tree)

    def unreadable(self, names: Iterable[str], seen: set[str]) -> list[ObjectMissing]:
        return self._content.unreadable(names, seen)

    def compact(self) -> int:
        self._fuse()
        count = self._content.compact()
        self._fuse()
        return count

    def prepare_in_place(self, repo: Path, tree: TreeId, *, replace_ignored: bool = False) -> InPlace:
        self._fuse()
        prepared = self._content.prepare_in_place(repo, tree, replace_ignored=replace_ignored)
        self._fuse()
        return prepared

    def restore_in_place(self, prepared: InPlace) -> int:
        self._fuse()
        count = self._content.restore_in_place(prepared)
        self._fuse()
        return count

    def blame(self, commit: CommitId, path: str, *, stop: CommitId | None = None) -> list[BlameLine]:
        return self._content.blame(commit, path, stop=stop)

    def trace(self, commit: CommitId, path: str, line: int, *, stop: CommitId | None = None) -> LineOrigin:
        return self._content.trace(commit, path, line, stop=stop)

    def ref(self, name: str) -> CommitId | None:
        return self._content.ref(name)

    def set_ref(self, name: str, to: CommitId, *, expected: CommitId | None) -> None:
        self._fuse()
        self._content.set_ref(name, to, expected=expected)
        self._fuse()

    def publish(self, repo: Path, branch: str, commit: CommitId) -> None:
        self._fuse()
        self._content.publish(repo, branch, commit)
        self._fuse()


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Runs `work` in a child that kills itself before its `step`th write to the disk; False when it ended before.

    What a library writes by itself, such as SQLite, doesn't count.
    """
    child = multiprocessing.get_context("fork").Process(target=_until, args=(step, work))
    child.start()
    child.join()
    if child.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the child ended with {child.exitcode}")
    return child.exitcode != 0


def _until(step: int, work: Callable[[], object]) -> None:
    left = step

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event not in _DISK_STEPS or (event == "open" and not int(str(arguments[2])) & _WRITES):
            return
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sys.addaudithook(count)
    work()
