"""A line that somebody brought without its history: squashed, copied, committed by hand. Which run's result has it too?

The content tells, more or less surely: the whole file is the same, or the whole hunk (`likely`), or just the line (a hint, no answer,
unless a program was recorded in place).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from cavalcade.content.lines import split_lines
from cavalcade.content.port import ContentStore, LineOrigin
from cavalcade.domain.run import RunState
from cavalcade.kernel.errors import ObjectMissing
from cavalcade.kernel.ids import CommitId, RunId, TreeId
from cavalcade.supervisor.why.lines import hunk_with, line_in
from cavalcade.supervisor.why.record import Record

Same = Literal["file", "hunk", "line"]
_SURER: tuple[Same, ...] = ("file", "hunk", "line")


class Match(NamedTuple):
    """`origin` is where the run's result has the line from."""

    run: RunId
    state: RunState
    origin: LineOrigin
    same: Same

    @property
    def likely(self) -> bool:
        """The line alone tells only where a program was recorded at work on the user's own folder."""
        recording = self.state.recording
        return self.same != "line" or (recording is not None and recording.in_place)


class Matcher:
    """`results` are the project's runs, oldest first. For one question."""

    def __init__(self, record: Record, content: ContentStore, results: Iterable[RunId]) -> None:
        self._record = record
        self._content = content
        self._results = tuple(results)

    async def best(self, at: LineOrigin, tree: TreeId, before: TreeId | None) -> Match | None:
        """Of the runs that made the line, the one whose change is most like that from `before` to `tree`; of equals, the latest."""
        found = [match for run in self._results if (match := await self._match(run, at, tree, before))]
        return min(reversed(found), key=lambda match: _SURER.index(match.same), default=None)

    async def _match(self, run: RunId, at: LineOrigin, tree: TreeId, before: TreeId | None) -> Match | None:
        state = await self._record.state(run)
        start, tip = state.start, tip_of(state)
        if start is None or not tip:
            return None
        try:
            result = self._content.tree_of(tip)
            line = self.same_line(tree, result, at.path, at.line)
            if line is None:
                return None
            origin = self._content.trace(tip, at.path, line, stop=start.base.commit)
            if origin.commit == start.base.commit:
                return None
            return Match(run, state, origin, self._same(at, line, (before, tree), (start.base.tree, result)))
        except ObjectMissing:
            return None

    def _same(
        self, at: LineOrigin, line: int, change: tuple[TreeId | None, TreeId], result: tuple[TreeId, TreeId]
    ) -> Same:
        before, tree = change
        if self._content.entries(tree)[at.path].blob == self._content.entries(result[1])[at.path].blob:
            return "file"
        if before is not None and self._hunk(before, tree, at.path, at.line) == self._hunk(*result, at.path, line):
            return "hunk"
        return "line"

    def _hunk(self, old: TreeId, new: TreeId, path: str, line: int) -> str:
        diffs = self._content.diff(old, new, context=0)
        return hunk_with(next((diff.patch for diff in diffs if diff.path == path), ""), line)

    def same_line(self, old: TreeId, new: TreeId, path: str, line: int) -> int | None:
        """The number of an unchanged line in another tree; None when it isn't there as it was."""
        entry, before = self._content.entries(new).get(path), self._content.entries(old).get(path)
        if entry is None or before is None:
            return None
        if entry.blob == before.blob:
            return line
        olds, news = split_lines(self._content.read(before.blob)), split_lines(self._content.read(entry.blob))
        return line_in(olds, news, line)

    async def unmerged(self, run: RunId, tree: TreeId, path: str, line: int) -> RunState | None:
        """The run when its result changed a line that stands in `tree` as it was before; else None."""
        state = await self._record.state(run)
        if state.phase != "completed" or state.start is None or not state.branch:
            return None
        before, after = state.start.base.tree, state.head_tree
        try:
            if path not in self._content.entries(before):
                return None
            old = self.same_line(tree, before, path, line)
            if old is None or self.same_line(before, after, path, old) is not None:
                return None
        except ObjectMissing:
            return None
        return state


def tip_of(state: RunState) -> CommitId:
    """The furthest state that a run has reached: its head, or a task's own work while nothing is merged."""
    working = [task for task in state.tasks.values() if task.commit and task.status != "merged"]
    merged = any(task.status == "merged" for task in state.tasks.values())
    return state.head if merged or not working else working[-1].commit
