"""What must never happen, checked at each event as it becomes durable, and what must hold in the end.

The checks keep a small memory of their own (`Seen`) and ask neither the deciders nor the folded state, which they are there to judge. A new
rule is one more function in `EVENT_INVARIANTS` or `FINAL_INVARIANTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cavalcade.content.port import ContentStore
from cavalcade.domain.plan import SealedPlan
from cavalcade.kernel.ids import CommitId, RunId, TaskId
from cavalcade.ledger.chain import GENESIS
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.job import Job

_NOTHING = CommitId("")


@dataclass
class SeenTask:
    attempt: int = 0
    commit: CommitId = _NOTHING
    merged: bool = False
    judged: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """Attempt and number of each edit that was applied or rejected."""


@dataclass
class SeenRun:
    closed: str = ""
    halted: bool = False
    plan_hash: str = ""
    approved: str = ""
    head: CommitId = _NOTHING
    tasks: dict[TaskId, SeenTask] = field(default_factory=dict[TaskId, SeenTask])
    published: bool = False

    @property
    def all_merged(self) -> bool:
        return bool(self.tasks) and all(task.merged for task in self.tasks.values())


@dataclass
class Seen:
    """What was recorded so far. `plans` are all that were ever made, by hash; `allowed` are the (run, hash) that a person said yes to."""

    content: ContentStore
    plans: dict[str, SealedPlan] = field(default_factory=dict[str, SealedPlan])
    allowed: set[tuple[RunId, str]] = field(default_factory=set[tuple[RunId, str]])
    runs: dict[RunId, SeenRun] = field(default_factory=dict[RunId, SeenRun])
    position: int = 0
    hash: str = GENESIS
    versions: dict[str, int] = field(default_factory=dict[str, int])

    def learn(self, recorded: Recorded, payload: e.Payload) -> None:
        self.position, self.hash = recorded.position, recorded.hash
        self.versions[recorded.stream] = recorded.version
        run = self.runs.setdefault(recorded.event.run, SeenRun())
        match payload:
            case e.RunRequested():
                run.head = payload.base.commit
            case e.PlanProposed():
                run.plan_hash, run.approved = payload.plan_hash, ""
                run.tasks = {spec.id: SeenTask() for spec in payload.tasks}
            case e.FeedbackInjected():
                run.plan_hash, run.approved, run.tasks = "", "", {}
            case e.PlanApproved():
                run.approved = payload.plan_hash
            case e.ResultPublished():
                run.published = True
            case e.RunHalted() | e.RunResumed():
                run.halted = isinstance(payload, e.RunHalted)
            case e.RunCompleted() | e.RunAborted() | e.RunStopped() | e.RunFailed():
                run.closed = payload.TYPE
            case e.TaskStarted() | e.EditApplied() | e.EditRejected() | e.TaskMerged():
                self._learn_task(run, run.tasks.setdefault(payload.task, SeenTask()), payload)
            case _:
                pass

    def _learn_task(
        self, run: SeenRun, task: SeenTask, payload: e.TaskStarted | e.EditApplied | e.EditRejected | e.TaskMerged
    ) -> None:
        match payload:
            case e.TaskStarted():
                task.attempt, task.commit = payload.attempt, payload.commit
            case e.EditApplied():
                task.commit = payload.commit
                task.judged.add((payload.attempt, payload.edit))
            case e.EditRejected():
                task.judged.add((payload.attempt, payload.edit))
            case e.TaskMerged():
                task.merged = True
                run.head = payload.commit


@dataclass(frozen=True)
class Event:
    """One event as it becomes durable, against what was seen before it. `job` is what its writer had claimed, if it is a worker."""

    seen: Seen
    recorded: Recorded
    payload: e.Payload
    job: Job | None

    @property
    def run(self) -> SeenRun:
        return self.seen.runs.get(self.recorded.event.run, SeenRun())


_OfAttempt = (
    e.EditProposed
    | e.EditApplied
    | e.EditRejected
    | e.GateJudged
    | e.TaskProposed
    | e.TaskMerged
    | e.TaskBounced
    | e.ExplorationRecorded
)


def positions_are_dense(event: Event) -> str:
    recorded, seen = event.recorded, event.seen
    if recorded.position != seen.position + 1:
        return f"position {recorded.position} follows {seen.position}"
    if recorded.version != seen.versions.get(recorded.stream, 0) + 1:
        return f"version {recorded.version} of {recorded.stream} follows {seen.versions.get(recorded.stream, 0)}"
    return ""


def each_event_links_to_the_one_before(event: Event) -> str:
    return "" if event.recorded.prevhash == event.seen.hash else "it is not chained to the event before"


def nothing_follows_the_end(event: Event) -> str:
    """No edit after a stop or an abort is recorded; nor anything else."""
    return f"after {event.run.closed}" if event.run.closed else ""


def nothing_happens_in_a_stopped_run(event: Event) -> str:
    """No edit after a stop is recorded, until a person resumes the run."""
    going_on = isinstance(event.payload, e.RunResumed | e.RunAborted)
    return "the run is stopped" if event.run.halted and not going_on else ""


def an_attempt_begins_once(event: Event) -> str:
    match event.payload:
        case e.TaskStarted(task=name, attempt=attempt):
            before = event.run.tasks.get(name, SeenTask()).attempt
            return "" if attempt == before + 1 else f"attempt {attempt} of {name} begins after attempt {before}"
        case _:
            return ""


def one_attempt_acts(event: Event) -> str:
    """The fence: only the attempt that began last, and only whoever was given it."""
    payload = event.payload
    if not isinstance(payload, _OfAttempt):
        return ""
    current = event.run.tasks.get(payload.task, SeenTask()).attempt
    if payload.attempt != current:
        return f"attempt {payload.attempt} of {payload.task} acts in attempt {current}"
    if event.job is not None and (event.job.task, event.job.attempt) != (payload.task, payload.attempt):
        return f"whoever was given {event.job.task} attempt {event.job.attempt} acts in {payload.task} attempt {payload.attempt}"
    return ""


def an_edit_is_judged_once(event: Event) -> str:
    match event.payload:
        case e.EditApplied() | e.EditRejected() as judged:
            task = event.run.tasks.get(judged.task, SeenTask())
            again = (judged.attempt, judged.edit) in task.judged
            return f"edit {judged.edit} of {judged.task} is judged twice" if again else ""
        case _:
            return ""


def a_task_is_merged_once(event: Event) -> str:
    match event.payload:
        case e.TaskMerged(task=name) if event.run.tasks.get(name, SeenTask()).merged:
            return f"{name} is merged twice"
        case _:
            return ""


def a_plan_is_approved_by_who_saw_it(event: Event) -> str:
    match event.payload:
        case e.PlanApproved(plan_hash=plan):
            if plan != event.run.plan_hash:
                return f"plan {plan[:8]} is approved, proposed is {event.run.plan_hash[:8]}"
            said = (event.recorded.event.run, plan) in event.seen.allowed
            return "" if said else f"nobody said yes to plan {plan[:8]}"
        case _:
            return ""


def only_the_approved_plan_is_carried_out(event: Event) -> str:
    """No task acts without an approval of the plan that is proposed, and an edit's commit changes what that plan's edit names."""
    payload, run = event.payload, event.run
    if not isinstance(payload, _OfAttempt | e.TaskStarted):
        return ""
    if not run.approved or run.approved != run.plan_hash:
        return f"{payload.task} acts without an approved plan"
    if not isinstance(payload, e.EditApplied):
        return ""
    edit = event.seen.plans[run.approved].edit(payload.edit)
    if edit is None:
        return f"edit {payload.edit} is not in the approved plan"
    if payload.parent != run.tasks[payload.task].commit:
        return f"edit {payload.edit} does not stand on what {payload.task} did before"
    content = event.seen.content
    changed = {
        path
        for diff in content.diff(content.tree_of(payload.parent), content.tree_of(payload.commit), context=0)
        for path in (diff.path, diff.old_path)
    }
    beyond = changed - {edit.path, edit.moved_from}
    return f"edit {payload.edit} changes {sorted(beyond)}" if beyond else ""


def the_result_is_recorded_once(event: Event) -> str:
    match event.payload:
        case e.ResultPublished(commit=commit):
            if event.run.published:
                return "the result is recorded twice"
            return "" if commit == event.run.head else f"{commit[:8]} is published, the head is {event.run.head[:8]}"
        case _:
            return ""


EVENT_INVARIANTS: tuple[Callable[[Event], str], ...] = (
    positions_are_dense,
    each_event_links_to_the_one_before,
    nothing_follows_the_end,
    nothing_happens_in_a_stopped_run,
    an_attempt_begins_once,
    one_attempt_acts,
    an_edit_is_judged_once,
    a_task_is_merged_once,
    a_plan_is_approved_by_who_saw_it,
    only_the_approved_plan_is_carried_out,
    the_result_is_recorded_once,
)
"""Each says what is wrong with an event, nothing when it is right. Bounds of budgets and holders of leases are checked here as well, once
there are events of them."""


def check_event(event: Event) -> Iterator[str]:
    for invariant in EVENT_INVARIANTS:
        if wrong := invariant(event):
            name = invariant.__name__.replace("_", " ")
            yield f"{name}: event {event.recorded.position} ({event.recorded.event.type}): {wrong}"


def check_published(seen: Seen, run: RunId, commit: CommitId) -> str:
    """The branch in the user's repository is made when all is merged on the record, and not before."""
    known = seen.runs.get(run, SeenRun())
    if known.all_merged and known.head == commit:
        return ""
    return f"the branch of {run} was published at {commit[:8]} before the record said that everything is merged"
