"""Events on the wire: what was written once is read for ever, to the same bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import BlobId, CommitId, EventId, OriginId, ProjectId, RunId, TaskId, TreeId
from cavalcade.protocol.decision import Alternative, Decision
from cavalcade.protocol.envelope import Draft
from cavalcade.protocol.events import (
    ConflictFound,
    ConflictResolved,
    DecisionMade,
    DivergenceMerged,
    EditApplied,
    EditProposed,
    EditRejected,
    ExplorationRecorded,
    FeedbackInjected,
    FilesChanged,
    GateJudged,
    HeadSigned,
    MessageRecorded,
    OutputWritten,
    Overlap,
    PathChange,
    Payload,
    PlanApproved,
    PlanCounts,
    PlanProposed,
    Problem,
    ProjectRegistered,
    RecordingEnded,
    RecordingStarted,
    ResultPublished,
    RunAborted,
    RunCompleted,
    RunFailed,
    RunForked,
    RunHalted,
    RunRequested,
    RunResumed,
    RunStopped,
    Settings,
    Side,
    TaskBounced,
    TaskMerged,
    TaskProposed,
    TaskStarted,
    ToolAnswered,
    ToolCalled,
    TreeRestored,
    WorkSaved,
    decode,
    encode,
    known_types,
)
from cavalcade.protocol.job import Job
from cavalcade.protocol.plan import Base, Place, RecipeCall, TaskSpec
from cavalcade.protocol.receipt import Finding, Receipt
from cavalcade.protocol.upcast import STEPS, UNRECORDED, Json, Step, upcast

GOLDEN = Path(__file__).parent.parent / "golden"
WRITTEN = {version: (GOLDEN / f"events-v{version}.jsonl").read_bytes().splitlines() for version in (1, 2)}
"""What was written when a version of the types was new, by that version. No line ever changes."""

RUN, T1, T2 = RunId("r01hk3c8m7abcd"), TaskId("t1"), TaskId("t2")
C1, C2, C3 = CommitId("c1" * 20), CommitId("c2" * 20), CommitId("c3" * 20)
TREE, OTHER_TREE = TreeId("7e" * 20), TreeId("7f" * 20)
B1, B2, B3 = BlobId("b1" * 20), BlobId("b2" * 20), BlobId("b3" * 20)
HASH = "ab" * 32
PLACE = Place(path="src/é.py", line=3, column=5, text='getattr(m, "old")', why="dynamic")
CALL = RecipeCall(name="rename", arguments={"symbol": "m:old", "to": "new"}, mentions=("docs", "comments", "strings"))
SETTINGS = Settings(
    auto_approve=True,
    tests=False,
    python="/usr/bin/python3",
    test_command=("pytest", "-q"),
    only=("src",),
    without=("vendor",),
    attempts=5,
    test_timeout_s=60,
)
RECEIPT = Receipt(
    gate="lint",
    tool="ruff",
    version="0.14.0",
    before=TREE,
    after=OTHER_TREE,
    paths=("src/é.py",),
    config={"select": "F821"},
    verdict="failed",
    result_digest=HASH,
    duration_ms=1.5,
    findings=(Finding(path="src/é.py", line=3, column=5, code="F821", message="undefined name `old`"),),
    more_findings=2,
    details=B3,
    summary="3 undefined names",
)

EXAMPLES: tuple[Payload, ...] = (
    RunRequested(
        objective="rename m:old to new",
        project=ProjectId("p1"),
        repository="/home/ada/project",
        base=Base(commit=C1, tree=TREE, head=C2, branch="main", dirty=("a.py",), notes=("history is shallow",)),
        recipe=CALL,
        settings=SETTINGS,
    ),
    PlanProposed(
        round=2,
        plan_hash=HASH,
        plan=B1,
        tasks=(
            TaskSpec(
                id=T2,
                title="callers",
                targets=("src/é.py",),
                depends_on=(T1,),
                edits=(2,),
                residual=(3,),
                attempts=2,
            ),
        ),
        counts=PlanCounts(files=1, changes=2, unresolved=3, residual=4, mentions=5, problems=6),
        tests_refused="switched off by --no-tests",
    ),
    DecisionMade(
        decision=Decision(
            question="which resolver?",
            choice="both",
            rationale="they complement each other",
            rejected=(Alternative(choice="one", why="misses overrides"),),
            confidence=0.75,
            context_hash=HASH,
            memories=("m1",),
        )
    ),
    PlanApproved(plan_hash=HASH, by="ada"),
    FeedbackInjected(text="docs too", by="ada", objective="rename, docs too", recipe=CALL, settings=SETTINGS),
    RunAborted(by="ada", reason="changed my mind"),
    TaskStarted(task=T1, attempt=2, commit=C1, tree=TREE, residual=(3,)),
    EditProposed(task=T1, attempt=1, edit=2, path="new.py", before=B1, after=B2, moved_from="old.py", kind="residual"),
    GateJudged(task=T1, attempt=1, receipt=RECEIPT, edit=2),
    EditApplied(
        task=T1,
        attempt=1,
        edit=2,
        path="new.py",
        proposal=EventId("018cc251-f400-7000-8000-000000000001"),
        commit=C2,
        parent=C1,
        tree=OTHER_TREE,
        added=3,
        removed=4,
    ),
    EditRejected(task=T1, attempt=1, edit=2, path="new.py", gates=("syntax", "lint")),
    TaskProposed(task=T1, attempt=1, commit=C2, tree=OTHER_TREE),
    TaskBounced(task=T1, attempt=1, gates=("tests",), reason="tests: 2 failed", places=(PLACE,)),
    ExplorationRecorded(task=T1, attempt=1, finding="m3 uses it by name", places=(PLACE,), retry=(3, 4)),
    TaskMerged(task=T1, attempt=2, commit=C3, tree=OTHER_TREE),
    ResultPublished(branch="cavalcade/r1", commit=C3),
    RunCompleted(branch="cavalcade/r1", commit=C3, overlaps=(Overlap(branch="cavalcade/r2", conflicts=("a.py",)),)),
    RunStopped(task=T1, reason="built by getattr", places=(PLACE,)),
    RunFailed(
        problem=Problem(
            code="symbol-not-found",
            what="no m:old",
            expected="module:name",
            hint="m:older is near",
            places=("m.py:3",),
            exit_status=2,
        )
    ),
    RunForked(
        parent=RUN,
        event=EventId("018cc251-f400-7000-8000-000000000001"),
        version=12,
        by="ada",
        base=Base(commit=C1, tree=TREE, head=C2, branch="main"),
        guidance="rename m:old to newer",
        objective="rename m:old to newer",
        recipe=CALL,
        settings=SETTINGS,
    ),
    RecordingStarted(
        command=("agent", "--fast"),
        project=ProjectId("p1"),
        repository="/home/ada/project",
        base=Base(commit=C1, tree=TREE, head=C1),
        folder="/home/ada/project",
        in_place=True,
        program="claude-code",
    ),
    FilesChanged(
        commit=C2,
        parent=C1,
        tree=OTHER_TREE,
        paths=(PathChange(path="new.py", status="R", old_path="old.py"),),
        more=3,
    ),
    OutputWritten(channel="terminal", size_bytes=6, text="héllo", blob=B1),
    MessageRecorded(role="user", text="mend it", session="s1", entry="e1", model="m1", blob=B1),
    ToolCalled(call="c1", tool="Edit", arguments='{"file":"a.py"}', session="s1", paths=("a.py",), blob=B1),
    ToolAnswered(call="c1", text="done", failed=True, blob=B1),
    RecordingEnded(exit_status=-9, commit=C2, tree=OTHER_TREE),
    WorkSaved(
        name="saved-1",
        project=ProjectId("p1"),
        repository="/home/ada/project",
        commit=C1,
        tree=TREE,
        paths=("a.py",),
        more=2,
    ),
    TreeRestored(
        project=ProjectId("p1"),
        repository="/home/ada/project",
        tree=TREE,
        saved="saved-1",
        run=RUN,
        event=EventId("018cc251-f400-7000-8000-000000000001"),
    ),
    DivergenceMerged(
        project=ProjectId("p1"),
        ours=RUN,
        theirs=RunId("r2"),
        sides=(C1, C2),
        commit=C3,
        tree=TREE,
        branch="cavalcade/merged",
    ),
    ConflictFound(
        conflict="c1",
        project=ProjectId("p1"),
        paths=("a.py",),
        base=C1,
        base_blobs=(B1,),
        ours=Side(run=RUN, origin=OriginId("o1"), commit=C2, blobs=(B2,)),
        theirs=Side(run=RunId("r2"), origin=OriginId("o2"), commit=C3, blobs=(None,)),
        reason="calls old, which is gone",
        places=(PLACE,),
    ),
    ConflictResolved(
        conflict="c1",
        project=ProjectId("p1"),
        by="ada",
        how="theirs",
        commit=C3,
        tree=TREE,
        branch="cavalcade/resolved",
    ),
    HeadSigned(origin=OriginId("o1"), seq=9, head=HASH, key="0a" * 32, signature="0b" * 64),
    ProjectRegistered(project=ProjectId("p1"), repository="/home/ada/project"),
    RunHalted(by="ada", reason="lunch"),
    RunResumed(by="ada"),
)
"""One of each type, every field other than its default."""

IDS = [type(payload).__name__ for payload in EXAMPLES]


def enveloped(payload: Payload, number: int = 1) -> Draft:
    return Draft(
        id=EventId(f"018cc251-f400-7000-8000-{number:012x}"),
        type=payload.TYPE,
        time=datetime(2024, 1, 1, 12, 0, number % 60, 250_000, tzinfo=UTC),
        data=encode(payload),
        subject=getattr(payload, "path", ""),
        project=ProjectId("p1"),
        run=RUN,
        task=getattr(payload, "task", TaskId("")),
        agent="coder/t1",
        role="coder",
    )


def golden_lines() -> list[bytes]:
    return [line for lines in WRITTEN.values() for line in lines]


def type_of(line: bytes) -> str:
    return msgspec.json.decode(line, type=Draft).type


CURRENT = [line for line in golden_lines() if type_of(line) in known_types()]
OLD = [line for line in golden_lines() if type_of(line) in STEPS]


def test_every_type_has_an_example_with_no_field_left_at_its_default() -> None:
    assert [payload.TYPE for payload in EXAMPLES] == list(known_types())
    for payload in EXAMPLES:
        for field in msgspec.structs.fields(payload):
            assert getattr(payload, field.name) != field.default, f"{payload.TYPE}: {field.name}"


@pytest.mark.parametrize("name", known_types())
def test_a_type_is_named_cavalcade_noun_verb_past_version(name: str) -> None:
    assert re.fullmatch(r"cavalcade\.[a-z]+\.([a-z]+ed|found|made|written)\.v[1-9][0-9]*", name)


@pytest.mark.parametrize("payload", EXAMPLES, ids=IDS)
def test_a_payload_comes_back_as_it_was(payload: Payload) -> None:
    event = enveloped(payload)
    assert decode(event) == payload
    assert msgspec.json.decode(msgspec.json.encode(event), type=Draft) == event


@pytest.mark.parametrize("payload", EXAMPLES, ids=IDS)
def test_a_payload_is_frozen(payload: Payload) -> None:
    with pytest.raises(AttributeError):
        setattr(payload, payload.__struct_fields__[0], None)


@pytest.mark.parametrize("payload", EXAMPLES, ids=IDS)
def test_an_event_s_size_stays_within_what_the_ledger_budgets(payload: Payload) -> None:
    assert len(msgspec.json.encode(enveloped(payload))) < 2048


def test_the_golden_files_have_one_event_of_each_type_there_ever_was() -> None:
    """A type without its line: append what the failure shows to the newest file. Never change a line that is there."""
    golden = [type_of(line) for line in golden_lines()]
    missing = [
        msgspec.json.encode(enveloped(payload, number)).decode()
        for number, payload in enumerate(EXAMPLES, start=1)
        if payload.TYPE not in golden
    ]
    assert not missing, "\n".join(missing)
    assert sorted(golden) == sorted([*known_types(), *STEPS])


@pytest.mark.parametrize("line", CURRENT, ids=type_of)
def test_what_was_written_is_read_and_written_again_to_the_same_bytes(line: bytes) -> None:
    event = msgspec.json.decode(line, type=Draft)
    payload = decode(event)
    assert bytes(encode(payload)) == bytes(event.data)
    assert msgspec.json.encode(event) == line


@pytest.mark.parametrize("line", OLD, ids=type_of)
def test_an_old_event_is_read_as_its_type_means_it_today_and_keeps_its_bytes(line: bytes) -> None:
    event = msgspec.json.decode(line, type=Draft)
    payload = decode(event)
    assert payload.TYPE in known_types()
    assert payload.TYPE.rpartition(".v")[0] == event.type.rpartition(".v")[0]
    assert msgspec.json.encode(event) == line


def test_a_decision_of_version_1_used_no_memories_and_says_when_its_context_was_not_noted() -> None:
    (line,) = (line for line in OLD if type_of(line) == "cavalcade.decision.made.v1")
    event = msgspec.json.decode(line, type=Draft)
    expected = next(payload for payload in EXAMPLES if isinstance(payload, DecisionMade)).decision
    assert decode(event) == DecisionMade(decision=msgspec.structs.replace(expected, memories=()))
    bare = msgspec.Raw(b'{"decision":{"question":"which?","choice":"both","rationale":"why not"}}')
    blind = decode(msgspec.structs.replace(event, data=bare))
    assert isinstance(blind, DecisionMade)
    assert (blind.decision.context_hash, blind.decision.memories) == (UNRECORDED, ())


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"decision":1}', b'{"decision":{}}', b"{", b'{"decision":"\xff"}'])
def test_old_data_that_never_was_of_its_type_is_damage_and_the_event_is_named(data: bytes) -> None:
    event = msgspec.structs.replace(enveloped(EXAMPLES[2]), type="cavalcade.decision.made.v1", data=msgspec.Raw(data))
    with pytest.raises(LedgerDamaged, match=r"018cc251.*decision\.made\.v1"):
        decode(event)


def test_steps_chain_and_leave_what_they_are_given_alone() -> None:
    def adds(name: str) -> Callable[[Json], Json]:
        return lambda data: {**data, name: True}

    chain = {"a.v1": Step("a.v2", adds("two")), "a.v2": Step("a.v3", adds("three"))}
    given = {"one": True}
    assert upcast("a.v1", given, chain) == ("a.v3", {"one": True, "two": True, "three": True})
    assert upcast("a.v3", given, chain) == ("a.v3", given)
    assert given == {"one": True}


def test_every_chain_of_steps_ends_at_a_type_of_today() -> None:
    for name in STEPS:
        while name in STEPS:
            name = STEPS[name].to
        assert name in known_types()
    assert not set(STEPS) & set(known_types())


def test_a_field_that_a_newer_version_added_is_passed_over() -> None:
    event = enveloped(EXAMPLES[3])
    newer = msgspec.structs.replace(event, data=msgspec.Raw(b'{"plan_hash":"x","by":"ada","from":"a phone"}'))
    assert decode(newer) == PlanApproved(plan_hash="x", by="ada")


def test_an_unknown_type_is_damage_and_the_event_is_named() -> None:
    event = msgspec.structs.replace(enveloped(EXAMPLES[0]), type="cavalcade.run.requested.v99")
    with pytest.raises(LedgerDamaged, match=r"018cc251.*'cavalcade\.run\.requested\.v99'") as caught:
        decode(event)
    assert caught.value.expected == "cavalcade.run.requested.v1"
    assert "newer" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [b"{", b"[]", b"{}", b'{"plan_hash":1,"by":"ada"}', b'{"plan_hash":"x"}', b'{"plan_hash":"\xff","by":"ada"}'],
    ids=["cut off", "no object", "empty", "wrong type", "field missing", "not UTF-8"],
)
def test_data_that_does_not_fit_its_type_is_damage_and_the_event_is_named(data: bytes) -> None:
    event = msgspec.structs.replace(enveloped(EXAMPLES[3]), data=msgspec.Raw(data))
    with pytest.raises(LedgerDamaged, match=r"018cc251.*plan\.approved"):
        decode(event)


def test_jobs_with_the_same_work_have_the_same_key() -> None:
    job = Job(kind="task", run=RUN, task=T1, attempt=1)
    assert job.key == Job(kind="task", run=RUN, task=T1, attempt=1).key
    others = [
        Job(kind="verify", run=RUN, task=T1, attempt=1),
        Job(kind="task", run=RunId("r2"), task=T1, attempt=1),
        Job(kind="task", run=RUN, task=T2, attempt=1),
        Job(kind="task", run=RUN, task=T1, attempt=2),
        Job(kind="task", run=RUN, task=T1, attempt=1, round=1),
    ]
    assert len({job.key, *(other.key for other in others)}) == 6


def test_a_place_reads_as_path_and_line() -> None:
    assert str(PLACE) == "src/é.py:3"
