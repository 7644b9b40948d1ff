"""What a record tells of its commands, and of its place in a trace."""

from __future__ import annotations

import re

import pytest

from cavalcade.domain.plan import SealedPlan, seal
from cavalcade.domain.run import Approve, Fact, RequestRun
from cavalcade.domain.run.spans import run_span, spans_of
from cavalcade.domain.run.steps import Step, steps
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import BlobId, EventId, RunId, TaskId
from cavalcade.kernel.trace import span_id, trace_id
from cavalcade.protocol import events as e
from cavalcade.testing.clock import START
from cavalcade.testing.runs import Environment, MemoryRun, a_plan, a_receipt, a_request, a_task, drive

RUN = RunId("r01hk3c8m7abcd")
T1 = TaskId("t1")
PLAN = a_plan(a_task("t1", (1, 2), residual=(3,)))


def whole(settings: e.Settings | None = None) -> list[Fact]:
    """A run whose only task is bounced once, to its end."""
    run = MemoryRun()
    run.must(RequestRun(a_request(settings)))
    passes = Environment(plan=lambda _state: PLAN, proposal_passes=lambda task: task.attempt > 1)
    drive(run, passes, lambda _count: 0, steps=50)
    return run.facts


def plan_of(_blob: BlobId) -> SealedPlan:
    return seal(PLAN)[0]


def names(found: list[Step]) -> list[str]:
    return [type(step.command).__name__ for step in found]


def test_commands_are_read_off_the_record_in_order() -> None:
    found = steps(whole(), plan_of)
    edit = ["ProposeEdit", "JudgeEdit"]
    assert names(found) == [
        *("RequestRun", "ProposePlan", "Approve"),
        *("StartTask", *edit, *edit, "ProposeTask", "JudgeTask", "RecordExploration"),
        *("StartTask", *edit, "ProposeTask", "JudgeTask", "RecordPublished", "Complete"),
    ]
    assert found[2].command == Approve(seal(PLAN)[0].hash, "ada")
    assert found[2].state.phase == "awaiting_human"


def test_an_approval_by_policy_belongs_to_the_proposal() -> None:
    found = steps(whole(e.Settings(auto_approve=True)), plan_of)
    assert names(found)[:3] == ["RequestRun", "ProposePlan", "StartTask"]
    assert [type(event) for event in found[1].events] == [e.PlanProposed, e.PlanApproved]


def test_the_rest_of_a_record_is_read_from_the_state_where_it_begins() -> None:
    history = whole()
    first = steps(history, plan_of)
    for number, step in enumerate(first):
        assert steps(history[step.state.version :], plan_of, step.state) == first[number:]


@pytest.mark.parametrize(
    "payloads",
    [
        [e.ProjectRegistered(project=a_request().project, repository="/p")],
        [e.GateJudged(task=T1, attempt=1, receipt=a_receipt())],
        [e.GateJudged(task=T1, attempt=1, receipt=a_receipt()), a_request()],
    ],
    ids=["of no run", "without its consequence", "before another"],
)
def test_events_that_no_command_leads_to_are_named(payloads: list[e.Payload]) -> None:
    facts = [Fact(EventId(f"e{number}"), START, payload) for number, payload in enumerate(payloads)]
    with pytest.raises(Refused, match=r"event e[01] of type"):
        steps(facts, plan_of)


def test_a_run_is_a_trace_and_every_part_of_it_has_a_span_of_its_own() -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id(RUN))
    assert trace_id(RUN) != trace_id(RunId("r2"))
    ids = [span_id(RUN), span_id(RUN, "task", "t1", 1), span_id(RUN, "task", "t1", 2), span_id(RUN, "task", "t1", 1, 2)]
    assert all(re.fullmatch(r"[0-9a-f]{16}", id) for id in ids)
    assert len(set(ids)) == 4


def test_every_event_belongs_to_the_span_of_what_it_is_about() -> None:
    spans = [span.name for step in steps(whole(), plan_of) for span in spans_of(RUN, step.state, step.events)]
    edit = ["edit 1"] * 3 + ["edit 2"] * 3
    verify = ["verify t1 attempt 1"] * 2 + ["explore t1 attempt 1"]
    again = ["task t1 attempt 2", *["edit 3"] * 3, "task t1 attempt 2", *["verify t1 attempt 2"] * 2, "publish", "run"]
    task = "task t1 attempt 1"
    assert spans == ["run", "plan 1", "approval 1", task, *edit, task, *verify, *again]


def test_an_edit_s_span_lies_in_its_task_s_and_that_in_the_run_s() -> None:
    spans = [span for step in steps(whole(), plan_of) for span in spans_of(RUN, step.state, step.events)]
    parents = {span.id: span.parent for span in spans}
    (edit,) = {span for span in spans if span.name == "edit 1"}
    assert parents[edit.parent] == run_span(RUN).id
    assert parents[run_span(RUN).id] == ""
