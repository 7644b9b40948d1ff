"""Folding events into state. Total: any event that was recorded can be folded, in the order of the stream."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from msgspec.structs import replace

from cavalcade.domain.run.state import OpenEdit, Phase, RunState, TaskState
from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import CommitId, EventId, TaskId
from cavalcade.protocol import events as e


class Fact(NamedTuple):
    """A recorded event as the decider sees it."""

    id: EventId
    time: datetime
    payload: e.Payload


def fold(facts: Iterable[Fact], state: RunState | None = None) -> RunState:
    result = state or RunState()
    for fact in facts:
        result = evolve(result, fact)
    return result


def evolve(state: RunState, fact: Fact) -> RunState:
    return replace(_apply(state, fact), version=state.version + 1)


def _apply(state: RunState, fact: Fact) -> RunState:
    match fact.payload:
        case (
            e.TaskStarted()
            | e.EditProposed()
            | e.EditApplied()
            | e.EditRejected()
            | e.TaskProposed()
            | e.TaskBounced()
            | e.ExplorationRecorded()
        ) as payload:
            task = _evolve_task(_task(state, payload.task, fact), payload, fact, state.version + 1)
            return _with_task(state, payload.task, task)
        case e.TaskMerged() as merged:
            return _merge(state, merged, fact)
        case _:
            return _apply_to_run(state, fact)


def _apply_to_run(state: RunState, fact: Fact) -> RunState:
    match fact.payload:
        case e.RunRequested() as payload:
            base = payload.base
            known: dict[str, Any] = {
                "objective": payload.objective,
                "recipe": payload.recipe,
                "settings": payload.settings,
            }
            return _enter(state, "planning", fact, request=payload, head=base.commit, head_tree=base.tree, **known)
        case e.RunForked() as payload:
            return _fork(state, payload, fact)
        case e.PlanProposed() as payload:
            tasks = {spec.id: TaskState(spec=spec) for spec in payload.tasks}
            known = {"counts": payload.counts, "tests_refused": payload.tests_refused, "tasks": tasks}
            return _enter(
                state,
                "awaiting_human",
                fact,
                round=payload.round,
                plan_hash=payload.plan_hash,
                plan=payload.plan,
                **known,
            )
        case e.PlanApproved() as payload:
            return _enter(state, "executing", fact, approved_hash=payload.plan_hash, approved_by=payload.by)
        case e.FeedbackInjected() as payload:
            # A plan that is being made answers the former objective: its round is over.
            known = {
                "objective": payload.objective,
                "recipe": payload.recipe,
                "settings": payload.settings,
                "feedback": payload,
                "round": state.round + (state.phase == "planning"),
            }
            return _enter(state, "planning", fact, plan_hash="", plan=None, tasks={}, **known)
        case e.ResultPublished() as payload:
            return replace(state, published=True, branch=payload.branch)
        case e.RunHalted() | e.RunResumed() as payload:
            return _halt(state, payload, fact)
        case e.RecordingStarted() | e.FilesChanged() | e.RecordingEnded() as payload:
            return _record(state, payload, fact)
        case _:
            return _close(state, fact)


def _record(state: RunState, payload: e.RecordingStarted | e.FilesChanged | e.RecordingEnded, fact: Fact) -> RunState:
    match payload:
        case e.RecordingStarted():
            known = {"recording": payload, "objective": shlex.join(payload.command)}
            return _enter(state, "recording", fact, head=payload.base.commit, head_tree=payload.base.tree, **known)
        case e.FilesChanged():
            return replace(state, head=payload.commit, head_tree=payload.tree, looks=state.looks + 1)
        case e.RecordingEnded():
            return _enter(state, "completed", fact, exit_status=payload.exit_status)


def _halt(state: RunState, payload: e.RunHalted | e.RunResumed, fact: Fact) -> RunState:
    state = state.going_on()
    match payload:
        case e.RunHalted():
            known = {"halted_in": state.phase, "halted_by": payload.by, "stop_reason": payload.reason}
            # What a recorded program did last, and its end, are still to be recorded.
            return replace(state, **known) if state.recording else _enter(state, "halted", fact, **known)
        case e.RunResumed():
            return _enter(state, state.phase, fact)


def _close(state: RunState, fact: Fact) -> RunState:
    match fact.payload:
        case e.RunCompleted() as payload:
            return _enter(state, "completed", fact, overlaps=payload.overlaps)
        case e.RunStopped() as payload:
            return _enter(state, "stopped", fact, stop_reason=payload.reason, stop_places=payload.places)
        case e.RunAborted() as payload:
            return _enter(state, "aborted", fact, stop_reason=payload.reason)
        case e.RunFailed() as payload:
            return _enter(state, "failed", fact, problem=payload.problem)
        case _:  # decisions and verdicts are on the record for people; no rule depends on them
            return state


def _fork(state: RunState, forked: e.RunForked, fact: Fact) -> RunState:
    """From here on it is another run: what its parent published, how it ended and what it overlapped with is the parent's own."""
    own = RunState()
    state = replace(
        state.going_on(),
        parent=forked.parent,
        shared=state.version,
        objective=forked.objective,
        recipe=forked.recipe,
        settings=forked.settings,
        published=False,
        branch="",
    )
    if not forked.guidance:
        return _enter(state, state.phase, fact)
    if (recording := state.recording) is not None:
        request = e.RunRequested(
            objective=forked.objective,
            project=recording.project,
            repository=recording.repository,
            base=recording.base,
            recipe=forked.recipe,
            settings=forked.settings,
        )
        state = replace(state, request=request, recording=None, exit_status=None, looks=0)
    feedback = e.FeedbackInjected(
        text=forked.guidance,
        by=forked.by,
        objective=forked.objective,
        recipe=forked.recipe,
        settings=forked.settings,
    )
    return _enter(
        state,
        "planning",
        fact,
        head=forked.base.commit,
        head_tree=forked.base.tree,
        feedback=feedback,
        round=state.round + (state.phase == "planning"),
        **{name: getattr(own, name) for name in _OF_A_PLAN},
    )


_OF_A_PLAN = (
    "plan_hash",
    "plan",
    "counts",
    "tests_refused",
    "approved_hash",
    "approved_by",
    "tasks",
    "overlaps",
    "problem",
    "stop_reason",
    "stop_places",
)
"""What of a state belongs to a plan and how it was carried out: gone where planning starts anew."""


def _enter(state: RunState, phase: Phase, fact: Fact, **known: Any) -> RunState:
    return replace(state, phase=phase, since=fact.time, **known)


def _task(state: RunState, name: TaskId, fact: Fact) -> TaskState:
    """Raises LedgerDamaged for one that is in no plan of the run: no rule ever recorded that."""
    task = state.tasks.get(name)
    if task is None:
        raise LedgerDamaged(f"event {fact.id} is about task {name}, which the run does not have")
    return task


def _with_task(state: RunState, task: TaskId, new: TaskState) -> RunState:
    return replace(state, tasks={**state.tasks, task: new})


def _evolve_task(task: TaskState, payload: e.Payload, fact: Fact, version: int) -> TaskState:
    match payload:
        case e.TaskStarted():
            first = {} if task.start else {"start": payload.commit, "start_tree": payload.tree}
            return replace(
                task,
                status="started",
                attempt=payload.attempt,
                commit=payload.commit,
                tree=payload.tree,
                applied=(),
                rejected=(),
                open_edits={},
                **first,
            )
        case e.EditProposed():
            opened = OpenEdit(path=payload.path, proposal=fact.id, time=fact.time)
            return replace(task, open_edits={**task.open_edits, payload.edit: opened})
        case e.EditApplied():
            return replace(
                task,
                commit=payload.commit,
                tree=payload.tree,
                applied=(*task.applied, payload.edit),
                open_edits=_without(task.open_edits, payload.edit),
            )
        case e.EditRejected():
            return replace(
                task, rejected=(*task.rejected, payload.edit), open_edits=_without(task.open_edits, payload.edit)
            )
        case e.TaskProposed():
            complete = {"complete": task.commit, "complete_tree": task.tree} if task.attempt == 1 else {}
            return replace(task, status="proposed", proposed_at=fact.time, queued=version, **complete)
        case e.TaskBounced():
            return replace(task, status="bounced", bounced_by=payload.gates)
        case e.ExplorationRecorded() if payload.retry is not None:
            return replace(task, status="retrying", retry=payload.retry)
        case _:
            return task


def _without(edits: dict[int, OpenEdit], number: int) -> dict[int, OpenEdit]:
    return {key: value for key, value in edits.items() if key != number}


def _merge(state: RunState, merged: e.TaskMerged, fact: Fact) -> RunState:
    task = replace(_task(state, merged.task, fact), status="merged", merged=merged.commit)
    state = _with_task(state, merged.task, task)
    state = replace(state, head=CommitId(merged.commit), head_tree=merged.tree)
    if all(other.status == "merged" for other in state.tasks.values()):
        return _enter(state, "publishing", fact)
    return state
