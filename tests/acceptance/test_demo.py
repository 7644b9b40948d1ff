"""`make demo` keeps its promises. Set-up apart, which `.ci/run` does: this is its script, on the environment that runs the tests."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from documents import demo_block
from repositories import AUTHOR, ROOT

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

_NEW = "RunInMemory"


class Shown(NamedTuple):
    folder: Path
    text: str

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder / "project", capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    @property
    def branch(self) -> str:
        return self.git("for-each-ref", "--format=%(refname:short)", "refs/heads/cavalcade")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    folder = tmp_path_factory.mktemp("demo")
    home = folder / "home"
    home.mkdir()
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "demo.sh"), str(folder / "demo")],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "CAVALCADE_YES": "1", **AUTHOR},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert not list(home.iterdir()), "something was left outside of the demo's folder"
    return Shown(folder / "demo", done.stdout)


def _with_the_new_name(files: list[str], folder: Path) -> set[str]:
    return {file for file in files if re.search(rf"\b{_NEW}\b", (folder / file).read_text())}


def test_the_readme_names_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert demo_block().text == "make demo\n"
    assert re.search(r"^demo:.*\n\t@bash scripts/demo\.sh$", makefile, re.MULTILINE)


def test_it_shows_plan_gates_tests_report_and_record(shown: Shown) -> None:
    for promised in (
        r"waits for your approval",
        r"plan +1 \(hash \w+\): \d files",
        r"t1 edit 3 applied",
        r"references passed on the whole tree",
        r"tests passed on the whole tree in .*: (\d+) passed before, \1 after",
        r"run \w+ completed",
        r"0 lost",
        r"restored #\d+",
        rf"\+class {_NEW}",
        r"approved +by ",
        r"ledger +whole",
    ):
        assert re.search(promised, shown.text), f"{promised} is not in:\n{shown.text}"


def test_it_is_plain_text_in_a_pipe(shown: Shown) -> None:
    assert "\x1b" not in shown.text


def test_the_result_is_a_branch_and_nothing_else_of_the_copy_changed(shown: Shown) -> None:
    assert shown.git("status", "--porcelain") == ""
    assert shown.git("branch", "--show-current") != shown.branch
    assert shown.git("rev-parse", "HEAD") == shown.git("rev-parse", "origin/HEAD")
    assert shown.git("diff", "--name-only", "HEAD", shown.branch)


def test_the_middle_is_neither_the_start_nor_the_end(shown: Shown, tmp_path: Path) -> None:
    shown.git("worktree", "add", "--detach", str(tmp_path / "result"), shown.branch)
    changed = shown.git("diff", "--name-only", "HEAD", shown.branch).splitlines()
    start = _with_the_new_name(changed, shown.folder / "project")
    middle = _with_the_new_name(changed, shown.folder / "middle")
    assert start == set()
    assert middle
    assert middle < set(changed) == _with_the_new_name(changed, tmp_path / "result")
    told = f"0 have the new name at the start, {len(middle)} in the middle, {len(changed)} in the result"
    assert told in shown.text


def test_it_renames_in_code_and_in_tests(shown: Shown) -> None:
    changed = shown.git("diff", "--name-only", "HEAD", shown.branch).splitlines()
    assert any(path.startswith("src/") for path in changed)
    assert any(path.startswith("tests/") for path in changed)
