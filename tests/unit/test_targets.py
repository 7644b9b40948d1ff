"""What of a run is asked for at one of its events: a task, an agent's view, all heads; and how saved work is named."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from cavalcade.domain.run import RequestRun
from cavalcade.kernel.errors import NotRecorded, UsageError
from cavalcade.kernel.ids import CommitId, EventId, OriginId, ProjectId, RunId, TaskId, TreeId, run_stream
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.protocol.events import TaskMerged, WorkSaved, decode, encode
from cavalcade.supervisor.saving import find_saved, saved_in, saved_name
from cavalcade.supervisor.targets import (
    Everything,
    OfAgent,
    OfTask,
    TheMoment,
    agent_at,
    cut_at,
    folder_names,
    parse_target,
    task_at,
)
from cavalcade.testing.clock import START
from cavalcade.testing.runs import Environment, MemoryRun, a_plan, a_request, a_task, drive

RUN = RunId("r1")


def history() -> list[Recorded]:
    """A whole run of three tasks, one after the other, as it would be recorded."""
    run = MemoryRun()
    run.must(RequestRun(a_request()))
    plan = a_plan(a_task("t1", (1, 2)), a_task("t2", (3,), depends_on=("t1",)), a_task("t3", (4,), depends_on=("t2",)))
    drive(run, Environment(plan=lambda _: plan), lambda _: 0, steps=200)
    recorded: list[Recorded] = []
    for version, fact in enumerate(run.facts, start=1):
        task: TaskId = getattr(fact.payload, "task", TaskId(""))
        draft = Draft(
            id=fact.id,
            type=fact.payload.TYPE,
            time=fact.time,
            data=encode(fact.payload),
            run=RUN,
            task=task,
            agent=f"coder/{task}" if task else "",
        )
        recorded.append(a_record(draft, version))
    return recorded


def a_record(draft: Draft, version: int) -> Recorded:
    return Recorded(
        position=version, stream=run_stream(RUN), version=version, origin=OriginId("o"), originseq=version, prevhash="",
        hash="", event=draft,
    )  # fmt: skip


HISTORY = history()


def last(kind: str, task: str) -> Recorded:
    return next(each for each in reversed(HISTORY) if f".{kind}." in each.event.type and each.event.task == task)


def test_only_one_thing_is_asked_for() -> None:
    assert parse_target("", "", everything=False) == TheMoment()
    assert parse_target("t2", "", everything=False) == OfTask(TaskId("t2"))
    assert parse_target("", "coder/t2", everything=False) == OfAgent("coder/t2")
    assert parse_target("", "", everything=True) == Everything()
    for task, agent, everything in (("t1", "a", False), ("t1", "", True), ("", "a", True)):
        with pytest.raises(UsageError, match="different things"):
            parse_target(task, agent, everything=everything)


def test_a_task_is_seen_in_its_own_state_also_after_it_was_merged() -> None:
    applied = msgspec.json.decode(last("edit.applied", "t1").event.data)
    for upto in (last("edit.applied", "t1"), last("task.merged", "t1"), HISTORY[-1]):
        view = task_at(HISTORY, upto, TaskId("t1"))
        assert (view.commit, view.tree) == (applied["commit"], applied["tree"])
        assert view.event.event.task == "t1"
        assert view.event.version <= upto.version


def test_a_task_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(NotRecorded) as raised:
        task_at(HISTORY, last("task.started", "t2"), TaskId("t3"))
    assert raised.value.expected == "a task that had: t1, t2"
    with pytest.raises(NotRecorded, match="no task t9") as raised:
        task_at(HISTORY, HISTORY[0], TaskId("t9"))
    assert raised.value.expected == "a task that had; there is none"


def test_an_agent_s_view_is_what_it_saw_when_it_was_last_heard_of() -> None:
    started = last("task.started", "t2")
    view = agent_at(HISTORY, started, "coder/t1")
    assert view.event == last("task.merged", "t1")
    assert view.tree == task_at(HISTORY, started, TaskId("t1")).tree
    early = next(each for each in HISTORY if each.event.agent == "coder/t1")
    assert agent_at(HISTORY, early, "coder/t1").event == early
    with pytest.raises(NotRecorded) as raised:
        agent_at(HISTORY, started, "coder/t3")
    assert raised.value.expected == "an agent that had: coder/t1, coder/t2"


def test_a_cut_has_the_head_and_every_task_that_had_begun() -> None:
    upto = last("edit.applied", "t2")
    cut = cut_at(RUN, HISTORY, upto)
    merged = decode(last("task.merged", "t1").event)
    assert isinstance(merged, TaskMerged)
    assert (cut.head.event, cut.head.commit, cut.head.tree) == (last("task.merged", "t1"), merged.commit, merged.tree)
    assert list(cut.tasks) == ["t1", "t2"]
    assert cut.tasks[TaskId("t2")] == task_at(HISTORY, upto, TaskId("t2"))
    first = cut_at(RUN, HISTORY, HISTORY[0])
    assert (first.head.event, dict(first.tasks)) == (HISTORY[0], {})


def test_every_task_has_a_folder_of_its_own_whatever_it_is_called() -> None:
    tasks = [TaskId(name) for name in ("t1", "head", "cut.json", "../x", "a/b", "", "ä", "task-1_b")]
    names = folder_names(tasks)
    assert len(set(names.values())) == len(tasks)
    assert (names[TaskId("t1")], names[TaskId("task-1_b")]) == ("t1", "task-1_b")
    assert not {"head", "cut.json", "", ".", ".."} & set(names.values())
    assert not any("/" in name for name in names.values())


def saved(*names: str) -> list[Recorded]:
    found: list[Recorded] = []
    for version, name in enumerate(names, start=1):
        work = WorkSaved(
            name=name, project=ProjectId("p1"), repository="/x", commit=CommitId("1" * 40), tree=TreeId("2" * 40)
        )
        draft = Draft(id=EventId(f"e{version}"), type=work.TYPE, time=START, data=encode(work))
        found.append(a_record(draft, version))
    return found


def test_saved_work_is_found_by_its_name_or_a_part_that_is_its_alone() -> None:
    found = saved_in(
        [*saved("20260301-140509-aaaaaaa", "20260301-140509-bbbbbbb", "20260302-000000-ccccccc"), HISTORY[0]]
    )
    assert len(found) == 3
    assert find_saved(found, "last").work.name.endswith("ccccccc")
    assert find_saved(found, "20260302").work.name.endswith("ccccccc")
    assert find_saved(found, "bbbbbbb").work.name.endswith("bbbbbbb")
    for name, said in (("20260301", "2 saved works"), ("x", "no saved work"), ("", "no saved work")):
        with pytest.raises(NotRecorded, match=said) as raised:
            find_saved(found, name)
        assert len(raised.value.places) >= 2
    with pytest.raises(NotRecorded):
        find_saved([], "last")


def test_a_name_says_when_and_what() -> None:
    when = datetime(2026, 3, 1, 14, 5, 9, tzinfo=UTC)
    assert saved_name(when, CommitId("1a2b3c4d" + "0" * 32)) == "20260301-140509-1a2b3c4"
