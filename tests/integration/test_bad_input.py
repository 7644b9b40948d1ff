"""What is wrong is said: what, what was expected, what to do; with the exit status that is promised, and nothing is lost.

Bug class this catches: a traceback or a wrong exit status where help belongs, a project touched by a command that was refused, a record
that a failed run leaves damaged.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from projects import (
    OBJECTIVE,
    SHOP,
    Project,
    Said,
    a_project,
    assert_untouched,
    descendants,
    git,
    state_of,
    wait_until,
    write_files,
)


def shop(tmp_path: Path, **files: str) -> Project:
    return a_project(tmp_path, {**SHOP, **files})


@contextmanager
def nothing_lost(project: Project) -> Generator[None]:
    """The repository stays as it is, the record holds together, and a run from before can still be shown."""
    earlier = project.run(objective="rename prices:total to earlier_name")
    assert earlier.status == 3, earlier
    run = project("runs", "--all", "--json").data[0]["run"]
    before = state_of(project.folder)
    yield
    assert_untouched(before, project.folder)
    assert project("verify").status == 0
    assert project("show", run, "--json").data["phase"] == "awaiting_human"


def assert_says(said: Said, status: int, *parts: str) -> None:
    assert said.status == status, said
    for part in parts:
        assert part in said.err, f"{part!r} is missing in\n{said}"
    assert "Traceback" not in said.err
    assert "defect" not in said.err


@pytest.mark.parametrize(
    ("objective", "parts"),
    [
        ("rename prices:totl to x", ("prices has no 'totl'", "hint: did you mean", "prices:total")),
        ("rename pricse:total to x", ("pricse", "hint: did you mean prices?")),
        ("rename prices:total to class", ("'class' is a keyword of Python", "hint:")),
        ("rename prices:total to 9x", ("'9x' is no Python name", "expected: letters, digits and underscores")),
        ("rename prices:total to taken", ("'taken' is taken", "prices.py:5", "expected: a name")),
        (
            "rename total to x",
            ("'total' is defined in 2 modules", "prices:total", "other:total", "hint: write it as package.module:name"),
        ),
        ("make it faster", ("no recipe is known for 'make it faster'", "expected:", "rename", "hint:", "need a model")),
    ],
    ids=["unknown symbol", "unknown module", "keyword", "no identifier", "taken", "ambiguous", "free text"],
)
def test_an_objective_that_cannot_be_carried_out_is_refused_with_what_helps(
    objective: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    project = shop(
        tmp_path,
        **{
            "prices.py": SHOP["prices.py"] + "\n\ndef taken():\n    return 1\n",
            "other.py": "def total():\n    return 2\n",
        },
    )
    with nothing_lost(project):
        said = project.run("--yes", objective=objective)
        assert_says(said, 2, *parts)
        assert project.branches() == []


def test_files_with_syntax_errors_are_listed_and_the_run_completes(tmp_path: Path) -> None:
    broken = {"broken.py": "def (:\n", "worse.py": "from prices import total\nif total(\n"}
    project = shop(tmp_path, **broken)
    before = state_of(project.folder)
    said = project.run("--yes", "--json")
    assert said.status == 0, said
    listed = {problem["path"] for problem in said.data["plan"]["problems"]}
    assert "worse.py" in listed
    assert_untouched(before, project.folder)
    assert "sum_prices" in project.git("show", f"{project.branches()[0]}:prices.py")


def test_a_detached_head_is_no_obstacle(tmp_path: Path) -> None:
    project = shop(tmp_path)
    project.git("checkout", "-q", "--detach")
    before = state_of(project.folder)
    said = project.run("--yes")
    assert said.status == 0, said
    assert_untouched(before, project.folder)
    assert project.git("rev-parse", f"{project.branches()[0]}^") == project.git("rev-parse", "HEAD")


def in_a_merge(project: Project, *, conflict: bool) -> None:
    project.git("checkout", "-q", "-b", "side")
    write_files(project.folder, {"prices.py" if conflict else "side.py": "def total(items):\n    return 1\n"})
    project.git("add", ".")
    project.git("commit", "-q", "-m", "Side")
    project.git("checkout", "-q", "main")
    write_files(project.folder, {"prices.py": "def total(items):\n    return 2\n"})
    project.git("commit", "-q", "-a", "-m", "Main")
    project.git("merge", "-q", "--no-commit", "--no-ff", "side", status=1 if conflict else 0)


def test_a_merge_in_progress_is_taken_as_it_is(tmp_path: Path) -> None:
    project = shop(tmp_path)
    in_a_merge(project, conflict=False)
    before = state_of(project.folder)
    said = project.run("--yes", "--json")
    assert said.status == 0, said
    assert any("merge in progress" in note for note in said.data["base"]["notes"])
    assert_untouched(before, project.folder)
    assert "side.py" in project.git("ls-tree", "--name-only", project.branches()[0])


def test_unmerged_files_are_named_and_can_be_left_out(tmp_path: Path) -> None:
    project = shop(tmp_path)
    in_a_merge(project, conflict=True)
    before = state_of(project.folder)
    said = project.run("--yes")
    assert_says(
        said, 5, "unresolved merge conflicts", "expected: every conflict resolved", "prices.py", "hint:", "--head"
    )
    assert_untouched(before, project.folder)
    said = project.run("--yes", "--head")
    assert said.status == 0, said
    assert_untouched(before, project.folder)


def test_a_folder_that_is_no_repository_an_empty_one_and_a_bare_one_are_refused(tmp_path: Path) -> None:
    project = shop(tmp_path)
    empty, bare, plain = tmp_path / "empty", tmp_path / "bare", tmp_path / "plain"
    plain.mkdir()
    git(tmp_path, "init", "-q", str(empty))
    git(tmp_path, "clone", "-q", "--bare", str(project.folder), str(bare))
    with nothing_lost(project):
        for folder, parts in (
            (plain, ("not in a git repository", "git init")),
            (empty, ("has no commit yet", "git commit")),
            (bare, ("bare repository", "git clone")),
            (tmp_path / "nowhere", ("not a folder", "expected: a folder inside a git repository")),
        ):
            before = state_of(folder)
            said = project("run", OBJECTIVE, "--repo", str(folder), "--yes")
            assert_says(said, 2 if folder.name == "nowhere" else 5, "hint:" if folder.name != "nowhere" else "", *parts)
            assert state_of(folder) == before


def test_runs_are_named_by_what_is_unique_and_known(tmp_path: Path) -> None:
    project = shop(tmp_path)
    with nothing_lost(project):
        project.run()
        runs = [run["run"] for run in project("runs", "--all", "--json").data]
        assert_says(project("show", "nonsense"), 6, "there is no run 'nonsense'", "hint: `cavalcade runs`", runs[0])
        assert_says(project("resume", "r"), 2, "2 runs begin or end with 'r'", "expected: one run", "give more", *runs)
        said = project("restore", "last", "--at", "#999", "--into", str(tmp_path / "x"))
        assert_says(said, 6, "no event #999", "expected: 1 to")
        assert not (tmp_path / "x").exists()


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    project = shop(tmp_path)
    with nothing_lost(project):
        said = project("run", OBJECTIVE, "--repo", str(project.folder), "--python", str(tmp_path / "python9"))
        assert_says(said, 2, f"there is no Python at {tmp_path / 'python9'}", "expected:", "hint: --python")


def test_what_is_said_to_a_run_is_checked_against_where_it_stands(tmp_path: Path) -> None:
    project = shop(tmp_path)
    with nothing_lost(project):
        assert project.run().status == 3
        shown = project("show", "last", "--json").data["plan"]["hash"]
        assert_says(project("approve", "last", "--hash", "0" * 64), 2, shown[:12], "expected: its hash", "hint:")
        assert_says(project("approve", "last", "--hash", shown[:3]), 2, "expected: its hash")
        assert_says(project("inject", "last", "gibberish"), 2, "'gibberish' is neither", "expected:", "mentions docs")
        assert project("show", "last", "--json").data["phase"] == "awaiting_human"
        assert project("approve", "last", "--hash", shown, "--no-wait").status == 0
        assert project("approve", "last", "--no-wait").status == 0
        assert_says(project("inject", "last", "only prices.py"), 4, "feedback can be given while a plan waits", "hint:")
        assert project("resume", "last").status == 0
        assert_says(project("approve", "last"), 4, "the run is completed", "hint: start a new run")
        assert_says(project("abort", "last"), 4, "the run is completed")
        assert [e["event"]["type"] for e in events(project)].count("cavalcade.plan.approved.v1") == 1


def events(project: Project) -> list[dict[str, dict[str, str]]]:
    return [json.loads(line) for line in project("log", "last", "--json").out.splitlines()]


def test_an_aborted_run_stays_aborted(tmp_path: Path) -> None:
    project = shop(tmp_path)
    with nothing_lost(project):
        assert project.run().status == 3
        assert project("abort", "last", "--reason", "no time").status == 0
        said = project("resume", "last")
        assert_says(said, 10, "nothing to resume: the run is aborted")
        assert_says(project("approve", "last"), 4, "the run is aborted")
        assert project.branches() == []


def test_without_a_sandbox_tests_are_refused_until_there_is_one(tmp_path: Path) -> None:
    project = shop(tmp_path)
    without = tmp_path / "bin"
    without.mkdir()
    with nothing_lost(project):
        hidden = {"PATH": str(without), "CAVALCADE_SANDBOX": "bubblewrap"}
        said = project.run("--yes", tests=True, **hidden)
        assert_says(said, 7, "bubblewrap", "hint:", "install", "cavalcade resume")
        assert_says(project("resume", "last", **hidden), 7, "bubblewrap")
        assert project.branches() == []
        said = project("resume", "last")
        assert said.status == 0, said
        assert "tests" in said.out
        assert "1 passed before, 1 after" in said.err + said.out


def test_an_interpreter_without_pytest_is_said_in_the_plan_which_waits(tmp_path: Path) -> None:
    project = shop(tmp_path)
    bare = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with nothing_lost(project):
        said = project("run", OBJECTIVE, "--repo", str(project.folder), "--python", str(bare / "bin/python"))
        assert said.status == 3, said
        assert f"not run: pytest can't be imported by {bare}" in said.out
        assert "install pytest" in said.out
        refused = project("show", "last", "--json").data["plan"]["tests"]["refused"]
        assert "No module named 'pytest'" in refused
        assert project.branches() == []


@pytest.mark.parametrize("in_the_way", ["cavalcade", "cavalcade/{run}", "cavalcade/{run}/more"])
def test_a_branch_of_the_users_in_the_way_of_the_result_stays_and_the_run_completes_when_it_is_gone(
    in_the_way: str, tmp_path: Path
) -> None:
    project = shop(tmp_path)
    assert project.run().status == 3
    run = project("runs", "--json", "--repo", str(project.folder)).data[0]["run"]
    branch = in_the_way.format(run=run)
    project.git("branch", branch)
    before = state_of(project.folder)
    said = project("approve", "last")
    assert_says(said, 5, f"branch cavalcade/{run} can't be created", "expected:", f"git branch -m {branch} ", "resume")
    assert_untouched(before, project.folder)
    project.git("branch", "-m", branch, "mine")
    said = project("resume", "last")
    assert said.status == 0, said
    assert project.branches() == [f"cavalcade/{run}"]
    assert project.git("rev-parse", "mine") == project.git("rev-parse", "main")


def test_the_result_stands_on_the_approved_base_wherever_head_goes_meanwhile(tmp_path: Path) -> None:
    project = shop(tmp_path)
    base = project.git("rev-parse", "HEAD")
    assert project.run().status == 3
    write_files(project.folder, {"prices.py": "def total(items):\n    return 0\n"})
    project.git("commit", "-q", "-a", "-m", "Moved on")
    project.git("checkout", "-q", "-b", "elsewhere")
    before = state_of(project.folder)
    said = project("approve", "last")
    assert said.status == 0, said
    assert_untouched(before, project.folder)
    assert project.git("rev-parse", f"{project.branches()[0]}^") == base
    assert "return sum(items)" in project.git("show", f"{project.branches()[0]}:prices.py")


def test_a_damaged_ledger_is_refused_by_every_command_and_nothing_is_written(tmp_path: Path) -> None:
    project = shop(tmp_path)
    assert project.run("--yes").status == 0
    assert project.run(objective="rename prices:total to other").status == 3
    ledger = project.home / "ledger.sqlite3"
    data = ledger.read_bytes()
    at = data.index(b"cavalcade.edit.proposed.v1")
    whole = data
    ledger.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    lying = state_of(project.home)
    before = state_of(project.folder)
    for arguments in (
        ("run", OBJECTIVE, "--repo", str(project.folder), "--yes"),
        ("runs", "--all"),
        ("show", "last"),
        ("log", "last"),
        ("approve", "last"),
        ("inject", "last", "mentions docs"),
        ("abort", "last"),
        ("resume", "last"),
        ("diff", "last"),
        ("restore", "last", "--at", "last", "--into", str(tmp_path / "out")),
        ("why", "prices.py:1", "--repo", str(project.folder)),
        ("verify",),
    ):
        said = project(*arguments)
        assert_says(said, 6, "damaged at position", "hint:")
        assert state_of(project.home) == lying, arguments
        assert state_of(project.folder) == before, arguments
        assert not (tmp_path / "out").exists()
    ledger.write_bytes(whole)
    assert project("verify").status == 0
    assert project("approve", "last").status == 0


def as_anybody() -> tuple[str, ...]:
    """What makes root obey the permissions of files like everybody else."""
    if os.geteuid() != 0:
        return ()
    dropped = "-dac_override,-dac_read_search,-fowner"
    return ("setpriv", f"--inh-caps={dropped}", f"--bounding-set={dropped}")


def set_writable(folder: Path, *, writable: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o200 if writable else mode & ~0o222)


def test_a_read_only_repository_gets_no_branch_until_it_can_be_written(tmp_path: Path) -> None:
    project = shop(tmp_path)
    run = ("run", OBJECTIVE, "--repo", str(project.folder), "--yes", "--no-tests")
    set_writable(project.folder, writable=False)
    before = state_of(project.folder)
    said = project.process(*run, before=as_anybody())
    assert_says(said, 5, "can't be created", "Permission denied", "make it writable", "cavalcade resume")
    assert state_of(project.folder) == before
    set_writable(project.folder, writable=True)
    said = project.process("resume", "last", before=as_anybody())
    assert said.status == 0, said


def test_a_read_only_data_folder_is_said_before_anything_is_done(tmp_path: Path) -> None:
    project = shop(tmp_path)
    run = ("run", OBJECTIVE, "--repo", str(project.folder), "--yes", "--no-tests")
    project.home.mkdir()
    set_writable(project.home, writable=False)
    before = state_of(project.folder)
    assert_says(
        project.process(*run, before=as_anybody()),
        6,
        str(project.home),
        "hint:",
        "writable",
    )
    set_writable(project.home, writable=True)
    assert project.process(*run, before=as_anybody()).status == 0
    set_writable(project.home, writable=False)
    for arguments in (run, ("show", "last"), ("resume", "last"), ("verify",)):
        assert_says(project.process(*arguments, before=as_anybody()), 6, str(project.home), "hint:")
    assert_untouched(before, project.folder)
    set_writable(project.home, writable=True)
    assert project.process("verify", before=as_anybody()).status == 0


@pytest.mark.parametrize("limit_bytes", [95_000, 135_000])
def test_a_record_that_finds_no_room_is_said_and_the_run_goes_on_when_there_is_some(
    limit_bytes: int, tmp_path: Path
) -> None:
    project = shop(tmp_path)
    before = state_of(project.folder)
    run = ("run", OBJECTIVE, "--repo", str(project.folder), "--yes", "--no-tests")
    said = project.process(*run, before=("prlimit", f"--fsize={limit_bytes}"))
    assert_says(said, 6, "ledger", "can't be used", "hint: make room on the disk", "cavalcade resume")
    assert project("verify").status == 0
    said = project("resume", "last")
    assert said.status == 0, said
    assert len(project.branches()) == 1
    assert project("verify").status == 0
    assert_untouched(before, project.folder)


def test_a_run_that_is_interrupted_says_how_to_go_on_and_does(tmp_path: Path) -> None:
    project = shop(tmp_path)
    before = state_of(project.folder)
    process = project.start("run", OBJECTIVE, "--repo", str(project.folder), "--yes", "--python", sys.executable)
    wait_until(lambda: any("pytest" in each.command for each in descendants(process.pid)), "a test run")
    below = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert_says(Said(process.returncode, out, err), 130, "error: interrupted", "cavalcade resume")
    assert [each for each in below if each.alive] == []
    assert_untouched(before, project.folder)
    assert project.branches() == []
    said = project("resume", "last")
    assert said.status == 0, said
    assert len(project.branches()) == 1
    assert project("verify").status == 0


def test_files_whose_names_are_not_text_are_shown_with_escapes_and_named_when_in_the_way(tmp_path: Path) -> None:
    project = shop(tmp_path)
    strange = os.fsencode(project.folder) + b"/caf\xe9"
    os.mkdir(strange)
    with open(strange + b"/notes.md", "wb") as file:
        file.write(b"Call `total` for the caf\xe9.\n")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "Another encoding")
    said = project.run("--yes", "--json")
    assert said.status == 0, said
    assert "caf\\xe9/notes.md" in {mention["path"] for mention in said.data["plan"]["mentions"]}
    with open(strange + b"/use.py", "wb") as file:
        file.write(b"from prices import total\n\ntotal([])\n")
    said = project.run("--yes")
    assert_says(said, 2, "names are not UTF-8 text", "expected: names in UTF-8", "caf\\xe9/use.py", "hint: rename them")


def test_tests_that_do_not_come_to_their_end_prove_nothing_so_nothing_lands(tmp_path: Path) -> None:
    endless = "import threading\n\nfrom prices import total\n\n\ndef test_a():\n    total([])\n\n\n"
    endless += "def test_b():\n    threading.Event().wait()\n"
    project = shop(tmp_path, **{"test_prices.py": endless, "cavalcade.toml": "[tests]\ntimeout_s = 2\n"})
    said = project.run("--yes", tests=True)
    assert said.status == 10, said
    assert project.branches() == []
    assert "the tests did not run to their end" in said.out
    assert "not finished" in said.out
    assert "before: ended by the wall limit" in said.out
    assert "after: ended by the wall limit" in said.out


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("why", "HERE/prices.py:99"), 2),
        (("why", "HERE/empty.txt:1"), 2),
        (("why", f"HERE/prices.py:{'9' * 5000}"), 2),
        (("restore", "last", "--at", "999", "--into", "HERE/earlier"), 6),
        (("restore", "HERE", "--at", "2000-01-01", "--into", "HERE/earlier"), 6),
        (("conflicts", "resolve", "c0ffee", "--repo", "HERE"), 2),
        (("ledger", "import", "HERE/absent"), 6),
        (("ledger", "import", "HERE/prices.py"), 6),
    ],
)
def test_who_asks_for_what_is_not_there_hears_what_there_is_and_where_to_look(
    tmp_path: Path, command: tuple[str, ...], status: int
) -> None:
    project = shop(tmp_path, **{"empty.txt": ""})
    assert project.run().status == 3
    words = [word.replace("HERE", str(project.folder)) for word in command]
    assert_says(project(*words), status, "expected: ", "hint: ")
    assert not (project.folder / "earlier").exists()
