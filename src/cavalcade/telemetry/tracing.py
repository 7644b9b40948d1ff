"""Runs as traces: spans folded from events, with the trace and span ids that the events carry.

    run
      plan                       a round of planning, from the request or the feedback to the plan
      approval                   the wait for a person
      execute                    from the approval to the last merge
        task t1 attempt 1        invoke_agent: from its start to its proposal
          edit 2                 from its proposal to applied or rejected
            gate                 execute_tool: one verdict
        verify t1 attempt 1      the wait in the merge queue and the verdicts on the merged tree
          gate
        explore t1 attempt 1
      publish
      tool                       execute_tool: of a recorded program

Attributes follow OpenTelemetry's semantic conventions for generative AI where there is one, else they begin with `cavalcade.`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from cavalcade.kernel.ids import RunId
from cavalcade.kernel.trace import span_id, trace_id
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.telemetry.spans import OpenSpan, Span, Status, Value

_Key = tuple[str | int, ...]
_RUN, _PLAN, _APPROVAL, _EXECUTE, _PUBLISH = ("run",), ("plan",), ("approval",), ("execute",), ("publish",)
_TEXT = 400
"""Characters of a text in an attribute."""


def spans(history: Iterable[Recorded]) -> list[Span]:
    """All spans of these events, of several runs at once, too; those that are open last. Raises LedgerDamaged."""
    traces: dict[str, Trace] = {}
    found: list[Span] = []
    for recorded in history:
        trace = traces.get(recorded.stream) or traces.setdefault(recorded.stream, Trace(recorded.event.run))
        found += trace.add(recorded)
    for trace in traces.values():
        found += trace.open()
    return found


class Trace:
    """One run's spans, from its events in their order. Events of no run give none."""

    def __init__(self, run: RunId) -> None:
        self._run = run
        self._trace = trace_id(run)
        self._open: dict[_Key, OpenSpan] = {}
        self._ended: list[Span] = []
        self._now: Recorded
        self._round = 0
        self._merged_at: datetime | None = None

    def add(self, recorded: Recorded) -> list[Span]:
        """The spans that this event ends, children first. Raises LedgerDamaged."""
        self._ended = []
        if self._run:
            self._now = recorded
            self._apply(e.decode(recorded.event))
        return self._ended

    def open(self) -> list[Span]:
        return [one.seen(None, "unset", "", 0) for one in self._open.values()]

    def _apply(self, payload: e.Payload) -> None:
        match payload:
            case e.RunRequested() | e.RunForked() | e.RecordingStarted():
                self._begin_run(payload)
            case e.DecisionMade() | e.PlanProposed() | e.PlanApproved() | e.FeedbackInjected():
                self._of_plan(payload)
            case e.TaskStarted() | e.TaskProposed() | e.TaskMerged() | e.TaskBounced() | e.ExplorationRecorded():
                self._of_task(payload)
            case e.EditProposed() | e.EditApplied() | e.EditRejected():
                self._of_edit(payload)
            case e.GateJudged():
                self._gate(payload)
            case e.ToolCalled() | e.ToolAnswered() | e.MessageRecorded() | e.FilesChanged():
                self._of_program(payload)
            case _:
                self._of_end(payload)

    def _begin_run(self, payload: e.RunRequested | e.RunForked | e.RecordingStarted) -> None:
        match payload:
            case e.RunRequested():
                about: dict[str, Value] = {
                    "cavalcade.objective": payload.objective[:_TEXT],
                    "cavalcade.repository": payload.repository,
                    "cavalcade.base.commit": payload.base.commit,
                }
                if payload.recipe is not None:
                    about["cavalcade.recipe"] = payload.recipe.name
            case e.RunForked():
                about = {"cavalcade.objective": payload.objective[:_TEXT], "cavalcade.parent.run": payload.parent}
                about["cavalcade.parent.event"] = payload.version
            case e.RecordingStarted():
                program = payload.program or (payload.command[0] if payload.command else "")
                about = _agent(program) | {"cavalcade.repository": payload.repository}
        self._start(_RUN, "", "run", "run", {"cavalcade.project": self._now.event.project, **about})
        if isinstance(payload, e.RunRequested) or (isinstance(payload, e.RunForked) and payload.guidance):
            self._begin_plan()

    def _begin_plan(self) -> None:
        number = self._round + 1
        self._start(_PLAN, self._id(*_PLAN, number), "plan", f"plan {number}", {"cavalcade.round": number})

    def _of_plan(self, payload: e.DecisionMade | e.PlanProposed | e.PlanApproved | e.FeedbackInjected) -> None:
        match payload:
            case e.DecisionMade():
                decision = payload.decision
                about = {"question": decision.question[:_TEXT], "choice": decision.choice[:_TEXT]}
                self._note(_PLAN, "decision", confidence=decision.confidence, **about)
            case e.PlanProposed():
                self._round = payload.round
                self._set(_PLAN, self._id(*_PLAN, payload.round), f"plan {payload.round}")
                counts = {
                    "cavalcade.plan.files": payload.counts.files,
                    "cavalcade.plan.changes": payload.counts.changes,
                }
                self._end(_PLAN, "ok", "", {"cavalcade.plan.hash": payload.plan_hash, **counts})
                name = f"approval {payload.round}"
                self._start(_APPROVAL, self._id(*_APPROVAL, payload.round), "approval", name, {})
            case e.PlanApproved():
                self._end(_APPROVAL, "ok", "", {"cavalcade.approved.by": payload.by})
                self._begin_execute()
            case e.FeedbackInjected():
                text = payload.text[:_TEXT]
                if _PLAN in self._open:
                    self._round += 1
                    self._end(_PLAN, "unset", "overtaken by feedback", {})
                self._end(
                    _APPROVAL, "unset", "feedback", {"cavalcade.feedback": text, "cavalcade.feedback.by": payload.by}
                )
                self._begin_plan()

    def _begin_execute(self) -> None:
        if _EXECUTE not in self._open:
            self._start(_EXECUTE, self._id(*_EXECUTE), "execute", "execute", {})

    def _of_task(
        self, payload: e.TaskStarted | e.TaskProposed | e.TaskMerged | e.TaskBounced | e.ExplorationRecorded
    ) -> None:
        here = (payload.task, payload.attempt)
        task, verify, explore = ("task", *here), ("verify", *here), ("explore", *here)
        about: dict[str, Value] = {"cavalcade.task": payload.task, "cavalcade.attempt": payload.attempt}
        match payload:
            case e.TaskStarted():
                self._begin_execute()  # a fork may begin in the middle
                agent = _agent(self._now.event.role or "coder") | {"gen_ai.agent.id": self._now.event.agent}
                self._start_of_task(task, f"invoke_agent {agent['gen_ai.agent.name']}", about | agent)
            case e.TaskProposed():
                self._end(task, "ok", "", {"cavalcade.commit": payload.commit})
                self._start_of_task(verify, "verify", about)
            case e.TaskMerged():
                self._merged_at = self._now.event.time
                self._end(verify, "ok", "", {"cavalcade.commit": payload.commit})
            case e.TaskBounced():
                reason = payload.reason[:_TEXT] or ", ".join(payload.gates)
                for key in (task, verify):
                    self._end(key, "error", reason, {"cavalcade.gates.failed": payload.gates})
                self._start_of_task(explore, "explore", about)
            case e.ExplorationRecorded():
                found: dict[str, Value] = {"cavalcade.finding": payload.finding[:_TEXT]}
                self._end(explore, "ok", "", found | {"cavalcade.retry": payload.retry is not None})

    def _start_of_task(self, key: _Key, name: str, about: dict[str, Value]) -> None:
        kind, task, attempt = key
        label = f"{kind} {task}" if attempt == 1 else f"{kind} {task} attempt {attempt}"
        self._start(key, self._id(*key), name, label, about, parent=_EXECUTE)

    def _of_edit(self, payload: e.EditProposed | e.EditApplied | e.EditRejected) -> None:
        key = ("edit", payload.task, payload.attempt, payload.edit)
        match payload:
            case e.EditProposed():
                about: dict[str, Value] = {"cavalcade.edit": payload.edit, "cavalcade.path": payload.path}
                label = f"edit {payload.edit} {payload.path}"
                parent = ("task", payload.task, payload.attempt)
                self._start(key, self._id(*key), "edit", label, about, parent=parent)
            case e.EditApplied():
                about = {"cavalcade.commit": payload.commit, "cavalcade.lines.added": payload.added}
                self._end(key, "ok", "", about | {"cavalcade.lines.removed": payload.removed})
            case e.EditRejected():
                failed = ", ".join(payload.gates)
                self._end(key, "error", f"rejected by {failed}", {"cavalcade.gates.failed": payload.gates})

    def _gate(self, payload: e.GateJudged) -> None:
        """Verdicts are recorded together; each lasted as long as its receipt says, and no gate ran before what it judges was there."""
        receipt = payload.receipt
        here = (payload.task, payload.attempt)
        parent = ("verify", *here) if payload.edit is None else ("edit", *here, payload.edit)
        key = ("gate", self._now.event.id)
        about: dict[str, Value] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": receipt.gate,
            "gen_ai.tool.type": "function",
            "cavalcade.gate.tool": f"{receipt.tool} {receipt.version}",
            "cavalcade.gate.verdict": receipt.verdict,
        }
        name = f"execute_tool {receipt.gate}"
        above = self._open.get(parent)
        start = self._now.event.time - timedelta(milliseconds=receipt.duration_ms)
        self._start(key, self._id(*key), name, f"gate {receipt.gate}", about, parent=parent)
        self._open[key].start = max(start, above.start) if above else start
        failed = receipt.verdict == "failed"
        self._end(key, "error" if failed else "ok", receipt.summary[:_TEXT] if failed else "", {})

    def _of_program(self, payload: e.ToolCalled | e.ToolAnswered | e.MessageRecorded | e.FilesChanged) -> None:
        match payload:
            case e.ToolCalled():
                about: dict[str, Value] = {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": payload.tool,
                    "gen_ai.tool.call.id": payload.call,
                }
                key = ("tool", payload.call)
                self._start(key, self._id(*key), f"execute_tool {payload.tool}", f"tool {payload.tool}", about)
            case e.ToolAnswered():
                failed = payload.text[:_TEXT] if payload.failed else ""
                self._end(("tool", payload.call), "error" if payload.failed else "ok", failed, {})
            case e.MessageRecorded():
                if payload.model and (run := self._open.get(_RUN)):
                    run.attributes["gen_ai.request.model"] = payload.model
                self._note(_RUN, "message", role=payload.role)
            case e.FilesChanged():
                self._note(_RUN, "files changed", commit=payload.commit, paths=len(payload.paths) + payload.more)

    def _of_end(self, payload: e.Payload) -> None:
        match payload:
            case e.ResultPublished():
                self._end(_EXECUTE, "ok", "", {}, at=self._merged_at)
                about: dict[str, Value] = {"cavalcade.branch": payload.branch, "cavalcade.commit": payload.commit}
                self._start(_PUBLISH, self._id(*_PUBLISH), "publish", "publish", about)
                self._open[_PUBLISH].start = self._merged_at or self._now.event.time
                self._end(_PUBLISH, "ok", "", {})
            case e.RunCompleted():
                self._close("completed", "ok", "")
            case e.RunStopped():
                self._close("stopped", "error", payload.reason)
            case e.RunAborted():
                self._close("aborted", "unset", payload.reason)
            case e.RunFailed():
                self._close("failed", "error", payload.problem.what)
            case e.RunHalted():
                self._note(_RUN, "stopped", by=payload.by, reason=payload.reason[:_TEXT])
            case e.RunResumed():
                self._note(_RUN, "resumed", by=payload.by)
            case e.RecordingEnded():
                well = payload.exit_status == 0
                self._close("ended", "ok" if well else "error", "" if well else f"exit status {payload.exit_status}")
            case _:
                pass

    def _close(self, outcome: str, status: Status, message: str) -> None:
        """Whatever is under way when a run ends, ends with it: what began last first."""
        for key in [key for key in reversed(self._open) if key != _RUN]:
            self._end(key, "unset", outcome, {})
        self._end(_RUN, status, message[:_TEXT], {"cavalcade.outcome": outcome})

    def _id(self, *parts: str | int) -> str:
        return span_id(self._run, *parts)

    def _start(
        self, key: _Key, id: str, name: str, label: str, about: dict[str, Value], *, parent: _Key = _RUN
    ) -> None:
        above = self._open.get(parent)
        parent_id = above.id if above else self._id(*(() if parent == _RUN else parent))
        if key == _RUN:
            id, parent_id = self._id(), ""
        opened = OpenSpan(self._trace, id, parent_id, name, label, self._now.event.time)
        shared: dict[str, Value] = {"gen_ai.conversation.id": self._run, "cavalcade.run": self._run}
        opened.attributes = {key: value for key, value in (shared | about).items() if value != ""}
        self._open[key] = opened

    def _set(self, key: _Key, id: str, label: str) -> None:
        if (opened := self._open.get(key)) is not None:
            opened.id, opened.label = id, label

    def _note(self, key: _Key, name: str, **attributes: Value) -> None:
        if (opened := self._open.get(key) or self._open.get(_RUN)) is not None:
            opened.note(name, self._now.event.time, **attributes)

    def _end(
        self, key: _Key, status: Status, message: str, about: dict[str, Value], *, at: datetime | None = None
    ) -> None:
        if (opened := self._open.pop(key, None)) is not None:
            opened.attributes |= {name: value for name, value in about.items() if value != ""}
            self._ended.append(opened.seen(at or self._now.event.time, status, message, self._now.position))


def _agent(name: str) -> dict[str, Value]:
    return {"gen_ai.operation.name": "invoke_agent", "gen_ai.provider.name": "cavalcade", "gen_ai.agent.name": name}
