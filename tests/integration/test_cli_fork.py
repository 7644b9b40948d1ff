"""`fork` as a person uses it: from any event, as it was or with other guidance; and every other command on what comes of it.

Bug class this catches: a number that means one event here and another there, a fork that changes its parent, a state that only one of
two commands can read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from projects import OBJECTIVE, Project, Said, a_project, assert_untouched, git, state_of


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """With one completed run."""
    made = a_project(tmp_path)
    assert made.run("--yes").status == 0
    return made


def events(project: Project, run: str) -> list[Any]:
    return [Said(0, line, "").data for line in project("log", run, "--json").out.splitlines()]


def number_of(project: Project, run: str, kind: str) -> int:
    """Of the first event of a type."""
    return next(each["version"] for each in events(project, run) if each["event"]["type"] == f"cavalcade.{kind}.v1")


def only_run(project: Project) -> str:
    (line,) = project("runs", "--all", "--json").data
    return line["run"]


def test_a_fork_in_the_middle_goes_on_under_the_same_plan_to_the_same_tree(project: Project) -> None:
    parent, before = only_run(project), state_of(project.folder)
    history = events(project, parent)
    forked = project("fork", parent, "--at", "5", "--json")
    assert forked.status == 0, forked
    report = forked.data
    assert (report["parent"], report["shared"], report["phase"]) == (parent, 5, "completed")
    assert set(project.branches()) == {f"cavalcade/{parent}", f"cavalcade/{report['run']}"}
    assert project.git("rev-parse", f"cavalcade/{parent}^{{tree}}") == project.git(
        "rev-parse", f"{report['branch']}^{{tree}}"
    )
    assert events(project, parent) == history
    assert_untouched(before, project.folder)
    assert project("verify").status == 0
    git(project.store, "fsck", "--strict", "--connectivity-only")


def test_the_log_of_a_fork_numbers_through_and_says_what_happened_in_its_parent(project: Project) -> None:
    parent = only_run(project)
    project("fork", parent, "--at", "5")
    lines = project("log", "last").out.splitlines()
    assert [line.split()[0] for line in lines] == [f"#{number}" for number in range(1, len(lines) + 1)]
    assert [line.endswith(f"(in run {parent})") for line in lines] == [number < 5 for number in range(len(lines))]
    assert f"from #5 of run {parent}" in lines[5]
    followed = project("log", "last", "--follow").out.splitlines()
    assert followed == lines


def test_any_moment_of_a_fork_is_found_by_its_number_and_by_the_parents(project: Project, tmp_path: Path) -> None:
    parent = only_run(project)
    fork = project("fork", parent, "--at", "5", "--json").data["run"]
    applied = [
        each["version"] for each in events(project, fork) if each["event"]["type"] == "cavalcade.edit.applied.v1"
    ]
    for run, at, name in ((fork, 5, "shared"), (parent, 5, "parents"), (fork, applied[0], "own")):
        assert project("restore", run, "--at", str(at), "--into", str(tmp_path / name)).status == 0
    assert (tmp_path / "shared/prices.py").read_text() == (tmp_path / "parents/prices.py").read_text()
    assert "sum_prices" in (tmp_path / "own/prices.py").read_text()
    assert "def sum_prices" in project("diff", fork).out
    assert "sum_prices" in project("diff", fork, "--at", str(applied[0])).out


def test_why_names_the_run_that_made_the_line(project: Project) -> None:
    parent = only_run(project)
    applied = number_of(project, parent, "edit.applied")
    fork = project("fork", parent, "--at", str(applied), "--json").data["run"]
    shared = project("why", "prices.py:1", "--run", fork, "--repo", str(project.folder), "--json").data["edit"]
    own = project("why", "test_prices.py:1", "--run", fork, "--repo", str(project.folder), "--json").data["edit"]
    assert shared["version"] == applied
    assert (own["run"], own["version"] > applied) == (fork, True)


def test_other_guidance_plans_anew_from_the_tree_of_that_moment_and_asks(project: Project) -> None:
    parent = only_run(project)
    waiting = project("fork", parent, "--at", "last", "--with", "rename prices:sum_prices to add_up")
    assert waiting.status == 3, waiting
    assert "cavalcade approve" in waiting.err
    done = project("approve", "last", "--json")
    assert done.status == 0, done
    assert "def add_up" in project.git("show", f"{done.data['branch']}:prices.py")
    assert project.git("log", "--format=%s", f"main..{done.data['branch']}").count("\n") == 2
    (overlap,) = done.data["overlaps"]
    assert overlap == {"branch": f"cavalcade/{parent}"}, "what stands on a result merges with it"


def test_words_of_inject_adjust_what_the_parent_was_asked(project: Project) -> None:
    forked = project("fork", "last", "--at", "1", "--with", "mentions docs; without test_prices.py", "--yes", "--json")
    assert forked.data["settings"]["without"] == ["test_prices.py"]
    assert forked.data["recipe"]["mentions"] == ["docs"]
    assert forked.data["objective"] == OBJECTIVE


def test_an_approval_is_not_inherited_by_a_plan_that_is_still_to_be_made(project: Project) -> None:
    """The parent ran with `--yes`; whoever forks it before its plan is asked."""
    assert project("fork", "last", "--at", "1").status == 3
    assert project("abort", "last").status == 0
    assert project("show", "last", "--json").data["phase"] == "aborted"


def test_a_plan_that_waits_waits_again_in_the_fork_and_either_is_decided_alone(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    assert project.run().status == 3
    parent = only_run(project)
    assert project("fork", parent, "--at", "last").status == 3
    assert project("approve", "last").status == 0
    assert project("show", parent, "--json").data["phase"] == "awaiting_human"
    assert project("fork", parent, "--at", "last", "--yes").status == 0
    assert len(project.branches()) == 2


def test_a_fork_that_is_only_recorded_is_carried_out_by_resume(project: Project) -> None:
    made = project("fork", "last", "--at", "5", "--no-wait", "--json")
    assert (made.status, made.data["version"]) == (0, 5), made
    assert project("show", "last", "--json").data["phase"] == "executing"
    assert project("resume", "last").status == 0


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("--at", "last"), 4, "nothing to go on with"),
        (("--at", "99"), 6, "no event #99"),
        (("--at", "5", "--with", "make it nice"), 2, "neither an adjustment nor an objective"),
        (("--at", "5", "--with", "only nowhere.py"), 2, "there is no 'nowhere.py'"),
    ],
)
def test_what_can_not_be_forked_is_said_with_what_to_do_and_nothing_is_recorded(
    arguments: tuple[str, ...], status: int, told: str, project: Project
) -> None:
    said = project("fork", "last", *arguments)
    assert (said.status, told in said.err) == (status, True), said
    assert len(project("runs", "--all", "--json").data) == 1


def test_the_family_of_a_run_is_drawn_with_each_fork_below_its_parent(project: Project) -> None:
    parent = only_run(project)
    first = project("fork", parent, "--at", "5", "--json").data["run"]
    second = project("fork", first, "--at", "1", "--no-wait", "--json").data["run"]
    other = project("fork", parent, "--at", "4", "--no-wait", "--json").data["run"]
    lines = project("runs", "--tree", "--all").out.splitlines()
    assert [(len(line) - len(line.lstrip()), line.split()[0]) for line in lines] == [
        *((0, parent), (2, first), (4, second), (2, other)),
    ]
    (family,) = project("runs", "--tree", "--all", "--json").data
    assert [fork["run"] for fork in family["forks"]] == [first, other]
    assert family["forks"][0]["forks"][0]["shared"] == 1
