"""What is owed in a state. Every effect may be carried out twice: its outcome is a command that is refused or ignored the second time."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from cavalcade.domain.run.state import RunState, TaskState
from cavalcade.kernel.ids import TaskId


class MakePlan(NamedTuple):
    round: int


class WaitForHuman(NamedTuple):
    plan_hash: str
    since: datetime | None


class DoTask(NamedTuple):
    """`started` tells whether the attempt is already on the record and only has to go on."""

    task: TaskId
    attempt: int
    started: bool


class VerifyTask(NamedTuple):
    task: TaskId
    attempt: int


class ExploreTask(NamedTuple):
    task: TaskId
    attempt: int


class Publish(NamedTuple):
    pass


class Finish(NamedTuple):
    pass


class AwaitProgram(NamedTuple):
    """Nothing is owed but the end of the recorded program; its recorder, or whoever resumes the recording, sees to that."""


Effect = MakePlan | WaitForHuman | DoTask | VerifyTask | ExploreTask | Publish | Finish | AwaitProgram


def pending(state: RunState) -> tuple[Effect, ...]:
    match state.phase:
        case "planning":
            return (MakePlan(state.round + 1),)
        case "awaiting_human":
            return (WaitForHuman(state.plan_hash, state.since),)
        case "executing":
            return _owed_to_tasks(state)
        case "publishing":
            return (Finish(),) if state.published else (Publish(),)
        case "recording":
            return (AwaitProgram(),)
        case _:
            return ()


def ready(state: RunState, task: TaskState) -> bool:
    """Dependencies are merged and no task under way has one of its targets."""
    if task.status == "retrying":
        return True
    if task.status != "waiting" or any(state.tasks[other].status != "merged" for other in task.spec.depends_on):
        return False
    busy = {
        target
        for other in state.tasks.values()
        if other.status not in {"waiting", "merged"}
        for target in other.spec.targets
    }
    return busy.isdisjoint(task.spec.targets)


def _owed_to_tasks(state: RunState) -> tuple[Effect, ...]:
    effects: list[Effect] = []
    claimed: set[str] = set()
    for task in state.tasks.values():
        name = task.spec.id
        if task.status == "started":
            effects.append(DoTask(name, task.attempt, started=True))
        elif ready(state, task) and claimed.isdisjoint(task.spec.targets):
            claimed.update(task.spec.targets)
            effects.append(DoTask(name, task.attempt + 1, started=False))
        elif task.status == "bounced":
            effects.append(ExploreTask(name, task.attempt))
    # One proposal at a time is judged against the head, in the order they came in.
    proposed = [task for task in state.tasks.values() if task.status == "proposed"]
    if proposed:
        first = min(proposed, key=lambda task: task.queued)
        effects.append(VerifyTask(first.spec.id, first.attempt))
    return tuple(effects)
