"""The content store without a disk: the real one, git objects and all, over a dictionary in place of a repository.

What needs libgit2's repository or a user's working tree (importing, blame, restoring in place, packing) is not to be had here and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pygit2

from cavalcade.content.git import GitContentStore
from cavalcade.content.objects import Object
from cavalcade.content.objectstore import ObjectStore
from cavalcade.content.references import References, check_reference
from cavalcade.content.trees import Trees
from cavalcade.kernel.errors import ContentError, ObjectMissing, RepositoryNotUsable, VersionConflict
from cavalcade.kernel.ids import CommitId


class MemoryObjects(ObjectStore):
    """Objects by name. For one thread."""

    def __init__(self) -> None:
        self.folder = Path("/nowhere")
        self.objects = self.folder / "objects"
        self._kept: dict[str, Object] = {}

    @property
    def repository(self) -> pygit2.Repository:
        raise ContentError(
            "this content store lives in memory", expected="one on disk, for what needs libgit2 or files"
        )

    def read_object(self, name: str) -> Object:
        if name not in self._kept:
            raise ObjectMissing(f"object {name} is not in the content store in memory", hint="write it first")
        return self._kept[name]

    def exists(self, name: str) -> bool:
        return name in self._kept

    def write(self, new: Iterable[Object]) -> None:
        self._kept.update((each.id, each) for each in new)


class MemoryReferences(References):
    """References by name."""

    def __init__(self, store: MemoryObjects) -> None:
        self._objects = store
        self._kept: dict[str, CommitId] = {}

    def get(self, name: str) -> CommitId | None:
        check_reference(name)
        return self._kept.get(name)

    def set(self, name: str, to: CommitId, expected: CommitId | None) -> None:
        if not self._objects.exists(to):
            raise ObjectMissing(f"{name} can't point to {to}: no such object")
        now = self.get(name)
        if any(
            f"{other}/".startswith(f"{name}/") or name.startswith(f"{other}/") for other in self._kept if other != name
        ):
            raise ContentError(f"{name} is in the way of another name", expected="no name that is another's folder")
        if now not in (to, expected):
            raise VersionConflict(f"{name} is at {now or 'nothing'}", expected=expected or "no such reference yet")
        self._kept[name] = to


class MemoryContent(GitContentStore):
    """`published` is told of each branch that is new in a repository; `branches` are those there, by repository and name."""

    def __init__(self, published: Callable[[Path, str, CommitId], None] | None = None) -> None:
        objects = MemoryObjects()
        self._store = objects
        self._trees = Trees(objects.read)
        self._references = MemoryReferences(objects)
        self._published = published
        self.branches: dict[tuple[Path, str], CommitId] = {}

    def ancestor(self, one: CommitId, other: CommitId) -> CommitId | None:
        mine = self._history(one)
        return next((commit for commit in self._history(other) if commit in mine), None)

    def _history(self, commit: CommitId) -> dict[CommitId, None]:
        """A commit and all that it builds on, the nearest first."""
        found: dict[CommitId, None] = {}
        waiting = [commit]
        while waiting:
            here = waiting.pop(0)
            if here not in found:
                found[here] = None
                waiting.extend(self.info(here).parents)
        return found

    def compact(self, *, enough: int = 0) -> int:  # noqa: ARG002
        """Nothing lies singly in a dictionary."""
        return 0

    def publish(self, repo: Path, branch: str, commit: CommitId) -> None:
        self.check(self.tree_of(commit))
        there = self.branches.get((repo, branch))
        if there not in (None, commit):
            raise RepositoryNotUsable(f"branch {branch} of {repo} is at {there}", expected=f"none, or {commit}")
        self.branches[repo, branch] = commit
        if there is None and self._published is not None:
            self._published(repo, branch, commit)
