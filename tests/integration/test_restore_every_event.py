"""`restore` brings back exactly the files that were there when an event happened, at every event of a run.

What was there is told by a model of its own: plain files, changed by the blobs that the edit events name, read by git. Nothing of the
product's own folding of history is used.

Bug class this catches: a moment that shows the head of the run instead of the task at work, an attempt that was bounced mixed with
the next one, modes and links lost on the way back.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from projects import Project, a_project, blob_of, files_in, files_of

Files = dict[str, tuple[str, bytes]]

UNTYPED = {
    "shop/__init__.py": "from shop.till import Till\n\n__all__ = ['Till']\n",
    "shop/till.py": (
        "class Till:\n    def take(self, price):\n        return price\n\n"
        "    def twice(self, price):\n        return self.take(price) * 2\n"
    ),
    "shop/use.py": "from shop.till import Till\n\n\ndef pay(price):\n    return Till().take(price)\n",
    "tests/test_till.py": (
        "from shop import Till\n\n\ndef make(kind):\n    return {'till': Till}[kind]()\n\n\n"
        "def test_take():\n    assert make('till').take(2) == 2\n\n\ndef test_twice():\n    assert Till().twice(2) == 4\n"
    ),
    "run.sh": "#!/bin/sh\nexec python -m shop\n",
}
MODULE = {
    "shop/__init__.py": "",
    "shop/prices.py": "def total(items):\n    return sum(items)\n",
    "shop/till.py": (
        "from shop import prices\nfrom shop.prices import total\n\n\n"
        "def pay(items):\n    return prices.total(items) + total(items)\n"
    ),
    "run.py": "#!/usr/bin/env python3\nfrom shop.prices import total\n\nprint(total([1]))\n",
}


def with_links(tmp: Path, files: dict[str, str], executable: str) -> Project:
    project = a_project(tmp, files)
    (project.folder / executable).chmod(0o755)
    (project.folder / "latest").symlink_to("shop/till.py")
    (project.folder / "nowhere").symlink_to("not/there")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "Links and modes")
    return project


class Model:
    """The files as the events of a run, one by one, leave them."""

    def __init__(self, store: Path, base: str) -> None:
        self._store = store
        self._head = files_of(store, base)
        self._tasks: dict[str, Files] = {}
        self._complete: dict[str, Files] = {}
        self._proposed: dict[tuple[str, int], dict[str, Any]] = {}

    def see(self, kind: str, data: dict[str, Any]) -> Files:
        task = data.get("task", "")
        match kind:
            case "task.started":
                self._tasks[task] = dict(self._complete[task] if data["attempt"] > 1 else self._head)
            case "edit.proposed":
                self._proposed[task, data["edit"]] = data
            case "edit.applied":
                self._apply(self._tasks[task], self._proposed[task, data["edit"]])
            case "task.proposed":
                self._complete.setdefault(task, dict(self._tasks[task]))
            case "task.merged":
                self._head = self._tasks[task]
            case _:
                pass
        return dict(self._tasks.get(task, self._head))

    def _apply(self, files: Files, edit: dict[str, Any]) -> None:
        moved = edit.get("moved_from", "")
        mode = files[moved or edit["path"]][0]
        if moved:
            del files[moved]
        files[edit["path"]] = (mode, blob_of(self._store, edit["after"]))


def history_of(project: Project) -> list[dict[str, Any]]:
    said = project("log", "last", "--json")
    assert said.status == 0, said
    return [json.loads(line)["event"] for line in said.out.splitlines()]


def check_every_event(project: Project, tmp: Path) -> list[str]:
    """Restores at each event by number, by time and as a branch; the kinds of the events."""
    events = history_of(project)
    model = Model(project.store, events[0]["data"]["base"]["tree"])
    kinds = [event["type"].removeprefix("cavalcade.").removesuffix(".v1") for event in events]
    expected = [model.see(kind, event["data"]) for kind, event in zip(kinds, events, strict=True)]
    times = [datetime.fromisoformat(event["time"]) for event in events]
    for number, (event, files) in enumerate(zip(events, expected, strict=True), start=1):
        into = tmp / f"at-{number}"
        said = project("restore", "last", "--at", f"#{number}", "--into", str(into), "--json")
        assert said.status == 0, said
        assert files_in(into) == files, f"#{number} {kinds[number - 1]}"
        assert files_of(project.store, said.data["tree"]) == files
        branch = f"at/{number}"
        said = project("restore", "last", "--at", event["id"], "--branch", branch)
        assert said.status == 0, said
        assert files_of(project.folder, branch) == files, f"#{number} {kinds[number - 1]}"
        into = tmp / f"time-{number}"
        said = project("restore", "last", "--at", event["time"], "--into", str(into))
        assert said.status == 0, said
        latest = max(index for index, time in enumerate(times) if time <= times[number - 1])
        assert files_in(into) == expected[latest], f"at the time of #{number}"
    return kinds


@pytest.fixture(autouse=True)
def plain_modes() -> None:
    """Files are made with the permissions that git gives them."""
    os.umask(0o022)


@pytest.mark.timeout(300)
def test_a_run_with_a_bounced_attempt_is_restored_byte_for_byte_at_every_event(tmp_path: Path) -> None:
    project = with_links(tmp_path, UNTYPED, "run.sh")
    said = project.run("--yes", objective="rename shop.till:Till.take to accept", tests=True)
    assert said.status == 0, said
    kinds = check_every_event(project, tmp_path)
    assert kinds.count("task.started") == 2
    assert "task.bounced" in kinds
    assert "exploration.recorded" in kinds
    assert kinds.count("edit.applied") >= 3


@pytest.mark.timeout(300)
def test_a_run_that_moves_a_module_is_restored_byte_for_byte_at_every_event(tmp_path: Path) -> None:
    project = with_links(tmp_path, MODULE, "run.py")
    (project.folder / "shop/till.py").write_text(MODULE["shop/till.py"] + "\n\nOPEN = True\n")
    (project.folder / "notes.txt").write_text("not added yet\n")
    said = project.run("--yes", objective="rename module shop.prices to shop.costs")
    assert said.status == 0, said
    kinds = check_every_event(project, tmp_path)
    assert kinds.count("edit.applied") >= 3
