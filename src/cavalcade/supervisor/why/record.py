"""What the record says of one commit: a run's edit, a program's change, the move of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cavalcade.content.port import CommitInfo, ContentStore, FileMove, LineOrigin
from cavalcade.domain.run import RunState
from cavalcade.kernel.errors import NotRecorded
from cavalcade.kernel.ids import RunId
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode
from cavalcade.supervisor.runs import RunService
from cavalcade.supervisor.why.answers import EditOrigin, Move, RecordedOrigin
from cavalcade.supervisor.why.conversation import conversation_before
from cavalcade.supervisor.why.lines import hunk_with
from cavalcade.supervisor.why.planning import approval_of, planning_steps

Payloads = Sequence[tuple[Recorded, e.Payload]]


class Told(NamedTuple):
    """A run as it is on record."""

    run: RunId
    state: RunState
    payloads: Payloads


class Record:
    """Runs, each read once. For one question."""

    def __init__(self, runs: RunService, content: ContentStore) -> None:
        self._runs = runs
        self._content = content
        self._told: dict[RunId, Told] = {}

    async def state(self, run: RunId) -> RunState:
        """For less than all that is told of it. Raises NotRecorded."""
        return await self._runs.load(run)

    async def of(self, run: RunId) -> Told:
        """Raises NotRecorded."""
        if run not in self._told:
            state = await self.state(run)
            payloads = [(recorded, decode(recorded.event)) for recorded in await self._runs.history(run)]
            self._told[run] = Told(run, state, payloads)
        return self._told[run]

    async def named_by(self, info: CommitInfo) -> Told | None:
        """The run that a commit's trailers name; None when they name none. Raises NotRecorded when it is not on record here."""
        run = info.trailers.get("Cavalcade-Run")
        return await self.of(RunId(run)) if run else None

    def edit_at(self, told: Told, at: LineOrigin) -> EditOrigin | None:
        """None when no event of the run speaks of that commit."""
        found = next(((r, p) for r, p in told.payloads if isinstance(p, e.EditApplied) and p.commit == at.commit), None)
        if found is None:
            return None
        applied, made = found
        proposed = next(p for r, p in told.payloads if isinstance(p, e.EditProposed) and r.event.id == made.proposal)
        state, task = told.state, told.state.tasks[made.task]
        verdicts = [p for _, p in told.payloads if isinstance(p, e.GateJudged) and p.task == made.task]
        return EditOrigin(
            run=applied.event.run,
            objective=state.objective,
            task=made.task,
            title=task.spec.title,
            attempt=made.attempt,
            edit=made.edit,
            kind=proposed.kind,
            agent=applied.event.agent,
            path=at.path,
            line=at.line,
            event=applied.event.id,
            version=applied.version,
            time=applied.event.time,
            commit=at.commit,
            hunk=self.hunk(at),
            plan_hash=state.approved_hash,
            approval=approval_of(told.payloads, state.approved_hash),
            decisions=tuple(p.decision for _, p in told.payloads if isinstance(p, e.DecisionMade)),
            planning=planning_steps(told.payloads),
            edit_verdicts=tuple(v.receipt for v in verdicts if (v.edit, v.attempt) == (made.edit, made.attempt)),
            tree_verdicts=tuple(v.receipt for v in verdicts if v.edit is None and v.attempt == task.attempt),
            branch=state.branch,
            merged=task.merged,
            through=told.run if told.run != applied.event.run else RunId(""),
        )

    def change_at(self, told: Told, at: LineOrigin) -> RecordedOrigin | None:
        """None when the run is no recording, or no event of it speaks of that commit."""
        recording = told.state.recording
        found = next((r for r, p in told.payloads if isinstance(p, e.FilesChanged) and p.commit == at.commit), None)
        if recording is None or found is None:
            return None
        return RecordedOrigin(
            run=told.run,
            command=recording.command,
            program=recording.program,
            in_place=recording.in_place,
            path=at.path,
            line=at.line,
            event=found.event.id,
            version=found.version,
            time=found.event.time,
            commit=at.commit,
            hunk=self.hunk(at),
            conversation=conversation_before(told.payloads, found, at.path, self._content.read),
            branch=told.state.branch,
        )

    def hunk(self, at: LineOrigin) -> str:
        """Of the commit's difference to its first parent, around the line."""
        info = self._content.info(at.commit)
        if not info.parents:
            return ""
        diffs = self._content.diff(self._content.tree_of(info.parents[0]), info.tree, context=0)
        return hunk_with(next((diff.patch for diff in diffs if diff.path == at.path), ""), at.line)

    async def move(self, moved: FileMove) -> Move:
        """Who moved the file: the edit, recorded program or commit."""
        info = self._content.info(moved.commit)
        try:
            told = await self.named_by(info)
        except NotRecorded:
            told = None
        summary = info.message.strip().partition("\n")[0]
        event = _moving_event(told, moved) if told else None
        if told is None or event is None:
            by, time, run, version = "git", info.time, RunId(""), 0
        else:
            by = "recorded" if told.state.recording else "edit"
            time, run, version = event.event.time, event.event.run, event.version
            summary = told.state.objective or summary
        return Move(
            old_path=moved.old_path,
            new_path=moved.new_path,
            commit=moved.commit,
            time=time,
            by=by,
            summary=summary,
            run=run,
            version=version,
        )


def _moving_event(told: Told, moved: FileMove) -> Recorded | None:
    """A result commit moves what its task's edits have moved."""
    proposals = {
        recorded.event.id
        for recorded, payload in told.payloads
        if isinstance(payload, e.EditProposed)
        and (payload.moved_from, payload.path) == (moved.old_path, moved.new_path)
    }
    for recorded, payload in told.payloads:
        if isinstance(payload, e.FilesChanged) and payload.commit == moved.commit:
            return recorded
        if isinstance(payload, e.EditApplied) and payload.proposal in proposals:
            return recorded
    return None
