"""The rules of a fork, one sentence each."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cavalcade.domain.plan import seal
from cavalcade.domain.run import (
    Abort,
    Approve,
    DoTask,
    MakePlan,
    ProposePlan,
    Publish,
    RecordPublished,
    RequestRun,
    StartTask,
    WaitForHuman,
    fold,
    pending,
)
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import BlobId, TaskId
from cavalcade.protocol import events as e
from cavalcade.testing.runs import PARENT, Environment, MemoryRun, a_plan, a_request, a_task, drive, object_name

PLAN = a_plan(a_task("t1", (1, 2)))
SEALED = seal(PLAN)[0]
T1 = TaskId("t1")


def proposed(*, auto_approve: bool = False) -> MemoryRun:
    run = MemoryRun()
    run.must(RequestRun(a_request(e.Settings(auto_approve=auto_approve))))
    run.must(ProposePlan(1, SEALED, BlobId(object_name("plan"))))
    return run


def completed() -> MemoryRun:
    run = proposed()
    drive(run, Environment(plan=lambda _state: PLAN), lambda _count: 0, steps=50)
    assert run.state.phase == "completed"
    return run


def number_of(run: MemoryRun, kind: type[e.Payload]) -> int:
    """Of the first event of that kind."""
    return next(number for number, fact in enumerate(run.facts, start=1) if isinstance(fact.payload, kind))


def test_a_fork_shares_its_parents_state_and_counts_its_own_events_from_one() -> None:
    parent = completed()
    at = number_of(parent, e.EditApplied)
    fork = parent.fork(at)
    before = fold(parent.facts[:at])
    assert (fork.state.parent, fork.state.shared, fork.state.version, fork.state.own_version) == (PARENT, at, at + 1, 1)
    assert fork.state.tasks == before.tasks
    assert pending(fork.state) == pending(before)


def test_a_fork_without_guidance_goes_on_to_its_own_end() -> None:
    fork = (parent := completed()).fork(number_of(parent, e.EditProposed))
    drive(fork, Environment(plan=lambda _state: PLAN), lambda _count: 0, steps=50)
    assert fork.state.phase == "completed"
    assert fork.state.approved_by == "ada"


def test_a_fork_of_a_plan_that_waits_waits_again() -> None:
    fork = proposed().fork(2)
    assert [type(effect) for effect in pending(fork.state)] == [WaitForHuman]


def test_a_fork_of_a_plan_that_waits_is_approved_at_once_where_that_was_asked_for() -> None:
    fork = proposed().fork(2, yes=True)
    assert pending(fork.state) == (DoTask(T1, 1, started=False),)
    assert fork.state.approved_by == "policy:yes"


def test_that_the_parent_approved_by_itself_does_not_let_the_fork_do_so() -> None:
    fork = proposed(auto_approve=True).fork(1)
    fork.must(ProposePlan(1, SEALED, BlobId(object_name("plan"))))
    assert fork.state.phase == "awaiting_human"


def test_a_fork_with_guidance_plans_anew_and_nothing_of_the_old_plan_is_approved() -> None:
    parent = completed()
    fork = parent.fork(number_of(parent, e.EditApplied), "docs too")
    assert pending(fork.state) == (MakePlan(2),)
    assert (fork.state.approved_hash, fork.state.plan, fork.state.tasks) == ("", None, {})
    assert fork.state.feedback is not None
    assert fork.state.feedback.text == "docs too"
    with pytest.raises(Refused):
        fork.must(StartTask(T1, 1))


def test_a_fork_with_guidance_stands_on_the_tree_that_it_was_given() -> None:
    parent = completed()
    fork = parent.fork(len(parent.facts), "docs too")
    assert (fork.state.head, fork.state.head_tree) == (parent.state.head, parent.state.head_tree)
    plan = replace(PLAN, base_tree=parent.state.head_tree)
    drive(fork, Environment(plan=lambda _state: plan), lambda _count: 0, steps=50)
    assert fork.state.phase == "completed"


def test_a_fork_publishes_its_own_result() -> None:
    parent = completed()
    fork = parent.fork(number_of(parent, e.ResultPublished))
    assert pending(fork.state) == (Publish(),)
    fork.must(RecordPublished("cavalcade/r2", fork.state.head))
    assert fork.state.branch == "cavalcade/r2"


def test_where_a_run_is_closed_there_is_nothing_to_go_on_with() -> None:
    aborted = proposed()
    aborted.must(Abort("ada"))
    for run in (completed(), aborted):
        with pytest.raises(Refused, match="nothing to go on with") as refused:
            run.fork(len(run.facts))
        assert "earlier event" in refused.value.hint


def test_an_aborted_run_goes_on_where_it_stood_before() -> None:
    run = proposed()
    run.must(Abort("ada"))
    fork = run.fork(2)
    fork.must(Approve(SEALED.hash, "eve"))
    assert (fork.state.phase, fork.state.stop_reason) == ("executing", "")


def test_a_fork_of_a_fork_shares_all_that_its_parent_shares() -> None:
    parent = completed()
    at = number_of(parent, e.EditApplied)
    second = parent.fork(at).fork(at + 1)
    assert (second.state.shared, second.state.version) == (at + 1, at + 2)
