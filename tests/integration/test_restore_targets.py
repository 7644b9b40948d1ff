"""`restore --task`, `--agent`, `--everything`, and `verify --content`, as commands.

Bug classes this catches: a cut whose parts are of different instants, a folder that says it holds what it doesn't, damage that is only
found when it is needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from projects import Project, a_project, files_in, files_of, git

OTHER = "rename prices:sum_prices to add_up"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two runs, the second on a tree that has the result of the first."""
    project = a_project(tmp_path_factory.mktemp("targets"))
    assert project.run("--yes").status == 0
    project.git("merge", "-q", project.branches()[0])
    assert project.run("--yes", objective=OTHER).status == 0
    return project


def numbers(project: Project, run: str, kind: str) -> list[int]:
    said = project("log", run, "--type", kind)
    return [int(line.split()[0].removeprefix("#")) for line in said.out.splitlines()]


def runs(project: Project) -> list[str]:
    return [line["run"] for line in project("runs", "--repo", str(project.folder), "--json").data]


def test_a_task_and_its_agent_are_restored_as_they_were(project: Project, tmp_path: Path) -> None:
    applied = numbers(project, "last", "edit.applied")
    said = project("restore", "last", "--task", "t1", "--at", str(applied[0]), "--into", str(tmp_path / "t"), "--json")
    assert said.status == 0, said
    assert said.data["version"] == applied[0]
    assert files_in(tmp_path / "t") == files_of(project.store, said.data["tree"])
    mine = project("restore", "last", "--agent", "coder/t1", "--at", str(applied[0]), "--into", str(tmp_path / "a"))
    assert mine.status == 0, mine
    assert files_in(tmp_path / "a") == files_in(tmp_path / "t")
    unknown = project("restore", "last", "--task", "t7", "--into", str(tmp_path / "x"))
    assert unknown.status == 6
    assert "a task that had: t1" in unknown.err
    assert not (tmp_path / "x").exists()


def test_a_run_is_also_meant_by_its_branch(project: Project, tmp_path: Path) -> None:
    branch = sorted(project.branches())[0]
    said = project("restore", branch, "--at", "1", "--into", str(tmp_path / "b"), "--json")
    assert said.status == 0, said
    assert f"cavalcade/{said.data['run']}" == branch


def test_everything_of_a_run_is_a_folder_for_each_head_and_says_what_they_are(project: Project, tmp_path: Path) -> None:
    at = numbers(project, "last", "edit.applied")[0]
    said = project("restore", "last", "--everything", "--at", str(at), "--into", str(tmp_path / "cut"), "--json")
    assert said.status == 0, said
    cut = json.loads((tmp_path / "cut/cut.json").read_text())
    assert cut == said.data
    (run,) = cut["runs"]
    assert run["version"] == at
    assert run["tasks"]["t1"]["version"] == at
    assert run["head"]["version"] == 1
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["cut.json", "head", "t1"]
    for head in (run["head"], run["tasks"]["t1"]):
        assert git(project.store, "rev-parse", f"{head['commit']}^{{tree}}").strip() == head["tree"]
        assert files_in(tmp_path / "cut" / head["folder"]) == files_of(project.store, head["tree"])
    assert files_in(tmp_path / "cut/head") != files_in(tmp_path / "cut/t1")


def test_everything_of_a_project_is_each_run_at_one_instant(project: Project, tmp_path: Path) -> None:
    first, second = runs(project)
    said = project("restore", str(project.folder), "--everything", "--into", str(tmp_path / "all"), "--json")
    assert said.status == 0, said
    assert [run["run"] for run in said.data["runs"]] == [first, second]
    for run in said.data["runs"]:
        for head in (run["head"], *run["tasks"].values()):
            assert head["folder"].startswith(f"{run['run']}/")
            assert files_in(tmp_path / "all" / head["folder"]) == files_of(project.store, head["tree"])
    end = json.loads(project("log", first, "--json").out.splitlines()[-1])
    early = project(
        "restore",
        str(project.folder),
        "--everything",
        "--at",
        end["event"]["id"],
        "--into",
        str(tmp_path / "early"),
        "--json",
    )
    assert early.status == 0, early
    assert [run["run"] for run in early.data["runs"]] == [first]
    assert early.data["position"] == end["position"]


def test_a_cut_that_was_interrupted_is_finished_by_the_same_command_and_by_no_other(
    project: Project, tmp_path: Path
) -> None:
    into = tmp_path / "cut"
    command = ("restore", "last", "--everything", "--into", str(into))
    assert project(*command).status == 0
    whole = files_in(into)
    again = project(*command)
    assert again.status == 5
    assert "not empty" in again.err
    blocked = into / "t1/prices.py"
    blocked.unlink()
    (into / "cut.json").unlink()
    (mark,) = marks_of(project, tmp_path)
    (into / mark).touch()
    other = project("restore", "last", "--everything", "--at", "1", "--into", str(into))
    assert other.status == 5
    assert "another restore into it was interrupted" in other.err
    assert project(*command).status == 0
    assert files_in(into) == whole


def marks_of(project: Project, tmp_path: Path) -> list[str]:
    """What the same cut leaves when it is stopped before its first folder."""
    into = tmp_path / "stopped"
    code = (
        "import sys\n"
        "def stop(event, arguments):\n"
        "    if event == 'os.mkdir' and str(arguments[0]).endswith('/head'):\n"
        "        import os\n"
        "        os._exit(9)\n"
        "sys.addaudithook(stop)\n"
        "from cavalcade.__main__ import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "restore", "last", "--everything", "--into", str(into)]
    done = subprocess.run(command, env=project.all_environ(), cwd="/", capture_output=True, check=False)
    assert done.returncode == 9, done
    return [path.name for path in into.iterdir()]


def test_verify_reads_every_object_and_names_the_one_that_is_gone_with_its_event(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    assert project.run("--yes").status == 0
    whole = project("verify", "--content", "--json")
    assert whole.status == 0, whole
    assert whole.data["ledger"]["content"]["objects"] > 10
    blob = project.git("rev-parse", f"{project.branches()[0]}:prices.py").strip()
    file = project.store / "objects" / blob[:2] / blob[2:]
    raw = file.read_bytes()
    file.unlink()
    assert project("verify").status == 0
    for damage in (None, raw[: len(raw) // 2]):
        if damage is not None:
            file.write_bytes(damage)
        said = project("verify", "--content")
        assert said.status == 5
        assert blob in said.err
        assert "position" in said.err
        into = tmp_path / "out"
        refused = project("restore", "last", "--into", str(into))
        assert refused.status == 5
        assert f"{blob}  prices.py" in refused.err
        assert not into.exists()
        assert project("restore", "last", "--branch", "b").status == 5
    assert project("restore", "last", "--in-place").status == 5
    file.unlink()
    file.write_bytes(raw)
    assert project("verify", "--content").status == 0
    file.unlink()  # what the user's repository has is taken from there again
    assert project("restore", "last", "--in-place").status == 0
    assert project("verify", "--content").status == 0
