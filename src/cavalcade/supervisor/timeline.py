"""What happened, one clear line per event."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode

Tone = Literal["plain", "good", "bad", "ask"]
_SHOWN = 4
"""Paths in one line."""
_CHARACTERS = 200


class Row(NamedTuple):
    """`version` is the event's number in its run; `type` the short name, as in `edit.applied`; `task` is empty for the run itself."""

    version: int
    time: datetime
    type: str
    task: str
    tone: Tone
    text: str


def timeline(history: Iterable[Recorded]) -> Iterator[Row]:
    """Raises LedgerDamaged at an event that this version can't read."""
    for recorded in history:
        yield row_of(recorded)


def row_of(recorded: Recorded) -> Row:
    payload = decode(recorded.event)
    tone, text = describe(payload)
    return Row(
        recorded.version,
        recorded.event.time,
        short_type(payload.TYPE),
        recorded.event.task,
        tone,
        " ".join(text.splitlines()),
    )


def short_type(name: str) -> str:
    """`cavalcade.edit.applied.v1` is `edit.applied`."""
    return name.removeprefix("cavalcade.").rpartition(".v")[0]


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def describe(payload: e.Payload) -> tuple[Tone, str]:
    match payload:
        case e.RunRequested() | e.PlanProposed() | e.PlanApproved() | e.FeedbackInjected() | e.DecisionMade():
            return _of_plan(payload)
        case e.EditProposed() | e.EditApplied() | e.EditRejected() | e.GateJudged():
            return _of_edit(payload)
        case e.TaskStarted() | e.TaskProposed() | e.TaskBounced() | e.TaskMerged() | e.ExplorationRecorded() as of_task:
            return _of_task(of_task)
        case (
            e.RunForked()
            | e.RecordingStarted()
            | e.FilesChanged()
            | e.OutputWritten()
            | e.MessageRecorded()
            | e.ToolCalled()
            | e.ToolAnswered()
            | e.RecordingEnded()
        ) as of_program:
            return _of_program(of_program)
        case (
            e.WorkSaved()
            | e.TreeRestored()
            | e.DivergenceMerged()
            | e.ConflictFound()
            | e.ConflictResolved()
            | e.HeadSigned()
            | e.ProjectRegistered()
        ) as of_project:
            return "plain", _of_project(of_project)
        case _:
            return _of_end(payload)


def _of_plan(
    payload: e.RunRequested | e.PlanProposed | e.PlanApproved | e.FeedbackInjected | e.DecisionMade,
) -> tuple[Tone, str]:
    match payload:
        case e.RunRequested():
            base = payload.base
            start = f"{base.branch or 'detached HEAD'} {(base.head or '')[:10]}".strip()
            dirty = f", with {count(len(base.dirty), 'uncommitted path')}" if base.dirty else ""
            return "plain", f"asked: {payload.objective} (in {payload.repository}, from {start}{dirty})"
        case e.PlanProposed():
            return "ask", f"plan {payload.round} proposed: {counted(payload.counts)} (hash {payload.plan_hash[:12]})"
        case e.PlanApproved():
            return "good", f"plan {payload.plan_hash[:12]} approved by {payload.by}"
        case e.FeedbackInjected():
            return "plain", f"{payload.by} said: {payload.text}"
        case e.DecisionMade():
            decision = payload.decision
            return "plain", f"decided: {decision.choice} ({decision.question}): {decision.rationale}"


def counted(counts: e.PlanCounts) -> str:
    """`3 files, 8 changes; 1 unresolved`: what is zero and no news is left out."""
    parts = [f"{count(counts.files, 'file')}, {count(counts.changes, 'change')}"]
    more = [
        f"{number:,} {noun}"
        for number, noun in (
            (counts.unresolved, "unresolved"),
            (counts.residual, "residual"),
            (counts.mentions, "mentioned in text"),
            (counts.problems, "unreadable"),
        )
        if number
    ]
    return "; ".join([*parts, ", ".join(more)] if more else parts)


def _of_edit(payload: e.EditProposed | e.EditApplied | e.EditRejected | e.GateJudged) -> tuple[Tone, str]:
    match payload:
        case e.EditProposed():
            moved = f" from {payload.moved_from}" if payload.moved_from else ""
            kind = "" if payload.kind == "reference" else f" ({payload.kind})"
            return "plain", f"edit {payload.edit} proposed: {payload.path}{moved}{kind}"
        case e.EditApplied():
            return "good", f"edit {payload.edit} applied: {payload.path} +{payload.added} -{payload.removed}"
        case e.EditRejected():
            return "bad", f"edit {payload.edit} rejected by {', '.join(payload.gates)}: {payload.path}"
        case e.GateJudged():
            receipt = payload.receipt
            about = f"edit {payload.edit}" if payload.edit is not None else "the whole tree"
            said = f": {receipt.summary}" if receipt.summary else ""
            tone: Tone = "bad" if receipt.verdict == "failed" else "plain"
            return tone, f"{receipt.gate} {receipt.verdict} on {about} in {duration(receipt.duration_ms / 1000)}{said}"


def _of_task(
    payload: e.TaskStarted | e.TaskProposed | e.TaskBounced | e.TaskMerged | e.ExplorationRecorded,
) -> tuple[Tone, str]:
    match payload:
        case e.TaskStarted():
            residual = f", with residual edits {_numbers(payload.residual)}" if payload.residual else ""
            return "plain", f"attempt {payload.attempt} started{residual}"
        case e.TaskProposed():
            return "plain", f"attempt {payload.attempt} done at {payload.commit[:10]}; the whole tree is judged next"
        case e.TaskBounced():
            return "bad", f"attempt {payload.attempt} bounced by {', '.join(payload.gates)}: {payload.reason}"
        case e.ExplorationRecorded():
            then = "no further try" if payload.retry is None else f"next: residual edits {_numbers(payload.retry)}"
            return "plain", f"looked into: {payload.finding}; {then}"
        case e.TaskMerged():
            return "good", f"merged as {payload.commit[:10]}"


def _of_end(payload: e.Payload) -> tuple[Tone, str]:
    match payload:
        case e.ResultPublished():
            return "good", f"branch {payload.branch} made at {payload.commit[:10]}"
        case e.RunCompleted():
            touched = f"; touches {count(len(payload.overlaps), 'other result')}" if payload.overlaps else ""
            return "good", f"completed: {payload.branch}{touched}"
        case e.RunStopped():
            return "bad", f"stopped, nothing landed: {payload.reason}"
        case e.RunAborted():
            return "bad", f"aborted by {payload.by}" + (f": {payload.reason}" if payload.reason else "")
        case e.RunHalted():
            return "bad", f"stopped by {payload.by}" + (f": {payload.reason}" if payload.reason else "")
        case e.RunResumed():
            return "plain", f"resumed by {payload.by}"
        case e.RunFailed():
            return "bad", f"failed: {payload.problem.what}"
        case _:
            raise LedgerDamaged(f"no line is known for events of type {payload.TYPE}")


def _of_program(
    payload: e.RunForked
    | e.RecordingStarted
    | e.FilesChanged
    | e.OutputWritten
    | e.MessageRecorded
    | e.ToolCalled
    | e.ToolAnswered
    | e.RecordingEnded,
) -> tuple[Tone, str]:
    match payload:
        case e.RunForked():
            told = f", with: {payload.guidance}" if payload.guidance else ""
            return "plain", f"forked by {payload.by} from #{payload.version} of run {payload.parent}{told}"
        case e.RecordingStarted():
            return "plain", f"recording: {shlex.join(payload.command)} (in {payload.folder})"
        case e.FilesChanged():
            shown = ", ".join(_change(change) for change in payload.paths[:_SHOWN])
            more = len(payload.paths[_SHOWN:]) + payload.more
            return "good", f"files changed: {shown}" + (f" and {more:,} more" if more else "")
        case e.OutputWritten():
            return "plain", f"{payload.channel}: {_beginning(payload.text) or count(payload.size_bytes, 'byte')}"
        case e.MessageRecorded():
            return "plain", f"{payload.role} said: {_beginning(payload.text)}"
        case e.ToolCalled():
            return "plain", f"tool {payload.tool} called: {_beginning(payload.arguments)}"
        case e.ToolAnswered():
            tone: Tone = "bad" if payload.failed else "plain"
            return tone, f"tool {'failed' if payload.failed else 'answered'}: {_beginning(payload.text)}"
        case e.RecordingEnded():
            return "good" if payload.exit_status == 0 else "bad", f"the program ended: {ending(payload.exit_status)}"


def _change(change: e.PathChange) -> str:
    moved = f"{change.old_path} -> " if change.old_path else ""
    return f"{change.status} {moved}{change.path}"


def ending(exit_status: int | None) -> str:
    """How a recorded program ended."""
    if exit_status is None:
        return "nobody saw how"
    return f"signal {-exit_status}" if exit_status < 0 else f"exit status {exit_status}"


def _of_project(
    payload: e.WorkSaved
    | e.TreeRestored
    | e.DivergenceMerged
    | e.ConflictFound
    | e.ConflictResolved
    | e.HeadSigned
    | e.ProjectRegistered,
) -> str:
    match payload:
        case e.WorkSaved():
            return f"uncommitted work of {payload.repository} saved as {payload.name}"
        case e.TreeRestored():
            return f"{payload.repository} restored to tree {payload.tree[:10]}; what was there: {payload.saved}"
        case e.DivergenceMerged():
            return f"results of {payload.ours} and {payload.theirs} merged as {payload.commit[:10]}"
        case e.ConflictFound():
            return f"conflict {payload.conflict} of {payload.ours.run} and {payload.theirs.run}: {', '.join(payload.paths)}"
        case e.ConflictResolved():
            return f"conflict {payload.conflict} resolved by {payload.by} ({payload.how}) as {payload.commit[:10]}"
        case e.HeadSigned():
            return f"head {payload.seq} of {payload.origin} signed with key {payload.key[:12]}"
        case e.ProjectRegistered():
            return f"project {payload.project} registered: {payload.repository}"


def _beginning(text: str) -> str:
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"


def _numbers(numbers: tuple[int, ...]) -> str:
    shown = ", ".join(str(number) for number in numbers[:8])
    return shown + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")


def duration(seconds: float) -> str:
    """`8 ms`, `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
