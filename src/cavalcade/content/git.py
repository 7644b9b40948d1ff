"""The content store on git objects in a bare repository of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import pygit2

from cavalcade.content.blaming import Blame
from cavalcade.content.compacting import ENOUGH, compact
from cavalcade.content.copying import add_git
from cavalcade.content.diffing import diff_files
from cavalcade.content.folder import GitFolder
from cavalcade.content.importing import import_repository
from cavalcade.content.inplace import prepare_in_place
from cavalcade.content.merging import merge_trees
from cavalcade.content.objects import SUBMODULE, Object, new_commit, new_object, parse_commit
from cavalcade.content.objectstore import ObjectStore
from cavalcade.content.port import (
    BlameLine,
    Change,
    CommitInfo,
    Entry,
    FileDiff,
    FolderReader,
    InPlace,
    LineOrigin,
    Merge,
)
from cavalcade.content.publishing import publish
from cavalcade.content.references import References
from cavalcade.content.restoring import check_claim, checked, claimed, restore_files
from cavalcade.content.sweeping import unreadable
from cavalcade.content.trees import EMPTY_TREE, Trees
from cavalcade.kernel.errors import ContentError, ObjectMissing
from cavalcade.kernel.ids import BlobId, CommitId, TreeId
from cavalcade.protocol.plan import Base


class GitContentStore:
    """`ContentStore` in `folder`, which is made when absent. Safe for several threads and several processes at once.

    Durable means: on return every object written is on disk, as is the reference that was set. Nothing is ever deleted here.
    """

    def __init__(self, folder: Path) -> None:
        self._store = ObjectStore(folder)
        self._trees = Trees(self._store.read)
        self._references = References(self._store)

    def import_repository(self, repo: Path, *, include_uncommitted: bool = True) -> Base:
        return import_repository(self._store, self._trees, repo, include_uncommitted=include_uncommitted)

    def folder(self, folder: Path) -> FolderReader:
        return GitFolder(folder, self._store)

    def copy(self, base: Base, original: Path, into: Path) -> None:
        self.restore(base.tree, into)
        add_git(self._store, into, base, original)

    def entries(self, tree: TreeId) -> Mapping[str, Entry]:
        """Sorted by path, submodules included with mode 0o160000. Costs the difference to the tree asked for before."""
        return self._trees.flat(tree)

    def read(self, blob: BlobId) -> bytes:
        return self._store.read(blob)

    def write(self, data: bytes) -> BlobId:
        return self.write_all([data])[0]

    def write_all(self, contents: Sequence[bytes]) -> list[BlobId]:
        """Their way to the disk is shared."""
        blobs = [new_object("blob", data) for data in contents]
        self._store.write(list(dict.fromkeys(blobs)))
        return [BlobId(blob.id) for blob in blobs]

    def commit(
        self,
        parents: Sequence[CommitId],
        changes: Sequence[Change],
        *,
        message: str,
        trailers: Mapping[str, str],
        when: datetime,
    ) -> CommitId:
        """Removing what isn't there changes nothing. Raises ContentError for unsafe, repeated or clashing paths, ObjectMissing."""
        edits = {change.path: Entry(change.blob, change.mode) if change.blob else None for change in changes}
        if len(edits) != len(changes):
            raise ContentError("a path is changed twice in one commit", expected="one change per path")
        for entry in edits.values():
            if entry is not None and entry.mode != SUBMODULE and not self._store.exists(entry.blob):
                raise ObjectMissing(
                    f"no blob {entry.blob} in the content store", hint="write it before it is committed"
                )
        tree, folders = self._trees.edited(self.tree_of(parents[0]) if parents else EMPTY_TREE, edits)
        commit = new_commit(tree, parents, message, trailers, when)
        self._store.write([*folders, commit])
        return CommitId(commit.id)

    def commit_tree(
        self, parents: Sequence[CommitId], tree: TreeId, *, message: str, trailers: Mapping[str, str], when: datetime
    ) -> CommitId:
        needed = list[Object]()
        if tree == EMPTY_TREE:
            needed.append(new_object("tree", b""))
        for name in parents if tree == EMPTY_TREE else (tree, *parents):
            if not self._store.exists(name):
                raise ObjectMissing(f"no object {name} in the content store")
        commit = new_commit(tree, parents, message, trailers, when)
        self._store.write([*needed, commit])
        return CommitId(commit.id)

    def info(self, commit: CommitId) -> CommitInfo:
        """The message without its trailers."""
        return parse_commit(commit, self._store.read(commit))

    def tree_of(self, commit: CommitId) -> TreeId:
        return self.info(commit).tree

    def diff(self, old: TreeId, new: TreeId, *, context: int = 3) -> list[FileDiff]:
        """Sorted by path. Patches are what `git apply` takes; bytes that are not UTF-8 come as U+FFFD."""
        return diff_files(self._trees.differences(old, new), self.read, context=context)

    def merge(self, base: TreeId, ours: TreeId, theirs: TreeId) -> Merge:
        merge, new = merge_trees(self._trees, self.read, base, ours, theirs)
        self._store.write(new)
        return merge

    def ancestor(self, one: CommitId, other: CommitId) -> CommitId | None:
        try:
            found = cast("pygit2.Oid | None", self._store.repository.merge_base(one, other))
        except (pygit2.GitError, KeyError, ValueError) as exc:
            raise ObjectMissing(f"the history of {one[:10]} and {other[:10]} is not all here: {exc}") from exc
        return None if found is None else CommitId(str(found))

    def restore(
        self, tree: TreeId, into: Path, *, was: TreeId | None = None, only: Callable[[str], bool] | None = None
    ) -> int:
        """After a kill the same call finishes the work. Submodules: empty folders."""
        if was is None:
            check_claim(into, tree)
        differences = self._trees.differences(was or EMPTY_TREE, tree)
        chosen = [each for each in differences if only is None or only(each.path)]
        read = checked(chosen, self.read)
        if was is not None:
            return restore_files(chosen, read, into)
        with claimed(into, tree):
            return restore_files(chosen, read, into)

    def check(self, tree: TreeId) -> None:
        files = self._trees.differences(EMPTY_TREE, tree)
        checked(files, self.read, keep_bytes=0)

    def unreadable(self, names: Iterable[str], seen: set[str]) -> list[ObjectMissing]:
        return unreadable(self._store.read_object, names, seen)

    def compact(self, *, enough: int = ENOUGH) -> int:
        return compact(self._store, enough=enough)

    def prepare_in_place(self, repo: Path, tree: TreeId, *, replace_ignored: bool = False) -> InPlace:
        return prepare_in_place(self._store, self._trees, repo, tree, replace_ignored=replace_ignored)

    def restore_in_place(self, prepared: InPlace) -> int:
        read = checked(prepared.differences, self.read)
        return restore_files(prepared.differences, read, prepared.folder, prepared.marks)

    def blame(self, commit: CommitId, path: str, *, stop: CommitId | None = None) -> list[BlameLine]:
        """One entry per line. Lines older than `stop` are put down to it. Follows renames and merges."""
        return Blame(self._store.repository, self._trees, self.read, stop).run(commit, path)

    def trace(self, commit: CommitId, path: str, line: int, *, stop: CommitId | None = None) -> LineOrigin:
        """As `blame` finds it, for the price of one line."""
        return Blame(self._store.repository, self._trees, self.read, stop).trace(commit, path, line)

    def ref(self, name: str) -> CommitId | None:
        return self._references.get(name)

    def set_ref(self, name: str, to: CommitId, *, expected: CommitId | None) -> None:
        self._references.set(name, to, expected)

    def publish(self, repo: Path, branch: str, commit: CommitId) -> None:
        publish(self._store, repo, branch, commit)
