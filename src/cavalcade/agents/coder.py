"""The recipe coder: carries out planned edits one by one, each through the gates, each a commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cavalcade.agents.port import Record, approved_plan
from cavalcade.content.port import Change, ContentStore
from cavalcade.domain.plan import SealedPlan
from cavalcade.domain.run import JudgeEdit, ProposeEdit, ProposeTask, RunState, TaskState
from cavalcade.gates.config import step_config
from cavalcade.gates.port import Gate, Question
from cavalcade.gates.run import judge
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import CommitId, RunId, TaskId, TreeId
from cavalcade.protocol.plan import PlannedEdit
from cavalcade.protocol.receipt import Receipt


class _Step(NamedTuple):
    commit: CommitId
    tree: TreeId
    paths: tuple[str, ...]


class RecipeCoder:
    def __init__(self, record: Record, content: ContentStore, gates: Sequence[Gate], clock: Clock) -> None:
        self._record = record
        self._content = content
        self._gates = gates
        self._clock = clock

    async def work(self, run: RunId, task: TaskId, attempt: int) -> None:
        """Does what is left of an attempt, then proposes it. Goes on where a killed predecessor stood; nothing is done twice.

        Raises Refused when the attempt is no longer the present one.
        """
        state = await self._record.load(run)
        sealed = approved_plan(self._content, state)
        for number in state.tasks[task].edits():
            mine = state.tasks[task]
            if number in mine.applied or number in mine.rejected:
                continue
            state = await self._record.execute(run, ProposeEdit(task, attempt, sealed, number))
            if number in state.tasks[task].open_edits:
                state = await self._land(run, await self._judge(run, state.tasks[task], sealed, number))
        await self._record.execute(run, ProposeTask(task, attempt))

    async def _land(self, run: RunId, verdict: JudgeEdit) -> RunState:
        """Records a verdict. Where the same job was given out twice and the other one was quicker, its verdict stands."""
        try:
            return await self._record.execute(run, verdict)
        except Refused:
            state = await self._record.load(run)
            task = state.tasks[verdict.task]
            if task.attempt == verdict.attempt and verdict.edit in (*task.applied, *task.rejected):
                return state
            raise

    async def _judge(self, run: RunId, task: TaskState, sealed: SealedPlan, number: int) -> JudgeEdit:
        edit = sealed.edit(number)
        assert edit is not None  # the proposal was accepted, so the plan has it
        step = self._step(run, task, sealed, edit)
        if step is None:
            return self._verdict(task, edit, [], None)
        question = Question(task.tree, step.tree, step.paths, step_config(sealed.plan, step.paths))
        return self._verdict(task, edit, await judge(self._gates, question, self._content, self._clock), step)

    def _verdict(self, task: TaskState, edit: PlannedEdit, receipts: list[Receipt], step: _Step | None) -> JudgeEdit:
        diffs = self._content.diff(task.tree, step.tree, context=0) if step else []
        return JudgeEdit(
            task=task.spec.id,
            attempt=task.attempt,
            edit=edit.number,
            path=edit.path,
            receipts=tuple(receipts),
            parent=task.commit,
            commit=step.commit if step else None,
            tree=step.tree if step else None,
            added=sum(diff.added for diff in diffs),
            removed=sum(diff.removed for diff in diffs),
        )

    def _step(self, run: RunId, task: TaskState, sealed: SealedPlan, edit: PlannedEdit) -> _Step | None:
        """The edit as a commit on the task's head, merged where the file has changed since the plan; None on a conflict."""
        changes = changes_of(edit)
        when = task.open_edits[edit.number].time
        trailers = {
            "Cavalcade-Run": run,
            "Cavalcade-Task": task.spec.id,
            "Cavalcade-Edit": str(edit.number),
            "Cavalcade-Event": task.open_edits[edit.number].proposal,
        }
        message = f"{edit.kind} edit {edit.number}: {edit.path}"
        paths = tuple(change.path for change in changes)
        here = self._content.entries(task.tree).get(edit.moved_from or edit.path)
        if (here.blob if here else None) == edit.before:
            commit = self._content.commit([task.commit], changes, message=message, trailers=trailers, when=when)
            return _Step(commit, self._content.tree_of(commit), paths)
        base = sealed.plan.base_tree
        root = self._content.commit_tree([], base, message="base", trailers={}, when=when)
        planned = self._content.commit([root], changes, message="planned", trailers={}, when=when)
        merge = self._content.merge(base, task.tree, self._content.tree_of(planned))
        if merge.tree is None:
            return None
        commit = self._content.commit_tree([task.commit], merge.tree, message=message, trailers=trailers, when=when)
        return _Step(commit, merge.tree, paths)


def changes_of(edit: PlannedEdit) -> list[Change]:
    """The edit as changes of a tree: a move removes the old path."""
    changes = [Change(edit.path, edit.after, edit.mode)]
    if edit.moved_from and edit.moved_from != edit.path:
        changes.insert(0, Change(edit.moved_from, None))
    return changes
