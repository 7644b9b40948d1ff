"""What other rooms may ask of a content store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from cavalcade.kernel.errors import ObjectMissing
from cavalcade.kernel.ids import BlobId, CommitId, TreeId
from cavalcade.protocol.plan import Base


class Entry(NamedTuple):
    """A file of a tree. `mode` is git's: 0o100644, 0o100755, 0o120000 (symlink), 0o160000 (submodule)."""

    blob: BlobId
    mode: int


class Difference(NamedTuple):
    """One path that differs between two trees; None where it is absent."""

    path: str
    old: Entry | None
    new: Entry | None


class Change(NamedTuple):
    """One path's new content; `blob` None removes it."""

    path: str
    blob: BlobId | None
    mode: int = 0o100644


class FileDiff(NamedTuple):
    """One path's difference. `patch` is unified text, empty for binary files."""

    path: str
    old_path: str
    status: str
    """`A`dded, `D`eleted, `M`odified, `R`enamed, `T`ype changed."""
    added: int
    removed: int
    binary: bool
    patch: str


class Conflict(NamedTuple):
    path: str
    base: BlobId | None
    ours: BlobId | None
    theirs: BlobId | None


class Merge(NamedTuple):
    """`tree` is None when there are conflicts."""

    tree: TreeId | None
    conflicts: tuple[Conflict, ...]


class BlameLine(NamedTuple):
    line: int
    commit: CommitId
    original_line: int
    original_path: str


class FileMove(NamedTuple):
    """`commit` is the one whose tree has the file at `new_path` for the first time."""

    commit: CommitId
    old_path: str
    new_path: str


class LineOrigin(NamedTuple):
    """The commit that made a line, where it stood then, and how its file has moved since, oldest move first."""

    commit: CommitId
    path: str
    line: int
    moves: tuple[FileMove, ...] = ()


class CommitInfo(NamedTuple):
    id: CommitId
    tree: TreeId
    parents: tuple[CommitId, ...]
    author: str
    time: datetime
    message: str
    trailers: Mapping[str, str]


class Unsettled(Exception):
    """A file changed while it was read."""


class FileContent(NamedTuple):
    """What a path holds as git keeps it; `data` is None where the store has the blob already."""

    entry: Entry
    data: bytes | None = None


class FolderReader(Protocol):
    """A folder that somebody works in. Never writes to it. For one thread."""

    @property
    def partial(self) -> bool:
        """Whether files that the project has may be missing from the folder on purpose (a sparse checkout)."""
        ...

    def ignored(self, path: str) -> bool:
        """Whether git leaves a path out that it doesn't know yet. A folder's path ends with `/`."""
        ...

    def storable(self, path: str) -> bool:
        """Whether a tree may hold this path: not one that opens `.git` on some file system."""
        ...

    def read(self, path: str, before: Entry | None) -> FileContent:
        """A file or symbolic link, whole. Large ones are stored on the way.

        Raises Unsettled when it changed meanwhile, OSError when it can't be read, ContentError when it can't be stored.
        """
        ...


class Mark(NamedTuple):
    """A file as the file system tells it without being read: two equal marks, the same content."""

    inode: int
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class InPlace(NamedTuple):
    """What it takes to turn a working tree into `tree`, found and checked. Nothing is written yet but to the store.

    `saved` holds every file that will be replaced or removed, and all uncommitted work; `dirty` names what of it HEAD doesn't have.
    `marks` are the files to be touched as they were when they were saved. `notes` say what is left alone.
    """

    folder: Path
    tree: TreeId
    saved: CommitId
    saved_tree: TreeId
    dirty: tuple[str, ...]
    differences: tuple[Difference, ...]
    marks: Mapping[str, Mark | None]
    notes: tuple[str, ...]


class TreeReader(Protocol):
    """Read-only view that terrain, recipes and gates get."""

    def entries(self, tree: TreeId) -> Mapping[str, Entry]:
        """Every file of a tree by its path with `/`. Cached: asking again for the same tree costs nothing."""
        ...

    def read(self, blob: BlobId) -> bytes:
        """Raises ObjectMissing."""
        ...


class ContentStore(TreeReader, Protocol):
    """Writes are durable when the call returns; object writes are idempotent, refs move by compare-and-set only."""

    def import_repository(self, repo: Path, *, include_uncommitted: bool = True) -> Base:
        """Copies what the user's repository shows now. Never writes to it.

        Raises NotARepository, RepositoryNotUsable.
        """
        ...

    def folder(self, folder: Path) -> FolderReader:
        """Raises NotARepository, RepositoryNotUsable when the folder is no repository's top."""
        ...

    def copy(self, base: Base, original: Path, into: Path) -> None:
        """The files of `base` in an absent or empty folder, which becomes a repository of its own at the commit that `base` stands on.

        `original` is the repository that `base` was imported from. Raises ContentError.
        """
        ...

    def write(self, data: bytes) -> BlobId: ...

    def write_all(self, contents: Sequence[bytes]) -> list[BlobId]:
        """Many blobs for the price of a few."""
        ...

    def commit(
        self,
        parents: Sequence[CommitId],
        changes: Sequence[Change],
        *,
        message: str,
        trailers: Mapping[str, str],
        when: datetime,
    ) -> CommitId:
        """The first parent's tree with `changes` applied. Same arguments, same id: doing it twice changes nothing."""
        ...

    def commit_tree(
        self, parents: Sequence[CommitId], tree: TreeId, *, message: str, trailers: Mapping[str, str], when: datetime
    ) -> CommitId: ...

    def info(self, commit: CommitId) -> CommitInfo: ...

    def tree_of(self, commit: CommitId) -> TreeId: ...

    def diff(self, old: TreeId, new: TreeId, *, context: int = 3) -> list[FileDiff]: ...

    def merge(self, base: TreeId, ours: TreeId, theirs: TreeId) -> Merge:
        """Three-way merge of trees; a file changed on both sides is merged by lines."""
        ...

    def ancestor(self, one: CommitId, other: CommitId) -> CommitId | None:
        """The newest commit that both build on (one of them, when the other builds on it); None when they share no history."""
        ...

    def restore(
        self, tree: TreeId, into: Path, *, was: TreeId | None = None, only: Callable[[str], bool] | None = None
    ) -> int:
        """Makes folder `into` hold exactly `tree`; returns the number of files written or removed.

        With `was` (the tree the folder is known to hold) the cost follows the difference. Without it the folder must be empty or
        absent. `only` picks the paths that matter (all when None); others are neither written nor removed. Raises ContentError when
        the folder isn't empty, or when a path would leave it.
        """
        ...

    def check(self, tree: TreeId) -> None:
        """Reads everything that a tree holds. Raises ObjectMissing naming the objects that can't be read, and their paths."""
        ...

    def unreadable(self, names: Iterable[str], seen: set[str]) -> list[ObjectMissing]:
        """Reads objects by their names, commits with their trees, trees with all that is in them; what went wrong, one for each object.

        `seen` are those that need not be read again; those read here are added.
        """
        ...

    def compact(self) -> int:
        """Puts what lies singly together where that is worth its while; how many objects. Nobody who reads meanwhile notices."""
        ...

    def prepare_in_place(self, repo: Path, tree: TreeId, *, replace_ignored: bool = False) -> InPlace:
        """Saves what the user's working tree holds into this store, and finds what differs from `tree`. Never writes to it.

        Raises RepositoryNotUsable when git is in the middle of something; ContentError naming the files that stand in the way, which
        git ignores (unless `replace_ignored`: then they are saved too) or can't keep; ObjectMissing when `tree` can't be read whole.
        """
        ...

    def restore_in_place(self, prepared: InPlace) -> int:
        """Does what was prepared; the number of files written or removed. HEAD, references and index stay as they are.

        Stops with ContentError, leaving it as it is, at a file that has changed since it was saved. After a kill, prepare again.
        """
        ...

    def blame(self, commit: CommitId, path: str, *, stop: CommitId | None = None) -> list[BlameLine]: ...

    def trace(self, commit: CommitId, path: str, line: int, *, stop: CommitId | None = None) -> LineOrigin:
        """One line's blame (`line` from 1), with the moves of its file on the way. Raises ContentError when there is no such line."""
        ...

    def ref(self, name: str) -> CommitId | None: ...

    def set_ref(self, name: str, to: CommitId, *, expected: CommitId | None) -> None:
        """Raises VersionConflict when the ref is not at `expected` (None: must not exist) and not already at `to`."""
        ...

    def publish(self, repo: Path, branch: str, commit: CommitId) -> None:
        """Copies the commit's objects into the user's repository and creates the branch there: the only write to it, ever.

        Idempotent. Raises RepositoryNotUsable when the branch exists elsewhere or the folder is read-only.
        """
        ...
