"""Repositories of every kind, made by real git, are taken over as `git add -A` would store them, and nothing in them changes.

Bug classes this catches: a status or refresh that writes the user's index, libgit2 touching a hard-linked object, line ends or
filters applied otherwise than git does, states of a repository that end in a traceback.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import ConfigLevel

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change
from cavalcade.kernel.errors import CavalcadeError, NotARepository, RepositoryNotUsable
from cavalcade.kernel.ids import CommitId
from cavalcade.protocol.plan import Base

WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2024-01-02T03:04:05+0200",
    "GIT_COMMITTER_DATE": "2024-01-02T03:04:05+0200",
    "GIT_ALLOW_PROTOCOL": "file",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "gc.auto",
    "GIT_CONFIG_VALUE_0": "0",
}


def git(repo: Path, *args: str, ok: bool = True) -> str:
    done = subprocess.run(["git", "-C", str(repo), *args], env=ENVIRONMENT, capture_output=True, check=False)
    assert done.returncode == 0 or not ok, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape").strip()


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def make(repo: Path) -> Path:
    """Three files, one of them executable, one a symlink; one commit; an ignored file."""
    repo.mkdir(parents=True)
    git(repo, "init", "--quiet", "--initial-branch=main")
    write(repo / "app/code.py", "def f():\n    return 1\n")
    write(repo / "run.sh", "#!/bin/sh\n")
    (repo / "run.sh").chmod(0o755)
    (repo / "link").symlink_to("app/code.py")
    write(repo / ".gitignore", "*.pyc\nbuild/\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "start")
    write(repo / "app/code.pyc", b"\0ignored")
    write(repo / "build/out.txt", "ignored")
    return repo


def fingerprint(*folders: Path) -> dict[str, tuple[object, ...]]:
    """Everything of a folder that could tell of a write: kind, mode, time, content of every file and folder, `.git` included."""
    seen: dict[str, tuple[object, ...]] = {}
    for folder in folders:
        for top, subfolders, files in os.walk(folder):
            for name in [*subfolders, *files, "."]:
                path = os.path.join(top, name)
                found = os.lstat(path)
                content = b""
                if stat.S_ISLNK(found.st_mode):
                    content = os.fsencode(os.readlink(path))
                elif stat.S_ISREG(found.st_mode):
                    content = hashlib.sha256(Path(path).read_bytes()).digest()
                seen[path] = (found.st_mode, found.st_mtime_ns, found.st_uid, found.st_gid, content)
    return seen


@contextmanager
def untouched(*folders: Path) -> Generator[None]:
    before = fingerprint(*folders)
    yield
    assert fingerprint(*folders) == before


def what_git_add_stores(repo: Path, tmp: Path) -> str:
    """The tree of `git add -A`, made in a copy."""
    copy = tmp / "oracle"
    shutil.copytree(repo, copy, symlinks=True)
    git(copy, "add", "-A")
    return git(copy, "write-tree")


@pytest.fixture
def store(tmp_path: Path) -> GitContentStore:
    return GitContentStore(tmp_path / "data" / "content.git")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make(tmp_path / "repo")


def taken_over(store: GitContentStore, repo: Path, tmp: Path) -> Base:
    """Imports, and holds against what git would have stored."""
    expected = what_git_add_stores(repo, tmp)
    with untouched(repo):
        base = store.import_repository(repo)
        again = store.import_repository(repo)
    assert base == again
    assert base.tree == expected
    assert store.tree_of(base.commit) == expected
    return base


def refused(store: GitContentStore, repo: Path, error: type[CavalcadeError]) -> CavalcadeError:
    with untouched(repo), pytest.raises(error) as caught:
        store.import_repository(repo)
    assert caught.value.hint
    return caught.value


def test_a_clean_repository_is_taken_over_at_its_own_head(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    base = taken_over(store, repo, tmp_path)
    assert base.commit == base.head == git(repo, "rev-parse", "HEAD")
    assert base.branch == "main"
    assert base.dirty == base.notes == ()
    assert {path: oct(entry.mode) for path, entry in store.entries(base.tree).items()} == {
        ".gitignore": "0o100644",
        "app/code.py": "0o100644",
        "link": "0o120000",
        "run.sh": "0o100755",
    }


def test_uncommitted_changes_of_every_kind_are_in_the_snapshot(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    for name in ("deleted", "staged", "unstaged", "gone_staged", "mode", "both", "uncached", "was_file"):
        write(repo / name, f"{name}\n")
    write(repo / "was_folder/inner", "x\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "more")
    (repo / "deleted").unlink()
    write(repo / "staged", "staged now\n")
    write(repo / "both", "staged\n")
    write(repo / "new_staged", "new\n")
    git(repo, "add", "staged", "both", "new_staged")
    write(repo / "both", "and changed again\n")
    write(repo / "unstaged", "changed\n")
    git(repo, "rm", "--quiet", "gone_staged")
    git(repo, "rm", "--quiet", "--cached", "uncached")
    (repo / "mode").chmod(0o755)
    (repo / "was_file").unlink()
    write(repo / "was_file/now/folder", "y\n")
    shutil.rmtree(repo / "was_folder")
    (repo / "was_folder").symlink_to("app")
    write(repo / "untracked/deep/file", "untracked\n")
    write(repo / "intended", "intent to add\n")
    git(repo, "add", "-N", "intended")
    os.mkfifo(repo / "pipe")
    base = taken_over_without_pipe(store, repo, tmp_path)
    assert base.head == git(repo, "rev-parse", "HEAD")
    assert store.info(base.commit).parents == (base.head,)
    assert "Uncommitted changes" in store.info(base.commit).message
    assert set(base.dirty) == {
        "deleted", "staged", "both", "new_staged", "unstaged", "gone_staged", "mode", "was_file", "was_file/now/folder",
        "was_folder", "was_folder/inner", "untracked/deep/file", "intended",
    }  # fmt: skip


def taken_over_without_pipe(store: GitContentStore, repo: Path, tmp: Path) -> Base:
    copy = tmp / "oracle"
    shutil.copytree(repo, copy, symlinks=True, ignore=shutil.ignore_patterns("pipe"))
    git(copy, "add", "-A")
    with untouched(repo):
        base = store.import_repository(repo)
    assert base.tree == git(copy, "write-tree")
    return base


def test_the_snapshot_of_the_same_state_has_the_same_id_in_another_store(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    write(repo / "app/code.py", "changed\n")
    other = GitContentStore(tmp_path / "other.git")
    assert store.import_repository(repo) == other.import_repository(repo)


def test_uncommitted_changes_stay_out_when_asked(store: GitContentStore, repo: Path) -> None:
    write(repo / "app/code.py", "changed\n")
    with untouched(repo):
        base = store.import_repository(repo, include_uncommitted=False)
    assert base.commit == base.head
    assert base.dirty == ()


def test_a_touched_but_equal_file_is_no_change_and_the_index_is_not_refreshed(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    os.utime(repo / "app/code.py", (1, 1))
    assert taken_over(store, repo, tmp_path).dirty == ()


def test_a_file_given_back_its_staged_content_is_compared_with_head(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    old = (repo / "app/code.py").read_text()
    write(repo / "app/code.py", "staged\n")
    git(repo, "add", "-A")
    write(repo / "app/code.py", old)
    assert taken_over(store, repo, tmp_path).dirty == ()


def test_a_subfolder_finds_the_top(store: GitContentStore, repo: Path) -> None:
    with untouched(repo):
        assert store.import_repository(repo / "app") == store.import_repository(repo)


def test_a_linked_worktree_is_taken_over_with_its_own_head(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "--quiet", "-b", "side", str(linked))
    write(linked / "new", "only here\n")
    with untouched(repo, linked):
        base = store.import_repository(linked)
    assert base.branch == "side"
    assert base.dirty == ("new",)


def test_a_detached_head_has_no_branch(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    git(repo, "checkout", "--quiet", "--detach")
    assert taken_over(store, repo, tmp_path).branch == ""


def test_packed_objects_are_hard_links(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    git(repo, "gc", "--quiet")
    base = taken_over(store, repo, tmp_path)
    (pack,) = (tmp_path / "data/content.git/objects/pack").glob("*.pack")
    assert pack.stat().st_nlink == 2
    shutil.rmtree(repo)
    assert store.read(store.entries(base.tree)["run.sh"].blob) == b"#!/bin/sh\n"


def test_objects_are_copied_across_file_systems(repo: Path) -> None:
    other = Path("/dev/shm") / f"cavalcade-test-{os.getpid()}"
    try:
        assert repo.stat().st_dev != other.parent.stat().st_dev
        store = GitContentStore(other)
        git(repo, "gc", "--quiet")
        write(repo / "loose", "loose\n")
        git(repo, "add", "-A")
        git(repo, "commit", "--quiet", "-m", "loose")
        with untouched(repo):
            base = store.import_repository(repo)
        assert store.read(store.entries(base.tree)["loose"].blob) == b"loose\n"
        git(other, "fsck", "--strict")
    finally:
        shutil.rmtree(other, ignore_errors=True)


def test_writing_what_the_user_has_already_does_not_touch_the_shared_file(store: GitContentStore, repo: Path) -> None:
    git(repo, "gc", "--quiet")
    write(repo / "loose", "loose\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "loose")
    with untouched(repo):
        base = store.import_repository(repo)
        blob = store.write(b"loose\n")
        store.write(b"#!/bin/sh\n")
        gone = store.commit([base.commit], [Change("loose", None)], message="gone", trailers={}, when=WHEN)
        back = store.commit([gone], [Change("loose", blob)], message="back", trailers={}, when=WHEN)
        assert store.merge(store.tree_of(gone), store.tree_of(gone), base.tree).tree == store.tree_of(back) == base.tree


def test_objects_borrowed_from_alternates_are_brought_along(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    borrower = tmp_path / "borrower"
    git(tmp_path, "clone", "--quiet", "--shared", str(repo), str(borrower))
    with untouched(repo, borrower):
        base = store.import_repository(borrower)
    shutil.rmtree(repo)
    shutil.rmtree(borrower)
    assert store.read(store.entries(base.tree)["run.sh"].blob) == b"#!/bin/sh\n"


def test_a_shallow_clone_is_noted_and_its_history_ends_cleanly(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    write(repo / "app/code.py", "def f():\n    return 2\n")
    git(repo, "commit", "--quiet", "-am", "second")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", str(shallow))
    base = taken_over(store, shallow, tmp_path)
    assert any("shallow" in note for note in base.notes)
    assert [line.commit for line in store.blame(base.commit, "app/code.py")] == [base.head, base.head]
    assert git(tmp_path / "data/content.git", "rev-list", "--count", base.commit) == "1"


def test_submodules_stay_entries_and_are_noted(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    inner = make(tmp_path / "inner")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "libs/inner")
    git(repo, "commit", "--quiet", "-m", "submodule")
    base = taken_over(store, repo, tmp_path)
    assert store.entries(base.tree)["libs/inner"] == (git(inner, "rev-parse", "HEAD"), 0o160000)
    assert any("libs/inner" in note for note in base.notes)
    store.restore(base.tree, tmp_path / "out")
    assert list((tmp_path / "out/libs/inner").iterdir()) == []


def test_a_submodule_at_another_commit_counts_as_git_counts_it(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    inner = make(tmp_path / "inner")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "inner")
    git(repo, "commit", "--quiet", "-m", "submodule")
    write(repo / "inner/more", "more\n")
    git(repo / "inner", "add", "-A")
    git(repo / "inner", "commit", "--quiet", "-m", "more")
    write(repo / "inner/more", "dirty inside\n")
    assert taken_over(store, repo, tmp_path).dirty == ("inner",)


def test_lfs_files_are_kept_as_pointers(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    content = b"\0large" * 1000
    pointer = b"version https://git-lfs.github.com/spec/v1\n" + (
        f"oid sha256:{hashlib.sha256(content).hexdigest()}\nsize {len(content)}\n".encode()
    )
    write(repo / "a.bin", pointer)
    write(repo / "b.bin", pointer)
    git(repo, "add", "-A")
    write(repo / ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "pointers")
    write(repo / "a.bin", content)  # what a checkout with git-lfs leaves in the folder; b.bin stands for one without
    write(repo / "new.bin", content + b"more")
    with untouched(repo):
        base = store.import_repository(repo)
    assert base.dirty == ("new.bin",)
    assert any("LFS" in note for note in base.notes)
    entries = store.entries(base.tree)
    assert store.read(entries["a.bin"].blob) == store.read(entries["b.bin"].blob) == pointer
    assert store.read(entries["new.bin"].blob).startswith(b"version https://git-lfs")


def test_a_file_behind_a_filter_that_would_run_a_program_keeps_its_staged_content(
    store: GitContentStore, repo: Path
) -> None:
    write(repo / "secret", "encrypted\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "secret")
    git(repo, "config", "filter.crypt.clean", "false")
    write(repo / ".gitattributes", "secret filter=crypt\n")
    write(repo / "secret", "plain text\n")
    with untouched(repo):
        base = store.import_repository(repo)
    assert base.dirty == (".gitattributes",)
    assert any("filter crypt" in note for note in base.notes)
    assert store.read(store.entries(base.tree)["secret"].blob) == b"encrypted\n"


@pytest.mark.parametrize("autocrlf", ["true", "input", "false"])
def test_line_ends_are_stored_as_git_add_stores_them(
    store: GitContentStore, repo: Path, tmp_path: Path, autocrlf: str
) -> None:
    git(repo, "config", "core.autocrlf", autocrlf)
    attributes = "*.txt text\n*.crlf text eol=crlf\n*.raw -text\n*.auto text=auto\n*.id ident\n"
    write(repo / ".gitattributes", attributes)
    for name in ("a.txt", "a.crlf", "a.raw", "a.auto", "a.id", "a.plain"):
        write(repo / name, "one\r\ntwo $Id: old $\r\n")
        write(repo / f"binary.{name}", b"one\r\n\0two\r\n")
    base = taken_over(store, repo, tmp_path)
    assert len(base.dirty) == 13


def test_attributes_that_stand_only_in_the_index_count(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    write(repo / ".gitattributes", "*.txt text\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "attributes")
    git(repo, "update-index", "--skip-worktree", ".gitattributes")
    (repo / ".gitattributes").unlink()
    write(repo / "a.txt", "one\r\n")
    base = taken_over(store, repo, tmp_path)
    assert store.read(store.entries(base.tree)["a.txt"].blob) == b"one\n"


def test_without_file_modes_the_executable_bit_is_the_index_s(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    git(repo, "config", "core.fileMode", "false")
    write(repo / "run.sh", "#!/bin/sh\nchanged\n")
    (repo / "run.sh").chmod(0o644)
    write(repo / "new.sh", "#!/bin/sh\n")
    (repo / "new.sh").chmod(0o755)
    taken_over(store, repo, tmp_path)


def test_files_left_out_by_a_sparse_checkout_stay_in_the_tree(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    write(repo / "other/file", "x\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "other")
    git(repo, "sparse-checkout", "set", "--no-cone", "/app/", "/.gitignore")
    assert not (repo / "run.sh").exists()
    write(repo / "app/code.py", "changed\n")
    base = taken_over(store, repo, tmp_path)
    assert base.dirty == ("app/code.py",)
    assert {"other/file", "run.sh"} <= set(store.entries(base.tree))


def test_a_nested_repository_is_left_out_and_noted(store: GitContentStore, repo: Path) -> None:
    make(repo / "vendor/nested")
    with untouched(repo):
        base = store.import_repository(repo)
    assert base.dirty == ()
    assert any("vendor/nested" in note for note in base.notes)


def test_names_that_are_not_utf8_and_names_apart_only_in_case_come_through(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    for name in (b"caf\xe9.txt", b"Case", b"case", b'tab\tand "quote"', "snow☃".encode(), b"new\nline"):
        write(Path(os.fsdecode(os.fsencode(repo) + b"/" + name)), "x\n")
    base = taken_over(store, repo, tmp_path)
    assert "caf\\xe9.txt" in base.dirty
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "names")
    shutil.rmtree(tmp_path / "oracle")
    base = taken_over(store, repo, tmp_path)
    assert base.dirty == ()
    assert any("not UTF-8" in note for note in base.notes)
    assert any("case" in note and "Case" in note for note in base.notes)
    store.restore(base.tree, tmp_path / "out")
    assert os.path.exists(os.fsencode(tmp_path / "out") + b"/caf\xe9.txt")


def test_read_only_files_and_folders_are_read(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    write(repo / "app/locked", "x\n")
    (repo / "app/locked").chmod(0o444)
    assert taken_over(store, repo, tmp_path).dirty == ("app/locked",)


def test_a_merge_in_progress_is_taken_as_the_folder_is_and_noted(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    git(repo, "checkout", "--quiet", "-b", "side")
    write(repo / "side", "side\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "side")
    git(repo, "checkout", "--quiet", "main")
    git(repo, "merge", "--quiet", "--no-commit", "--no-ff", "side")
    base = taken_over(store, repo, tmp_path)
    assert base.dirty == ("side",)
    assert any("merge in progress" in note for note in base.notes)


@pytest.mark.parametrize("verb", ["merge", "rebase"])
def test_unresolved_conflicts_are_named(store: GitContentStore, repo: Path, verb: str) -> None:
    git(repo, "checkout", "--quiet", "-b", "side")
    write(repo / "app/code.py", "side\n")
    git(repo, "commit", "--quiet", "-am", "side")
    git(repo, "checkout", "--quiet", "main")
    write(repo / "app/code.py", "main\n")
    git(repo, "commit", "--quiet", "-am", "main")
    git(repo, verb, "side", ok=False)
    assert "app/code.py" in refused(store, repo, RepositoryNotUsable).places


def test_a_folder_without_repository_is_refused_with_how_to_make_one(store: GitContentStore, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert "git init" in refused(store, tmp_path / "plain", NotARepository).hint
    assert "doesn't exist" in str(refused(store, tmp_path / "absent", NotARepository))


def test_a_repository_without_commits_is_refused_with_what_to_do(store: GitContentStore, tmp_path: Path) -> None:
    repo = tmp_path / "new"
    repo.mkdir()
    git(repo, "init", "--quiet")
    assert "git commit" in refused(store, repo, RepositoryNotUsable).hint
    write(repo / "file", "x\n")
    git(repo, "add", "-A")
    assert "git commit" in refused(store, repo, RepositoryNotUsable).hint


def test_a_bare_repository_is_refused(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(repo), "bare.git")
    assert "bare" in str(refused(store, tmp_path / "bare.git", RepositoryNotUsable))


def test_sha256_object_names_are_refused(store: GitContentStore, tmp_path: Path) -> None:
    repo = tmp_path / "sha256"
    git(tmp_path, "init", "--quiet", "--object-format=sha256", str(repo))
    write(repo / "file", "x\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "x")
    assert "SHA-256" in refused(store, repo, RepositoryNotUsable).hint


def test_a_partial_clone_without_its_files_is_refused(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    git(repo, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", "--no-checkout", f"file://{repo}", str(partial))
    assert "partial clone" in str(refused(store, partial, RepositoryNotUsable))


def test_a_partial_clone_that_has_what_head_needs_works(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    write(repo / "app/code.py", "second\n")
    git(repo, "commit", "--quiet", "-am", "second")
    git(repo, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", f"file://{repo}", str(partial))
    taken_over(store, partial, tmp_path)


@pytest.mark.parametrize("feature", ["split-index", "sparse-index"])
def test_index_forms_that_libgit2_does_not_know_are_refused_with_the_way_out(
    store: GitContentStore, repo: Path, feature: str
) -> None:
    if feature == "split-index":
        git(repo, "update-index", "--split-index")
    else:
        git(repo, "sparse-checkout", "set", "--cone", "--sparse-index", "app/none")
        git(repo, "sparse-checkout", "reapply", "--sparse-index")
    assert "--no-" in refused(store, repo, RepositoryNotUsable).hint


def test_a_damaged_repository_is_refused(store: GitContentStore, repo: Path) -> None:
    blob = git(repo, "rev-parse", "HEAD:app/code.py")
    (repo / ".git/objects" / blob[:2] / blob[2:]).unlink()
    assert "app/code.py" in refused(store, repo, RepositoryNotUsable).places


def test_ten_thousand_files_come_in_whole(store: GitContentStore, tmp_path: Path) -> None:
    repo = tmp_path / "large"
    repo.mkdir()
    git(repo, "init", "--quiet")
    for number in range(10_000):
        if number % 100 == 0:
            (repo / f"d{number // 1000}/e{number // 100}").mkdir(parents=True)
        (repo / f"d{number // 1000}/e{number // 100}/f{number}.py").write_text(f"x = {number}\n")
    git(repo, "add", "-A")
    git(repo, "commit", "--quiet", "-m", "large")
    with untouched(repo):
        base = store.import_repository(repo)
    assert len(store.entries(base.tree)) == 10_000
    assert base.tree == git(repo, "rev-parse", "HEAD^{tree}")


def result_of(store: GitContentStore, repo: Path) -> tuple[Base, CommitId]:
    """A commit with a changed, a new and a removed file on top of an import."""
    base = store.import_repository(repo)
    changes = [
        Change("app/code.py", store.write(b"new\n")),
        Change("new/file", store.write(b"file\n")),
        Change("run.sh", None),
    ]
    return base, store.commit([base.commit], changes, message="edit", trailers={"Cavalcade-Run": "r1"}, when=WHEN)


def changed_files(before: dict[str, tuple[object, ...]], repo: Path) -> set[str]:
    after = fingerprint(repo)
    assert before.keys() <= after.keys()
    kept = {path for path in before if path.endswith("/.")}
    assert all(after[path] == found for path, found in before.items() if not stat.S_ISDIR(int(str(found[0]))))
    return {os.path.relpath(path, repo) for path in after.keys() - before.keys() - kept if not path.endswith("/.")}


def test_publishing_creates_the_branch_and_changes_nothing_else(store: GitContentStore, repo: Path) -> None:
    git(repo, "gc", "--quiet")
    write(repo / "app/code.py", "dirty\n")
    _, commit = result_of(store, repo)
    before = fingerprint(repo)
    store.publish(repo, "cavalcade/r1", commit)
    new = changed_files(before, repo)
    assert ".git/refs/heads/cavalcade/r1" in new
    assert all(path.startswith((".git/objects/", ".git/refs/heads/cavalcade")) for path in new)
    assert git(repo, "rev-parse", "cavalcade/r1") == commit
    assert git(repo, "status", "--porcelain") == "M app/code.py"
    git(repo, "fsck", "--strict", "--no-dangling")
    assert git(repo, "show", "cavalcade/r1:new/file") == "file"


def test_publishing_twice_changes_nothing(store: GitContentStore, repo: Path) -> None:
    _, commit = result_of(store, repo)
    store.publish(repo, "result", commit)
    with untouched(repo):
        store.publish(repo, "result", commit)


def test_publishing_from_a_linked_worktree_or_subfolder_reaches_the_shared_repository(
    store: GitContentStore, repo: Path, tmp_path: Path
) -> None:
    git(repo, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "linked"))
    _, commit = result_of(store, tmp_path / "linked")
    store.publish(tmp_path / "linked" / "app", "result", commit)
    assert git(repo, "rev-parse", "result") == commit


def test_publishing_into_a_shallow_clone_works(store: GitContentStore, repo: Path, tmp_path: Path) -> None:
    write(repo / "app/code.py", "second\n")
    git(repo, "commit", "--quiet", "-am", "second")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "shallow")
    _, commit = result_of(store, tmp_path / "shallow")
    store.publish(tmp_path / "shallow", "result", commit)
    assert git(tmp_path / "shallow", "rev-list", "--count", "result") == "2"


@pytest.mark.parametrize("packed", [False, True])
def test_a_branch_at_another_commit_is_never_moved(store: GitContentStore, repo: Path, packed: bool) -> None:
    git(repo, "branch", "result")
    if packed:
        git(repo, "pack-refs", "--all")
    _, commit = result_of(store, repo)
    with untouched(repo), pytest.raises(RepositoryNotUsable, match="hint: git branch -m"):
        store.publish(repo, "result", commit)


@pytest.mark.parametrize("name", ["main/below", "side"])
def test_a_branch_whose_name_is_in_another_s_way_is_refused(store: GitContentStore, repo: Path, name: str) -> None:
    git(repo, "branch", "side/deep")
    git(repo, "pack-refs", "--all")
    _, commit = result_of(store, repo)
    with untouched(repo), pytest.raises(RepositoryNotUsable, match="stands in its way"):
        store.publish(repo, name, commit)


def test_an_unborn_branch_that_is_checked_out_is_not_born_behind_its_folder(store: GitContentStore, repo: Path) -> None:
    _, commit = result_of(store, repo)
    git(repo, "checkout", "--quiet", "--orphan", "result")
    with untouched(repo), pytest.raises(RepositoryNotUsable, match="checked out"):
        store.publish(repo, "result", commit)


def test_a_branch_that_git_holds_a_lock_on_is_left_alone(store: GitContentStore, repo: Path) -> None:
    _, commit = result_of(store, repo)
    lock = repo / ".git/refs/heads/result.lock"
    lock.touch()
    with pytest.raises(RepositoryNotUsable):
        store.publish(repo, "result", commit)
    lock.unlink()
    store.publish(repo, "result", commit)


@pytest.mark.parametrize("name", ["", "a..b", "-x/", "with space", "end.lock"])
def test_what_is_no_branch_name_is_refused(store: GitContentStore, repo: Path, name: str) -> None:
    _, commit = result_of(store, repo)
    with untouched(repo), pytest.raises(RepositoryNotUsable, match="branch name"):
        store.publish(repo, name, commit)


def as_ordinary_user(work: Callable[[], None], outcome: multiprocessing.SimpleQueue[str]) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    pygit2.settings.search_path[ConfigLevel.GLOBAL] = "/nonexistent"  # the configuration of the user this process was
    try:
        work()
        outcome.put("done")
    except CavalcadeError as exc:
        outcome.put(f"{exc.code}: {exc}")


def test_publishing_into_a_read_only_repository_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    top = Path("/var/tmp") / f"cavalcade-test-{os.getpid()}"
    repo = make(top / "repo")
    try:
        top.chmod(0o755)
        store = GitContentStore(top / "store")
        _, commit = result_of(store, repo)
        for folder, _, files in os.walk(top):
            for path in [folder, *(os.path.join(folder, name) for name in files)]:
                os.chown(path, 65534, 65534, follow_symlinks=False)
        for folder, _, _ in os.walk(repo):
            os.chmod(folder, 0o555)
        context = multiprocessing.get_context("fork")
        outcome: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
        with untouched(repo):
            child = context.Process(
                target=as_ordinary_user, args=(lambda: store.publish(repo, "result", commit), outcome)
            )
            child.start()
            said = outcome.get()
            child.join()
        assert said.startswith("repository-not-usable")
        assert "make it writable" in said
    finally:
        for folder, _, _ in os.walk(repo):
            os.chmod(folder, 0o755)
        shutil.rmtree(top)
