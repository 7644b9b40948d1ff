"""From a line to the commit that made it, and from there to the record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from cavalcade.content.lines import split_lines
from cavalcade.content.port import CommitInfo, ContentStore, LineOrigin
from cavalcade.kernel.errors import NotRecorded, UsageError
from cavalcade.kernel.ids import CommitId, RunId, TaskId, TreeId
from cavalcade.protocol.plan import Base
from cavalcade.supervisor.runs import RunService
from cavalcade.supervisor.why.answers import GitOrigin, Hint, LineHistory, Why
from cavalcade.supervisor.why.lines import line_before
from cavalcade.supervisor.why.matching import Match, Matcher, tip_of
from cavalcade.supervisor.why.record import Record, Told

__all__ = ["Explainer", "tip_of"]

_SAME = {
    "file": "the file is the same, to the byte, as the run left it",
    "hunk": "the change is the same, line by line, as the run's",
    "line": "this program was recorded writing it here",
}
_LEAST_TELLING = 4
"""A line with fewer characters than this tells nothing about where it is from."""


class _Start(NamedTuple):
    """Where a question begins. `uncommitted` is the commit that holds work nobody has committed, and what to say of its lines."""

    commit: CommitId
    path: str
    line: int
    uncommitted: CommitId | None = None
    note: str = ""


class _Found(NamedTuple):
    """`at` is where the line is from in the finest history there is: a task's own edits rather than its result."""

    why: Why
    at: LineOrigin


class Explainer:
    """Answers for one project; `runs` and `content` are only read."""

    def __init__(self, runs: RunService, content: ContentStore) -> None:
        self._content = content
        self._record = Record(runs, content)

    async def why(self, base: Base, path: str, line: int, results: Iterable[RunId]) -> Why:
        """For a line as the working tree shows it: `base` is its import, `results` the project's runs, oldest first.

        Raises UsageError when there is no such line.
        """
        self._text(base.tree, path, line)
        matcher = Matcher(self._record, self._content, results := tuple(results))
        found = await self._find(_start_of(base, path, line), matcher)
        return replace(found.why, hints=(*found.why.hints, *await self._hints(found.why, base.tree, results, matcher)))

    async def why_in_run(self, run: RunId, path: str, line: int) -> Why:
        """For a line of a run's result, merged by the user or not. Raises NotRecorded, UsageError."""
        start = await self._start_in_run(run, path, line)
        return (await self._find(start, Matcher(self._record, self._content, ()))).why

    async def history(self, base: Base, path: str, line: int, results: Iterable[RunId]) -> LineHistory:
        """Every change of a line that the working tree shows. Raises UsageError."""
        return await self._changes(_start_of(base, path, line), Matcher(self._record, self._content, results))

    async def history_in_run(self, run: RunId, path: str, line: int) -> LineHistory:
        """Every change of a line of a run's result. Raises NotRecorded, UsageError."""
        return await self._changes(await self._start_in_run(run, path, line), Matcher(self._record, self._content, ()))

    async def _start_in_run(self, run: RunId, path: str, line: int) -> _Start:
        state = await self._record.state(run)
        assert state.start is not None  # a loaded run has begun
        base = state.start.base
        note = f"uncommitted work that run {run} started from"
        return _Start(tip_of(state), path, line, base.commit if base.commit != base.head else None, note)

    async def _changes(self, start: _Start, matcher: Matcher) -> LineHistory:
        text = self._text(self._content.tree_of(start.commit), start.path, start.line)
        changes: list[Why] = []
        at: _Start | None = start
        while at is not None:
            found = await self._find(at, matcher)
            made = found.at
            here = self._text(self._content.tree_of(made.commit), made.path, made.line)
            changes.append(replace(found.why, path=made.path, line=made.line, text=here))
            before = self._before(made)
            at = before and start._replace(commit=before.commit, path=before.path, line=before.line)
        return LineHistory(path=start.path, line=start.line, text=text, changes=tuple(changes))

    def _before(self, made: LineOrigin) -> LineOrigin | None:
        """The line that this one replaced, in the first parent that had something in its place."""
        info = self._content.info(made.commit)
        new = self._content.read(self._content.entries(info.tree)[made.path].blob)
        for parent in info.parents:
            tree = self._content.tree_of(parent)
            path = made.path if made.path in self._content.entries(tree) else self._old_path(tree, info.tree, made.path)
            if path and (
                line := line_before(self._content.read(self._content.entries(tree)[path].blob), new, made.line)
            ):
                return LineOrigin(parent, path, line)
        return None

    def _old_path(self, old: TreeId, new: TreeId, path: str) -> str:
        return next(
            (diff.old_path for diff in self._content.diff(old, new) if (diff.path, diff.status) == (path, "R")), ""
        )

    async def _find(self, start: _Start, matcher: Matcher) -> _Found:
        text = self._text(self._content.tree_of(start.commit), start.path, start.line)
        origin = self._content.trace(start.commit, start.path, start.line)
        if origin.commit == start.uncommitted:
            found = await self._uncommitted(origin, start.note, matcher)
        else:
            found = await self._explain(origin, matcher, text)
        moves = [*found.at.moves, *origin.moves] if found.at is not origin else origin.moves
        told = tuple([await self._record.move(move) for move in moves])
        return found._replace(why=replace(found.why, path=start.path, line=start.line, text=text, moves=told))

    async def _explain(self, origin: LineOrigin, matcher: Matcher, text: str) -> _Found:
        info = self._content.info(origin.commit)
        note = _merged_note(info)
        try:
            told = await self._record.named_by(info)
        except NotRecorded:
            told, note = None, f"made by run {info.trailers['Cavalcade-Run']}, which is not in this data folder"
        if told is not None:
            found = self._by_run(told, info, origin, matcher)
            if found.why.kind != "git":
                return found
            note = found.why.note
        why = await self._by_content(origin, info, matcher, telling=len(text.strip()) >= _LEAST_TELLING)
        return _Found(why or _by_git(info, note), origin)

    async def _by_content(self, origin: LineOrigin, info: CommitInfo, matcher: Matcher, *, telling: bool) -> Why | None:
        """For a commit that no run made: what brought the same. A line that isn't `telling` is no hint."""
        brought = self._content.tree_of(info.parents[0]) if info.parents else None
        match = await matcher.best(origin, info.tree, brought)
        why = await self._by_match(match) if match else None
        if match is None or why is None:
            return None
        if match.likely:
            note = f"likely: commit {info.id[:10]} brought it without its history; {_SAME[match.same]}"
            return replace(why, git=_git_origin(info), note=note)
        if not telling:
            return None
        hint = f"run {match.run} made the same line; commit {info.id[:10]} may have it from there"
        hints = (Hint(run=match.run, branch=match.state.branch, text=hint),)
        return replace(_by_git(info, _merged_note(info)), hints=hints)

    def _by_run(self, told: Told, info: CommitInfo, origin: LineOrigin, matcher: Matcher) -> _Found:
        """For a commit whose trailers name a run: one of its own, or one that a person made with the same message."""
        if told.state.recording is not None:
            change = self._record.change_at(told, origin)
            if change is not None:
                return _Found(Why(path="", line=0, text="", kind="recorded", recorded=change), origin)
        at = self._in_chain(told, info, origin, matcher)
        edit = self._record.edit_at(told, at) if at else None
        if at is None or edit is None:
            return _Found(_by_git(info, f"made by run {told.run}, by no single edit of it"), origin)
        why = Why(path="", line=0, text="", kind="edit", edit=edit)
        if at is not origin and info.id not in (told.state.head, told.state.tasks[edit.task].merged):
            note = f"likely: commit {info.id[:10]} names run {told.run} and has the same line"
            why = replace(why, sure="likely", git=_git_origin(info), note=note)
        return _Found(why, at)

    def _in_chain(self, told: Told, info: CommitInfo, origin: LineOrigin, matcher: Matcher) -> LineOrigin | None:
        """The edit's own commit, path and line, for a line that a result commit brought."""
        if "Cavalcade-Edit" in info.trailers:
            return origin
        task = told.state.tasks.get(TaskId(info.trailers.get("Cavalcade-Task", "")))
        if task is None or not task.commit:
            return None
        line = matcher.same_line(info.tree, task.tree, origin.path, origin.line)
        if line is None:
            return None
        at = self._content.trace(task.commit, origin.path, line, stop=task.start)
        return at if "Cavalcade-Edit" in self._content.info(at.commit).trailers else None

    async def _by_match(self, match: Match) -> Why | None:
        """What the record says of the run's own commit that made the line; None when it says nothing of it."""
        info = self._content.info(match.origin.commit)
        found = self._by_run(
            await self._record.of(match.run), info, match.origin, Matcher(self._record, self._content, ())
        ).why
        return None if found.kind == "git" else replace(found, sure="likely", note="")

    async def _uncommitted(self, origin: LineOrigin, note: str, matcher: Matcher) -> _Found:
        """Work that nobody has committed may be what a program was recorded doing in place."""
        info = self._content.info(origin.commit)
        before = self._content.tree_of(info.parents[0]) if info.parents else None
        match = await matcher.best(origin, info.tree, before)
        why = await self._by_match(match) if match and match.likely else None
        if match is None or why is None:
            return _Found(Why(path="", line=0, text="", kind="uncommitted", note=note), origin)
        return _Found(replace(why, note=f"likely: {note}; {_SAME[match.same]}"), origin)

    async def _hints(self, why: Why, tree: TreeId, results: Sequence[RunId], matcher: Matcher) -> list[Hint]:
        named = {why.edit.run if why.edit else "", why.edit.through if why.edit else ""}
        named |= {why.recorded.run if why.recorded else "", *(hint.run for hint in why.hints)}
        hints: list[Hint] = []
        for run in results:
            state = None if run in named else await matcher.unmerged(run, tree, why.path, why.line)
            if state is not None:
                text = f"run {run} changed this line; its branch {state.branch} is not merged here"
                hints.append(Hint(run=run, branch=state.branch, text=text))
        return hints

    def _text(self, tree: TreeId, path: str, line: int) -> str:
        entry = self._content.entries(tree).get(path)
        if entry is None:
            raise UsageError(
                f"there is no file {path!r} in this state of the project", hint="paths start at the project's root"
            )
        lines = split_lines(self._content.read(entry.blob))
        if not 1 <= line <= len(lines):
            raise UsageError(
                f"{path} has no line {line}",
                expected=f"1 to {len(lines)}" if lines else "a file with lines: it is empty",
                hint="`cat -n FILE` numbers its lines; with --run they are those of the run's result",
            )
        return lines[line - 1].decode("utf-8", "replace").rstrip("\r\n")


def _start_of(base: Base, path: str, line: int) -> _Start:
    uncommitted = base.commit if base.commit != base.head else None
    return _Start(base.commit, path, line, uncommitted, "the line is not committed yet")


def _by_git(info: CommitInfo, note: str) -> Why:
    return Why(path="", line=0, text="", kind="git", git=_git_origin(info), note=note)


def _git_origin(info: CommitInfo) -> GitOrigin:
    summary = info.message.strip().partition("\n")[0]
    return GitOrigin(commit=info.id, author=info.author, time=info.time, summary=summary)


def _merged_note(info: CommitInfo) -> str:
    """For a line that neither side of a merge of two results has: somebody settled a conflict."""
    runs = info.trailers.get("Cavalcade-Merges", "").split()
    return f"written where the results of {' and '.join(runs)} were brought together" if runs else ""
