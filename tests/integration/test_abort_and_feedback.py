"""A person ends a run from elsewhere, or says at the gate what should be different.

Bug class this catches: a stop that waits for a test suite, processes that outlive their run, an approval of a plan that nobody sees
any more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from projects import (
    OBJECTIVE,
    SHOP,
    Process,
    Project,
    Said,
    a_project,
    assert_untouched,
    descendants,
    state_of,
    wait_until,
)

ENDLESS = "import threading\n\nfrom prices import total\n\n\ndef test_total():\n    threading.Event().wait()\n    total([1])\n"
ENDED_WITHIN_S = 20


def under_test(project: Project) -> tuple[subprocess.Popen[str], list[Process]]:
    """A run whose tests never end, and every process below it."""
    process = project.start("run", OBJECTIVE, "--repo", str(project.folder), "--yes", "--python", sys.executable)

    def testing() -> bool:
        assert process.poll() is None, process.communicate()
        return sum(_runs_tests(each) for each in descendants(process.pid)) >= 2

    wait_until(testing, "both test runs")
    return process, descendants(process.pid)


def _runs_tests(process: Process) -> bool:
    """Not the attacks on the sandbox, which come first."""
    return process.command.startswith(sys.executable) and "pytest" in process.command


def ended(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=ENDED_WITHIN_S)
    return Said(process.returncode, out, err)


def assert_all_gone(below: list[Process]) -> None:
    wait_until(lambda: not any(each.alive for each in below), "the end of every process below", timeout_s=5)


def phase(project: Project) -> str:
    return project("show", "last", "--json").data["phase"]


def test_a_run_aborted_from_another_process_ends_with_all_that_it_started(tmp_path: Path) -> None:
    project = a_project(tmp_path, {**SHOP, "test_prices.py": ENDLESS})
    before = state_of(project.folder)
    process, below = under_test(project)
    said = project.process("abort", "last", "--reason", "took too long")
    assert said.status == 0, said
    driver = ended(process)
    assert driver.status == 10, driver
    assert "aborted" in driver.out
    assert_all_gone(below)
    assert phase(project) == "aborted"
    assert project.branches() == []
    assert_untouched(before, project.folder)
    assert list(project.home.glob("cache/workspaces/*")) == []
    assert project("verify").status == 0


def test_who_resumes_a_run_that_is_under_way_follows_it_to_its_end(tmp_path: Path) -> None:
    project = a_project(tmp_path, {**SHOP, "test_prices.py": ENDLESS})
    process, below = under_test(project)
    second = project.start("resume", "last")
    assert second.stderr is not None
    first_line = second.stderr.readline()
    assert f"is being driven by process {process.pid}; following it" in first_line
    assert not [each for each in descendants(second.pid) if each.command.startswith(sys.executable)]
    assert project("abort", "last").status == 0
    assert [ended(process).status, ended(second).status] == [10, 10]
    assert_all_gone(below)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_a_run_that_is_killed_leaves_no_process_behind_and_can_be_aborted(number: int, tmp_path: Path) -> None:
    project = a_project(tmp_path, {**SHOP, "test_prices.py": ENDLESS})
    before = state_of(project.folder)
    process, below = under_test(project)
    os.kill(process.pid, number)
    ended(process)
    assert_all_gone(below)
    assert phase(project) == "executing"
    assert project("abort", "last").status == 0
    assert phase(project) == "aborted"
    assert_untouched(before, project.folder)


def waiting(tmp_path: Path) -> Project:
    files = {
        **SHOP,
        "doc.py": 'from prices import total\n\n\ndef pay():\n    """Calls `total`."""\n    return total([])\n',
    }
    project = a_project(tmp_path, files)
    assert project.run().status == 3
    return project


def plan_of(project: Project) -> dict[str, Any]:
    return project("show", "last", "--json").data["plan"]


@pytest.mark.parametrize(
    ("feedback", "expected"),
    [
        ("mentions docs", {"prices.py", "test_prices.py", "doc.py", "README.md"}),
        ("mentions docs; only prices.py, test_prices.py, doc.py", {"prices.py", "test_prices.py", "doc.py"}),
        ("without README.md; mentions docs", {"prices.py", "test_prices.py", "doc.py"}),
        ("rename prices:total to grand_total", {"prices.py", "test_prices.py", "doc.py"}),
    ],
)
def test_feedback_leads_to_another_plan_and_the_old_one_can_no_longer_be_approved(
    feedback: str, expected: set[str], tmp_path: Path
) -> None:
    project = waiting(tmp_path)
    before = state_of(project.folder)
    old = plan_of(project)
    said = project("inject", "last", feedback)
    assert said.status == 3, said
    new = plan_of(project)
    assert new["hash"] != old["hash"]
    assert new["round"] == 2
    assert {edit["path"] for edit in new["edits"]} == expected
    refused = project("approve", "last", "--hash", old["hash"])
    assert refused.status == 2, refused
    assert new["hash"][:12] in refused.err
    assert phase(project) == "awaiting_human"
    said = project("approve", "last", "--hash", new["hash"])
    assert said.status == 0, said
    (branch,) = project.branches()
    changed = set(project.git("diff", "--name-only", "main", branch).split())
    assert changed == {edit["path"] for edit in new["edits"]}
    name = "grand_total" if "grand_total" in feedback else "sum_prices"
    assert f"def {name}(" in project.git("show", f"{branch}:prices.py")
    assert_untouched(before, project.folder)


def test_a_limit_that_would_break_what_lies_outside_of_it_stops_the_run_at_the_gates(tmp_path: Path) -> None:
    project = waiting(tmp_path)
    before = state_of(project.folder)
    assert project("inject", "last", "only prices.py, test_prices.py").status == 3
    assert {edit["path"] for edit in plan_of(project)["edits"]} == {"prices.py", "test_prices.py"}
    said = project("approve", "last")
    assert said.status == 10, said
    assert "references" in said.out
    assert "doc.py:" in said.out
    assert phase(project) == "stopped"
    assert state_of(project.folder) == before


def test_docs_are_changed_only_when_asked(tmp_path: Path) -> None:
    project = waiting(tmp_path)
    assert project("inject", "last", "mentions docs").status == 3
    assert project("approve", "last").status == 0
    (branch,) = project.branches()
    assert '"""Calls `sum_prices`."""' in project.git("show", f"{branch}:doc.py")
    assert "Call `sum_prices()`." in project.git("show", f"{branch}:README.md")


def test_an_abort_at_the_gate_lands_nothing(tmp_path: Path) -> None:
    project = waiting(tmp_path)
    before = state_of(project.folder)
    assert project("abort", "last").status == 0
    assert state_of(project.folder) == before
    assert phase(project) == "aborted"
