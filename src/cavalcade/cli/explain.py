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
from cavalcade.protocol.decision import Decision
from cavalcade.protocol.receipt import Receipt
from cavalcade.supervisor.history import runs_of
from cavalcade.supervisor.timeline import duration
from cavalcade.supervisor.why import EditOrigin, Explainer, LineHistory, Move, RecordedOrigin, Why
from cavalcade.supervisor.why.answers import Conversation

_EXCERPT = 300
"""Characters of what was said that are shown; `--json` has more, the events all."""


async def explain(
    system: System, terminal: Terminal, place: str, repo: Path | None, run: str, *, history: bool = False
) -> int:
    """A line of the working tree, or with `run` of that run's result; with `history` every change of it."""
    file, line = split_place(place)
    if run:
        chosen = choose_run(run, await system.runs.list())
        state = await system.runs.load(chosen)
        assert state.start is not None  # a loaded run has begun
        path = path_in(Path(state.start.repository), file, repo or Path.cwd())
        explainer = Explainer(system.runs, system.content_of(state))
        ask = explainer.history_in_run if history else explainer.why_in_run
        found = await ask(chosen, path, line)
    else:
        repository = top_folder(repo or _folder_of(file))
        path = path_in(repository, file, repo or Path.cwd())
        project = await system.projects.at(repository)
        content = system.content(project)
        base = await asyncio.to_thread(content.import_repository, repository)
        explainer = Explainer(system.runs, content)
        ask = explainer.history if history else explainer.why
        found = await ask(base, path, line, await runs_of(system.runs, project))
    terminal.document(found)
    terminal.data(why_sheet(found).table if isinstance(found, Why) else history_sheet(found).table)
    return DONE


def _folder_of(file: str) -> Path:
    """The project is the one that the file lies in, when it is there, else the one around."""
    path = Path.cwd() / Path(file).expanduser()
    return next((folder for folder in (path, path.parent) if folder.is_dir()), Path.cwd())


def why_sheet(found: Why) -> Sheet:
    sheet = Sheet("`cavalcade why ... --json`")
    sheet.row("line", Text(f"{found.path}:{found.line}").append(f"  {found.text.strip()}", "dim"))
    if found.sure != "certain":
        sheet.row(found.sure, Text(found.note.removeprefix(f"{found.sure}: "), "yellow"))
    if found.edit is not None:
        _edit(sheet, found.edit)
    if found.recorded is not None:
        _recorded(sheet, found.recorded)
    if found.git is not None:
        git = found.git
        sheet.row("commit", f"{git.commit[:10]}  {git.summary}")
        sheet.row("author", f"{git.author}, {_time(git.time)}")
    sheet.several("moved", found.moves, _move)
    if found.note and found.sure == "certain":
        sheet.row("note", found.note)
    for hint in found.hints:
        sheet.row("hint", f"{hint.text}; ask it: cavalcade why {found.path}:{found.line} --run {hint.run}")
    return sheet


def history_sheet(found: LineHistory) -> Sheet:
    """One row each: when, by whom, the line after it; below, how its file has moved since."""
    sheet = Sheet("`cavalcade why ... --history --json`", everything=True)
    sheet.row("line", Text(f"{found.path}:{found.line}").append(f"  {found.text.strip()}", "dim"))
    for change in found.changes:
        text = Text(_who(change)).append(f"\n{change.path}:{change.line}  {change.text.strip()}", "dim")
        if change.note:
            text.append(f"\n{change.note}", "yellow")
        for move in change.moves:
            text.append("\nmoved  ").append_text(_move(move))
        sheet.row(_when(change), text)
    return sheet


def _when(change: Why) -> str:
    origin = change.edit or change.recorded or change.git
    return _time(origin.time) if origin else "not committed"


def _who(change: Why) -> str:
    if change.edit is not None:
        edit = change.edit
        return f"edit {edit.edit} of run {edit.run} (event #{edit.version}): {edit.objective}"
    if change.recorded is not None:
        recorded = change.recorded
        return f"{shlex.join(recorded.command)}, run {recorded.run} (event #{recorded.version})"
    if change.git is not None:
        return f"commit {change.git.commit[:10]} of {change.git.author}: {change.git.summary}"
    return change.note


def _edit(sheet: Sheet, edit: EditOrigin) -> None:
    kind = "" if edit.kind == "reference" else f", {edit.kind}"
    sheet.row("edit", f"{edit.edit} (event #{edit.version}{kind}), {_time(edit.time)}, commit {edit.commit[:10]}")
    _hunk(sheet, edit.hunk)
    sheet.row("agent", edit.agent)
    merged = f", merged as {edit.merged[:10]}" if edit.merged else ", not merged"
    sheet.row("task", f"{edit.task} of run {edit.run}, attempt {edit.attempt}{merged}: {edit.title}")
    sheet.row("objective", edit.objective)
    if edit.through:
        sheet.row("fork", f"brought by run {edit.through}, which goes on from run {edit.run}")
    sheet.row("plan", edit.plan_hash[:12])
    said = [step for step in edit.planning if step.kind in ("feedback", "fork")]
    sheet.several("guidance", said, lambda step: f"{step.text} (event #{step.version}, by {step.by})")
    if edit.approval is not None:
        sheet.row("approved", f"by {edit.approval.by}, {_time(edit.approval.time)}")
    for decision in edit.decisions:
        sheet.row("decided", _decision(decision))
    sheet.several("gates", (*edit.edit_verdicts, *edit.tree_verdicts), _verdict)
    if edit.branch:
        sheet.row("branch", edit.branch)


def _decision(decision: Decision) -> Text:
    text = Text(f"{decision.choice} ({decision.question}): {decision.rationale}")
    text.append(f"  confidence {decision.confidence:.2f}", "dim")
    for other in decision.rejected:
        text.append(f"\nnot {other.choice}: {other.why}", "dim")
    if decision.memories:
        text.append(f"\nremembered: {', '.join(decision.memories)}", "dim")
    return text


def _recorded(sheet: Sheet, recorded: RecordedOrigin) -> None:
    name = f" ({recorded.program})" if recorded.program else ""
    sheet.row("recorded", f"{shlex.join(recorded.command)}{name}, run {recorded.run}")
    sheet.row("change", f"event #{recorded.version}, {_time(recorded.time)}, commit {recorded.commit[:10]}")
    _hunk(sheet, recorded.hunk)
    if recorded.conversation is not None:
        _conversation(sheet, recorded.conversation)
    sheet.row("rewind", f"cavalcade restore {recorded.run} --at {recorded.version} --into DIR")
    if recorded.branch:
        sheet.row("branch", recorded.branch)


def _conversation(sheet: Sheet, said: Conversation) -> None:
    if said.prompt is not None:
        sheet.row("asked", f"{_excerpt(said.prompt.text)} (event #{said.prompt.version})")
    sheet.several("answered", said.words, lambda words: f"{_excerpt(words.text)} (event #{words.version})")
    if (call := said.call) is not None:
        failed = ", failed" if call.failed else ""
        text = Text(f"{call.tool} {_excerpt(call.arguments)} (event #{call.version}{failed})")
        sheet.row("tool", text.append(f"\n{_excerpt(call.answer)}", "dim") if call.answer else text)


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}..."


def _hunk(sheet: Sheet, hunk: str) -> None:
    styles = {"+": "green", "-": "red"}
    sheet.several("", hunk.splitlines(), lambda line: Text(line, styles.get(line[:1], "default")))


def _move(move: Move) -> Text:
    who = f"commit {move.commit[:10]}" if move.by == "git" else f"run {move.run}, event #{move.version}"
    return Text(f"{move.old_path} -> {move.new_path}  ").append(f"{who}, {_time(move.time)}: {move.summary}", "dim")


def _verdict(receipt: Receipt) -> Text:
    style = {"passed": "green", "failed": "red", "skipped": "yellow"}[receipt.verdict]
    text = Text(f"{receipt.gate:<10}  ").append(f"{receipt.verdict}  ", style)
    text.append(f"{duration(receipt.duration_ms / 1000)}  {receipt.tool} {receipt.version}  ", "dim")
    return text.append(receipt.summary)


def _time(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"
