"""A run in memory, without ledger, store or worker: the decider alone, and an environment that answers what it owes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from cavalcade.domain.plan import SealedPlan, seal
from cavalcade.domain.run import (
    Approve,
    AwaitProgram,
    Command,
    Complete,
    DoTask,
    Effect,
    EndRecording,
    ExploreTask,
    Fact,
    Finish,
    Fork,
    JudgeEdit,
    JudgeTask,
    MakePlan,
    ProposeEdit,
    ProposePlan,
    ProposeTask,
    Publish,
    RecordExploration,
    RecordPublished,
    Refusal,
    RunState,
    StartTask,
    TaskState,
    VerifyTask,
    WaitForHuman,
    decide,
    evolve,
    fold,
    pending,
)
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.ids import BlobId, CommitId, EventId, ProjectId, RunId, TaskId, TreeId
from cavalcade.protocol.events import Payload, RunRequested, Settings
from cavalcade.protocol.plan import Base, EditKind, Plan, PlannedEdit, RecipeCall, TaskSpec
from cavalcade.protocol.receipt import Receipt, Verdict
from cavalcade.testing.clock import FakeClock

BRANCH = "cavalcade/r1"
PARENT = RunId("r1")
CALL = RecipeCall(name="rename", arguments={"symbol": "m:old", "to": "new"})


def object_name(text: str) -> str:
    """40 hexadecimal digits that stand for a git object; the same text, the same name."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


BASE = Base(commit=CommitId(object_name("base commit")), tree=TreeId(object_name("base tree")), head=None)


def a_request(settings: Settings | None = None) -> RunRequested:
    return RunRequested(
        objective="rename m:old to new",
        project=ProjectId("p1"),
        repository="/project",
        base=BASE,
        recipe=CALL,
        settings=settings or Settings(),
    )


def an_edit(number: int, path: str = "", *, kind: EditKind = "reference") -> PlannedEdit:
    return PlannedEdit(
        number=number,
        path=path or f"m{number}.py",
        before=BlobId(object_name(f"before {number}")),
        after=BlobId(object_name(f"after {number}")),
        kind=kind,
    )


def a_task(
    name: str,
    edits: tuple[int, ...] = (),
    *,
    residual: tuple[int, ...] = (),
    depends_on: tuple[str, ...] = (),
    targets: tuple[str, ...] = (),
    attempts: int = 3,
) -> TaskSpec:
    return TaskSpec(
        id=TaskId(name),
        title=f"task {name}",
        targets=targets,
        depends_on=tuple(TaskId(other) for other in depends_on),
        edits=edits,
        residual=residual,
        attempts=attempts,
    )


def a_plan(*tasks: TaskSpec, edits: Iterable[PlannedEdit] | None = None) -> Plan:
    """A sound plan of these tasks; without `edits`, every edit that they name changes a file of its own, `m<number>.py`."""
    if edits is None:
        edits = [
            *(an_edit(number) for task in tasks for number in task.edits),
            *(an_edit(number, kind="residual") for task in tasks for number in task.residual),
        ]
    planned = tuple(edits)
    return Plan(
        objective="rename m:old to new",
        recipe=CALL,
        base_tree=BASE.tree,
        tasks=tasks,
        edits=planned,
        allowed=tuple(sorted({edit.path for edit in planned})),
    )


def a_receipt(verdict: Verdict = "passed", gate: str = "syntax") -> Receipt:
    tree = BASE.tree
    return Receipt(
        gate=gate,
        tool="fake",
        version="1",
        before=tree,
        after=tree,
        paths=("m1.py",),
        config={},
        verdict=verdict,
        result_digest="0" * 64,
        duration_ms=1.0,
    )


class MemoryRun:
    """Commands in, facts on the record, the state folded along. `restart` is what a crash leaves: the facts."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or FakeClock(tick_s=1.0)
        self.facts: list[Fact] = []
        self.state = RunState()
        self.shared = 0
        """How many of the facts are the parent's, for a fork."""
        self.plans: dict[str, SealedPlan] = {}
        """By hash, all that were ever proposed, recorded or not."""

    def ask(self, command: Command) -> tuple[Payload, ...] | Refusal:
        """Decides, and records what is decided."""
        if isinstance(command, ProposePlan):
            self.plans[command.sealed.hash] = command.sealed
        decided = decide(self.state, command)
        if not isinstance(decided, Refusal):
            for payload in decided:
                fact = Fact(EventId(f"e{len(self.facts) + 1}"), self._clock.now(), payload)
                self.facts.append(fact)
                self.state = evolve(self.state, fact)
        return decided

    def must(self, *commands: Command) -> tuple[Payload, ...]:
        """What the last of these commands recorded. Raises the Refused of the first that the rules forbid."""
        decided: tuple[Payload, ...] | Refusal = ()
        for command in commands:
            decided = self.ask(command)
            if isinstance(decided, Refusal):
                raise decided.error()
        assert not isinstance(decided, Refusal)
        return decided

    def restart(self) -> None:
        self.state = fold(self.facts)

    def fork(self, at: int, guidance: str = "", *, yes: bool = False) -> MemoryRun:
        """A run of its own from fact number `at`; with guidance it plans the same once more, from the head there. Raises Refused."""
        forked = MemoryRun(self._clock)
        forked.facts, forked.shared, forked.plans = self.facts[:at], at, dict(self.plans)
        forked.restart()
        state = forked.state
        base = replace(BASE, commit=state.head, tree=state.head_tree) if guidance else BASE
        settings = replace(state.settings, auto_approve=yes)
        event = forked.facts[-1].id
        command = Fork(PARENT, event, at, "ada", base, guidance, state.objective, state.recipe, settings)
        forked.must(command)
        return forked

    def approved(self) -> SealedPlan:
        return self.plans[self.state.approved_hash]


def _approve(state: RunState) -> Command:
    return Approve(state.plan_hash, "ada")


def _all_residual(task: TaskState) -> tuple[int, ...] | None:
    return task.spec.residual or None


def _yes(*_about: object) -> bool:
    return True


@dataclass(frozen=True)
class Environment:
    """How planner, workers, gates and the person at the gate answer. By default everything passes at once."""

    plan: Callable[[RunState], Plan]
    human: Callable[[RunState], Command] = _approve
    edit_passes: Callable[[TaskState, int], bool] = _yes
    proposal_passes: Callable[[TaskState], bool] = _yes
    retry: Callable[[TaskState], tuple[int, ...] | None] = _all_residual


def next_command(run: MemoryRun, effect: Effect, environment: Environment) -> Command:
    """The next single step towards an effect, from the state alone: who restarts goes on at the same place."""
    state = run.state
    match effect:
        case MakePlan():
            sealed, data = seal(environment.plan(state))
            return ProposePlan(effect.round, sealed, BlobId(object_name(data.decode())))
        case WaitForHuman():
            return environment.human(state)
        case DoTask():
            return _step_of_task(run, effect, environment)
        case VerifyTask():
            passes = environment.proposal_passes(state.tasks[effect.task])
            return judge_task(state, effect.task, passes=passes)
        case ExploreTask():
            retry = environment.retry(state.tasks[effect.task])
            return RecordExploration(effect.task, effect.attempt, "found out", (), retry)
        case Publish():
            return RecordPublished(BRANCH, state.head)
        case Finish():
            return Complete()
        case AwaitProgram():
            return EndRecording(0)


def _step_of_task(run: MemoryRun, effect: DoTask, environment: Environment) -> Command:
    if not effect.started:
        return StartTask(effect.task, effect.attempt)
    task = run.state.tasks[effect.task]
    for number in task.edits():
        if number in task.open_edits:
            return judge_edit(task, number, passes=environment.edit_passes(task, number))
        if number not in task.applied and number not in task.rejected:
            return ProposeEdit(effect.task, effect.attempt, run.approved(), number)
    return ProposeTask(effect.task, effect.attempt)


def judge_edit(task: TaskState, number: int, *, passes: bool = True) -> JudgeEdit:
    """The verdict on an edit that is open in this state of its task."""
    name = f"{task.commit} {task.spec.id} {task.attempt} {number}"
    return JudgeEdit(
        task=task.spec.id,
        attempt=task.attempt,
        edit=number,
        path=task.open_edits[number].path,
        receipts=(a_receipt("passed" if passes else "failed"),),
        parent=task.commit,
        commit=CommitId(object_name(f"commit {name}")),
        tree=TreeId(object_name(f"tree {name}")),
        added=1,
        removed=1,
    )


def judge_task(state: RunState, task: TaskId, *, passes: bool = True, head: CommitId | None = None) -> JudgeTask:
    """The verdict on a proposal, merged onto `head` (without: the present one)."""
    onto = head or state.head
    proposal = state.tasks[task]
    name = f"{onto} {task} {proposal.attempt} {proposal.commit}"
    return JudgeTask(
        task=task,
        attempt=proposal.attempt,
        head=onto,
        receipts=(a_receipt("passed" if passes else "failed", "tests"),),
        commit=CommitId(object_name(f"merged {name}")),
        tree=TreeId(object_name(f"merged tree {name}")),
        reason="" if passes else "tests: 2 failed",
    )


def drive(run: MemoryRun, environment: Environment, choose: Callable[[int], int], *, steps: int) -> int:
    """Does what is pending, one step at a time, until nothing is; `choose(n)` picks one of n effects. The number of steps taken.

    Raises Refused when a step that is owed is forbidden, AssertionError when `steps` don't suffice.
    """
    for taken in range(steps):
        effects = pending(run.state)
        if not effects:
            return taken
        run.must(next_command(run, effects[choose(len(effects))], environment))
    raise AssertionError(f"still open after {steps} steps: {pending(run.state)}")
