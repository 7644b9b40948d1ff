"""The plan as a person sees it before approving, and what to type then."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.text import Text

from cavalcade.cli.lists import Sheet, place_text
from cavalcade.cli.report import EditReport, PlanReport, Report
from cavalcade.protocol.plan import TestPlan
from cavalcade.supervisor.timeline import count


def plan_sheet(report: Report, *, everything: bool = False) -> Sheet:
    """What would happen, what would not, and what isn't known."""
    sheet = Sheet(f"`cavalcade show {report.run} --all`", everything=everything)
    sheet.row("objective", report.objective)
    sheet.row("project", f"{report.repository}, from {start_of(report)}")
    _notes(sheet, report)
    plan = report.plan
    if plan is None:
        return sheet
    sheet.row(
        "plan", f"{plan.round} (hash {plan.hash[:12]}): {count(plan.files, 'file')}, {count(plan.changes, 'change')}"
    )
    _tasks(sheet, report)
    sheet.several("files", [edit for edit in plan.edits if edit.kind != "residual"], _edit_text)
    unclear(sheet, plan)
    sheet.several("decided", report.decisions, lambda decision: f"{decision.choice} ({decision.question})")
    sheet.row("tests", tests_text(plan.tests))
    sheet.row(
        "cost", f"${plan.cost_usd:.2f} (a recipe: no model is called)" if not plan.cost_usd else f"${plan.cost_usd:.2f}"
    )
    return sheet


def _tasks(sheet: Sheet, report: Report) -> None:
    if len(report.tasks) > 1:
        sheet.several("tasks", report.tasks, lambda task: f"{task.id}  {task.title}" + _after(task.depends_on))


def _after(tasks: Sequence[str]) -> str:
    return f"  (after {', '.join(tasks)})" if tasks else ""


def start_of(report: Report) -> str:
    base = report.base
    branch = base.branch or "detached HEAD"
    return f"{branch} {base.head[:10]}" if base.head else f"{branch}, without a commit"


def _notes(sheet: Sheet, report: Report) -> None:
    base = report.base
    if base.dirty:
        sheet.row(
            "uncommitted",
            f"{count(len(base.dirty), 'path')} with uncommitted changes, included in this run (--head leaves them out)",
        )
        sheet.several("", base.dirty, lambda path: f"  {path}")
    sheet.several("note", base.notes, lambda note: note)


def _edit_text(edit: EditReport) -> Text:
    text = Text(edit.path)
    if edit.removed:
        text.append("  removed", "dim")
    elif edit.moved_from and edit.moved_from != edit.path:
        text.append(f"  moved from {edit.moved_from}", "dim")
    text.append(f"  {count(edit.changes, 'change')}" if edit.changes else "", "dim")
    return text.append(" in text", "dim") if edit.kind == "mention" else text


def unclear(sheet: Sheet, plan: PlanReport) -> None:
    """What is listed and not guessed."""
    if plan.unresolved:
        sheet.row("unresolved", f"{count(len(plan.unresolved), 'place')} that may mean it and can't be resolved")
        sheet.several("", plan.unresolved, place_text)
    if plan.residual:
        listed = {(place.path, place.line) for place in plan.unresolved}
        others = [place for place in plan.residual if (place.path, place.line) not in listed]
        where = "" if others else " (those listed above)"
        places = count(len(plan.residual), "place")
        sheet.row("residual", f"{places} with an edit ready that is tried only if gates or tests ask for it{where}")
        sheet.several("", others, place_text)
    if plan.mentions:
        sheet.row(
            "mentions",
            f"{count(len(plan.mentions), 'mention')} in text, left alone (--mentions docs,comments,strings)",
        )
        sheet.several("", plan.mentions, place_text)
    if plan.problems:
        sheet.row("unreadable", f"{count(len(plan.problems), 'file')} that can't be parsed, left alone")
        sheet.several("", plan.problems, place_text)


def tests_text(tests: TestPlan) -> Text:
    if tests.refused:
        return Text(f"not run: {tests.refused}", "yellow")
    chosen = count(len(tests.selection), "affected file") if tests.selection else "the whole suite"
    how = f"pytest {tests.version}" if tests.version else shlex.join(tests.command)
    return Text(f"{chosen}, in the sandbox, by {how}")


def next_commands(run: str) -> Text:
    """What can be typed while a plan waits."""
    return Text(
        f'run {run} waits for you:\n  cavalcade approve {run}\n  cavalcade inject {run} "..."\n  cavalcade abort {run}'
    )
