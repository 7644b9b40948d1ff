"""A restore over the user's own working tree is killed at every step it takes on the disk and at every write to the record.

Bug classes this catches: a file replaced before it was saved, saved work whose name is nowhere, a restore that can't be taken up
again, a folder half restored that bars the way.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change
from cavalcade.kernel.ids import EventId, ProjectId, RunId, TreeId, project_stream
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.protocol.events import TreeRestored, WorkSaved, decode
from cavalcade.supervisor.saving import Workplace
from cavalcade.testing.clock import START, FakeClock, SeededEntropy
from cavalcade.testing.crashing import CRASHED, CrashingContent, CrashingLedger, Fuse, killed_at

pytestmark = pytest.mark.faults

PROJECT = ProjectId("p0123456789abcdef")
HEAD = {"app/a": "a\n", "b": "b\n", "c/d": "d\n", ".gitignore": "*.log\n"}
MINE = {"app/a": "mine\n", "b": "b\n", "new": "mine too\n", ".gitignore": "*.log\n"}
WANTED = {"app": "a file\n", "b": "changed\n", "e/f": "f\n", ".gitignore": "*.log\n"}


class Place(NamedTuple):
    """One user's world: a repository with uncommitted work, a store and a ledger. `tree` is what is to be restored."""

    top: Path
    tree: TreeId

    @property
    def repo(self) -> Path:
        return self.top / "repo"

    def store(self) -> GitContentStore:
        return GitContentStore(self.top / "content.git")

    def files(self) -> dict[str, str]:
        found = (path for path in self.repo.rglob("*") if path.is_file() and ".git" not in path.parts)
        return {path.relative_to(self.repo).as_posix(): path.read_text() for path in found}

    def git_state(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in (self.repo / ".git").rglob("*") if path.is_file()}


def git(folder: Path, *args: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", "-C", str(folder), *args]
    subprocess.run(command, check=True, capture_output=True)


def write(folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def a_place(top: Path) -> Place:
    repo = top / "repo"
    repo.mkdir(parents=True)
    write(repo, HEAD)
    git(repo, "init", "-q")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "start")
    store = GitContentStore(top / "content.git")
    base = store.import_repository(repo)
    blobs = {path: store.write(text.encode()) for path, text in WANTED.items()}
    changes = [Change(path, None) for path in HEAD.keys() - WANTED.keys()]
    changes += [Change(path, blob) for path, blob in blobs.items()]
    tree = store.tree_of(store.commit([base.commit], changes, message="wanted", trailers={}, when=START))
    write(repo, {path: text for path, text in MINE.items() if HEAD.get(path) != text})
    (repo / "c/d").unlink()
    (repo / "c").rmdir()
    write(repo, {"x.log": "ignored\n"})
    return Place(top, tree)


async def restore(place: Place, tree: TreeId, fuse: Callable[[], None] | None = None) -> str:
    """As a command does it, everything opened anew. The name of what was saved."""
    clock, entropy = FakeClock(tick_s=1.0), SeededEntropy(int.from_bytes(os.urandom(4), "big"))
    ledger = await SqliteLedger.open(place.top / "ledger.sqlite3", clock=clock, entropy=entropy)
    content = place.store()
    try:
        if fuse is None:
            work = Workplace(ledger, content, clock, entropy, PROJECT, place.repo)
        else:
            crashing = CrashingContent(content, fuse)
            work = Workplace(CrashingLedger(ledger, fuse), crashing, clock, entropy, PROJECT, place.repo)
        return (await work.restore(tree, run=RunId("r1"), event=EventId("e1"))).saved
    finally:
        await ledger.aclose()


async def recorded(place: Place) -> tuple[list[WorkSaved], list[TreeRestored]]:
    clock, entropy = FakeClock(), SeededEntropy()
    ledger = await SqliteLedger.open(place.top / "ledger.sqlite3", clock=clock, entropy=entropy)
    payloads = [decode(each.event) for each in await ledger.read(stream=project_stream(PROJECT))]
    await ledger.aclose()
    saved = [payload for payload in payloads if isinstance(payload, WorkSaved)]
    return saved, [payload for payload in payloads if isinstance(payload, TreeRestored)]


def contents(place: Place, tree: TreeId) -> dict[str, str]:
    store = place.store()
    return {path: store.read(entry.blob).decode() for path, entry in store.entries(tree).items()}


def check_aftermath(place: Place, before: dict[str, bytes]) -> bool:
    """Nothing is lost, the same call finishes the work, and what was saved comes back. Whether anything had been replaced."""
    ignored = {"x.log": "ignored\n"}
    untouched = place.files() == MINE | ignored
    saved, _ = asyncio.run(recorded(place))
    assert untouched or MINE in [contents(place, work.tree) for work in saved]
    assert place.git_state() == before
    asyncio.run(restore(place, place.tree))
    assert place.files() == WANTED | ignored
    saved, done = asyncio.run(recorded(place))
    assert done[-1].tree == place.tree
    store = place.store()
    assert {work.name: store.ref(f"refs/saved/{work.name}") for work in saved if work.name == done[-1].saved} == {
        done[-1].saved: next(work.commit for work in saved if work.name == done[-1].saved)
    }
    mine = next(work for work in saved if contents(place, work.tree) == MINE)
    asyncio.run(restore(place, mine.tree))
    assert place.files() == MINE | ignored
    assert place.git_state() == before
    return not untouched


def test_a_restore_in_place_killed_at_any_step_on_the_disk_loses_nothing_and_is_finished_by_the_same_call(
    tmp_path: Path,
) -> None:
    step, replaced = 0, 0
    while True:
        place = a_place(tmp_path / str(step))
        before = place.git_state()
        killed = killed_at(step, lambda place=place: asyncio.run(restore(place, place.tree)))
        replaced += check_aftermath(place, before)
        if not killed:
            break
        step += 1
    assert step > 20
    assert replaced > 5


def test_the_same_at_every_write_to_store_and_record(tmp_path: Path) -> None:
    limit = 1
    while True:
        place = a_place(tmp_path / str(limit))
        before = place.git_state()
        body = partial(_with_fuse, place, limit)
        child = multiprocessing.get_context("fork").Process(target=body)
        child.start()
        child.join()
        check_aftermath(place, before)
        if child.exitcode == 0:
            break
        assert child.exitcode == CRASHED
        limit += 1
    assert limit > 8


def _with_fuse(place: Place, limit: int) -> None:
    asyncio.run(restore(place, place.tree, Fuse(limit)))


def test_a_restore_into_a_folder_killed_anywhere_is_finished_by_the_same_call(tmp_path: Path) -> None:
    place = a_place(tmp_path / "place")
    step = 0
    while True:
        out = tmp_path / f"out{step}"
        killed = killed_at(step, lambda out=out: place.store().restore(place.tree, out))
        if not killed:
            break
        assert place.store().restore(place.tree, out) == len(WANTED)
        found = {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()}
        assert found == WANTED
        step += 1
    assert step > 5
