"""Why a line is as it is: from blame to the edit, its task, plan, decisions, approval and verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from msgspec.structs import replace

from cavalcade.content.port import BlameLine, CommitInfo, ContentStore
from cavalcade.domain.run import RunState, TaskState
from cavalcade.kernel.errors import NotRecorded, ObjectMissing, UsageError
from cavalcade.kernel.ids import BlobId, CommitId, RunId, TaskId, TreeId
from cavalcade.protocol import events as e
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode
from cavalcade.protocol.plan import Base, Struct
from cavalcade.protocol.receipt import Receipt
from cavalcade.supervisor.runs import RunService
from cavalcade.supervisor.why_recorded import RecordedOrigin, recorded_origin


class GitOrigin(Struct, frozen=True):
    """The commit that the line comes from, where no run's edit made it."""

    commit: CommitId
    author: str
    time: datetime
    summary: str


class Approval(Struct, frozen=True):
    plan_hash: str
    by: str
    time: datetime


class EditOrigin(Struct, frozen=True):
    """The edit that made the line. `hunk` is its unified difference around the line; verdicts are the edit's own and the whole tree's."""

    run: RunId
    objective: str
    task: TaskId
    title: str
    attempt: int
    edit: int
    kind: str
    path: str
    line: int
    event: str
    version: int
    time: datetime
    commit: CommitId
    hunk: str
    plan_hash: str
    approval: Approval | None
    decisions: tuple[Decision, ...]
    edit_verdicts: tuple[Receipt, ...]
    tree_verdicts: tuple[Receipt, ...]
    branch: str = ""
    merged: CommitId = CommitId("")


class Hint(Struct, frozen=True):
    """A result that changed the line too and is not merged."""

    run: RunId
    branch: str
    text: str


class Why(Struct, frozen=True):
    """Who made the line. `kind` is one of

    `edit`: a run's edit; `recorded`: a program that was recorded; `git`: somebody's commit; `uncommitted`: nobody's commit yet.
    """

    path: str
    line: int
    text: str
    kind: Literal["edit", "recorded", "git", "uncommitted"]
    edit: EditOrigin | None = None
    recorded: RecordedOrigin | None = None
    git: GitOrigin | None = None
    note: str = ""
    hints: tuple[Hint, ...] = ()


class _At(NamedTuple):
    commit: CommitId
    path: str
    line: int


class Explainer:
    """Answers for one project; `runs` and `content` are only read."""

    def __init__(self, runs: RunService, content: ContentStore) -> None:
        self._runs = runs
        self._content = content

    async def why(self, base: Base, path: str, line: int, results: Iterable[RunId]) -> Why:
        """For a line as the working tree shows it: `base` is its import, `results` the project's runs to look for hints in.

        Raises UsageError when there is no such line.
        """
        text = self._line(base.tree, path, line)
        blamed = self._blame(base.commit, path, line)
        if blamed.commit == base.commit and base.commit != base.head:
            found = Why(path=path, line=line, text=text, kind="uncommitted", note="the line is not committed yet")
        else:
            found = await self._explain(blamed)
        results = list(results)
        if found.kind in ("git", "uncommitted"):
            found = await self._in_place(base.tree, path, line, results) or found
        if found.kind == "uncommitted":
            return found
        hints = [hint for run in results if (hint := await self._hint(run, base.tree, path, line))]
        origin = found.edit or found.recorded
        others = tuple(hint for hint in hints if origin is None or hint.run != origin.run)
        return replace(found, path=path, line=line, text=text, hints=others)

    async def why_in_run(self, run: RunId, path: str, line: int) -> Why:
        """For a line of a run's result, merged by the user or not. Raises NotRecorded, UsageError."""
        state = await self._runs.load(run)
        tip = tip_of(state)
        text = self._line(self._content.tree_of(tip), path, line)
        blamed = self._blame(tip, path, line)
        if state.start is not None and blamed.commit == state.start.base.commit != state.start.base.head:
            note = f"uncommitted work that run {run} started from"
            return Why(path=path, line=line, text=text, kind="uncommitted", note=note)
        found = await self._explain(blamed)
        return replace(found, path=path, line=line, text=text)

    def _line(self, tree: TreeId, path: str, line: int) -> str:
        lines = self._lines(self._blob(tree, path))
        if not 1 <= line <= len(lines):
            raise UsageError(f"{path} has no line {line}", expected=f"1 to {len(lines)}")
        return lines[line - 1].decode("utf-8", "replace").rstrip("\r\n")

    def _blob(self, tree: TreeId, path: str) -> BlobId:
        entry = self._content.entries(tree).get(path)
        if entry is None:
            raise UsageError(
                f"there is no file {path!r} in this state of the project", hint="paths start at the project's root"
            )
        return entry.blob

    def _lines(self, blob: BlobId) -> list[bytes]:
        return self._content.read(blob).splitlines(keepends=True)

    def _blame(self, commit: CommitId, path: str, line: int, stop: CommitId | None = None) -> BlameLine:
        return self._content.blame(commit, path, stop=stop)[line - 1]

    async def _explain(self, blamed: BlameLine) -> Why:
        """Of the blamed line only the origin is filled in."""
        info = self._content.info(blamed.commit)
        at = _At(blamed.commit, blamed.original_path, blamed.original_line)
        run = info.trailers.get("Cavalcade-Run")
        if run is None:
            return self._by_git(info, at)
        try:
            state, history = await self._runs.load(RunId(run)), await self._runs.history(RunId(run))
        except NotRecorded:
            return self._by_git(info, at, f"made by run {run}, which is not in this data folder")
        if state.recording is not None:
            recorded = recorded_origin(RunId(run), state, history, at.commit, at.path, at.line, self._hunk(at))
            if recorded is None:
                return self._by_git(info, at, f"made by recording {run}, in no state of it that is on record")
            return Why(path=at.path, line=at.line, text="", kind="recorded", recorded=recorded)
        edit = self._in_chain(state, info, at)
        origin = _origin(RunId(run), state, history, edit, self._hunk(edit)) if edit else None
        if origin is None:
            return self._by_git(info, at, f"made by run {run}, by no single edit of it")
        return Why(path=at.path, line=at.line, text="", kind="edit", edit=origin)

    async def _in_place(self, tree: TreeId, path: str, line: int, results: Sequence[RunId]) -> Why | None:
        """The line's origin in the latest recording in place that brought it, whoever committed it since."""
        for run in reversed(results):
            state = await self._runs.load(run)
            if state.recording is None or not state.recording.in_place or path not in self._content.entries(tree):
                continue
            now = self._same_line(tree, state.head_tree, path, line)
            if now is None or self._was_there(state.recording.base.tree, state.head_tree, path, now):
                continue
            blamed = self._blame(state.head, path, now, state.recording.base.commit)
            if (found := await self._explain(blamed)).kind == "recorded":
                return found
        return None

    def _was_there(self, before: TreeId, after: TreeId, path: str, line: int) -> bool:
        return path in self._content.entries(before) and self._same_line(after, before, path, line) is not None

    def _by_git(self, info: CommitInfo, at: _At, note: str = "") -> Why:
        summary = info.message.strip().partition("\n")[0]
        origin = GitOrigin(commit=info.id, author=info.author, time=info.time, summary=summary)
        return Why(path=at.path, line=at.line, text="", kind="git", git=origin, note=note)

    def _in_chain(self, state: RunState, info: CommitInfo, at: _At) -> _At | None:
        """The edit's own commit, path and line, for a line that a result commit brought."""
        if "Cavalcade-Edit" in info.trailers:
            return at
        task = state.tasks.get(TaskId(info.trailers.get("Cavalcade-Task", "")))
        if task is None or not task.commit:
            return None
        line = self._same_line(info.tree, task.tree, at.path, at.line)
        if line is None:
            return None
        blamed = self._blame(task.commit, at.path, line, task.start)
        if "Cavalcade-Edit" not in self._content.info(blamed.commit).trailers:
            return None
        return _At(blamed.commit, blamed.original_path, blamed.original_line)

    def _same_line(self, old: TreeId, new: TreeId, path: str, line: int) -> int | None:
        """The number of an unchanged line in another tree; None when it isn't there as it was."""
        entry = self._content.entries(new).get(path)
        if entry is None:
            return None
        blob = self._blob(old, path)
        if entry.blob == blob:
            return line
        return line_in(self._lines(blob), self._lines(entry.blob), line)

    def _hunk(self, at: _At) -> str:
        info = self._content.info(at.commit)
        diffs = self._content.diff(self._content.tree_of(info.parents[0]), info.tree, context=0)
        patch = next((diff.patch for diff in diffs if diff.path == at.path), "")
        return hunk_with(patch, at.line)

    async def _hint(self, run: RunId, tree: TreeId, path: str, line: int) -> Hint | None:
        state = await self._runs.load(run)
        if state.phase != "completed" or state.start is None or not state.branch:
            return None
        before, after = state.start.base.tree, state.head_tree
        if path not in self._content.entries(before):
            return None
        try:
            old = self._same_line(tree, before, path, line)
            if old is None or self._same_line(before, after, path, old) is not None:
                return None
        except ObjectMissing:
            return None
        return Hint(
            run=run,
            branch=state.branch,
            text=f"run {run} changed this line; its branch {state.branch} is not merged here",
        )


def tip_of(state: RunState) -> CommitId:
    """The furthest state that a run has reached: its head, or a task's own work while nothing is merged."""
    working = [task for task in state.tasks.values() if task.commit and task.status != "merged"]
    merged = any(task.status == "merged" for task in state.tasks.values())
    return state.head if merged or not working else working[-1].commit


def line_in(old: Sequence[bytes], new: Sequence[bytes], line: int) -> int | None:
    """Where line `line` of `old` (from 1) stands in `new`; None when it was changed or removed."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for block in matcher.get_matching_blocks():
        if block.a <= line - 1 < block.a + block.size:
            return block.b + (line - 1 - block.a) + 1
    return None


def hunk_with(patch: str, line: int) -> str:
    """The hunk of a unified difference that has line `line` of the new file; without its header."""
    mine: list[str] = []
    inside = False
    for text in patch.splitlines():
        if text.startswith("@@"):
            start, _, length = text.split("+", 1)[1].split(" ", 1)[0].partition(",")
            inside = int(start) <= line < int(start) + int(length or 1)
        elif inside:
            mine.append(text)
    return "\n".join(mine)


def _origin(run: RunId, state: RunState, history: Sequence[Recorded], at: _At, hunk: str) -> EditOrigin | None:
    """None when no event of the run speaks of that commit."""
    payloads = [(recorded, decode(recorded.event)) for recorded in history]
    edits = [(r, p) for r, p in payloads if isinstance(p, e.EditApplied) and p.commit == at.commit]
    if not edits:
        return None
    applied, made = edits[0]
    proposed = next(p for r, p in payloads if isinstance(p, e.EditProposed) and r.event.id == made.proposal)
    task: TaskState = state.tasks[made.task]
    verdicts = [p for _, p in payloads if isinstance(p, e.GateJudged) and p.task == made.task]
    return EditOrigin(
        run=run,
        objective=state.objective,
        task=made.task,
        title=task.spec.title,
        attempt=made.attempt,
        edit=made.edit,
        kind=proposed.kind,
        path=at.path,
        line=at.line,
        event=applied.event.id,
        version=applied.version,
        time=applied.event.time,
        commit=at.commit,
        hunk=hunk,
        plan_hash=state.approved_hash,
        approval=_approval(payloads, state.approved_hash),
        decisions=tuple(p.decision for _, p in payloads if isinstance(p, e.DecisionMade)),
        edit_verdicts=tuple(v.receipt for v in verdicts if (v.edit, v.attempt) == (made.edit, made.attempt)),
        tree_verdicts=tuple(v.receipt for v in verdicts if v.edit is None and v.attempt == task.attempt),
        branch=state.branch,
        merged=task.merged,
    )


def _approval(payloads: Iterable[tuple[Recorded, e.Payload]], plan_hash: str) -> Approval | None:
    for recorded, payload in payloads:
        if isinstance(payload, e.PlanApproved) and payload.plan_hash == plan_hash:
            return Approval(plan_hash=plan_hash, by=payload.by, time=recorded.event.time)
    return None
