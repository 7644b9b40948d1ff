"""What of a run is to be seen at one of its events: the moment itself, a task, an agent's own view, or all heads at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cavalcade.domain.run import RunState, TaskState, fold
from cavalcade.kernel.errors import NotRecorded, UsageError
from cavalcade.kernel.ids import CommitId, RunId, TaskId, TreeId
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode
from cavalcade.supervisor.runs import fact_of


class TheMoment(NamedTuple):
    """What the event's own task saw, or the head of the run."""


class OfTask(NamedTuple):
    task: TaskId


class OfAgent(NamedTuple):
    agent: str


class Everything(NamedTuple):
    """The head of the run and of each of its tasks."""


Target = TheMoment | OfTask | OfAgent | Everything


class View(NamedTuple):
    """A state of the tree and the event that led to it."""

    event: Recorded
    commit: CommitId
    tree: TreeId


class Cut(NamedTuple):
    """All heads of a run just after `event`. `tasks` are those that had begun."""

    run: RunId
    event: Recorded
    head: View
    tasks: Mapping[TaskId, View]


def parse_target(task: str, agent: str, *, everything: bool) -> Target:
    """Raises UsageError when more than one is asked for."""
    asked = [name for name, given in (("--task", task), ("--agent", agent), ("--everything", everything)) if given]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} ask for different things", expected="one of them at a time")
    if task:
        return OfTask(TaskId(task))
    if agent:
        return OfAgent(agent)
    return Everything() if everything else TheMoment()


def state_at(history: Iterable[Recorded], upto: Recorded) -> RunState:
    return fold(fact_of(recorded) for recorded in history if recorded.version <= upto.version)


def task_at(history: Sequence[Recorded], upto: Recorded, task: TaskId) -> View:
    """A task's own head; also after it was merged. Raises NotRecorded naming the tasks that had begun."""
    begun = _begun(state_at(history, upto))
    if task not in begun:
        raise NotRecorded(
            f"no task {task} had begun at #{upto.version}",
            expected=_one_of("a task that had", begun),
            hint=f"`cavalcade log {upto.event.run}` shows when each begins",
        )
    return _view_of_task(history, upto, begun[task])


def agent_at(history: Sequence[Recorded], upto: Recorded, agent: str) -> View:
    """What an agent saw when it was last heard of, at or before an event. Raises NotRecorded naming the agents heard of."""
    heard = {recorded.event.agent: recorded for recorded in history if recorded.version <= upto.version}
    if not agent or agent not in heard:
        raise NotRecorded(
            f"no agent {agent} had been heard of at #{upto.version}",
            expected=_one_of("an agent that had", sorted(name for name in heard if name)),
            hint=f"`cavalcade log {upto.event.run}` shows who did what",
        )
    last = heard[agent]
    state = state_at(history, last)
    begun = _begun(state)
    if last.event.task in begun:
        return _view_of_task(history, last, begun[last.event.task])
    return _head(history, last, state)


def cut_at(run: RunId, history: Sequence[Recorded], upto: Recorded) -> Cut:
    """Every head as of one event: a state that the run was in as a whole."""
    state = state_at(history, upto)
    tasks = {name: _view_of_task(history, upto, task) for name, task in _begun(state).items()}
    return Cut(run, upto, _head(history, upto, state), tasks)


def _begun(state: RunState) -> dict[TaskId, TaskState]:
    return {name: task for name, task in state.tasks.items() if task.tree}


def _view_of_task(history: Sequence[Recorded], upto: Recorded, task: TaskState) -> View:
    mine = (recorded for recorded in reversed(history[: upto.version]) if recorded.event.task == task.spec.id)
    return View(next(mine, upto), task.commit, task.tree)


def _head(history: Sequence[Recorded], upto: Recorded, state: RunState) -> View:
    for recorded in reversed(history[: upto.version]):
        match decode(recorded.event):
            case e.TaskMerged() | e.FilesChanged() | e.RecordingEnded() as moved if moved.commit == state.head:
                return View(recorded, state.head, state.head_tree)
            case _:
                pass
    return View(history[0], state.head, state.head_tree)


def _one_of(what: str, names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"{what}: {listed}" if listed else f"{what}; there is none"


def folder_names(tasks: Iterable[TaskId]) -> dict[TaskId, str]:
    """A folder for each task beside `head` and `cut.json`: its id where that is a plain name."""
    names: dict[TaskId, str] = {}
    for task in tasks:
        plain = task.replace("-", "").replace("_", "").isalnum() and task.isascii() and task != "head"
        names[task] = task if plain else f"task-{task.encode().hex()}"
    return names
