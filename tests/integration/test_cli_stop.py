"""`cavalcade stop`, as a person gives it: what ran has ended, the record says so, and `resume` goes on.

Bug class this catches: a stop that needs what it is to stop, processes left behind, a stopped run that can't be gone on with.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from projects import OBJECTIVE, SHOP, Project, a_project, assert_untouched, descendants, state_of, wait_until

pytestmark = pytest.mark.faults
ENDLESS = "import threading\n\nfrom prices import total\n\n\ndef test_total():\n    threading.Event().wait()\n    total([1])\n"
RESISTS = (
    "trap '' TERM HUP INT; (setsid nohup sh -c 'while :; do date >> beat.txt; sleep 0.02; done' >/dev/null 2>&1 &); "
    "while :; do sleep 1; done"
)


def phase(project: Project) -> str:
    return project("show", "last", "--json").data["phase"]


def under_test(project: Project) -> subprocess.Popen[str]:
    """A run whose tests are under way and never end."""
    process = project.start("run", OBJECTIVE, "--repo", str(project.folder), "--yes", "--python", sys.executable)

    def proposed() -> bool:
        assert process.poll() is None, process.communicate()
        log = project("log", "last", "--type", "task.proposed").out if project.home.exists() else ""
        return "task.proposed" in log and len(descendants(process.pid)) > 2

    wait_until(proposed, "the tests of the proposal")
    return process


def test_a_stopped_run_leaves_no_process_is_told_of_everywhere_and_can_be_resumed(tmp_path: Path) -> None:
    project = a_project(tmp_path, {**SHOP, "test_prices.py": ENDLESS})
    before = state_of(project.folder)
    driver = under_test(project)
    below = descendants(driver.pid)
    said = project.process("stop", "last", "--reason", "lunch", "--json")
    driver.communicate(timeout=20)
    assert driver.returncode == 10
    assert said.status == 0, said
    (stopped,) = said.data
    assert (stopped["phase"], stopped["left"]) == ("halted", [])
    assert not any(each.alive for each in below)
    assert "was stopped" in project("show", "last").out
    assert "lunch" in project("log", "last", "--type", "run.halted").out
    assert project("runs", "--repo", str(project.folder), "--json").data[0]["phase"] == "halted"
    assert project("approve", "last").status == 4
    assert project("stop", "last").status == 0
    assert project("abort", "last").status == 0
    assert_untouched(before, project.folder)


def test_a_driver_that_is_stopped_itself_is_killed_and_its_run_goes_on_later(tmp_path: Path) -> None:
    project = a_project(tmp_path, {**SHOP, "test_prices.py": ENDLESS})
    driver = under_test(project)
    below = descendants(driver.pid)
    os.kill(driver.pid, signal.SIGSTOP)
    (stopped,) = project("stop", "--all", "--json").data
    driver.communicate(timeout=20)
    assert (stopped["how"], driver.returncode) == ("killed", -signal.SIGKILL)
    assert not any(each.alive for each in below)
    assert phase(project) == "halted"
    assert project("verify").status == 0


def test_a_run_that_waits_is_stopped_and_resumed_to_its_end(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    assert project.run().status == 3
    assert project("stop", "last").status == 0
    refused = project("approve", "last")
    assert refused.status == 4, refused
    assert "cavalcade resume" in refused.err
    assert project("resume", "last").status == 3
    assert project("approve", "last").status == 0
    assert phase(project) == "completed"


def test_nothing_starts_while_the_stop_file_is_there_and_what_runs_stops(tmp_path: Path) -> None:
    project = a_project(tmp_path, {**SHOP, "test_prices.py": ENDLESS})
    driver = under_test(project)
    below = descendants(driver.pid)
    (project.home / "stop").write_text("the building is on fire\n")
    driver.communicate(timeout=20)
    assert not any(each.alive for each in below)
    assert phase(project) == "halted"
    assert "the building is on fire" in project("log", "last", "--type", "run.halted").out
    refused = project("record", "--repo", str(project.folder), "--", "true")
    assert (refused.status, "on fire" in refused.err) == (4, True)
    assert project("stop", "--release").status == 0
    assert project("record", "--repo", str(project.folder), "--", "true").status == 0


def test_a_recorded_program_that_resists_is_ended_with_all_it_started_and_its_last_state_is_kept(
    tmp_path: Path,
) -> None:
    project = a_project(tmp_path)
    recorder = project.start("record", "--repo", str(project.folder), "--", "sh", "-c", RESISTS)
    wait_until(lambda: bool(list(project.home.glob("projects/*/content.git/refs/runs/*/head"))), "the first state")
    below = descendants(recorder.pid)
    (stopped,) = project.process("stop", "--all", "--json").data
    recorder.communicate(timeout=20)
    assert (stopped["phase"], stopped["left"]) == ("completed", [])
    assert not any(each.alive for each in below)
    shown = project("show", "last", "--json").data
    assert shown["recording"]["exit_status"] in (-9, None)
    assert shown["recording"]["looks"] > 0


def test_a_program_whose_recorder_was_killed_goes_on_until_it_is_stopped(tmp_path: Path) -> None:
    """It is the user's own: nothing but a stop ends it."""
    project = a_project(tmp_path)
    recorder = project.start("record", "--repo", str(project.folder), "--", "sh", "-c", RESISTS)
    wait_until(lambda: bool(list(project.home.glob("projects/*/content.git/refs/runs/*/head"))), "the first state")
    below = descendants(recorder.pid)
    recorder.kill()
    recorder.communicate()
    assert any(each.alive for each in below)
    (stopped,) = project("stop", "--all", "--json").data
    assert (stopped["phase"], stopped["how"]) == ("completed", "killed")
    assert not any(each.alive for each in below)


def test_what_is_to_be_stopped_has_to_be_said(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    for arguments in ((), ("last", "--all"), ("--hold", "--release")):
        said = project("stop", *arguments)
        assert said.status == 2, said
    assert project("stop", "--all").status == 0
    assert project("stop", "last").status == 6


def test_work_is_stopped_where_the_record_can_t_be_read(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    recorder = project.start("record", "--repo", str(project.folder), "--", "sh", "-c", RESISTS)
    wait_until(lambda: bool(list(project.home.glob("projects/*/content.git/refs/runs/*/head"))), "the first state")
    below = descendants(recorder.pid)
    recorder.kill()
    recorder.communicate()
    ledger = project.home / "ledger.sqlite3"
    ledger.write_bytes(b"no ledger")
    said = project("stop", "--all")
    assert said.status == 6, said
    assert "not on the record" in said.err
    assert not any(each.alive for each in below)
