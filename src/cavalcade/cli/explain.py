"""`why FILE:LINE`: who made the line as it is, and on what grounds."""

from __future__ import annotations

import asyncio
import shlex
from datetime import datetime
from pathlib import Path

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import DONE
from cavalcade.cli.find import choose_run, path_in, split_place, top_folder
from cavalcade.cli.lists import Sheet
from cavalcade.cli.terminal import Terminal
from cavalcade.protocol.receipt import Receipt
from cavalcade.supervisor.history import runs_of
from cavalcade.supervisor.timeline import duration
from cavalcade.supervisor.why import EditOrigin, Explainer, Why
from cavalcade.supervisor.why_recorded import RecordedOrigin


async def explain(system: System, terminal: Terminal, place: str, repo: Path | None, run: str) -> int:
    """A line of the working tree, or with `run` of that run's result."""
    file, line = split_place(place)
    if run:
        chosen = choose_run(run, await system.runs.list())
        state = await system.runs.load(chosen)
        assert state.start is not None  # a loaded run has begun
        path = path_in(Path(state.start.repository), file, repo or Path.cwd())
        found = await Explainer(system.runs, system.content_of(state)).why_in_run(chosen, path, line)
    else:
        repository = top_folder(repo or _folder_of(file))
        path = path_in(repository, file, repo or Path.cwd())
        project = await system.projects.at(repository)
        content = system.content(project)
        base = await asyncio.to_thread(content.import_repository, repository)
        results = await runs_of(system.runs, project)
        found = await Explainer(system.runs, content).why(base, path, line, results)
    terminal.document(found)
    terminal.data(why_sheet(found).table)
    return DONE


def _folder_of(file: str) -> Path:
    """The project is the one that the file lies in, when it is there, else the one around."""
    path = Path.cwd() / Path(file).expanduser()
    return next((folder for folder in (path, path.parent) if folder.is_dir()), Path.cwd())


def why_sheet(found: Why) -> Sheet:
    sheet = Sheet("`cavalcade why ... --json`")
    sheet.row("line", Text(f"{found.path}:{found.line}").append(f"  {found.text.strip()}", "dim"))
    if found.edit is not None:
        _edit(sheet, found.edit)
    if found.recorded is not None:
        _recorded(sheet, found.recorded)
    if found.git is not None:
        git = found.git
        sheet.row("commit", f"{git.commit[:10]}  {git.summary}")
        sheet.row("author", f"{git.author}, {_time(git.time)}")
    if found.note:
        sheet.row("note", found.note)
    for hint in found.hints:
        sheet.row("hint", f"{hint.text}; ask it: cavalcade why {found.path}:{found.line} --run {hint.run}")
    return sheet


def _recorded(sheet: Sheet, recorded: RecordedOrigin) -> None:
    program = f" ({recorded.program})" if recorded.program else ""
    sheet.row("recorded", f"{shlex.join(recorded.command)}{program}, run {recorded.run}")
    sheet.row("change", f"event #{recorded.version}, {_time(recorded.time)}, commit {recorded.commit[:10]}")
    _hunk(sheet, recorded.hunk)
    sheet.row("rewind", f"cavalcade restore {recorded.run} --at {recorded.version} --into DIR")
    if recorded.branch:
        sheet.row("branch", recorded.branch)


def _hunk(sheet: Sheet, hunk: str) -> None:
    styles = {"+": "green", "-": "red"}
    sheet.several("", hunk.splitlines(), lambda line: Text(line, styles.get(line[:1], "default")))


def _edit(sheet: Sheet, edit: EditOrigin) -> None:
    kind = "" if edit.kind == "reference" else f", {edit.kind}"
    sheet.row("edit", f"{edit.edit} (event #{edit.version}{kind}), {_time(edit.time)}, commit {edit.commit[:10]}")
    _hunk(sheet, edit.hunk)
    merged = f", merged as {edit.merged[:10]}" if edit.merged else ", not merged"
    sheet.row("task", f"{edit.task} of run {edit.run}, attempt {edit.attempt}{merged}: {edit.title}")
    sheet.row("objective", edit.objective)
    sheet.row("plan", edit.plan_hash[:12])
    if edit.approval is not None:
        sheet.row("approved", f"by {edit.approval.by}, {_time(edit.approval.time)}")
    for decision in edit.decisions:
        text = Text(f"{decision.choice} ({decision.question}): {decision.rationale}")
        for other in decision.rejected:
            text.append(f"\nnot {other.choice}: {other.why}", "dim")
        sheet.row("decided", text)
    sheet.several("gates", (*edit.edit_verdicts, *edit.tree_verdicts), _verdict)
    if edit.branch:
        sheet.row("branch", edit.branch)


def _verdict(receipt: Receipt) -> Text:
    style = {"passed": "green", "failed": "red", "skipped": "yellow"}[receipt.verdict]
    text = Text(f"{receipt.gate:<10}  ").append(f"{receipt.verdict}  ", style)
    text.append(f"{duration(receipt.duration_ms / 1000)}  {receipt.tool} {receipt.version}  ", "dim")
    return text.append(receipt.summary)


def _time(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"
