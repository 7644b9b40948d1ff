"""How a run stands or ended, for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from rich.text import Text

from cavalcade.cli.lists import Sheet, place_text
from cavalcade.cli.plan_view import plan_sheet, start_of, tests_text, unclear
from cavalcade.cli.report import GateTally, RecordingReport, Report, TaskReport, TestsReport
from cavalcade.protocol.decision import Decision
from cavalcade.supervisor.timeline import count, duration, ending

_STYLE = {
    "completed": "bold green",
    "stopped": "bold red",
    "failed": "bold red",
    "aborted": "bold yellow",
    "halted": "bold yellow",
}
PHASE = {
    "planning": "is being planned",
    "awaiting_human": "waits for your approval",
    "executing": "is being carried out",
    "publishing": "is being published",
    "recording": "is being recorded",
    "completed": "completed",
    "stopped": "stopped, nothing landed",
    "halted": "was stopped, and can be resumed",
    "aborted": "aborted, nothing landed",
    "failed": "failed, nothing landed",
}


def headline(report: Report) -> Text:
    phase = PHASE[report.phase]
    if report.recording is not None and report.recording.cut_off:
        phase = "was cut off: its recorder is gone"
    text = Text.assemble((f"run {report.run} ", "bold"), (phase, _STYLE.get(report.phase, "bold cyan")))
    return text.append(f" ({count(report.events, 'event')} in {duration(report.duration_s)})", "dim")


def report_sheet(report: Report, *, everything: bool = False) -> Sheet:
    """A run that waits shows its plan; any other what became of it."""
    if report.phase == "awaiting_human":
        return plan_sheet(report, everything=everything)
    sheet = Sheet(f"`cavalcade show {report.run} --all`", everything=everything)
    if report.recording is None:
        sheet.row("objective", report.objective)
    else:
        _recording(sheet, report.recording, ended=report.phase == "completed")
    if report.parent:
        sheet.row("forked", f"from run {report.parent} at #{report.shared}")
    sheet.row("project", f"{report.repository}, from {start_of(report)}")
    _stop(sheet, report)
    _result(sheet, report)
    _what(sheet, report)
    sheet.several("why", report.decisions, _decision)
    if report.tasks:
        sheet.several("tasks", report.tasks, _task)
    if report.gates:
        sheet.several("gates", list(report.gates.items()), lambda item: gate_text(*item))
    _tests(sheet, report)
    if report.plan is not None:
        unclear(sheet, report.plan)
    if report.recording is None:
        sheet.row("cost", f"${report.cost_usd:.2f}")
    _overlaps(sheet, report)
    if report.phase == "completed":
        sheet.row(
            "rewind", f"cavalcade restore {report.run} --at EVENT --into DIR   (events: cavalcade log {report.run})"
        )
    return sheet


def _recording(sheet: Sheet, recording: RecordingReport, *, ended: bool) -> None:
    program = f" ({recording.program})" if recording.program else ""
    sheet.row("program", f"{shlex.join(recording.command)}{program}")
    sheet.row("folder", recording.folder + (", in place" if recording.in_place else ", a copy"))
    if ended:
        style = "green" if recording.exit_status == 0 else "red"
        sheet.row("ended", Text(ending(recording.exit_status), style))
    sheet.row("states", f"{count(recording.looks, 'state')}, {count(recording.output_bytes, 'byte')} of output")


def _stop(sheet: Sheet, report: Report) -> None:
    if report.stop is not None:
        sheet.row("stopped", Text(report.stop.reason or "no reason given", "red"))
        sheet.several("look at", report.stop.places, place_text)
    if report.problem is not None:
        sheet.row("problem", Text(report.problem.what, "red"))
        if report.problem.expected:
            sheet.row("expected", report.problem.expected)
        sheet.several("", report.problem.places, lambda place: place)
        if report.problem.hint:
            sheet.row("hint", report.problem.hint)


def _result(sheet: Sheet, report: Report) -> None:
    if not report.branch:
        return
    base = report.base.branch or (report.base.head or "")[:10]
    sheet.row(
        "branch",
        Text(report.branch, "green").append(f"  {report.commit[:10]}, {count(report.commits, 'commit')}", "default"),
    )
    if report.base.dirty:
        sheet.row("", f"with one commit before that for {count(len(report.base.dirty), 'uncommitted path')}")
    here = f"git -C {shlex.quote(report.repository)}" if " " in report.repository else "git"
    sheet.row("look", f"{here} diff {base}...{report.branch}" if base else f"{here} show {report.branch}")
    sheet.row("take it", f"{here} merge {report.branch}")


def _what(sheet: Sheet, report: Report) -> None:
    plan = report.plan
    if plan is None:
        return
    approved = f", approved by {report.approved_by}" if report.approved_by else ", not approved"
    sheet.row("what", f"{count(plan.files, 'file')}, {count(plan.changes, 'change')} (plan {plan.hash[:12]}{approved})")


def _decision(decision: Decision) -> Text:
    text = Text(f"{decision.choice} ({decision.question}): {decision.rationale}")
    for other in decision.rejected:
        text.append(f"\nnot {other.choice}: {other.why}", "dim")
    return text


def _task(task: TaskReport) -> str:
    tries = f", attempt {task.attempt} of {task.attempts}" if task.attempt > 1 else ""
    commit = f" as {task.commit[:10]}" if task.commit else ""
    added = f", {count(len(task.residual), 'residual edit')} added" if task.residual else ""
    return f"{task.id}  {task.status}{commit}{tries}{added}: {task.title}"


def gate_text(name: str, gate: GateTally) -> Text:
    """`lint  8 passed  11 ms each`"""
    text = Text(f"{name:<10} ")
    for number, verdict, style in (
        (gate.failed, "failed", "red"),
        (gate.passed, "passed", "green"),
        (gate.skipped, "skipped", "yellow"),
    ):
        if number:
            text.append(f" {number:,} {verdict}", style)
    text.append(f"  {duration(gate.ms / gate.runs / 1000)}", "dim")
    return text.append(" each" if gate.runs > 1 else "", "dim")


def _tests(sheet: Sheet, report: Report) -> None:
    tests = report.tests
    if tests is None:
        if report.plan is not None:
            sheet.row("tests", tests_text(report.plan.tests))
        return
    sheet.row("tests", _outcomes(tests))
    sheet.several("lost tests", tests.lost, lambda test: test)
    sheet.several("by chance", tests.flaky, lambda test: test)
    sheet.several("not finished", tests.unfinished, lambda side: side)


def _outcomes(tests: TestsReport) -> Text:
    if tests.verdict == "skipped":
        return Text(f"not run: {tests.summary}", "yellow")

    def told(counts: Mapping[str, int]) -> str:
        return (
            ", ".join(f"{number:,} {outcome}" for outcome, number in sorted(counts.items(), key=lambda item: -item[1]))
            or "none"
        )

    text = Text(f"before: {told(tests.before)}; after: {told(tests.after)}; ")
    lost = len(tests.lost)
    return text.append(f"{lost:,} lost", "red" if lost else "green").append(f"  ({duration(tests.ms / 1000)})", "dim")


def _overlaps(sheet: Sheet, report: Report) -> None:
    for overlap in report.overlaps:
        if overlap.conflicts:
            sheet.row("overlap", Text(f"{overlap.branch} conflicts in {', '.join(overlap.conflicts[:5])}", "yellow"))
        else:
            sheet.row("overlap", f"{overlap.branch} changes some of the same files and merges cleanly")
