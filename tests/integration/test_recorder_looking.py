"""What a look at a folder finds, on real folders: torn reads, what can't be read, overflow, and what is left out."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from projects import git, write_files

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Entry, FileContent, FolderReader, Unsettled
from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.ids import BlobId
from cavalcade.protocol.plan import Base
from cavalcade.recorder.looking import Gaze, Look
from cavalcade.recorder.watching import EVERYTHING, NOTHING, InotifyWatch, NoWatch, Touched, Watch

FILES = {"a.txt": "a\n", "d/b.txt": "b\n", "d/e/c.txt": "c\n", ".gitignore": "*.log\n"}
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
BLOB = BlobId("0" * 40)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "project"
    top.mkdir()
    git(top, "init", "-q")
    write_files(top, FILES)
    git(top, "add", ".")
    git(top, "commit", "-qm", "start")
    return top


class Hindered:
    """A reader of the folder to which `before` happens for each path that it is about to read."""

    def __init__(self, reader: FolderReader, before: Callable[[str], None]) -> None:
        self._reader = reader
        self._before = before

    @property
    def partial(self) -> bool:
        return self._reader.partial

    def ignored(self, path: str) -> bool:
        return self._reader.ignored(path)

    def storable(self, path: str) -> bool:
        return self._reader.storable(path)

    def read(self, path: str, before: Entry | None) -> FileContent:
        self._before(path)
        return self._reader.read(path, before)


class Watched:
    """A folder looked at; what a look finds is told as path → `A`, `D` or `M`."""

    def __init__(
        self, top: Path, watch: Watch | None = None, before: Callable[[str], None] = lambda path: None
    ) -> None:
        self.store = GitContentStore(top.parent / "content.git")
        self.base: Base = self.store.import_repository(top)
        self.watch = watch or NoWatch()
        self.gaze = Gaze(str(top), Hindered(self.store.folder(top), before), self.watch, SystemClock())
        self.gaze.begin(self.store.entries(self.base.tree), unchanged_since=LONG_AGO)

    def everything(self) -> dict[str, str]:
        return told(self.gaze.look(EVERYTHING))

    def at(self, *paths: str) -> dict[str, str]:
        return told(self.gaze.look(Touched(frozenset(paths))))


def told(look: Look) -> dict[str, str]:
    return {path: "D" if found.now is None else "M" if found.before else "A" for path, found in look.changes.items()}


@pytest.fixture
def seen(folder: Path) -> Iterator[Watched]:
    watched = Watched(folder)
    yield watched
    watched.watch.close()


def test_a_folder_that_did_not_change_shows_nothing(seen: Watched) -> None:
    assert seen.everything() == {}
    assert seen.at("a.txt", "d", "d/e/c.txt", "never-there") == {}


def test_a_look_at_what_was_touched_finds_what_a_full_look_finds(folder: Path, seen: Watched) -> None:
    os.rename(folder / "d", folder / "moved")
    (folder / "a.txt").write_text("changed")
    found = seen.at("d", "moved", "a.txt")
    assert found == {"a.txt": "M", "d/b.txt": "D", "d/e/c.txt": "D", "moved/b.txt": "A", "moved/e/c.txt": "A"}
    assert seen.everything() == {}


def test_a_file_in_a_folders_place_and_a_folder_in_a_files(folder: Path, seen: Watched) -> None:
    os.rename(folder / "d" / "e", folder / "kept")
    os.unlink(folder / "a.txt")
    (folder / "a.txt").mkdir()
    (folder / "a.txt" / "in").write_text("x")
    (folder / "d" / "e").write_text("file")
    assert seen.at("d/e", "a.txt", "kept") == {
        "a.txt": "D", "a.txt/in": "A", "d/e": "A", "d/e/c.txt": "D", "kept/c.txt": "A",
    }  # fmt: skip


def test_a_file_that_changes_while_it_is_read_is_read_again_and_never_half(folder: Path) -> None:
    writes: list[str] = []

    def write(path: str) -> None:
        if len(writes) < 2:
            writes.append(path)
            raise Unsettled(path)

    watched = Watched(folder, before=write)
    (folder / "a.txt").write_text("new")
    assert watched.at("a.txt") == {"a.txt": "M"}
    assert not watched.gaze.unsettled


def test_a_file_that_never_settles_is_left_for_the_next_look(folder: Path) -> None:
    busy = [True]

    def change(path: str) -> None:
        if busy[0]:
            raise Unsettled(path)

    watched = Watched(folder, before=change)
    (folder / "a.txt").write_text("new")
    assert watched.at("a.txt") == {}
    assert watched.gaze.unsettled
    busy[0] = False
    assert told(watched.gaze.look(NOTHING)) == {"a.txt": "M"}


def test_the_reader_notices_a_file_that_is_not_what_it_was_when_its_reading_began(folder: Path, seen: Watched) -> None:
    path = folder / "grows"
    path.write_bytes(b"x" * 1000)
    handle = os.open(path, os.O_RDONLY)
    size = os.fstat(handle).st_size
    path.write_bytes(b"x" * 2000)
    assert seen.store.folder(folder).read("grows", None).data == b"x" * 2000
    os.close(handle)
    assert size == 1000


def test_what_can_not_be_read_is_named_and_stays_as_it_was(folder: Path) -> None:
    def refuse(path: str) -> None:
        if path == "a.txt":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)

    watched = Watched(folder, before=refuse)
    (folder / "a.txt").write_text("secret")
    (folder / "d" / "b.txt").write_text("seen")
    assert watched.everything() == {"d/b.txt": "M"}
    assert watched.gaze.unreadable == {"a.txt": "Permission denied"}


def test_what_a_sparse_checkout_leaves_out_is_not_taken_for_deleted(folder: Path) -> None:
    git(folder, "sparse-checkout", "set", "--no-cone", "/*", "!/d/e/")
    watched = Watched(folder)
    assert not (folder / "d" / "e").exists()
    assert watched.everything() == {}
    (folder / "d" / "b.txt").unlink()
    assert watched.everything() == {"d/b.txt": "D"}
    git(folder, "sparse-checkout", "disable")
    assert watched.everything() == {}
    (folder / "d" / "e" / "c.txt").unlink()
    assert watched.at("d/e/c.txt") == {"d/e/c.txt": "D"}


def test_a_folder_goes_on_being_looked_at_when_its_git_folder_is_gone(folder: Path, seen: Watched) -> None:
    shutil.rmtree(folder / ".git")
    (folder / "a.txt").write_text("new")
    (folder / "more").write_text("more")
    assert seen.everything() == {"a.txt": "M", "more": "A"}


def test_pipes_sockets_and_names_that_open_a_repository_are_left_out(folder: Path, seen: Watched) -> None:
    os.mkfifo(folder / "pipe")
    (folder / ".GIT").mkdir()
    (folder / ".GIT" / "x").write_text("x")
    (folder / "git~1").write_text("x")
    assert seen.everything() == {}
    assert seen.at("pipe", ".GIT", ".GIT/x", "git~1", ".git", ".git/index") == {}


def test_a_file_changed_right_after_it_was_read_is_read_again_whatever_its_times(folder: Path, seen: Watched) -> None:
    (folder / "a.txt").write_text("1")
    assert seen.at("a.txt") == {"a.txt": "M"}
    times = os.stat(folder / "a.txt")
    (folder / "a.txt").write_text("2")
    os.utime(folder / "a.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert seen.at("a.txt") == {"a.txt": "M"}


def test_a_new_rule_of_what_is_ignored_counts_from_the_next_look(folder: Path, seen: Watched) -> None:
    (folder / "x.log").write_text("x")
    (folder / "d" / "y.tmp").write_text("y")
    assert seen.everything() == {"d/y.tmp": "A"}
    (folder / ".gitignore").write_text("*.tmp\n")
    assert seen.at(".gitignore") == {".gitignore": "M", "x.log": "A"}


def test_inotify_tells_what_is_touched_also_in_folders_that_were_just_made(folder: Path) -> None:
    watch = InotifyWatch(str(folder))
    watched = Watched(folder, watch)
    watched.gaze.watch_all()
    (folder / "new" / "deep").mkdir(parents=True)
    (folder / "new" / "deep" / "first").write_text("1")
    assert told(watched.gaze.look(watch.wait(5))) == {"new/deep/first": "A"}
    (folder / "new" / "deep" / "second").write_text("2")
    assert watch.wait(5).paths == {"new/deep/second"}
    assert watch.complete
    watch.close()


def test_a_queue_that_overflowed_says_that_anything_may_have_changed(folder: Path) -> None:
    watch = InotifyWatch(str(folder))
    watched = Watched(folder, watch)
    watched.gaze.watch_all()
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    first, second = folder / "d" / "b.txt", folder / "a.txt"
    for _ in range(most // 2 + 1):  # two in turn, since equal events in a row become one
        os.utime(first)
        os.utime(second)
    touched = watch.wait(5)
    while more := watch.wait(0):
        touched |= more
    assert touched.all
    assert watched.everything() == {}
    watch.close()


def test_waiting_ends_when_it_is_told_to(folder: Path) -> None:
    for watch in (InotifyWatch(str(folder)), NoWatch()):
        watch.wake()
        assert not watch.wait(60)
        watch.close()
