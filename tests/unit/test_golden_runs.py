"""Runs that were recorded once are folded and decided the same way for ever.

Bug class this catches: a rule that is changed so that a run on record, open or closed, means something else than when it happened.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cavalcade.domain.plan import SealedPlan, unseal
from cavalcade.domain.run import Fact, decide, fold, pending
from cavalcade.domain.run.steps import steps
from cavalcade.kernel.ids import BlobId, RunId
from cavalcade.kernel.trace import trace_id
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.events import decode

RUNS = Path(__file__).parent.parent / "golden" / "runs"
ENDS = {
    "aborted": ("aborted", 3),
    "completed": ("completed", 24),
    "completed-by-policy": ("completed", 24),
    "failed": ("failed", 2),
    "halted": ("completed", 26),
    "family": ("completed", 25),
    "family-decisions-v1": ("completed", 25),
    "feedback": ("completed", 33),
    "retried": ("completed", 30),
    "stopped": ("stopped", 37),
}
"""How each ended and after how many events."""


def lines_of(name: str) -> list[bytes]:
    return (RUNS / f"{name}.jsonl").read_bytes().splitlines()


def events_of(name: str) -> list[Draft]:
    return [msgspec.json.decode(line, type=Draft) for line in lines_of(name)]


def facts_of(name: str) -> list[Fact]:
    return [Fact(event.id, event.time, decode(event)) for event in events_of(name)]


def plan_of(blob: BlobId) -> SealedPlan:
    return unseal((RUNS / "plans" / f"{blob}.json").read_bytes())


def test_every_recorded_run_is_known_here() -> None:
    assert sorted(path.stem for path in RUNS.glob("*.jsonl")) == sorted(ENDS)


@pytest.mark.parametrize("name", ENDS)
def test_a_recorded_run_still_ends_as_it_did(name: str) -> None:
    state = fold(facts_of(name))
    assert (state.phase, state.version) == ENDS[name]
    assert pending(state) == ()


@pytest.mark.parametrize("name", ENDS)
def test_today_s_rules_decide_every_group_of_recorded_events_again(name: str) -> None:
    facts = facts_of(name)
    found = steps(facts, plan_of)
    assert [fact for step in found for fact in step.facts] == facts
    for step in found:
        assert decide(step.state, step.command) == step.events


@pytest.mark.parametrize("name", ENDS)
def test_an_envelope_is_written_again_to_the_same_bytes(name: str) -> None:
    assert [msgspec.json.encode(event) for event in events_of(name)] == lines_of(name)


@pytest.mark.parametrize("name", [name for name in ENDS if name != "family-decisions-v1"])
def test_every_event_of_a_run_names_its_trace_and_span(name: str) -> None:
    events = events_of(name)
    assert {event.traceid for event in events} == {trace_id(RunId(events[0].run))}
    assert all(len(event.spanid) == 16 for event in events)


def test_a_run_goes_on_the_same_way_from_every_point_of_its_record() -> None:
    facts = facts_of("retried")
    whole = fold(facts)
    assert [fold(facts[number:], fold(facts[:number])) for number in range(len(facts))] == [whole] * len(facts)
