"""A record goes to another installation in one file, and that one goes on with it.

Bug classes this catches: content that an event names and the file lacks, a damaged or foreign file that is let in by half, a project that
can't be found where it lies now.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from projects import Project, a_project, files_of, git, state_of, wait_until

from cavalcade.kernel.clock import SystemClock
from cavalcade.kernel.entropy import SystemEntropy
from cavalcade.ledger.outbox import Outbox
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_outbox import SqliteAcknowledgements
from cavalcade.testing.sync_http import HttpReceiver, SyncServer

WAITS = 3


def elsewhere(project: Project, tmp: Path, *, name: str = "moved/shop", home: str = "home-b") -> Project:
    """Another installation, with a clone of the repository in another folder."""
    folder = tmp / name
    folder.parent.mkdir(exist_ok=True)
    git(tmp, "clone", "-q", str(project.folder), str(folder))
    return Project(folder.resolve(), (tmp / home).resolve())


def exported(project: Project, file: Path, *more: str) -> Path:
    said = project("ledger", "export", str(file), *more)
    assert said.status == 0, said
    return file


def imported(project: Project, file: Path, *more: str) -> Any:
    said = project("ledger", "import", str(file), "--json", *more)
    assert said.status == 0, said
    return said.data


def moved_from(project: Project, there: Project) -> tuple[str, str]:
    return "--repo", f"{project.folder}={there.folder}"


def run_of(project: Project) -> str:
    return project("runs", "--all", "--json").data[-1]["run"]


def events_in(project: Project) -> int:
    return project("verify", "--json").data["ledger"]["events"]


def opened(home: Path) -> SqliteLedger:
    return SqliteLedger(home / "ledger.sqlite3", clock=SystemClock(), entropy=SystemEntropy())


async def synced(sender: Path, receiver: Path) -> int:
    """Delivered over loopback HTTP from one home to another; how many events."""
    here, there = opened(sender), opened(receiver)
    with SyncServer(there, asyncio.get_running_loop()) as server:
        outbox = Outbox(here, SqliteAcknowledgements(sender / "outbox.sqlite3"), SystemClock())
        sent = await outbox.deliver("first", HttpReceiver(server.port))
    await here.aclose()
    await there.aclose()
    return sent


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return a_project(tmp_path)


def test_a_run_that_waits_is_approved_and_carried_out_elsewhere_and_its_events_come_back(
    shop: Project, tmp_path: Path
) -> None:
    assert shop.run().status == WAITS
    there = elsewhere(shop, tmp_path)
    file = exported(shop, tmp_path / "record.cavalcade")
    shutil.move(shop.folder, tmp_path / "gone")
    run = run_of(shop)
    assert imported(there, file, *moved_from(shop, there))["events"] == events_in(shop)
    assert there("runs", "--repo", str(there.folder), "--json").data[0]["phase"] == "awaiting_human"
    assert there("show", run, "--json").data["repository"] == str(there.folder)
    approved = there("approve", run)
    assert approved.status == 0, approved
    assert there.branches() == [f"cavalcade/{run}"]
    assert "def sum_prices" in git(there.folder, "show", f"cavalcade/{run}:prices.py")
    assert "def sum_prices" in there("diff", run).out
    why = there("why", f"{there.folder}/prices.py:1", "--run", run, "--json")
    assert why.data["edit"]["run"] == run
    restored = there("restore", str(there.folder), "--at", "last", "--into", str(tmp_path / "restored"))
    assert restored.status == 0, restored
    assert "sum_prices" in (tmp_path / "restored" / "prices.py").read_text()
    # The events go back over the wire; the file that went out is behind them, the one that comes back holds their content.
    assert asyncio.run(synced(there.home, shop.home)) > 10
    assert shop("verify").status == 0
    assert shop("log", run, "--json").out.count("\n") == there("log", run, "--json").out.count("\n")
    assert shop("runs", "--all", "--json").data[0]["phase"] == "completed"
    shutil.move(tmp_path / "gone", shop.folder)
    back = imported(shop, exported(there, tmp_path / "back.cavalcade"))
    assert back["events"] == 0, "they are here already"
    assert shop("diff", run).out == there("diff", run).out
    assert shop("show", run, "--json").data["repository"] == str(shop.folder)


def test_what_was_completed_can_be_looked_at_elsewhere_as_it_was_here(shop: Project, tmp_path: Path) -> None:
    assert shop.run("--yes", tests=True).status == 0
    there = elsewhere(shop, tmp_path)
    imported(there, exported(shop, tmp_path / "x"), *moved_from(shop, there))
    run = run_of(shop)
    for command in (("log", run), ("diff", run), ("diff", run, "--at", "3"), ("log", run, "--json")):
        assert there(*command).out == shop(*command).out, command
    for number in range(1, shop("log", run, "--json").out.count("\n") + 1):
        into = tmp_path / f"at-{number}"
        assert there("restore", run, "--at", str(number), "--into", str(into)).status == 0
    assert there("verify", run, "--gates").status == 0


def test_importing_again_changes_nothing(shop: Project, tmp_path: Path) -> None:
    shop.run("--yes")
    file = exported(shop, tmp_path / "x")
    there = elsewhere(shop, tmp_path)
    imported(there, file, *moved_from(shop, there))
    before = state_of(there.store)
    again = imported(there, file, *moved_from(shop, there))
    assert (again["events"], [part["objects"] for part in again["projects"]]) == (0, [0])
    assert state_of(there.store) == before
    assert imported(shop, file)["events"] == 0, "into where it came from"


def test_only_what_came_since_is_taken_over(shop: Project, tmp_path: Path) -> None:
    shop.run()
    there = elsewhere(shop, tmp_path)
    imported(there, exported(shop, tmp_path / "1"), *moved_from(shop, there))
    before, known = set((there.store / "objects/pack").glob("*.idx")), events_in(shop)
    assert shop("approve", "last").status == 0
    more = imported(there, exported(shop, tmp_path / "2"))
    assert more["events"] == events_in(shop) - known > 10
    (new,) = set((there.store / "objects/pack").glob("*.idx")) - before
    assert (
        len(re.findall("^[0-9a-f]{40} ", git(there.store, "verify-pack", "-v", str(new)), re.MULTILINE))
        == (more["projects"][0]["objects"])
    )
    git(there.store, "fsck", "--full", "--strict")


def test_only_what_runs_reach_leaves_the_house(shop: Project, tmp_path: Path) -> None:
    git(shop.folder, "checkout", "-q", "-b", "private")
    (shop.folder / "secret.txt").write_text("mine\n")
    git(shop.folder, "add", ".")
    git(shop.folder, "commit", "-q", "-m", "private")
    secret = git(shop.folder, "rev-parse", "HEAD:secret.txt").strip()
    git(shop.folder, "checkout", "-q", "main")
    shop.run("--yes")
    git(shop.store, "cat-file", "-e", secret)
    there = elsewhere(shop, tmp_path)
    imported(there, exported(shop, tmp_path / "x"), *moved_from(shop, there))
    git(there.store, "cat-file", "-e", secret, status=1)
    main = git(shop.folder, "rev-parse", "main").strip()
    assert files_of(there.store, main) == files_of(shop.store, main)


def test_a_shallow_clone_goes_along_as_one(tmp_path: Path) -> None:
    deep = a_project(tmp_path, name="deep")
    (deep.folder / "more.py").write_text("x = 1\n")
    git(deep.folder, "add", ".")
    git(deep.folder, "commit", "-q", "-m", "more")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{deep.folder}", "shop")
    shop = Project((tmp_path / "shop").resolve(), deep.home)
    assert shop.run("--yes").status == 0
    there = elsewhere(deep, tmp_path)
    imported(there, exported(shop, tmp_path / "x"), "--repo", f"{shop.folder}={there.folder}")
    assert there("diff", "last").out == shop("diff", "last").out
    git(there.store, "fsck", "--full")
    assert there("why", "prices.py:1", "--run", "last", "--repo", str(there.folder)).status == 0


def test_an_export_without_git_at_hand_holds_the_same_objects(shop: Project, tmp_path: Path) -> None:
    shop.run("--yes")
    there, bare = elsewhere(shop, tmp_path), replace(shop, environ={"PATH": str(tmp_path)})
    imported(there, exported(shop, tmp_path / "x"))
    assert imported(there, exported(bare, tmp_path / "y"))["projects"][0]["objects"] == 0
    other = elsewhere(shop, tmp_path, name="third/shop", home="home-c")
    imported(other, tmp_path / "y")
    assert imported(other, tmp_path / "x")["projects"][0]["objects"] == 0


def test_a_recording_and_work_that_was_saved_go_along(shop: Project, tmp_path: Path) -> None:
    done = shop.process("record", "--repo", str(shop.folder), "--", "sh", "-c", "echo recorded > new.txt")
    assert done.status == 0, done
    (shop.folder / "README.md").write_text("precious\n")
    assert shop("restore", "last", "--in-place").status == 0
    there = elsewhere(shop, tmp_path)
    imported(there, exported(shop, tmp_path / "x"), *moved_from(shop, there))
    project = there("ledger", "import", str(tmp_path / "x"), "--json").data["projects"][0]["project"]
    run = run_of(shop)
    assert there("show", run, "--json").data["repository"] == str(there.folder)
    assert there("diff", run).out == shop("diff", run).out != ""
    assert there("restore", run, "--at", "last", "--branch", "recorded").status == 0
    assert git(there.folder, "show", "recorded:new.txt") == "recorded\n"
    saved = there("restore", project, "--saved", "last", "--branch", "saved")
    assert saved.status == 0, saved
    assert git(there.folder, "show", "saved:README.md") == "precious\n"


def test_a_recording_whose_recorder_is_elsewhere_is_ended_without_a_look_at_what_lies_here(
    shop: Project, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "until")
    until = os.open(tmp_path / "until", os.O_RDWR)
    command = ("sh", "-c", f"echo x > new.txt; read _ < {tmp_path / 'until'}")
    with shop.start("record", "--in-place", "--repo", str(shop.folder), "--", *command) as recorder:
        wait_until(lambda: "files.changed" in shop("log", "last").out, "the change on record")
        recorder.kill()
        os.close(until)
    there = elsewhere(shop, tmp_path)
    imported(there, exported(shop, tmp_path / "x"), *moved_from(shop, there))
    (there.folder / "README.md").write_text("mine\n")
    assert there("runs", "--all", "--json").data[0]["phase"] == "cut_off"
    there("resume", "last")
    assert there("runs", "--all", "--json").data[0]["phase"] == "completed"
    assert "mine" not in there("diff", "last").out
    assert "new.txt" in there("diff", "last").out


def test_content_of_one_project_can_be_chosen(shop: Project, tmp_path: Path) -> None:
    other = replace(a_project(tmp_path, name="other"), home=shop.home)
    shop.run("--yes")
    other.run("--yes")
    said = shop("ledger", "export", str(tmp_path / "x"), "--project", str(other.folder), "--json")
    assert {part["repository"]: part["left_out"] for part in said.data["projects"]} == {
        str(shop.folder): True,
        str(other.folder): False,
    }
    there = elsewhere(other, tmp_path)
    told = there("ledger", "import", str(tmp_path / "x"), "--repo", f"{other.folder}={there.folder}")
    assert "is not in the file" in told.err
    assert len(there("runs", "--all", "--json").data) == 2
    assert there("diff", "last").out == other("diff", "last").out
    unknown = shop("ledger", "export", str(tmp_path / "y"), "--project", "p" + "0" * 16)
    assert (unknown.status, (tmp_path / "y").exists()) == (2, False)


def test_events_that_came_without_their_content_are_exported_as_such(shop: Project, tmp_path: Path) -> None:
    shop.run("--yes")
    there = elsewhere(shop, tmp_path)
    there.home.mkdir()
    asyncio.run(synced(shop.home, there.home))
    said = there("ledger", "export", str(tmp_path / "x"), "--json")
    assert said.data["projects"][0]["lacking"] > 5
    third = elsewhere(shop, tmp_path, name="third/shop", home="home-c")
    assert imported(third, tmp_path / "x")["events"] == events_in(shop)
    # The content comes later, from where it is.
    assert imported(third, exported(shop, tmp_path / "y"), *moved_from(shop, third))["events"] == 0
    assert third("diff", "last").out == shop("diff", "last").out


def test_content_that_is_gone_is_named_and_nothing_is_exported(shop: Project, tmp_path: Path) -> None:
    shop.run("--yes")
    commit = git(shop.folder, "rev-parse", f"cavalcade/{run_of(shop)}").strip()
    (shop.store / "objects" / commit[:2] / commit[2:]).unlink()
    said = shop("ledger", "export", str(tmp_path / "x"))
    assert (said.status, commit in said.err) == (5, True), said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "shop"]


def test_an_export_is_never_written_over_anything(shop: Project, tmp_path: Path) -> None:
    shop.run()
    (tmp_path / "x").write_text("mine")
    said = shop("ledger", "export", str(tmp_path / "x"))
    assert (said.status, (tmp_path / "x").read_text()) == (2, "mine")
    nowhere = shop("ledger", "export", str(tmp_path / "no/such/x"))
    assert (nowhere.status, "can't be written" in nowhere.err) == (6, True)


def test_a_reference_that_is_elsewhere_stays_and_is_named(shop: Project, tmp_path: Path) -> None:
    shop.run()
    file = exported(shop, tmp_path / "x")
    there = elsewhere(shop, tmp_path)
    imported(there, file)
    name = f"refs/runs/{run_of(shop)}/base"
    other = git(there.store, "commit-tree", "-m", "x", f"{name}^{{tree}}").strip()
    git(there.store, "update-ref", name, other)
    told = there("ledger", "import", str(file))
    assert (told.status, name in told.err) == (0, True)
    assert git(there.store, "rev-parse", name).strip() == other


@pytest.mark.parametrize("mapping", ["nowhere", "=x", "/no/such=.", ""])
def test_a_mapping_that_says_nothing_is_refused_before_anything_is_taken_over(
    shop: Project, tmp_path: Path, mapping: str
) -> None:
    shop.run()
    file = exported(shop, tmp_path / "x")
    there = elsewhere(shop, tmp_path)
    assert there("ledger", "import", str(file), "--repo", mapping).status == 2
    assert there("runs", "--all", "--json").data == []


def test_who_is_not_told_where_the_repository_lies_is_asked(shop: Project, tmp_path: Path) -> None:
    shop.run()
    file = exported(shop, tmp_path / "x")
    there = elsewhere(shop, tmp_path)
    shutil.move(shop.folder, tmp_path / "gone")
    assert f"--repo {shop.folder}=DIR" in there("ledger", "import", str(file)).err
    said = there("approve", "last")
    assert (said.status, "doesn't exist" in said.err) == (5, True), said
    imported(there, file, *moved_from(shop, there))
    assert there("resume", "last").status == 0


def test_a_copy_that_went_on_by_itself_is_refused(shop: Project, tmp_path: Path) -> None:
    shop.run()
    copy = replace(shop, home=tmp_path / "copy")
    shutil.copytree(shop.home, copy.home)
    assert shop("abort", "last").status == 0
    assert copy("approve", "last").status == 0
    for one, other in ((shop, copy), (copy, shop)):
        file = exported(one, tmp_path / f"from-{one.home.name}")
        said = other("ledger", "import", str(file))
        assert (said.status, "verify" in said.err) == (6, True), said
    third = elsewhere(shop, tmp_path)
    imported(third, tmp_path / "from-copy")
    said = third("ledger", "import", str(tmp_path / "from-home"), "--json")
    assert said.data["code"] == "chain-diverged"


def test_two_imports_at_once_and_a_run_under_way_disturb_nobody(shop: Project, tmp_path: Path) -> None:
    shop.run("--yes")
    file = exported(shop, tmp_path / "x")
    there = elsewhere(shop, tmp_path)
    mine = replace(a_project(tmp_path, name="mine"), home=there.home)
    with ThreadPoolExecutor(3) as pool:
        run = pool.submit(
            mine.process, "run", "rename prices:total to sum_prices", "--yes", "--no-tests", "--repo", str(mine.folder)
        )
        both = [pool.submit(there.process, "ledger", "import", str(file), *moved_from(shop, there)) for _ in range(2)]
        said = [run.result(), *(one.result() for one in both)]
    assert [one.status for one in said] == [0, 0, 0], said
    assert there("verify").status == 0
    assert {line["phase"] for line in there("runs", "--all", "--json").data} == {"completed"}
    assert len(there("runs", "--all", "--json").data) == 2
    assert there("diff", run_of(shop)).out == shop("diff", run_of(shop)).out
