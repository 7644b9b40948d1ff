"""The rules of a run: which command leads to which events, and which is refused."""

from __future__ import annotations

from cavalcade.domain.plan import flaws
from cavalcade.domain.run import commands as c
from cavalcade.domain.run.pending import ready
from cavalcade.domain.run.recording import decide_for_recording
from cavalcade.domain.run.refusal import Decided, Refusal
from cavalcade.domain.run.state import RunState, TaskState, TaskStatus
from cavalcade.kernel.ids import TaskId
from cavalcade.protocol import events as e
from cavalcade.protocol.plan import Place, Plan
from cavalcade.protocol.receipt import Receipt


def decide(state: RunState, command: c.Command) -> Decided:
    """The events that a command leads to, in order, to be appended after `state.own_version`; `()` when it is already done.

    Those of `Fork` begin a new stream.

    The events get their time when they are recorded: no rule of a run depends on it.
    """
    match command:
        case c.RequestRun():
            return (command.request,) if state.phase == "none" else Refusal("this run has already been requested")
        case c.StartRecording():
            return (command.recording,) if state.phase == "none" else Refusal("this run has already begun")
        case _ if state.phase == "none":
            return Refusal("there is no such run", hint="`cavalcade runs` lists the runs")
        case c.Fork():
            return _fork(state, command)
        case _ if state.closed:
            return Refusal(f"the run is {state.phase}: nothing more can happen in it", hint="start a new run")
        case c.Stop():
            return () if state.halting else (e.RunHalted(by=command.by, reason=command.reason),)
        case _ if state.phase == "halted":
            return _decide_for_halted(state, command)
        case c.RecordChanges() | c.RecordOutput() | c.RecordConversation() | c.EndRecording() | c.RecordPublished() if (
            state.recording
        ):
            return decide_for_recording(state, command)
        case _ if state.recording:
            return Refusal(
                "this run is a recording: there is no plan in it, and it ends when its program does",
                hint="end the program; `cavalcade resume` ends a recording that was cut off",
            )
        case c.RecordChanges() | c.RecordOutput() | c.RecordConversation() | c.EndRecording():
            return Refusal("this run is no recording", hint="`cavalcade record -- CMD` makes one")
        case c.Abort():
            return (e.RunAborted(by=command.by, reason=command.reason),)
        case c.Fail() if command.round and (state.phase != "planning" or command.round != state.round + 1):
            return Refusal(
                f"plan {command.round} is not the one that is waited for", expected=f"plan {state.round + 1}"
            )
        case c.Resume():
            return ()
        case c.Fail():
            return (e.RunFailed(problem=command.problem),)
        case c.ProposePlan():
            return _propose_plan(state, command)
        case c.Approve():
            return _approve(state, command)
        case c.Inject():
            return _inject(state, command)
        case c.RecordPublished() | c.Complete():
            return _finish(state, command)
        case _:
            return _decide_for_task(state, command)


def _decide_for_halted(state: RunState, command: c.Command) -> Decided:
    """The fence behind a stop: whoever still works for the run comes too late."""
    match command:
        case c.Resume():
            return (e.RunResumed(by=command.by),)
        case c.Abort():
            return (e.RunAborted(by=command.by, reason=command.reason),)
        case _:
            return Refusal(
                f"the run was stopped by {state.halted_by}: nothing is recorded in it until it is resumed",
                hint="go on with it: `cavalcade resume`; end it: `cavalcade abort`",
            )


def _fork(state: RunState, command: c.Fork) -> Decided:
    if command.version != state.version:
        return Refusal(f"event #{command.version} is not the one to fork at", expected=f"event #{state.version}")
    if state.recording and not command.guidance:
        return Refusal(
            "this run is a recording: nobody but its program can go on with it",
            hint='say what is to be done from there: --with "rename module:old to new"',
        )
    if state.closed and not command.guidance:
        return Refusal(
            f"at event #{command.version} the run is {state.phase}: there is nothing to go on with",
            hint="fork it at an earlier event (`cavalcade log` numbers them), or say what should be different: --with TEXT",
        )
    forked = e.RunForked(
        parent=command.parent,
        event=command.event,
        version=command.version,
        by=command.by,
        base=command.base,
        guidance=command.guidance,
        objective=command.objective,
        recipe=command.recipe,
        settings=command.settings,
    )
    if state.going_on().phase == "awaiting_human" and not command.guidance and command.settings.auto_approve:
        return (forked, e.PlanApproved(plan_hash=state.plan_hash, by="policy:yes"))
    return (forked,)


def _propose_plan(state: RunState, command: c.ProposePlan) -> Decided:
    if state.phase != "planning" or command.round != state.round + 1:
        return Refusal(f"plan {command.round} is not the one that is waited for", expected=f"plan {state.round + 1}")
    plan = command.sealed.plan
    if found := flaws(plan):
        return Refusal("the plan is not sound: " + "; ".join(found[:5]))
    if plan.base_tree != state.head_tree:
        return Refusal("the plan was made for another state of the project", expected=f"tree {state.head_tree}")
    if blind := [decision.question for decision in command.decisions if not decision.context_hash]:
        return Refusal(f"the decision {blind[0]!r} does not say what was seen", expected="a context hash")
    proposed = e.PlanProposed(
        round=command.round,
        plan_hash=command.sealed.hash,
        plan=command.kept,
        tasks=plan.tasks,
        counts=_counts(plan),
        tests_refused=plan.tests.refused,
    )
    decisions = tuple(e.DecisionMade(decision=decision) for decision in command.decisions)
    if state.settings.auto_approve:
        return (*decisions, proposed, e.PlanApproved(plan_hash=command.sealed.hash, by="policy:yes"))
    return (*decisions, proposed)


def _counts(plan: Plan) -> e.PlanCounts:
    certain = [edit for edit in plan.edits if edit.kind != "residual"]
    return e.PlanCounts(
        files=len({edit.path for edit in certain}),
        changes=sum(edit.changes for edit in certain),
        unresolved=len(plan.unresolved),
        residual=len(plan.edits) - len(certain),
        mentions=len(plan.mentions),
        problems=len(plan.problems),
    )


def _approve(state: RunState, command: c.Approve) -> Decided:
    if state.phase != "awaiting_human":
        if state.approved_hash == command.plan_hash and state.phase != "planning":
            return ()
        return Refusal(f"the run is {state.phase}: there is no plan to approve")
    if command.plan_hash != state.plan_hash:
        return Refusal(
            f"the approval is for plan {command.plan_hash[:12]}, but the run proposes {state.plan_hash[:12]}",
            hint="look at the plan again with `cavalcade show`",
        )
    return (e.PlanApproved(plan_hash=command.plan_hash, by=command.by),)


def _inject(state: RunState, command: c.Inject) -> Decided:
    if state.phase not in {"awaiting_human", "planning"}:
        return Refusal(
            f"the run is {state.phase}: feedback can be given while a plan waits for approval",
            hint="abort the run and start another with the new objective",
        )
    feedback = e.FeedbackInjected(
        text=command.text,
        by=command.by,
        objective=command.objective,
        recipe=command.recipe,
        settings=command.settings,
    )
    return () if state.phase == "planning" and feedback == state.feedback else (feedback,)


def _finish(state: RunState, command: c.RecordPublished | c.Complete) -> Decided:
    if state.phase != "publishing":
        return Refusal(f"the run is {state.phase}: its result can't be published")
    match command:
        case c.RecordPublished() if command.commit != state.head:
            return Refusal(f"commit {command.commit} is not the result of this run", expected=f"head {state.head}")
        case c.RecordPublished():
            return () if state.published else (e.ResultPublished(branch=command.branch, commit=command.commit),)
        case c.Complete() if state.published:
            return (e.RunCompleted(branch=state.branch, commit=state.head, overlaps=command.overlaps),)
        case _:
            return Refusal("the result branch is not there yet")


def _decide_for_task(
    state: RunState,
    command: c.StartTask | c.ProposeEdit | c.JudgeEdit | c.ProposeTask | c.JudgeTask | c.RecordExploration,
) -> Decided:
    if state.phase != "executing" or not state.approved_hash or state.approved_hash != state.plan_hash:
        return Refusal(f"the run is {state.phase}: no task may act without an approved plan")
    task = state.tasks.get(command.task)
    if task is None:
        return Refusal(f"task {command.task} is not in the approved plan")
    match command:
        case c.StartTask():
            return _start_task(state, task, command)
        case c.ProposeEdit():
            return _at(task, "started", command.attempt) or _propose_edit(state, task, command)
        case c.JudgeEdit():
            return _at(task, "started", command.attempt) or _judge_edit(task, command)
        case c.ProposeTask():
            return _at(task, "started", command.attempt) or _propose_task(task)
        case c.JudgeTask():
            return _at(task, "proposed", command.attempt) or _judge_task(state, command)
        case c.RecordExploration():
            return _at(task, "bounced", command.attempt) or _explored(task, command)


def _at(task: TaskState, status: TaskStatus, attempt: int) -> Refusal | None:
    """The fence: a worker with an old attempt, or of a task that has moved on, changes nothing."""
    if task.status == status and task.attempt == attempt:
        return None
    return Refusal(
        f"task {task.spec.id} is {task.status} in attempt {task.attempt}", expected=f"{status} in attempt {attempt}"
    )


def _start_task(state: RunState, task: TaskState, command: c.StartTask) -> Decided:
    if task.status == "started" and task.attempt == command.attempt:
        return ()
    if not ready(state, task) or command.attempt != task.attempt + 1:
        return Refusal(f"task {command.task} is {task.status} and can't start attempt {command.attempt} now")
    again = command.attempt > 1
    commit, tree = (task.complete, task.complete_tree) if again else (state.head, state.head_tree)
    started = e.TaskStarted(
        task=command.task, attempt=command.attempt, commit=commit, tree=tree, residual=task.retry if again else ()
    )
    return (started,)


def _propose_edit(state: RunState, task: TaskState, command: c.ProposeEdit) -> Decided:
    if command.sealed.hash != state.approved_hash:
        return Refusal(
            f"edit {command.edit} comes from plan {command.sealed.hash[:12]}, which nobody approved",
            expected=f"plan {state.approved_hash[:12]}",
        )
    edit = command.sealed.edit(command.edit)
    if edit is None or command.edit not in task.edits():
        return Refusal(f"edit {command.edit} is not part of task {command.task} in this attempt")
    if command.edit in task.applied or command.edit in task.rejected or command.edit in task.open_edits:
        return ()
    return (
        e.EditProposed(
            task=command.task,
            attempt=command.attempt,
            edit=edit.number,
            path=edit.path,
            before=edit.before,
            after=edit.after,
            moved_from=edit.moved_from,
            kind=edit.kind,
        ),
    )


def _verdicts(task: TaskId, attempt: int, edit: int | None, receipts: tuple[Receipt, ...]) -> tuple[e.Payload, ...]:
    return tuple(e.GateJudged(task=task, attempt=attempt, edit=edit, receipt=receipt) for receipt in receipts)


def _failed(receipts: tuple[Receipt, ...]) -> tuple[str, ...]:
    return tuple(receipt.gate for receipt in receipts if receipt.verdict == "failed")


def _judge_edit(task: TaskState, command: c.JudgeEdit) -> Decided:
    opened = task.open_edits.get(command.edit)
    if opened is None:
        return Refusal(f"edit {command.edit} was not proposed, or is already judged")
    if command.path != opened.path:
        return Refusal(f"edit {command.edit} was proposed for {opened.path}, not for {command.path}")
    if command.parent != task.commit:
        return Refusal(f"edit {command.edit} builds on another state of task {command.task}", expected=task.commit)
    verdicts = _verdicts(command.task, command.attempt, command.edit, command.receipts)
    gates = _failed(command.receipts)
    if gates or command.commit is None or command.tree is None:
        gates = gates or ("merge",)
        rejected = e.EditRejected(
            task=command.task, attempt=command.attempt, edit=command.edit, path=command.path, gates=gates
        )
        return (*verdicts, rejected)
    applied = e.EditApplied(
        task=command.task,
        attempt=command.attempt,
        edit=command.edit,
        path=command.path,
        proposal=opened.proposal,
        commit=command.commit,
        parent=command.parent,
        tree=command.tree,
        added=command.added,
        removed=command.removed,
    )
    return (*verdicts, applied)


def _propose_task(task: TaskState) -> Decided:
    name, attempt = task.spec.id, task.attempt
    if task.rejected:
        return (
            e.TaskBounced(
                task=name,
                attempt=attempt,
                gates=("edits",),
                reason="gates rejected " + ", ".join(f"edit {number}" for number in task.rejected),
            ),
        )
    missing = [number for number in task.edits() if number not in task.applied]
    if missing:
        return Refusal(f"task {name} is not done: edit {missing[0]} is missing")
    return (e.TaskProposed(task=name, attempt=attempt, commit=task.commit, tree=task.tree),)


def _judge_task(state: RunState, command: c.JudgeTask) -> Decided:
    if command.head != state.head:
        return Refusal("the head has moved since the proposal was judged", expected=f"head {state.head}")
    name, attempt = command.task, command.attempt
    verdicts = _verdicts(name, attempt, None, command.receipts)
    gates = _failed(command.receipts)
    if command.commit is None or command.tree is None:
        gates = (*gates, "merge")
    if gates or command.commit is None or command.tree is None:
        bounced = e.TaskBounced(task=name, attempt=attempt, gates=gates, reason=command.reason, places=command.places)
        return (*verdicts, bounced)
    return (*verdicts, e.TaskMerged(task=name, attempt=attempt, commit=command.commit, tree=command.tree))


def _explored(task: TaskState, command: c.RecordExploration) -> Decided:
    allowed = set(task.spec.residual)
    if command.retry is not None and not allowed.issuperset(command.retry):
        return Refusal(f"task {command.task} may only try the residual edits of the approved plan")
    # Residual edits stand on the certain ones: without these there is nothing to add them to.
    again = command.retry if task.complete and task.attempt < task.spec.attempts else None
    explored = e.ExplorationRecorded(
        task=command.task, attempt=command.attempt, finding=command.finding, places=command.places, retry=again
    )
    if again is not None:
        return (explored,)
    return explored, _stopped(command.task, command.finding, command.places)


def _stopped(task: TaskId, reason: str, places: tuple[Place, ...]) -> e.RunStopped:
    return e.RunStopped(task=task, reason=reason, places=places)
