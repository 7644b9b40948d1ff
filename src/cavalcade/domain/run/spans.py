"""Which span of its run's trace an event belongs to.

    run
      plan 1, plan 2 ...       a round of planning: its decisions, the plan
      approval 1 ...           the wait for a person: approval or feedback
      task t1 attempt 1        from its start to its proposal
        edit 2                 proposal, verdicts, applied or rejected
      verify t1 attempt 1      verdicts on the merged tree, merged or bounced
      explore t1 attempt 1
      publish
      tool <call>              of a recorded program: call and answer

Everything else belongs to the run's own span.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from cavalcade.domain.run.state import RunState
from cavalcade.kernel.ids import RunId
from cavalcade.kernel.trace import span_id
from cavalcade.protocol import events as e


class Span(NamedTuple):
    """`id` and `parent` are 16 hexadecimal digits; the run's own span has the empty parent."""

    id: str
    parent: str
    name: str


@lru_cache(maxsize=1024)
def run_span(run: RunId) -> Span:
    return Span(span_id(run), "", "run")


def spans_of(run: RunId, state: RunState, payloads: Sequence[e.Payload]) -> list[Span]:
    """The span of each of these events, which one command led to in `state`."""
    number = state.round
    spans: list[Span] = []
    for payload in payloads:
        if isinstance(payload, e.PlanProposed):
            number = payload.round
        spans.append(_span_of(run, state, number, payload))
    return spans


def _span_of(run: RunId, state: RunState, number: int, payload: e.Payload) -> Span:
    match payload:
        case e.DecisionMade():
            return _part(run, "plan", number + 1)
        case e.PlanProposed():
            return _part(run, "plan", number)
        case e.PlanApproved():
            return _part(run, "approval", number)
        case e.FeedbackInjected() if state.phase == "awaiting_human":
            return _part(run, "approval", number)
        case e.ResultPublished():
            return _part(run, "publish")
        case e.ToolCalled() | e.ToolAnswered():
            return _part(run, "tool", payload.call)
        case _:
            return _span_of_task(run, state, payload)


def _span_of_task(run: RunId, state: RunState, payload: e.Payload) -> Span:
    match payload:
        case e.EditProposed() | e.EditApplied() | e.EditRejected() | e.GateJudged(edit=int()):
            task = _attempt(run, "task", payload)
            name = ("edit", payload.task, payload.attempt, payload.edit or 0)
            return Span(span_id(run, *name), task.id, f"edit {payload.edit}")
        case e.TaskBounced() if (task := state.tasks.get(payload.task)) and task.status == "started":
            return _attempt(run, "task", payload)  # its own edits were rejected: it was never proposed
        case e.TaskStarted() | e.TaskProposed():
            return _attempt(run, "task", payload)
        case e.GateJudged() | e.TaskMerged() | e.TaskBounced():
            return _attempt(run, "verify", payload)
        case e.ExplorationRecorded():
            return _attempt(run, "explore", payload)
        case _:
            return run_span(run)


_OfTask = (
    e.EditProposed
    | e.EditApplied
    | e.EditRejected
    | e.GateJudged
    | e.TaskStarted
    | e.TaskProposed
    | e.TaskMerged
    | e.TaskBounced
    | e.ExplorationRecorded
)


def _attempt(run: RunId, kind: str, payload: _OfTask) -> Span:
    name = f"{kind} {payload.task} attempt {payload.attempt}"
    return Span(span_id(run, kind, payload.task, payload.attempt), span_id(run), name)


def _part(run: RunId, *name: str | int) -> Span:
    return Span(span_id(run, *name), span_id(run), " ".join(map(str, name)))
