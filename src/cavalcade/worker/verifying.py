"""Judging a proposal: merged onto the head, then gates over the whole tree, then the affected tests."""

from __future__ import annotations

from contextlib import closing

import msgspec

from cavalcade.agents.port import approved_plan
from cavalcade.content.port import Conflict, ContentStore
from cavalcade.domain.run import JudgeTask, RunState, TaskState
from cavalcade.gates.change import is_python
from cavalcade.gates.config import renames, tree_config
from cavalcade.gates.defaults import tree_gates
from cavalcade.gates.port import Question
from cavalcade.gates.run import judge
from cavalcade.kernel.ids import CommitId, RunId, TreeId
from cavalcade.protocol.plan import Place, Plan, TestPlan
from cavalcade.terrain.index import Index
from cavalcade.worker.workshop import Workshop


async def verify(shop: Workshop, state: RunState, run: RunId, task: TaskState) -> JudgeTask:
    """Verdict on one proposal. Raises SandboxUnavailable when tests are due and can't be run safely: there is no verdict then."""
    content = shop.content_of(state)
    plan = approved_plan(content, state).plan
    merge = content.merge(task.start_tree, state.head_tree, task.tree)
    if merge.tree is None:
        return _conflict(state, task, merge.conflicts)
    changed = tuple(sorted(diff.path for diff in content.diff(state.head_tree, merge.tree, context=0)))
    question = Question(state.head_tree, merge.tree, changed, tree_config(plan))
    with closing(Index(content, shop.index_cache)) as index:
        receipts = await judge(tree_gates(index), question, content, shop.clock)
    if not any(receipt.verdict == "failed" for receipt in receipts) and state.settings.tests:
        trees = state.head_tree, merge.tree
        receipts.append(await shop.tests.judge(state, content, trees, _tests_of(plan, task), renames(plan)))
    failed = [receipt for receipt in receipts if receipt.verdict == "failed"]
    return JudgeTask(
        task=task.spec.id,
        attempt=task.attempt,
        head=state.head,
        receipts=tuple(receipts),
        commit=_result_commit(content, state, run, task, merge.tree),
        tree=merge.tree,
        reason="; ".join(f"{receipt.gate}: {receipt.summary}" for receipt in failed),
    )


def _tests_of(plan: Plan, task: TaskState) -> TestPlan:
    """The plan's selection, and the whole suite once a residual edit is tried in a file that no import leads to."""
    tried = [edit.path for edit in plan.edits if edit.number in task.retry]
    if all(is_python(path) for path in tried):
        return plan.tests
    return msgspec.structs.replace(plan.tests, selection=(), why="a file was tried of which nobody knows who reads it")


def _result_commit(content: ContentStore, state: RunState, run: RunId, task: TaskState, tree: TreeId) -> CommitId:
    """One commit for the whole task on the head: what the result branch will show."""
    assert task.proposed_at is not None
    assert state.request is not None
    trailers = {"Cavalcade-Run": run, "Cavalcade-Task": task.spec.id, "Cavalcade-Plan": state.approved_hash}
    message = f"{task.spec.title}\n\n{state.objective}"
    return content.commit_tree([state.head], tree, message=message, trailers=trailers, when=task.proposed_at)


def _conflict(state: RunState, task: TaskState, conflicts: tuple[Conflict, ...]) -> JudgeTask:
    paths = ", ".join(conflict.path for conflict in conflicts[:5])
    return JudgeTask(
        task=task.spec.id,
        attempt=task.attempt,
        head=state.head,
        receipts=(),
        commit=None,
        tree=None,
        reason=f"the edits conflict with what was merged before, in {paths}",
        places=tuple(Place(path=conflict.path, line=1, why="merge conflict") for conflict in conflicts),
    )
