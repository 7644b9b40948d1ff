"""Taking over what the user's repository shows now, without a write of any kind to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pygit2

from cavalcade.content.linking import copy_shallow, link_objects
from cavalcade.content.objects import SUBMODULE, Object, new_commit, parse_commit, printable_path
from cavalcade.content.objectstore import ObjectStore
from cavalcade.content.port import CommitInfo, Entry
from cavalcade.content.trees import Trees
from cavalcade.content.userrepo import common_folder, open_user_repository
from cavalcade.content.worktree import WorkingTree
from cavalcade.kernel.errors import ContentError, ObjectMissing, RepositoryNotUsable
from cavalcade.kernel.ids import CommitId, TreeId
from cavalcade.protocol.plan import Base

_LISTED = 10
"""Names in a note, before it says how many more."""


def import_repository(store: ObjectStore, trees: Trees, path: Path, *, include_uncommitted: bool) -> Base:
    """See `ContentStore.import_repository`."""
    repository = open_user_repository(path)
    head = _head(repository, path)
    common = common_folder(repository)
    try:
        link_objects(common / "objects", store.objects)
        shallow = copy_shallow(common, store.folder)
    except OSError as exc:
        raise ContentError(
            f"the objects of {path} can't be brought into {store.folder}: {exc}",
            hint="make room on the disk, then try again",
        ) from exc
    info = _whole(store, trees, head, path)
    notes = _notes(store, trees, info.tree, shallow=shallow) + _state_notes(repository)
    branch = "" if repository.head_is_detached else repository.head.shorthand
    if not include_uncommitted:
        return Base(commit=head, tree=info.tree, head=head, branch=branch, notes=tuple(notes))
    scan = WorkingTree(repository)
    scan.scan()
    notes += scan.notes
    dirty = {each: entry for each, entry in scan.changes.items() if entry != trees.find(info.tree, each)}
    if not dirty:
        return Base(commit=head, tree=info.tree, head=head, branch=branch, notes=tuple(notes))
    commit, tree = _snapshot(store, trees, info, dirty, scan.new)
    names = tuple(printable_path(each) for each in dirty)
    return Base(commit=commit, tree=tree, head=head, branch=branch, dirty=names, notes=tuple(notes))


def _head(repository: pygit2.Repository, path: Path) -> CommitId:
    if repository.head_is_unborn:
        raise RepositoryNotUsable(
            f"{path} has no commit yet",
            expected="at least one commit to stand on",
            hint="git add -A && git commit -m start",
        )
    try:
        return CommitId(str(repository.head.peel(pygit2.Commit).id))
    except (pygit2.GitError, KeyError) as exc:
        raise RepositoryNotUsable(
            f"HEAD of {path} can't be read: {exc}", hint="git fsck names what is damaged"
        ) from exc


def _whole(store: ObjectStore, trees: Trees, head: CommitId, path: Path) -> CommitInfo:
    """The head commit, every file of which is there."""
    try:
        info = parse_commit(head, store.read(head))
        files = trees.flat(info.tree)
        missing = [name for name, entry in files.items() if entry.mode != SUBMODULE and not store.exists(entry.blob)]
    except ObjectMissing as exc:
        raise _incomplete(path, ()) from exc
    if missing:
        raise _incomplete(path, tuple(printable_path(name) for name in missing[:_LISTED]))
    return info


def _incomplete(path: Path, places: tuple[str, ...]) -> RepositoryNotUsable:
    return RepositoryNotUsable(
        f"{path} lacks objects of its own HEAD: it is a partial clone, or damaged",
        expected="every file of HEAD among the repository's objects",
        hint="fetch what is missing: git fetch --refetch --no-filter; else git fsck names what is damaged",
        places=places,
    )


def _snapshot(
    store: ObjectStore, trees: Trees, head: CommitInfo, dirty: Mapping[str, Entry | None], blobs: list[Object]
) -> tuple[CommitId, TreeId]:
    """One commit on top of HEAD, dated like it: the same working tree gives the same id."""
    tree, folders = trees.edited(head.tree, dirty)
    commit = new_commit(
        tree, [head.id], f"Uncommitted changes of {len(dirty)} files on top of {head.id[:12]}", {}, head.time
    )
    store.write([*blobs, *folders, commit])
    return CommitId(commit.id), tree


def _notes(store: ObjectStore, trees: Trees, tree: TreeId, *, shallow: bool) -> list[str]:
    files = trees.flat(tree)
    notes = ["shallow clone: history ends where the clone does"] if shallow else []
    notes += _listed("submodules left out", files, lambda _, entry: entry.mode == SUBMODULE)
    attributes = [e.blob for path, e in files.items() if path.rpartition("/")[2] == ".gitattributes"]
    if any(b"filter=lfs" in store.read(blob) for blob in attributes):
        notes.append("Git LFS: large files are kept as their pointers")
    notes += _listed("file names that are not UTF-8", files, lambda path, _: not path.isascii() and _not_utf8(path))
    folded: dict[str, int] = {}
    for path in files:
        folded[path.casefold()] = folded.get(path.casefold(), 0) + 1
    if len(folded) != len(files):
        notes += _listed("names that differ only in case", files, lambda path, _: folded[path.casefold()] > 1)
    return notes


def _listed(what: str, files: Mapping[str, Entry], belongs: Callable[[str, Entry], bool]) -> list[str]:
    names = [printable_path(path) for path, entry in files.items() if belongs(path, entry)]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return [f"{what}: {', '.join(names[:_LISTED])}{more}"] if names else []


def _not_utf8(path: str) -> bool:
    return any("\udc80" <= char <= "\udcff" for char in path)


def _state_notes(repository: pygit2.Repository) -> list[str]:
    state = repository.state()
    return [f"{state.name.lower().replace('_', ' ')} in progress: the working tree is taken as it is"] if state else []
