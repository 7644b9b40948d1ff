"""The recorder killed, and a record that can't be written: what is on record is whole, and the program never notices.

Bug class this catches: a half-recorded state, a recording that can't be ended, a program that dies or waits because of its recorder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from projects import Process, Project, a_project, descendants, files_of, git, wait_until

from cavalcade.cli.compose import open_system
from cavalcade.config.paths import project_id
from cavalcade.domain.run import Command, RunState
from cavalcade.kernel.errors import LedgerUnwritable
from cavalcade.kernel.ids import EventId, RunId
from cavalcade.protocol.events import RecordingStarted
from cavalcade.recorder.backlog import Channel
from cavalcade.recorder.port import NoSessions
from cavalcade.recorder.program import Running, Streams
from cavalcade.recorder.recording import Order, Outcome, Recorder
from cavalcade.supervisor.runs import RunService

pytestmark = pytest.mark.faults


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def end(*processes: Process) -> None:
    for process in processes:
        if process.alive:
            os.kill(process.pid, signal.SIGKILL)


def events(shop: Project) -> list[Any]:
    return [json.loads(line)["event"] for line in shop("log", "last", "--json").out.splitlines()]


def test_after_the_recorder_was_killed_all_that_is_on_record_is_whole_and_resume_ends_it(shop: Project) -> None:
    script = "i=0; while :; do i=$((i+1)); echo $i > count.txt; echo $i > n$i.txt; sleep 0.02; done"
    recorder = shop.start("record", "--repo", str(shop.folder), "--", "sh", "-c", script)
    wait_until(lambda: bool(list(shop.home.glob("projects/*/content.git/refs/runs/*/head"))), "the first state")
    working = descendants(recorder.pid)
    recorder.kill()
    end(*working)
    recorder.communicate()
    assert shop("verify").status == 0
    trees = [event["data"]["tree"] for event in events(shop) if event["type"] == "cavalcade.files.changed.v1"]
    assert trees
    for tree in trees:
        assert files_of(shop.store, tree)["count.txt"][1].strip().isdigit()
    (line,) = shop("runs", "--repo", str(shop.folder), "--json").data
    assert line["phase"] == "cut_off"
    assert "cut off" in shop("show", "last").out
    copy = shop.home / "cache" / "workspaces" / line["run"]
    left = (copy / "count.txt").read_bytes()
    assert shop("resume", "last").status == 0
    shown = shop("show", "last", "--json").data
    assert (shown["phase"], shown["recording"]["exit_status"]) == ("completed", None)
    assert files_of(shop.store, f"refs/runs/{line['run']}/head")["count.txt"][1] == left
    assert shop.git("show", f"{shown['branch']}:count.txt").encode() == left
    assert not copy.exists()


def test_a_recording_whose_copy_is_gone_ends_with_its_last_state(shop: Project) -> None:
    recorder = shop.start(
        "record", "--repo", str(shop.folder), "--", "sh", "-c", "echo 1 > one.txt; while :; do sleep 0.1; done"
    )
    wait_until(lambda: bool(list(shop.home.glob("projects/*/content.git/refs/runs/*/head"))), "the first state")
    working = descendants(recorder.pid)
    assert shop("resume", "last").status == 9
    recorder.kill()
    end(*working)
    recorder.communicate()
    (copy,) = (shop.home / "cache" / "workspaces").iterdir()
    copy.rename(shop.home / "elsewhere")
    assert shop("resume", "last").status == 0
    branch = shop("show", "last", "--json").data["branch"]
    assert shop.git("show", f"{branch}:one.txt") == "1\n"


class FailingJournal:
    """Passes on to runs, but from the `good`-th call on says that the disk is full, until `again` calls have failed."""

    def __init__(self, runs: RunService, *, good: int, again: int) -> None:
        self._runs = runs
        self._good = good
        self._bad = again

    def new_event_id(self) -> EventId:
        return self._runs.new_event_id()

    async def record(self, run: RunId, recording: RecordingStarted) -> RunState:
        return await self._runs.record(run, recording)

    async def load(self, run: RunId) -> RunState:
        return await self._runs.load(run)

    async def execute(
        self, run: RunId, command: Command, *, event: EventId | None = None, at: datetime | None = None
    ) -> RunState:
        self._good -= 1
        if self._good < 0 and self._bad > 0:
            self._bad -= 1
            raise LedgerUnwritable("the disk is full")
        return await self._runs.execute(run, command, event=event, at=at)


def _unread(_channel: Channel, _data: bytes) -> None:
    """Output that nobody looks at."""


def _started(_running: Running) -> None:
    """Nothing is sent to the program."""


async def record(shop: Project, script: str, *, good: int, again: int) -> tuple[Outcome, RunState]:
    async with open_system(shop.all_environ(), print) as system:
        journal = FailingJournal(system.runs, good=good, again=again)
        project = project_id(shop.folder)
        recorder = Recorder(journal, system.content(project), system.clock, NoSessions(), system.redactor)
        run = system.runs.new_id()
        order = Order(
            run, ("sh", "-c", script), project, shop.folder, Path(), shop.home / "copy", shop.all_environ(), shop.home
        )
        outcome = await recorder.record(order, Streams(None, _unread), _started)
        return outcome, await system.runs.load(run)


async def test_a_ledger_that_fails_for_a_while_loses_nothing_and_the_program_goes_on(shop: Project) -> None:
    outcome, state = await record(shop, "echo 1 > one.txt; echo out; echo 2 > two.txt; exit 3", good=0, again=2)
    assert (outcome.exit_status, outcome.lost_looks, outcome.lost_output_bytes) == (3, 0, 0)
    assert isinstance(outcome.trouble, LedgerUnwritable)
    assert {"one.txt", "two.txt"} <= set(files_of(shop.store, state.head_tree))
    assert state.phase == "completed"


async def test_a_ledger_that_fails_to_the_end_is_told_and_the_recording_can_be_ended_later(shop: Project) -> None:
    outcome, state = await record(shop, "echo 1 > one.txt; echo out; exit 4", good=0, again=10_000)
    assert outcome.exit_status == 4
    assert outcome.lost_looks >= 1
    assert outcome.lost_output_bytes == 4
    assert isinstance(outcome.trouble, LedgerUnwritable)
    assert state.phase == "recording"


def test_a_full_disk_under_the_record_never_reaches_the_program(shop: Project, tmp_path: Path) -> None:
    """The content store is made unwritable while the program works; as root only a file in its place does that."""
    done = tmp_path / "done"
    script = (
        'echo 1 > one.txt; store="$(ls -d "$CAVALCADE_HOME"/projects/*/content.git)"; mv "$store/objects" "$store/objects.aside"; '
        'touch "$store/objects"; echo 2 > two.txt; echo still here; echo "$?" > '
        + str(done)
        + '; rm "$store/objects"; '
        'mv "$store/objects.aside" "$store/objects"; echo 3 > three.txt'
    )
    said = shop("record", "--repo", str(shop.folder), "--json", "--", "sh", "-c", script)
    assert said.status == 0, said
    assert done.read_text() == "0\n"
    assert {"one.txt", "two.txt", "three.txt"} <= set(files_of(shop.store, said.data["tree"]))
    git(shop.store, "fsck", "--no-dangling")


def test_who_no_longer_reads_our_output_ends_the_program_as_without_a_recorder(shop: Project) -> None:
    command = [
        sys.executable,
        "-m",
        "cavalcade",
        "record",
        "--repo",
        str(shop.folder),
        "--",
        "sh",
        "-c",
        "yes; echo $? > s",
    ]
    recorder = subprocess.Popen(command, env=shop.all_environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert recorder.stdout is not None
    assert recorder.stdout.read(2) == b"y\n"
    recorder.stdout.close()
    assert recorder.stderr is not None
    recorder.stderr.read()
    recorder.stderr.close()
    assert recorder.wait(60) == 0
    assert shop("show", "last", "--json").data["recording"]["output_bytes"] > 0
