"""What counts as the same when a run is replayed, and what does not."""

from __future__ import annotations

from msgspec.structs import replace

from cavalcade.kernel.ids import CommitId, TaskId, TreeId
from cavalcade.protocol import events as e
from cavalcade.replay.divergence import compared
from cavalcade.testing.runs import a_receipt, object_name

T1 = TaskId("t1")
MERGED = e.TaskMerged(task=T1, attempt=1, commit=CommitId(object_name("c")), tree=TreeId(object_name("t")))


def judged(**changes: object) -> e.GateJudged:
    return e.GateJudged(task=T1, attempt=1, receipt=replace(a_receipt(), **changes))


def told(then: e.Payload, now: e.Payload) -> list[str]:
    return [f"{one.recorded} | {one.came_out}" for one in compared("effect", 5, (then,), (now,))]


def test_a_verdict_that_took_longer_is_the_same() -> None:
    assert told(judged(), judged(duration_ms=900.0, summary="slower")) == []


def test_a_verdict_with_other_findings_or_another_tool_is_not() -> None:
    assert told(judged(), judged(version="2")) == ["syntax.version 1 | syntax.version 2"]
    assert told(judged(), judged(verdict="failed"))[0].startswith("syntax.verdict passed")


def test_a_decision_is_compared_with_durations_and_all() -> None:
    assert list(compared("decision", 5, (judged(),), (judged(duration_ms=900.0),)))


def test_a_tree_that_differs_is_named_on_both_sides() -> None:
    other = replace(MERGED, tree=TreeId(object_name("u")))
    assert told(MERGED, other) == [f"tree {MERGED.tree} | tree {other.tree}"]


def test_what_stands_where_a_secret_was_taken_out_is_not_compared_but_all_around_it_is() -> None:
    def bounced(reason: str) -> e.TaskBounced:
        return e.TaskBounced(task=T1, attempt=1, gates=("tests",), reason=reason)

    recorded = bounced('tests: token "[redacted:github-token]" was refused')
    assert told(recorded, bounced('tests: token "ghp_abc" was refused')) == []
    assert told(recorded, bounced('tests: token "ghp_abc" was accepted'))


def test_of_groups_of_other_events_only_the_first_that_differs_is_told() -> None:
    rejected = e.EditRejected(task=T1, attempt=1, edit=1, path="a.py", gates=("syntax",))
    found = list(compared("effect", 5, (judged(), MERGED), (judged(), rejected, MERGED)))
    assert [(one.version, one.type) for one in found] == [(6, "task.merged")]
    assert found[0].came_out.startswith("edit.rejected")


def test_an_event_that_does_not_come_and_one_too_many_are_named() -> None:
    (missing,) = compared("effect", 5, (judged(), MERGED), (judged(),))
    assert (missing.version, missing.came_out) == (6, "nothing")
    (more,) = compared("effect", 5, (judged(),), (judged(), MERGED))
    assert (more.version, more.type, more.recorded) == (6, "task.merged", "nothing")
