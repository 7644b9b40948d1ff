"""A process is killed at every single step it takes on the disk; what it leaves is whole, and doing it again finishes it.

Bug classes this catches: a name that appears before what it names, a lock that outlives its holder, a half-written file under its
final name, a repetition that trips over its own remains.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import subprocess
from datetime import UTC, datetime
from functools import partial
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change
from cavalcade.kernel.errors import ContentError
from cavalcade.kernel.ids import CommitId
from cavalcade.protocol.plan import Base
from cavalcade.testing.crashing import killed_at

pytestmark = pytest.mark.faults

WHEN = datetime(2024, 5, 6, tzinfo=UTC)
FORK = multiprocessing.get_context("fork")


def git(folder: Path, *args: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", "-c", "gc.auto=0", "-C", str(folder), *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    (repo / "app").mkdir(parents=True)
    (repo / "app/a").write_text("a\n")
    (repo / "b").write_text("b\n")
    git(repo, "init", "--quiet", "--initial-branch=main")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "start")
    (repo / "b").write_text("dirty\n")
    return repo


def edited(store: GitContentStore, base: Base) -> CommitId:
    changes = [Change("app/a", store.write(b"edited\n")), Change("new/file", store.write(b"new\n")), Change("b", None)]
    return store.commit([base.commit], changes, message="edit", trailers={}, when=WHEN)


def test_an_import_and_an_edit_killed_anywhere_end_as_undisturbed_ones(repo: Path, tmp_path: Path) -> None:
    undisturbed = GitContentStore(tmp_path / "undisturbed.git")
    base = undisturbed.import_repository(repo)
    commit = edited(undisturbed, base)

    def work(folder: Path) -> tuple[Base, CommitId]:
        store = GitContentStore(folder)
        base = store.import_repository(repo)
        commit = edited(store, base)
        store.set_ref("refs/runs/r/head", commit, expected=None)
        return base, commit

    step = 0
    while killed_at(step, partial(work, tmp_path / f"store{step}.git")):
        folder = tmp_path / f"store{step}.git"
        if folder.exists():
            git(folder, "fsck", "--strict", "--no-dangling")
        assert work(folder) == (base, commit)
        git(folder, "fsck", "--strict", "--no-dangling")
        assert GitContentStore(folder).ref("refs/runs/r/head") == commit
        step += 1
    assert step > 30


def test_publishing_killed_anywhere_leaves_unnamed_objects_or_the_whole_branch(repo: Path, tmp_path: Path) -> None:
    store = GitContentStore(tmp_path / "store.git")
    commit = edited(store, store.import_repository(repo))
    step = 0
    while True:
        copy = tmp_path / f"copy{step}"
        shutil.copytree(repo, copy)
        before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        killed = killed_at(step, lambda copy=copy: store.publish(copy, "cavalcade/r", commit))
        after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
        assert {path: after[path] for path in before} == before
        new = {str(path.relative_to(copy / ".git")) for path in after.keys() - before.keys()}
        assert all(name.startswith("objects/") or name == "refs/heads/cavalcade/r" for name in new)
        git(copy, "fsck", "--strict", "--no-dangling")
        store.publish(copy, "cavalcade/r", commit)
        assert git(copy, "rev-parse", "cavalcade/r") == commit
        git(copy, "fsck", "--strict", "--no-dangling")
        if not killed:
            break
        step += 1
    assert step > 15


def test_a_restore_killed_anywhere_is_finished_by_the_same_call(repo: Path, tmp_path: Path) -> None:
    store = GitContentStore(tmp_path / "store.git")
    base = store.import_repository(repo)
    old, new = base.tree, store.tree_of(edited(store, base))
    step = 0
    while True:
        out = tmp_path / f"out{step}"
        store.restore(old, out)
        killed = killed_at(step, lambda out=out: store.restore(new, out, was=old))
        store.restore(new, out, was=old)
        assert {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()} == {
            "app/a": "edited\n",
            "new/file": "new\n",
        }
        if not killed:
            break
        step += 1
    assert step > 4


def test_objects_put_together_are_all_there_wherever_that_is_killed(repo: Path, tmp_path: Path) -> None:
    step = 0
    while True:
        folder = tmp_path / f"store{step}.git"
        store = GitContentStore(folder)
        commit = edited(store, store.import_repository(repo))
        killed = killed_at(step, lambda store=store: store.compact(enough=0))
        after = GitContentStore(folder)
        after.check(after.tree_of(commit))
        assert after.compact(enough=0) > 0 or not killed
        after.check(after.tree_of(commit))
        git(folder, "fsck", "--strict", "--no-dangling")
        if not killed:
            break
        step += 1
    assert step > 8


def test_two_processes_make_and_fill_the_same_store_at_once(repo: Path, tmp_path: Path) -> None:
    expected = GitContentStore(tmp_path / "alone.git").import_repository(repo)
    barrier = FORK.Barrier(3)
    children = [FORK.Process(target=_import_at_once, args=(tmp_path / "store.git", repo, barrier)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    store = GitContentStore(tmp_path / "store.git")
    assert store.import_repository(repo) == expected
    assert [path.name for path in tmp_path.glob("store.git*")] == ["store.git"]


def _import_at_once(folder: Path, repo: Path, barrier: Barrier) -> None:
    barrier.wait()
    GitContentStore(folder).import_repository(repo)


def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    store = GitContentStore(tmp_path / "store.git")
    blob = store.write(b"small")
    outcome: SimpleQueue[str] = FORK.SimpleQueue()
    child = FORK.Process(target=_write_with_little_room, args=(store, outcome))
    child.start()
    said = outcome.get()
    child.join()
    assert "make room" in said
    assert not list((tmp_path / "store.git/objects").glob("tmp_*"))
    assert store.read(blob) == b"small"


def _write_with_little_room(store: GitContentStore, outcome: SimpleQueue[str]) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        store.write(os.urandom(100_000))
    except ContentError as exc:
        outcome.put(str(exc))
    else:
        outcome.put("written")
