"""Runs as traces: every event lies in a span that exists, spans have right parents and the events' own times."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from cavalcade.domain.run import Abort, Fact, Fail, RunState, fold
from cavalcade.domain.run.spans import spans_of
from cavalcade.kernel.ids import EventId, OriginId, RunId, StreamId, TaskId
from cavalcade.kernel.trace import trace_id
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Draft, Recorded
from cavalcade.protocol.events import Payload, Problem, decode, encode
from cavalcade.telemetry.otlp_json import nanoseconds, otlp_line
from cavalcade.telemetry.spans import MOST_NOTES, Span
from cavalcade.telemetry.tracing import Trace, spans
from cavalcade.testing.clock import START
from cavalcade.testing.runs import Environment, MemoryRun, a_plan, a_request, a_task, drive
from cavalcade.testing.whole_runs import WholeRuns, whole_runs

RUN = RunId("r1")
FILES = {"shop.py": "def total(items):\n    return sum(items)\n", "test_shop.py": "from shop import total\n"}
CHANGES = {
    "shop.py": "def sum_prices(items):\n    return sum(items)\n",
    "test_shop.py": "from shop import sum_prices\n",
}


@pytest.fixture
async def whole(tmp_path: Path) -> AsyncIterator[WholeRuns]:
    async with whole_runs(tmp_path, FILES) as runs:
        yield runs


def recorded(facts: list[Fact], run: RunId = RUN) -> list[Recorded]:
    """As a ledger of old would hold them: without ids of spans."""
    return [
        Recorded(
            position=number,
            stream=StreamId(f"run/{run}"),
            version=number,
            origin=OriginId("o1"),
            originseq=number,
            prevhash="0" * 64,
            hash="1" * 64,
            event=Draft(id=fact.id, type=fact.payload.TYPE, time=fact.time, data=encode(fact.payload), run=run),
        )
        for number, fact in enumerate(facts, start=1)
    ]


def facts(*payloads: Payload) -> list[Fact]:
    """A second apart."""
    return [
        Fact(EventId(f"e{number}"), START + timedelta(seconds=number), payload)
        for number, payload in enumerate(payloads)
    ]


def by_label(found: list[Span]) -> dict[str, Span]:
    return {span.label: span for span in found}


async def test_each_event_lies_in_a_span_of_the_run_s_trace(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    history = await whole.runs.history(run)
    found = spans(history)
    assert {one.event.traceid for one in history} == {span.trace for span in found} == {trace_id(run)}
    assert {one.event.spanid for one in history} <= {span.id for span in found}
    ids = [span.id for span in found]
    assert len(set(ids)) == len(ids)
    assert all(span.parent in ids for span in found if span.parent)
    assert [span.label for span in found if not span.parent] == ["run"]


async def test_children_lie_within_their_parents_and_end_before_them(whole: WholeRuns) -> None:
    found = spans(await whole.runs.history(await whole.completed(CHANGES)))
    order = {span.id: number for number, span in enumerate(found)}
    for span in found:
        assert span.end is not None
        if span.parent:
            above = found[order[span.parent]]
            assert above.end is not None
            assert above.start <= span.start <= span.end <= above.end, (above.label, span.label)
            assert order[span.id] < order[span.parent]


async def test_times_status_and_attributes_are_those_of_the_events(whole: WholeRuns) -> None:
    run = await whole.completed(CHANGES)
    history = {decode(one.event).TYPE: one.event for one in await whole.runs.history(run)}
    found = by_label(spans(await whole.runs.history(run)))
    assert (found["run"].start, found["run"].end) == (
        history[e.RunRequested.TYPE].time,
        history[e.RunCompleted.TYPE].time,
    )
    assert (found["approval 1"].start, found["approval 1"].end) == (
        history[e.PlanProposed.TYPE].time,
        history[e.PlanApproved.TYPE].time,
    )
    task = found["task t1"]
    assert task.name == "invoke_agent coder"
    assert task.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert task.attributes["gen_ai.agent.id"] == "coder/t1"
    assert task.attributes["gen_ai.conversation.id"] == run
    gate = found["gate tests"]
    assert gate.parent == found["verify t1"].id
    assert gate.name == "execute_tool tests"
    assert gate.end is not None
    assert gate.end - gate.start <= timedelta(seconds=2)
    assert found["plan 1"].notes[0].name == "decision"
    assert found["execute"].end == history[e.TaskMerged.TYPE].time
    assert {span.status for span in found.values()} == {"ok"}


@pytest.mark.parametrize("passes", [True, False])
def test_ids_are_those_that_the_rules_give_their_events(passes: bool) -> None:
    run = MemoryRun()
    run.facts.extend(facts(a_request()))
    run.restart()
    environment = Environment(
        plan=lambda _state: a_plan(a_task("t1", (1, 2), residual=(3,)), a_task("t2", (4,), depends_on=("t1",))),
        proposal_passes=lambda task: passes or task.attempt > 1,
        edit_passes=lambda task, number: passes or number != 4,
    )
    drive(run, environment, lambda _count: 0, steps=200)
    state = RunState()
    given: set[str] = set()
    for fact in run.facts:
        given.add(spans_of(RUN, state, (fact.payload,))[0].id)
        state = fold([fact], state)
    found = spans(recorded(run.facts))
    assert given <= {span.id for span in found}
    assert all(span.end is not None for span in found)
    labels = by_label(found)
    if not passes:
        assert labels["verify t1"].status == "error"
        assert labels["explore t1"].status == "ok"
        assert labels["task t1 attempt 2"].parent == labels["execute"].id
        assert labels["run"].attributes["cavalcade.outcome"] == "stopped"


def test_what_is_under_way_is_open_and_ends_with_the_run() -> None:
    run = MemoryRun()
    run.facts.extend(facts(a_request()))
    open_now = spans(recorded(run.facts))
    assert {span.label: span.end for span in open_now} == {"run": None, "plan 1": None}
    run.restart()
    run.must(Abort("ada", "enough"))
    ended = by_label(spans(recorded(run.facts)))
    assert ended["plan 1"].end == ended["run"].end == run.facts[-1].time
    assert (ended["run"].status, ended["run"].message) == ("unset", "enough")


def test_a_run_that_failed_says_why() -> None:
    run = MemoryRun()
    run.facts.extend(facts(a_request()))
    run.restart()
    run.must(Fail(Problem(code="usage", what="no such name")))
    (whole,) = [span for span in spans(recorded(run.facts)) if not span.parent]
    assert (whole.status, whole.message) == ("error", "no such name")


def test_feedback_ends_a_wait_or_a_plan_and_begins_the_next_plan() -> None:
    feedback = e.FeedbackInjected(text="mentions docs", by="ada", objective="rename a to b")
    plan = e.PlanProposed(round=2, plan_hash="h", plan=a_plan().base_tree, tasks=())  # pyright: ignore[reportArgumentType]
    found = by_label(spans(recorded(facts(a_request(), feedback, plan, feedback))))
    assert found["plan 1"].message == "overtaken by feedback"
    assert found["approval 2"].attributes["cavalcade.feedback"] == "mentions docs"
    assert found["plan 3"].end is None


def test_a_clock_that_goes_back_makes_no_span_that_ends_before_it_starts() -> None:
    first, second = facts(a_request(), e.RunAborted(by="ada"))
    found = spans(recorded([first, second._replace(time=START - timedelta(days=1))]))
    assert all(span.end == span.start for span in found)


def test_a_recorded_program_is_an_agent_and_its_tools_are_spans() -> None:
    base = a_request().base
    started = e.RecordingStarted(
        command=("claude",), project=a_request().project, repository="/p", base=base, folder="/p", program="claude-code"
    )
    said = [e.MessageRecorded(role="user", text="mend it", model="m1") for _ in range(MOST_NOTES + 2)]
    called, answered = e.ToolCalled(call="c1", tool="Edit"), e.ToolAnswered(call="c1", text="no", failed=True)
    ended = e.RecordingEnded(exit_status=-9, commit=base.commit, tree=base.tree)
    found = by_label(spans(recorded(facts(started, *said, called, answered, ended))))
    run, tool = found["run"], found["tool Edit"]
    assert run.attributes["gen_ai.agent.name"] == "claude-code"
    assert run.attributes["gen_ai.request.model"] == "m1"
    assert (run.status, run.message) == ("error", "exit status -9")
    assert len(run.notes) == MOST_NOTES
    assert run.attributes["cavalcade.notes_omitted"] == 2
    assert (tool.parent, tool.status, tool.message) == (run.id, "error", "no")


def test_a_fork_that_begins_in_the_middle_has_an_execution_too() -> None:
    base = a_request().base
    forked = e.RunForked(parent=RunId("r0"), event=EventId("e9"), version=9, by="ada", base=base)
    started = e.TaskStarted(task=TaskId("t1"), attempt=1, commit=base.commit, tree=base.tree)
    found = by_label(spans(recorded(facts(forked, started))))
    assert found["task t1"].parent == found["execute"].id
    assert found["run"].attributes["cavalcade.parent.run"] == "r0"


def test_events_of_no_run_give_no_spans() -> None:
    registered = e.ProjectRegistered(project=a_request().project, repository="/p")
    assert Trace(RunId("")).add(recorded(facts(registered), RunId(""))[0]) == []


async def test_a_line_of_the_file_is_an_otlp_request(whole: WholeRuns) -> None:
    found = spans(await whole.runs.history(await whole.completed(CHANGES)))
    document = json.loads(otlp_line(found))
    message: Any = json_format.ParseDict(_with_base64_ids(document), TracesData())
    (of_scope,) = message.resource_spans[0].scope_spans
    for span, written in zip(found, of_scope.spans, strict=True):
        assert (written.trace_id.hex(), written.span_id.hex(), written.parent_span_id.hex()) == (
            span.trace,
            span.id,
            span.parent,
        )
        assert span.end is not None
        assert (written.start_time_unix_nano, written.end_time_unix_nano) == (
            nanoseconds(span.start),
            nanoseconds(span.end),
        )
        assert {one.key for one in written.attributes} == set(span.attributes)
        assert [event.name for event in written.events] == [note.name for note in span.notes]


def _with_base64_ids(document: Any) -> Any:
    """OTLP's JSON writes ids in hexadecimal, where protobuf's own would take base 64."""
    text = msgspec.to_builtins(document)
    for of_resource in text["resourceSpans"]:
        for of_scope in of_resource["scopeSpans"]:
            for span in of_scope["spans"]:
                for name in ("traceId", "spanId", "parentSpanId"):
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    return text
