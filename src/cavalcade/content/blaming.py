"""Which commit a line comes from. Goes from the newest commit back, passing each line on to the parent that has it.

Not libgit2's: that one loses files at renames and can't stop at a commit that a shallow clone or the caller sets.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

import pygit2

from cavalcade.content.lines import hunks, split_lines
from cavalcade.content.objects import SUBMODULE, printable_path
from cavalcade.content.port import BlameLine, Entry, FileMove, LineOrigin
from cavalcade.content.renames import find_renames
from cavalcade.content.trees import Trees
from cavalcade.kernel.errors import ContentError
from cavalcade.kernel.ids import BlobId, CommitId, TreeId

_Lines = dict[int, int]
"""Line of the file asked about → the same line in the version at hand; both from 0."""


class Blame:
    def __init__(
        self, repository: pygit2.Repository, trees: Trees, read: Callable[[BlobId], bytes], stop: CommitId | None
    ) -> None:
        self._repository = repository
        self._trees = trees
        self._read = read
        self._stop = stop
        self._found: list[BlameLine] = []
        self._waiting: dict[tuple[str, str], _Lines] = {}
        self._queue: list[tuple[int, str, str]] = []
        self._moves: list[FileMove] = []
        """On the ways of all lines that are asked about, newest first; for one line there is one way."""

    def run(self, commit: CommitId, path: str) -> list[BlameLine]:
        """One entry per line, in order. Raises ContentError when the commit has no such file."""
        start, count = self._file(commit, path)
        self._walk(start, path, range(count))
        return sorted(self._found)

    def trace(self, commit: CommitId, path: str, line: int) -> LineOrigin:
        """Of one line, from 1. Raises ContentError when the commit has no such file, or that no such line."""
        start, count = self._file(commit, path)
        if not 1 <= line <= count:
            raise ContentError(f"{printable_path(path)} has no line {line}", expected=f"1 to {count}")
        self._walk(start, path, (line - 1,))
        (found,) = self._found
        return LineOrigin(found.commit, found.original_path, found.original_line, tuple(reversed(self._moves)))

    def _file(self, commit: CommitId, path: str) -> tuple[pygit2.Commit, int]:
        """The commit, and how many lines its file has."""
        start = self._commit(commit)
        entry = self._entry(start, path) if start else None
        if start is None or entry is None or entry.mode == SUBMODULE:
            raise ContentError(
                f"commit {commit} has no file {printable_path(path)}", hint="give a path as the commit's tree has it"
            )
        return start, len(split_lines(self._read(entry.blob)))

    def _walk(self, start: pygit2.Commit, path: str, lines: Iterable[int]) -> None:
        self._wait(start, path, {line: line for line in lines})
        while self._queue:
            _, here, name = heapq.heappop(self._queue)
            at = self._commit(here)
            assert at is not None
            self._visit(at, name, self._waiting.pop((here, name)))

    def _commit(self, name: str) -> pygit2.Commit | None:
        """None when a shallow or partial clone doesn't have it."""
        try:
            return self._repository[name].peel(pygit2.Commit)
        except KeyError:
            return None

    def _entry(self, commit: pygit2.Commit, path: str) -> Entry | None:
        try:
            found = commit.tree[path]
        except KeyError:
            return None
        return None if isinstance(found, pygit2.Tree) else Entry(BlobId(str(found.id)), int(found.filemode))

    def _wait(self, commit: pygit2.Commit, path: str, lines: _Lines) -> None:
        """Newest first, so that the lines of all children meet before their parent is looked at."""
        if not lines:
            return
        key = (str(commit.id), path)
        if key in self._waiting:
            self._waiting[key].update(lines)
        else:
            self._waiting[key] = lines
            heapq.heappush(self._queue, (-commit.commit_time, *key))

    def _visit(self, commit: pygit2.Commit, path: str, lines: _Lines) -> None:
        if str(commit.id) != self._stop:
            entry = self._entry(commit, path)
            assert entry is not None
            parents = [parent for each in commit.parent_ids if (parent := self._commit(str(each)))]
            for parent in parents:
                before = self._entry(parent, path)
                if before is not None and before.blob == entry.blob:
                    self._wait(parent, path, lines)
                    return
            for parent in parents:
                lines = self._pass_on(commit, parent, path, entry, lines)
        name = CommitId(str(commit.id))
        self._found += [BlameLine(asked + 1, name, here + 1, path) for asked, here in lines.items()]

    def _pass_on(self, commit: pygit2.Commit, parent: pygit2.Commit, path: str, entry: Entry, lines: _Lines) -> _Lines:
        """Gives the parent the lines it has; returns the others."""
        old_path = path if self._entry(parent, path) is not None else self._old_path(commit, parent, path)
        before = self._entry(parent, old_path) if old_path else None
        if not lines or old_path is None or before is None or before.mode == SUBMODULE:
            return lines
        new_lines = set[int]()
        shifts: list[tuple[int, int]] = [(0, 0)]
        for hunk in hunks(self._read(before.blob), self._read(entry.blob)):
            new_lines.update(range(hunk.new_start, hunk.new_end))
            shifts.append((hunk.new_end, hunk.old_end - hunk.new_end))
        older: _Lines = {}
        at = 0
        for asked, here in sorted(lines.items(), key=lambda item: item[1]):
            while at + 1 < len(shifts) and shifts[at + 1][0] <= here:
                at += 1
            if here not in new_lines:
                older[asked] = here + shifts[at][1]
        if older and old_path != path:
            self._moves.append(FileMove(CommitId(str(commit.id)), old_path, path))
        self._wait(parent, old_path, older)
        return {asked: here for asked, here in lines.items() if here in new_lines}

    def _old_path(self, commit: pygit2.Commit, parent: pygit2.Commit, path: str) -> str | None:
        changes = list(self._trees.differences(TreeId(str(parent.tree_id)), TreeId(str(commit.tree_id))))
        removed = {each.path: each.old for each in changes if each.old is not None and each.new is None}
        added = {each.path: each.new for each in changes if each.old is None and each.new is not None}
        return find_renames(removed, added, self._read).get(path)
