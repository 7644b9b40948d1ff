"""Every event of a run of ten thousand is restored, one after the other in one folder, and the folder is hashed each time.

What must be there is told by a model of its own: plain files, changed by the edits as they were drawn, in the order of the events.
Trees are hashed here by the rules of git's documentation; none of the product's code takes part in what is expected.

Bug classes this catches: a moment that belongs to another task or attempt, a difference that leaves or loses something on the way
(files that become folders, links, modes), errors that only show after thousands of steps.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from cavalcade.content.git import GitContentStore
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol import events as e
from cavalcade.protocol.events import Payload, decode
from cavalcade.supervisor.history import Nth, moment_of_run, moments
from cavalcade.supervisor.locating import locate
from cavalcade.testing.long_runs import Files, LongRun, Made, long_run

EVENTS = 10_000
SAMPLED = 997
LOCATED = 3

_Nested = dict[str, "_Nested | tuple[int, str]"]


def named(kind: str, data: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(data)}".encode() + b"\0" + data, usedforsecurity=False).hexdigest()


def tree_name(blobs: Mapping[str, tuple[int, str]]) -> str:
    """Git's name for a tree of these files: mode and blob name by path."""
    top: _Nested = {}
    for path, entry in blobs.items():
        *folders, name = path.split("/")
        here = top
        for folder in folders:
            below = here.setdefault(folder, {})
            assert isinstance(below, dict), f"{folder} of {path} is a file"
            here = below
        assert name not in here, path
        here[name] = entry
    return _nested_name(top)


def _nested_name(nested: _Nested) -> str:
    rows: list[tuple[bytes, bytes]] = []
    for name, entry in nested.items():
        mode, blob = (0o40000, _nested_name(entry)) if isinstance(entry, dict) else entry
        key = name.encode() + (b"/" if isinstance(entry, dict) else b"")
        rows.append((key, f"{mode:o} {name}".encode() + b"\0" + bytes.fromhex(blob)))
    return named("tree", b"".join(row for _, row in sorted(rows)))


class Hashed:
    """A folder's tree name. A file is read again when anything about it has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, ...], tuple[int, str]]] = {}

    def name(self) -> str:
        found: dict[str, tuple[int, str]] = {}
        waiting = [""]
        while waiting:
            here = waiting.pop()
            with os.scandir(self._folder / here) as entries:
                inside = list(entries)
            assert inside or not here, f"{here} is empty"
            for entry in inside:
                path = f"{here}/{entry.name}" if here else entry.name
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                else:
                    found[path] = self._file(path, entry.stat(follow_symlinks=False))
        return tree_name(found)

    def _file(self, path: str, seen: os.stat_result) -> tuple[int, str]:
        mark = (seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        if path not in self._known or self._known[path][0] != mark:
            place = self._folder / path
            if stat.S_ISLNK(seen.st_mode):
                entry = 0o120000, named("blob", os.readlink(place).encode())
            else:
                entry = 0o100755 if seen.st_mode & 0o100 else 0o100644, named("blob", place.read_bytes())
            self._known[path] = mark, entry
        return self._known[path][1]


class Model:
    """The files as one event after the other leaves them."""

    def __init__(self, start: Files, edits: Mapping[int, Made]) -> None:
        self._edits = edits
        self._head = self._blobs(start)
        self._tasks: dict[str, dict[str, tuple[int, str]]] = {}
        self._complete: dict[str, dict[str, tuple[int, str]]] = {}

    def see(self, payload: Payload) -> dict[str, tuple[int, str]]:
        """What is there after an event: of its task, or of the run."""
        match payload:
            case e.TaskStarted(task=task, attempt=attempt):
                self._tasks[task] = dict(self._complete[task] if attempt > 1 else self._head)
            case e.EditApplied(task=task, edit=edit):
                self._apply(self._tasks[task], self._edits[edit])
            case e.TaskProposed(task=task):
                self._complete.setdefault(task, dict(self._tasks[task]))
            case e.TaskMerged(task=task):
                half = "east/" if int(task[1:]) % 2 else "west/"  # each task stays in its half
                mine = {path: entry for path, entry in self._tasks.pop(task).items() if path.startswith(half)}
                self._head = {path: entry for path, entry in self._head.items() if not path.startswith(half)} | mine
            case _:
                pass
        return self._tasks.get(getattr(payload, "task", ""), self._head)

    def _apply(self, files: dict[str, tuple[int, str]], made: Made) -> None:
        files.pop(made.moved_from, None)
        if made.data is None:
            del files[made.path]
        else:
            files[made.path] = made.mode, named("blob", made.data)

    def _blobs(self, files: Files) -> dict[str, tuple[int, str]]:
        return {path: (mode, named("blob", data)) for path, (mode, data) in files.items()}


def git_tree(folder: Path, scratch: Path) -> str:
    """What git itself makes of a folder."""
    environ = {**os.environ, "GIT_DIR": str(scratch), "GIT_WORK_TREE": str(folder), "GIT_CONFIG_GLOBAL": os.devnull}
    for args in (["init", "-q"], ["add", "-A", "-f"]):
        subprocess.run(["git", *args], env=environ, cwd=folder, check=True, capture_output=True)
    done = subprocess.run(["git", "write-tree"], env=environ, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


async def check_sample(made: LongRun, version: int, name: str, folder: Path, tmp: Path) -> None:
    """By git's own hand, and as a command finds the moment: by its number, in a store that is opened anew."""
    assert git_tree(folder, tmp / f"git{version}") == name
    moment = await moment_of_run(made.runs, made.run, Nth(version))
    assert moment.tree == name
    fresh = GitContentStore(tmp / "content.git")
    assert fresh.tree_of(moment.commit) == name
    fresh.restore(moment.tree, tmp / f"fresh{version}")
    assert Hashed(tmp / f"fresh{version}").name() == name


@pytest.mark.timeout(300)
async def test_every_event_of_a_run_of_ten_thousand_is_restored(tmp_path: Path) -> None:
    os.umask(0o022)
    made = await long_run(tmp_path, events=EVENTS)
    history = await made.runs.history(made.run)
    assert len(history) >= EVENTS
    model, folder, was = Model(made.start, made.edits), tmp_path / "folder", None
    hashed, kinds, trees = Hashed(folder), set[str](), set[TreeId]()
    for moment in moments(history):
        payload = decode(moment.event.event)
        files = model.see(payload)
        if moment.tree != was or isinstance(payload, e.EditApplied | e.TaskMerged | e.TaskStarted):
            assert tree_name(files) == moment.tree, f"#{moment.event.version} {payload.TYPE}"
        if moment.tree != was:
            made.content.restore(moment.tree, folder, was=was)
            was = moment.tree
            assert hashed.name() == moment.tree, f"#{moment.event.version} {payload.TYPE}"
        if moment.event.version % SAMPLED == 0:
            await check_sample(made, moment.event.version, moment.tree, folder, tmp_path)
        if moment.event.version % LOCATED == 0:
            located = await locate(made.ledger, made.run, Nth(moment.event.version))
            assert located is not None
            assert located.event == moment.event
            assert located.view[1:] == (moment.commit, moment.tree)
        kinds.add(payload.TYPE)
        trees.add(moment.tree)
    assert len(trees) > EVENTS / 10
    assert {e.TaskBounced.TYPE, e.ExplorationRecorded.TYPE, e.RunCompleted.TYPE} <= kinds
