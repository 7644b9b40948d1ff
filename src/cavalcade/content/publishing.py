"""Putting a commit into the user's repository as a new branch: the only write that Cavalcade ever makes there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pygit2

from cavalcade.content.objects import FOLDER, SUBMODULE, Kind, Object, parse_commit, parse_tree
from cavalcade.content.objectstore import ObjectStore, store_loose, sync_folder, write_whole
from cavalcade.content.userrepo import common_folder, open_user_repository
from cavalcade.kernel.errors import RepositoryNotUsable
from cavalcade.kernel.ids import CommitId


def publish(store: ObjectStore, path: Path, branch: str, commit: CommitId) -> None:
    """See `ContentStore.publish`. Objects first, each after what it names, the branch last: a kill leaves unnamed objects only."""
    name = f"refs/heads/{branch}"
    if not pygit2.reference_is_valid_name(name):
        raise RepositoryNotUsable(f"{branch!r} is no branch name", expected="a name that git check-ref-format accepts")
    repository = open_user_repository(path)
    if _at(repository, name) == commit:
        return
    try:
        _check_free(repository, name, branch)
        common = common_folder(repository)
        store_loose(common / "objects", missing_objects(store, repository.odb, commit))
        _create_branch(common, name, commit)
    except FileExistsError as exc:
        if _at(repository, name) == commit:
            return
        raise _taken(branch, "it was made meanwhile") from exc
    except (OSError, pygit2.GitError) as exc:
        raise RepositoryNotUsable(
            f"branch {branch} can't be created in {path}: {exc}",
            expected="a repository folder that can be written to",
            hint="make it writable and publish again; nothing in it was changed, the result is kept",
        ) from exc


def missing_objects(store: ObjectStore, there: pygit2.Odb, commit: CommitId) -> list[Object]:
    """What `commit` needs and `there` lacks, parts before wholes. What is there is taken to be there with all its parts."""
    found: dict[str, Object] = {}
    waiting: list[tuple[str, Kind, bool]] = [(commit, "commit", False)]
    while waiting:
        name, kind, ready = waiting.pop()
        if ready:
            found[name] = Object(name, kind, store.read(name))
        elif name not in found and not there.exists(name):
            waiting.append((name, kind, True))
            waiting.extend((part, part_kind, False) for part, part_kind in _parts(store, name, kind))
    return list(found.values())


def _parts(store: ObjectStore, name: str, kind: Kind) -> list[tuple[str, Kind]]:
    if kind == "commit":
        info = parse_commit(CommitId(name), store.read(name))
        return [(info.tree, "tree"), *((parent, "commit") for parent in info.parents)]
    if kind == "tree":
        entries = parse_tree(store.read(name)).values()
        return [(e.blob, "tree" if e.mode == FOLDER else "blob") for e in entries if e.mode != SUBMODULE]
    return []


def _at(repository: pygit2.Repository, name: str) -> str | None:
    try:
        return str(repository.lookup_reference(name).target)
    except KeyError:
        return None


def _check_free(repository: pygit2.Repository, name: str, branch: str) -> None:
    at = _at(repository, name)
    if at is not None:
        raise _taken(branch, f"it is at {at[:12]}")
    for other in repository.references:
        if other.startswith(name + "/") or name.startswith(other + "/"):
            raise _taken(branch, f"{other} stands in its way", other.removeprefix("refs/heads/"))
    for head in _heads(repository):
        if head == name:
            raise _taken(branch, "it is checked out, without a commit")


def _heads(repository: pygit2.Repository) -> list[str]:
    """What HEAD names in the main and in every linked worktree."""
    common = common_folder(repository)
    found: list[str] = []
    for file in [common / "HEAD", *(common / "worktrees").glob("*/HEAD")]:
        text = file.read_text("utf-8", "surrogateescape")
        found.append(text.removeprefix("ref:").strip())
    return found


def _create_branch(common: Path, name: str, commit: CommitId) -> None:
    """The file is written aside and linked into place: it exists whole or not at all, and a kill leaves no lock behind.

    Raises FileExistsError when the branch or git's lock for it is there.
    """
    path = common / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.with_name(path.name + ".lock").exists():
        raise FileExistsError(None, "git holds a lock on it", str(path))
    handle, temporary = tempfile.mkstemp(prefix="tmp_obj_", dir=common / "objects")
    try:
        write_whole(handle, f"{commit}\n".encode())
        os.fchmod(handle, 0o644)
        os.fsync(handle)
        os.link(temporary, path)
    finally:
        os.close(handle)
        os.unlink(temporary)
    sync_folder(path.parent)


def _taken(branch: str, why: str, in_the_way: str = "") -> RepositoryNotUsable:
    other = in_the_way or branch
    return RepositoryNotUsable(
        f"branch {branch} can't be created: {why}",
        expected="a branch name that is free",
        hint=f"git branch -m {other} another-name (or git worktree list to see who uses it), then publish again",
    )
