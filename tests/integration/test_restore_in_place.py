"""`restore --in-place`: the working tree becomes exactly a recorded state; nothing of the user's is lost, nothing of git's is touched.

Bug classes this catches: uncommitted work that is overwritten before it is saved, ignored files that fall victim, an index or
reference that moves, a restore that stops half way and can't be taken up again.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import Project, a_project, files_in, files_of, git, state_of, write_files

from cavalcade.content.git import GitContentStore
from cavalcade.content.port import Change, InPlace
from cavalcade.kernel.errors import ContentError, RepositoryNotUsable
from cavalcade.kernel.ids import CommitId, TreeId
from cavalcade.testing.clock import START

FILES = {
    "app/main.py": "print('old')\n",
    "app/run.sh": "#!/bin/sh\n",
    "folder/a": "a\n",
    "folder/b": "b\n",
    "plain": "a file\n",
    "Readme": "case\n",
    "same": "same\n",
    ".gitignore": "build/\n*.log\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    os.umask(0o022)
    project = a_project(tmp_path, FILES)
    (project.folder / "link").symlink_to("plain")
    (project.folder / "app/run.sh").chmod(0o755)
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "Link and mode")
    return project


@pytest.fixture
def store(project: Project, tmp_path: Path) -> GitContentStore:
    store = GitContentStore(tmp_path / "content.git")
    store.import_repository(project.folder)
    return store


def wanted(store: GitContentStore, project: Project) -> TreeId:
    """A state that differs from the project's HEAD in every way that a tree can."""
    head = CommitId(project.git("rev-parse", "HEAD").strip())

    def put(path: str, data: str, mode: int = 0o100644) -> Change:
        return Change(path, store.write(data.encode()), mode)

    changes = [
        put("app/main.py", "print('new')\n"),
        put("app/run.sh", "#!/bin/sh\n"),  # no longer executable
        Change("folder/a", None), Change("folder/b", None), put("folder", "now a file\n"),
        Change("plain", None), put("plain/inside", "now a folder\n"),
        Change("Readme", None), put("README", "case\n"),
        put("link", "app/main.py", 0o120000),
        put("café", "not ASCII\n"),
        put("bin", "#!/bin/sh\n", 0o100755),
    ]  # fmt: skip
    return store.tree_of(store.commit([head], changes, message="wanted", trailers={}, when=START))


def restored(store: GitContentStore, project: Project, tree: TreeId, *, replace_ignored: bool = False) -> InPlace:
    prepared = store.prepare_in_place(project.folder, tree, replace_ignored=replace_ignored)
    store.restore_in_place(prepared)
    return prepared


def git_state(project: Project) -> dict[str, object]:
    return {name: seen for name, seen in state_of(project.folder).items() if name.startswith(".git/")}


def tracked(project: Project, store_folder: Path, tree: str) -> None:
    assert files_in(project.folder) == files_of(store_folder, tree)


def test_the_working_tree_holds_exactly_the_state_and_git_is_untouched(
    project: Project, store: GitContentStore, tmp_path: Path
) -> None:
    tree, before = wanted(store, project), git_state(project)
    kept = (project.folder / "same").stat()
    prepared = restored(store, project, tree)
    tracked(project, tmp_path / "content.git", tree)
    assert git_state(project) == before
    assert (project.folder / "same").stat() == kept
    assert prepared.saved == project.git("rev-parse", "HEAD").strip()
    assert prepared.dirty == ()
    assert store.prepare_in_place(project.folder, tree).differences == ()


def test_there_and_back_brings_modified_staged_untracked_and_removed_back(
    project: Project, store: GitContentStore, tmp_path: Path
) -> None:
    folder = project.folder
    (folder / "app/main.py").write_text("print('mine')\n")
    (folder / "staged").write_text("staged\n")
    project.git("add", "staged")
    (folder / "untracked").write_text("untracked\n")
    (folder / "same").unlink()
    (folder / "app/run.sh").chmod(0o644)
    mine = files_in(folder)
    prepared = restored(store, project, wanted(store, project))
    assert not (folder / "untracked").exists()
    assert set(prepared.dirty) == {"app/main.py", "staged", "untracked", "same", "app/run.sh"}
    restored(store, project, prepared.saved_tree)
    assert files_in(folder) == mine


def test_read_only_files_and_ignored_ones_beside_are_no_obstacle(project: Project, store: GitContentStore) -> None:
    folder = project.folder
    (folder / "app/main.py").chmod(0o444)
    write_files(folder, {"build/out": "built\n", "app/x.log": "logged\n", "folder/x.log": "logged\n"})
    tree = wanted(store, project)
    with pytest.raises(ContentError, match="git ignores") as raised:
        restored(store, project, tree)
    assert raised.value.places == ("folder/x.log",)
    (folder / "folder/x.log").unlink()
    restored(store, project, tree)
    assert (folder / "build/out").read_text() == "built\n"
    assert (folder / "app/x.log").read_text() == "logged\n"
    assert (folder / "app/main.py").read_text() == "print('new')\n"


@pytest.mark.parametrize("place", ["build/deep/file", "x.log", "build"])
def test_an_ignored_file_in_the_way_is_refused_by_name_and_saved_when_it_may_be_replaced(
    project: Project, store: GitContentStore, place: str
) -> None:
    """At the very path, as a folder in a file's place, and as a file in a folder's place."""
    head = CommitId(project.git("rev-parse", "HEAD").strip())
    target = {"build/deep/file": "build", "x.log": "x.log", "build": "build/deep/file"}[place]
    (project.folder / ".git/info/exclude").write_text("build\n")
    change = Change(target, store.write(b"recorded\n"))
    tree = store.tree_of(store.commit([head], [change], message="m", trailers={}, when=START))
    write_files(project.folder, {place: "precious\n"})
    before = state_of(project.folder)
    with pytest.raises(ContentError, match="git ignores") as raised:
        restored(store, project, tree)
    assert raised.value.places == (place,)
    assert state_of(project.folder) == before
    prepared = restored(store, project, tree, replace_ignored=True)
    assert (project.folder / target).read_text() == "recorded\n"
    assert store.read(store.entries(prepared.saved_tree)[place].blob) == b"precious\n"
    restored(store, project, prepared.saved_tree, replace_ignored=True)
    assert (project.folder / place).read_text() == "precious\n"


def a_socket(folder: Path) -> None:
    here = os.getcwd()
    os.chdir(folder)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("bin")
    finally:
        os.chdir(here)


def another_repository(folder: Path) -> None:
    (folder / "bin").mkdir()
    git(folder / "bin", "init", "-q")
    write_files(folder / "bin", {"theirs": "theirs\n"})


def a_filtered_file(folder: Path) -> None:
    """What git keeps of it is a pointer, its content is nowhere else."""
    write_files(folder, {".gitattributes": "app/main.py filter=lfs\n", "app/main.py": "large\n" * 100})


def a_submodule(folder: Path) -> None:
    another_repository(folder)
    git(folder / "bin", "add", ".")
    git(folder / "bin", "commit", "-q", "-m", "theirs")
    git(
        folder, "update-index", "--add", "--cacheinfo", f"160000,{git(folder / 'bin', 'rev-parse', 'HEAD').strip()},bin"
    )


@pytest.mark.parametrize("make", [a_socket, another_repository, a_filtered_file, a_submodule])
def test_what_can_not_be_saved_is_never_replaced(
    make: Callable[[Path], None], project: Project, store: GitContentStore
) -> None:
    tree = wanted(store, project)
    make(project.folder)
    before = state_of(project.folder)
    for replace_ignored in (False, True):
        with pytest.raises(ContentError, match="in the way, and can't be saved"):
            restored(store, project, tree, replace_ignored=replace_ignored)
    assert state_of(project.folder) == before


def test_a_submodule_is_left_alone_and_named(project: Project, store: GitContentStore) -> None:
    tree = TreeId(project.git("rev-parse", "HEAD^{tree}").strip())
    a_submodule(project.folder)
    (project.folder / "app/main.py").write_text("print('mine')\n")
    prepared = restored(store, project, tree)
    assert "submodules left alone: bin" in prepared.notes
    assert (project.folder / "bin/theirs").read_text() == "theirs\n"
    assert (project.folder / "app/main.py").read_text() == FILES["app/main.py"]


def test_a_file_that_git_was_told_not_to_look_at_is_saved_too(project: Project, store: GitContentStore) -> None:
    project.git("update-index", "--assume-unchanged", "app/main.py")
    (project.folder / "app/main.py").write_text("print('hidden')\n")
    prepared = restored(store, project, wanted(store, project))
    assert "app/main.py" in prepared.dirty
    assert store.read(store.entries(prepared.saved_tree)["app/main.py"].blob) == b"print('hidden')\n"


def test_a_file_that_changes_after_it_was_saved_is_left_as_it_is(project: Project, store: GitContentStore) -> None:
    prepared = store.prepare_in_place(project.folder, wanted(store, project))
    (project.folder / "plain").write_text("written meanwhile\n")
    with pytest.raises(ContentError, match="plain has changed since"):
        store.restore_in_place(prepared)
    assert (project.folder / "plain").read_text() == "written meanwhile\n"
    again = restored(store, project, wanted(store, project))
    assert store.read(store.entries(again.saved_tree)["plain"].blob) == b"written meanwhile\n"


def test_a_file_that_appears_after_the_look_is_left_as_it_is(project: Project, store: GitContentStore) -> None:
    prepared = store.prepare_in_place(project.folder, wanted(store, project))
    (project.folder / "bin").write_text("written meanwhile\n")
    with pytest.raises(ContentError, match="bin has changed since"):
        store.restore_in_place(prepared)
    assert (project.folder / "bin").read_text() == "written meanwhile\n"


def test_in_the_middle_of_a_merge_or_beside_a_git_at_work_it_is_refused(
    project: Project, store: GitContentStore
) -> None:
    tree = wanted(store, project)
    lock = project.folder / ".git/index.lock"
    lock.touch()
    with pytest.raises(RepositoryNotUsable, match=r"index\.lock"):
        restored(store, project, tree)
    lock.unlink()
    project.git("checkout", "-q", "-b", "side")
    write_files(project.folder, {"same": "theirs\n"})
    project.git("commit", "-q", "-a", "-m", "theirs")
    project.git("checkout", "-q", "main")
    write_files(project.folder, {"same": "ours\n"})
    project.git("commit", "-q", "-a", "-m", "ours")
    project.git("merge", "side", status=1)
    before = state_of(project.folder)
    with pytest.raises(RepositoryNotUsable, match="merge in progress"):
        restored(store, project, tree)
    assert state_of(project.folder) == before


def loose(folder: Path, name: str) -> Path:
    return folder / "objects" / name[:2] / name[2:]


@pytest.mark.parametrize("damage", ["missing", "flipped", "cut short", "empty"])
@pytest.mark.parametrize("kind", ["blob", "tree"])
def test_a_missing_or_damaged_object_is_named_with_its_path_before_anything_is_written(
    kind: str, damage: str, project: Project, store: GitContentStore, tmp_path: Path
) -> None:
    tree = wanted(store, project)
    entry = store.entries(tree)["app/main.py"]
    folder = tmp_path / "content.git"
    below = git(folder, "rev-parse", f"{tree}:app").strip()
    name = entry.blob if kind == "blob" else below
    file = loose(folder, name)
    raw = file.read_bytes()
    file.unlink()
    if damage != "missing":
        middle = len(raw) // 2
        flipped = raw[:middle] + bytes([raw[middle] ^ 0x10]) + raw[middle + 1 :]
        file.write_bytes({"flipped": flipped, "cut short": raw[:middle], "empty": b""}[damage])
    before = state_of(project.folder)
    fresh = GitContentStore(folder)
    attempts: list[Callable[[], object]] = [
        lambda: fresh.prepare_in_place(project.folder, tree),
        lambda: fresh.restore(tree, tmp_path / "out"),
        lambda: fresh.check(tree),
    ]
    for attempt in attempts:
        with pytest.raises(ContentError) as raised:
            attempt()
        assert name in str(raised.value)
        assert "app/" in "".join(raised.value.places)
    assert state_of(project.folder) == before
    assert not (tmp_path / "out").exists()


def test_the_commands_save_name_list_and_bring_back(project: Project, tmp_path: Path) -> None:
    """Two states of a run, and the user's own between them."""
    os.chdir("/")
    shop = a_project(tmp_path, name="other")
    assert shop.run("--yes").status == 0
    write_files(shop.folder, {"notes.txt": "mine\n", "prices.py": "def total(items):\n    return 0\n"})
    mine, before = files_in(shop.folder), git_state(shop)
    said = shop("restore", "last", "--in-place", "--json")
    assert said.status == 0, said
    name = said.data["saved"]
    assert name in said.err
    assert files_in(shop.folder) == files_of(shop.store, said.data["tree"])
    assert git_state(shop) == before
    (line,) = shop("saved", "--repo", str(shop.folder), "--json").data
    assert (line["name"], line["paths"]) == (name, ["notes.txt", "prices.py"])
    assert git(shop.store, "rev-parse", f"refs/saved/{name}").strip() == line["commit"]
    again = shop("restore", "last", "--at", "1", "--in-place", "--json")
    assert again.status == 0, again
    for how in (("--into", str(tmp_path / "back")), ("--branch", "back"), ("--in-place",)):
        said = shop("restore", str(shop.folder), "--saved", name, *how)
        assert said.status == 0, said
    assert files_in(shop.folder) == files_in(tmp_path / "back") == mine
    assert files_of(shop.folder, "back") == mine
    unknown = shop("restore", str(shop.folder), "--saved", "nothing", "--in-place")
    assert unknown.status == 6
    assert name in unknown.err


def test_wrong_wishes_are_told_what_goes_together(project: Project) -> None:
    for words in (
        ["--in-place", "--branch", "x"],
        ["--everything", "--in-place"],
        ["--replace-ignored", "--branch", "x"],
        ["--saved", "x", "--at", "1", "--in-place"],
        ["--task", "t1", "--agent", "coder/t1", "--in-place"],
    ):
        assert project("restore", "last", *words).status == 2, words


def test_a_full_disk_loses_nothing(project: Project, store: GitContentStore, tmp_path: Path) -> None:
    """A file size limit stands for it: the write in the middle of the work fails."""
    head = CommitId(project.git("rev-parse", "HEAD").strip())
    changes = [Change("plain", None), Change("large", store.write(os.urandom(200_000)))]
    tree = store.tree_of(store.commit([head], changes, message="m", trailers={}, when=START))
    mine = files_in(project.folder)
    code = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from cavalcade.content.git import GitContentStore\nfrom cavalcade.kernel.errors import ContentError\n"
        "store = GitContentStore(Path(sys.argv[1]))\n"
        "prepared = store.prepare_in_place(Path(sys.argv[2]), sys.argv[3])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n    store.restore_in_place(prepared)\n"
        "except ContentError as exc:\n    print(prepared.saved_tree, exc.hint)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "content.git"), str(project.folder), tree]

    done = subprocess.run(command, check=True, capture_output=True, text=True)
    saved, _, hint = done.stdout.partition(" ")
    assert "make room" in hint
    assert not (project.folder / "plain").exists()
    restored(store, project, TreeId(saved))
    assert files_in(project.folder) == mine
    restored(store, project, tree)
    tracked(project, tmp_path / "content.git", tree)
