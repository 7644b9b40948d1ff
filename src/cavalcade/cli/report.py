"""A run as data for people and programs: what `show` and the end of a run tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from cavalcade.content.port import ContentStore
from cavalcade.domain.plan import unseal
from cavalcade.domain.run import RunState, TaskState
from cavalcade.kernel.errors import CavalcadeError, ObjectMissing
from cavalcade.kernel.ids import RunId
from cavalcade.protocol import events as e
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode
from cavalcade.protocol.plan import Base, Place, Plan, RecipeCall, TestPlan
from cavalcade.protocol.receipt import Receipt


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """Data whose empty fields are shown too: programs find every key."""


class EditReport(Whole, frozen=True):
    number: int
    path: str
    moved_from: str
    kind: str
    changes: int
    removed: bool


class PlanReport(Whole, frozen=True):
    """`files` and `changes` count the certain edits; `residual` are the places of those that are tried only if asked for."""

    hash: str
    round: int
    files: int
    changes: int
    edits: tuple[EditReport, ...]
    unresolved: tuple[Place, ...]
    residual: tuple[Place, ...]
    mentions: tuple[Place, ...]
    problems: tuple[Place, ...]
    tests: TestPlan
    cost_usd: float


class TaskReport(Whole, frozen=True):
    id: str
    title: str
    status: str
    attempt: int
    attempts: int
    edits: int
    applied: int
    rejected: int
    depends_on: tuple[str, ...]
    residual: tuple[int, ...]
    """The residual edits that the last attempt added."""
    commit: str


class GateTally(Whole, frozen=True):
    """Verdicts of one gate; `ms` is the sum of their durations."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    ms: float = 0.0

    @property
    def runs(self) -> int:
        return self.passed + self.failed + self.skipped

    def plus(self, receipt: Receipt) -> GateTally:
        return GateTally(
            passed=self.passed + (receipt.verdict == "passed"),
            failed=self.failed + (receipt.verdict == "failed"),
            skipped=self.skipped + (receipt.verdict == "skipped"),
            ms=round(self.ms + receipt.duration_ms, 3),
        )


class TestsReport(Whole, frozen=True):
    """The last run of the tests: how many of each outcome, on the tree before and on the one after."""

    __test__ = False

    verdict: str
    before: dict[str, int]
    after: dict[str, int]
    lost: tuple[str, ...]
    flaky: tuple[str, ...]
    unfinished: tuple[str, ...]
    summary: str
    ms: float


class StopReport(Whole, frozen=True):
    reason: str
    places: tuple[Place, ...]


class RecordingReport(Whole, frozen=True):
    """`exit_status` as in RecordingEnded; None also while the program runs. `cut_off`: its recorder is gone and it has no end yet."""

    command: tuple[str, ...]
    program: str
    folder: str
    in_place: bool
    exit_status: int | None
    looks: int
    output_bytes: int
    cut_off: bool


class Report(Whole, frozen=True):
    run: str
    parent: str
    """The run that this one was forked from, else empty."""
    shared: int
    """How many of the events are the parent's."""
    phase: str
    since: datetime | None
    objective: str
    recipe: RecipeCall | None
    settings: e.Settings
    repository: str
    project: str
    base: Base
    branch: str
    commit: str
    commits: int
    approved_by: str
    recording: RecordingReport | None
    plan: PlanReport | None
    tasks: tuple[TaskReport, ...]
    gates: dict[str, GateTally]
    tests: TestsReport | None
    decisions: tuple[Decision, ...]
    overlaps: tuple[e.Overlap, ...]
    stop: StopReport | None
    problem: e.Problem | None
    cost_usd: float
    events: int
    started: datetime
    duration_s: float


def tally(payloads: Iterable[e.Payload]) -> dict[str, GateTally]:
    gates: dict[str, GateTally] = {}
    for payload in payloads:
        if isinstance(payload, e.GateJudged):
            name = payload.receipt.gate
            gates[name] = gates.get(name, GateTally()).plus(payload.receipt)
    return gates


def kept_plan(content: ContentStore, state: RunState) -> Plan | None:
    """The proposed plan; None while there is none, or when the content store doesn't have it any more."""
    if state.plan is None:
        return None
    try:
        return unseal(content.read(state.plan)).plan
    except ObjectMissing:
        return None


def make_report(
    run: RunId, state: RunState, history: Sequence[Recorded], content: ContentStore, *, driven: bool = True
) -> Report:
    """`driven`: whether a process drives or records it now."""
    request = state.start
    assert request is not None  # a loaded run has begun
    payloads = [decode(recorded.event) for recorded in history]
    plan = kept_plan(content, state)
    started, ended = history[state.shared].event.time, history[-1].event.time
    return Report(
        run=run,
        parent=state.parent or "",
        shared=state.shared,
        phase=state.phase,
        since=state.since,
        objective=state.objective,
        recipe=state.recipe,
        settings=state.settings,
        repository=request.repository,
        project=request.project,
        base=request.base,
        branch=state.branch,
        commit=state.head if state.branch else "",
        commits=(state.looks + sum(task.status == "merged" for task in state.tasks.values())) if state.branch else 0,
        approved_by=state.approved_by,
        recording=_recording(state, payloads, driven=driven),
        plan=_plan(state, plan) if plan else None,
        tasks=tuple(_task(task) for task in state.tasks.values()),
        gates=tally(payloads),
        tests=_tests(payloads, content),
        decisions=tuple(payload.decision for payload in payloads if isinstance(payload, e.DecisionMade)),
        overlaps=state.overlaps,
        stop=_stop(state),
        problem=state.problem,
        cost_usd=plan.cost_usd if plan else 0.0,
        events=len(history),
        started=started,
        duration_s=round((ended - started).total_seconds(), 3),
    )


def _recording(state: RunState, payloads: Sequence[e.Payload], *, driven: bool) -> RecordingReport | None:
    recording = state.recording
    if recording is None:
        return None
    return RecordingReport(
        command=recording.command,
        program=recording.program,
        folder=recording.folder,
        in_place=recording.in_place,
        exit_status=state.exit_status,
        looks=state.looks,
        output_bytes=sum(payload.size_bytes for payload in payloads if isinstance(payload, e.OutputWritten)),
        cut_off=not state.closed and not driven,
    )


def _stop(state: RunState) -> StopReport | None:
    if state.phase not in {"stopped", "aborted", "halted"}:
        return None
    return StopReport(reason=state.stop_reason, places=state.stop_places)


def _plan(state: RunState, plan: Plan) -> PlanReport:
    residual = [edit for edit in plan.edits if edit.kind == "residual"]
    edits = tuple(
        EditReport(
            number=edit.number,
            path=edit.path,
            moved_from=edit.moved_from,
            kind=edit.kind,
            changes=edit.changes,
            removed=edit.after is None,
        )
        for edit in plan.edits
    )
    return PlanReport(
        hash=state.plan_hash,
        round=state.round,
        files=state.counts.files,
        changes=state.counts.changes,
        edits=edits,
        unresolved=plan.unresolved,
        residual=tuple(place for edit in residual for place in edit.places or (Place(path=edit.path, line=0),)),
        mentions=plan.mentions,
        problems=plan.problems,
        tests=plan.tests,
        cost_usd=plan.cost_usd,
    )


def _task(task: TaskState) -> TaskReport:
    return TaskReport(
        id=task.spec.id,
        title=task.spec.title,
        status=task.status,
        attempt=task.attempt,
        attempts=task.spec.attempts,
        edits=len(task.edits()),
        applied=len(task.applied),
        rejected=len(task.rejected),
        depends_on=task.spec.depends_on,
        residual=task.retry if task.attempt > 1 else (),
        commit=task.merged,
    )


def _tests(payloads: Sequence[e.Payload], content: ContentStore) -> TestsReport | None:
    receipts = [p.receipt for p in payloads if isinstance(p, e.GateJudged) and p.receipt.gate == "tests"]
    if not receipts:
        return None
    last = receipts[-1]
    before, after = dict[str, int](), dict[str, int]()
    lost, flaky, unfinished = tuple[str, ...](), tuple[str, ...](), tuple[str, ...]()
    if last.details is not None:
        from cavalcade.gates.suite import read_details  # heavy, and most commands need none of it

        details = read_details(content.read(last.details))
        before, after = dict(Counter(details.before.values())), dict(Counter(details.after.values()))
        lost, flaky, unfinished = details.lost, details.flaky, details.unfinished
    return TestsReport(
        verdict=last.verdict,
        before=before,
        after=after,
        lost=lost,
        flaky=flaky,
        unfinished=unfinished,
        summary=last.summary,
        ms=last.duration_ms,
    )


def problem_error(problem: e.Problem) -> CavalcadeError:
    """A recorded problem as the error that it was; its exit status is `problem.exit_status`."""
    return CavalcadeError(problem.what, expected=problem.expected, hint=problem.hint, places=problem.places)
