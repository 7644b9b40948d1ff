"""Runs at once on one project: all finish, all branches are there, and what is said about merging them is what git says.

Bug class this catches: processes that starve or corrupt each other's record and object store, overlaps that nobody mentions or that
are told wrong.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from projects import Project, Said, a_project, assert_untouched, git, state_of, wait_until

FILES = {
    "shop/__init__.py": "",
    "shop/far.py": "def first(a):\n    return a\n" + "\n\nNOTHING = 0\n" * 10 + "\n\ndef last(a):\n    return a\n",
    "shop/near.py": "from shop.pair import left, right\n\n\ndef both(a):\n    return left(a), right(a)\n",
    "shop/pair.py": "def left(a):\n    return a\n" + "\n\nNOTHING = 0\n" * 10 + "\n\ndef right(a):\n    return a\n",
}
CLEAN = ("rename shop.far:first to beginning", "rename shop.far:last to end")
CONFLICTING = ("rename shop.pair:left to port", "rename shop.pair:right to starboard")


def asked(project: Project, objective: str) -> tuple[str, ...]:
    return ("run", objective, "--repo", str(project.folder), "--no-tests", "--yes", "--json")


def ended(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=240)
    return Said(process.returncode, out, err)


def at_once(project: Project, *objectives: str) -> list[Any]:
    """Their reports, when all have ended."""
    processes = [project.start(*asked(project, objective)) for objective in objectives]
    said = [ended(process) for process in processes]
    assert [each.status for each in said] == [0] * len(objectives), "\n".join(map(str, said))
    return [each.data for each in said]


def merged_by_git(project: Project, tmp: Path, first: str, second: str) -> set[str]:
    """The paths in which git itself finds conflicts."""
    clone = tmp / f"merge-{len(list(tmp.iterdir()))}"
    git(tmp, "clone", "-q", str(project.folder), str(clone))
    git(clone, "checkout", "-q", f"origin/{first}")
    merge = subprocess.run(
        ["git", "-c", "user.name=me", "-c", "user.email=me@localhost", "merge", "-q", f"origin/{second}"],
        cwd=clone,
        capture_output=True,
        check=False,
    )
    unmerged = set(git(clone, "diff", "--name-only", "--diff-filter=U").split())
    assert (merge.returncode != 0) == bool(unmerged)
    return unmerged


def told_overlaps(reports: list[Any]) -> dict[frozenset[str], set[str]]:
    """Pairs of branches that touch each other, each with its conflicting paths."""
    found: dict[frozenset[str], set[str]] = {}
    for report in reports:
        for overlap in report.get("overlaps", ()):
            found[frozenset({report["branch"], overlap["branch"]})] = set(overlap.get("conflicts", ()))
    return found


@pytest.mark.parametrize("objectives", [CLEAN, CONFLICTING], ids=["mergeable", "conflicting"])
def test_two_runs_at_once_both_finish_and_the_later_one_tells_whether_they_merge(
    objectives: tuple[str, str], tmp_path: Path
) -> None:
    project = a_project(tmp_path, FILES)
    before = state_of(project.folder)
    reports = at_once(project, *objectives)
    assert_untouched(before, project.folder)
    branches = {report["branch"] for report in reports}
    assert set(project.branches()) == branches
    conflicts = merged_by_git(project, tmp_path, *branches)
    assert conflicts == ({"shop/near.py"} if objectives == CONFLICTING else set())
    assert told_overlaps(reports) == {frozenset(branches): conflicts}
    assert project("verify").status == 0


@pytest.mark.timeout(300)
def test_four_runs_at_once_all_finish_on_one_record(tmp_path: Path) -> None:
    project = a_project(tmp_path, FILES)
    reports = at_once(project, *CLEAN, *CONFLICTING)
    assert {report["branch"] for report in reports} == set(project.branches())
    told = told_overlaps(reports)
    clean = frozenset(report["branch"] for report in reports[:2])
    conflicting = frozenset(report["branch"] for report in reports[2:])
    assert told == {clean: set(), conflicting: {"shop/near.py"}}
    assert project("verify").status == 0
    git(project.store, "fsck", "--strict")


@pytest.mark.timeout(300)
def test_two_runs_that_are_killed_both_go_on_and_finish(tmp_path: Path) -> None:
    project = a_project(tmp_path, FILES)
    before = state_of(project.folder)
    processes = [project.start(*asked(project, objective)) for objective in CONFLICTING]
    wait_until(lambda: len(known(project)) == 2, "two runs on record")
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    runs = known(project)
    again = [project.start("resume", run, "--json") for run in runs]
    said = [ended(process) for process in again]
    assert [each.status for each in said] == [0, 0], "\n".join(map(str, said))
    branches = set(project.branches())
    assert branches == {f"cavalcade/{run}" for run in runs}
    assert_untouched(before, project.folder)
    reports = [project("show", run, "--json").data for run in runs]
    assert told_overlaps(reports) == {frozenset(branches): merged_by_git(project, tmp_path, *branches)}
    assert project("verify").status == 0


def known(project: Project) -> list[str]:
    said = project("runs", "--all", "--json")
    return [run["run"] for run in said.data] if said.status == 0 else []
