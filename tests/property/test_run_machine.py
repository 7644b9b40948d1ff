"""The run decider against any environment: random plans, orders, verdicts, people, repeated and stale commands, crashes.

`Audit` reads the record only and keeps its own small account of it, so that a wrong state can't excuse a wrong event.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from cavalcade.domain.plan import flaws, seal
from cavalcade.domain.run import (
    Abort,
    Approve,
    Command,
    DoTask,
    ExploreTask,
    Fact,
    Fail,
    Inject,
    JudgeEdit,
    JudgeTask,
    ProposeEdit,
    ProposePlan,
    ProposeTask,
    RecordExploration,
    RecordPublished,
    Refusal,
    RequestRun,
    Resume,
    RunState,
    StartTask,
    Stop,
    TaskState,
    VerifyTask,
    decide,
    fold,
    pending,
)
from cavalcade.domain.run.spans import spans_of
from cavalcade.domain.run.steps import steps
from cavalcade.kernel.errors import Refused
from cavalcade.kernel.ids import BlobId, CommitId, EventId, RunId, TaskId
from cavalcade.protocol import events as e
from cavalcade.protocol.plan import Plan, PlannedEdit, TaskSpec
from cavalcade.testing.clock import FakeClock
from cavalcade.testing.runs import (
    BASE,
    Environment,
    MemoryRun,
    a_plan,
    a_request,
    a_task,
    an_edit,
    drive,
    next_command,
    object_name,
)

FILES = ("a.py", "b.py", "c.py", "d.py", "e.py")
FOREIGN = seal(a_plan(a_task("t1", tuple(range(1, 9)))))[0]
"""A plan with the usual names that nobody ever approves."""


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Sound plans of 1 to 8 tasks in any order: a DAG, shared targets, 0 to 3 edits and 0 to 2 residual ones each."""
    tasks: list[TaskSpec] = []
    edits: list[PlannedEdit] = []
    for index in range(draw(st.integers(1, 8))):
        certain, residual = draw(st.integers(0, 3)), draw(st.integers(0, 2))
        numbers = range(len(edits) + 1, len(edits) + 1 + certain + residual)
        paths = [draw(st.sampled_from(FILES)) for _ in numbers]
        for position, (number, path) in enumerate(zip(numbers, paths, strict=True)):
            edits.append(an_edit(number, path, kind="reference" if position < certain else "residual"))
        earlier = [task.id for task in tasks]
        tasks.append(
            a_task(
                f"t{index + 1}",
                tuple(numbers[:certain]),
                residual=tuple(numbers[certain:]),
                depends_on=tuple(draw(st.lists(st.sampled_from(earlier), max_size=3, unique=True))) if earlier else (),
                targets=tuple(sorted(set(paths))),
                attempts=draw(st.integers(1, 3)),
            )
        )
    return a_plan(*draw(st.permutations(tasks)), edits=edits)


def onto(plan: Plan, state: RunState) -> Plan:
    """The plan for the tree that the run stands on: a fork may plan anew in the middle."""
    return replace(plan, base_tree=state.head_tree)


def foreign(state: RunState) -> Plan:
    return onto(FOREIGN.plan, state)


def most_steps(plan: Plan) -> int:
    """No run under this plan can take more: each attempt starts, proposes, is judged and explored; each edit is proposed and judged."""
    tasks = sum(task.attempts * (4 + 2 * (len(task.edits) + len(task.residual))) for task in plan.tasks)
    return tasks + 5  # plan, approval, publication, completion, and the look that finds nothing more


class Audit:
    """What the events of a run add up to, and that each was allowed at its place."""

    def __init__(self) -> None:
        self.seen = 0
        self.closed = False
        self.halted = False
        self.rounds = 1
        """The plan that is waited for: the next one proposed, or the one after a plan that feedback made stale in the making."""
        self.proposed = ""
        self.approved = ""
        self.published = CommitId("")
        self.head = BASE.commit
        self.specs: dict[TaskId, TaskSpec] = {}
        self.edits: dict[int, PlannedEdit] = {}
        self.attempts: dict[TaskId, int] = {}
        self.licence: dict[TaskId, tuple[int, ...]] = {}
        """Residual edits that an exploration gave a task leave to try next."""
        self.under_way: set[TaskId] = set()
        self.merged: set[TaskId] = set()
        self.todo: dict[TaskId, set[int]] = {}
        self.heads: dict[TaskId, CommitId] = {}
        self.certain: dict[TaskId, CommitId] = {}
        self.proposals: dict[tuple[TaskId, int, int], EventId] = {}
        self.bounced: set[TaskId] = set()

    def read(self, run: MemoryRun) -> None:
        for fact in run.facts[self.seen :]:
            again = isinstance(fact.payload, e.RunForked) and bool(fact.payload.guidance)
            assert not self.closed or again, f"{fact.payload} after the end"
            after_a_halt = e.RunResumed | e.RunAborted | e.RunForked
            assert not self.halted or isinstance(fact.payload, after_a_halt), f"{fact.payload} after a stop"
            self._see(fact, run)
            self.seen += 1

    def _see(self, fact: Fact, run: MemoryRun) -> None:
        match fact.payload:
            case e.RunRequested():
                assert self.seen == 0
            case e.RunForked() as forked:
                self._fork(forked)
            case e.PlanProposed() as proposed:
                self._propose(proposed, run)
            case e.PlanApproved() as approved:
                assert approved.plan_hash == self.proposed != ""
                assert not self.approved
                self.approved = approved.plan_hash
            case e.FeedbackInjected():
                assert not self.approved
                self.rounds += not self.proposed
                self.proposed = ""
            case e.ResultPublished() as published:
                assert self.merged == set(self.specs)
                assert published.commit == self.head
                self.published = published.commit
            case e.RunHalted():
                self.halted = True
            case e.RunResumed():
                assert self.halted
                self.halted = False
            case e.RunAborted() | e.RunFailed():
                self.closed, self.halted = True, False
            case e.RunCompleted() as completed:
                assert completed.commit == self.head == self.published
                self.closed = True
            case e.RunStopped() as stopped:
                assert stopped.task in self.bounced
                self.closed = True
            case payload:
                assert self.approved, f"{payload} before an approval"
                self._see_task(payload, fact.id)

    def _fork(self, forked: e.RunForked) -> None:
        assert forked.version == self.seen
        self.halted = False
        rounds = self.rounds + (not self.proposed and not self.closed)
        if forked.guidance:
            seen = self.seen
            self.__init__()
            self.seen, self.rounds, self.head = seen, rounds, forked.base.commit
        self.published = CommitId("")

    def _propose(self, proposed: e.PlanProposed, run: MemoryRun) -> None:
        assert not self.approved
        assert proposed.round == self.rounds, "a plan that feedback has overtaken"
        self.rounds += 1
        plan = run.plans[proposed.plan_hash].plan
        self.proposed = proposed.plan_hash
        self.specs = {task.id: task for task in plan.tasks}
        self.edits = {edit.number: edit for edit in plan.edits}

    def _see_task(self, payload: e.Payload, event: EventId) -> None:
        match payload:
            case e.TaskStarted():
                self._start(payload)
            case e.EditProposed():
                self._propose_edit(payload, event)
            case e.EditApplied():
                assert payload.proposal == self.proposals.pop((payload.task, payload.attempt, payload.edit))
                assert payload.path == self.edits[payload.edit].path
                assert payload.parent == self.heads[payload.task]
                self.heads[payload.task] = payload.commit
                self.todo[payload.task].remove(payload.edit)
            case e.EditRejected():
                del self.proposals[(payload.task, payload.attempt, payload.edit)]
            case e.TaskProposed():
                assert not self.todo[payload.task], "proposed with edits left to make"
                assert payload.commit == self.heads[payload.task]
                if payload.attempt == 1:
                    self.certain[payload.task] = payload.commit
            case e.TaskBounced():
                assert payload.attempt == self.attempts[payload.task]
                self.bounced.add(payload.task)
            case e.ExplorationRecorded():
                assert payload.task in self.bounced
                if payload.retry is not None:
                    assert set(payload.retry) <= set(self.specs[payload.task].residual)
                    self.licence[payload.task] = payload.retry
            case e.TaskMerged():
                self._merge(payload)
            case _:
                assert isinstance(payload, e.GateJudged)
                assert payload.attempt == self.attempts[payload.task]

    def _start(self, started: e.TaskStarted) -> None:
        spec = self.specs[started.task]
        assert started.attempt == self.attempts.get(spec.id, 0) + 1 <= spec.attempts
        assert self.merged.issuperset(spec.depends_on)
        beside = {target for other in self.under_way - {spec.id} for target in self.specs[other].targets}
        assert beside.isdisjoint(spec.targets), "a target of a task under way"
        if started.attempt == 1:
            assert started.commit == self.head
            assert started.residual == ()
        else:
            assert started.commit == self.certain[spec.id]
            assert started.residual == self.licence.pop(spec.id), "a retry without exploration"
        self.attempts[spec.id] = started.attempt
        self.todo[spec.id] = set(started.residual if started.attempt > 1 else spec.edits)
        self.heads[spec.id] = started.commit
        self.under_way.add(spec.id)
        self.bounced.discard(spec.id)

    def _propose_edit(self, proposed: e.EditProposed, event: EventId) -> None:
        assert proposed.attempt == self.attempts[proposed.task]
        assert proposed.edit in self.todo[proposed.task], "not what this attempt was approved to do"
        key = (proposed.task, proposed.attempt, proposed.edit)
        assert key not in self.proposals
        planned = self.edits[proposed.edit]
        for field in ("path", "before", "after", "moved_from", "kind"):
            assert getattr(proposed, field) == getattr(planned, field)
        self.proposals[key] = event

    def _merge(self, merged: e.TaskMerged) -> None:
        spec = self.specs[merged.task]
        assert merged.task not in self.merged
        assert merged.attempt == self.attempts[merged.task]
        assert self.merged.issuperset(spec.depends_on)
        assert not self.todo[merged.task]
        assert merged.task not in self.bounced
        self.merged.add(merged.task)
        self.under_way.remove(merged.task)
        self.head = merged.commit


def stale(command: Command, draw: Callable[[st.SearchStrategy[int]], int]) -> Command:
    """The command as somebody might send it who is late, early, lost or lying."""
    other = draw(st.booleans().map(int))
    match command:
        case StartTask() | JudgeEdit() | JudgeTask() | RecordExploration() if other:
            return command._replace(attempt=command.attempt + draw(st.sampled_from([-1, 1])))
        case StartTask() | ProposeEdit() if draw(st.booleans().map(int)):
            return ProposeTask(command.task, command.attempt)
        case JudgeTask():
            return command._replace(head=CommitId(object_name("another head")))
        case JudgeEdit():
            return command._replace(parent=CommitId(object_name("another parent")))
        case ProposeEdit():
            return command._replace(sealed=FOREIGN) if other else command._replace(edit=draw(st.integers(0, 40)))
        case RecordExploration():
            return command._replace(retry=(draw(st.integers(0, 40)),))
        case RecordPublished():
            return command._replace(commit=BASE.commit)
        case ProposePlan() if other:
            return command._replace(round=command.round + draw(st.sampled_from([-1, 1])))
        case Approve() if other:
            return command._replace(plan_hash=FOREIGN.hash)
        case ProposePlan() | Approve():
            return StartTask(TaskId("t1"), 1)
        case _:
            return command


class RunMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.run = MemoryRun(self.clock)
        self.audit = Audit()
        self.sent: list[Command] = []
        self.verifying: VerifyTask | None = None
        self.failed = False
        """Whether any verdict so far was against a change."""

    def send(self, command: Command) -> None:
        self.sent.append(command)
        before = self.run.state
        decided = self.run.ask(command)
        if isinstance(decided, Refusal):
            assert self.run.state is before
        elif isinstance(command, JudgeTask):
            assert command.head == before.head, "a verdict on another head than the present one"
        self.failed |= not isinstance(decided, Refusal) and any(
            isinstance(payload, e.EditRejected | e.TaskBounced) for payload in decided
        )
        again = decide(self.run.state, command)
        assert isinstance(again, Refusal) or again == (), "a repeated command is recorded twice"

    @initialize(auto=st.booleans())
    def request(self, auto: bool) -> None:
        self.send(RequestRun(a_request(e.Settings(auto_approve=auto))))

    def answering(self, data: st.DataObject) -> Environment:
        passes = st.integers(0, 7).map(lambda number: number < 7)

        def plan(state: RunState) -> Plan:
            return onto(data.draw(plans()), state)

        def edit_passes(_task: TaskState, _number: int) -> bool:
            return data.draw(passes)

        def proposal_passes(_task: TaskState) -> bool:
            return data.draw(passes)

        def retry(task: TaskState) -> tuple[int, ...] | None:
            if not task.spec.residual or not data.draw(passes):
                return None
            return tuple(data.draw(st.lists(st.sampled_from(task.spec.residual), min_size=1, unique=True)))

        return Environment(plan, edit_passes=edit_passes, proposal_passes=proposal_passes, retry=retry)

    def owed(self, data: st.DataObject) -> Command:
        effects = pending(self.run.state)
        effect = effects[data.draw(st.integers(0, len(effects) - 1))]
        return next_command(self.run, effect, self.answering(data))

    @precondition(lambda self: not self.run.state.closed)
    @rule(data=st.data(), steps=st.integers(1, 12))
    def carry_out_what_is_pending(self, data: st.DataObject, steps: int) -> None:
        for _ in range(steps):
            if pending(self.run.state):
                self.send(self.owed(data))
                self.every_event_is_allowed_at_its_place()
                self.a_verification_goes_on_until_it_is_judged()

    @precondition(lambda self: not self.run.state.at_rest)
    @rule(data=st.data())
    def send_something_stale(self, data: st.DataObject) -> None:
        self.send(stale(self.owed(data), data.draw))

    @precondition(lambda self: not self.run.state.at_rest)
    @rule(data=st.data(), reason=st.sampled_from(["", "lunch"]))
    def somebody_stops_the_run_while_work_is_under_way(self, data: st.DataObject, reason: str) -> None:
        """Whoever works for it comes too late; resumed, the run is where it was."""
        before, late = self.run.state, self.owed(data)
        self.send(Stop("ada", reason))
        assert pending(self.run.state) == ()
        assert isinstance(decide(self.run.state, late), Refusal)
        resumed = fold(self.run.facts).going_on()
        assert replace(resumed, since=before.since, version=before.version) == before

    @precondition(lambda self: self.run.state.phase == "halted")
    @rule()
    def somebody_resumes_it(self) -> None:
        self.send(Resume("ada"))

    @rule(data=st.data())
    def send_something_again(self, data: st.DataObject) -> None:
        self.send(data.draw(st.sampled_from(self.sent)))

    @rule(
        what=st.sampled_from(["approve"] * 6 + ["approve another"] * 2 + ["abort", "fail"]),
        text=st.sampled_from(["docs too", "not the tests"]),
    )
    def a_person_acts(self, what: str, text: str) -> None:
        match what:
            case "approve":
                self.send(Approve(self.audit.proposed or FOREIGN.hash, "ada"))
            case "approve another":
                self.send(Approve(FOREIGN.hash, "ada"))
            case "abort":
                self.send(Abort("ada", text))
            case _:
                self.send(Fail(e.Problem(code="usage", what=text)))

    @rule(text=st.sampled_from(["docs too", "not the tests"]))
    def a_person_gives_feedback(self, text: str) -> None:
        request = a_request()
        self.send(Inject(text, "ada", request.objective, request.recipe, request.settings))

    @precondition(lambda self: not self.audit.approved)
    @rule(task=st.sampled_from(["t1", "t2", "t3"]))
    def somebody_acts_before_the_approval(self, task: str) -> None:
        self.send(StartTask(TaskId(task), 1))

    @rule()
    def crash(self) -> None:
        self.run.restart()

    @rule(data=st.data(), guidance=st.sampled_from(["", "", "docs too"]), yes=st.booleans())
    def somebody_forks_the_run(self, data: st.DataObject, guidance: str, yes: bool) -> None:
        """From here on the fork is looked at: all that holds for a run holds for it."""
        at = data.draw(st.integers(1, len(self.run.facts)))
        before = fold(self.run.facts[:at])
        try:
            forked = self.run.fork(at, guidance, yes=yes)
        except Refused:
            assert before.closed
            assert not guidance
            return
        assert fold(forked.facts[:at]) == before, "what is shared is changed"
        self.run, self.audit, self.verifying = forked, Audit(), None

    @rule(seconds=st.integers(-3600, 3600))
    def the_wall_clock_moves(self, seconds: int) -> None:
        self.clock.jump(seconds)

    @invariant()
    def every_event_is_allowed_at_its_place(self) -> None:
        self.audit.read(self.run)

    @invariant()
    def the_state_is_the_fold_of_the_record(self) -> None:
        assert fold(self.run.facts) == self.run.state
        assert self.run.state.version == len(self.run.facts)
        assert self.run.state.shared == self.run.shared

    @invariant()
    def the_state_says_what_the_record_says(self) -> None:
        state = self.run.state
        assert state.head == self.audit.head
        assert state.closed == self.audit.closed
        assert state.halting == self.audit.halted
        assert {task.spec.id for task in state.tasks.values() if task.merged} == self.audit.merged

    @invariant()
    def an_open_run_is_owed_something_and_one_at_rest_nothing(self) -> None:
        state = self.run.state
        assert bool(pending(state)) == (state.phase != "none" and not state.at_rest)

    @invariant()
    def a_verification_goes_on_until_it_is_judged(self) -> None:
        """At most one at a time, and nothing overtakes it: neither another proposal nor the clock."""
        verifications = [effect for effect in pending(self.run.state) if isinstance(effect, VerifyTask)]
        assert len(verifications) <= 1
        last, self.verifying = self.verifying, verifications[0] if verifications else None
        if last is not None and not self.run.state.at_rest and self.run.state.tasks[last.task].status == "proposed":
            assert self.verifying == last

    @invariant()
    def no_task_owes_two_things(self) -> None:
        effects = pending(self.run.state)
        tasks = [effect.task for effect in effects if isinstance(effect, DoTask | VerifyTask | ExploreTask)]
        assert len(set(tasks)) == len(tasks)

    @invariant()
    def what_is_to_be_done_side_by_side_has_no_target_in_common(self) -> None:
        owed = [self.run.state.tasks[effect.task] for effect in pending(self.run.state) if isinstance(effect, DoTask)]
        targets = [target for task in owed for target in task.spec.targets]
        assert len(set(targets)) == len(targets)

    @invariant()
    def whatever_is_owed_can_be_done(self) -> None:
        """Bug class: an effect whose outcome the decider refuses: the run looks busy and never gets on."""
        for effect in pending(self.run.state):
            command = next_command(self.run, effect, Environment(plan=foreign))
            decided = decide(self.run.state, command)
            assert not isinstance(decided, Refusal), decided
            assert decided, f"{effect} is owed, but doing it changes nothing"

    def teardown(self) -> None:
        self.finish()
        every_step_is_decided_again(self.run)

    def finish(self) -> None:
        """From wherever the machine stands: with everything passing from here on, the run ends, and well if nothing failed."""
        if self.run.state.phase in {"none", "aborted", "failed"}:
            return
        if self.run.state.phase == "halted":
            self.send(Resume("ada"))
        plan = self.run.plans[self.run.state.plan_hash].plan if self.run.state.plan_hash else FOREIGN.plan
        drive(self.run, Environment(plan=foreign), lambda _count: 0, steps=most_steps(plan))
        self.every_event_is_allowed_at_its_place()
        assert self.run.state.phase == "completed" or (self.failed and self.run.state.phase == "stopped")


TestRunMachine = RunMachine.TestCase
TestRunMachine.settings = settings(max_examples=100, stateful_step_count=50)


def every_step_is_decided_again(run: MemoryRun) -> None:
    """The commands that are read off the record lead, in their states, to exactly what is on record."""
    kept = {BlobId(object_name(seal(sealed.plan)[1].decode())): sealed for sealed in run.plans.values()}
    own = run.facts[run.shared :]
    found = steps(own, kept.__getitem__, fold(run.facts[: run.shared]))
    assert [fact for step in found for fact in step.facts] == own
    for step in found:
        assert decide(step.state, step.command) == step.events
        spans = spans_of(RunId("r1"), step.state, step.events)
        assert all(span.parent or span.name == "run" for span in spans)


def driven(plan: Plan, environment: Environment, random: Random) -> MemoryRun:
    """A run from request to its end, its effects carried out in random order."""
    run = MemoryRun()
    run.must(RequestRun(a_request()))
    drive(run, environment, random.randrange, steps=most_steps(plan))
    Audit().read(run)
    every_step_is_decided_again(run)
    return run


@given(plan=plans())
def test_every_plan_that_the_machine_draws_is_sound(plan: Plan) -> None:
    assert flaws(plan) == []


@settings(max_examples=150)
@given(plan=plans(), random=st.randoms())
def test_when_every_verdict_passes_a_run_completes_in_any_order_with_every_task_merged_once(
    plan: Plan, random: Random
) -> None:
    run = driven(plan, Environment(plan=lambda _state: plan), random)
    assert run.state.phase == "completed"
    merged = [fact.payload.task for fact in run.facts if isinstance(fact.payload, e.TaskMerged)]
    assert sorted(merged) == sorted(task.id for task in plan.tasks)


@settings(max_examples=75)
@given(plan=plans(), random=st.randoms())
def test_when_every_proposal_fails_a_run_stops_with_its_head_where_it_began(plan: Plan, random: Random) -> None:
    run = driven(plan, Environment(plan=lambda _state: plan, proposal_passes=lambda _task: False), random)
    assert (run.state.phase, run.state.head) == ("stopped", BASE.commit)


@settings(max_examples=75)
@given(plan=plans(), random=st.randoms())
def test_when_every_edit_fails_a_run_stops_unless_nothing_was_to_be_edited(plan: Plan, random: Random) -> None:
    run = driven(plan, Environment(plan=lambda _state: plan, edit_passes=lambda _task, _number: False), random)
    assert run.state.phase == ("stopped" if any(task.edits for task in plan.tasks) else "completed")
