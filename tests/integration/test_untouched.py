"""Whatever state a person's repository is in, a whole run leaves working tree, index, references, configuration, hooks and stash
as they were to the bit, and its result branch holds what the person had plus the change.

Bug class this catches: an index that is refreshed, a lock or log left behind, uncommitted work mixed into the change or left out of it,
ignored files taken along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from projects import OBJECTIVE, SHOP, Project, a_project, assert_untouched, git, state_of, write_files

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d7a" * 16 + "\nsize 12345\n"
MORE = "from prices import total\n\nMORE = total([1])\n"
PROBE = "tripped.txt"


class Case(NamedTuple):
    """A project, what of the person's work is not committed (path to its text, None for one that is gone), and what is nobody's."""

    project: Project
    uncommitted: dict[str, str | None]
    left_out: tuple[str, ...] = ()
    git_folder: str = ".git"


def dirty(tmp: Path) -> Case:
    project = a_project(tmp)
    write_files(project.folder, {"test_prices.py": SHOP["test_prices.py"] + "\n\nMORE = total([])\n"})
    (project.folder / "README.md").unlink()
    return Case(project, {"test_prices.py": SHOP["test_prices.py"] + "\n\nMORE = total([])\n", "README.md": None})


def staged(tmp: Path) -> Case:
    """Staged work, and other work on top of it that is not."""
    project = a_project(tmp)
    write_files(project.folder, {"staged.py": "X = 1\n", "both.py": "X = 1\n"})
    project.git("add", ".")
    write_files(project.folder, {"both.py": "X = 2\n"})
    project.git("rm", "-q", "--cached", "README.md")
    return Case(project, {"staged.py": "X = 1\n", "both.py": "X = 2\n"})


def untracked(tmp: Path) -> Case:
    project = a_project(tmp)
    write_files(project.folder, {"more.py": MORE, "deep/er/notes.txt": "a note\n"})
    return Case(project, {"more.py": MORE, "deep/er/notes.txt": "a note\n"})


def ignored(tmp: Path) -> Case:
    project = a_project(tmp, {**SHOP, ".gitignore": "*.log\n/build/\n"})
    write_files(project.folder, {"run.log": "secret\n", "build/out.py": MORE, "kept.py": "X = 1\n"})
    (project.folder / ".git/info/exclude").write_text("private.py\n")
    write_files(project.folder, {"private.py": MORE})
    return Case(project, {"kept.py": "X = 1\n"}, ("run.log", "build/out.py", "private.py"))


def with_submodule(tmp: Path) -> Case:
    library = a_project(tmp, {"library.py": "from prices import total\n"}, name="library")
    project = a_project(tmp)
    project.git("submodule", "--quiet", "add", str(library.folder), "vendor")
    project.git("commit", "-q", "-m", "A library")
    write_files(project.folder, {"vendor/library.py": "X = 1\n", "more.py": MORE})
    return Case(project, {"more.py": MORE}, ("vendor/library.py",))


def with_pointers(tmp: Path) -> Case:
    attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
    project = a_project(tmp, {**SHOP, ".gitattributes": attributes, "big.bin": POINTER})
    write_files(project.folder, {"more.py": MORE})
    return Case(project, {"more.py": MORE, "big.bin": POINTER})


def shallow(tmp: Path) -> Case:
    source = a_project(tmp, name="source")
    write_files(source.folder, {"second.py": "X = 1\n"})
    source.git("add", ".")
    source.git("commit", "-q", "-m", "Second")
    git(tmp, "clone", "-q", "--depth", "1", f"file://{source.folder}", "clone")
    write_files(tmp / "clone", {"more.py": MORE})
    return Case(Project((tmp / "clone").resolve(), source.home), {"more.py": MORE})


def linked_worktree(tmp: Path) -> Case:
    main = a_project(tmp)
    write_files(main.folder, {"elsewhere.py": "X = 1\n"})
    main.git("worktree", "add", "-q", "-b", "side", str(tmp / "linked"))
    write_files(tmp / "linked", {"more.py": MORE})
    project = Project((tmp / "linked").resolve(), main.home)
    return Case(project, {"more.py": MORE}, ("elsewhere.py",), str(main.folder / ".git"))


CASES = [dirty, staged, untracked, ignored, with_submodule, with_pointers, shallow, linked_worktree]


def furnished(case: Case) -> None:
    """A stash, configuration, a note, and hooks that would tell if anybody ran them."""
    folder = case.project.folder
    hooks = Path(case.git_folder) if Path(case.git_folder).is_absolute() else folder / case.git_folder
    lying = {path: folder.joinpath(path).read_bytes() for path in case.uncommitted if (folder / path).exists()}
    write_files(folder, {"prices.py": SHOP["prices.py"] + "\n\nSTASHED = 1\n"})
    git(folder, "stash", "push", "-q", "--", "prices.py")
    git(folder, "config", "user.name", "somebody")
    git(folder, "tag", "-a", "-m", "first", "v1")
    for name in ("post-checkout", "reference-transaction", "post-commit", "pre-commit", "post-index-change"):
        hook = hooks / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {folder / PROBE}\n")
        hook.chmod(0o755)
    (folder / PROBE).unlink(missing_ok=True)
    assert {path: folder.joinpath(path).read_bytes() for path in lying} == lying


def everything(tmp: Path, case: Case) -> Callable[[], None]:
    """Checks that all repositories below `tmp` are as they are now."""
    folders = [path for path in tmp.iterdir() if path.is_dir() and path != case.project.home]
    before = {folder: state_of(folder) for folder in folders}
    home = Path(case.git_folder).parent if Path(case.git_folder).is_absolute() else case.project.folder

    def check() -> None:
        for folder in folders:
            if folder == home:
                assert_untouched(before[folder], folder)
            else:
                assert state_of(folder) == before[folder]

    return check


def listed(folder: Path, commit: str) -> set[str]:
    return set(git(folder, "ls-tree", "-r", "--name-only", commit).split())


@pytest.mark.parametrize("make", CASES, ids=[make.__name__ for make in CASES])
def test_a_whole_run_touches_nothing_and_takes_uncommitted_work_along_in_a_commit_of_its_own(
    make: Callable[[Path], Case], tmp_path: Path
) -> None:
    case = make(tmp_path.resolve())
    furnished(case)
    check = everything(tmp_path.resolve(), case)
    status = git(case.project.folder, "--no-optional-locks", "status", "--porcelain")
    said = case.project.run("--yes", "--json", tests=make is untracked)
    assert said.status == 0, said
    check()
    assert git(case.project.folder, "--no-optional-locks", "status", "--porcelain") == status
    folder, branch = case.project.folder, said.data["branch"]
    assert git(folder, "rev-parse", f"{branch}~2") == git(folder, "rev-parse", "HEAD")
    own = f"{branch}~1"
    there = listed(folder, own)
    assert {path: git(folder, "show", f"{own}:{path}") if path in there else None for path in case.uncommitted} == (
        case.uncommitted
    )
    assert listed(folder, branch) == there
    assert there.isdisjoint(case.left_out)
    assert git(folder, "show", f"{own}:prices.py") == SHOP["prices.py"]
    assert git(folder, "show", f"{branch}:prices.py") == SHOP["prices.py"].replace("total", "sum_prices")
    calling = {"prices.py", "test_prices.py"} | {path for path, text in case.uncommitted.items() if text == MORE}
    assert set(git(folder, "diff", "--name-only", own, branch).split()) == calling


@pytest.mark.parametrize("make", CASES, ids=[make.__name__ for make in CASES])
def test_a_run_on_the_head_leaves_uncommitted_work_out(make: Callable[[Path], Case], tmp_path: Path) -> None:
    case = make(tmp_path.resolve())
    furnished(case)
    check = everything(tmp_path.resolve(), case)
    said = case.project.run("--yes", "--head", "--json")
    assert said.status == 0, said
    check()
    folder, branch = case.project.folder, said.data["branch"]
    assert git(folder, "rev-parse", f"{branch}~1") == git(folder, "rev-parse", "HEAD")
    assert listed(folder, branch) == listed(folder, "HEAD")
    changed = set(git(folder, "diff", "--name-only", "HEAD", branch).split())
    assert changed == {"prices.py", "test_prices.py"}


def test_a_run_that_fails_or_waits_touches_nothing_at_all(tmp_path: Path) -> None:
    case = dirty(tmp_path.resolve())
    furnished(case)
    before = state_of(case.project.folder)
    assert case.project.run("--yes", objective="rename prices:nothing to x").status == 2
    assert case.project.run().status == 3
    assert case.project("run", OBJECTIVE, "--repo", str(case.project.folder), "--python", sys.executable).status == 3
    assert state_of(case.project.folder) == before


def test_a_data_folder_inside_the_repository_is_never_part_of_a_result(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    inside = Project(project.folder, project.folder / ".cavalcade")
    assert inside.run("--yes").status == 0
    assert inside.run("--yes", CAVALCADE_HOME="", HOME=str(project.folder)).status == 0
    assert len(inside.branches()) == 2
    for branch in inside.branches():
        assert listed(project.folder, branch) == listed(project.folder, "HEAD")
    assert project.git("status", "--porcelain") == ""
