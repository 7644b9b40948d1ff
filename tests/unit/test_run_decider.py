"""The rules of a run, one sentence each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cavalcade.domain.plan import seal
from cavalcade.domain.run import (
    Abort,
    Approve,
    Command,
    Complete,
    DoTask,
    ExploreTask,
    Fail,
    Finish,
    Inject,
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
    RequestRun,
    RunState,
    StartTask,
    VerifyTask,
    WaitForHuman,
    decide,
    fold,
    pending,
)
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import BlobId, CommitId, TaskId, TreeId
from cavalcade.protocol import events as e
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.plan import Plan, RecipeCall
from cavalcade.testing.clock import FakeClock
from cavalcade.testing.runs import (
    BASE,
    BRANCH,
    Environment,
    MemoryRun,
    a_plan,
    a_receipt,
    a_request,
    a_task,
    drive,
    judge_edit,
    judge_task,
    object_name,
)

T1, T2, T3 = TaskId("t1"), TaskId("t2"), TaskId("t3")
KEPT = BlobId(object_name("plan"))
INJECT = Inject(
    "docs too", "ada", "rename m:old to new, docs too", RecipeCall(name="rename", arguments={}), e.Settings()
)
ABORT = Abort("ada", "changed my mind")
FAIL = Fail(e.Problem(code="symbol-not-found", what="no symbol m:old", exit_status=2))


def propose(plan: Plan, number: int = 1, decisions: tuple[Decision, ...] = ()) -> ProposePlan:
    return ProposePlan(number, seal(plan)[0], KEPT, decisions)


def requested(settings: e.Settings | None = None, clock: FakeClock | None = None) -> MemoryRun:
    run = MemoryRun(clock)
    run.must(RequestRun(a_request(settings)))
    return run


def proposed(plan: Plan) -> MemoryRun:
    run = requested()
    run.must(propose(plan))
    return run


def approved(plan: Plan) -> MemoryRun:
    run = proposed(plan)
    run.must(Approve(run.state.plan_hash, "ada"))
    return run


def started(plan: Plan) -> MemoryRun:
    run = approved(plan)
    run.must(StartTask(T1, 1))
    return run


def apply(run: MemoryRun, task: TaskId, attempt: int, *numbers: int) -> None:
    for number in numbers:
        run.must(ProposeEdit(task, attempt, run.approved(), number))
        run.must(judge_edit(run.state.tasks[task], number))


def offer(run: MemoryRun, task: TaskId) -> None:
    """Start, make all edits, propose."""
    attempt = run.state.tasks[task].attempt + 1
    run.must(StartTask(task, attempt))
    apply(run, task, attempt, *run.state.tasks[task].edits())
    run.must(ProposeTask(task, attempt))


def bounced(plan: Plan) -> MemoryRun:
    run = approved(plan)
    offer(run, T1)
    run.must(judge_task(run.state, T1, passes=False))
    return run


def published(plan: Plan) -> MemoryRun:
    run = approved(plan)
    offer(run, T1)
    run.must(judge_task(run.state, T1))
    run.must(RecordPublished(BRANCH, run.state.head))
    return run


def refusal(run: MemoryRun, command: Command) -> str:
    """Why the command is refused; nothing is recorded by it."""
    before = len(run.facts)
    decided = run.ask(command)
    assert isinstance(decided, Refusal)
    assert len(run.facts) == before
    return decided.what


ONE = a_plan(a_task("t1", (1, 2), residual=(3, 4)))


# Request and plan


def test_a_run_begins_with_its_request_and_owes_a_plan() -> None:
    run = requested()
    assert [fact.payload for fact in run.facts] == [a_request()]
    assert pending(run.state) == (MakePlan(1),)
    assert (run.state.head, run.state.head_tree) == (BASE.commit, BASE.tree)


def test_a_run_is_requested_only_once() -> None:
    assert "already" in refusal(requested(), RequestRun(a_request()))


@pytest.mark.parametrize("command", [ABORT, FAIL, INJECT, propose(ONE), StartTask(T1, 1), Complete()])
def test_nothing_can_be_asked_of_a_run_that_was_never_requested(command: Command) -> None:
    assert refusal(MemoryRun(), command) == "there is no such run"


def test_a_refusal_is_an_error_with_the_same_words() -> None:
    decided = MemoryRun().ask(ABORT)
    assert isinstance(decided, Refusal)
    error = decided.error()
    assert isinstance(error, Refused)
    assert (error.what, error.hint) == ("there is no such run", "`cavalcade runs` lists the runs")


def test_a_proposed_plan_waits_for_a_person_under_its_hash() -> None:
    run = proposed(ONE)
    assert pending(run.state) == (WaitForHuman(seal(ONE)[0].hash, run.facts[-1].time),)
    assert run.state.counts == e.PlanCounts(files=2, changes=2, residual=2)


def test_the_decisions_behind_a_plan_are_recorded_before_it() -> None:
    decision = Decision(
        question="which resolver?", choice="both", rationale="they complement each other", context_hash="0" * 64
    )
    recorded = requested().must(propose(ONE, decisions=(decision,)))
    assert recorded[0] == e.DecisionMade(decision=decision)
    assert isinstance(recorded[1], e.PlanProposed)


def test_a_decision_that_does_not_say_what_was_seen_is_refused() -> None:
    decision = Decision(question="which resolver?", choice="both", rationale="they complement each other")
    assert "which resolver?" in refusal(requested(), propose(ONE, decisions=(decision,)))


def test_a_plan_with_a_flaw_is_refused_and_the_flaw_named() -> None:
    circle = a_plan(a_task("t1", (1,), depends_on=("t2",)), a_task("t2", (2,), depends_on=("t1",)))
    assert "circle" in refusal(requested(), propose(circle))


def test_a_plan_for_another_state_of_the_project_is_refused() -> None:
    other = Plan(
        objective="x",
        recipe=ONE.recipe,
        base_tree=TreeId("f" * 40),
        tasks=ONE.tasks,
        edits=ONE.edits,
        allowed=ONE.allowed,
    )
    assert "another state" in refusal(requested(), propose(other))


@pytest.mark.parametrize("number", [0, 2])
def test_a_plan_out_of_turn_is_refused(number: int) -> None:
    assert "not the one that is waited for" in refusal(requested(), propose(ONE, number))


# The human gate


@pytest.mark.parametrize("command", [StartTask(T1, 1), ProposeTask(T1, 1), RecordExploration(T1, 1, "", (), None)])
def test_nothing_acts_on_a_task_before_the_plan_is_approved(command: Command) -> None:
    assert "without an approved plan" in refusal(proposed(ONE), command)


def test_an_approval_of_another_hash_is_refused() -> None:
    assert "the approval is for plan 0000" in refusal(proposed(ONE), Approve("0" * 64, "ada"))


def test_an_approval_before_there_is_a_plan_is_refused() -> None:
    assert "no plan to approve" in refusal(requested(), Approve(seal(ONE)[0].hash, "ada"))


def test_an_approval_lets_the_tasks_begin() -> None:
    run = approved(ONE)
    assert run.state.approved_by == "ada"
    assert pending(run.state) == (DoTask(T1, 1, started=False),)


def test_a_second_approval_of_the_same_plan_records_nothing() -> None:
    run = approved(ONE)
    assert run.must(Approve(run.state.plan_hash, "bob")) == ()


def test_a_second_approval_of_another_plan_is_refused() -> None:
    assert "no plan to approve" in refusal(approved(ONE), Approve("0" * 64, "bob"))


def test_a_run_asked_for_with_yes_approves_by_policy_and_says_so() -> None:
    run = requested(e.Settings(auto_approve=True))
    recorded = run.must(propose(ONE))
    assert recorded[-1] == e.PlanApproved(plan_hash=seal(ONE)[0].hash, by="policy:yes")
    assert pending(run.state) == (DoTask(T1, 1, started=False),)


def test_feedback_makes_a_new_plan_for_the_new_objective_due() -> None:
    run = proposed(ONE)
    run.must(INJECT)
    assert pending(run.state) == (MakePlan(2),)
    assert (run.state.objective, run.state.recipe) == (INJECT.objective, INJECT.recipe)
    assert run.state.plan_hash == ""


def test_the_plan_from_before_the_feedback_can_no_longer_be_approved() -> None:
    run = proposed(ONE)
    old = run.state.plan_hash
    run.must(INJECT, propose(a_plan(a_task("t1", (1,))), 2))
    assert "the approval is for plan" in refusal(run, Approve(old, "ada"))


def test_feedback_while_a_plan_is_being_made_makes_that_plan_stale() -> None:
    """Bug class: a plan for the former objective is proposed, or by `--yes` even carried out, after the person changed it."""
    run = requested(e.Settings(auto_approve=True))
    run.must(INJECT)
    assert "not the one that is waited for" in refusal(run, propose(ONE, 1))
    assert pending(run.state) == (MakePlan(2),)


def test_the_same_feedback_twice_is_recorded_once() -> None:
    run = proposed(ONE)
    run.must(INJECT)
    assert run.must(INJECT) == ()
    assert run.must(INJECT._replace(text="and the comments")) != ()


@pytest.mark.parametrize("make", [approved, published])
def test_feedback_after_the_approval_is_refused(make: Callable[[Plan], MemoryRun]) -> None:
    assert "feedback can be given while a plan waits" in refusal(make(ONE), INJECT)


# Tasks and edits


def test_a_task_starts_at_the_head_of_the_run() -> None:
    run = started(ONE)
    assert run.facts[-1].payload == e.TaskStarted(task=T1, attempt=1, commit=BASE.commit, tree=BASE.tree)
    assert pending(run.state) == (DoTask(T1, 1, started=True),)


def test_a_started_task_started_again_records_nothing() -> None:
    assert started(ONE).must(StartTask(T1, 1)) == ()


@pytest.mark.parametrize("attempt", [0, 2])
def test_a_task_can_not_skip_to_another_attempt(attempt: int) -> None:
    assert "can't start" in refusal(approved(ONE), StartTask(T1, attempt))


def test_a_task_that_is_not_in_the_approved_plan_is_refused() -> None:
    assert "not in the approved plan" in refusal(approved(ONE), StartTask(TaskId("t9"), 1))


def test_a_task_starts_only_after_its_dependencies_are_merged() -> None:
    run = approved(a_plan(a_task("t2", (2,), depends_on=("t1",)), a_task("t1", (1,))))
    assert pending(run.state) == (DoTask(T1, 1, started=False),)
    assert "waiting" in refusal(run, StartTask(T2, 1))
    offer(run, T1)
    assert "waiting" in refusal(run, StartTask(T2, 1))
    run.must(judge_task(run.state, T1))
    assert pending(run.state) == (DoTask(T2, 1, started=False),)


def test_tasks_with_a_common_target_do_not_run_side_by_side() -> None:
    tasks = [
        a_task(f"t{n}", (n,), targets=targets) for n, targets in enumerate([("a", "b"), ("b", "c"), ("d",)], start=1)
    ]
    run = approved(a_plan(*tasks))
    assert pending(run.state) == (DoTask(T1, 1, started=False), DoTask(T3, 1, started=False))
    run.must(StartTask(T1, 1))
    assert "waiting" in refusal(run, StartTask(T2, 1))
    apply(run, T1, 1, 1)
    run.must(ProposeTask(T1, 1))
    assert "waiting" in refusal(run, StartTask(T2, 1)), "a proposal still holds its targets"
    run.must(judge_task(run.state, T1))
    assert DoTask(T2, 1, started=False) in pending(run.state)


def test_an_edit_is_recorded_as_the_plan_names_it_before_it_is_judged() -> None:
    run = started(ONE)
    (recorded,) = run.must(ProposeEdit(T1, 1, run.approved(), 1))
    planned = ONE.edits[0]
    assert recorded == e.EditProposed(
        task=T1, attempt=1, edit=1, path=planned.path, before=planned.before, after=planned.after
    )


def test_an_edit_of_a_plan_that_nobody_approved_is_refused() -> None:
    other = seal(a_plan(a_task("t1", (1, 2))))[0]
    assert "which nobody approved" in refusal(started(ONE), ProposeEdit(T1, 1, other, 1))


@pytest.mark.parametrize("number", [9, 3], ids=["not in the plan", "residual, and not asked for yet"])
def test_an_edit_that_is_not_in_the_task_s_plan_is_refused(number: int) -> None:
    run = started(ONE)
    assert "not part of task t1" in refusal(run, ProposeEdit(T1, 1, run.approved(), number))


def test_an_edit_of_another_task_is_refused() -> None:
    run = started(a_plan(a_task("t1", (1,)), a_task("t2", (2,))))
    assert "not part of task t1" in refusal(run, ProposeEdit(T1, 1, run.approved(), 2))


def test_an_edit_proposed_twice_is_recorded_once_and_keeps_its_first_proposal() -> None:
    run = started(ONE)
    command = ProposeEdit(T1, 1, run.approved(), 1)
    run.must(command)
    opened = run.state.tasks[T1].open_edits[1]
    assert run.must(command) == ()
    assert run.state.tasks[T1].open_edits[1] == opened
    run.must(judge_edit(run.state.tasks[T1], 1))
    assert run.must(command) == ()


def test_an_edit_that_passes_moves_the_task_and_names_its_proposal() -> None:
    run = started(ONE)
    run.must(ProposeEdit(T1, 1, run.approved(), 1))
    proposal = run.facts[-1].id
    verdict = judge_edit(run.state.tasks[T1], 1)
    judged, done = run.must(verdict)
    assert judged == e.GateJudged(task=T1, attempt=1, edit=1, receipt=a_receipt())
    assert isinstance(done, e.EditApplied)
    assert (done.proposal, done.parent, done.commit) == (proposal, BASE.commit, verdict.commit)
    assert run.state.tree_for(T1) == verdict.tree
    assert run.state.head == BASE.commit, "the head of the run stays where it is"


def test_what_is_wrong_with_a_plan_that_nobody_waits_for_any_more_does_not_fail_the_run() -> None:
    """Bug class: feedback replaces an objective that can't be carried out, and the run fails for the old one."""
    run = requested()
    state = run.state
    run.must(Inject("do that", "ada", "another objective", state.recipe, state.settings))
    assert "not the one that is waited for" in refusal(run, FAIL._replace(round=1))
    assert run.must(FAIL._replace(round=2)) == (e.RunFailed(problem=FAIL.problem),)


def test_an_edit_that_a_gate_fails_is_rejected_with_the_gate_s_name() -> None:
    run = started(ONE)
    run.must(ProposeEdit(T1, 1, run.approved(), 1))
    _, done = run.must(judge_edit(run.state.tasks[T1], 1, passes=False))
    assert done == e.EditRejected(task=T1, attempt=1, edit=1, path="m1.py", gates=("syntax",))
    assert run.state.tree_for(T1) == BASE.tree


def test_an_edit_that_conflicts_is_rejected_by_the_merge() -> None:
    run = started(ONE)
    run.must(ProposeEdit(T1, 1, run.approved(), 1))
    (done,) = run.must(judge_edit(run.state.tasks[T1], 1)._replace(receipts=(), commit=None, tree=None))
    assert isinstance(done, e.EditRejected)
    assert done.gates == ("merge",)


def test_a_verdict_on_an_edit_that_was_not_proposed_is_refused() -> None:
    run = started(ONE)
    run.must(ProposeEdit(T1, 1, run.approved(), 1))
    verdict = judge_edit(run.state.tasks[T1], 1)
    assert "not proposed" in refusal(run, verdict._replace(edit=2))
    run.must(verdict)
    assert "already judged" in refusal(run, verdict)


def test_a_verdict_for_another_path_than_the_proposed_one_is_refused() -> None:
    """Bug class: the record says that one file was changed, while the commit holds another."""
    run = started(ONE)
    run.must(ProposeEdit(T1, 1, run.approved(), 1))
    verdict = judge_edit(run.state.tasks[T1], 1)
    assert "was proposed for m1.py" in refusal(run, verdict._replace(path="setup.py"))


def test_a_verdict_that_builds_on_another_state_of_the_task_is_refused() -> None:
    run = started(ONE)
    run.must(ProposeEdit(T1, 1, run.approved(), 1), ProposeEdit(T1, 1, run.approved(), 2))
    early = judge_edit(run.state.tasks[T1], 2)
    run.must(judge_edit(run.state.tasks[T1], 1))
    assert "another state" in refusal(run, early)


def test_a_task_is_proposed_only_when_all_its_edits_are_made() -> None:
    run = started(ONE)
    apply(run, T1, 1, 1)
    assert "edit 2 is missing" in refusal(run, ProposeTask(T1, 1))
    apply(run, T1, 1, 2)
    run.must(ProposeTask(T1, 1))
    assert pending(run.state) == (VerifyTask(T1, 1),)


def test_a_task_with_a_rejected_edit_bounces_instead_of_being_proposed() -> None:
    run = started(ONE)
    run.must(ProposeEdit(T1, 1, run.approved(), 1))
    run.must(judge_edit(run.state.tasks[T1], 1, passes=False))
    (done,) = run.must(ProposeTask(T1, 1))
    assert done == e.TaskBounced(task=T1, attempt=1, gates=("edits",), reason="gates rejected edit 1")
    assert pending(run.state) == (ExploreTask(T1, 1),)


# Merging


def test_a_proposal_that_passes_becomes_the_head() -> None:
    run = approved(ONE)
    offer(run, T1)
    verdict = judge_task(run.state, T1)
    assert verdict.commit is not None
    assert verdict.tree is not None
    judged, merged = run.must(verdict)
    assert isinstance(judged, e.GateJudged)
    assert judged.edit is None
    assert merged == e.TaskMerged(task=T1, attempt=1, commit=verdict.commit, tree=verdict.tree)
    assert (run.state.head, run.state.head_tree) == (verdict.commit, verdict.tree)
    assert pending(run.state) == (Publish(),)


def test_a_verdict_against_a_head_that_has_moved_is_refused() -> None:
    run = approved(a_plan(a_task("t1", (1,)), a_task("t2", (2,))))
    offer(run, T1)
    offer(run, T2)
    late = judge_task(run.state, T2)
    run.must(judge_task(run.state, T1))
    assert "head has moved" in refusal(run, late)
    run.must(judge_task(run.state, T2))
    assert run.state.phase == "publishing"


def test_proposals_are_judged_one_at_a_time_in_the_order_of_the_record() -> None:
    """Bug class: a clock set back reorders the queue, and two proposals are under verification at once."""
    clock = FakeClock()
    run = requested(clock=clock)
    run.must(propose(a_plan(a_task("t1", (1,)), a_task("t2", (2,)))))
    run.must(Approve(run.state.plan_hash, "ada"))
    offer(run, T2)
    clock.jump(-3600)
    offer(run, T1)
    assert pending(run.state) == (VerifyTask(T2, 1),)
    run.must(judge_task(run.state, T2))
    assert pending(run.state) == (VerifyTask(T1, 1),)


def test_a_proposal_that_fails_bounces_and_the_head_stays() -> None:
    run = bounced(ONE)
    done = run.facts[-1].payload
    assert done == e.TaskBounced(task=T1, attempt=1, gates=("tests",), reason="tests: 2 failed")
    assert run.state.head == BASE.commit
    assert pending(run.state) == (ExploreTask(T1, 1),)


def test_a_proposal_that_conflicts_bounces_by_the_merge() -> None:
    run = approved(ONE)
    offer(run, T1)
    (done,) = run.must(judge_task(run.state, T1)._replace(receipts=(), commit=None, tree=None))
    assert isinstance(done, e.TaskBounced)
    assert done.gates == ("merge",)


# Exploration and retries


def test_a_bounced_task_is_explored_before_it_is_tried_again() -> None:
    run = bounced(ONE)
    assert "can't start" in refusal(run, StartTask(T1, 2))
    run.must(RecordExploration(T1, 1, "m3 uses it by name", (), (3,)))
    assert pending(run.state) == (DoTask(T1, 2, started=False),)


def test_a_retry_adds_residual_edits_of_the_plan_to_the_certain_ones() -> None:
    run = bounced(ONE)
    certain = run.state.tasks[T1].commit
    run.must(RecordExploration(T1, 1, "m3 uses it by name", (), (3,)), StartTask(T1, 2))
    begun = run.facts[-1].payload
    assert isinstance(begun, e.TaskStarted)
    assert (begun.commit, begun.residual) == (certain, (3,))
    for number in (1, 4):
        assert "not part" in refusal(run, ProposeEdit(T1, 2, run.approved(), number))
    apply(run, T1, 2, 3)
    run.must(ProposeTask(T1, 2))
    run.must(judge_task(run.state, T1))
    assert run.state.phase == "publishing"


def test_each_retry_starts_from_the_certain_edits_alone() -> None:
    run = bounced(ONE)
    certain = run.state.tasks[T1].commit
    run.must(RecordExploration(T1, 1, "m3", (), (3,)))
    offer(run, T1)
    run.must(judge_task(run.state, T1, passes=False))
    run.must(RecordExploration(T1, 2, "m4", (), (3, 4)), StartTask(T1, 3))
    assert run.state.tasks[T1].commit == certain


def test_a_retry_knows_nothing_of_the_verdicts_and_open_edits_of_the_attempt_before() -> None:
    """Bug class: an edit rejected once is never tried again, or is judged under the proposal of a former attempt."""
    run = bounced(ONE)
    run.must(RecordExploration(T1, 1, "m3, m4", (), (3, 4)), StartTask(T1, 2))
    run.must(ProposeEdit(T1, 2, run.approved(), 3), ProposeEdit(T1, 2, run.approved(), 4))
    run.must(judge_edit(run.state.tasks[T1], 3, passes=False))
    run.must(ProposeTask(T1, 2), RecordExploration(T1, 2, "in the other order", (), (4, 3)), StartTask(T1, 3))
    task = run.state.tasks[T1]
    assert (task.applied, task.rejected, task.open_edits) == ((), (), {})
    apply(run, T1, 3, 4, 3)
    run.must(ProposeTask(T1, 3))
    assert pending(run.state) == (VerifyTask(T1, 3),)


def test_a_proposed_task_is_left_as_it_is_until_it_is_judged() -> None:
    run = approved(ONE)
    offer(run, T1)
    for command in (ProposeEdit(T1, 1, run.approved(), 1), ProposeTask(T1, 1), RecordExploration(T1, 1, "", (), None)):
        assert "task t1 is proposed" in refusal(run, command)


@pytest.mark.parametrize("retry", [(1,), (3, 9)])
def test_a_retry_with_anything_but_the_task_s_residual_edits_is_refused(retry: tuple[int, ...]) -> None:
    assert "may only try the residual edits" in refusal(bounced(ONE), RecordExploration(T1, 1, "", (), retry))


def test_an_exploration_with_nothing_left_to_try_stops_the_run() -> None:
    run = bounced(ONE)
    recorded = run.must(RecordExploration(T1, 1, "it is built by getattr", (), None))
    assert recorded[-1] == e.RunStopped(task=T1, reason="it is built by getattr")
    assert (run.state.phase, run.state.head) == ("stopped", BASE.commit)


def test_attempts_are_bounded_and_then_the_run_stops() -> None:
    run = bounced(a_plan(a_task("t1", (1,), residual=(2,), attempts=2)))
    run.must(RecordExploration(T1, 1, "once more", (), (2,)))
    offer(run, T1)
    run.must(judge_task(run.state, T1, passes=False))
    explored, stopped = run.must(RecordExploration(T1, 2, "and again", (), (2,)))
    assert isinstance(explored, e.ExplorationRecorded)
    assert explored.retry is None
    assert isinstance(stopped, e.RunStopped)


def test_a_task_whose_certain_edits_were_rejected_is_not_tried_again() -> None:
    """Bug class: a retry adds residual edits to a state of all certain edits that was never reached."""
    run = started(ONE)
    run.must(ProposeEdit(T1, 1, run.approved(), 1))
    run.must(judge_edit(run.state.tasks[T1], 1, passes=False))
    run.must(ProposeTask(T1, 1))
    run.must(RecordExploration(T1, 1, "try m3", (), (3,)))
    assert run.state.phase == "stopped"


STALE: dict[str, Callable[[MemoryRun], Command]] = {
    "start": lambda run: StartTask(T1, 1),
    "propose edit": lambda run: ProposeEdit(T1, 1, run.approved(), 1),
    "judge edit": lambda run: JudgeEdit(T1, 1, 1, "m1.py", (), BASE.commit, BASE.commit, BASE.tree, 0, 0),
    "propose": lambda run: ProposeTask(T1, 1),
    "judge": lambda run: JudgeTask(T1, 1, run.state.head, (), BASE.commit, BASE.tree),
    "explore": lambda run: RecordExploration(T1, 1, "", (), None),
}


@pytest.mark.parametrize("command", STALE)
def test_whoever_holds_a_stale_attempt_changes_nothing(command: str) -> None:
    run = bounced(ONE)
    run.must(RecordExploration(T1, 1, "m3", (), (3,)), StartTask(T1, 2))
    assert "task t1 is started" in refusal(run, STALE[command](run))


# The end


def test_the_result_is_published_when_every_task_is_merged() -> None:
    run = approved(a_plan(a_task("t1", (1,)), a_task("t2", (2,))))
    offer(run, T1)
    run.must(judge_task(run.state, T1))
    assert "can't be published" in refusal(run, RecordPublished(BRANCH, run.state.head))
    offer(run, T2)
    run.must(judge_task(run.state, T2))
    assert pending(run.state) == (Publish(),)


def test_only_the_head_can_be_published() -> None:
    """Bug class: the branch holds another commit than the one whose tests passed."""
    run = approved(ONE)
    offer(run, T1)
    run.must(judge_task(run.state, T1))
    assert "not the result of this run" in refusal(run, RecordPublished(BRANCH, CommitId("f" * 40)))


def test_a_run_completes_after_its_branch_is_there() -> None:
    run = approved(ONE)
    offer(run, T1)
    run.must(judge_task(run.state, T1))
    assert "not there yet" in refusal(run, Complete())
    run.must(RecordPublished(BRANCH, run.state.head))
    assert run.must(RecordPublished(BRANCH, run.state.head)) == ()
    assert pending(run.state) == (Finish(),)
    assert run.must(Complete()) == (e.RunCompleted(branch=BRANCH, commit=run.state.head),)
    assert (run.state.phase, pending(run.state)) == ("completed", ())


OPEN: dict[str, Callable[[], MemoryRun]] = {
    "planning": requested,
    "awaiting a person": lambda: proposed(ONE),
    "approved": lambda: approved(ONE),
    "started": lambda: started(ONE),
    "bounced": lambda: bounced(ONE),
    "published": lambda: published(ONE),
}


@pytest.mark.parametrize("phase", OPEN)
def test_a_person_can_abort_in_every_open_phase(phase: str) -> None:
    run = OPEN[phase]()
    assert run.must(ABORT) == (e.RunAborted(by="ada", reason="changed my mind"),)
    assert (run.state.phase, pending(run.state)) == ("aborted", ())


@pytest.mark.parametrize("phase", OPEN)
def test_an_error_closes_the_run_in_every_open_phase_and_is_kept(phase: str) -> None:
    run = OPEN[phase]()
    run.must(FAIL)
    assert (run.state.phase, run.state.problem, pending(run.state)) == ("failed", FAIL.problem, ())


@pytest.mark.parametrize("end", ["completed", "stopped", "aborted", "failed"])
def test_a_closed_run_refuses_everything(end: str) -> None:
    run = bounced(ONE) if end == "stopped" else published(ONE)
    closing: dict[str, Command] = {"completed": Complete(), "aborted": ABORT, "failed": FAIL}
    run.must(closing.get(end, RecordExploration(T1, 1, "", (), None)))
    assert run.state.phase == end
    every: list[Command] = [
        ABORT,
        FAIL,
        INJECT,
        Complete(),
        propose(ONE),
        propose(ONE, 2),
        Approve(run.state.plan_hash, "ada"),
        StartTask(T1, 1),
        ProposeEdit(T1, 1, run.approved(), 1),
        JudgeEdit(T1, 1, 1, "m1.py", (), BASE.commit, BASE.commit, BASE.tree, 0, 0),
        ProposeTask(T1, 1),
        JudgeTask(T1, 1, run.state.head, (), BASE.commit, BASE.tree),
        RecordExploration(T1, 1, "", (), None),
        RecordPublished(BRANCH, run.state.head),
    ]
    for command in every:
        assert f"the run is {end}" in refusal(run, command)
    assert "already been requested" in refusal(run, RequestRun(a_request()))


# The record


def test_deciding_and_folding_change_nothing_that_they_were_given() -> None:
    run = started(ONE)
    before = fold(run.facts)
    decide(run.state, ProposeEdit(T1, 1, run.approved(), 1))
    assert run.state == before


def test_any_beginning_of_the_record_can_be_folded_and_goes_on_from_there() -> None:
    """Bug class: a state that only a whole batch of events makes valid; time travel stops inside of batches."""
    run = published(ONE)
    for count in range(len(run.facts) + 1):
        earlier = fold(run.facts[:count])
        assert earlier.version == count
        assert fold(run.facts[count:], earlier) == run.state


def test_facts_that_no_rule_depends_on_only_count() -> None:
    run = requested()
    note = run.facts[0]._replace(payload=e.ProjectRegistered(project=a_request().project, repository="/project"))
    folded = fold([note], run.state)
    assert (folded.version, folded.phase, folded.head) == (run.state.version + 1, "planning", run.state.head)


def test_a_task_sees_its_own_state_until_it_is_merged_and_then_the_head() -> None:
    run = started(ONE)
    apply(run, T1, 1, 1)
    assert run.state.tree_for(T1) == run.state.tasks[T1].tree != BASE.tree
    assert run.state.tree_for(TaskId("none")) == BASE.tree
    apply(run, T1, 1, 2)
    run.must(ProposeTask(T1, 1))
    run.must(judge_task(run.state, T1))
    assert run.state.tree_for(T1) == run.state.head_tree


def test_doing_all_that_is_owed_completes_the_run() -> None:
    def planner(_state: RunState) -> Plan:
        return ONE

    run = requested()
    drive(run, Environment(plan=planner), lambda _count: 0, steps=50)
    assert run.state.phase == "completed"
