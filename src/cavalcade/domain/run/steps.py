"""A run's record read backwards: which command led to which of its events.

Commands are not recorded, only what came of them. What a command held beyond that (the commit of a rejected edit, a retry that there were
no attempts left for) is gone, and no rule ever looked at it: `decide(step.state, step.command)` gives `step.events` again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from cavalcade.domain.plan import SealedPlan
from cavalcade.domain.run import commands as c
from cavalcade.domain.run.evolve import Fact, fold
from cavalcade.domain.run.state import RunState
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import BlobId
from cavalcade.protocol import events as e

PlanOf = Callable[[BlobId], SealedPlan]
"""Looks up a plan's canonical bytes, which lie in the content store, and unseals them."""


class Step(NamedTuple):
    """`state` is the run's before; `facts` are what the command led to, at least one."""

    state: RunState
    command: c.Command
    facts: tuple[Fact, ...]

    @property
    def events(self) -> tuple[e.Payload, ...]:
        return tuple(fact.payload for fact in self.facts)


def steps(history: Sequence[Fact], plan_of: PlanOf, state: RunState | None = None) -> list[Step]:
    """A run's history, from its first event or from where it stands in `state`, as commands in order.

    A fork's own events are read from the state that its parent was in.

    Raises Refused at an event that no command of a run leads to, or one that stands without those that belong before or after it.
    """
    state = state or RunState()
    found: list[Step] = []
    start = 0
    while start < len(history):
        end = _end_of_group(history, start, state)
        facts = tuple(history[start:end])
        found.append(Step(state, _command(state, facts, plan_of), facts))
        state, start = fold(facts, state), end
    return found


def _end_of_group(history: Sequence[Fact], start: int, state: RunState) -> int:
    """Events of one command lie together: verdicts before their consequence, decisions before the plan."""
    end = start
    while end < len(history) and isinstance(history[end].payload, e.GateJudged | e.DecisionMade):
        end += 1
    if end == len(history):
        raise _unexplained(history[start])
    end += 1
    following = history[end].payload if end < len(history) else None
    match history[end - 1].payload:
        case e.PlanProposed() if state.settings.auto_approve and isinstance(following, e.PlanApproved):
            return end + 1
        case e.RunForked() as forked if _approves(state, forked) and isinstance(following, e.PlanApproved):
            return end + 1
        case e.ExplorationRecorded(retry=None) if isinstance(following, e.RunStopped):
            return end + 1
        case _:
            return end


def _approves(state: RunState, forked: e.RunForked) -> bool:
    return state.going_on().phase == "awaiting_human" and not forked.guidance and forked.settings.auto_approve


_P = TypeVar("_P", bound=e.Payload)


def _only(facts: Sequence[Fact], kind: type[_P]) -> tuple[_P, ...]:
    """Raises Refused when another kind of event is among them."""
    payloads: list[_P] = []
    for fact in facts:
        if not isinstance(fact.payload, kind):
            raise _unexplained(fact)
        payloads.append(fact.payload)
    return tuple(payloads)


def _command(state: RunState, facts: tuple[Fact, ...], plan_of: PlanOf) -> c.Command:
    match facts:
        case (*before, Fact(payload=e.PlanProposed() as proposed)) | (
            *before,
            Fact(payload=e.PlanProposed() as proposed),
            Fact(payload=e.PlanApproved()),
        ):
            decisions = tuple(made.decision for made in _only(before, e.DecisionMade))
            return c.ProposePlan(proposed.round, plan_of(proposed.plan), proposed.plan, decisions)
        case (Fact(payload=e.RunForked() as f), *_):
            return c.Fork(f.parent, f.event, f.version, f.by, f.base, f.guidance, f.objective, f.recipe, f.settings)
        case (Fact(payload=e.ExplorationRecorded() as x), *_):
            return c.RecordExploration(x.task, x.attempt, x.finding, x.places, x.retry)
        case (Fact(payload=e.EditProposed() as edit),) if state.plan is not None:
            return c.ProposeEdit(edit.task, edit.attempt, plan_of(state.plan), edit.edit)
        case (Fact(payload=e.TaskBounced() as bounced),) if _started(state, bounced):
            return c.ProposeTask(bounced.task, bounced.attempt)
        case (
            *before,
            Fact(payload=(e.EditApplied() | e.EditRejected() | e.TaskMerged() | e.TaskBounced()) as outcome),
        ):
            return _judgement(state, _only(before, e.GateJudged), outcome)
        case (single,):
            return _command_of_one(single)
        case _:
            raise _unexplained(facts[-1])


def _started(state: RunState, bounced: e.TaskBounced) -> bool:
    task = state.tasks.get(bounced.task)
    return task is not None and task.status == "started"


def _judgement(
    state: RunState,
    verdicts: tuple[e.GateJudged, ...],
    outcome: e.EditApplied | e.EditRejected | e.TaskMerged | e.TaskBounced,
) -> c.Command:
    receipts = tuple(verdict.receipt for verdict in verdicts)
    task = state.tasks[outcome.task]
    name, attempt = outcome.task, outcome.attempt
    match outcome:
        case e.EditApplied() as made:
            return c.JudgeEdit(
                name, attempt, made.edit, made.path, receipts, made.parent, made.commit, made.tree, made.added, made.removed
            )  # fmt: skip
        case e.EditRejected() as not_made:
            return c.JudgeEdit(name, attempt, not_made.edit, not_made.path, receipts, task.commit, None, None, 0, 0)
        case e.TaskMerged() as merged:
            return c.JudgeTask(name, attempt, state.head, receipts, merged.commit, merged.tree)
        case e.TaskBounced() as bounced:
            commit, tree = (None, None) if "merge" in bounced.gates else (task.commit, task.tree)
            return c.JudgeTask(name, attempt, state.head, receipts, commit, tree, bounced.reason, bounced.places)


def _command_of_one(fact: Fact) -> c.Command:
    match fact.payload:
        case e.RunRequested() as request:
            return c.RequestRun(request)
        case e.PlanApproved() as approved:
            return c.Approve(approved.plan_hash, approved.by)
        case e.FeedbackInjected() as f:
            return c.Inject(f.text, f.by, f.objective, f.recipe, f.settings)
        case e.RunAborted() as aborted:
            return c.Abort(aborted.by, aborted.reason)
        case e.RunHalted() as halted:
            return c.Stop(halted.by, halted.reason)
        case e.RunResumed() as resumed:
            return c.Resume(resumed.by)
        case e.RunFailed() as failed:
            return c.Fail(failed.problem)
        case e.TaskStarted() as started:
            return c.StartTask(started.task, started.attempt)
        case e.TaskProposed() as proposed:
            return c.ProposeTask(proposed.task, proposed.attempt)
        case e.ResultPublished() as published:
            return c.RecordPublished(published.branch, published.commit)
        case e.RunCompleted() as completed:
            return c.Complete(completed.overlaps)
        case _:
            return _command_of_recording(fact)


def _command_of_recording(fact: Fact) -> c.Command:
    match fact.payload:
        case e.RecordingStarted() as recording:
            return c.StartRecording(recording)
        case e.FilesChanged() as changed:
            return c.RecordChanges(changed)
        case e.OutputWritten() as piece:
            return c.RecordOutput((piece,))
        case (e.MessageRecorded() | e.ToolCalled() | e.ToolAnswered()) as entry:
            return c.RecordConversation((entry,))
        case e.RecordingEnded() as ended:
            return c.EndRecording(ended.exit_status)
        case _:
            raise _unexplained(fact)


def _unexplained(fact: Fact) -> Refused:
    return Refused(
        f"no command of a run leads to event {fact.id} of type {fact.payload.TYPE} here",
        expected="events that a run's rules decided on, each whole group of them",
    )
